/** One gate, as large as it goes: see it closely, compare, paint, decide, and on to the next. */
import { everySecond } from "../comfyui/lib/clock.mjs";
import { addStylesheet, el, Undoing } from "../comfyui/lib/dom.mjs";
import { isOpen, routeName } from "../comfyui/lib/gate-state.mjs";
import { register, t } from "../comfyui/lib/i18n.mjs";
import { Drafts } from "./drafts.mjs";
import { AnswerPart } from "./gate-screen-answer.mjs";
import { Facts } from "./gate-screen-facts.mjs";
import { Foot } from "./gate-screen-foot.mjs";
import { fullScreen } from "./gate-screen-full.mjs";
import { Head } from "./gate-screen-head.mjs";
import { keysOf, Keys } from "./gate-screen-keys.mjs";
import { Look } from "./gate-screen-look.mjs";
import { clearMask, paintMask } from "./gate-screen-painting.mjs";
import { Pictures } from "./gate-screen-pictures.mjs";
import { keepHeldOver } from "./gate-screen-place.mjs";
import { runDeeds } from "./gate-screen-run.mjs";
import { Strip } from "./gate-screen-strip.mjs";
import { Tools } from "./gate-screen-tools.mjs";
import { Walk } from "./gate-screen-walk.mjs";
import { heldOf } from "./held-bar.mjs";
import { ofTab } from "./storage.mjs";
import { screen as texts } from "./texts/screen.mjs";

/** @typedef {import("./page.mjs").Context} Context */

register("screen", texts);

/** Milliseconds for which a gate that has just come into view can't be decided: the click was for another. */
const SETTLE = 300;

/** Kept from one visit to the next. @type {Pictures | undefined} */
let pictures;
/** @type {Drafts | undefined} */
let drafts;

/** @param {Context} context @param {string[]} rest the gate's id @returns {import("./page.mjs").View} */
export function open(context, rest) {
  for (const sheet of ["gate-screen", "gate-screen-image", "gate-screen-foot", "gate-screen-facts", "gate-screen-sizes"]) addStylesheet(new URL(`./${sheet}.css`, import.meta.url).href);
  return new GateScreen(context, rest[0]);
}

export class GateScreen {
  #undoing = new Undoing();
  #since = -Infinity;
  /** Why the gate is not shown, "" when it is or may still come. */
  #missing = "";
  /** @type {Promise<void>} settled when no change of a mask is on its way */
  #masking = Promise.resolve();

