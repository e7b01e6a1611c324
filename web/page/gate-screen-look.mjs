/**
 * What is seen of a gate: its image, preview first, whole where it is needed; the mask over it and
 * what it is compared with; hands that zoom and move. The gates to come are loaded ahead.
 */
import { el, Undoing } from "../comfyui/lib/dom.mjs";
import { tinted } from "../comfyui/lib/gate-picture.mjs";
import { Captions } from "./gate-screen-captions.mjs";
import { choicesOf } from "./gate-screen-compare.mjs";
import { Hands } from "./gate-screen-hands.mjs";
import { small, whole } from "./gate-screen-pictures.mjs";
import { Stage } from "./gate-screen-stage.mjs";
import { Wipe } from "./gate-screen-wipe.mjs";

/** @typedef {import("../comfyui/lib/api.mjs").Api} Api */
/** @typedef {import("./gate-screen-pictures.mjs").Pictures} Pictures */
/** @typedef {import("./gate-screen-compare.mjs").Choice} Choice */

/** Pixels of the mask's longest side, as far as it is drawn. */
const MASK = 4096;

/** `changed`: what is seen or may be chosen; `moved`: only its zoom or place; `swipe`: a finger stroked to that side. */
/** @typedef {{changed: () => void, moved: () => void, swiping: (dx: number) => string, swipe: (side: -1 | 1) => void}} Hooks */

/** Times the zoom at which the image is seen whole, up to which two fingers leave it whole. */
const NEARLY = 1.04;

export class Look {
  /** @type {any} */
  gate = null;
  frame = 0;
  /** @type {Choice[]} what it can be compared with */
  choices = [];
  /** The id of the choice, "" for the first. */
  choice = "";
  /** Why the image can't be shown, "" when it can. */
  problem = "";
  masked = true;
  pixels = false;
  #shown = "";
  #offered = "";
  #mask = "";
  #undoing = new Undoing();
  /** @type {string[]} keys of what comes next */
  #ahead = [];

