/** The farm's jobs (`#/jobs`), newest first and live, filtered by links; and one of them (`#/jobs/ID`). */
import { query } from "../comfyui/lib/api.mjs";
import { everySecond } from "../comfyui/lib/clock.mjs";
import { Undoing, addStylesheet, el } from "../comfyui/lib/dom.mjs";
import { register, t } from "../comfyui/lib/i18n.mjs";
import { button } from "./dialogs.mjs";
import { JobView } from "./job.mjs";
import { cancelJob } from "./job-deeds.mjs";
import { JobRow } from "./job-row.mjs";
import { JobsBar } from "./jobs-bar.mjs";
import { HELD, filterOf, jobPath, passes, placeOfFilter } from "./job-words.mjs";
import { content } from "./texts/content.mjs";
import { job } from "./texts/job.mjs";
import { jobs } from "./texts/jobs.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {import("./page.mjs").View} View */
/** @typedef {import("./job-words.mjs").Filter} Filter */

register("content", content);
register("job", job);
register("jobs", jobs);

/** Jobs asked for at a time. */
const PAGE = 50;

/** Milliseconds in which events are gathered into one look. */
const SETTLE = 250;

/** Milliseconds between two looks at what runs: progress is no event. */
const LOOK = 2000;

/** Jobs behind the first page that are read one by one in a look. */
const SINGLE = 20;

/** @param {Context} context @param {string[]} rest @param {URLSearchParams} place @returns {View} */
export function open(context, rest, place) {
  addStylesheet(new URL("content.css", import.meta.url).href);
  addStylesheet(new URL("jobs.css", import.meta.url).href);
  return rest[0] ? new JobView(context, rest[0]) : new Jobs(context, filterOf(place));
}

class Jobs {
  title = t("jobs.title");
  #undoing = new Undoing();
  /** @type {Map<string, JobRow>} id -> its row, newest first */
  #rows = new Map();
  /** @type {Set<string>} ids of jobs that may have changed since they were read */
  #stale = new Set();
  #cursor = "";
  #timer = 0;
  /** When that is over; milliseconds. */
  #due = 0;
  /** Grows with every other filter: an answer to an older one is dropped; -1 when the view is gone. */
  #asked = 0;
  #looking = false;
  #again = false;

