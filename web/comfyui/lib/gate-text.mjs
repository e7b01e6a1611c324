/** A gate's text, to be read and edited. Free of ComfyUI. */
import { el } from "./dom.mjs";
import "./gate-choice.mjs";
import { t } from "./i18n.mjs";

/** @typedef {import("./gate-answers.mjs").Answers} Answers */

/** Characters that the server takes. */
const LONGEST = 16_384;

export class GateText {
  /** @type {any} */
  #gate = null;

  /** @param {Answers} answers @param {() => void} pass */
  constructor(answers, pass) {
    this.answers = answers;
    this.area = el("textarea", {
      class: "gatebus-text",
      maxlength: LONGEST,
      spellcheck: "true",
      "aria-label": t("choice.text"),
      placeholder: t("choice.text"),
      title: t("choice.textHint"),
      "aria-keyshortcuts": "Control+Enter",
      oninput: () => this.#gate && answers.edit(this.#gate, this.area.value),
    });
    this.area.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      // What is typed is for nobody else.
      event.stopPropagation();
      if (event.key !== "Enter" || event.isComposing || event.repeat || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      pass();
    });
    this.count = el("span", { class: "gatebus-place" });
    this.original = el("button", { type: "button", class: "gatebus-tool", title: t("choice.originalHint"), onclick: () => this.#undo() }, t("choice.original"));
    this.element = el("div", { class: "gatebus-words" }, this.area, el("div", { class: "gatebus-ticked" }, this.count, this.original));
  }

  /** @param {any} gate undefined for none @param {boolean} open whether it can be edited */
  show(gate, open) {
    const other = gate?.id !== this.#gate?.id;
    this.#gate = gate;
    this.element.hidden = !gate;
    if (!gate) return;
    const { decision } = gate;
    const text = decision?.kind === "route" && !open ? decision.text : this.answers.text(gate);
    // What is being typed is what is there.
    if (this.area.value !== text && (other || !open || document.activeElement !== this.area)) this.area.value = text;
    this.area.readOnly = !open;
    this.count.textContent = t("choice.characters", { count: text.length });
    this.original.hidden = !open || !this.answers.edited(gate);
  }

  #undo() {
    this.answers.edit(this.#gate, this.#gate.text);
    this.area.value = this.#gate.text;
    this.area.focus();
  }
}
