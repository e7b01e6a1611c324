/**
 * Our mask painter: an element that can be put anywhere, and a dialog around it. White = painted,
 * at the picture's exact size. Free of ComfyUI.
 */
import { el, Undoing } from "./dom.mjs";
import { register, t } from "./i18n.mjs";
import { Bar, LARGEST } from "./painter-bar.mjs";
import { History } from "./painter-history.mjs";
import { Mask, Stroke } from "./painter-mask.mjs";
import { toPng, readMask } from "./painter-png.mjs";
import { Pointers } from "./painter-pointer.mjs";
import { Stage } from "./painter-stage.mjs";
import { View } from "./painter-view.mjs";
import { painter as texts } from "./texts/painter.mjs";

/** @typedef {import("./painter-view.mjs").Point} Point */
/** @typedef {import("./painter-mask.mjs").Rect} Rect */

register("painter", texts);

/** The tool as it was last set. @type {import("./painter-bar.mjs").Tool} */
const tool = { erase: false, size: 0, softness: 0.2, opacity: 1 };

export class Painter {
  #undoing = new Undoing();
  #history = new History();
  /** @type {Stroke | null} */
  #stroke = null;
  /** @type {Point | null} where the last stroke ended, for straight lines with shift */
  #last = null;
  /** @type {Point | null} */
  #hover = null;

  /**
   * @param {ImageBitmap | HTMLImageElement} picture
   * @param {Mask} mask painted on in place
   * @param {{title: string, save: () => void, cancel: () => void}} options
   */
  constructor(picture, mask, { title, save, cancel }) {
    this.mask = mask;
    this.view = new View(mask.width, mask.height);
    tool.size ||= Math.min(LARGEST, Math.max(4, Math.round(Math.min(mask.width, mask.height) / 12)));
    this.tool = tool;
    this.stage = new Stage(picture, mask, this.view, t("painter.stage", { title, width: mask.width, height: mask.height }));
    this.bar = new Bar(tool, (action) => this.act(action), () => this.#show());
    this.save = save;
    this.cancel = cancel;
    const frame = el("div", { class: "gatebus-painter-frame" }, this.stage.element);
    this.element = el("div", { class: "gatebus-painter" }, this.bar.element, frame);
    this.pointers = new Pointers(this.stage.element, {
      begin: (at, pressure, other, line) => this.#begin(at, pressure, other, line),
      paint: (at, pressure) => this.#paint(at, pressure),
      end: () => this.#end(),
      cancel: () => this.#takeBack(),
      hover: (at) => this.#point(at),
      move: (dx, dy) => this.#look(() => this.view.move(dx, dy)),
      pinch: (before, after) => this.#look(() => this.view.pinch(before, after)),
      zoom: (factor, at) => this.#look(() => this.view.zoom(factor, at)),
    });
    const sizing = new ResizeObserver(() => {
      this.stage.resize(frame.clientWidth, frame.clientHeight);
      this.#show();
    });
    sizing.observe(frame);
    this.#undoing.add(() => sizing.disconnect());
    // After a click the keys are the painter's again, and the space bar does not click once more.
    this.#undoing.listen(this.bar.element, "pointerup", () => setTimeout(() => this.focus()));
    this.#show();
  }

  /** Whether anything was painted since it opened. */
  get changed() {
    return this.#history.changed;
  }

  focus() {
    this.stage.element.focus({ preventScroll: true });
  }

  /** Ends its listeners. */
  dispose() {
    this.#undoing.run();
    this.pointers.dispose();
    this.stage.dispose();
  }

  /** @param {import("./painter-bar.mjs").Action} action */
  act(action) {
    this.#end();
    if (action === "brush" || action === "eraser") tool.erase = action === "eraser";
    else if (action === "undo") this.#update(this.#history.undo());
    else if (action === "redo") this.#update(this.#history.redo());
    else if (action === "invert") this.#map((value) => 255 - value);
    else if (action === "fill") this.#map(() => 255);
    else if (action === "clear") this.#map(() => 0);
    else if (action === "zoomIn") this.view.zoom(1.5);
    else if (action === "zoomOut") this.view.zoom(1 / 1.5);
    else if (action === "fit") this.view.fit();
    else if (action === "save") this.save();
    else if (action === "cancel") this.cancel();
    this.#show();
  }

  /** Makes the brush larger or smaller. @param {number} factor */
  resizeBrush(factor) {
    const step = Math.max(1, Math.round(tool.size * Math.abs(factor - 1)));
    tool.size = Math.min(LARGEST, Math.max(1, tool.size + (factor > 1 ? step : -step)));
    this.#show();
  }

  /** @param {(value: number) => number} change */
  #map(change) {
    this.#history.push(this.mask.map(change));
    this.#update([this.mask.bounds]);
  }

