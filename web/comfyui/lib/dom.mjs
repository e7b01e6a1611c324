/** DOM built with properties, attributes and text, never with markup: what a person typed stays text. */

/**
 * An element with attributes, listeners (`onclick: f`) and children.
 *
 * `class`, `title`, `aria-*`, `data-*` and the like are set as attributes; `true` sets an empty
 * one, `false`, `null` and `undefined` none. Strings among the children become text.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElement & Record<string, any>}
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on") && typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else if (name === "value" || name === "disabled" || name === "checked") /** @type {any} */ (element)[name] = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(.../** @type {(Node | string)[]} */ (children.filter((child) => child || child === "")));
  return /** @type {any} */ (element);
}

/**
 * Listeners and other things to undo, undone together when what they serve goes away.
 */
export class Undoing {
  /** @type {(() => void)[]} */
  #steps = [];

  /** @param {() => void} step */
  add(step) {
    this.#steps.push(step);
  }

  /**
   * @param {EventTarget} target
   * @param {string} type
   * @param {(event: any) => void} listener
   * @param {AddEventListenerOptions} [options]
   */
  listen(target, type, listener, options) {
    target.addEventListener(type, listener, options);
    this.add(() => target.removeEventListener(type, listener, options));
  }

  /** Undoes everything, the last first; may be called twice. */
  run() {
    for (const step of this.#steps.splice(0).reverse()) step();
  }
}

/**
 * Whether a person is typing in that place, so that keys are text there.
 * @param {EventTarget | null} target
 */
export function isTyping(target) {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || target.closest("input, textarea, select, [contenteditable=true]") !== null)
  );
}

/**
 * The stylesheet at that URL, added to the page once.
 * @param {string} href
 */
export function addStylesheet(href) {
  if (!document.querySelector(`link[data-gatebus="${CSS.escape(href)}"]`)) {
    document.head.append(el("link", { rel: "stylesheet", href, "data-gatebus": href }));
  }
}
