/** Images on their way into a pool: gathered from drops, pastes and folders, sent one after another. */

/** @typedef {import("./api.mjs").ApiError} ApiError */

const IMAGE = /\.(png|jpe?g|webp|gif|bmp|avif|tiff?)$/i;
/** What the server reads; other kinds that the browser can draw are converted. */
const ACCEPTED = ["image/png", "image/jpeg", "image/webp"];
/** Times that an upload is tried while the server has too many at hand. */
const TRIES = 5;

/** @param {File} file */
export function isImage(file) {
  return file.type.startsWith("image/") || (!file.type && IMAGE.test(file.name));
}

/**
 * The label for an image of that file: its name without the ending, "" for what browsers call a pasted one.
 * @param {string} name
 */
export function labelOf(name) {
  const stem = name.replace(/\.[^.]*$/, "").slice(0, 200);
  return stem === "image" ? "" : stem;
}

/**
 * Every file of a drop or paste, those in folders at any depth too, in the order of their paths.
 *
 * The entries must be taken while the event is handled, so call it before anything is awaited.
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>}
 */
export async function filesOf(transfer) {
  const entries = [...transfer.items].flatMap((item) => (item.kind === "file" && item.webkitGetAsEntry?.()) || []);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const files = await Promise.all(entries.map(walk));
  return files.flat();
}

/** @param {any} entry a FileSystemEntry @returns {Promise<File[]>} */
async function walk(entry) {
  if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
  const reader = entry.createReader();
  const inside = [];
  for (;;) {
    // It gives at most 100 entries a time.
    const batch = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!batch.length) break;
    inside.push(...batch);
  }
  inside.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  const files = [];
  for (const each of inside) if (!each.name.startsWith(".")) files.push(...(await walk(each)));
  return files;
}

/** The file as the server reads it; rejects when the browser can't draw it. @param {File} file @returns {Promise<Blob>} */
async function readable(file) {
  if (ACCEPTED.includes(file.type)) return file;
  const bitmap = await createImageBitmap(file);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  /** @type {any} */ (canvas.getContext("2d")).drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/png" });
}

/**
 * The uploads into one pool. Events: `change` (progress), `end` (all are through; detail:
 * {done, failed, skipped, cancelled}).
 */
export class Uploads extends EventTarget {
  /** @type {{file: File, before: string | null}[]} */
  #waiting = [];
  /** @type {AbortController | null} of the run, null when nothing is under way */
  #abort = null;
  total = 0;
  done = 0;
  skipped = 0;
  /** @type {{name: string, reason: string}[]} */
  failed = [];

  /** @param {{add: (image: Blob, more: any) => Promise<any>}} pool @param {(file: File) => Promise<Blob>} [convert] */
  constructor(pool, convert = readable) {
    super();
    this.pool = pool;
    this.convert = convert;
  }

  get running() {
    return this.#abort !== null;
  }

  /**
   * Adds files to what is under way; those that are no images are counted and left out.
   * @param {File[]} files
   * @param {string | null} [before] the slot before which they are to stand
   */
  add(files, before = null) {
    const images = files.filter(isImage);
    this.skipped += files.length - images.length;
    this.#waiting.push(...images.map((file) => ({ file, before })));
    this.total += images.length;
    if (!this.#abort && files.length) void this.#run();
  }

  /** Ends it; what has arrived stays. */
  cancel() {
    this.#waiting = [];
    this.#abort?.abort();
  }

  async #run() {
    const abort = (this.#abort = new AbortController());
    this.#changed();
    // One at a time: so they arrive in their order, and each next revision of the pool is known without a look.
    for (let next; (next = this.#waiting.shift()); ) {
      try {
        await this.#send(next.file, next.before, abort.signal);
        this.done += 1;
      } catch (error) {
        if (abort.signal.aborted) break;
        this.failed.push({ name: next.file.name, reason: /** @type {Error} */ (error).message });
      }
      this.#changed();
    }
    const { done, failed, skipped } = this;
    this.#abort = null;
    this.total = this.#waiting.length;
    this.done = this.skipped = 0;
    this.failed = [];
    this.dispatchEvent(new CustomEvent("end", { detail: { done, failed, skipped, cancelled: abort.signal.aborted } }));
    this.#changed();
    // Dropped after a cancel, before its end.
    if (this.#waiting.length) void this.#run();
  }

  /** @param {File} file @param {string | null} before @param {AbortSignal} signal */
  async #send(file, before, signal) {
    const image = await this.convert(file);
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.pool.add(image, { label: labelOf(file.name), before, signal });
      } catch (error) {
        // Too busy means that nothing was taken in; an unanswered one may have been, so it isn't repeated.
        if (/** @type {any} */ (error).type !== "too_busy" || attempt === TRIES || signal.aborted) throw error;
        await new Promise((wake) => setTimeout(wake, 300 * attempt));
      }
    }
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
