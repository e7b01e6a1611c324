/**
 * What this browser keeps for the page. Where it keeps nothing (blocked cookies, some private
 * windows), the page remembers by itself, for as long as it is open.
 */

/** @typedef {Pick<Storage, "getItem" | "setItem" | "removeItem">} Kept */

/** Of all tabs, until somebody clears it. */
export const ofBrowser = working("localStorage");
/** Of this tab, over its reloads. */
export const ofTab = working("sessionStorage");

/** @param {"localStorage" | "sessionStorage"} name @returns {Kept} */
function working(name) {
  try {
    const storage = window[name];
    storage.getItem("gatebus");
    return storage;
  } catch {
    // The name itself may throw.
    return remembered();
  }
}

/** @returns {Kept} */
function remembered() {
  /** @type {Map<string, string>} */
  const values = new Map();
  return {
    getItem: (key) => values.get(key) ?? null,
    setItem: (key, value) => void values.set(key, value),
    removeItem: (key) => void values.delete(key),
  };
}
