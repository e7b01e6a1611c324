/** The dialog around the painter: its keys, saving, and the question before changes are thrown away. */
import { el, Undoing } from "./dom.mjs";
import { t } from "./i18n.mjs";

/** @typedef {import("./painter.mjs").Painter} Painter */
/** @typedef {import("./painter-bar.mjs").Action} Action */

/** Key without Ctrl -> what it does. @type {Record<string, Action>} */
const KEYS = { b: "brush", e: "eraser", x: "invert", 0: "fit", "+": "zoomIn", "=": "zoomIn", "-": "zoomOut", Enter: "save", Escape: "cancel" };

/** Events that the page beneath must not act on while the dialog is open. */
const HELD_BACK = ["keydown", "keyup", "keypress", "copy", "cut", "paste"];

/**
 * Opens it; resolves when it was saved or cancelled.
 * @param {string} title
 * @param {(hooks: {save: () => void, cancel: () => void}) => Painter} make
 * @param {() => Promise<any>} store stores the mask; when it fails the dialog stays, and nothing is lost
 * @returns {Promise<void>}
 */
export function openDialog(title, make, store) {
  return new Promise((resolve) => {
    const undoing = new Undoing();
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    const status = el("div", { class: "gatebus-painter-status", role: "status" });
    const question = el("div", { class: "gatebus-painter-question", role: "alertdialog", "aria-label": t("painter.discard"), hidden: true });
    let saving = false;

    const close = () => {
      undoing.run();
      painter.dispose();
      dialog.close();
      dialog.remove();
      before?.focus?.({ preventScroll: true });
      resolve();
    };
    const save = async () => {
      if (saving) return;
      saving = true;
      painter.bar.busy(true);
      status.textContent = "";
      try {
        await store();
        close();
      } catch (error) {
        status.textContent = t("painter.notSaved", { reason: error instanceof Error ? error.message : String(error) });
        status.setAttribute("role", "alert");
      } finally {
        saving = false;
        painter.bar.busy(false);
      }
    };
    const ask = (/** @type {boolean} */ asks) => {
      question.hidden = !asks;
      if (asks) question.querySelector("button")?.focus();
      else painter.focus();
    };
    const cancel = () => {
      if (saving) return;
      if (painter.changed) ask(true);
      else close();
    };
    question.append(
      el("span", {}, t("painter.discard")),
      el("button", { type: "button", onclick: () => ask(false) }, t("painter.keep")),
      el("button", { type: "button", class: "gatebus-painter-danger", onclick: close }, t("painter.throwAway")),
    );

    const painter = make({ save, cancel });
    const heading = el("div", { class: "gatebus-painter-title" }, t("painter.title", { title }));
    const dialog = /** @type {HTMLDialogElement} */ (
      /** @type {unknown} */ (el("dialog", { class: "gatebus-painter-dialog", "aria-label": t("painter.title", { title }) }, heading, painter.element, status, question))
    );
    // The browser's own Escape: asked like ours.
    undoing.listen(dialog, "cancel", (event) => event.preventDefault());
    // A browser may close it all the same, at a second Escape or a phone's gesture.
    undoing.listen(dialog, "close", () => {
      dialog.showModal();
      cancel();
    });
    for (const type of HELD_BACK) {
      undoing.listen(
        window,
        type,
        (event) => {
          event.stopImmediatePropagation();
          if (type === "keydown" && saving) event.preventDefault();
          else if (type === "keydown") keyDown(painter, event, question.hidden ? null : () => ask(false));
          if (type === "keyup" && event.key === " ") hold(painter, false);
        },
        { capture: true },
      );
    }
    undoing.listen(window, "blur", () => hold(painter, false));
    document.body.append(dialog);
    dialog.showModal();
    painter.focus();
  });
}

/**
 * @param {Painter} painter
 * @param {KeyboardEvent} event
 * @param {(() => void) | null} back closes the question that stands, null when none does
 */
function keyDown(painter, event, back) {
  const target = /** @type {HTMLElement} */ (event.target);
  const control = event.ctrlKey || event.metaKey;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const onButton = target.localName === "button";
  const did = () => event.preventDefault();
  if (back) {
    if (key === "Escape") back();
    // Enter, Tab and the space bar are the question's buttons'.
    if (key === "Escape" || !onButton) did();
  } else if (control && key === "z") {
    did();
    painter.act(event.shiftKey ? "redo" : "undo");
  } else if (control && key === "y") {
    did();
    painter.act("redo");
  } else if (control && key === "s") {
    did();
    painter.act("save");
  } else if (control || event.altKey) {
    return;
  } else if (key === " ") {
    if (onButton) return;
    did();
    hold(painter, true);
  } else if (key === "[" || key === "]") {
    did();
    painter.resizeBrush(key === "]" ? 1.15 : 0.85);
  } else if (KEYS[key] && !(onButton && key === "Enter")) {
    did();
    if (!event.repeat || key === "+" || key === "=" || key === "-") painter.act(KEYS[key]);
  }
}

/** The space bar is down, or not. @param {Painter} painter @param {boolean} down */
function hold(painter, down) {
  painter.pointers.moving = down;
  painter.stage.element.classList.toggle("gatebus-painter-moving", down);
}
