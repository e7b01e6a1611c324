/** The bar below a pool's grid: uploads under way, and what was done with a way to undo it. */
import { el } from "./dom.mjs";
import { t } from "./i18n.mjs";

export class PoolBar {
  constructor() {
    this.progressBar = el("progress", { max: "1" });
    this.progressText = el("span", { class: "gb-bar-text" });
    this.cancel = el("button", { type: "button", class: "gb-bar-button" });
    this.uploads = el("div", { class: "gb-bar-row", hidden: true }, this.progressBar, this.progressText, this.cancel);
    this.said = el("div", { class: "gb-bar-row", role: "status", hidden: true });
    this.element = el("div", { class: "gb-bar" }, this.uploads, this.said);
    this.cancel.addEventListener("click", () => this.onCancel());
  }

  onCancel = () => {};

  /** @param {string} text @param {number} share done, 0 to 1 @param {string} cancel @param {() => void} onCancel */
  progress(text, share, cancel, onCancel) {
    this.progressBar.value = share;
    this.progressBar.setAttribute("aria-label", text);
    this.progressText.textContent = text;
    this.cancel.textContent = cancel;
    this.onCancel = onCancel;
    this.uploads.removeAttribute("hidden");
  }

  endProgress() {
    this.uploads.setAttribute("hidden", "");
  }

  /** Says what was done, until something else is said or it is dismissed. @param {string} text @param {{label: string, hint: string, run: () => void}[]} actions */
  say(text, actions) {
    const buttons = actions.map(({ label, hint, run }) =>
      el("button", { type: "button", class: "gb-bar-button", title: hint, onclick: run }, label),
    );
    const dismiss = t("pool.dismiss");
    const close = el(
      "button",
      { type: "button", class: "gb-bar-close", title: dismiss, "aria-label": dismiss, onclick: () => this.clear() },
      "✕",
    );
    this.said.replaceChildren(el("span", { class: "gb-bar-text" }, text), ...buttons, close);
    this.said.removeAttribute("hidden");
  }

  clear() {
    this.said.setAttribute("hidden", "");
    this.said.replaceChildren();
  }
}