  /** @param {Context} context @param {string} id */
  constructor(context, id) {
    const { api, feed, inbox, decisions } = (this.context = context);
    this.bar = heldOf(context);
    this.held = this.bar.decisions;
    pictures ??= new Pictures(api);
    this.drafts = drafts ??= new Drafts(ofTab);
    this.walk = new Walk(inbox, (gate) => this.bar.has(gate.id) || !!decisions.of(gate.id));
    this.id = id;
    this.frame = 0;
    this.masked = true;
    this.opacity = 0.6;
    this.look = new Look(api, pictures, {
      changed: () => this.show(),
      moved: () => this.tools.zoomed(),
      swiping: (dx) => this.#swipeText(dx < 0 ? -1 : 1),
      swipe: (side) => this.#swipe(side),
    });
    this.look.setMask(true, this.opacity);
    this.tools = new Tools(this.look, {
      paint: () => void this.paint(),
      clear: () => (this.#masking = clearMask(context, this.gate)),
      mask: (shown, opacity) => this.mask(shown, opacity),
      fullScreen: () => void fullScreen(context),
    });
    this.run = runDeeds(context, () => this.gate, (gate) => this.#go(gate));
    this.strip = new Strip(api, (frame) => this.toFrame(frame));
    this.foot = new Foot(context, {
      choose: (route) => this.choose(route),
      stop: () => void this.stop(),
      undo: () => this.bar.undo(this.id),
      takeBack: () => void this.takeBack(),
      run: this.run,
      typed: (text) => this.drafts.set(this.id, text),
      left: () => this.look.stage.element.focus({ preventScroll: true }),
    });
    this.answer = new AnswerPart(this);
    this.facts = new Facts(context, () => this.toggleFacts(false));
    this.head = new Head((by) => this.step(by), () => this.toggleFacts());
    this.view = el("div", { class: "gs-view" }, this.look.element, this.answer.element);
    this.spoken = el("div", { class: "gs-spoken", role: "status" });
    this.missing = el("div", { class: "gs-missing", hidden: true });
    this.element = el(
      "section",
      { class: "gs", "aria-label": t("screen.title") },
      this.head.element,
      el("div", { class: "gs-main" }, this.view, this.missing, this.answer.bar, this.strip.element, this.tools.element),
      this.foot.element,
      this.facts.element,
      this.spoken,
    );
    this.keys = new Keys(this);
    const listen = this.#undoing.listen.bind(this.#undoing);
    for (const [target, type] of /** @type {[EventTarget, string][]} */ ([[feed, "gates"], [feed, "connection"], [inbox, "change"], [decisions, "change"], [this.held, "change"], [this.bar.answers, "change"]])) {
      listen(target, type, () => this.show());
    }
    listen(window, "keyup", (event) => this.keys.up(event));
    listen(window, "blur", () => this.look.blink(false));
    // A click's focus goes back to the image, so that the space bar does not press the button again.
    listen(this.element, "click", (event) => event.detail && event.target.closest("button") && !event.target.closest(".gs-facts") && this.look.stage.element.focus({ preventScroll: true }));
    this.#undoing.add(everySecond(() => this.foot.tick(this.gate)));
    this.#undoing.add(keepHeldOver(this.view, this.foot.element));
    context.help(keysOf());
    this.#arrive();
    // As soon as it is on the page.
    requestAnimationFrame(() => this.look.stage.element.focus({ preventScroll: true }));
  }

  /** @returns {any} */
  get gate() {
    const { gates, ended } = this.context.feed;
    return gates.get(this.id) ?? ended.get(this.id);
  }

  get title() {
    return this.gate?.title || t("gate.untitled");
  }

  /** @param {KeyboardEvent} event @returns {boolean} */
  key(event) {
    return this.keys.down(event);
  }

  /** @param {string[]} rest @returns {boolean} */
  move([id]) {
    if (id === this.id) return true;
    this.id = id;
    this.frame = 0;
    this.#arrive();
    return true;
  }

  remove() {
    this.#undoing.run();
    this.look.remove();
    this.answer.remove();
    this.strip.remove();
    this.foot.run.remove();
    pictures?.want([]);
  }

  /** Decides the gate that is shown: the decision is held, and the next gate comes. @param {number} route */
  choose(route) {
    void this.#decide({ kind: "route", route });
  }

  /** Asks, then stops the run that waits. */
  async stop() {
    const { gate } = this;
    if (!gate || !isOpen(gate)) return;
    const question = { title: t("screen.stopTitle"), message: t("screen.stopMessage", { title: this.title }), yes: t("gate.stop"), danger: true };
    if (await this.context.confirm(question)) if (gate.id === this.id) await this.#decide({ kind: "cancel" });
  }

  async takeBack() {
    if (this.gate?.decision) await this.bar.takeBack(this.gate);
  }

  /** The gate before or behind, in the inbox's order. @param {number} by */
  step(by) {
    this.walk.direction = Math.sign(by);
    this.#go(this.walk.beside(by));
  }

  /** The next gate that waits for a decision, from here on and around. @returns {boolean} whether there is one */
  onward() {
    const [next] = this.walk.waiting();
    this.walk.direction = 1;
    this.#go(next);
    return !!next;
  }

  /** @param {number} frame of the batch */
  toFrame(frame) {
    if (!this.gate || frame < 0 || frame >= this.gate.batch) return;
    this.frame = frame;
    this.show();
    this.spoken.textContent = t("gate.image", { number: frame + 1, count: this.gate.batch });
  }

  /** @param {boolean} shown @param {number} opacity 0 to 1 */
  mask(shown, opacity) {
    [this.masked, this.opacity] = [shown, opacity];
    this.look.setMask(shown, opacity);
    this.tools.showMask(shown, opacity);
  }

  /** Lets a person paint the mask. */
  async paint() {
    const { gate } = this;
    if (!gate?.width || !isOpen(gate)) return;
    // What is held must not go out while the mask is being painted for it.
    if (this.held.undo(gate.id)) this.context.toast("info", t("screen.undoneToPaint"));
    await paintMask(this.context, gate, this.frame);
    this.look.stage.element.focus({ preventScroll: true });
  }

  /** Whether the details lie over the gate, not beside it. */
  get factsOver() {
    return this.element.dataset.facts === "shown" && getComputedStyle(this.facts.element).position === "absolute";
  }

  /** @param {boolean} [shown] the other way round when left out */
  toggleFacts(shown = this.element.dataset.facts !== "shown") {
    this.element.dataset.facts = shown ? "shown" : "hidden";
    this.head.info.setAttribute("aria-expanded", String(shown));
    if (!shown) this.head.info.focus({ preventScroll: true });
  }

  /** @param {{kind: "route" | "cancel", route?: number}} choice */
  async #decide(choice) {
    const { gate } = this;
    if (!gate || !isOpen(gate) || performance.now() - this.#since < SETTLE) return;
    // A mask that is on its way goes with the decision.
    await this.#masking;
    const more = choice.kind === "route" ? this.answer.of(gate, this.drafts.get(gate.id).trim()) : {};
    if (!more) return this.context.toast("info", t("choice.notTicked"));
    if (!this.bar.hold(gate, { ...choice, ...more })) return;
    if (this.context.settings.get("advance") && gate.id === this.id && !this.onward()) this.spoken.textContent = t("screen.allDecided");
  }

  /** @param {any} gate nothing happens for none */
  #go(gate) {
    if (gate) this.context.go(`#/gates/${gate.id}`, true);
  }

  /** Another gate is to be shown. */
  #arrive() {
    this.#since = performance.now();
    this.#missing = "";
    this.foot.text.value = this.drafts.get(this.id);
    this.walk.id = this.id;
    this.show();
    this.#speak();
    if (!this.gate) void this.#find(this.id);
  }