  /** @param {Point} at @param {number} pressure @param {boolean} other @param {boolean} line */
  #begin(at, pressure, other, line) {
    this.#stroke = new Stroke(this.mask, { ...tool, erase: tool.erase !== other });
    if (line && this.#last) this.#stroke.to(this.#dab(this.#last, pressure));
    this.#paint(at, pressure);
  }

  /** @param {Point} at @param {number} pressure */
  #paint(at, pressure) {
    if (!this.#stroke) return;
    this.#last = this.view.toPicture(at);
    this.#update([this.#stroke.to(this.#dab(this.#last, pressure))]);
  }

  #end() {
    if (!this.#stroke) return;
    if (this.#stroke.edit.size) this.#history.push(this.#stroke.edit);
    this.#stroke = null;
    this.#show();
  }

  #takeBack() {
    if (!this.#stroke) return;
    this.#update(this.#stroke.edit.swap());
    this.#stroke = null;
  }

  /** @param {Point} point of the picture @param {number} pressure */
  #dab(point, pressure) {
    // A brush of one pixel paints the pixel that it is on, not two halves.
    const { x, y } = tool.size <= 1 ? { x: Math.floor(point.x) + 0.5, y: Math.floor(point.y) + 0.5 } : point;
    return { x, y, radius: Math.max(0.5, (tool.size / 2) * pressure) };
  }

  /** @param {Point | null} at */
  #point(at) {
    this.#hover = at;
    this.stage.cursor = at && { ...at, radius: (tool.size / 2) * this.view.scale };
    this.stage.draw();
  }

  /** @param {() => void} change */
  #look(change) {
    change();
    this.#show();
  }

  /** @param {Rect[]} rects */
  #update(rects) {
    for (const rect of rects) this.stage.update(rect);
  }

  #show() {
    this.bar.show(this.#history.canUndo, this.#history.canRedo, this.view.scale);
    this.#point(this.#hover);
  }
}

/**
 * What a painting is about.
 * @typedef {object} Painting
 * @property {string} title
 * @property {() => Promise<Blob>} loadImage
 * @property {(() => Promise<Blob>) | null} loadMask null when there is none
 * @property {{width: number, height: number}} [size] the mask's; that of the image when left out
 * @property {(png: Blob | null) => Promise<any>} save gets null for a mask with nothing painted
 */

/**
 * Lets a person paint; resolves when they have saved or cancelled.
 * @param {Painting} painting
 * @returns {Promise<void>} rejects when the picture can't be loaded
 */
export async function openPainter({ title, loadImage, loadMask, size, save }) {
  const { openDialog } = await import("./painter-dialog.mjs");
  const [picture, blob] = await Promise.all([
    loadImage().then((image) => createImageBitmap(image)),
    loadMask ? loadMask() : null,
  ]);
  const { width, height } = size ?? picture;
  const mask = new Mask(width, height, blob ? await readMask(blob, width, height) : undefined);
  try {
    await openDialog(title, (hooks) => new Painter(picture, mask, { title, ...hooks }), async () =>
      save(mask.empty ? null : await toPng(mask)),
    );
  } finally {
    picture.close();
  }
}
