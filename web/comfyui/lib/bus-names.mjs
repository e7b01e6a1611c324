/** Names of buses as people pick them: references, matching, and what is said about each. Free of the DOM. */
import { duration, t } from "./i18n.mjs";

/**
 * `cp1@-1` -> {name: "cp1", version: "-1"}; the version is null where there is no @.
 * @param {string} text
 * @returns {{name: string, version: string | null}}
 */
export function parseReference(text) {
  const at = text.indexOf("@");
  return at < 0 ? { name: text.trim(), version: null } : { name: text.slice(0, at).trim(), version: text.slice(at + 1).trim() };
}

/**
 * The buses whose name, label or workflow holds the text: first those whose name begins with it, each in the given order.
 * @param {any[]} heads
 * @param {string} text
 */
export function matching(heads, text) {
  const wanted = text.trim().toLocaleLowerCase();
  if (!wanted) return heads;
  /** @param {any} head */
  const rank = ({ name, meta }) => {
    const place = name.toLocaleLowerCase().indexOf(wanted);
    if (place >= 0) return place === 0 ? 0 : 1;
    return `${meta?.label ?? ""}\n${meta?.workflow ?? ""}`.toLocaleLowerCase().includes(wanted) ? 2 : 3;
  };
  return [0, 1, 2].flatMap((wantedRank) => heads.filter((head) => rank(head) === wantedRank));
}

/**
 * How each version can be named: by its number, and by its distance from the newest, which moves on.
 * @param {any[]} heads the kept versions, newest first
 * @returns {{head: any, fixed: string, moving: string}[]}
 */
export function references(heads) {
  return heads.map((head, index) => ({
    head,
    fixed: `${head.name}@${head.version}`,
    moving: index ? `${head.name}@-${index}` : head.name,
  }));
}

/**
 * Size, frames, mask and age of a version, in words.
 * @param {any} head
 * @param {number} now milliseconds since the epoch
 * @returns {string}
 */
export function describe(head, now) {
  const { width, height, frames, mask, published, meta } = head;
  const parts = [`${width} × ${height}`];
  if (frames > 1) parts.push(t("bus.frames", { frames }));
  if (mask) parts.push(t("bus.mask"));
  parts.push(t("bus.ago", { time: duration((now - published) / 1000) }));
  if (meta?.instance) parts.push(meta.instance);
  return parts.join(" · ");
}
