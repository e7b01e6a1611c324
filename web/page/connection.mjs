/** Whether what the page shows is what is: connected, the store away, offline, or a token needed. Never silent. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";

/** @typedef {import("../comfyui/lib/feed.mjs").Feed} Feed */
/** @typedef {"on" | "begin" | "away" | "off" | "token"} State */

/** Milliseconds within which a stream that ended may come back unseen. */
const PATIENCE = 1200;

export class Connection {
  /** @type {State} */
  state = "begin";
  /** Whether the server wants a token that this page does not have. */
  #token = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {Feed} feed */
  constructor(feed) {
    this.feed = feed;
    this.mark = el("span", { class: "gp-state", role: "status" });
    this.title = el("strong", {});
    this.detail = el("span", {});
    this.retry = el("button", { type: "button", class: "gp-button", onclick: () => feed.refresh() }, t("shell.retryNow"));
    this.banner = el("div", { class: "gp-banner", role: "alert", hidden: true }, this.title, this.detail, this.retry);
    feed.addEventListener("connection", () => this.#look());
    window.addEventListener("offline", () => this.#look());
    window.addEventListener("online", () => feed.refresh());
    this.#look();
  }

  /** @param {boolean} needed */
  needsToken(needed) {
    this.#token = needed;
    this.#look();
  }

  #look() {
    clearTimeout(this.#timer);
    const state = this.#now();
    if (state === "off" && (this.state === "on" || this.state === "begin") && navigator.onLine) {
      this.#timer = setTimeout(() => this.#show(this.#now()), PATIENCE);
      document.documentElement.dataset.connection = state;
    } else this.#show(state);
  }

  /** @returns {State} */
  #now() {
    if (this.#token) return "token";
    if (!this.feed.connected) return "off";
    return this.feed.unavailable ? "away" : "on";
  }

  /** @param {State} state */
  #show(state) {
    this.state = state;
    // For styles and tests.
    document.documentElement.dataset.connection = state;
    this.mark.dataset.state = state;
    this.mark.textContent = t(`shell.state.${state}`);
    const { refused, unavailable } = this.feed;
    const detail = state === "off" ? refused || t("shell.offDetail") : t("shell.awayDetail", { reason: unavailable });
    this.banner.hidden = state !== "off" && state !== "away";
    // The same words again would be read out again.
    if (this.banner.hidden || this.detail.textContent === detail) return;
    this.title.textContent = t(state === "off" ? "shell.off" : "shell.away");
    this.detail.textContent = detail;
    this.retry.hidden = state !== "off";
  }
}
