/**
 * A scrolling grid of thumbnails of which only what is seen is in the page, whatever its size.
 * Free of ComfyUI; what it shows and what is done with it is its user's matter.
 */
import { Undoing, el } from "./dom.mjs";
import { Cell } from "./grid-cell.mjs";
import { dragCells } from "./grid-drag.mjs";
import { keyAction } from "./grid-keys.mjs";
import { GapMark } from "./grid-mark.mjs";
import { GAP, beforeOf, layout, place, scrolledTo, staysPut, visible } from "./grid-layout.mjs";
import { Preview } from "./grid-preview.mjs";

/** @typedef {import("./grid-cell.mjs").Content} Content */
/** @typedef {import("./selection.mjs").Selection} Selection */

/** Least width of a cell. */
const LEAST = 104;
/** Milliseconds without a further scroll after which pictures are asked for. */
const SETTLED = 90;

let grids = 0;

/**
 * Events, their detail: `activate` (id), `label` ({id, label}), `remove` (null), `move` ({ids, before}),
 * `undo` (null; preventDefault says that there was something to undo).
 */
export class Grid extends EventTarget {
  /** @type {readonly string[]} */
  #order = [];
  /** @type {Map<string, Cell>} those in the page */
  #cells = new Map();
  #layout = layout(0, 1, LEAST);
  #frame = 0;
  #scrolled = 0;
  #undoing = new Undoing();
  /** @type {Preview} */
  #preview;
  #mark = new GapMark();

