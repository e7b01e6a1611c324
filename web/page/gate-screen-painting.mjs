/** Painting a gate's mask on the page: the painter of the node, stored at the gate. */
import { addStylesheet } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { loadBlob } from "../comfyui/lib/images.mjs";
import { small, whole } from "./gate-screen-pictures.mjs";

/** @typedef {import("./page.mjs").Context} Context */

/**
 * Lets a person paint; resolves when the mask is stored at the gate, or they gave up. Failures are told to them.
 * @param {Pick<Context, "api" | "feed" | "toast">} context
 * @param {any} gate
 * @param {number} frame of the batch that is seen below the mask, which is for all of them
 */
export async function paintMask({ api, feed, toast }, gate, frame) {
  addStylesheet(new URL("../comfyui/painter.css", import.meta.url).href);
  const load = (/** @type {string} */ url) => loadBlob(api.host, url);
  const mask = api.maskUrl(gate).split("#")[0];
  try {
    const { openPainter } = await import("../comfyui/lib/painter.mjs");
    await openPainter({
      title: gate.title || t("gate.untitled"),
      // The whole image follows the preview; until it is there the preview is painted on.
      loadImage: () => load((whole(api, gate, frame) ?? small(api, gate, frame)).url),
      loadMask: mask ? () => load(mask) : null,
      size: { width: gate.width, height: gate.height },
      save: async (png) => feed.take(await api.setGateMask(gate.id, png)),
    });
  } catch (error) {
    toast("error", t("gate.maskFailed"), /** @type {Error} */ (error).message);
  }
}

/** Removes what was painted; failures are told to the person. @param {Pick<Context, "api" | "feed" | "toast">} context @param {any} gate */
export async function clearMask({ api, feed, toast }, gate) {
  try {
    feed.take(await api.setGateMask(gate.id, null));
  } catch (error) {
    toast("error", t("gate.maskFailed"), /** @type {Error} */ (error).message);
  }
}
