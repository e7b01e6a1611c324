/** One tick a second for everything that shows an age; none while nothing does. */

/** @type {Set<() => void>} */
const faces = new Set();
/** @type {ReturnType<typeof setInterval> | undefined} */
let timer;

/**
 * Calls back every second.
 * @param {() => void} face
 * @returns {() => void} ends it
 */
export function everySecond(face) {
  faces.add(face);
  timer ??= setInterval(() => {
    for (const each of faces) each();
  }, 1000);
  return () => {
    faces.delete(face);
    if (faces.size) return;
    clearInterval(timer);
    timer = undefined;
  };
}
