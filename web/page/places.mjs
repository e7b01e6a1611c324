/** Places and their views: what the address says is what is shown, back and forward included. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {import("./page.mjs").View} View */
/** @typedef {import("./page.mjs").Open} Open */
/** @typedef {{name: string, rest: string[], query: URLSearchParams}} Place */

/** Event `change` when another place, or another title, is shown. */
export class Places extends EventTarget {
  /** @type {View | null} */
  view = null;
  /** The name of the place that is shown or being loaded. */
  name = "";
  #shown = "";
  #opening = 0;
  #blocked = false;

  /** @param {Record<string, () => Promise<{open: Open}>>} views */
  constructor(views) {
    super();
    this.views = views;
    this.element = el("main", { id: "main", tabindex: -1 });
  }

  /** Shows what the address says, from now on. @param {Context} context */
  start(context) {
    /** @type {Context} */
    this.context = context;
    window.addEventListener("hashchange", () => void this.open());
    void this.open();
  }

  /** @param {string} place @param {boolean} [replace] whether back leads to where the person was before */
  go(place, replace = false) {
    if (!replace) location.hash = place;
    else {
      history.replaceState(null, "", place);
      void this.open();
    }
  }

  /** Shows the place that the address says. @param {boolean} [anew] also when its view could show it itself */
  async open(anew = false) {
    if (this.#blocked) return;
    const { name, rest, query } = placeOf(location.hash);
    const context = /** @type {Context} */ (this.context);
    const opening = (this.#opening += 1);
    if (name === "gate") context.inbox.cursor = rest[0];
    if (!anew && this.view && this.#shown === name && this.view.move?.(rest, query)) return this.#changed();
    this.name = name;
    try {
      const load = this.views[name];
      if (!load) throw new Error(t("shell.noPlace", { place: name }));
      this.#changed();
      const { open } = await load();
      if (opening !== this.#opening) return;
      // The old one is gone before the new one begins: they may share what there is one of.
      this.#close();
      context.help([]);
      const view = await open(context, rest, query);
      if (opening !== this.#opening) return view.remove();
      const first = !this.#shown;
      this.view = view;
      this.#shown = name;
      this.element.replaceChildren(view.element);
      // A new place is read from its beginning, unless it chose where to begin.
      if (!first && !this.element.contains(document.activeElement)) this.element.focus({ preventScroll: true });
    } catch (error) {
      if (opening !== this.#opening) return;
      console.error(error);
      this.#close();
      const reason = error instanceof Error ? error.message : String(error);
      const retry = el("button", { type: "button", class: "gp-button", onclick: () => this.open(true) }, t("shell.retry"));
      this.element.replaceChildren(el("div", { class: "gp-missing", role: "alert" }, el("h1", {}, t("shell.notHere")), el("p", {}, reason), retry));
    }
    this.#changed();
  }

  /** Shows that, and no place, until {@link unblock}; a view that is still being loaded is not shown either. @param {HTMLElement} element */
  block(element) {
    this.#blocked = true;
    this.#opening += 1;
    this.#close();
    this.element.replaceChildren(element);
  }

  /** Shows the place that the address says. */
  unblock() {
    this.#blocked = false;
    void this.open(true);
  }

  #close() {
    this.view?.remove();
    this.view = null;
    this.element.replaceChildren();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * What a place means.
 * @param {string} hash `#/gates/ID?workflow=x`
 * @returns {Place}
 */
export function placeOf(hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [first = "", ...rest] = path.split("/").filter(Boolean).map(decoded);
  const name = first === "gates" && rest.length ? "gate" : first || "gates";
  return { name, rest, query: new URLSearchParams(search) };
}

/** @param {string} part */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    // Typed by hand: it names nothing as it stands, and the view says so.
    return part;
  }
}
