/** Order as people count: img2 before img10, whatever the case. Free of ComfyUI and of the DOM. */

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/**
 * Negative, zero or positive, as `sort` takes it; two different texts are never equal.
 * @param {string} a
 * @param {string} b
 */
export function naturalCompare(a, b) {
  return collator.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);
}

/**
 * The pool's files in another order; equal ones keep the order that they have.
 * @param {{file: string, label: string}[]} slots
 * @param {"label" | "added" | "reverse"} by label: those without one stand behind, by file; added: by file, whose
 *   numbers only grow
 * @returns {string[]} files
 */
export function sortedFiles(slots, by) {
  const files = slots.map((slot) => slot.file);
  if (by === "reverse") return files.reverse();
  if (by === "added") return files.sort(naturalCompare);
  return [...slots]
    .sort((a, b) => {
      if (!a.label !== !b.label) return a.label ? -1 : 1;
      return naturalCompare(a.label, b.label) || naturalCompare(a.file, b.file);
    })
    .map((slot) => slot.file);
}
