/** The mark that shows between which cells something would be put. */
import { el } from "./dom.mjs";
import { GAP, gapAt, place } from "./grid-layout.mjs";

export class GapMark {
  element = el("div", { class: "gb-grid-mark", hidden: true });
  /** The index of the cell before which it stands, -1 for none. */
  gap = -1;

  /** @param {import("./grid-layout.mjs").Layout} layout @param {[number, number]} point */
  show(layout, [x, y]) {
    this.gap = gapAt(layout, x, y);
    const { columns, cell, count } = layout;
    // At the end of a row it stands behind the last cell, not in the next row, where nobody points.
    const behind = this.gap > 0 && this.gap % columns === 0 && (this.gap === count || x > cell);
    const at = place(layout, behind ? this.gap - 1 : this.gap);
    const left = behind ? at.x + cell + GAP / 2 : at.x - GAP / 2;
    const { style } = this.element;
    style.transform = `translate(${left - 1.5}px, ${at.y}px)`;
    style.height = `${cell}px`;
    this.element.removeAttribute("hidden");
  }

  hide() {
    this.gap = -1;
    this.element.setAttribute("hidden", "");
  }
}
