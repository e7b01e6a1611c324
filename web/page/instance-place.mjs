/** What the farm has at an instance: its jobs there, and whether further ones go there, which an admin sets. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { button } from "./dialogs.mjs";
import { placeOfFilter } from "./job-words.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {{state: "" | "paused" | "draining", by: string, held: number}} Place */

/** State that may be chosen -> the route that sets it. @type {Record<string, string>} */
const ROUTES = { paused: "pause", draining: "drain", "": "resume" };

export class InstancePlace {
  /** @type {Place} */
  #place = { state: "", by: "", held: 0 };
  #gone = false;
  #id = "";
  #name = "";
  #drawn = "";

  /** @param {Context} context @param {() => void} changed told after it was set */
  constructor(context, changed) {
    this.context = context;
    this.changed = changed;
    this.element = el("div", { class: "gc-farm" });
  }

  /** @param {{id: string, name: string, gone: boolean}} instance @param {Place} [place] none: in service, without jobs */
  show({ id, name, gone }, place = { state: "", by: "", held: 0 }) {
    const drawn = JSON.stringify([id, name, gone, place]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    this.#place = place;
    this.#id = id;
    this.#name = name;
    this.#gone = gone;
    this.#draw();
  }

  #draw() {
    const { state, by, held } = this.#place;
    const focused = this.element.contains(document.activeElement);
    const who = by && by !== "-" ? t(`instances.${state}By`, { name: by }) : t(`instances.${state}`);
    const mark = state ? [el("strong", { class: "gc-set" }, who), el("span", { class: "gc-quiet" }, t(`instances.${state}Hint`))] : [];
    const jobs = held ? [el("a", { class: "gp-button", href: placeOfFilter({ state: "held", submitter: "", instance: this.#id }) }, t(held === 1 ? "instances.jobOne" : "instances.jobs", { count: held }))] : [];
    // Of one that is gone only what was set can be undone.
    const choices = this.#gone && !state ? [] : this.#gone ? [""] : Object.keys(ROUTES).filter((each) => each !== state);
    const buttons = choices.map((each) => button(t(`instances.${ROUTES[each]}`), () => void this.#set(each), "gc-set-place"));
    buttons.forEach((each, index) => (each.title = t(`instances.${ROUTES[choices[index]]}Hint`)));
    this.element.replaceChildren(...mark, el("div", { class: "gc-actions" }, ...jobs, ...buttons));
    if (focused) buttons[0]?.focus();
  }

  /** @param {string} state */
  async #set(state) {
    const { api, settings, toast } = this.context;
    try {
      this.#place = await api.call("POST", `/gatebus/instances/${this.#id}/${ROUTES[state]}`, { json: { by: settings.get("name") } });
    } catch (error) {
      const { status, message } = /** @type {any} */ (error);
      const told = t("instances.notSet", { name: this.#name });
      toast(status === 403 ? "warn" : "error", told, status === 403 ? t("instances.adminOnly", { reason: message }) : message);
      return;
    }
    this.#drawn = "";
    this.#draw();
    this.changed();
  }
}
