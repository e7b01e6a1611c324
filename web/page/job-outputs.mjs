/** What a job made: small pictures that open large, and other files to keep. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { showImage } from "../comfyui/lib/images.mjs";
import { bytesText, download } from "./bus-words.mjs";
import { button, openDialog } from "./dialogs.mjs";
import { isImage, outputUrl } from "./job-words.mjs";
import { Thumbnail } from "./thumbnail.mjs";

/** @typedef {import("./page.mjs").Context} Context */

/** Pixels of a small picture. */
const SIZE = 256;

/** @param {Context} context @param {any} job @returns {HTMLElement} */
export function outputsOf(context, job) {
  const entries = job.outputs.map((/** @type {any} */ output, /** @type {number} */ number) => el("li", {}, entry(context, job, output, number)));
  return el("ul", { class: "gj-outputs", "aria-label": t("job.outputs") }, ...entries);
}

/** @param {Context} context @param {any} job @param {any} output @param {number} number */
function entry(context, job, output, number) {
  const name = el("span", { class: "gc-one" }, output.name);
  const about = el("span", { class: "gc-quiet" }, bytesText(output.bytes));
  if (!isImage(output)) {
    const keep = () => void download(context, outputUrl(context.api, job, number), output.name);
    return el("button", { type: "button", class: "gj-output", title: t("job.download"), onclick: keep }, el("span", { class: "gj-file", "aria-hidden": "true" }, "⤓"), name, about);
  }
  const thumbnail = new Thumbnail(context.api);
  thumbnail.show(outputUrl(context.api, job, number, SIZE));
  return el("button", { type: "button", class: "gj-output", title: output.name, onclick: () => showLarge(context, job, number) }, thumbnail.element, name, about);
}

/** One image as large as the window, with those before and behind it. @param {Context} context @param {any} job @param {number} first */
function showLarge(context, job, first) {
  const numbers = job.outputs.flatMap((/** @type {any} */ output, /** @type {number} */ number) => (isImage(output) ? [number] : []));
  let at = numbers.indexOf(first);
  let loading = new AbortController();
  const stage = el("div", { class: "gj-stage" });
  const caption = el("p", { class: "gc-quiet", role: "status" });
  const step = (/** @type {number} */ by) => {
    at = (at + by + numbers.length) % numbers.length;
    draw();
  };
  const draw = () => {
    loading.abort();
    loading = new AbortController();
    const { name, bytes } = job.outputs[numbers[at]];
    const image = /** @type {any} */ (el("img", { alt: name, draggable: "false" }));
    image.addEventListener("error", () => stage.replaceChildren(el("p", {}, t("job.gone"))));
    showImage(image, context.api.host, outputUrl(context.api, job, numbers[at]), loading.signal);
    stage.replaceChildren(image);
    const place = numbers.length > 1 ? [t("job.outputOf", { number: at + 1, count: numbers.length })] : [];
    caption.textContent = [name, bytesText(bytes), ...place].join(" · ");
  };
  const steps = numbers.length > 1 ? [button("‹", () => step(-1)), button("›", () => step(1))] : [];
  steps.forEach((each, index) => each.setAttribute("aria-label", t(index ? "job.next" : "job.previous")));
  const keep = button(t("job.download"), () => void download(context, outputUrl(context.api, job, numbers[at]), job.outputs[numbers[at]].name));
  const dialog = openDialog(job.title || t("job.outputs"), [stage, caption], [...steps, keep, button(t("shell.close"), () => dialog.close(), "gp-primary")]);
  dialog.classList.add("gj-large");
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("close", () => loading.abort());
  draw();
}
