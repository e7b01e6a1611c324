/** The tab "Gates": every gate of the farm that waits, with a badge that counts them. */
import { app, reveal, toast } from "./comfy.mjs";
import { el, Undoing } from "./lib/dom.mjs";
import { wantsSomebody } from "./lib/gate-run.mjs";
import { byAge } from "./lib/gate-state.mjs";
import { GateView } from "./lib/gate-view.mjs";
import { t } from "./lib/i18n.mjs";
import { isHere } from "./nodes/image-gate.mjs";
import { editMask } from "./nodes/lazy.mjs";

/** @typedef {import("./lib/api.mjs").Api} Api */
/** @typedef {import("./lib/feed.mjs").Feed} Feed */
/** @typedef {import("./nodes/image-gate.mjs").Shared} Shared */

const TAB = "gatebus-gates";
/** Gates that the list shows; the oldest come first. */
const SHOWN = 100;
/** Milliseconds for which a gate that was decided stays in the list, with who decided. */
const LINGER = 6000;

/** @typedef {{element: HTMLElement, view: GateView, opened: number}} Card */

/**
 * Adds the tab.
 * @param {Shared} shared
 */
export function addTab(shared) {
  /** @type {List | null} */
  let list = null;
  app.extensionManager.sidebarTab.registerSidebarTab({
    id: TAB,
    icon: "pi pi-directions",
    title: t("gate.tab"),
    tooltip: t("gate.tabTooltip"),
    type: "custom",
    render: (/** @type {HTMLElement} */ place) => {
      list?.remove();
      list = new List(shared);
      place.replaceChildren(list.element);
    },
    destroy: () => {
      list?.remove();
      list = null;
    },
  });
  const count = () => showCount([...shared.feed.gates.values()].filter(wantsSomebody).length);
  shared.feed.addEventListener("gates", count);
  count();
}

/** @param {number} count */
function showCount(count) {
  const tab = app.extensionManager.sidebarTab.sidebarTabs?.find((/** @type {any} */ each) => each.id === TAB);
  const badge = count > 99 ? "99+" : count ? String(count) : null;
  if (tab && tab.iconBadge !== badge) tab.iconBadge = badge;
}

/** Shows the gate's node; says so when this tab does not hold it. @param {any} gate */
export function jump(gate) {
  if (!isHere(gate) || !reveal(gate.node_id)) toast("info", t("gate.elsewhere"), gate.workflow === gate.workflow_id ? "" : gate.workflow);
}

class List {
  /** @type {Map<string, Card>} gate id -> card */
  #cards = new Map();
  /** @type {Map<string, ReturnType<typeof setTimeout>>} gates that were decided and still are to be seen */
  #lingering = new Map();
  #undoing = new Undoing();
  #due = false;

  /** @param {Shared} shared */
  constructor(shared) {
    this.shared = shared;
    this.problem = el("p", { role: "alert" });
    this.empty = el("div", {}, el("p", {}, t("gate.none")), el("p", { class: "gatebus-quiet" }, t("gate.noneHint")));
    this.cards = el("div", { role: "list", style: { display: "contents" } });
    this.more = el("p", { class: "gatebus-quiet" });
    this.element = el("div", { class: "gatebus-tab" }, this.problem, this.empty, this.cards, this.more);
    for (const event of ["gates", "connection"]) this.#undoing.listen(shared.feed, event, () => this.#soon());
    this.#draw();
  }

  remove() {
    this.#undoing.run();
    for (const timer of this.#lingering.values()) clearTimeout(timer);
    for (const card of this.#cards.values()) card.view.remove();
    this.#cards.clear();
  }

  #soon() {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      this.#draw();
    });
  }

  #draw() {
    const { feed } = this.shared;
    const open = [...feed.gates.values()].filter(wantsSomebody).sort(byAge);
    const shown = new Map(open.slice(0, SHOWN).map((gate) => [gate.id, gate]));
    for (const [id, card] of this.#cards) {
      const gate = feed.gates.get(id) ?? feed.ended.get(id);
      if (shown.has(id)) this.#stay(id, false);
      else if (gate && !wantsSomebody(gate)) {
        card.view.show([gate]);
        this.#stay(id, true);
      } else this.#drop(id);
    }
    for (const gate of shown.values()) this.#show(gate);
    this.empty.hidden = this.#cards.size > 0;
    this.more.textContent = open.length > SHOWN ? t("gate.moreGates", { count: open.length - SHOWN }) : "";
    const reason = feed.connected ? feed.unavailable && `${t("gate.storeAway")} (${feed.unavailable})` : feed.refused || t("gate.offline");
    this.problem.textContent = reason;
    this.problem.hidden = !reason;
  }

  /** @param {any} gate */
  #show(gate) {
    let card = this.#cards.get(gate.id);
    if (!card) {
      card = this.#card(gate);
      this.#cards.set(gate.id, card);
      // Before the first that is younger; nothing is moved, or it would lose the focus.
      const younger = [...this.#cards.values()].filter((each) => each.opened > gate.opened).sort((one, other) => one.opened - other.opened);
      this.cards.insertBefore(card.element, younger[0]?.element ?? null);
    }
    card.view.show([gate]);
  }

  /** @param {any} gate @returns {Card} */
  #card(gate) {
    const { api } = this.shared;
    const fail = (/** @type {string} */ summary, /** @type {string} */ detail) => toast("error", summary, detail);
    const view = new GateView({ ...this.shared, editMask: (one) => editMask(one, api), fail });
    const title = gate.title || t("gate.untitled");
    const button = el("button", { type: "button", class: "gatebus-title", onclick: () => jump(gate) }, title);
    // Whether this tab holds it is looked up when somebody asks: it walks the whole workflow.
    button.addEventListener("pointerenter", () => {
      button.title = isHere(gate) ? t("gate.jump") : t("gate.elsewhere");
    });
    const where = el("span", { class: "gatebus-quiet" }, gate.workflow === gate.workflow_id ? "" : gate.workflow);
    const element = el("div", { class: "gatebus-card", role: "listitem", "aria-label": title }, button, where, view.element);
    return { element, view, opened: gate.opened };
  }

  /** Keeps what was decided in the list for a moment, or no longer needs to. @param {string} id @param {boolean} linger */
  #stay(id, linger) {
    const timer = this.#lingering.get(id);
    if (linger && timer === undefined) {
      this.#lingering.set(
        id,
        setTimeout(() => {
          this.#drop(id);
          this.#draw();
        }, LINGER),
      );
    } else if (!linger && timer !== undefined) {
      clearTimeout(timer);
      this.#lingering.delete(id);
    }
  }

  /** @param {string} id */
  #drop(id) {
    this.#stay(id, false);
    const card = this.#cards.get(id);
    card?.view.remove();
    card?.element.remove();
    this.#cards.delete(id);
  }
}
