/** One job (`#/jobs/ID`): how far it is, where and why there, each attempt, what it made, or why it failed. */
import { everySecond } from "../comfyui/lib/clock.mjs";
import { Undoing, el } from "../comfyui/lib/dom.mjs";
import { duration, t } from "../comfyui/lib/i18n.mjs";
import { button } from "./dialogs.mjs";
import { cancelJob, prioritizeJob } from "./job-deeds.mjs";
import { outputsOf } from "./job-outputs.mjs";
import { ENDED, PRIORITIES, jobPath, nameOf, placeOfFilter, priorityText, spanText, stateText, timeText } from "./job-words.mjs";

/** @typedef {import("./page.mjs").Context} Context */

/** Milliseconds in which events are gathered into one look. */
const SETTLE = 100;

/** Milliseconds between two looks at a job that has not ended: progress and reasons are no events. */
const LOOK = 1500;

export class JobView {
  #undoing = new Undoing();
  /** @type {any} */
  #job = null;
  #timer = 0;
  #removed = false;
  /** @type {Map<HTMLElement, string>} section -> what it shows */
  #drawn = new Map();

  /** @param {Context} context @param {string} id */
  constructor(context, id) {
    this.context = context;
    this.id = id;
    this.title = t("job.job", { name: id.slice(0, 8) });
    this.name = el("h1", {}, this.title);
    this.state = el("span", { class: "gj-state" });
    this.span = el("span", { class: "gc-quiet" });
    this.cancel = button(t("jobs.cancel"), () => void this.#cancel());
    this.cancel.hidden = true;
    this.bar = el("progress", { max: 100, hidden: true });
    this.note = el("p", { class: "gj-note", role: "status" });
    const section = (more = "") => el("section", { class: `gj-section ${more}`, hidden: true });
    this.error = section("gj-failed");
    this.outputs = section();
    this.facts = section();
    this.reasons = section();
    this.attempts = section();
    const back = el("a", { class: "gp-button", href: "#/jobs" }, "‹ ", t("jobs.title"));
    const head = el("div", { class: "gc-bar" }, back, this.name, this.state, this.span, this.cancel);
    this.element = el("div", { class: "gc-view gj-job" }, head, this.bar, this.note, this.error, this.outputs, this.facts, this.reasons, this.attempts);
    const { feed } = context;
    this.#undoing.listen(feed, "job", ({ detail }) => detail.id === id && this.#after(SETTLE));
    this.#undoing.listen(feed, "reset", () => this.#after(SETTLE));
    this.#undoing.listen(document, "visibilitychange", () => document.hidden || this.#after(0));
    this.#undoing.add(everySecond(() => this.#tick()));
    context.help([
      { key: "C", does: t("job.cancelKey") },
      { key: "Escape", does: t("job.back") },
    ]);
    void this.#look();
  }

  remove() {
    this.#removed = true;
    clearTimeout(this.#timer);
    this.#undoing.run();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    if (event.key === "Escape") this.context.go("#/jobs");
    else if (event.key === "c" && !this.cancel.hidden) void this.#cancel();
    else return false;
    return true;
  }

  /** @param {number} milliseconds */
  #after(milliseconds) {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => void this.#look(), milliseconds);
  }

  async #look() {
    try {
      this.#job = await this.context.api.call("GET", jobPath(this.id));
    } catch (error) {
      if (this.#removed) return;
      const { status, message } = /** @type {any} */ (error);
      this.note.textContent = message;
      if (status === 404 || status === 400) return;
    }
    if (this.#removed) return;
    if (this.#job) this.#draw();
    if (!document.hidden && !ENDED.includes(this.#job?.state)) this.#after(LOOK);
  }

  #draw() {
    const job = this.#job;
    const live = !ENDED.includes(job.state);
    this.name.textContent = nameOf(job);
    this.state.textContent = stateText(job);
    this.state.setAttribute("data-state", job.cancelling && live ? "stopping" : job.state);
    this.cancel.hidden = !live || Boolean(job.cancelling);
    const share = Math.round(job.progress * 100);
    this.bar.hidden = job.state !== "running";
    this.bar.value = share;
    this.bar.setAttribute("aria-label", t("jobs.progress", { name: nameOf(job) }));
    const runs = job.state === "running" ? [`${share} %`, job.node && t("jobs.atNode", { node: job.node })] : [];
    const copies = job.copies ? t("job.copies", { count: job.copies }) : "";
    this.note.textContent = [...runs, job.note, copies].filter(Boolean).join(" · ");
    this.#section(this.error, job.error, job.state === "done" ? "job.left" : "job.error", failure);
    this.#section(this.outputs, job.outputs.length ? job.outputs : null, "job.outputs", () => [outputsOf(this.context, job)]);
    const { progress, node, rev, reasons, outputs, ...facts } = job;
    this.#section(this.facts, facts, "job.facts", () => [this.#facts(job)]);
    this.#section(this.reasons, reasons.length ? reasons : null, job.instance ? "job.whyThere" : "job.whyNowhere", whys);
    this.#section(this.attempts, job.attempts.length ? job.attempts : null, "job.attempts", attempts);
    this.#tick();
  }

  /**
   * Draws a section anew when it shows something else: what a person opened or selected in it stays.
   * @param {HTMLElement} section
   * @param {any} value null: there is nothing to show
   * @param {string} title
   * @param {(value: any) => Node[]} make
   */
  #section(section, value, title, make) {
    const drawn = JSON.stringify([title, value]);
    if (this.#drawn.get(section) === drawn) return;
    this.#drawn.set(section, drawn);
    section.hidden = !value;
    section.replaceChildren(...(value ? [el("h2", {}, t(title)), ...make(value)] : []));
  }

  /** @param {any} job */
  #facts(job) {
    const { submitter, instance, instance_name, url, submitted, claimed, started, ended, prompt_id, broker, folder, cached_from, gates } = job;
    const time = (/** @type {number} */ at) => el("time", { datetime: new Date(at).toISOString() }, timeText(at, "medium"));
    const link = (/** @type {string} */ href, /** @type {string} */ text) => el("a", { href }, text);
    const others = instance ? [" ", link(placeOfFilter({ state: "held", submitter: "", instance }), t("job.others"))] : [];
    /** @type {[string, any[]][]} */
    const rows = [
      ["where", instance ? [link("#/instances", instance_name || url), ...others] : []],
      ["who", submitter ? [link(placeOfFilter({ state: "", submitter, instance: "" }), submitter)] : []],
      ["priority", [job.state === "queued" ? this.#choice(job) : priorityText(job.priority)]],
      ["when", [time(submitted)]],
      ["waited", claimed ? [duration((claimed - submitted) / 1000)] : []],
      ["started", started ? [time(started)] : []],
      ["ended", ended ? [time(ended)] : []],
      ["waitsFor", gates ? [link(instance_name ? `#/gates?${new URLSearchParams({ instance: instance_name })}` : "#/gates", t("job.person"))] : []],
      ["cachedFrom", cached_from ? [link(`#/jobs/${cached_from}`, cached_from.slice(0, 8))] : []],
      ["folder", folder ? [folder] : []],
      ["id", [el("code", {}, job.id)]],
      ["prompt", prompt_id ? [el("code", {}, prompt_id)] : []],
      ["broker", broker ? [broker] : []],
    ];
    return el("dl", { class: "gc-facts" }, ...rows.filter(([, value]) => value.length).flatMap(([name, value]) => [el("dt", {}, t(`job.${name}`)), el("dd", {}, ...value)]));
  }

  /** The priorities that a job that waits may have. @param {any} job */
  #choice(job) {
    const values = [...new Set([...Object.values(PRIORITIES), job.priority])].sort((a, b) => b - a);
    const select = el("select", { class: "gp-select", "aria-label": t("job.priority") }, ...values.map((value) => el("option", { value }, priorityText(value))));
    select.value = String(job.priority);
    select.addEventListener("change", async () => {
      this.#job = (await prioritizeJob(this.context, job, Number(select.value))) ?? this.#job;
      this.#drawn.delete(this.facts);
      this.#draw();
      this.facts.querySelector("select")?.focus();
      this.#after(0);
    });
    return select;
  }

  async #cancel() {
    const shown = await cancelJob(this.context, this.#job);
    if (!shown) return;
    this.#job = shown;
    this.#draw();
  }

  #tick() {
    const text = this.#job ? spanText(this.#job, this.context.feed.now()) : "";
    if (this.span.textContent !== text) this.span.textContent = text;
  }
}

/** Why it failed. @param {any} error @returns {Node[]} */
function failure({ message, node, class_type, traceback }) {
  const place = node || class_type ? [el("p", { class: "gc-quiet" }, t("jobs.atNode", { node: [class_type, node && `#${node}`].filter(Boolean).join(" ") }))] : [];
  const trace = traceback ? [el("details", {}, el("summary", {}, t("job.traceback")), el("pre", { tabindex: 0 }, traceback))] : [];
  return [el("p", { class: "gj-message" }, message), ...place, ...trace];
}

/** Why it is where it is, and why not elsewhere. @param {any[]} reasons @returns {Node[]} */
function whys(reasons) {
  const first = [...reasons].sort((a, b) => Number(b.chosen) - Number(a.chosen));
  const lines = first.map(({ name, chosen, text }) => el("li", { class: chosen ? "gj-chosen" : "" }, el("strong", {}, name), " ", chosen ? el("span", { class: "gc-mark" }, t("job.chosen")) : null, " ", text));
  return [el("ul", { class: "gj-reasons" }, ...lines)];
}

/** @param {any[]} list @returns {Node[]} */
function attempts(list) {
  const lines = list.map(({ number, name, why, prompt_id }) => el("li", { value: number, title: prompt_id }, el("strong", {}, name), " ", why));
  return [el("ol", { class: "gj-reasons" }, ...lines)];
}
