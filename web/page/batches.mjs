/** The batches that are held or being sent, each a row at the page's lower edge, whichever place is shown. */
import { decisionId } from "../comfyui/lib/api.mjs";
import { everySecond } from "../comfyui/lib/clock.mjs";
import { el } from "../comfyui/lib/dom.mjs";
import { register, t } from "../comfyui/lib/i18n.mjs";
import { Batch } from "./batch.mjs";
import { batch as texts } from "./texts/batch.mjs";

/** @typedef {import("./held-bar.mjs").Surroundings} Surroundings */
/** @typedef {import("./batch.mjs").Kept} Kept */
/** @typedef {{element: HTMLElement, words: HTMLElement, line: HTMLElement & Record<string, any>, buttons: HTMLElement, state: string}} Row */

register("batch", texts);

const KEY = "gatebus.batches";

/** Event `change` when a batch begins, goes on or ends. */
export class Batches extends EventTarget {
  /** Those that are not over, the first made first. @type {Batch[]} */
  all = [];
  /** @type {Map<Batch, Row>} */
  #rows = new Map();
  /** @type {(() => void) | null} */
  #ticking = null;

  /**
   * @param {Surroundings} surroundings
   * @param {Pick<Storage, "getItem" | "setItem" | "removeItem">} storage
   * @param {Pick<BroadcastChannel, "postMessage" | "addEventListener">} [channel] to a tab that was duplicated from
   *   this one and holds the same
   */
  constructor(surroundings, storage, channel) {
    super();
    this.surroundings = surroundings;
    this.storage = storage;
    this.channel = channel;
    this.element = el("div", { class: "gb-held-rows" });
    channel?.addEventListener("message", (/** @type {any} */ { data }) => {
      for (const batch of this.all) if (batch.kept.id === data && batch.state === "held") batch.stop();
    });
    const { feed } = surroundings;
    feed.addEventListener("connection", () => {
      if (!feed.connected || feed.unavailable) return;
      for (const batch of this.all) if (batch.state === "unknown") void batch.send();
    });
    for (const kept of this.#read()) this.#add(kept);
  }

  /** The one that decides the gate, undefined for none. @param {string} id */
  of(id) {
    return this.all.find((batch) => batch.has(id));
  }

  /** Whether a page that is left now would leave some of it behind. */
  get endangered() {
    return this.all.some((batch) => batch.endangered);
  }

  /** Decides all of them, after the time in which it can be undone. @param {string[]} ids @param {number} route @param {string} name */
  begin(ids, route, name) {
    const { settings } = this.surroundings;
    const until = Date.now() + 1000 * (Number(settings.get("hold")) || 0);
    this.#add({ ids, route, name, id: decisionId(), by: settings.get("name"), until, sent: false });
  }

  /** Another decision is made about the gate. @param {string} id */
  drop(id) {
    this.of(id)?.drop(id);
  }

  /** The one that was held last, undefined for none. */
  get held() {
    return this.all.filter((batch) => batch.state === "held").at(-1);
  }

  /** @param {Batch} batch */
  undo(batch) {
    this.channel?.postMessage(batch.kept.id);
    batch.stop();
  }

  /** Sends all that is held now: the page is being left. */
  flush() {
    for (const batch of [...this.all]) void batch.send();
  }

  /** @param {Kept} kept */
  #add(kept) {
    const batch = new Batch(kept, this.surroundings.decisions);
    this.all.push(batch);
    batch.addEventListener("change", () => this.#changed(batch));
    batch.start();
    this.#changed(batch);
  }

  /** @param {Batch} batch */
  #changed(batch) {
    const row = this.#rows.get(batch);
    if (batch.over) {
      const place = this.all.indexOf(batch);
      if (place < 0) return;
      this.all.splice(place, 1);
      row?.element.remove();
      this.#rows.delete(batch);
      this.#tell(batch);
    } else this.#draw(batch, row);
    this.#write();
    if (this.all.length) this.#ticking ??= everySecond(() => this.all.forEach((each) => this.#draw(each, this.#rows.get(each))));
    else this.#ticking = (this.#ticking?.(), null);
    this.dispatchEvent(new Event("change"));
  }

