/** The inbox: every gate that waits for somebody, seen large or many at once, decided where it stands. */
import { everySecond } from "../comfyui/lib/clock.mjs";
import { Undoing, addStylesheet, el } from "../comfyui/lib/dom.mjs";
import { isOpen, outcomeText, routeOfKey } from "../comfyui/lib/gate-state.mjs";
import { keyAction } from "../comfyui/lib/grid-keys.mjs";
import { register, t } from "../comfyui/lib/i18n.mjs";
import { Selection } from "../comfyui/lib/selection.mjs";
import { heldOf } from "./held-bar.mjs";
import { FilterBar } from "./inbox-bar.mjs";
import { Card } from "./inbox-card.mjs";
import { conditionOf } from "./inbox-condition.mjs";
import { emptyInbox } from "./inbox-empty.mjs";
import { fieldsInUse, filterOf, placeOfFilter } from "./inbox-filter.mjs";
import { InboxGrid } from "./inbox-grid.mjs";
import { InboxHand } from "./inbox-hand.mjs";
import { Order } from "./inbox-order.mjs";
import { RunsBar } from "./inbox-runs.mjs";
import { SelectedBar } from "./inbox-selected.mjs";
import { inbox as texts } from "./texts/inbox.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {import("./page.mjs").View} View */

register("inbox", texts);

/** Milliseconds for which a gate that was decided is still seen, with who decided. */
const LINGER = 4000;
/** Milliseconds without a touch, key or scroll after which places may be taken anew. */
const CALM = 1500;
/** Milliseconds after cards took other places in which a click or key is not trusted to mean what is there now. */
const STARTLED = 400;

/** How far the inbox was scrolled when it was left. */
let keptTop = 0;

/** @param {Context} context @param {string[]} rest @param {URLSearchParams} query @returns {View} */
export function open(context, rest, query) {
  for (const sheet of ["inbox", "inbox-card", "inbox-selected"]) addStylesheet(new URL(`./${sheet}.css`, import.meta.url).href);
  return new InboxView(context, query);
}

/** @implements {View} */
class InboxView {
  title = t("shell.gates");
  order = new Order();
  selection = new Selection();
  #undoing = new Undoing();
  /** @type {string[]} the places that the selection knows */
  #placed = [];
  /** When cards took other places last. */
  #moved = -Infinity;
  /** Filter and order of what is shown. */
  #how = "";

