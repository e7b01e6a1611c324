/**
 * The texts that people see, in their language: `t("area.name", values)`.
 *
 * An area's texts are `lib/texts/<area>.mjs`, `{en: {name: text}, zh: …, ja: …, de: …}`; the module
 * that uses them registers them. Free of ComfyUI: the host says the language.
 */

/** @typedef {Record<string, Record<string, string>>} Texts language -> name -> text */

/** Languages that there are texts for; English stands in for all others. */
export const LANGUAGES = ["en", "zh", "ja", "de"];

/** @type {Map<string, Texts>} */
const areas = new Map();
let language = "en";

/**
 * Adds an area's texts; may be called again.
 * @param {string} area
 * @param {Texts} texts
 */
export function register(area, texts) {
  areas.set(area, texts);
}

/**
 * Chooses the language by a tag such as `de`, `zh-TW` or `pt-BR`; one without texts means English.
 * @param {string | undefined | null} tag
 */
export function setLanguage(tag) {
  const found = String(tag ?? "").toLowerCase().split(/[-_]/)[0];
  language = LANGUAGES.includes(found) ? found : "en";
}

/** @returns {string} the language in use, one of {@link LANGUAGES} */
export function currentLanguage() {
  return language;
}

/**
 * The text with `{name}` replaced by that value; the key itself when there is no such text.
 * @param {string} key `area.name`
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function t(key, values = {}) {
  const dot = key.indexOf(".");
  const texts = areas.get(key.slice(0, dot));
  const name = key.slice(dot + 1);
  const text = texts?.[language]?.[name] ?? texts?.en?.[name] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, field) => (field in values ? String(values[field]) : whole));
}

/**
 * A span of time in the two largest units that matter: `42 s`, `3 min`, `2 h 5 min`, `4 d 3 h`.
 * @param {number} seconds
 * @returns {string}
 */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [s, min, h, d] = UNITS[language] ?? UNITS.en;
  if (whole < 60) return `${whole} ${s}`;
  if (whole < 3600) return `${Math.floor(whole / 60)} ${min}`;
  const two = (/** @type {number} */ large, /** @type {string} */ a, /** @type {number} */ small, /** @type {string} */ b) =>
    small ? `${large} ${a} ${small} ${b}` : `${large} ${a}`;
  if (whole < 86_400) return two(Math.floor(whole / 3600), h, Math.floor((whole % 3600) / 60), min);
  return two(Math.floor(whole / 86_400), d, Math.floor((whole % 86_400) / 3600), h);
}

/** @type {Record<string, string[]>} seconds, minutes, hours, days */
const UNITS = {
  en: ["s", "min", "h", "d"],
  zh: ["秒", "分", "小时", "天"],
  ja: ["秒", "分", "時間", "日"],
  de: ["s", "min", "h", "T"],
};
