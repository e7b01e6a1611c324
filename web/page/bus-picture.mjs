/** A version's image at full size: its frames, its mask over it, and another version to compare it with. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { showImage } from "../comfyui/lib/images.mjs";
import { busUrl } from "./bus-words.mjs";

/** @typedef {import("../comfyui/lib/api.mjs").Api} Api */

/** Event: `change` (another frame, mask or comparison). */
export class BusPicture extends EventTarget {
  /** @type {any} */
  head = null;
  /** @type {any[]} */
  #heads = [];
  /** The version it is compared with, 0 for none. */
  #otherVersion = 0;
  frame = 0;
  masked = false;
  /** Beside each other, not one over the other. */
  beside = false;
  /** Percent of the width that shows the other version. */
  #share = 50;
  /** @type {AbortController} */
  #loading = new AbortController();

  /** @param {Api} api */
  constructor(api) {
    super();
    this.api = api;
    this.element = el("div", { class: "gc-shown" });
  }

  close() {
    this.#loading.abort();
  }

  /** The version it is compared with. */
  get other() {
    return this.#heads.find(({ version }) => version === this.#otherVersion && version !== this.head?.version);
  }

  /** @param {any} head @param {any[]} heads every kept version */
  show(head, heads) {
    const same = this.head?.digest === head.digest && this.head?.version === head.version && Boolean(this.other) === Boolean(heads.find(({ version }) => version === this.#otherVersion));
    this.head = head;
    this.#heads = heads;
    if (same) return;
    this.frame = Math.min(this.frame, head.frames - 1);
    this.#draw();
  }

  /** Another frame of the batch. @param {number} by */
  step(by) {
    const next = this.frame + by;
    if (next < 0 || next >= this.head.frames) return;
    this.frame = next;
    this.#draw();
  }

  toggleMask() {
    if (!this.head.mask) return;
    this.masked = !this.masked;
    this.#draw();
  }

  /** @param {any} head null: with none */
  compareWith(head) {
    this.#otherVersion = head?.version ?? 0;
    this.#draw();
  }

  /** The buttons below it. */
  controls() {
    const { head, frame, other } = this;
    const parts = [];
    if (head.frames > 1) {
      parts.push(
        this.#button("‹", t("content.frameBefore"), () => this.step(-1), frame === 0),
        el("span", { role: "status", class: "gc-quiet" }, t("content.frameOf", { frame: frame + 1, frames: head.frames })),
        this.#button("›", t("content.frameAfter"), () => this.step(1), frame === head.frames - 1),
      );
    }
    if (head.mask) {
      const toggle = el("button", { type: "button", class: "gp-button", "aria-pressed": String(this.masked), onclick: () => this.toggleMask() }, t("content.showMask"));
      parts.push(toggle);
    }
    if (this.#heads.length > 1) parts.push(this.#choice());
    if (other) {
      const beside = () => {
        this.beside = !this.beside;
        this.#draw();
      };
      parts.push(el("button", { type: "button", class: "gp-button", "aria-pressed": String(this.beside), onclick: beside }, t("content.beside")));
    }
    return el("div", { class: "gc-actions" }, ...parts);
  }

  /** @param {string} sign @param {string} name @param {() => void} run @param {boolean} disabled */
  #button(sign, name, run, disabled) {
    return el("button", { type: "button", class: "gp-button", "aria-label": name, title: name, disabled, onclick: run }, sign);
  }

  #choice() {
    const choices = this.#heads.filter((head) => head.version !== this.head.version);
    const options = [el("option", { value: "0" }, t("content.compareNone")), ...choices.map(({ version }) => el("option", { value: String(version) }, `@${version}`))];
    const select = el("select", { class: "gp-select", "aria-label": t("content.compare") }, ...options);
    select.value = String(this.other?.version ?? 0);
    select.addEventListener("change", () => this.compareWith(choices.find(({ version }) => String(version) === select.value) ?? null));
    return el("label", { class: "gc-choice" }, el("span", {}, t("content.compare")), select);
  }

  #draw() {
    this.#loading.abort();
    this.#loading = new AbortController();
    const { head, other, beside } = this;
    const own = this.#figure(head);
    if (!other) this.element.replaceChildren(own);
    else if (beside) this.element.replaceChildren(this.#figure(other), own);
    else this.element.replaceChildren(this.#wipe(own, this.#figure(other)));
    this.element.classList.toggle("gc-beside", Boolean(other) && beside);
    this.dispatchEvent(new Event("change"));
  }

  /** The two over each other, with a line to be moved. @param {HTMLElement} below @param {HTMLElement} above */
  #wipe(below, above) {
    const range = el("input", { type: "range", class: "gc-wipe-range", min: 0, max: 100, value: String(this.#share), "aria-label": t("content.wipe") });
    const line = el("div", { class: "gc-wipe-line" });
    above.classList.add("gc-above");
    const place = () => {
      this.#share = Number(range.value);
      above.style.clipPath = `inset(0 ${100 - this.#share}% 0 0)`;
      line.style.left = `${this.#share}%`;
    };
    range.addEventListener("input", place);
    place();
    return el("div", { class: "gc-wipe" }, below, above, line, range);
  }

  /** @param {any} head */
  #figure(head) {
    const frame = Math.min(this.frame, head.frames - 1);
    const { signal } = this.#loading;
    const name = `${head.name}@${head.version}`;
    const image = /** @type {any} */ (el("img", { alt: name, class: "gc-image", width: head.width, height: head.height, draggable: "false" }));
    const figure = el("figure", {}, el("span", { class: "gc-layers" }, image), el("figcaption", {}, name));
    image.addEventListener("error", () => figure.classList.add("gc-broken"));
    showImage(image, this.api.host, busUrl(this.api, head, "image", frame), signal);
    if (this.masked && head.mask) figure.firstElementChild?.append(this.#mask(head, frame, signal));
    return figure;
  }

  /** The mask in a colour, where it is painted. @param {any} head @param {number} frame @param {AbortSignal} signal */
  #mask(head, frame, signal) {
    const canvas = /** @type {any} */ (el("canvas", { class: "gc-mask", width: head.width, height: head.height, "aria-hidden": "true" }));
    const image = new Image();
    image.addEventListener("load", () => {
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
      for (let at = 0; at < pixels.data.length; at += 4) {
        const painted = pixels.data[at];
        pixels.data.set([255, 40, 80, painted * 0.6], at);
      }
      context.putImageData(pixels, 0, 0);
    });
    showImage(image, this.api.host, busUrl(this.api, head, "mask", frame), signal);
    return canvas;
  }
}
