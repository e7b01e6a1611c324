/** A small picture that loads when it comes into sight, also where the API wants a token. */
import { el } from "../comfyui/lib/dom.mjs";
import { showImage } from "../comfyui/lib/images.mjs";

/** @typedef {import("../comfyui/lib/api.mjs").Api} Api */

export class Thumbnail {
  #url = "";

  /** @param {Api} api @param {string} [alt] "" where what stands beside it says the same */
  constructor(api, alt = "") {
    this.api = api;
    this.img = /** @type {any} */ (el("img", { alt, loading: "lazy", decoding: "async", draggable: "false" }));
    this.element = el("span", { class: "gc-picture" }, this.img);
    this.img.addEventListener("error", () => this.element.classList.add("gc-broken"));
    this.img.addEventListener("load", () => this.element.classList.remove("gc-broken"));
  }

  /** @param {string} url "" for none */
  show(url) {
    if (url === this.#url) return;
    this.#url = url;
    this.element.classList.remove("gc-broken");
    this.img.toggleAttribute("hidden", !url);
    if (url) showImage(this.img, this.api.host, url);
  }
}
