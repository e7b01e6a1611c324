/** The page's pictograms: lines on a field of 24 by 24, in the colour of the text around them. */

const SVG = "http://www.w3.org/2000/svg";

/** Name -> the line. */
const LINES = {
  gates: "M4 12h5m0 0 5-6h6M9 12h11M9 12l5 6h6",
  buses: "M4 7h16M4 12h16M4 17h16M8 4v6m8 4v6",
  pools: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  jobs: "M4 6h16v12H4zM4 10h16M8 14h5",
  instances: "M4 5h16v6H4zM4 13h16v6H4zM7 8h.01M7 16h.01",
  log: "M7 6h13M7 12h13M7 18h13M3.5 6h.01M3.5 12h.01M3.5 18h.01",
  settings: "M4 7h10m4 0h2M4 17h2m4 0h10M16 4.5v5M8 14.5v5",
  help: "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 17.5h.01M3 12a9 9 0 1 0 18 0 9 9 0 0 0-18 0",
  who: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8M4 20c1-4 4-5.5 8-5.5s7 1.5 8 5.5",
  filter: "M4 6h16M7 12h10M10 18h4",
  oldest: "M8 5v14m0 0-3-3m3 3 3-3M14 7h2M14 12h4M14 17h6",
  newest: "M8 19V5m0 0L5 8m3-3 3 3M14 7h6M14 12h4M14 17h2",
  small: "M4 4h4v4H4zM10 4h4v4h-4zM16 4h4v4h-4zM4 10h4v4H4zM10 10h4v4h-4zM16 10h4v4h-4zM4 16h4v4H4zM10 16h4v4h-4zM16 16h4v4h-4z",
  medium: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  large: "M4 4h16v16H4z",
  close: "m6 6 12 12M18 6 6 18",
  previous: "m14 5-7 7 7 7",
  next: "m10 5 7 7-7 7",
  full: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  single: "M4 5h16v14H4z",
  wipe: "M4 5h16v14H4zM12 2v20M4 10h8M4 14h8",
  side: "M3 5h8v14H3zM13 5h8v14h-8z",
  blink: "M4 4h12v12H4zM8 16v4h12V8h-4",
};

/** @typedef {keyof typeof LINES} IconName */

/** @param {IconName} name @returns {SVGElement} hidden from those who don't see it: its place says what it means */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "gp-svg");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", LINES[name]);
  svg.append(path);
  return svg;
}
