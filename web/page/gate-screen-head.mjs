/** The upper edge of the gate's screen: back, title, place among the gates, the neighbours. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { icon } from "./icons.mjs";

/** @typedef {import("./gate-screen-walk.mjs").Walk} Walk */

export class Head {
  /** @param {(by: number) => void} step @param {() => void} facts */
  constructor(step, facts) {
    const button = (/** @type {string} */ name, /** @type {Node | string} */ sign, /** @type {string} */ key, /** @type {() => void} */ run) =>
      el("button", { type: "button", class: "gs-tool", title: `${name} (${key})`, "aria-label": name, onclick: run }, sign);
    this.heading = el("h1", { class: "gs-title" });
    this.position = el("span", { class: "gs-position" });
    this.previous = button(t("gate.previous"), icon("previous"), "←", () => step(-1));
    this.next = button(t("gate.next"), icon("next"), "→", () => step(1));
    this.info = button(t("screen.facts"), "i", "I", facts);
    this.info.classList.add("gs-info");
    this.info.setAttribute("aria-controls", "gs-facts");
    const back = el("a", { class: "gs-tool gs-back", href: "#/gates", title: `${t("screen.back")} (Esc)`, "aria-label": t("screen.back") }, icon("close"));
    this.element = el("header", { class: "gs-head" }, back, this.heading, this.position, this.previous, this.next, this.info);
  }

  /** @param {string} title @param {Walk} walk */
  show(title, walk) {
    const { at, count } = walk;
    if (this.heading.textContent !== title) this.heading.textContent = title;
    this.position.textContent = at < 0 ? "" : t("gate.pager", { number: at + 1, count });
    this.previous.disabled = !walk.beside(-1);
    this.next.disabled = !walk.beside(1);
  }
}
