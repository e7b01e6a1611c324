/** The images of a batch, small, to choose the one that is shown large. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { showImage } from "../comfyui/lib/images.mjs";

/** @typedef {import("../comfyui/lib/api.mjs").Api} Api */

export class Strip {
  #key = "";
  #abort = new AbortController();

  /** @param {Api} api @param {(frame: number) => void} choose */
  constructor(api, choose) {
    this.api = api;
    this.choose = choose;
    this.element = el("div", { class: "gs-strip", role: "group", "aria-label": t("screen.frames"), hidden: true });
  }

  /** @param {any} gate undefined for none @param {number} frame that is shown */
  show(gate, frame) {
    const count = gate?.width && gate.batch > 1 ? gate.batch : 0;
    const key = count ? `${gate.id} ${gate.fence} ${!!gate.layout}` : "";
    this.element.hidden = !count;
    if (key !== this.#key) {
      this.#key = key;
      this.#abort.abort();
      this.#abort = new AbortController();
      this.element.replaceChildren(...Array.from({ length: count }, (_, at) => this.#cell(gate, at)));
    }
    for (const [at, cell] of [...this.element.children].entries()) {
      const chosen = at === frame;
      if (chosen && cell.getAttribute("aria-pressed") !== "true") cell.scrollIntoView({ block: "nearest", inline: "nearest" });
      cell.setAttribute("aria-pressed", String(chosen));
    }
  }

  remove() {
    this.#abort.abort();
  }

  /** @param {any} gate @param {number} at */
  #cell(gate, at) {
    const image = /** @type {any} */ (el("img", { alt: "", loading: "lazy", draggable: "false" }));
    if (gate.layout) showImage(image, this.api.host, this.api.gateThumbnailUrl(gate, at, 128), this.#abort.signal);
    return el(
      "button",
      { type: "button", class: "gs-frame", "aria-label": t("screen.frame", { number: at + 1 }), onclick: () => this.choose(at) },
      image,
      el("span", { "aria-hidden": "true" }, String(at + 1)),
    );
  }
}