  /** @param {Api} api @param {Pictures} pictures @param {Hooks} hooks */
  constructor(api, pictures, hooks) {
    this.api = api;
    this.pictures = pictures;
    this.hooks = hooks;
    this.stage = new Stage(() => this.#drawn());
    this.wipe = new Wipe((place) => {
      this.stage.wipe = place;
      this.stage.later();
    });
    this.captions = new Captions(this.stage);
    this.element = el("div", { class: "gs-look" }, this.stage.element, this.wipe.element, ...this.captions.elements);
    const { stage } = this;
    const look = (/** @type {() => void} */ change) => {
      change();
      stage.later();
      this.refine();
      hooks.moved();
    };
    this.hands = new Hands(stage.element, {
      fits: () => stage.view.fitted,
      move: (dx, dy) => look(() => stage.view.move(dx, dy)),
      pinch: ([a, b], [c, d]) =>
        look(() => {
          const { view } = stage;
          view.pinch([stage.within(a), stage.within(b)], [stage.within(c), stage.within(d)]);
          // Pinched back to the whole it is whole again, so that a finger swipes on.
          if (view.scale < NEARLY * view.fitting) view.fit();
        }),
      zoom: (factor, at) => this.zoom(factor, at),
      toggle: (at) => this.toggle(at),
      hover: () => this.#point(),
      press: (down) => stage.mode === "blink" && this.blink(down),
      swiping: (dx) => this.captions.swipe(dx, dx ? hooks.swiping(dx) : ""),
      swipe: (side) => hooks.swipe(side),
    });
    this.#undoing.add(() => this.hands.dispose());
    this.#undoing.add(() => stage.remove());
    const sizing = new ResizeObserver(() => {
      stage.resize(this.element.clientWidth, this.element.clientHeight);
      this.refine();
    });
    sizing.observe(this.element);
    this.#undoing.add(() => sizing.disconnect());
  }

  remove() {
    this.#undoing.run();
  }

  /** Shows that image of the gate, null for none; `next` are the gates to load ahead. @param {any} gate @param {number} frame @param {any[]} next */
  show(gate, frame, next) {
    const { stage } = this;
    const other = gate?.id !== this.gate?.id;
    this.gate = gate;
    this.frame = frame;
    this.#ahead = next.filter((each) => each.width).map((each) => small(this.api, each, 0).key);
    const shown = gate?.width ? `${gate.id} ${gate.fence} ${frame}` : "";
    if (shown !== this.#shown) {
      this.#shown = shown;
      this.problem = "";
      if (other) [stage.mask, this.#mask, this.choice] = [null, "", ""];
      stage.main = stage.other = null;
      if (gate?.width) stage.open(gate.width, gate.height, !other);
      this.element.hidden = !shown;
    }
    this.#offer();
    this.refine();
    void this.#showMask();
    this.#load(next);
  }

  /** What the mode compares with, undefined for nothing. @returns {Choice | undefined} */
  get chosen() {
    return this.choices.find((choice) => choice.id === this.choice) ?? this.choices[0];
  }

  /** @param {import("./gate-screen-stage.mjs").Mode} mode */
  setMode(mode) {
    this.stage.blinking = false;
    this.stage.setMode(mode);
    this.refine();
    this.hooks.changed();
  }

  /** @param {string} id of a choice */
  compare(id) {
    this.choice = id;
    this.refine();
    this.hooks.changed();
  }

  /** Shows what it is compared with in place of the image, while `down`. @param {boolean} down */
  blink(down) {
    if (this.stage.blinking === down) return;
    this.stage.blinking = down;
    this.refine();
    this.stage.later();
  }

  /** @param {number} factor @param {{x: number, y: number}} [at] of the stage */
  zoom(factor, at) {
    const { stage } = this;
    // Coming back to the whole image it stays in the middle, and follows the window again.
    if (stage.view.scale * factor <= stage.view.fitting && factor < 1) stage.view.fit();
    else stage.view.zoom(factor, at && stage.within(at));
    stage.later();
    this.refine();
    this.hooks.moved();
  }

  /** @param {{x: number, y: number}} [at] the pointer's place when left out */
  toggle(at = this.hands.at ?? undefined) {
    this.stage.toggle(at);
    this.refine();
    this.hooks.moved();
  }

  /** @param {boolean} masked @param {number} opacity */
  setMask(masked, opacity) {
    this.masked = masked;
    this.stage.opacity = masked ? opacity : 0;
    this.stage.later();
  }

  /** Takes the images as good as they are needed and there; asks for those that are missing. */
  refine() {
    const { gate, frame, stage, chosen } = this;
    if (!gate?.width) return;
    const comparing = chosen && (stage.mode !== "single" || stage.blinking);
    const sources = [small(this.api, gate, frame), whole(this.api, gate, frame)];
    const others = comparing ? [chosen.small, chosen.whole] : [];
    this.pictures.want([...[...sources, ...others].flatMap((source) => source?.key ?? []), ...this.#ahead]);
    const main = this.#best(small(this.api, gate, frame), whole(this.api, gate, frame), gate.width);
    if (main && main.image !== stage.main?.image) [stage.main] = [main, stage.later()];
    const other = comparing ? this.#best(chosen.small, chosen.whole, gate.width) : null;
    if (other?.image !== stage.other?.image) stage.compare(other);
  }

  /**
   * @param {import("./gate-screen-pictures.mjs").Source} small
   * @param {import("./gate-screen-pictures.mjs").Source | null} whole
   * @param {number} width of the image
   * @returns {import("./gate-screen-stage.mjs").Layer | null} the best that is there
   */
  #best(small, whole, width) {
    const full = whole && this.pictures.get(whole.key);
    if (full) return { image: full, whole: true };
    const preview = this.pictures.get(small.key);
    if (!preview) this.#ask(small, true);
    // Seen larger than the preview is, or close: its own pixels are wanted.
    const coarse = preview && (this.stage.density > preview.width / width || !this.stage.view.fitted || this.pixels);
    if (whole && coarse) this.#ask(whole, false);
    return preview ? { image: preview, whole: false } : null;
  }

  /** @param {import("./gate-screen-pictures.mjs").Source} source @param {boolean} needed whether there is nothing else to show */
  #ask(source, needed) {
    const { gate } = this;
    this.pictures.load(source).then(
      () => {
        this.refine();
        this.hooks.changed();
      },
      (error) => {
        // Given up for what came next, or the whole one, for which the preview stands.
        if (error.name === "AbortError" || !needed || gate !== this.gate) return;
        this.problem = error.message;
        this.stage.later();
      },
    );
  }

  /** @param {any[]} next */
  #load(next) {
    const [first] = next;
    for (const gate of next) if (gate.width) this.pictures.load(small(this.api, gate, 0)).catch(() => undefined);
    const idle = window.requestIdleCallback ?? ((/** @type {() => void} */ step) => setTimeout(step, 200));
    const shown = this.#shown;
    idle(() => {
      // The whole images of this gate and the next, when nothing else is to be done.
      if (shown !== this.#shown || /** @type {any} */ (navigator).connection?.saveData) return;
      for (const [gate, frame] of [[this.gate, this.frame], [first, 0]]) {
        const source = gate?.width ? whole(this.api, gate, frame) : null;
        if (!source) continue;
        this.#ahead.push(source.key);
        this.pictures.load(source).then(() => this.refine(), () => undefined);
      }
    });
  }

  #offer() {
    const { gate, frame } = this;
    const offered = gate?.width ? `${this.#shown} ${gate.send_id} ${gate.get_id} ${!!gate.layout}` : "";
    if (offered === this.#offered) return;
    this.#offered = offered;
    this.choices = [];
    if (!offered) return;
    choicesOf(this.api, gate, frame).then(
      (choices) => {
        if (offered !== this.#offered) return;
        this.choices = choices;
        this.refine();
        this.hooks.changed();
      },
      // Asked again with the next change of the gate.
      () => offered === this.#offered && (this.#offered = ""),
    );
  }

  async #showMask() {
    const { gate } = this;
    const token = gate?.width && gate.mask ? `${gate.id} ${gate.mask}` : "";
    if (token === this.#mask) return;
    this.#mask = token;
    if (!token) {
      this.stage.mask = null;
      return this.stage.later();
    }
    try {
      const bitmap = await this.pictures.fetch(this.api.maskUrl(gate).split("#")[0]);
      if (this.#mask === token) this.stage.mask = tinted(bitmap, MASK);
      bitmap.close();
      this.stage.later();
    } catch {
      // Cleared or decided meanwhile, which the gate's next state tells; or asked again with that.
      if (this.#mask === token) this.#mask = "?";
    }
  }

  #drawn() {
    const { stage, gate, chosen } = this;
    const { dataset } = this.element;
    dataset.drawn = gate && stage.main ? `${gate.id} ${this.frame} ${stage.main.whole ? "whole" : "preview"}` : "";
    dataset.other = stage.other && (stage.mode !== "single" || stage.blinking) ? (stage.other.whole ? "whole" : "preview") : "";
    dataset.scale = stage.view.scale.toFixed(4);
    this.wipe.show(stage.mode === "wipe" && !!stage.other, stage.wipe);
    this.captions.show(gate, dataset.other ? chosen : undefined, this.problem);
    this.#point();
  }

  #point() {
    this.captions.point(this.pixels ? (this.hands?.at ?? null) : null);
  }
}
