/** With what a gate's image can be compared: the kept versions of its buses, the other images of its batch. */
import { t } from "../comfyui/lib/i18n.mjs";
import { small, whole } from "./gate-screen-pictures.mjs";

/** @typedef {import("../comfyui/lib/api.mjs").Api} Api */
/** @typedef {import("./gate-screen-pictures.mjs").Source} Source */
/**
 * @typedef {object} Choice
 * @property {string} id
 * @property {string} name for people
 * @property {number} width
 * @property {number} height
 * @property {Source} small
 * @property {Source | null} whole null until it is stored
 */

/** Versions and images that are offered at most. */
const OFFERED = 50;

/**
 * What is offered, what the gate follows on first: for a gate that publishes the newest version of
 * that bus, for one that only loads the version before.
 * @param {Api} api
 * @param {any} gate
 * @param {number} frame of the batch that is shown
 * @returns {Promise<Choice[]>} rejects with the server's words
 */
export async function choicesOf(api, gate, frame) {
  const { send_id: sends, get_id: gets } = gate;
  const loads = String(gets ?? "").split("@")[0];
  /** @type {Choice[]} */
  const choices = [];
  for (const name of new Set([sends, loads].filter(Boolean))) {
    const heads = await versions(api, name);
    // What is loaded is the newest version itself.
    if (name !== sends && heads.length > 1) heads.push(heads.shift());
    choices.push(...heads.slice(0, OFFERED).map((head) => ofBus(api, head, frame)));
  }
  const others = Array.from({ length: Math.min(gate.batch, OFFERED) }, (_, at) => at).filter((at) => at !== frame);
  return [...choices, ...others.map((at) => ofFrame(api, gate, at))];
}

/** @param {Api} api @param {string} name @returns {Promise<any[]>} newest first; none of a bus that nobody wrote to */
async function versions(api, name) {
  try {
    return (await api.versions(name)).versions;
  } catch (error) {
    if (/** @type {any} */ (error).status === 404) return [];
    throw error;
  }
}

/** @param {Api} api @param {any} head @param {number} frame @returns {Choice} */
function ofBus(api, head, frame) {
  const { name, version, width, height, digest } = head;
  const shown = Math.min(frame, head.frames - 1);
  const key = `bus ${digest} ${shown}`;
  const smallUrl = shown ? api.busImageUrl(head, shown) : api.busThumbnailUrl(head, 512);
  return {
    id: `bus ${name} ${version}`,
    name: t("screen.version", { name, version }),
    width,
    height,
    small: { key: `${key} small`, url: smallUrl },
    whole: { key: `${key} whole`, url: api.busImageUrl(head, shown) },
  };
}

/** @param {Api} api @param {any} gate @param {number} frame @returns {Choice} */
function ofFrame(api, gate, frame) {
  const { width, height } = gate;
  return {
    id: `frame ${frame}`,
    name: t("screen.frame", { number: frame + 1 }),
    width,
    height,
    small: small(api, gate, frame),
    whole: whole(api, gate, frame),
  };
}
