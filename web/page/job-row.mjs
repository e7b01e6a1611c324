/** One job in the list: its first picture, what it is, how far it is, where and for how long. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { button } from "./dialogs.mjs";
import { ENDED, isImage, nameOf, outputUrl, placeOfFilter, priorityText, spanText, stateText, timeText } from "./job-words.mjs";
import { Thumbnail } from "./thumbnail.mjs";

/** @typedef {import("../comfyui/lib/api.mjs").Api} Api */

/** Pixels of the picture. */
const SIZE = 128;

export class JobRow {
  /** @type {any} */
  job = null;

  /** @param {Api} api @param {(job: any) => void} cancel */
  constructor(api, cancel) {
    this.api = api;
    this.thumbnail = new Thumbnail(api);
    this.link = el("a", { class: "gj-title" });
    this.about = el("span", { class: "gj-about" });
    this.state = el("span", { class: "gj-state" });
    this.how = el("span", { class: "gj-how" });
    this.bar = el("progress", { max: 100 });
    this.where = el("span", { class: "gj-where" });
    this.priority = el("span", { class: "gj-priority" });
    this.when = el("time", {});
    this.span = el("span", {});
    this.cancel = button(t("jobs.cancel"), () => cancel(this.job));
    this.element = el(
      "li",
      { class: "gj-row" },
      this.thumbnail.element,
      el("div", { class: "gj-what" }, this.link, this.about),
      el("div", { class: "gj-going" }, this.state, this.how, this.bar),
      el("div", { class: "gj-place" }, this.where, this.priority),
      el("div", { class: "gj-when" }, this.when, this.span),
      el("div", { class: "gj-deed" }, this.cancel),
    );
  }

  /** @param {any} job */
  show(job) {
    if (this.job?.id === job.id && JSON.stringify(this.job) === JSON.stringify(job)) return;
    this.job = job;
    const { id, state, submitter, submitted, instance_name, progress, node, priority, outputs, error, note } = job;
    const live = !ENDED.includes(state);
    const first = outputs.findIndex(isImage);
    this.thumbnail.show(first < 0 ? "" : outputUrl(this.api, job, first, SIZE));
    this.thumbnail.element.classList.toggle("gj-none", first < 0);
    this.thumbnail.element.setAttribute("data-count", outputs.length > 1 ? String(outputs.length) : "");
    this.link.setAttribute("href", `#/jobs/${id}`);
    this.link.textContent = nameOf(job);
    const who = submitter ? [el("a", { href: placeOfFilter({ state: "", submitter, instance: "" }), title: t("jobs.only", { name: submitter }) }, submitter)] : [];
    this.about.replaceChildren(...who, el("span", {}, id.slice(0, 8)));
    this.state.textContent = stateText(job);
    this.state.setAttribute("data-state", job.cancelling && live ? "stopping" : state);
    const share = Math.round(progress * 100);
    this.how.textContent = error?.message || note || (state === "running" ? [`${share} %`, node && t("jobs.atNode", { node })].filter(Boolean).join(" · ") : "");
    this.how.title = this.how.textContent;
    this.bar.hidden = state !== "running";
    this.bar.value = share;
    this.bar.setAttribute("aria-label", t("jobs.progress", { name: nameOf(job) }));
    this.where.textContent = instance_name;
    this.priority.hidden = !priority;
    this.priority.textContent = t("jobs.priorityIs", { priority: priorityText(priority) });
    this.when.setAttribute("datetime", new Date(submitted).toISOString());
    this.when.textContent = timeText(submitted);
    this.cancel.hidden = !live || Boolean(job.cancelling);
    this.cancel.setAttribute("aria-label", `${t("jobs.cancel")}: ${nameOf(job)}`);
  }

  /** @param {number} now milliseconds, by the server's clock */
  tick(now) {
    const text = spanText(this.job, now);
    if (this.span.textContent !== text) this.span.textContent = text;
  }
}
