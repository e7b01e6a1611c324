/** Where what is held is shown on the gate's screen: over the image's lower edge, not over the buttons. */

const PLACES = ["--gb-held-bottom", "--gb-held-middle", "--gb-held-room"];

/**
 * @param {HTMLElement} image
 * @param {HTMLElement} foot
 * @returns {() => void} undoes it
 */
export function keepHeldOver(image, foot) {
  const { style } = document.documentElement;
  const sizing = new ResizeObserver(() => {
    const { left, bottom, width } = image.getBoundingClientRect();
    [window.innerHeight - bottom + 8, left + width / 2, width].forEach((value, at) => style.setProperty(PLACES[at], `${value}px`));
  });
  for (const part of [image, foot]) sizing.observe(part);
  return () => {
    sizing.disconnect();
    for (const place of PLACES) style.removeProperty(place);
  };
}