  /** @param {Context} context @param {Filter} filter */
  constructor(context, filter) {
    this.context = context;
    this.filter = filter;
    this.bar = new JobsBar(this.title, (next) => context.go(placeOfFilter(next), true));
    this.list = el("ul", { class: "gj-list", "aria-label": this.title });
    this.empty = el("div", { class: "gc-empty", role: "status" }, el("strong", {}, t("content.loading")));
    this.more = button(t("jobs.more"), () => void this.#page(this.#cursor));
    this.more.hidden = true;
    this.element = el("div", { class: "gc-view" }, this.bar.element, this.list, this.empty, el("div", { class: "gj-more" }, this.more));
    const { feed } = context;
    this.#undoing.listen(feed, "job", ({ detail }) => this.#changed(detail));
    this.#undoing.listen(feed, "reset", () => this.#soon(SETTLE));
    this.#undoing.listen(document, "visibilitychange", () => document.hidden || this.#soon(0));
    this.#undoing.add(everySecond(() => this.#tick()));
    context.help(["↑ ↓", "Enter", "C", "/"].map((key, index) => ({ key, does: t(`jobs.key${index}`) })));
    void this.#look();
  }

  remove() {
    clearTimeout(this.#timer);
    this.#asked = -1;
    this.#undoing.run();
  }

  /** @param {string[]} rest @param {URLSearchParams} place */
  move(rest, place) {
    if (rest[0]) return false;
    this.filter = filterOf(place);
    this.#asked += 1;
    this.#cursor = "";
    this.#stale.clear();
    void this.#look();
    return true;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const rows = [...this.#rows.values()];
    const at = rows.findIndex(({ element }) => element.contains(document.activeElement));
    if (event.key === "/") this.bar.submitter.focus();
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const next = rows[at < 0 ? 0 : at + (event.key === "ArrowDown" ? 1 : -1)];
      if (!next) return false;
      next.link.focus();
      next.element.scrollIntoView({ block: "nearest" });
    } else if (event.key === "c" && at >= 0 && !rows[at].cancel.hidden) void this.#cancel(rows[at].job);
    else return false;
    return true;
  }

  /** @param {{id: string, state: string}} job as an event tells of it */
  #changed({ id, state }) {
    // One that is not shown may pass the filter now; without one it is new, and on the first page.
    if (this.#rows.has(id) || (this.filter.state && passes({ ...this.filter, submitter: "", instance: "" }, { state }))) this.#stale.add(id);
    this.#soon(SETTLE);
  }

  /** Looks before long; a look that is due earlier is not put off. @param {number} milliseconds */
  #soon(milliseconds) {
    const due = performance.now() + milliseconds;
    if (document.hidden || this.#asked < 0 || (this.#timer && this.#due <= due)) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = window.setTimeout(() => void this.#look(), milliseconds);
  }

  /** Reads the newest page, and what else is shown and may have changed. */
  async #look() {
    this.#timer = 0;
    this.#again = this.#looking;
    if (this.#looking) return;
    this.#looking = true;
    await this.#page("");
    await this.#single();
    this.#looking = false;
    if (this.#again) return void this.#look();
    if (this.#stale.size) this.#soon(SETTLE);
    else if ([...this.#rows.values()].some(({ job }) => HELD.includes(job.state))) this.#soon(LOOK);
  }

  /** Reads a page: the newest one, or the one behind the cursor. @param {string} cursor */
  async #page(cursor) {
    const asked = this.#asked;
    let page;
    try {
      page = await this.context.api.call("GET", "/gatebus/jobs" + query({ ...this.filter, limit: PAGE, cursor }));
    } catch (error) {
      if (asked === this.#asked) this.#say(t("content.failedList", { reason: /** @type {Error} */ (error).message }));
      return;
    }
    if (asked !== this.#asked) return;
    if (cursor) this.#append(page);
    else this.#renew(page);
    this.bar.show(this.filter, page.counts, [...this.#rows.values()].map(({ job }) => job));
    this.more.hidden = !this.#cursor;
    this.#tick();
    if (this.#rows.size) this.empty.hidden = true;
    else if (this.#cursor) await this.#page(this.#cursor);
    else this.#sayNone();
  }

  /** Puts the newest page before what is shown; what it does not reach to is read anew. @param {any} page */
  #renew({ jobs: found, cursor }) {
    const before = [...this.#rows];
    const last = before.findIndex(([id]) => id === found.at(-1)?.id);
    // Of what stood among those of the page, what the page does not hold passes the filter no more.
    const behind = cursor && last >= 0 ? before.slice(last + 1) : [];
    if (!behind.length) this.#cursor = cursor;
    for (const { id } of found) this.#stale.delete(id);
    const rows = found.map((/** @type {any} */ job) => [job.id, this.#shown(job)]);
    this.#rows = new Map([...rows, ...behind]);
    this.#place();
  }

  /** @param {any} page */
  #append({ jobs: found, cursor }) {
    for (const job of found) this.#rows.set(job.id, this.#shown(job));
    this.#cursor = cursor;
    this.#place();
  }

  /** Reads one by one what the first page does not tell: what may have changed, or runs. */
  async #single() {
    const asked = this.#asked;
    const running = [...this.#rows.values()].slice(PAGE).filter(({ job }) => HELD.includes(job.state));
    const ids = [...new Set([...this.#stale, ...running.map(({ job }) => job.id)])];
    this.#stale = new Set(ids.slice(SINGLE));
    const read = (/** @type {string} */ id) => this.context.api.call("GET", jobPath(id)).catch((error) => (error.status === 404 ? { id, state: "" } : null));
    const found = await Promise.all(ids.slice(0, SINGLE).map(read));
    if (asked !== this.#asked || !ids.length) return;
    const last = [...this.#rows.values()].at(-1)?.job.submitted ?? 0;
    for (const job of found) {
      if (!job) continue;
      if (!job.state || !passes(this.filter, job)) this.#rows.delete(job.id);
      else if (this.#rows.has(job.id) || !this.#cursor || job.submitted > last) this.#rows.set(job.id, this.#shown(job));
    }
    const order = [...this.#rows].sort(([, { job: a }], [, { job: b }]) => b.submitted - a.submitted || (a.id < b.id ? 1 : -1));
    this.#rows = new Map(order);
    this.#place();
    this.#tick();
  }

  /** Has every row in its place; one that stands there already is not moved, so it keeps the focus. */
  #place() {
    const elements = [...this.#rows.values()].map(({ element }) => element);
    const there = new Set(elements);
    for (const element of [...this.list.children]) if (!there.has(/** @type {any} */ (element))) element.remove();
    elements.forEach((element, place) => {
      if (this.list.children[place] !== element) this.list.insertBefore(element, this.list.children[place] ?? null);
    });
  }

  /** @param {any} job @returns {JobRow} */
  #shown(job) {
    const row = this.#rows.get(job.id) ?? new JobRow(this.context.api, (one) => void this.#cancel(one));
    row.show(job);
    return row;
  }

  /** @param {any} job */
  async #cancel(job) {
    const shown = await cancelJob(this.context, job);
    if (shown) this.#changed(shown);
  }

  #tick() {
    const now = this.context.feed.now();
    for (const row of this.#rows.values()) row.tick(now);
  }

  #sayNone() {
    if (Object.values(this.filter).some(Boolean)) {
      this.#say(t("jobs.noneFiltered"), el("a", { class: "gp-button", href: "#/jobs" }, t("jobs.showAll")));
      return;
    }
    const shell = el("code", {}, "gatebus submit workflow_api.json");
    this.#say(t("jobs.none"), el("p", {}, t("jobs.noneDetail")), shell, el("p", {}, t("jobs.noneHttp"), " ", el("code", {}, "POST /gatebus/jobs")));
  }

  /** @param {string} what @param {...HTMLElement} more */
  #say(what, ...more) {
    this.empty.replaceChildren(el("strong", {}, what), ...more);
    this.empty.hidden = false;
  }
}
