/** Short words to the person, that go away by themselves; one may offer an action such as Undo. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";

/** @typedef {"info" | "success" | "warn" | "error"} Severity */
/** @typedef {{name: string, run: () => unknown}} Action */

/** Milliseconds for which each kind stays; an error until it is closed. */
const STAYS = { info: 5000, success: 4000, warn: 10_000, error: 0 };
/** More than these cover the page: the oldest goes. */
const MOST = 4;

export class Toasts {
  constructor() {
    this.element = el("div", { class: "gp-toasts", role: "region", "aria-label": t("shell.messages") });
    // The words are read out where they stand, and errors at once.
    this.element.setAttribute("aria-live", "polite");
  }

  /**
   * @param {Severity} severity
   * @param {string} summary
   * @param {string} [detail]
   * @param {Action} [action]
   * @returns {() => void} takes it away
   */
  show(severity, summary, detail = "", action) {
    let timer = 0;
    const close = () => {
      clearTimeout(timer);
      toast.remove();
    };
    const act = () => {
      close();
      action?.run();
    };
    const toast = el(
      "div",
      { class: `gp-toast gp-${severity}`, role: severity === "error" ? "alert" : "status" },
      el("div", { class: "gp-toast-text" }, el("strong", {}, summary), detail ? el("span", {}, detail) : null),
      action ? el("button", { type: "button", class: "gp-button", onclick: act }, action.name) : null,
      el("button", { type: "button", class: "gp-close", "aria-label": t("shell.close"), onclick: close }, "×"),
    );
    // Whoever reads or is about to act on it is not hurried.
    const wait = () => {
      clearTimeout(timer);
      if (STAYS[severity]) timer = window.setTimeout(close, STAYS[severity] + (action ? 4000 : 0));
    };
    toast.addEventListener("pointerenter", () => clearTimeout(timer));
    toast.addEventListener("pointerleave", wait);
    toast.addEventListener("focusin", () => clearTimeout(timer));
    toast.addEventListener("focusout", wait);
    this.element.append(toast);
    while (this.element.children.length > MOST) this.element.firstElementChild?.remove();
    wait();
    return close;
  }
}
