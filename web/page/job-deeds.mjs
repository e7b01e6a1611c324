/** What a person does to a job: stops it, or gives it another priority. */
import { t } from "../comfyui/lib/i18n.mjs";
import { jobPath, nameOf, priorityText } from "./job-words.mjs";

/** @typedef {import("./page.mjs").Context} Context */

/**
 * Asks, then cancels the job.
 * @param {Context} context
 * @param {any} job
 * @returns {Promise<any>} the job as it is then, null when nothing was done
 */
export async function cancelJob(context, job) {
  const name = nameOf(job);
  const title = t("jobs.cancelAsk", { name });
  const message = job.state === "queued" ? t("jobs.cancelQueued") : t("jobs.cancelHeld", { instance: job.instance_name });
  if (!(await context.confirm({ title, message, yes: t("jobs.cancelYes"), danger: true }))) return null;
  const by = context.settings.get("name");
  try {
    return await context.api.call("POST", `${jobPath(job.id)}/cancel`, { json: { by } });
  } catch (error) {
    context.toast("error", t("jobs.notCancelled", { name }), /** @type {Error} */ (error).message);
    return null;
  }
}

/**
 * @param {Context} context
 * @param {any} job
 * @param {number} priority
 * @returns {Promise<any>} the job as it is then, null when it was refused
 */
export async function prioritizeJob(context, job, priority) {
  try {
    const shown = await context.api.call("POST", `${jobPath(job.id)}/priority`, { json: { priority } });
    context.toast("success", t("jobs.prioritized", { name: nameOf(job), priority: priorityText(priority) }));
    return shown;
  } catch (error) {
    context.toast("error", t("jobs.notPrioritized", { name: nameOf(job) }), /** @type {Error} */ (error).message);
    return null;
  }
}
