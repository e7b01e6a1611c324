/** A small menu inside an element: for touch, and where the page has no menu of its own. */
import { Undoing, el } from "./dom.mjs";

/**
 * @typedef {object} Entry
 * @property {string} label
 * @property {() => unknown} run
 * @property {string} [detail]
 * @property {boolean} [chosen]
 * @property {boolean} [disabled]
 * @property {boolean} [local] only of use beside what it acts on, so a longer menu elsewhere leaves it out
 */

/**
 * Shows the entries until one is chosen, or something else is clicked or focused.
 * @param {HTMLElement} parent positioned; the menu lies over it
 * @param {HTMLElement} opener gets the focus back
 * @param {string} name for those who don't see it
 * @param {(Entry | null)[]} entries null: a line
 * @returns {() => void} closes it
 */
export function openPopup(parent, opener, name, entries) {
  parent.querySelector(":scope > .gb-popup")?.dispatchEvent(new Event("gb-close"));
  const undoing = new Undoing();
  const buttons = /** @type {HTMLButtonElement[]} */ ([]);
  const menu = el("div", { class: "gb-popup", role: "menu", "aria-label": name, "data-capture-wheel": "true" });
  const close = (/** @type {boolean} */ refocus) => {
    undoing.run();
    menu.remove();
    opener.setAttribute("aria-expanded", "false");
    if (refocus) opener.focus({ preventScroll: true });
  };
  for (const entry of entries) {
    if (!entry) {
      menu.append(el("div", { class: "gb-popup-line", role: "separator" }));
      continue;
    }
    const { label, detail, chosen, disabled, run } = entry;
    const onclick = () => {
      close(true);
      run();
    };
    const role = chosen === undefined ? "menuitem" : "menuitemradio";
    const button = el(
      "button",
      { type: "button", class: "gb-popup-entry", role, "aria-checked": chosen === undefined ? null : String(chosen), disabled: Boolean(disabled), onclick },
      el("span", {}, label),
      detail ? el("span", { class: "gb-popup-detail" }, detail) : null,
    );
    buttons.push(/** @type {any} */ (button));
    menu.append(button);
  }
  undoing.listen(menu, "gb-close", () => close(false));
  undoing.listen(menu, "keydown", (/** @type {KeyboardEvent} */ event) => {
    const place = buttons.indexOf(/** @type {any} */ (document.activeElement));
    const open = buttons.filter((button) => !button.disabled);
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (event.key === "Escape") close(true);
    else if (step && open.length) {
      open[(open.indexOf(buttons[place]) + step + open.length) % open.length].focus();
    } else if (event.key !== "Enter" && event.key !== " ") return;
    event.stopPropagation();
    if (event.key !== "Enter" && event.key !== " ") event.preventDefault();
  });
  const outside = (/** @type {Event} */ event) => {
    if (!menu.contains(/** @type {Node} */ (event.target)) && !opener.contains(/** @type {Node} */ (event.target))) close(false);
  };
  undoing.listen(window, "pointerdown", outside, { capture: true });
  parent.append(menu);
  // Below what opened it, as far as there is room.
  if (parent.contains(opener)) {
    const room = parent.clientWidth - menu.offsetWidth - 4;
    menu.style.left = `${Math.max(4, Math.min(opener.offsetLeft, room))}px`;
  }
  opener.setAttribute("aria-expanded", "true");
  (buttons.find((button) => !button.disabled) ?? menu).focus({ preventScroll: true });
  return () => close(false);
}
