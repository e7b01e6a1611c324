/** The words over the gate's image: what is compared, the pixel under the pointer, why nothing is seen. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";

/** @typedef {import("./gate-screen-stage.mjs").Stage} Stage */
/** @typedef {import("./gate-screen-compare.mjs").Choice} Choice */
/** @typedef {import("../comfyui/lib/painter-view.mjs").Point} Point */

export class Captions {
  #shown = "";

  /** @param {Stage} stage */
  constructor(stage) {
    this.stage = stage;
    this.names = el("div", { class: "gs-captions", "aria-hidden": "true" });
    this.pixel = el("output", { class: "gs-pixel", hidden: true });
    this.message = el("p", { class: "gs-message", role: "alert", hidden: true });
    this.swiping = el("div", { class: "gs-swiping", "aria-hidden": "true", hidden: true });
    this.elements = [this.names, this.swiping, this.message, this.pixel];
  }

  /**
   * @param {any} gate
   * @param {Choice | undefined} other what it is compared with, undefined when it is not
   * @param {string} problem why the image can't be shown, "" when it can
   */
  show(gate, other, problem) {
    const { stage } = this;
    this.message.textContent = problem ? t("gate.noImage", { reason: problem }) : "";
    this.message.hidden = !problem;
    const texts = other ? this.#names(gate, other) : [];
    const key = texts.join("\n");
    if (key !== this.#shown) {
      this.#shown = key;
      this.names.replaceChildren(...texts.map((text) => el("span", {}, text)));
    }
    this.names.dataset.upright = String(stage.upright);
  }

  /** @param {any} gate @param {Choice} other @returns {string[]} */
  #names(gate, { name, width, height }) {
    const scaled = width !== gate.width || height !== gate.height;
    const named = scaled ? `${name}, ${t("screen.scaled", { width, height })}` : name;
    if (this.stage.blinking) return [named];
    return this.stage.mode === "blink" ? [t("screen.this")] : [t("screen.this"), named];
  }

  /** The pixel there, null for none. @param {Point | null} at */
  point(at) {
    const found = at && this.stage.pixel(at);
    this.pixel.hidden = !found;
    if (!found) return;
    const [red, green, blue] = found.colour;
    const hex = [red, green, blue].map((part) => part.toString(16).padStart(2, "0")).join("");
    this.pixel.textContent = `x ${found.x}  y ${found.y}  ${found.exact ? "" : "≈ "}#${hex} (${red}, ${green}, ${blue})`;
  }

  /** What a swipe does when it ends; the image follows the finger. @param {number} dx 0 when it is over @param {string} text */
  swipe(dx, text) {
    this.stage.element.style.transform = dx ? `translateX(${dx}px)` : "";
    this.swiping.hidden = !dx || !text;
    this.swiping.dataset.side = dx < 0 ? "left" : "right";
    this.swiping.textContent = text;
  }
}
