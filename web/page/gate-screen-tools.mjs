/** The buttons below the gate's image: zoom, images of a batch, comparing, the mask. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { icon } from "./icons.mjs";

/** @typedef {import("./gate-screen-look.mjs").Look} Look */
/** @typedef {import("./gate-screen-stage.mjs").Mode} Mode */

/** @type {Mode[]} in the order in which the key goes through them */
export const MODES = ["single", "wipe", "side", "blink"];

/** @typedef {{paint: () => void, clear: () => void, mask: (shown: boolean, opacity: number) => void, fullScreen: () => void}} Deeds */

/** @param {string} name @param {Node | string} sign @param {() => void} run @param {string} key @param {Record<string, any>} [more] */
const tool = (name, sign, run, key, more = {}) =>
  el("button", { type: "button", class: "gs-tool", title: key ? `${name} (${key})` : name, "aria-label": name, "aria-keyshortcuts": key || null, onclick: run, ...more }, sign);

export class Tools {
  #compared = "";

  /** @param {Look} look @param {Deeds} deeds */
  constructor(look, deeds) {
    this.look = look;
    const size = tool(t("screen.toggle"), "", () => look.toggle(undefined), "Space", { class: "gs-tool gs-zoom" });
    this.size = size;
    this.modes = MODES.map((mode) =>
      tool(t(`screen.${mode}`), icon(mode), () => look.setMode(mode), mode === "blink" ? "B" : "C", { class: "gs-tool gs-mode", "data-mode": mode }),
    );
    this.with = el("select", { class: "gs-with", "aria-label": t("screen.with"), onchange: () => look.compare(this.with.value) });
    this.hold = el("button", { type: "button", class: "gs-tool gs-hold", "aria-keyshortcuts": "B" }, t("screen.hold"));
    for (const [type, down] of /** @type {[string, boolean][]} */ ([["pointerdown", true], ["pointerup", false], ["pointercancel", false], ["pointerleave", false], ["blur", false]])) {
      this.hold.addEventListener(type, () => look.blink(down));
    }
    this.hold.addEventListener("keydown", (/** @type {any} */ event) => event.key === "Enter" && look.blink(true));
    this.hold.addEventListener("keyup", () => look.blink(false));
    this.compare = el("span", { class: "gs-group", role: "group", "aria-label": t("screen.compare") }, ...this.modes, this.with, this.hold);
    this.clear = tool(t("gate.clearMask"), t("gate.clearMask"), deeds.clear, "");
    this.paint = tool(t("gate.editMaskHint"), t("gate.editMask"), deeds.paint, "M", { "aria-label": t("gate.editMask") });
    this.seen = el("input", { type: "checkbox", checked: true, "aria-keyshortcuts": "O", onchange: () => deeds.mask(this.seen.checked, this.opacity.value / 100) });
    this.opacity = el("input", {
      type: "range", min: 10, max: 100, value: 60, class: "gs-opacity", "aria-label": t("screen.opacity"),
      oninput: () => deeds.mask((this.seen.checked = true), this.opacity.value / 100),
    });
    this.shown = el("label", { class: "gs-check", title: t("screen.maskShown") + " (O)" }, this.seen, t("screen.mask"));
    this.mask = el("span", { class: "gs-group", role: "group", "aria-label": t("screen.maskGroup") }, this.paint, this.shown, this.opacity, this.clear);
    this.pixels = el("input", { type: "checkbox", "aria-keyshortcuts": "P", onchange: () => this.setPixels(this.pixels.checked) });
    this.values = el("label", { class: "gs-check gs-values", title: t("screen.pixelsHint") + " (P)" }, this.pixels, t("screen.pixels"));
    this.element = el(
      "div",
      { class: "gs-tools", role: "toolbar", "aria-label": t("screen.tools") },
      el(
        "span",
        { class: "gs-group", role: "group", "aria-label": t("screen.zoom") },
        tool(t("screen.zoomOut"), "−", () => look.zoom(1 / 1.5), "-", { class: "gs-tool gs-by" }),
        size,
        tool(t("screen.zoomIn"), "+", () => look.zoom(1.5), "+", { class: "gs-tool gs-by" }),
        tool(t("screen.full"), icon("full"), deeds.fullScreen, "F"),
      ),
      this.compare,
      this.mask,
      this.values,
    );
  }

  /** The next way of comparing. */
  cycle() {
    if (this.look.choices.length) this.look.setMode(MODES[(MODES.indexOf(this.look.stage.mode) + 1) % MODES.length]);
  }

  /** @param {boolean} on */
  setPixels(on) {
    this.pixels.checked = on;
    this.look.pixels = on;
    this.look.refine();
    this.look.stage.later();
  }

  /** The zoom is another. */
  zoomed() {
    const percent = Math.round(100 * this.look.stage.view.scale);
    this.size.textContent = `${percent} %`;
    this.size.setAttribute("aria-label", t("screen.toggleAt", { percent }));
  }

  /** @param {any} gate undefined for none @param {boolean} open whether it can be painted on */
  show(gate, open) {
    const { stage, choices, chosen } = this.look;
    this.element.hidden = !gate?.width;
    this.zoomed();
    this.compare.hidden = !choices.length;
    for (const button of this.modes) button.setAttribute("aria-pressed", String(button.dataset.mode === stage.mode));
    const offered = JSON.stringify(choices.map(({ id, name }) => [id, name]));
    if (offered !== this.#compared) {
      this.#compared = offered;
      this.with.replaceChildren(...choices.map(({ id, name }) => el("option", { value: id }, name)));
    }
    this.with.value = chosen?.id ?? "";
    this.with.hidden = stage.mode === "single";
    this.hold.hidden = stage.mode !== "blink";
    this.paint.hidden = !open;
    this.clear.hidden = !open || !gate?.mask;
    this.shown.hidden = this.opacity.hidden = !gate?.mask;
    this.mask.hidden = this.paint.hidden && this.shown.hidden;
  }

  /** @param {boolean} shown @param {number} opacity 0 to 1 */
  showMask(shown, opacity) {
    this.seen.checked = shown;
    this.opacity.value = String(Math.round(100 * opacity));
  }
}
