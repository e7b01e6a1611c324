/**
 * Editing the mask of a waiting gate or of a pool's slot: in ComfyUI's own editor, or in our
 * painter where that one can't be reached or the setting `painter` is "ours".
 */
import { asset, setting, toast } from "../comfy.mjs";
import { Api, ApiError } from "../lib/api.mjs";
import { addStylesheet } from "../lib/dom.mjs";
import { register, t } from "../lib/i18n.mjs";
import { painter as texts } from "../lib/texts/painter.mjs";
import { NoEditor, hasComfyEditor, openComfyEditor } from "./comfy-editor.mjs";

/**
 * What is edited, and how either editor gets at it.
 * @typedef {object} Edited
 * @property {Record<string, string>} place as `/gatebus/editor` takes it
 * @property {string} title
 * @property {string} imagePath on our server
 * @property {string} maskPath "" when there is none
 * @property {{width: number, height: number} | undefined} size undefined: that of the image
 * @property {(png: Blob | null) => Promise<any>} save
 */

register("painter", texts);

let editing = false;

/**
 * Lets a person edit the gate's mask; resolves when they are done. Failures are told to them.
 * @param {any} gate
 * @param {Api} api
 * @returns {Promise<void>}
 */
export function editGateMask(gate, api) {
  const paths = pathsOf(api);
  return edit(api, {
    place: { gate: gate.id },
    title: gate.title || t("painter.gate"),
    // The whole image follows the preview; until it is there the preview is painted on.
    imagePath: gate.layout ? paths.imageUrl(gate) : paths.previewUrl(gate),
    maskPath: paths.maskUrl(gate),
    size: { width: gate.width, height: gate.height },
    save: (png) => api.setGateMask(gate.id, png),
  });
}

/**
 * Lets a person edit the slot's mask; resolves when they are done. Failures are told to them.
 * @param {string} poolId
 * @param {any} slot
 * @param {Api} api
 * @returns {Promise<void>}
 */
export function editSlotMask(poolId, slot, api) {
  const paths = pathsOf(api);
  const path = `/slots/${encodeURIComponent(slot.file)}/mask?brief=1`;
  return edit(api, {
    place: { pool: poolId, slot: slot.file },
    title: slot.label || slot.file,
    imagePath: paths.slotUrl(poolId, slot, "image"),
    maskPath: slot.mask ? paths.slotUrl(poolId, slot, "mask") : "",
    size: undefined,
    save: (png) =>
      png
        ? api.poolCall("PUT", poolId, path, { body: png, type: "image/png" })
        : api.poolCall("DELETE", poolId, path),
  });
}

/**
 * @param {Api} api
 * @param {Edited} edited
 */
async function edit(api, edited) {
  // A second click while the first one's editor is on its way.
  if (editing) return;
  editing = true;
  try {
    if (setting("painter") === "ours" || !hasComfyEditor() || !(await editInComfyui(api, edited))) {
      await editInOurs(api, edited);
    }
  } catch (error) {
    toast("error", t("painter.failed"), error instanceof Error ? error.message : String(error));
  } finally {
    editing = false;
  }
}

/**
 * @param {Api} api
 * @param {Edited} edited
 * @returns {Promise<boolean>} false when ComfyUI's editor could not be opened
 */
async function editInComfyui(api, { place }) {
  const opened = await api.call("POST", "/gatebus/editor/start", { json: place });
  let saved;
  try {
    saved = await openComfyEditor(opened);
  } catch (error) {
    if (error instanceof NoEditor) return false;
    throw error;
  }
  if (saved) {
    const { filename, subfolder = "" } = saved;
    const json = { ...place, opened: opened.filename, filename, subfolder };
    await api.call("POST", "/gatebus/editor/finish", { json });
  }
  return true;
}

/**
 * @param {Api} api
 * @param {Edited} edited
 */
async function editInOurs(api, { title, imagePath, maskPath, size, save }) {
  addStylesheet(asset("./painter.css"));
  const { openPainter } = await import("../lib/painter.mjs");
  await openPainter({
    title,
    loadImage: () => load(api, imagePath),
    loadMask: maskPath ? () => load(api, maskPath) : null,
    size,
    save,
  });
}

/** The same API, whose URLs are paths: for what is fetched, with the host's token. @param {Api} api */
function pathsOf(api) {
  return new Api({ fetch: api.host.fetch, url: (path) => path });
}

/**
 * @param {Api} api
 * @param {string} path
 * @returns {Promise<Blob>}
 */
async function load(api, path) {
  const response = await api.host.fetch(path);
  if (!response.ok) throw new ApiError(response.status, "error", t("painter.notLoaded", { status: response.status }));
  return response.blob();
}
