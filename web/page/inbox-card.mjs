/** One gate in the inbox: its picture, what it is, its routes, and what is going on with it. */
import { el } from "../comfyui/lib/dom.mjs";
import { isBatch, isChooser, isText } from "../comfyui/lib/gate-answers.mjs";
import { labelsOfGate } from "../comfyui/lib/gate-choice.mjs";
import { ageText, countdownText, isOpen, keyOfRoute, outcomeText, routeName, sizeText } from "../comfyui/lib/gate-state.mjs";
import { showImage } from "../comfyui/lib/images.mjs";
import { t } from "../comfyui/lib/i18n.mjs";

/** @typedef {import("../comfyui/lib/api.mjs").Api} Api */

/**
 * @typedef {object} Condition what is going on with a gate
 * @property {any} gate
 * @property {boolean} gone whether it waits no longer, or is not what the filter shows
 * @property {boolean} selected
 * @property {boolean} cursor
 * @property {number} chosen the route that is held or on its way, 0 for none
 * @property {string} word what is held, sent or went wrong, "" for nothing
 * @property {{name: string, run: () => void} | null} action what may be done about that
 */

/** Times that a picture is asked for when it does not come. */
const TRIES = 4;
/** Characters of a text that a card shows. */
const SHOWN = 600;

export class Card {
  /** @type {any} */
  gate = null;
  #key = "";
  #src = "";
  #tries = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {AbortController | null} of what loads */
  #loading = null;

