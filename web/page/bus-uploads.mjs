/** New versions of a bus from files: dropped, pasted or chosen, sent one after another. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { Uploads, filesOf, isImage } from "../comfyui/lib/uploads.mjs";
import { busPath } from "./bus-words.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {import("../comfyui/lib/dom.mjs").Undoing} Undoing */

/**
 * Sends the files, each as a version of its own, and tells how it went.
 * @param {Context} context
 * @param {string} name of the bus
 * @param {File[]} files
 * @param {string} [label] for people; "" takes each file's name
 * @returns {Promise<boolean>} whether any arrived
 */
export function publish({ api, toast }, name, files, label = "") {
  const uploads = new Uploads({
    add: (image, given) => {
      const query = new URLSearchParams({ label: label || given.label });
      return api.call("PUT", `${busPath(name)}?${query}`, { body: image, type: image.type, signal: given.signal });
    },
  });
  return new Promise((resolve) => {
    uploads.addEventListener("end", (/** @type {any} */ { detail: { done, failed, skipped } }) => {
      for (const each of failed) toast("error", t("content.notPublished", { name: each.name }), each.reason);
      if (skipped) toast("warn", t("content.noImages", { count: skipped }));
      if (done) toast("success", t(done > 1 ? "content.publishedMany" : "content.published", { name, count: done }));
      resolve(done > 0);
    });
    uploads.add(files);
  });
}

/** Lets a person choose files. @param {(files: File[]) => void} take @param {boolean} [several] */
export function chooseFiles(take, several = false) {
  const input = el("input", { type: "file", accept: "image/*", multiple: several });
  input.addEventListener("change", () => input.files.length && take([...input.files]));
  input.click();
}

/**
 * Takes images that are dropped on the element, or pasted while it is shown.
 * @param {HTMLElement} element
 * @param {Undoing} undoing
 * @param {(files: File[]) => void} take
 */
export function takeFiles(element, undoing, take) {
  const over = (/** @type {boolean} */ on) => element.classList.toggle("gc-dropping", on);
  const gathered = (/** @type {DataTransfer} */ transfer) => void filesOf(transfer).then(take, () => take([]));
  undoing.listen(element, "dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    over(true);
  });
  undoing.listen(element, "dragleave", (event) => element.contains(event.relatedTarget) || over(false));
  undoing.listen(element, "drop", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    over(false);
    gathered(event.dataTransfer);
  });
  undoing.listen(document, "paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.some(isImage) || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    take(files.filter(isImage));
  });
}
