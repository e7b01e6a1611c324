/** What is said of a job: its states, priority and times, and where its files lie; free of the DOM. */
import { query } from "../comfyui/lib/api.mjs";
import { currentLanguage, duration, t } from "../comfyui/lib/i18n.mjs";

/** @typedef {import("../comfyui/lib/api.mjs").Api} Api */

/** States in which an instance has a job. */
export const HELD = ["claimed", "submitted", "running", "unknown"];

/** States in which a job stays. */
export const ENDED = ["done", "failed", "cancelled", "lost"];

/** Word -> priority, the highest first. @type {Record<string, number>} */
export const PRIORITIES = { high: 10, normal: 0, low: -10 };

/**
 * @typedef {object} Filter empty fields let everything through
 * @property {string} state one of a job's, or `live`, `held`, `ended`
 * @property {string} submitter
 * @property {string} instance its id
 */

/** The filter that an address names. @param {URLSearchParams} place @returns {Filter} */
export function filterOf(place) {
  const text = (/** @type {string} */ name) => (place.get(name) ?? "").slice(0, 200);
  return { state: text("state"), submitter: text("submitter"), instance: text("instance") };
}

/** The address of the jobs with that filter. @param {Filter} filter */
export const placeOfFilter = (filter) => `#/jobs${query(filter)}`;

/** Whether the filter shows the job. @param {Filter} filter @param {any} job */
export function passes({ state, submitter, instance }, job) {
  if ((submitter && job.submitter !== submitter) || (instance && job.instance !== instance)) return false;
  if (state === "held") return HELD.includes(job.state);
  if (state === "ended" || state === "live") return ENDED.includes(job.state) === (state === "ended");
  return !state || job.state === state;
}

/** What it is called. @param {any} job */
export const nameOf = (job) => job.title || job.id.slice(0, 8);

/** Its state, in a word. @param {any} job */
export function stateText(job) {
  return t(job.cancelling && !ENDED.includes(job.state) ? "jobs.stopping" : `jobs.${job.state}`);
}

/** @param {number} priority */
export function priorityText(priority) {
  const word = Object.keys(PRIORITIES).find((name) => PRIORITIES[name] === priority);
  return word ? t(`jobs.${word}`) : String(priority);
}

/** How long it ran, or has waited or run until now; "" of one that never ran. @param {any} job @param {number} now milliseconds, by the server's clock */
export function spanText(job, now) {
  const { started, ended, submitted } = job;
  if (ended) return started ? t("jobs.ran", { time: duration((ended - started) / 1000) }) : "";
  const since = started || submitted;
  return t(started ? "jobs.runs" : "jobs.waits", { time: duration((now - since) / 1000) });
}

/** @param {number} milliseconds @param {"short" | "medium"} [style] */
export function timeText(milliseconds, style = "short") {
  return new Date(milliseconds).toLocaleString(currentLanguage(), { dateStyle: style, timeStyle: "medium" });
}

/** @param {string} id */
export const jobPath = (id) => `/gatebus/jobs/${encodeURIComponent(id)}`;

/** @param {Api} api @param {any} job @param {number} number @param {number} [size] of a small picture */
export function outputUrl(api, job, number, size) {
  return api.host.url(`${jobPath(job.id)}/outputs/${number}${size ? `/thumbnail?size=${size}` : ""}`);
}

/** Whether a browser shows that output. @param {any} output */
export const isImage = (output) => /\.(png|jpe?g|webp)$/i.test(output.name);