  /**
   * @param {string} id
   * @param {Api} api
   * @param {{route: (id: string, route: number) => void, now: () => number}} inbox
   */
  constructor(id, api, { route, now }) {
    this.id = id;
    this.api = api;
    this.route = route;
    this.now = now;
    const title = `gi-title-${id}`;
    this.image = el("img", { alt: "", draggable: "false", decoding: "async" });
    this.marks = el("span", { class: "gi-marks" });
    this.text = el("span", { class: "gi-text", hidden: true });
    this.picture = el("a", { class: "gi-picture", href: `#/gates/${id}`, tabindex: -1, draggable: "false" }, this.image, this.text, this.marks);
    this.box = el("input", { type: "checkbox", tabindex: -1 });
    this.title = el("span", { class: "gi-title", id: title });
    this.where = el("span", { class: "gi-where" });
    this.time = el("span", { class: "gi-time" });
    this.note = el("span", { class: "gi-note" });
    this.routes = el("div", { class: "gi-routes", role: "group" });
    this.word = el("div", { class: "gi-word", role: "status" });
    this.element = el(
      "article",
      { class: "gi-card", tabindex: -1, "data-id": id, "aria-labelledby": title },
      this.picture,
      el("label", { class: "gi-check" }, this.box),
      el("div", { class: "gi-words" }, this.title, this.where, this.time, this.note),
      this.routes,
      this.word,
    );
    this.image.addEventListener("load", () => this.picture.classList.remove("gi-broken"));
    this.image.addEventListener("error", () => this.#failed());
  }

  /**
   * @param {number} x
   * @param {number} y
   * @param {number} width
   * @param {number} height
   * @param {number} index
   * @param {number} count
   */
  put(x, y, width, height, index, count) {
    const { style } = this.element;
    style.transform = `translate(${x}px, ${y}px)`;
    style.width = `${width}px`;
    style.height = `${height}px`;
    this.element.setAttribute("aria-posinset", String(index + 1));
    this.element.setAttribute("aria-setsize", String(count));
  }

  /** @param {Condition} condition @param {number} delay milliseconds before the picture is asked for */
  show(condition, delay) {
    const { gate, gone, selected, cursor, chosen, word, action } = condition;
    this.gate = gate;
    this.box.checked = selected;
    this.element.classList.toggle("gi-cursor", cursor);
    this.element.classList.toggle("gi-selected", selected);
    const key = JSON.stringify([gate.rev, gate.status, gone, chosen, word, action?.name]);
    if (key !== this.#key) {
      this.#key = key;
      this.#draw(condition);
    }
    // Tab enters one card only: the one under the cursor.
    for (const each of [this.element, this.picture, this.box, ...this.routes.children, ...this.word.querySelectorAll("button")]) {
      /** @type {HTMLElement} */ (each).tabIndex = cursor ? 0 : -1;
    }
    this.tick();
    const src = this.api.previewUrl(gate) + `#${gate.fence}`;
    if (src === this.#src) return;
    this.#src = src;
    this.#tries = 0;
    clearTimeout(this.#timer);
    // While somebody scrolls past, a card that is gone at once asks for nothing.
    if (delay) this.#timer = setTimeout(() => this.#load(), delay);
    else this.#load();
  }

  /** The part that changes every second. */
  tick() {
    const { gate } = this;
    if (!gate) return;
    const now = this.now();
    const age = { age: ageText(gate, now) };
    const parts = [gate.status === "parked" ? t("run.parkedFor", age) : t("inbox.age", age), countdownText(gate, now)];
    const text = isOpen(gate) ? parts.filter(Boolean).join(" · ") : outcomeText(gate);
    if (this.time.textContent !== text) this.time.textContent = text;
    this.element.classList.toggle("gi-urgent", Boolean(gate.deadline) && gate.deadline - now < 60_000);
  }

  remove() {
    clearTimeout(this.#timer);
    // What is still loading is given up: a fast scroll must not leave a queue behind.
    this.#loading?.abort();
    if (!this.image.complete) this.image.removeAttribute("src");
    this.element.remove();
  }

  /** @param {Condition} condition */
  #draw({ gate, gone, chosen, word, action }) {
    const name = gate.title || t("gate.untitled");
    this.element.classList.toggle("gi-gone", gone);
    this.title.textContent = name;
    this.title.title = [name, sizeText(gate)].filter(Boolean).join("\n");
    this.where.textContent = [gate.workflow, gate.instance].filter(Boolean).join(" · ");
    this.where.title = this.where.textContent;
    this.text.hidden = !isText(gate);
    this.text.textContent = isText(gate) ? gate.text.slice(0, SHOWN) : "";
    this.note.textContent = gate.note;
    this.note.title = gate.note;
    this.picture.setAttribute("aria-label", t("inbox.open", { title: name }));
    this.box.setAttribute("aria-label", t("inbox.select", { title: name }));
    this.routes.setAttribute("aria-label", t("inbox.routesOf", { title: name }));
    this.marks.replaceChildren(...this.#marks(gate));
    const routes = Array.from({ length: gate.routes }, (_, index) => this.#button(gate, index + 1, chosen));
    const focused = [...this.routes.children].indexOf(/** @type {any} */ (document.activeElement));
    this.routes.replaceChildren(...routes);
    // They keep their room, so that nothing moves.
    this.routes.inert = gone;
    if (gone && focused >= 0) this.element.focus({ preventScroll: true });
    else if (focused >= 0) /** @type {any} */ (this.routes.children[focused] ?? this.element).focus({ preventScroll: true });
    this.word.hidden = !word;
    this.word.replaceChildren(
      el("span", {}, word),
      action ? el("button", { type: "button", class: "gp-button", onclick: action.run }, action.name) : "",
    );
  }

  /** @param {any} gate */
  #marks(gate) {
    const mark = (/** @type {string} */ text, /** @type {string} */ title, kind = "") =>
      el("span", { class: `gi-mark ${kind}`, title, role: "img", "aria-label": title }, text);
    return [
      gate.status === "orphaned" && mark(t("inbox.orphaned"), t("gate.orphaned"), "gi-warn"),
      gate.status === "parked" && mark(t("inbox.parked"), t("inbox.parkedDetail"), "gi-parked"),
      gate.mask && mark(t("inbox.mask"), t("inbox.maskDetail")),
      gate.batch > 1 && mark(`×${gate.batch}`, sizeText(gate)),
    ].filter(Boolean);
  }

  /** @param {any} gate @param {number} route @param {number} chosen */
  #button(gate, route, chosen) {
    const name = isChooser(gate) && isBatch(gate) ? t("choice.choose") : routeName(route, labelsOfGate(gate));
    return el(
      "button",
      {
        type: "button",
        class: "gi-route",
        tabindex: -1,
        title: t("inbox.routeHint", { route: name, key: keyOfRoute(route) }),
        "aria-pressed": String(chosen === route),
        // The second click of a double click is none: what it means is the first's.
        onclick: () => this.route(this.id, route),
      },
      el("span", { class: "gi-number", "aria-hidden": "true" }, keyOfRoute(route)),
      el("span", { class: "gi-name" }, name),
    );
  }

  #load() {
    this.#loading?.abort();
    this.#loading = new AbortController();
    showImage(/** @type {any} */ (this.image), this.api.host, this.#src, this.#loading.signal);
  }

  #failed() {
    this.picture.classList.add("gi-broken");
    this.#tries += 1;
    if (this.#tries >= TRIES) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.image.removeAttribute("src");
      this.#load();
    }, 500 * 3 ** this.#tries);
  }
}