  /** @param {Context} context @param {URLSearchParams} query */
  constructor(context, query) {
    this.context = context;
    const { inbox, settings, feed, api } = context;
    const filter = filterOf(query);
    // Back from a gate's screen, whose address knows nothing of the filter.
    if (fieldsInUse(filter)) inbox.setFilter(filter);
    else if (fieldsInUse(inbox.filter)) history.replaceState(null, "", placeOfFilter(inbox.filter));
    this.held = heldOf(context);
    this.bar = new FilterBar(inbox, settings, (chosen) => this.#filter(chosen));
    const route = (/** @type {string} */ id, /** @type {number} */ number) => this.#route(id, number);
    const make = (/** @type {string} */ id) => new Card(id, api, { route, now: () => feed.now() });
    this.grid = new InboxGrid(make, (card, delay) => card.show(conditionOf(card.id, this), delay), t("inbox.list"));
    this.selected = new SelectedBar(context, {
      selected: () => this.#selectedGates(),
      shown: () => inbox.gates.length,
      all: () => this.#all(),
      clear: () => this.selection.clear(),
    });
    this.pill = el("button", { type: "button", class: "gi-pill", hidden: true, onclick: () => this.#showFresh() });
    this.empty = el("div", { class: "gi-empty" });
    const stage = el("div", { class: "gi-stage" }, this.grid.element, this.pill, this.empty);
    this.runs = new RunsBar(context);
    this.element = el("div", { class: "gi-inbox" }, this.bar.element, this.runs.element, stage, this.selected.element);
    this.hand = new InboxHand(this.grid.element, this.selection, this.#undoing);
    this.#listen();
    context.help([
      { key: "← ↑ ↓ →", does: t("inbox.keyMove") },
      { key: "1 … 9", does: t("inbox.keyRoute") },
      { key: "Enter", does: t("inbox.keyOpen") },
      { key: "Space", does: t("inbox.keySelect") },
      { key: "Shift ↓", does: t("inbox.keyRange") },
      { key: "Ctrl A", does: t("inbox.keyAll") },
      { key: "/", does: t("inbox.search") },
      { key: "s", does: t("inbox.keySize") },
      { key: "Esc", does: t("batch.none") },
    ]);
    this.#begin();
  }

  #listen() {
    const { inbox, settings, feed, decisions } = this.context;
    const undoing = this.#undoing;
    undoing.listen(inbox, "change", () => this.#changed());
    undoing.listen(settings, "change", (event) => event.detail === "size" && this.#arrange());
    for (const source of [this.held.decisions, decisions, this.held.batches]) undoing.listen(source, "change", () => this.grid.redraw());
    undoing.listen(feed, "connection", () => this.#showEmpty());
    undoing.listen(this.selection, "change", () => {
      inbox.cursor = this.selection.cursor;
      this.grid.setCursor(this.selection.cursor);
      this.selected.draw();
    });
    undoing.listen(this.grid.element, "scroll", () => (keptTop = this.grid.element.scrollTop), { passive: true });
    undoing.add(everySecond(() => this.#tick()));
  }

  /** Every gate in its place, and the person where they were. */
  #begin() {
    const { inbox } = this.context;
    this.#changed();
    const top = keptTop;
    const came = inbox.cursor;
    // Until it is in the page it has no size.
    requestAnimationFrame(() => {
      this.#arrange();
      this.grid.element.scrollTop = top;
      if (inbox.indexOf(came) < 0) return;
      this.#point(came);
      this.#focus();
    });
  }

  remove() {
    this.#undoing.run();
    this.bar.remove();
    this.runs.remove();
    this.selected.remove();
    this.grid.remove();
  }

  /** @param {string[]} rest @param {URLSearchParams} query */
  move(rest, query) {
    const { inbox } = this.context;
    const filter = filterOf(query);
    if (JSON.stringify(filter) !== JSON.stringify(inbox.filter)) inbox.setFilter(filter);
    return true;
  }

  // -- what is shown ------------------------------------------------------------------------------

  /** @param {import("./inbox-filter.mjs").Filter} filter */
  #filter(filter) {
    this.context.inbox.setFilter(filter);
    history.replaceState(null, "", placeOfFilter(this.context.inbox.filter));
  }

  /** The gates are others. */
  #changed() {
    const { inbox, settings } = this.context;
    const how = JSON.stringify([inbox.filter, settings.get("order")]);
    const asked = how !== this.#how;
    this.#how = how;
    this.order.update(inbox.gates, performance.now());
    // What the person asked for is done at once; what others do waits until nobody acts here.
    if (asked || !this.order.ids.length) this.order.settle();
    for (const id of this.order.gone.keys()) this.selection.ids.delete(id);
    this.#arrange();
    this.bar.show();
  }

  /** Puts every card where it belongs now. */
  #arrange() {
    const { ids, fresh } = this.order;
    let routes = 1;
    for (const gate of this.context.inbox.gates) if (gate.routes > routes) routes = gate.routes;
    if (ids !== this.#placed) this.selection.setOrder(ids);
    this.#placed = ids;
    if (!this.selection.cursor && ids.length) this.#point(ids[0]);
    this.grid.setOrder(ids, { size: this.context.settings.get("size"), routes });
    this.pill.hidden = !fresh.length;
    this.pill.textContent = t("inbox.fresh", { count: fresh.length });
    this.selected.draw();
    this.#showEmpty();
  }

  #showEmpty() {
    const { inbox, feed } = this.context;
    this.empty.hidden = this.order.ids.length > 0;
    if (this.empty.hidden) return this.empty.replaceChildren();
    const known = feed.connected || inbox.all.length > 0;
    emptyInbox(this.empty, { known, hidden: inbox.all.length, clear: () => this.#filter(/** @type {any} */ ({})) });
  }

  #tick() {
    for (const card of this.grid.cards.values()) card.tick();
    if (!this.order.unsettled || !this.hand.calm(CALM)) return;
    const focused = this.grid.space.contains(document.activeElement);
    const until = performance.now() - LINGER;
    if (this.order.fresh.length && this.grid.element.scrollTop < 1 && !focused && !this.selection.size) this.order.settle();
    else if ([...this.order.gone.values()].some((since) => since <= until)) this.order.close(until);
    else return;
    this.#moved = performance.now();
    const { cursor } = this.selection;
    this.#arrange();
    // The card that had the focus is gone: what stands there now has it.
    if (focused && cursor !== this.selection.cursor) this.#focus();
  }

  #showFresh() {
    const [first] = this.order.fresh;
    this.order.settle();
    this.#moved = performance.now();
    this.#arrange();
    this.#point(first);
    this.#focus();
  }

  // -- what is done -------------------------------------------------------------------------------

  /** @param {string} id @param {number} route */
  #route(id, route) {
    const { inbox, feed, toast } = this.context;
    // Cards have just moved: what was meant may be another one.
    if (performance.now() - this.#moved < STARTLED) return toast("info", t("inbox.moved"));
    const gate = feed.gates.get(id);
    if (!gate || !isOpen(gate) || inbox.indexOf(id) < 0) {
      const known = gate ?? feed.ended.get(id);
      return toast("warn", t("inbox.tooLate"), known ? outcomeText(known) : "");
    }
    if (route > gate.routes) return;
    if (!this.held.answers.ready(gate)) return this.context.go(`#/gates/${id}`);
    const away = document.activeElement === document.body || this.grid.space.contains(document.activeElement);
    if (!this.held.hold(gate, { route })) return;
    this.#point(this.#freeAfter(id));
    if (away) this.#focus();
  }

  /** The next gate that waits for a decision, itself when there is none. @param {string} id */
  #freeAfter(id) {
    const { ids, gone } = this.order;
    const free = (/** @type {string} */ each) => !gone.has(each) && !this.held.has(each);
    return ids.slice(ids.indexOf(id) + 1).find(free) ?? id;
  }

  /** Puts the cursor on that gate. @param {string} id */
  #point(id) {
    this.selection.cursor = this.context.inbox.cursor = id;
    this.grid.setCursor(id);
  }

  #focus() {
    const { cursor } = this.selection;
    this.grid.setCursor(cursor);
    this.grid.reveal(cursor);
    this.grid.draw();
    this.grid.cards.get(cursor)?.element.focus({ preventScroll: true });
  }

  #selectedGates() {
    const { feed } = this.context;
    return this.selection.inOrder().map((id) => feed.gates.get(id)).filter((gate) => gate && isOpen(gate));
  }

