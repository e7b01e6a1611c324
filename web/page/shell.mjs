/** The page's frame: the places, the view that is open, messages, and the keys that are everybody's. */
import { el, isTyping } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { Toasts } from "./toasts.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {import("./page.mjs").View} View */
/** @typedef {import("./page.mjs").Open} Open */

const PLACES = ["gates", "buses", "pools", "instances", "log"];

export class Shell {
  #toasts = new Toasts();
  /** @type {View | null} */
  #view = null;
  #name = "";
  #opening = 0;
  /** @type {{key: string, does: string}[]} */
  #keys = [];

  /**
   * @param {Omit<Context, "toast" | "help" | "go">} parts
   * @param {Record<string, () => Promise<{open: Open}>>} views
   */
  constructor(parts, views) {
    this.views = views;
    /** @type {Context} */
    this.context = {
      ...parts,
      toast: (severity, summary, detail, action) => this.#toasts.show(severity, summary, detail, action),
      help: (keys) => {
        this.#keys = keys;
      },
      go: (place, replace = false) => this.#go(place, replace),
    };
    this.main = el("main", { id: "main", tabindex: -1 });
    const links = PLACES.map((place) => el("a", { href: `#/${place}` }, t(`shell.${place}`)));
    document.body.append(el("header", {}, el("nav", {}, ...links)), this.main, this.#toasts.element);
    window.addEventListener("hashchange", () => this.#open());
    window.addEventListener("keydown", (event) => this.#pressed(event));
    const { feed } = this.context;
    // For styles and tests: what the page knows may be old.
    const connection = () => (document.documentElement.dataset.connection = feed.connected ? "on" : "off");
    feed.addEventListener("connection", connection);
    connection();
    void this.#open();
  }

  /** @param {string} place @param {boolean} replace */
  #go(place, replace) {
    if (!replace) location.hash = place;
    else {
      history.replaceState(null, "", place);
      void this.#open();
    }
  }

  async #open() {
    const { name, rest, query } = placeOf(location.hash);
    if (this.#view && this.#name === name && this.#view.move?.(rest, query)) return;
    const opening = (this.#opening += 1);
    try {
      const load = this.views[name];
      if (!load) throw new Error(name);
      const { open } = await load();
      if (opening !== this.#opening) return;
      this.#view?.remove();
      this.#view = null;
      this.#keys = [];
      const view = await open(this.context, rest, query);
      if (opening !== this.#opening) return view.remove();
      this.#view = view;
      this.#name = name;
      this.main.replaceChildren(view.element);
      document.title = `${view.title} · gatebus`;
    } catch (error) {
      console.error(error);
      this.context.toast("error", t("shell.notHere"), `${/** @type {Error} */ (error).message}`);
    }
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (event.defaultPrevented || isTyping(event.target)) return;
    if (this.#view?.key?.(event)) event.preventDefault();
  }
}

/**
 * What a place means.
 * @param {string} hash `#/gates/ID?workflow=x`
 */
export function placeOf(hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [first = "", ...rest] = path.split("/").filter(Boolean).map(decodeURIComponent);
  const name = first === "gates" && rest.length ? "gate" : first || "gates";
  return { name, rest, query: new URLSearchParams(search) };
}
