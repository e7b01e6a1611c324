/** What a key means in a grid. */

const PLAIN = new Map([
  [" ", "zoom"],
  ["Enter", "activate"],
  ["Delete", "remove"],
  ["Backspace", "remove"],
  ["F2", "label"],
  ["Escape", "leave"],
  // Not ctrl+z: ComfyUI takes that one before anybody else can, and undoes a step of the graph.
  ["u", "undo"],
]);
/** With ctrl or command. */
const WITH_CONTROL = new Map([
  ["a", "all"],
  [" ", "toggle"],
]);

/**
 * The action of a key, "" when it is not the grid's; `move` comes with its steps.
 * @param {{key: string, ctrlKey: boolean, metaKey: boolean, shiftKey: boolean}} event
 * @param {number} columns
 * @param {number} rows of a page
 * @returns {{action: string, steps: number}}
 */
export function keyAction({ key, ctrlKey, metaKey, shiftKey }, columns, rows) {
  /** @type {Record<string, number>} */
  const moves = {
    ArrowLeft: -1,
    ArrowRight: 1,
    ArrowUp: -columns,
    ArrowDown: columns,
    PageUp: -columns * rows,
    PageDown: columns * rows,
    Home: -Infinity,
    End: Infinity,
  };
  if (Object.hasOwn(moves, key)) return { action: "move", steps: moves[key] };
  if (ctrlKey || metaKey) return { action: shiftKey ? "" : (WITH_CONTROL.get(key.toLowerCase()) ?? ""), steps: 0 };
  return { action: PLAIN.get(key) ?? "", steps: 0 };
}