  #all() {
    this.order.settle();
    this.#arrange();
    this.selection.all();
  }

  /** @param {KeyboardEvent} event @returns {boolean} */
  key(event) {
    const { key, target } = event;
    const control = target instanceof Element ? target.closest("button, a, summary, [role=button]") : null;
    if (control && (key === "Enter" || key === " ")) return false;
    this.hand.acted();
    const { cursor } = this.selection;
    const route = event.ctrlKey || event.metaKey || event.altKey ? 0 : routeOfKey(key);
    const { action, steps } = keyAction(event, this.grid.columns, this.grid.rows);
    if (route && this.selection.size > 1) void this.selected.decide(route);
    else if (route && cursor) this.#route(cursor, route);
    else if (action === "move" && !event.altKey) this.#step(steps, event.shiftKey);
    else if (action === "all") this.#all();
    else if ((action === "zoom" || action === "toggle") && cursor) this.selection.choose(cursor, { toggle: true });
    else if (action === "activate" && cursor) this.context.go(`#/gates/${cursor}`);
    else if (action === "leave" && this.selection.size) this.selection.clear();
    else if (key === "/") this.bar.text.focus();
    else if (key === "s") this.#otherSize();
    else return false;
    return true;
  }

  /** @param {number} steps @param {boolean} range */
  #step(steps, range) {
    const { cursor } = this.selection;
    // A range begins where the cursor stands.
    if (range && cursor && !this.selection.size) this.selection.choose(cursor, { toggle: true });
    this.selection.move(steps, { range, toggle: !range });
    this.#focus();
  }

  #otherSize() {
    const { settings } = this.context;
    settings.set("size", { small: "medium", medium: "large", large: "small" }[/** @type {"small"} */ (settings.get("size"))]);
  }
}
