/** The decision log (`#/log`): who decided what, when, from where, on which image; filtered, exported, live. */
import { query } from "../comfyui/lib/api.mjs";
import { Undoing, addStylesheet, el } from "../comfyui/lib/dom.mjs";
import { register, t } from "../comfyui/lib/i18n.mjs";
import { download } from "./bus-words.mjs";
import { COLUMNS, DecisionRow } from "./decision-row.mjs";
import { routeAgain } from "./route-again.mjs";
import { content } from "./texts/content.mjs";
import { decisions } from "./texts/decisions.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {import("./page.mjs").View} View */

register("content", content);
register("decisions", decisions);

/** Decisions asked for at a time. */
const PAGE = 100;

/** Milliseconds in which events, or letters of a filter, are gathered into one look. */
const SETTLE = 300;

/** Decisions in a zip of images. */
const ZIPPED = 1000;

/** Name of a span's text -> its hours. @type {Record<string, number>} */
const SPANS = { always: 0, hour: 1, day: 24, week: 168, month: 720 };

/** @param {Context} context @returns {View} */
export function open(context) {
  addStylesheet(new URL("decision-log.css", import.meta.url).href);
  return new DecisionLog(context);
}

class DecisionLog {
  title = t("decisions.title");
  #undoing = new Undoing();
  /** @type {Map<string, DecisionRow>} entry id -> its row, newest first */
  #rows = new Map();
  #cursor = "";
  #timer = 0;
  /** Grows with every other filter: an answer to an older one is dropped. */
  #asked = 0;

  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    const again = () => this.#after(true);
    const input = (/** @type {string} */ name) =>
      el("input", { class: "gp-input", type: "search", placeholder: t(`decisions.${name}`), "aria-label": t(`decisions.${name}`), maxlength: 200, oninput: again });
    this.by = input("person");
    this.workflow = input("workflow");
    const routes = Array.from({ length: 10 }, (_, index) => el("option", { value: index + 1 }, t("decisions.routeN", { route: index + 1 })));
    this.route = el("select", { class: "gp-select", "aria-label": t("decisions.route"), onchange: again }, el("option", { value: "" }, t("decisions.anyRoute")), ...routes);
    const spans = Object.keys(SPANS).map((name) => el("option", { value: name }, t(`decisions.${name}`)));
    this.span = el("select", { class: "gp-select", "aria-label": t("decisions.time"), onchange: again }, ...spans);
    const saves = el(
      "div",
      { class: "gl-exports", role: "group", "aria-label": t("decisions.exportAs") },
      el("span", {}, t("decisions.exportAs")),
      ...["csv", "jsonl"].map((format) => this.#button(t(`decisions.${format}`), () => this.#export("export", { format }, `decisions.${format}`))),
      this.#button(t("decisions.zip"), () => this.#export("images", { limit: ZIPPED }, "decisions.zip")),
    );
    this.body = el("tbody", { role: "rowgroup" });
    const head = el("tr", { role: "row" }, ...COLUMNS.map((name) => el("th", { scope: "col", role: "columnheader", class: `gl-${name}` }, t(`decisions.${name}`))));
    this.table = el("table", { class: "gl-table", role: "table", "aria-label": this.title }, el("thead", { role: "rowgroup" }, head), this.body);
    this.more = this.#button(t("decisions.more"), () => void this.#look(this.#cursor));
    this.empty = el("div", { class: "gl-empty", role: "status" });
    this.element = el(
      "div",
      { class: "gl-view" },
      el("div", { class: "gl-bar" }, el("h1", {}, this.title), this.by, this.workflow, this.route, this.span, saves),
      this.table,
      this.empty,
      el("div", { class: "gl-more" }, this.more),
    );
    this.more.hidden = true;
    this.table.hidden = true;
    for (const type of ["gates", "reset"]) this.#undoing.listen(context.feed, type, () => this.#after(false));
    this.#undoing.listen(document, "visibilitychange", () => document.hidden || this.#after(false));
    context.help([]);
    void this.#look("");
  }

