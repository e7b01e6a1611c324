/**
 * ComfyUI's own mask editor, opened for any picture on its server, without a node.
 *
 * The editor takes its picture from, and gives its result to, the node that the clipspace names.
 * A stand-in object takes that place: its `images` are the picture, and when the editor sets
 * them to what it has uploaded, that is the result; then the dialog closes. Nothing is polled.
 * Seen so in frontends 1.27 and 1.58.
 */
import { app, rootGraph, url } from "../comfy.mjs";
import { query } from "../lib/api.mjs";

/** @typedef {{filename: string, subfolder: string, type: string}} FileRef a file as ComfyUI's `/view` takes it */

/** The editor's dialog: of older frontends, of newer ones. */
const DIALOG = "#maskEditor, [data-testid=mask-editor-root]";

/** No node has such an id. */
const STAND_IN_ID = -77;

/** Milliseconds for the editor to appear; its code may have to be loaded first. */
const PATIENCE = 10_000;

/** The editor can't be reached in this frontend. */
export class NoEditor extends Error {}

/** Whether the frontend offers what {@link openComfyEditor} uses. */
export function hasComfyEditor() {
  const clipspace = /** @type {any} */ (app.constructor);
  return typeof clipspace.copyToClipspace === "function" && typeof clipspace.open_maskeditor === "function";
}

/**
 * Opens the editor and waits until it is closed.
 * @param {FileRef} ref the picture; where its alpha is not 255 it shows as painted
 * @returns {Promise<FileRef | null>} the file that was saved, null when nothing was; throws NoEditor
 */
export async function openComfyEditor(ref) {
  const clipspace = /** @type {any} */ (app.constructor);
  const img = new Image();
  img.src = url("/view" + query({ filename: ref.filename, subfolder: ref.subfolder, type: ref.type }));
  await img.decode();
  const before = { clipspace: clipspace.clipspace, node: clipspace.clipspace_return_node };
  /** @type {FileRef | null} */
  let result = null;
  const dialog = new Dialog();
  try {
    const stand = standIn(ref, img, (saved) => (result = saved));
    clipspace.copyToClipspace(stand);
    clipspace.clipspace_return_node = stand;
    try {
      clipspace.open_maskeditor();
    } catch (error) {
      throw new NoEditor(String(error));
    }
    await dialog.closed;
    return result;
  } finally {
    dialog.forget();
    // What node menus offer to paste and to edit depends on these two.
    clipspace.clipspace = before.clipspace ?? null;
    clipspace.clipspace_return_node = before.node ?? null;
    delete app.nodeOutputs?.[String(STAND_IN_ID)];
  }
}

/**
 * What the editor takes for a node that shows the picture.
 * @param {FileRef} ref
 * @param {HTMLImageElement} img older frontends take the picture from here
 * @param {(saved: FileRef) => void} onSaved
 */
function standIn(ref, img, onSaved) {
  let images = [{ filename: ref.filename, subfolder: ref.subfolder, type: ref.type }];
  return {
    id: STAND_IN_ID,
    imgs: [img],
    imageIndex: 0,
    previewMediaType: "image",
    properties: {},
    setDirtyCanvas() {},
    // Without a graph newer frontends upload but never report what they uploaded.
    graph: { id: "gatebus", rootGraph: rootGraph(), setDirtyCanvas() {} },
    get images() {
      return images;
    },
    set images(value) {
      images = value;
      if (value?.[0]?.filename?.startsWith("clipspace")) onSaved(value[0]);
    },
  };
}

/** The editor's dialog as it comes and goes. */
class Dialog {
  /** @type {() => void} stops looking */
  forget = () => {};

  constructor() {
    /** @type {Promise<void>} resolves when it has gone; rejects with NoEditor when it never came */
    this.closed = new Promise((resolve, reject) => {
      let shown = false;
      const patience = setTimeout(() => reject(new NoEditor("The mask editor did not open")), PATIENCE);
      const observer = new MutationObserver(() => {
        const shows = document.querySelector(DIALOG) !== null;
        if (shows) clearTimeout(patience);
        else if (shown) resolve();
        shown = shows;
      });
      observer.observe(document.body, { childList: true, subtree: true });
      this.forget = () => {
        clearTimeout(patience);
        observer.disconnect();
      };
    });
    // Who opens it may fail before anybody waits.
    this.closed.catch(() => {});
  }
}