  /** What became of it. @param {Batch} batch */
  #tell(batch) {
    const { toast } = this.surroundings;
    const { kept, total, result } = batch;
    if (batch.state === "undone") return void (total && toast("info", t("batch.undone", { count: total })));
    const { done, late, refused, left } = result;
    const parts = [];
    for (const [by, count] of late) parts.push(by ? t("batch.lateBy", { count, by }) : t("batch.late", { count }));
    for (const [reason, count] of refused) parts.push(t("batch.refused", { count, reason }));
    if (left) parts.push(t("batch.left", { count: left }));
    const summary = kept.route ? t("batch.routed", { count: done, route: kept.name }) : t("batch.stopped", { count: done });
    toast(refused.size ? "error" : parts.length ? "warn" : "success", summary, parts.join("\n"));
  }

  /** @param {Batch} batch @param {Row | undefined} row */
  #draw(batch, row = this.#row(batch)) {
    const { state, total, settled, reason, kept } = batch;
    if (row.state !== state) {
      row.state = row.element.dataset.state = state;
      const had = row.buttons.contains(document.activeElement);
      row.buttons.replaceChildren(...this.#buttons(batch));
      if (had) row.buttons.querySelector("button")?.focus({ preventScroll: true });
    }
    const seconds = Math.max(0, Math.ceil((kept.until - Date.now()) / 1000));
    const values = { count: total, done: settled, seconds, route: kept.name };
    const holding = kept.route ? t("batch.holding", values) : t("batch.stopping", values);
    const unknown = t("batch.unknown", { count: total - settled, reason });
    row.words.textContent = state === "held" ? holding : state === "unknown" ? unknown : t("batch.sending", values);
    row.line.hidden = state !== "sending";
    row.line.value = settled;
  }

  /** @param {Batch} batch @returns {Row} */
  #row(batch) {
    const words = el("span", { class: "gb-held-text" });
    const line = el("progress", { max: batch.total, value: 0, "aria-label": t("batch.batch") });
    const buttons = el("span", { class: "gb-held-buttons" });
    const element = el("div", { class: "gb-held-row gb-batch", role: "group", "aria-label": t("batch.batch") }, words, line, buttons);
    const row = { element, words, line, buttons, state: "" };
    this.#rows.set(batch, row);
    this.element.append(element);
    return row;
  }

  /** @param {Batch} batch */
  #buttons(batch) {
    const button = (/** @type {string} */ name, /** @type {() => void} */ run) =>
      el("button", { type: "button", class: "gb-held-button", onclick: run }, name);
    const send = () => void batch.send();
    if (batch.state === "held") return [button(t("held.undo"), () => this.undo(batch)), button(t("held.send"), send)];
    if (batch.state === "unknown") return [button(t("gate.retry"), send), button(t("gate.giveUp"), () => batch.stop())];
    return [button(t("batch.halt"), () => batch.stop())];
  }

  #write() {
    try {
      if (this.all.length) this.storage.setItem(KEY, JSON.stringify(this.all.map((batch) => batch.rest)));
      else this.storage.removeItem(KEY);
    } catch (error) {
      // No room, or no storage at all: it is held and sent all the same.
      console.warn("gatebus: held decisions are not kept over a crash of this tab", error);
    }
  }

  /** @returns {Kept[]} */
  #read() {
    try {
      const kept = JSON.parse(this.storage.getItem(KEY) ?? "[]");
      return Array.isArray(kept) ? kept.filter((each) => each?.id && Array.isArray(each.ids) && each.ids.length) : [];
    } catch {
      // What another program left there is no decision of ours.
      return [];
    }
  }
}
