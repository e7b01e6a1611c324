/**
 * The list of buses below a text field: pick one, one of its versions, or type any name. The field
 * is a combobox; it is the host's own, or one of ours within the list. Free of ComfyUI.
 */
import { describe, matching, parseReference, references } from "./bus-names.mjs";
import { el, Undoing } from "./dom.mjs";
import { register, t } from "./i18n.mjs";
import { bus as texts } from "./texts/bus.mjs";

/** @typedef {import("./api.mjs").Api} Api */
/** @typedef {{left: number, top: number, width: number, height: number}} Box in the window's pixels */
/**
 * @typedef {object} Choosing
 * @property {Api} api
 * @property {EventTarget} feed tells `bus` and `reset`
 * @property {string} value
 * @property {boolean} versions whether a version can be picked
 * @property {() => Box} place where the field is
 * @property {HTMLInputElement} [field] the host's; without it the list has one of its own
 * @property {(value: string) => void} pick
 */

register("bus", texts);

/** Milliseconds between two events after which the list is read once. */
const SETTLE = 150;

/** Pixels of a list that is worth to be seen. */
const LOWEST = 180;

let count = 0;

export class BusPopover {
  /** @type {any[]} the newest version of each bus */
  #heads = [];
  /** @type {{name: string, heads: any[]} | null} */
  #versions = null;
  #message = "";
  #loaded = false;
  /** Whether the text was typed since it opened: what stood there filters nothing. */
  #typed = false;
  #undoing = new Undoing();
  /** @type {number} the row that the arrow keys are at, -1 for none */
  #at = -1;
  /** @type {{reference: string, moving: string, into: string, element: HTMLElement}[]} */
  #rows = [];
  #closed = false;

