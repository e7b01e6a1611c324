/** The buttons of a gate's routes, and their names edited in place. Free of ComfyUI. */
import { el } from "./dom.mjs";
import { keyOfRoute, routeName } from "./gate-state.mjs";
import { t } from "./i18n.mjs";

/**
 * @typedef {object} RoutesState
 * @property {number} count
 * @property {string[]} labels one a route
 * @property {boolean} open whether one may be chosen
 * @property {number} chosen the route that is decided or on its way, 0 for none
 * @property {string} gateId "" while none is shown
 * @property {{sign: string, hint: string}} [only] of a gate that only lets pass: what its one button shows as its key, and says
 */

/** Milliseconds between the two clicks of a double click. */
const DOUBLE_CLICK = 400;

export class GateRoutes {
  /** @type {RoutesState} */
  #state = { count: 0, labels: [], open: false, chosen: 0, gateId: "" };
  #key = "";
  #editing = 0;
  /** When a route was last pressed, as events tell the time. */
  #pressed = -Infinity;

  /**
   * @param {(route: number) => void} choose
   * @param {(route: number, label: string) => void} [rename] where names can be edited
   * @param {(name: string, key: string) => string} [hint] what a route's button does
   */
  constructor(choose, rename, hint = (route, key) => t("gate.routeHint", { route, key })) {
    this.choose = choose;
    this.rename = rename;
    this.hint = hint;
    this.element = el("div", { class: "gatebus-routes", role: "group" });
  }

  /** @param {RoutesState} state */
  show(state) {
    this.#state = state;
    const key = JSON.stringify(state);
    if (key === this.#key || this.#editing) return;
    this.#key = key;
    this.#draw();
  }

  /** Edits the route's name in place; Tab goes on to the next. @param {number} route from 1 */
  edit(route) {
    if (!this.rename || route < 1 || route > this.#state.count) return;
    this.#editing = route;
    this.#draw();
    const input = /** @type {HTMLInputElement} */ (this.element.children[route - 1]);
    input.focus();
    input.select();
  }

  #draw() {
    const focused = [...this.element.children].indexOf(/** @type {Element} */ (document.activeElement));
    const { count } = this.#state;
    const parts = Array.from({ length: count }, (_, index) =>
      this.#editing === index + 1 ? this.#input(index + 1) : this.#button(index + 1),
    );
    this.element.replaceChildren(...parts);
    if (focused >= 0 && !this.#editing) /** @type {HTMLElement} */ (this.element.children[focused])?.focus();
  }

  /** @param {number} route */
  #button(route) {
    const { labels, open, chosen, only } = this.#state;
    const name = routeName(route, labels);
    const hints = [only ? only.hint : open && this.hint(name, keyOfRoute(route)), this.rename && t("gate.renameHint")];
    return el(
      "button",
      {
        type: "button",
        class: `gatebus-route${chosen === route ? " gatebus-chosen" : ""}`,
        title: hints.filter(Boolean).join("\n"),
        // Never `disabled`: an idle one still takes a double click and the focus.
        "data-open": open,
        "aria-pressed": String(chosen === route),
        onclick: (/** @type {MouseEvent} */ event) => open && this.#press(route, event),
        ondblclick: () => !this.#state.open && this.edit(route),
        onkeydown: (/** @type {KeyboardEvent} */ event) => {
          if (event.key === "F2") this.edit(route);
        },
      },
      el("span", { class: `gatebus-number${only ? " gatebus-sign" : ""}`, "aria-hidden": "true" }, only?.sign ?? String(route)),
      el("span", { class: "gatebus-name" }, name),
    );
  }

  /** @param {number} route @param {MouseEvent} event */
  #press(route, event) {
    // The second click of a double click is none: it would decide the next gate unseen. A tap that
    // only comes soon after another gesture, which browsers count as a second click too, is one.
    if (event.detail > 1 && event.timeStamp - this.#pressed < DOUBLE_CLICK) return;
    this.#pressed = event.timeStamp;
    this.choose(route);
  }

  /** @param {number} route */
  #input(route) {
    const { labels, count } = this.#state;
    let settled = false;
    const end = (/** @type {boolean} */ keep, next = 0) => {
      if (settled) return;
      settled = true;
      this.#editing = 0;
      this.#key = "";
      const label = input.value.trim();
      if (keep && label !== (labels[route - 1] ?? "")) this.rename?.(route, label);
      this.#draw();
      if (next >= 1 && next <= count) this.edit(next);
    };
    const input = el("input", {
      class: "gatebus-route gatebus-rename",
      type: "text",
      maxlength: 200,
      value: labels[route - 1] ?? "",
      placeholder: t("gate.route", { number: route }),
      "aria-label": t("gate.renameOne", { number: route }),
      onblur: () => end(true),
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.isComposing) return;
        const step = event.shiftKey ? -1 : 1;
        if (event.key === "Enter") end(true);
        else if (event.key === "Escape") end(false);
        else if (event.key === "Tab") end(true, route + step);
        else return;
        event.preventDefault();
      },
    });
    // What is typed is for nobody else: ComfyUI would delete the node on Backspace.
    input.addEventListener("keydown", (/** @type {Event} */ event) => event.stopPropagation());
    return input;
  }
}