  #speak() {
    const { at, count } = this.walk;
    this.spoken.textContent = at < 0 ? this.title : t("screen.spoken", { number: at + 1, count, title: this.title });
  }

  /** Asks the server for a gate that the feed does not know: an old one, or the feed only begins. @param {string} id */
  async #find(id) {
    try {
      this.context.feed.take(await this.context.api.gate(id));
      if (id === this.id) this.#speak();
    } catch (error) {
      if (id !== this.id) return;
      this.#missing = /** @type {Error} */ (error).message;
      this.show();
    }
  }

  /** Draws what may have changed. */
  show() {
    const { gate, walk } = this;
    const open = !!gate && isOpen(gate);
    const held = this.held.of(this.id);
    this.element.dataset.gate = this.id;
    this.element.dataset.state = gate ? (held?.state === "held" ? "held" : gate.status) : "missing";
    this.head.show(gate ? this.title : t("screen.title"), walk);
    this.missing.hidden = !!gate || !this.#missing;
    if (this.#missing && !gate) this.missing.replaceChildren(el("p", {}, t("screen.missing", { reason: this.#missing })), el("a", { href: "#/gates" }, t("screen.back")));
    const label = gate ? t("screen.image", { title: this.title, number: this.frame + 1, count: Math.max(1, gate.batch) }) : "";
    this.look.stage.element.setAttribute("aria-label", label);
    this.look.show(gate ?? null, this.frame, walk.ahead());
    this.strip.show(gate, this.frame);
    this.answer.show(gate, open, this.frame);
    this.tools.show(gate, open);
    this.foot.show(gate, held, this.drafts.get(this.id));
    this.facts.show(gate);
  }

  /** @param {-1 | 1} side @returns {string} what a swipe to that side does */
  #swipeText(side) {
    if (this.context.settings.get("swipe") !== "decide") return t(side < 0 ? "gate.next" : "gate.previous");
    const route = side < 0 ? 2 : 1;
    return this.gate && route <= this.gate.routes ? routeName(route, this.gate.labels) : "";
  }

  /** @param {-1 | 1} side */
  #swipe(side) {
    if (this.context.settings.get("swipe") === "decide") this.choose(side < 0 ? 2 : 1);
    else this.step(-side);
  }
}