  /** @param {Choosing} choosing */
  constructor(choosing) {
    this.choosing = choosing;
    this.own = !choosing.field;
    this.field = choosing.field ?? /** @type {HTMLInputElement} */ (/** @type {unknown} */ (el("input", { type: "text", value: choosing.value, "aria-label": t("bus.name"), spellcheck: "false", autocomplete: "off", maxlength: 80 })));
    const id = `gatebus-bus-list-${++count}`;
    this.list = el("div", { class: "gatebus-bus-list", role: "listbox", id, "aria-label": t("bus.list") });
    this.status = el("div", { class: "gatebus-bus-status", role: "status" });
    this.back = el("button", { type: "button", class: "gatebus-bus-back", tabindex: -1, hidden: true, onclick: () => this.#out() });
    this.element = el("div", { class: "gatebus-bus" }, this.own && this.field, this.back, this.list, this.status);
    this.#combobox(id);
    const listen = this.#undoing.listen.bind(this.#undoing);
    listen(this.field, "input", () => this.#input());
    listen(this.field, "keydown", (event) => this.#key(event), { capture: true });
    // The field keeps the focus while the list is used.
    listen(this.element, "pointerdown", (event) => event.target === this.field || event.preventDefault());
    listen(window, "pointerdown", (event) => this.#outside(event), { capture: true });
    listen(window, "wheel", (event) => this.#outside(event), { capture: true, passive: true });
    listen(window, "resize", () => this.close(true));
    listen(window, "blur", () => this.close(true));
    let settling = 0;
    const later = () => {
      clearTimeout(settling);
      settling = window.setTimeout(() => this.#load(), SETTLE);
    };
    for (const type of ["bus", "reset"]) listen(choosing.feed, type, later);
    this.#undoing.add(() => clearTimeout(settling));
    document.body.append(this.element);
    this.#render();
    if (this.own) {
      this.field.focus();
      this.field.select();
    }
    void this.#load();
  }

  /**
   * Closes it; may be called again.
   * @param {boolean} keep whether what was typed into its own field is taken
   */
  close(keep) {
    if (this.#closed) return;
    this.#closed = true;
    this.#undoing.run();
    this.element.remove();
    if (keep && this.own && this.field.value !== this.choosing.value) this.choosing.pick(this.field.value.trim());
  }

  get closed() {
    return this.#closed;
  }

  /** @param {string} id */
  #combobox(id) {
    const attributes = { role: "combobox", "aria-expanded": "true", "aria-controls": id, "aria-autocomplete": "list" };
    for (const [name, value] of Object.entries(attributes)) {
      const before = this.field.getAttribute(name);
      this.field.setAttribute(name, value);
      this.#undoing.add(() => (before === null ? this.field.removeAttribute(name) : this.field.setAttribute(name, before)));
    }
    this.#undoing.add(() => this.field.removeAttribute("aria-activedescendant"));
  }

  async #load() {
    try {
      const { buses, unavailable } = await this.choosing.api.buses();
      this.#heads = buses;
      this.#message = unavailable ? t("bus.away") : "";
      const { name, version } = parseReference(this.field.value);
      if (this.choosing.versions && (this.#versions || version !== null)) await this.#loadVersions(this.#versions?.name ?? name);
    } catch (error) {
      this.#message = t("bus.failed", { reason: error instanceof Error ? error.message : String(error) });
    }
    this.#loaded = true;
    if (!this.#closed) this.#render();
  }

  /** @param {string} name */
  async #loadVersions(name) {
    if (!this.#heads.some((head) => head.name === name)) {
      this.#versions = null;
      return;
    }
    const { versions } = await this.choosing.api.versions(name);
    this.#versions = { name, heads: versions };
  }

  /** Shows the versions of that bus. @param {string} name */
  async #into(name) {
    this.#typed = false;
    try {
      await this.#loadVersions(name);
    } catch (error) {
      this.#message = t("bus.failed", { reason: error instanceof Error ? error.message : String(error) });
    }
    if (!this.#closed) this.#render();
  }

  /** Shows the buses again. */
  #out() {
    this.#versions = null;
    this.#typed = false;
    this.#render();
  }

  #input() {
    this.#typed = true;
    const { name, version } = parseReference(this.field.value);
    if (version === null || !this.choosing.versions) this.#versions = null;
    else if (this.#versions?.name !== name) void this.#into(name);
    this.#render();
  }

  #render() {
    const { versions } = this.choosing;
    const now = Date.now();
    const text = this.field.value;
    const scrolled = this.list.scrollTop;
    if (this.#versions) {
      const { version } = parseReference(text);
      const rows = references(this.#versions.heads).filter(
        ({ fixed, moving }) => !this.#typed || !version || [fixed, moving].some((one) => one.split("@")[1]?.startsWith(version)),
      );
      this.#rows = rows.map(({ head, fixed, moving }) => this.#row(head, fixed, moving, "", now));
    } else {
      this.#rows = matching(this.#heads, this.#typed ? text : "").map((head) =>
        this.#row(head, head.name, head.name, versions ? head.name : "", now),
      );
    }
    this.list.replaceChildren(...this.#rows.map(({ element }) => element));
    this.list.scrollTop = scrolled;
    this.list.hidden = this.#rows.length === 0;
    const heading = this.#versions ? t("bus.versions", { name: this.#versions.name }) : t("bus.list");
    this.list.setAttribute("aria-label", heading);
    this.back.textContent = `‹ ${heading}`;
    this.back.hidden = !this.#versions;
    this.status.textContent = this.#message || this.#hint(text);
    this.status.hidden = !this.status.textContent;
    this.#mark(this.#typed ? -1 : this.#rows.findIndex(({ reference, moving }) => [reference, moving].includes(text)));
    this.#place();
  }

  /** @param {string} text */
  #hint(text) {
    const { name } = parseReference(text);
    if (!this.#loaded) return t("bus.loading");
    const known = this.#heads.some((head) => head.name === name);
    if (!this.choosing.versions) return name ? t(known ? "bus.again" : "bus.fresh", { name }) : "";
    if (!this.#heads.length) return t("bus.none");
    return name && !known ? t("bus.unknown", { name }) : "";
  }

  /**
   * @param {any} head
   * @param {string} reference what a click picks
   * @param {string} moving the name by distance from the newest
   * @param {string} into the bus whose versions it leads to, "" for none
   * @param {number} now
   */
  #row(head, reference, moving, into, now) {
    const choose = (/** @type {string} */ value) => (/** @type {Event} */ event) => {
      event.stopPropagation();
      this.#choose(value);
    };
    const image = el("img", { alt: "", loading: "lazy", decoding: "async", draggable: "false", src: this.choosing.api.busThumbnailUrl(head, 64) });
    image.addEventListener("error", () => image.remove());
    const label = head.meta?.label || head.meta?.workflow || "";
    const open = (/** @type {Event} */ event) => {
      event.stopPropagation();
      void this.#into(into);
    };
    const element = el(
      "div",
      { class: "gatebus-bus-row", role: "option", id: `${this.list.id}-${head.name}-${head.version}`, "aria-selected": "false", onclick: choose(reference) },
      el("span", { class: "gatebus-bus-picture" }, image),
      el(
        "span",
        { class: "gatebus-bus-text" },
        el("span", { class: "gatebus-bus-name" }, reference, label && el("span", { class: "gatebus-bus-label" }, label)),
        el("span", { class: "gatebus-bus-about" }, describe(head, now)),
      ),
      into && head.version > 1 && el("button", { type: "button", tabindex: -1, title: t("bus.versions", { name: into }), "aria-label": t("bus.versions", { name: into }), onclick: open }, `@${head.version} ›`),
      !into && moving !== reference && el("button", { type: "button", tabindex: -1, title: t("bus.always", { reference: moving }), "aria-label": t("bus.always", { reference: moving }), onclick: choose(moving) }, moving.includes("@") ? moving.slice(moving.indexOf("@")) : t("bus.newest")),
    );
    return { reference, moving, into, element };
  }

  /** @param {string} value */
  #choose(value) {
    if (this.own) this.field.value = value;
    this.choosing.pick(value);
    this.close(false);
  }

  /** @param {number} at */
  #mark(at) {
    this.#at = at;
    this.#rows.forEach(({ element }, index) => element.setAttribute("aria-selected", String(index === at)));
    const element = this.#rows[at]?.element;
    if (element) this.field.setAttribute("aria-activedescendant", element.id);
    else this.field.removeAttribute("aria-activedescendant");
    element?.scrollIntoView({ block: "nearest" });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const row = this.#rows[this.#at];
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (this.#rows.length) this.#mark((Math.max(this.#at, step > 0 ? -1 : 0) + step + this.#rows.length) % this.#rows.length);
    } else if (event.key === "ArrowRight" && row?.into && this.field.selectionStart === this.field.value.length) {
      void this.#into(row.into);
    } else if (event.key === "ArrowLeft" && this.#versions && row) {
      this.#out();
    } else if (event.key === "Enter" && row) {
      this.#choose(event.shiftKey ? row.moving : row.reference);
    } else if (event.key === "Enter") {
      this.close(true);
    } else if (event.key === "Escape") {
      this.close(false);
    } else {
      if (event.key === "Tab") this.close(true);
      return;
    }
    event.preventDefault();
    // The page's own keys, such as Escape for leaving a subgraph.
    event.stopPropagation();
  }

  /** @param {Event} event */
  #outside(event) {
    const target = /** @type {Node} */ (event.target);
    if (!this.element.contains(target) && target !== this.field) this.close(true);
  }

  #place() {
    const box = this.choosing.place();
    const { style } = this.element;
    const width = Math.min(Math.max(box.width, 300), 460, window.innerWidth - 16);
    style.width = `${width}px`;
    style.left = `${Math.max(8, Math.min(box.left, window.innerWidth - width - 8))}px`;
    const start = this.own ? box.top : box.top + box.height + 2;
    const below = window.innerHeight - start - 8;
    const above = (this.own ? box.top + box.height : box.top - 2) - 8;
    const down = below >= LOWEST || below >= above;
    style.maxHeight = `${Math.min(420, Math.max(80, down ? below : above))}px`;
    style.top = down ? `${start}px` : "";
    style.bottom = down ? "" : `${window.innerHeight - above - 8}px`;
  }
}
