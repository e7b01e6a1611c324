/** The keys of the gate's screen. */
import { routeOfKey } from "../comfyui/lib/gate-state.mjs";
import { register, t } from "../comfyui/lib/i18n.mjs";
import { fullScreen } from "./gate-screen-full.mjs";
import { screenkeys } from "./texts/screenkeys.mjs";

/** @typedef {import("./gate-screen.mjs").GateScreen} GateScreen */

register("screenkeys", screenkeys);

/** Pixels by which an arrow key with shift moves the image. */
const STEP = 80;

/** What the keys do, for people. @returns {{key: string, does: string}[]} */
export function keysOf() {
  /** @type {[string, string][]} */
  const keys = [
    ["1 … 9, 0", "route"], ["U", "undo"], ["R", "again"], ["N", "next"], ["← →, J K", "step"], [", .", "frame"], ["Space", "zoom"],
    ["+ −", "zoomBy"], ["Shift + ← ↑ → ↓", "move"], ["C", "compare"], ["B", "blink"], ["M", "mask"], ["O", "overlay"],
    ["P", "pixels"], ["V", "all"], ["X, A", "tick"], ["T", "text"], ["I", "facts"], ["F", "full"], ["Esc", "back"],
  ];
  return keys.map(([key, does]) => ({ key, does: t(`screenkeys.${does}`) }));
}

export class Keys {
  /** @param {GateScreen} screen */
  constructor(screen) {
    this.screen = screen;
    const { look, tools } = screen;
    /** @type {Record<string, () => unknown>} key -> what it does, also while it stays down */
    this.repeated = {
      ArrowLeft: () => screen.step(-1), ArrowRight: () => screen.step(1), k: () => screen.step(-1), j: () => screen.step(1),
      ",": () => screen.toFrame(screen.frame - 1), ".": () => screen.toFrame(screen.frame + 1),
      "+": () => look.zoom(1.5), "=": () => look.zoom(1.5), "-": () => look.zoom(1 / 1.5), b: () => look.blink(true),
    };
    /** @type {Record<string, () => unknown>} key -> what it does, once */
    this.once = {
      " ": () => look.toggle(), m: () => screen.paint(), o: () => screen.mask(!screen.masked, screen.opacity), c: () => tools.cycle(),
      p: () => tools.setPixels(!look.pixels), t: () => this.#text(), i: () => screen.toggleFacts(), f: () => fullScreen(screen.context),
      n: () => screen.onward(), u: () => screen.bar.undo(), r: () => screen.run.another(), Escape: () => this.#escape(),
    };
    /** @type {Record<string, [number, number]>} */
    this.moves = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
  }

  /** @param {KeyboardEvent} event @returns {boolean} whether the key was ours */
  down(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return false;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const target = event.target instanceof Element ? event.target : null;
    // What has the focus keeps the keys that work it.
    if (key === " " && target?.closest("button, a, summary")) return false;
    if (this.screen.answer.press(event)) return true;
    if (event.shiftKey && this.moves[key]) return this.#move(this.moves[key]);
    const route = routeOfKey(key);
    if (route) {
      if (!event.repeat && this.screen.gate && route <= this.screen.gate.routes) this.screen.choose(route);
      return true;
    }
    const act = this.repeated[key] ?? (event.repeat ? undefined : this.once[key]);
    if (!act) return false;
    act();
    return true;
  }

  /** @param {KeyboardEvent} event */
  up(event) {
    if (event.key.toLowerCase() === "b") this.screen.look.blink(false);
  }

  /** @param {[number, number]} by */
  #move([dx, dy]) {
    const { stage } = this.screen.look;
    if (!stage.view.fitted) stage.view.move(dx, dy);
    stage.later();
    return true;
  }

  #text() {
    const { text } = this.screen.foot;
    if (!text.hidden) text.focus();
  }

  /** What lies on top is closed first. */
  #escape() {
    const { screen } = this;
    if (screen.factsOver) screen.toggleFacts(false);
    else if (screen.look.stage.mode !== "single") screen.look.setMode("single");
    else screen.context.go("#/gates");
  }
}
