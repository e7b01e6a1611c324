/** Cells moved by hand: a mouse drags at once, a finger after a long press, so that it can also scroll. */

/** Pixels that a mouse moves before it drags. */
const THRESHOLD = 5;
/** Pixels that a finger may tremble while it presses. */
const TREMBLE = 10;
/** Milliseconds of a long press. */
const PRESS = 400;
/** Pixels from an edge where it scrolls by itself. */
const EDGE = 32;

/**
 * @typedef {object} Reorder
 * @property {(target: EventTarget | null) => boolean} begin whether what is there can be dragged; it is then
 * @property {(clientX: number, clientY: number) => void} over
 * @property {() => void} drop
 * @property {() => void} end in any case, after drop
 * @property {(target: EventTarget | null) => void} press a long press without a move
 */

/**
 * @param {HTMLElement & Record<string, any>} scroller
 * @param {Reorder} reorder
 * @param {import("./dom.mjs").Undoing} undoing
 */
export function dragCells(scroller, reorder, undoing) {
  /** @type {{id: number, x: number, y: number, target: EventTarget | null, touch: boolean} | null} */
  let pointer = null;
  let dragging = false;
  let moved = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let frame = 0;
  let last = { x: 0, y: 0 };

  const end = (/** @type {boolean} */ drop) => {
    clearTimeout(timer);
    cancelAnimationFrame(frame);
    const was = pointer;
    pointer = null;
    if (!dragging) return;
    dragging = false;
    if (was && scroller.hasPointerCapture(was.id)) scroller.releasePointerCapture(was.id);
    if (drop && moved) reorder.drop();
    reorder.end();
    if (drop && !moved && was) reorder.press(was.target);
    // The click that follows belongs to the drag.
    const swallow = (/** @type {Event} */ event) => {
      event.stopPropagation();
      event.preventDefault();
    };
    scroller.addEventListener("click", swallow, { capture: true, once: true });
    setTimeout(() => scroller.removeEventListener("click", swallow, { capture: true }), 50);
  };
  const begin = () => {
    if (!pointer || !reorder.begin(pointer.target)) return;
    dragging = true;
    moved = false;
    scroller.setPointerCapture(pointer.id);
    frame = requestAnimationFrame(scroll);
  };
  const scroll = () => {
    if (!dragging) return;
    const box = scroller.getBoundingClientRect();
    const above = box.top + EDGE - last.y;
    const below = last.y - (box.bottom - EDGE);
    if (moved && (above > 0 || below > 0)) {
      scroller.scrollTop += above > 0 ? -Math.min(24, above / 2) : Math.min(24, below / 2);
      reorder.over(last.x, last.y);
    }
    frame = requestAnimationFrame(scroll);
  };

  undoing.listen(scroller, "pointerdown", (/** @type {PointerEvent} */ event) => {
    if (event.button !== 0 || pointer) return;
    const touch = event.pointerType !== "mouse";
    pointer = { id: event.pointerId, x: event.clientX, y: event.clientY, target: event.target, touch };
    last = { x: event.clientX, y: event.clientY };
    if (touch) timer = setTimeout(begin, PRESS);
  });
  undoing.listen(scroller, "pointermove", (/** @type {PointerEvent} */ event) => {
    if (!pointer || event.pointerId !== pointer.id) return;
    const far = Math.hypot(event.clientX - pointer.x, event.clientY - pointer.y);
    last = { x: event.clientX, y: event.clientY };
    if (!dragging) {
      if (pointer.touch && far > TREMBLE) end(false);
      else if (!pointer.touch && far > THRESHOLD) begin();
    }
    if (!dragging) return;
    if (!moved && far <= (pointer.touch ? TREMBLE : THRESHOLD)) return;
    moved = true;
    event.stopPropagation();
    reorder.over(event.clientX, event.clientY);
  });
  undoing.listen(scroller, "pointerup", (/** @type {PointerEvent} */ event) => {
    if (pointer && event.pointerId === pointer.id) end(true);
  });
  undoing.listen(scroller, "pointercancel", () => end(false));
  undoing.listen(scroller, "lostpointercapture", () => dragging && end(false));
  undoing.listen(scroller, "touchmove", (event) => dragging && event.preventDefault(), { passive: false });
  undoing.listen(scroller, "contextmenu", (event) => {
    // A long press opens a menu on some devices.
    if (dragging) event.preventDefault();
  });
  undoing.listen(
    window,
    "keydown",
    (/** @type {KeyboardEvent} */ event) => {
      if (!dragging || event.key !== "Escape") return;
      event.preventDefault();
      event.stopImmediatePropagation();
      end(false);
    },
    { capture: true },
  );
  undoing.add(() => end(false));
}
