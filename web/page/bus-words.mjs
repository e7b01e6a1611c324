/** What is said of a bus's version, and how its files are named and fetched. */
import { el } from "../comfyui/lib/dom.mjs";
import { duration, t } from "../comfyui/lib/i18n.mjs";
import { loadBlob } from "../comfyui/lib/images.mjs";

/** @typedef {import("../comfyui/lib/api.mjs").Api} Api */
/** @typedef {import("./page.mjs").Context} Context */

/** Milliseconds after which the address of a blob that was handed to the browser is freed. */
const FREED = 60_000;

/** @param {number} bytes */
export function bytesText(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  for (; value >= 999.5 && unit < units.length - 1; unit += 1) value /= 1000;
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** Size, frames, format and bytes. @param {any} head */
export function sizeText({ width, height, frames, format, size }) {
  const parts = [`${width} × ${height}`];
  if (frames > 1) parts.push(t("content.frames", { frames }));
  if (format !== "png") parts.push(t("content.exact"));
  return [...parts, bytesText(size)].join(" · ");
}

/** @param {any} head @param {number} now milliseconds, by the server's clock */
export function ageText({ published }, now) {
  return t("content.ago", { time: duration((now - published) / 1000) });
}

/** @param {string} name */
export const busPath = (name) => `/gatebus/buses/${encodeURIComponent(name)}`;

/** @param {Api} api @param {any} head @param {"image" | "mask" | "thumbnail"} what @param {number} frame @param {number} [size] of a thumbnail */
export function busUrl(api, head, what, frame = 0, size) {
  const { name, version, digest } = head;
  const query = new URLSearchParams({ version: String(version), frame: String(frame), digest });
  if (size) query.set("size", String(size));
  return api.host.url(`${busPath(name)}/${what}?${query}`);
}

/** Hands the browser a file to keep; a token travels with it. @param {Context} context @param {string} url @param {string} name */
export async function download({ api, toast }, url, name) {
  try {
    let address = url;
    if (api.host.token?.()) {
      address = URL.createObjectURL(await loadBlob(api.host, url));
      setTimeout(() => URL.revokeObjectURL(address), FREED);
    }
    el("a", { href: address, download: name }).click();
  } catch (error) {
    toast("error", t("content.failed"), /** @type {Error} */ (error).message);
  }
}
