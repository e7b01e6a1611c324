/** The head of the page: the places with how much waits there, the connection, who decides, settings and help. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { icon } from "./icons.mjs";

/** @typedef {import("./icons.mjs").IconName} IconName */

/** The places that the head leads to. @type {IconName[]} */
export const PLACES = ["gates", "buses", "pools", "jobs", "instances", "log"];

export class Header {
  /** @type {Map<string, HTMLElement>} */
  #links = new Map();
  #count = el("span", { class: "gp-count", hidden: true });
  #who = el("span", {});

  /**
   * @param {HTMLElement} connection
   * @param {{settings: () => void, help: () => void}} actions
   */
  constructor(connection, { settings, help }) {
    for (const name of PLACES) {
      const link = el("a", { class: "gp-place", href: `#/${name}` }, icon(name), el("span", {}, t(`shell.${name}`)));
      if (name === "gates") link.append(this.#count);
      this.#links.set(name, link);
    }
    const tool = (/** @type {IconName} */ name, /** @type {string} */ text, /** @type {() => void} */ run, more = "") =>
      el("button", { type: "button", class: `gp-icon ${more}`, title: text, "aria-label": text, onclick: run }, icon(name));
    this.who = el("button", { type: "button", class: "gp-icon gp-who", onclick: settings }, icon("who"), this.#who);
    this.element = el(
      "header",
      { class: "gp-header" },
      el("a", { class: "gp-brand", href: "#/gates", "aria-label": "gatebus" }, el("img", { src: "web/page/icon.svg", alt: "", width: 26, height: 26 })),
      el("nav", { class: "gp-places", "aria-label": t("shell.places") }, ...this.#links.values()),
      el("div", { class: "gp-tools" }, connection, this.who, tool("settings", t("shell.settings"), settings), tool("help", `${t("shell.keys")} (?)`, help, "gp-help")),
    );
  }

  /** @param {string} name of the place that is shown */
  showPlace(name) {
    const current = name === "gate" ? "gates" : name;
    for (const [place, link] of this.#links) {
      if (place === current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  /** @param {number} count of gates that wait */
  showCount(count) {
    this.#count.hidden = !count;
    this.#count.textContent = count > 9999 ? "9999+" : String(count);
    this.#count.setAttribute("aria-label", t("shell.waiting", { count }));
  }

  /** @param {string} name @param {boolean} readOnly */
  showWho(name, readOnly) {
    const text = readOnly ? t("shell.readOnly") : name || t("shell.whoNone");
    this.#who.textContent = text;
    const words = readOnly ? t("shell.readOnlyDetail") : name ? t("shell.whoIs", { name }) : t("shell.whoAsk");
    this.who.title = words;
    this.who.setAttribute("aria-label", words);
  }
}
