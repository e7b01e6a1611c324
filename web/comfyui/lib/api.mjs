/**
 * The HTTP API as the pages use it: one function a route, errors with the server's own words.
 * Free of ComfyUI: the host gives `fetch` and `url` (sub-paths and tokens are its matter).
 */

/** What the server refused or could not do. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} type
   * @param {string} message
   * @param {Record<string, any>} details
   */
  constructor(status, type, message, details = {}) {
    super(message);
    this.status = status;
    this.type = type;
    this.details = details;
  }
}

/**
 * @typedef {object} Host
 * @property {(path: string, options?: RequestInit) => Promise<Response>} fetch
 * @property {(path: string) => string} url the path as an `<img>` can load it
 * @property {() => string} [token] the token that `fetch` sends, "" for none: an `<img>` sends none
 */

/** Characters that a call may have to outlive its page: browsers take 64 KiB for all of them together. */
const OUTLIVING = 20_000;

/** @param {string} part */
const enc = (part) => encodeURIComponent(part);

/** @param {Record<string, any>} values */
export function query(values) {
  const pairs = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return pairs.length ? "?" + new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])) : "";
}

export class Api {
  /** @param {Host} host */
  constructor(host) {
    this.host = host;
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {{json?: any, body?: BodyInit, type?: string, signal?: AbortSignal, outlives?: boolean}} [options]
   *   `outlives`: JSON that is still sent when the page is left meanwhile
   * @returns {Promise<any>} the JSON answer; throws ApiError
   */
  async call(method, path, { json, body, type, signal, outlives } = {}) {
    /** @type {RequestInit} */
    const options = { method, signal };
    if (json !== undefined) {
      options.body = JSON.stringify(json);
      options.keepalive = outlives && options.body.length < OUTLIVING;
      options.headers = { "Content-Type": "application/json" };
    } else if (body !== undefined) {
      options.body = body;
      options.headers = { "Content-Type": type ?? "application/octet-stream" };
    }
    let response;
    try {
      response = await this.host.fetch(path, options);
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError(0, "unreachable", "The server does not answer. Is it running?");
    }
    const answer = await response.json().catch(() => null);
    if (!response.ok) {
      const { type: kind = "error", message, details } = answer?.error ?? {};
      throw new ApiError(response.status, kind, message ?? `The server answered ${response.status}`, details);
    }
    return answer;
  }

  /** @param {Record<string, any>} [filter] */
  gates(filter = {}) {
    return this.call("GET", "/gatebus/gates" + query(filter));
  }

  /** @param {string} id */
  gate(id) {
    return this.call("GET", `/gatebus/gates/${enc(id)}`);
  }

  /**
   * Decides; a repeat with the same decision id is harmless.
   * @param {string} id
   * @param {number} route
   * @param {{by?: string, text?: string, chosen?: number[], decision_id?: string}} [more] `text` left out at a text gate:
   *   it goes on as it is; `chosen` left out: all images of the batch
   */
  route(id, route, more = {}) {
    return this.call("POST", `/gatebus/gates/${enc(id)}/route`, { json: { route, ...more }, outlives: true });
  }

  /**
   * @param {string} id
   * @param {{by?: string, decision_id?: string}} [more]
   */
  cancel(id, more = {}) {
    return this.call("POST", `/gatebus/gates/${enc(id)}/cancel`, { json: more, outlives: true });
  }

  /**
   * Decides many gates, each as if it were alone; of what comes back `refused` says what was not done.
   * @param {string[]} ids at most 500
   * @param {number} route 0: stops the run that waits there
   * @param {{by?: string, decision_id?: string}} [more]
   * @returns {Promise<{gates: any[], refused: {id: string, status: number, type: string, message: string, details: any}[]}>}
   */
  routeAll(ids, route, more = {}) {
    const choice = route ? { ids, route, ...more } : { ids, ...more };
    return this.call("POST", `/gatebus/gates/${route ? "route" : "cancel"}`, { json: choice, outlives: true });
  }

  /**
   * Takes a decision back that is not carried out yet: the gate waits again.
   * @param {string} id
   * @param {string} decision_id the one that stands
   * @param {string} [by] who takes it back
   */
  takeBack(id, decision_id, by = "") {
    return this.call("POST", `/gatebus/gates/${enc(id)}/take-back`, { json: { decision_id, by } });
  }

  /**
   * Parks a gate whose process is gone.
   * @param {string} id
   * @param {string} [by] who parks it
   */
  park(id, by = "") {
    return this.call("POST", `/gatebus/gates/${enc(id)}/park`, { json: { by } });
  }

  /**
   * Has a run go on from a decided gate once more; a repeat with the same decision id is harmless.
   * @param {string} id
   * @param {{route?: number, text?: string, chosen?: number[], by?: string, decision_id?: string}} [more] what is left out is as it was decided
   * @returns {Promise<any>} the new gate
   */
  again(id, more = {}) {
    return this.call("POST", `/gatebus/gates/${enc(id)}/again`, { json: more });
  }

  /**
   * Sets (a PNG, white = painted) or clears (null) the mask painted at the gate.
   * @param {string} id
   * @param {Blob | null} png
   */
  setGateMask(id, png) {
    const path = `/gatebus/gates/${enc(id)}/mask`;
    return png ? this.call("PUT", path, { body: png, type: "image/png" }) : this.call("DELETE", path);
  }

  /** @param {any} gate */
  previewUrl(gate) {
    return this.host.url(`/gatebus/gates/${enc(gate.id)}/preview`);
  }

  /** @param {any} gate @param {number} [frame] */
  imageUrl(gate, frame = 0) {
    return this.host.url(`/gatebus/gates/${enc(gate.id)}/image${query({ frame })}`);
  }

  /** @param {any} gate @param {number} frame @param {number} [size] */
  gateThumbnailUrl(gate, frame, size = 512) {
    return this.host.url(`/gatebus/gates/${enc(gate.id)}/thumbnail${query({ size, frame })}`);
  }

  /** The mask's URL, "" when none is painted. @param {any} gate */
  maskUrl(gate) {
    // The token makes another mask another URL.
    return gate.mask ? this.host.url(`/gatebus/gates/${enc(gate.id)}/mask`) + `#${gate.mask}` : "";
  }

  buses() {
    return this.call("GET", "/gatebus/buses");
  }

  /** @param {string} name */
  versions(name) {
    return this.call("GET", `/gatebus/buses/${enc(name)}/versions`);
  }

  /** @param {any} head a bus's head @param {number} [size] */
  busThumbnailUrl(head, size = 128) {
    const { name, version, digest } = head;
    return this.host.url(`/gatebus/buses/${enc(name)}/thumbnail${query({ size, version, digest })}`);
  }

  /** @param {any} head a bus's head @param {number} [frame] */
  busImageUrl(head, frame = 0) {
    const { name, version, digest } = head;
    return this.host.url(`/gatebus/buses/${enc(name)}/image${query({ frame, version, digest })}`);
  }

  pools() {
    return this.call("GET", "/gatebus/pools");
  }

  /** @param {string} id @param {boolean} [orEmpty] a pool that nobody has filled yet is an empty one, not an error */
  pool(id, orEmpty = false) {
    return this.call("GET", `/gatebus/pools/${enc(id)}${query({ or_empty: orEmpty ? 1 : "" })}`);
  }

  /**
   * One of a pool's routes.
   * @param {string} method
   * @param {string} id
   * @param {string} [rest] what follows the pool's path
   * @param {Parameters<Api["call"]>[2]} [options]
   */
  poolCall(method, id, rest = "", options = {}) {
    return this.call(method, `/gatebus/pools/${enc(id)}${rest}`, options);
  }

  /**
   * @param {string} id
   * @param {any} slot
   * @param {"image" | "mask" | "thumbnail"} what
   * @param {number} [size]
   */
  slotUrl(id, slot, what, size) {
    const digest = what === "mask" ? slot.mask_digest : slot.digest;
    return this.host.url(`/gatebus/pools/${enc(id)}/slots/${enc(slot.file)}/${what}${query({ size, digest })}`);
  }
}

/** A fresh id for a decision: the same over every repeat of it. */
export function decisionId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
