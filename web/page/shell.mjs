/** The page's frame: head, view, messages, login, and the keys that are everybody's. */
import { el, isTyping } from "../comfyui/lib/dom.mjs";
import { alertOfGates } from "../comfyui/lib/gate-alerts.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { Connection } from "./connection.mjs";
import { heldOf } from "./held-bar.mjs";
import { Header, PLACES } from "./header.mjs";
import { showHelp } from "./help.mjs";
import { access } from "./host.mjs";
import { loginForm } from "./login.mjs";
import { Places } from "./places.mjs";
import { openSettings } from "./settings-dialog.mjs";
import { Toasts } from "./toasts.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {import("./page.mjs").Open} Open */

/** Milliseconds within which the letter of a place follows `g`. */
const CHORD = 1500;

export class Shell {
  #toasts = new Toasts();
  /** @type {import("./help.mjs").Key[]} of the view */
  #keys = [];
  /** When `g` was pressed, 0: it was not. */
  #chord = -Infinity;
  #role = "";

  /**
   * @param {Omit<Context, "toast" | "help" | "go">} parts
   * @param {Record<string, () => Promise<{open: Open}>>} views
   */
  constructor(parts, views) {
    this.places = new Places(views);
    /** @type {Context} */
    this.context = {
      ...parts,
      toast: (severity, summary, detail, action) => this.#toasts.show(severity, summary, detail, action),
      help: (keys) => void (this.#keys = keys),
      go: (place, replace) => this.places.go(place, replace),
    };
    const { feed, inbox, settings } = this.context;
    this.connection = new Connection(feed);
    this.header = new Header(this.connection.mark, {
      settings: () => openSettings(this.context),
      help: () => this.#help(),
    });
    const { element: main } = this.places;
    const skip = el("a", { class: "gp-skip", href: "#main" }, t("shell.skip"));
    skip.addEventListener("click", (event) => {
      // The address names places, not elements.
      event.preventDefault();
      main.focus();
    });
    document.body.append(skip, this.header.element, this.connection.banner, main, this.#toasts.element);
    window.addEventListener("keydown", (event) => this.#pressed(event));
    this.places.addEventListener("change", () => this.#show());
    inbox.addEventListener("change", () => this.#show());
    settings.addEventListener("change", () => this.#show());
    access.addEventListener("unauthorized", () => this.#logIn());
    alertOfGates(feed, {
      sound: () => settings.get("sound"),
      notification: () => settings.get("notification"),
      icon: (gate) => (this.context.api.host.token?.() ? "" : this.context.api.previewUrl(gate)),
      open: (gate) => this.context.go(`#/gates/${gate.id}`),
    });
    // What an earlier page of this tab held goes on, whichever place is shown.
    this.held = heldOf(this.context);
    this.places.start(this.context);
    void this.#meet();
  }

  /** Asks the server what this token may do, and the person for a name, once. */
  async #meet() {
    const { api, settings, ask } = this.context;
    const status = await api.call("GET", "/gatebus/status").catch(() => null);
    // The server is away, or wants a token first: it is asked again then.
    if (!status) return this.context.feed.addEventListener("connection", () => void this.#meet(), { once: true });
    this.#role = status.role;
    this.#show();
    if (settings.get("name") || settings.get("asked") || this.#role === "view") return;
    settings.set("asked", true);
    const name = await ask({ title: t("shell.whoAsk"), message: t("shell.nameDetail"), label: t("shell.name") });
    if (name) settings.set("name", name);
  }

  #show() {
    const { inbox, settings } = this.context;
    const { view, name } = this.places;
    const count = inbox.all.length;
    const title = view?.title ?? t(`shell.${PLACES.find((place) => place === name) ?? "gates"}`);
    document.title = `${count ? `(${count}) ` : ""}${title} · gatebus`;
    this.header.showPlace(name);
    this.header.showCount(count);
    this.header.showWho(settings.get("name"), this.#role === "view");
  }

  #logIn() {
    const { element: main } = this.places;
    if (main.querySelector(".gp-login")) return;
    this.connection.needsToken(true);
    const form = loginForm(() => {
      this.connection.needsToken(false);
      this.context.feed.refresh();
      this.places.unblock();
      void this.#meet();
    });
    this.places.block(form);
    form.querySelector("input")?.focus();
  }

  #help() {
    const letters = PLACES.map((name) => ({ key: `g ${name[0]}`, does: t(`shell.${name}`) }));
    showHelp(this.#keys, [{ key: "U", does: t("shell.undo") }, ...letters, { key: ",", does: t("shell.settings") }, { key: "?", does: t("shell.keys") }]);
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (event.defaultPrevented || event.isComposing || isTyping(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    if (this.#act(event)) event.preventDefault();
  }

  /** @param {KeyboardEvent} event @returns {boolean} whether the key does something */
  #act(event) {
    const { key } = event;
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    const place = PLACES.find((name) => name[0] === key);
    const chord = performance.now() - this.#chord < CHORD;
    this.#chord = -Infinity;
    if (plain && chord && place) {
      this.context.go(`#/${place}`);
      return true;
    }
    if (this.places.view?.key?.(event)) return true;
    if (!plain) return false;
    if (key === "?") this.#help();
    else if (key === ",") openSettings(this.context);
    else if (key === "u" || key === "U") return this.held.undo();
    else if (key === "g") this.#chord = performance.now();
    else return false;
    return true;
  }
}