  /**
   * @param {Content} content
   * @param {Selection} selection
   */
  constructor(content, selection) {
    super();
    this.content = content;
    this.selection = selection;
    this.prefix = `gb-grid-${(grids += 1)}-`;
    this.space = el("div", { class: "gb-grid-space", role: "presentation" });
    this.element = el("div", {
      class: "gb-grid",
      role: "listbox",
      tabindex: 0,
      "aria-label": content.name,
      "aria-multiselectable": "true",
    });
    this.space.append(this.#mark.element);
    this.element.append(this.space);
    this.#preview = new Preview(content, this.element);
    const undoing = this.#undoing;
    const resized = new ResizeObserver(() => this.redraw());
    resized.observe(this.element);
    undoing.add(() => resized.disconnect());
    undoing.listen(selection, "change", () => this.redraw());
    undoing.listen(this.element, "scroll", () => {
      this.#scrolled = performance.now();
      this.#preview.rest("");
      this.redraw();
    });
    undoing.listen(this.element, "click", (event) => this.#clicked(event));
    undoing.listen(this.element, "dblclick", (event) => this.#doubleClicked(event));
    undoing.listen(this.element, "keydown", (event) => this.#pressed(event));
    undoing.listen(this.element, "pointermove", (event) => this.#rested(event));
    undoing.listen(this.element, "pointerleave", () => this.#preview.rest(""));
    undoing.listen(this.element, "pointerdown", () => this.#preview.hide());
    undoing.listen(this.element, "focusout", () => this.#preview.hide());
    undoing.add(() => this.#preview.hide());
    undoing.add(() => cancelAnimationFrame(this.#frame));
    this.#allowDragging();
  }

  close() {
    this.#undoing.run();
    for (const cell of this.#cells.values()) cell.remove();
    this.#cells.clear();
  }

  /** Shows these, in that order; to be called after every change of what they show. @param {readonly string[]} ids */
  setOrder(ids) {
    this.#order = ids;
    this.selection.setOrder(ids);
    if (this.#preview.shown && !ids.includes(this.#preview.shown)) this.#preview.hide();
    this.redraw();
  }

  /** Draws with the next frame. */
  redraw() {
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  /** Scrolls so that it is seen. @param {string} id */
  reveal(id) {
    const index = this.#order.indexOf(id);
    if (index < 0) return;
    this.#measure();
    const { scrollTop, clientHeight } = this.element;
    this.element.scrollTop = scrolledTo(this.#layout, index, scrollTop, clientHeight);
    this.redraw();
  }

  /** Edits the label of that cell. @param {string} id */
  editLabel(id) {
    this.reveal(id);
    this.#draw();
    this.#cells.get(id)?.edit(this.content.label(id), this.content.labelName, (label, next) => {
      if (label !== null) this.#tell("label", { id, label });
      const after = this.#order[this.#order.indexOf(id) + 1];
      if (next && after) {
        this.selection.choose(after);
        this.editLabel(after);
      } else if (document.activeElement === document.body || next || label === null) {
        this.element.focus({ preventScroll: true });
      }
      this.redraw();
    });
  }

  /** Shows where something would be put; null takes the mark away. @param {{clientX: number, clientY: number} | null} point */
  markGap(point) {
    if (point) this.#mark.show(this.#layout, this.#inside(point));
    else this.#mark.hide();
  }

  /** The id before which something put at the mark stands, null: at the end. @param {ReadonlySet<string>} [moving] */
  beforeMark(moving = new Set()) {
    return this.#mark.gap < 0 ? null : beforeOf(this.#order, moving, this.#mark.gap);
  }

  // -- drawing ------------------------------------------------------------------------------------

  #measure() {
    // clientWidth is free of the canvas's scale, which is a transform.
    this.#layout = layout(this.#order.length, this.element.clientWidth - 2 * GAP, LEAST);
    this.space.style.height = `${this.#layout.height}px`;
  }

  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const { clientHeight, clientWidth } = this.element;
    // Hidden: nothing is drawn, nothing is loaded.
    if (!clientWidth || !clientHeight) return;
    this.#measure();
    const [from, to] = visible(this.#layout, this.element.scrollTop, clientHeight);
    const shown = this.#order.slice(from, to);
    const kept = new Set(shown);
    for (const [id, cell] of this.#cells) {
      if (kept.has(id)) continue;
      cell.remove();
      this.#cells.delete(id);
    }
    const delay = performance.now() - this.#scrolled < SETTLED ? SETTLED : 0;
    const pixels = this.#layout.cell * (window.devicePixelRatio || 1);
    shown.forEach((id, offset) => this.#drawCell(id, from + offset, pixels, delay));
    const cursor = this.#cells.has(this.selection.cursor) ? this.prefix + this.selection.cursor : "";
    if (cursor) this.element.setAttribute("aria-activedescendant", cursor);
    else this.element.removeAttribute("aria-activedescendant");
  }

  /** @param {string} id @param {number} index @param {number} pixels @param {number} delay */
  #drawCell(id, index, pixels, delay) {
    let cell = this.#cells.get(id);
    if (!cell) {
      cell = new Cell(id, this.prefix + id, this.content.load);
      this.#cells.set(id, cell);
      this.space.append(cell.element);
    }
    const { x, y } = place(this.#layout, index);
    cell.put(x, y, this.#layout.cell);
    const selected = this.selection.has(id);
    const cursor = this.selection.cursor === id;
    cell.show({ ...this.content.view(id, index, pixels), index, selected, cursor }, delay);
    cell.element.setAttribute("aria-setsize", String(this.#order.length));
    cell.element.setAttribute("aria-posinset", String(index + 1));
  }

  // -- pointer ------------------------------------------------------------------------------------

  /** A point in the window as one in the grid. @param {{clientX: number, clientY: number}} point @returns {[number, number]} */
  #inside({ clientX, clientY }) {
    const box = this.element.getBoundingClientRect();
    const scale = box.width / this.element.offsetWidth || 1;
    return [(clientX - box.left) / scale - GAP, (clientY - box.top) / scale + this.element.scrollTop - GAP];
  }

  /** @param {EventTarget | null} target @returns {string} the id of the cell there, "" for none */
  #idAt(target) {
    return (target instanceof Element && target.closest(".gb-cell")?.getAttribute("data-id")) || "";
  }

  /** @param {MouseEvent} event */
  #clicked(event) {
    const id = this.#idAt(event.target);
    const target = /** @type {Element} */ (event.target);
    if (target.closest("input")) return;
    if (!id) return this.selection.clear();
    const manner = { toggle: event.ctrlKey || event.metaKey, range: event.shiftKey };
    this.selection.choose(id, manner);
    if (target.closest(".gb-cell-label") && !manner.toggle && !manner.range) this.editLabel(id);
    else this.element.focus({ preventScroll: true });
  }

  /** @param {MouseEvent} event */
  #doubleClicked(event) {
    event.stopPropagation();
    const id = this.#idAt(event.target);
    if (id && !(/** @type {Element} */ (event.target).closest("input, .gb-cell-label"))) this.#tell("activate", id);
  }

  #allowDragging() {
    /** @type {string[]} */
    let ids = [];
    const lift = (/** @type {boolean} */ on) => {
      for (const id of ids) this.#cells.get(id)?.element.classList.toggle("gb-cell-lifted", on);
    };
    dragCells(
      this.element,
      {
        begin: (target) => {
          const id = this.#idAt(target);
          if (!id || /** @type {Element} */ (target).closest("input")) return false;
          if (!this.selection.has(id)) this.selection.choose(id);
          ids = this.selection.inOrder();
          this.#preview.hide();
          lift(true);
          return true;
        },
        over: (clientX, clientY) => this.markGap({ clientX, clientY }),
        drop: () => {
          const before = this.beforeMark(new Set(ids));
          if (!staysPut(this.#order, ids, before)) this.#tell("move", { ids, before });
        },
        end: () => {
          lift(false);
          this.markGap(null);
        },
        press: (target) => this.selection.choose(this.#idAt(target), { toggle: true }),
      },
      this.#undoing,
    );
  }

  /** @param {PointerEvent} event */
  #rested(event) {
    const id = this.#idAt(event.target);
    const restful = event.pointerType === "mouse" && !event.buttons && !this.#cells.get(id)?.editing;
    const aside = /** @type {Element} */ (event.target).closest(".gb-cell-label");
    this.#preview.rest(restful && !aside ? id : "");
  }

  // -- keys ---------------------------------------------------------------------------------------

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (event.target !== this.element || event.altKey || !this.#act(event)) return;
    // Only what was meant for the grid: the page's own keys (run, save, undo of the graph) pass.
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {KeyboardEvent} event @returns {boolean} whether the key does something here */
  #act(event) {
    const { selection } = this;
    const rows = Math.max(1, Math.floor(this.element.clientHeight / this.#layout.row));
    const { action, steps } = keyAction(event, this.#layout.columns, rows);
    const { cursor } = selection;
    if (action === "move") {
      this.reveal(selection.move(steps, { toggle: event.ctrlKey || event.metaKey, range: event.shiftKey }));
      if (this.#preview.pinned) this.#preview.pin(selection.cursor);
    } else if (action === "all") selection.all();
    else if (action === "toggle" && cursor) selection.choose(cursor, { toggle: true });
    else if (action === "zoom" && cursor) this.#preview.toggle(cursor);
    else if (action === "activate" && cursor) this.#tell("activate", cursor);
    else if (action === "label" && cursor) this.editLabel(cursor);
    else if (action === "remove" && selection.size) this.#tell("remove", null);
    else if (action === "leave" && this.#preview.shown) this.#preview.hide();
    else if (action === "leave" && selection.size) selection.clear();
    else if (action === "undo") return this.#tell("undo", null);
    // A key that would do something to the graph does nothing where it was meant for the grid.
    else return action === "remove" || action === "zoom";
    return true;
  }

  /** @param {string} type @param {any} detail @returns {boolean} whether somebody took it */
  #tell(type, detail) {
    return !this.dispatchEvent(new CustomEvent(type, { detail, cancelable: true }));
  }
}
