/**
 * Decoded images, kept so that the next gate is there at once: by key, the last used ones up to a
 * budget of memory. Free of the DOM.
 */
import { loadBlob } from "../comfyui/lib/images.mjs";

/** @typedef {import("../comfyui/lib/api.mjs").Api} Api */
/** @typedef {{key: string, url: string}} Source where an image comes from */

/** Bytes of decoded images, of a device that says it has 4 GiB; phones and large machines in proportion. */
const BUDGET = 384 * 2 ** 20;

export class Pictures {
  /** @type {Map<string, ImageBitmap>} key -> image, the last used last */
  #images = new Map();
  /** @type {Map<string, {image: Promise<ImageBitmap>, abort: AbortController}>} */
  #loading = new Map();
  /** @type {Set<string>} keys in use: neither dropped nor given up */
  #wanted = new Set();

  /** @param {Api} api */
  constructor(api) {
    this.api = api;
    const memory = /** @type {any} */ (navigator).deviceMemory ?? 4;
    this.budget = BUDGET * Math.min(2, Math.max(0.25, memory / 4));
  }

  /** The image when it is there. @param {string} key @returns {ImageBitmap | undefined} */
  get(key) {
    const image = this.#images.get(key);
    if (image) {
      this.#images.delete(key);
      this.#images.set(key, image);
    }
    return image;
  }

  /**
   * The image, loaded once for all who ask.
   * @param {Source} source
   * @returns {Promise<ImageBitmap>}
   */
  load({ key, url }) {
    const image = this.get(key);
    if (image) return Promise.resolve(image);
    const known = this.#loading.get(key);
    if (known && !known.abort.signal.aborted) return known.image;
    const abort = new AbortController();
    const loading = { image: this.#load(key, url, abort.signal), abort };
    this.#loading.set(key, loading);
    const over = () => this.#loading.get(key) === loading && this.#loading.delete(key);
    loading.image.then(over, over);
    return loading.image;
  }

  /** Only these are in use: what else is loading is given up, so that these come first. @param {Iterable<string>} keys */
  want(keys) {
    this.#wanted = new Set(keys);
    for (const [key, { abort }] of this.#loading) if (!this.#wanted.has(key)) abort.abort();
    this.#trim();
  }

  /** Drops every image. */
  clear() {
    this.want([]);
    for (const image of this.#images.values()) image.close();
    this.#images.clear();
  }

  /** An image that is not kept: the asker closes it. @param {string} url @param {AbortSignal} [signal] */
  async fetch(url, signal) {
    return createImageBitmap(await loadBlob(this.api.host, url, signal));
  }

  /** @param {string} key @param {string} url @param {AbortSignal} signal */
  async #load(key, url, signal) {
    const image = await this.fetch(url, signal);
    this.#images.set(key, image);
    this.#trim();
    return image;
  }

  #trim() {
    let bytes = 0;
    for (const image of this.#images.values()) bytes += 4 * image.width * image.height;
    for (const [key, image] of this.#images) {
      if (bytes <= this.budget) return;
      if (this.#wanted.has(key)) continue;
      bytes -= 4 * image.width * image.height;
      this.#images.delete(key);
      image.close();
    }
  }
}

/** What shows the gate's image at once. @param {Api} api @param {any} gate @param {number} frame @returns {Source} */
export function small(api, gate, frame) {
  const { id, fence } = gate;
  // The preview is of the first image; the others have thumbnails as soon as they are stored.
  return frame
    ? { key: `${id} ${fence} ${frame} small`, url: api.gateThumbnailUrl(gate, frame, 512) }
    : { key: `${id} ${fence} preview`, url: api.previewUrl(gate) };
}

/** The gate's whole image, null until it is stored. @param {Api} api @param {any} gate @param {number} frame @returns {Source | null} */
export function whole(api, gate, frame) {
  return gate.layout ? { key: `${gate.id} ${gate.fence} ${frame} whole`, url: api.imageUrl(gate, frame) } : null;
}