  remove() {
    clearTimeout(this.#timer);
    this.#asked = -1;
    this.#undoing.run();
  }

  /** @param {string} name @param {() => void} does */
  #button(name, does) {
    return el("button", { type: "button", class: "gp-button", onclick: does }, name);
  }

  /** What the filter asks of the API. */
  #filter() {
    const hours = SPANS[this.span.value];
    const since = hours ? Date.now() - hours * 3_600_000 : "";
    return { by: this.by.value.trim(), workflow: this.workflow.value.trim(), route: this.route.value, since };
  }

  /** Looks at the newest decisions soon. @param {boolean} anew whether the filter is another one */
  #after(anew) {
    if (document.hidden || this.#asked < 0) return;
    if (anew) {
      this.#asked++;
      this.#rows.clear();
    }
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => void this.#look(""), SETTLE);
  }

  /** Reads a page: the newest one, or the one behind the cursor. @param {string} cursor */
  async #look(cursor) {
    const asked = this.#asked;
    let page;
    try {
      page = await this.context.api.call("GET", "/gatebus/decisions" + query({ ...this.#filter(), limit: PAGE, cursor }));
    } catch (error) {
      if (asked === this.#asked) this.#say(t("decisions.unread"), /** @type {Error} */ (error).message);
      return;
    }
    if (asked !== this.#asked) return;
    if (cursor) this.#append(page);
    else this.#renew(page);
    this.more.hidden = !this.#cursor;
    this.table.hidden = !this.#rows.size;
    const filtered = Object.values(this.#filter()).some(Boolean);
    if (this.#rows.size) this.empty.hidden = true;
    else this.#say(t(filtered ? "decisions.noneFiltered" : "decisions.none"), filtered ? "" : t("decisions.noneDetail"));
  }

  /** Puts the newest page before what is shown; what it does not reach to is read anew. @param {any} page */
  #renew(page) {
    const last = page.decisions.at(-1);
    const meets = last && this.#rows.has(last.id);
    const known = meets ? [...this.#rows] : [];
    if (!meets) this.#cursor = page.cursor;
    const rows = new Map(page.decisions.map((/** @type {any} */ row) => [row.id, this.#shown(row, page)]));
    for (const [id, row] of known) if (!rows.has(id)) rows.set(id, row);
    this.#rows = rows;
    this.body.replaceChildren(...[...rows.values()].map((row) => row.element));
  }

  /** @param {any} page */
  #append(page) {
    for (const row of page.decisions) {
      const shown = this.#shown(row, page);
      this.#rows.set(row.id, shown);
      this.body.append(shown.element);
    }
    this.#cursor = page.cursor;
  }

  /** @param {any} row @param {any} page @returns {DecisionRow} */
  #shown(row, page) {
    const shown = this.#rows.get(row.id) ?? new DecisionRow(this.context.api, (gate) => void this.#again(gate));
    shown.show(row, page.images_since);
    return shown;
  }

  /** Has a run go on from a gate of the log, by a route that the person chooses. @param {string} id */
  async #again(id) {
    const { api, feed, toast, go } = this.context;
    try {
      const gate = await api.gate(id);
      feed.take(gate);
      const fresh = await routeAgain(this.context, gate);
      if (fresh) go(`#/gates/${fresh.id}`);
    } catch (error) {
      toast("error", t("run.notAgain"), /** @type {Error} */ (error).message);
    }
  }

  /** @param {string} what @param {string} detail */
  #say(what, detail) {
    this.empty.replaceChildren(el("strong", {}, what), ...(detail ? [el("p", {}, detail)] : []));
    this.empty.hidden = false;
  }

  /** @param {string} what @param {Record<string, any>} more @param {string} name */
  async #export(what, more, name) {
    const path = `/gatebus/decisions/${what}` + query({ ...this.#filter(), ...more });
    await download(this.context, this.context.api.host.url(path), name);
    if (what === "images" && this.#rows.size >= ZIPPED) this.context.toast("info", t("decisions.partial", { count: ZIPPED }));
  }
}
