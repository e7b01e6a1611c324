/**
 * Edits of a pool as pure functions of what the page knows of it: each gives a new state, and
 * doing one twice is doing it once. They mean what the server's edits mean.
 */

/**
 * @typedef {object} Slot
 * @property {string} file
 * @property {string} label
 * @property {string} mask "" when there is none
 * @property {number} added
 * @property {string} digest
 * @property {string} mask_digest
 */

/**
 * @typedef {object} State
 * @property {string} name
 * @property {string} active
 * @property {readonly Slot[]} slots
 * @property {number} rev 0 for a pool that is not there
 */

/** @typedef {(state: State) => State} Edit */

/** @type {State} */
export const EMPTY = Object.freeze({ name: "", active: "", slots: [], rev: 0 });

/** The slots go; when the active one does, its right neighbour becomes active, else its left. @param {string[]} files @returns {Edit} */
export function removed(files) {
  const gone = new Set(files);
  return (state) => {
    const slots = state.slots.filter((slot) => !gone.has(slot.file));
    if (slots.length === state.slots.length) return state;
    let { active } = state;
    if (gone.has(active)) {
      const place = state.slots.findIndex((slot) => slot.file === active);
      const right = state.slots.slice(place + 1).find((slot) => !gone.has(slot.file));
      active = (right ?? state.slots.slice(0, place).reverse().find((slot) => !gone.has(slot.file)))?.file ?? "";
    }
    return { ...state, slots, active };
  };
}

/** The slots stand, in that order, before another or at the end. @param {string[]} files @param {string | null} before @returns {Edit} */
export function moved(files, before) {
  const moving = new Set(files);
  return (state) => {
    const byFile = new Map(state.slots.map((slot) => [slot.file, slot]));
    const picked = files.flatMap((file) => byFile.get(file) ?? []);
    const rest = state.slots.filter((slot) => !moving.has(slot.file));
    let place = before === null ? rest.length : rest.findIndex((slot) => slot.file === before);
    if (place < 0) place = rest.length;
    return { ...state, slots: [...rest.slice(0, place), ...picked, ...rest.slice(place)] };
  };
}

/** The order is that one; slots that it does not name stand behind. @param {string[]} files @returns {Edit} */
export function reordered(files) {
  const place = new Map(files.map((file, index) => [file, index]));
  return (state) => ({
    ...state,
    slots: [...state.slots].sort((a, b) => (place.get(a.file) ?? Infinity) - (place.get(b.file) ?? Infinity) || 0),
  });
}

/** @param {string} file @returns {Edit} */
export function activated(file) {
  return (state) => (state.slots.some((slot) => slot.file === file) ? { ...state, active: file } : state);
}

/** @param {string} file @param {string} label @returns {Edit} */
export function labelled(file, label) {
  return (state) => ({
    ...state,
    slots: state.slots.map((slot) => (slot.file === file ? { ...slot, label } : slot)),
  });
}

/** @param {string} name @returns {Edit} */
export function renamed(name) {
  return (state) => ({ ...state, name });
}

/** New slots, before another or at the end; the first of an empty pool is active. @param {Slot[]} added @param {string | null} before @returns {Edit} */
export function withSlots(added, before) {
  return (state) => {
    const known = new Set(state.slots.map((slot) => slot.file));
    const fresh = added.filter((slot) => !known.has(slot.file));
    let place = before === null ? state.slots.length : state.slots.findIndex((slot) => slot.file === before);
    if (place < 0) place = state.slots.length;
    const slots = [...state.slots.slice(0, place), ...fresh, ...state.slots.slice(place)];
    return { ...state, slots, active: state.active || (slots[0]?.file ?? "") };
  };
}
