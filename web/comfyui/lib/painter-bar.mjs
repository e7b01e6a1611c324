/** The painter's tool bar: the tool, its size, softness and opacity, what can be done, save and cancel. */
import { el } from "./dom.mjs";
import { t } from "./i18n.mjs";

/**
 * How the brush is set; kept from one painting to the next.
 * @typedef {object} Tool
 * @property {boolean} erase
 * @property {number} size the diameter in pixels of the picture
 * @property {number} softness 0 to 1
 * @property {number} opacity 0 to 1
 */

/** @typedef {"brush" | "eraser" | "undo" | "redo" | "invert" | "fill" | "clear" | "zoomOut" | "zoomIn" | "fit" | "save" | "cancel"} Action */

/** Steps of the size's slider: its scale is logarithmic. */
const STEPS = 200;

/** The largest brush, in pixels. */
export const LARGEST = 1000;

/** Action -> the sign on its button and the key that does the same. @type {Record<string, [string, string]>} */
const BUTTONS = {
  brush: ["", "B"],
  eraser: ["", "E"],
  undo: ["↶", "Ctrl+Z"],
  redo: ["↷", "Ctrl+Y"],
  invert: ["", "X"],
  fill: ["", ""],
  clear: ["", ""],
  zoomOut: ["−", "-"],
  fit: ["", "0"],
  zoomIn: ["+", "+"],
  cancel: ["", "Esc"],
  save: ["", "Enter"],
};

export class Bar {
  /** @type {Record<string, HTMLElement & Record<string, any>>} */
  #buttons = {};
  /** @type {Record<string, {input: any, output: HTMLElement, show: () => void}>} */
  #sliders = {};

  /**
   * @param {Tool} tool changed by the sliders
   * @param {(action: Action) => void} act
   * @param {() => void} onTool a slider has moved
   */
  constructor(tool, act, onTool) {
    this.tool = tool;
    const button = (/** @type {Action} */ action) => this.#button(action, act);
    const percent = (/** @type {number} */ value) => `${Math.round(value * 100)} %`;
    this.element = el(
      "div",
      { class: "gatebus-painter-bar", role: "toolbar", "aria-label": t("painter.tools") },
      group(button("brush"), button("eraser")),
      group(
        this.#slider("size", STEPS, () => toStep(tool.size), (step) => (tool.size = toSize(step)), () => `${tool.size}`, onTool),
        this.#slider("softness", 100, () => tool.softness * 100, (value) => (tool.softness = value / 100), () => percent(tool.softness), onTool),
        this.#slider("opacity", 100, () => tool.opacity * 100, (value) => (tool.opacity = Math.max(0.01, value / 100)), () => percent(tool.opacity), onTool),
      ),
      group(button("undo"), button("redo")),
      group(button("invert"), button("fill"), button("clear")),
      group(button("zoomOut"), button("fit"), button("zoomIn")),
      group(button("cancel"), button("save")),
    );
    this.show(false, false, 1);
  }

  /**
   * Shows the state.
   * @param {boolean} canUndo
   * @param {boolean} canRedo
   * @param {number} scale
   */
  show(canUndo, canRedo, scale) {
    this.#buttons.undo.disabled = !canUndo;
    this.#buttons.redo.disabled = !canRedo;
    this.#buttons.brush.setAttribute("aria-pressed", String(!this.tool.erase));
    this.#buttons.eraser.setAttribute("aria-pressed", String(this.tool.erase));
    this.#buttons.fit.textContent = `${Math.round(scale * 100)} %`;
    for (const { show } of Object.values(this.#sliders)) show();
  }

  /** While it saves nothing else can be done. @param {boolean} busy */
  busy(busy) {
    this.element.inert = busy;
    this.#buttons.save.textContent = busy ? t("painter.saving") : t("painter.save");
  }

  /** @param {Action} action @param {(action: Action) => void} act */
  #button(action, act) {
    const [sign, key] = BUTTONS[action];
    const name = t(`painter.${action}`);
    const title = key ? `${name} (${key})` : name;
    return (this.#buttons[action] = el(
      "button",
      { type: "button", class: `gatebus-painter-${action}`, title, "aria-label": name, onclick: () => act(action) },
      sign || name,
    ));
  }

  /**
   * @param {string} name
   * @param {number} max
   * @param {() => number} get
   * @param {(value: number) => void} set
   * @param {() => string} text
   * @param {() => void} onTool
   */
  #slider(name, max, get, set, text, onTool) {
    const input = el("input", { type: "range", min: 0, max, "aria-label": t(`painter.${name}`) });
    const output = el("output");
    const show = () => {
      input.value = String(Math.round(get()));
      output.textContent = text();
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", () => {
      set(Number(input.value));
      show();
      onTool();
    });
    this.#sliders[name] = { input, output, show };
    return el("label", { class: "gatebus-painter-slider" }, el("span", {}, t(`painter.${name}`)), input, output);
  }
}

/** @param {...Node} children */
function group(...children) {
  return el("div", { class: "gatebus-painter-group" }, ...children);
}

/** @param {number} step of the slider @returns {number} pixels */
export function toSize(step) {
  return Math.max(1, Math.round(LARGEST ** (step / STEPS)));
}

/** @param {number} size @returns {number} */
export function toStep(size) {
  return (Math.log(Math.max(1, size)) / Math.log(LARGEST)) * STEPS;
}
