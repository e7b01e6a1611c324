/** Light or dark: what the person set, or what the system has. */

/** Colour of the browser's own bars, as of the page's head. */
const BARS = { light: "#ffffff", dark: "#1c2128" };

/** Sets it on the document, now and whenever it changes. @param {import("./settings.mjs").Settings} settings */
export function followTheme(settings) {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    const wish = settings.get("theme");
    const theme = wish === "light" || wish === "dark" ? wish : dark.matches ? "dark" : "light";
    document.documentElement.dataset.theme = theme;
    document.querySelector("meta[name=theme-color]")?.setAttribute("content", BARS[/** @type {"light" | "dark"} */ (theme)]);
  };
  dark.addEventListener("change", show);
  settings.addEventListener("change", show);
  show();
}
