/** Parts of the page that are loaded when they are first needed. */
import { toast } from "../comfy.mjs";
import { t } from "../lib/i18n.mjs";

/** @typedef {import("../lib/api.mjs").Api} Api */

/**
 * The module, or null after a person was told that it could not be loaded.
 * @param {() => Promise<any>} load
 * @returns {Promise<any>}
 */
export async function loaded(load) {
  try {
    return await load();
  } catch (error) {
    console.error("gatebus:", error);
    toast("error", t("gate.moduleFailed"), t("gate.moduleFailedDetail"));
    return null;
  }
}

/** Lets a person paint the mask of a waiting gate. @param {any} gate @param {Api} api */
export async function editMask(gate, api) {
  const module = await loaded(() => import("./mask-editing.mjs"));
  await module?.editGateMask(gate, api);
}
