/** One bus (`#/buses/NAME`): its versions, each with its images and mask; upload, download, compare, delete. */
import { everySecond } from "../comfyui/lib/clock.mjs";
import { Undoing, el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { BusPicture } from "./bus-picture.mjs";
import { chooseFiles, publish, takeFiles } from "./bus-uploads.mjs";
import { ageText, busPath, busUrl, download, sizeText } from "./bus-words.mjs";
import { button } from "./dialogs.mjs";
import { removalsOf } from "./removals.mjs";
import { Thumbnail } from "./thumbnail.mjs";

/** @typedef {import("./page.mjs").Context} Context */

const SETTLE = 150;

export class BusView {
  #undoing = new Undoing();
  /** @type {any[]} the kept versions, newest first, without those that are being deleted */
  heads = [];
  /** @type {any[]} with those */
  #kept = [];
  #settling = 0;
  #removed = false;

  /** @param {Context} context @param {string} name @param {number} version to show first, 0 for the newest */
  constructor(context, name, version) {
    this.context = context;
    this.name = name;
    this.title = name;
    /** The version that shows; 0: the newest, whichever that is. */
    this.version = version;
    this.removals = removalsOf(context);
    this.deleteButton = button(t("content.deleteBus"), () => void this.#removeBus(), "gp-danger");
    this.label = el("input", { class: "gp-input", type: "text", maxlength: 200, placeholder: t("content.labelOptional"), "aria-label": t("content.labelOfUpload") });
    this.picture = new BusPicture(context.api);
    this.about = el("div", { class: "gc-about" });
    this.list = el("ol", { class: "gc-versions", "aria-label": t("content.versions") });
    this.empty = el("div", { class: "gc-empty", hidden: true });
    this.parts = el("div", { class: "gc-bus" }, this.list, el("div", { class: "gc-stage" }, this.picture.element, this.about));
    this.element = el("div", { class: "gc-view" }, this.#bar(), this.parts, this.empty);
    const undoing = this.#undoing;
    takeFiles(this.element, undoing, (files) => void this.#publish(files));
    undoing.listen(context.feed, "bus", (event) => event.detail.id === name && this.#later());
    undoing.listen(context.feed, "reset", () => this.#later());
    undoing.listen(this.removals, "change", () => void this.#look());
    undoing.listen(this.picture, "change", () => this.#drawAbout());
    undoing.add(everySecond(() => this.#tick()));
    context.help([
      { key: "↑ ↓", does: t("content.helpVersions") },
      { key: "← →", does: t("content.helpFrames") },
      { key: "M", does: t("content.helpMask") },
      { key: "C", does: t("content.helpCompare") },
      { key: "U", does: t("content.helpUndo") },
    ]);
    void this.#look();
  }

  remove() {
    this.#removed = true;
    clearTimeout(this.#settling);
    this.picture.close();
    this.#undoing.run();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const { key } = event;
    if (key === "u") return this.removals.undo();
    if (!this.shown) return false;
    const place = this.heads.indexOf(this.shown);
    const step = key === "ArrowDown" ? 1 : key === "ArrowUp" ? -1 : 0;
    if (step) {
      const head = this.heads[place + step];
      if (head) this.choose(head.version);
      return true;
    }
    if (key === "m") this.picture.toggleMask();
    else if (key === "c") this.picture.compareWith(this.picture.other ? null : (this.heads[place + 1] ?? this.heads[place - 1] ?? null));
    else if (key === "ArrowLeft" || key === "ArrowRight") this.picture.step(key === "ArrowRight" ? 1 : -1);
    else return false;
    return true;
  }

  /** The version that shows. */
  get shown() {
    return this.heads.find(({ version }) => version === this.version) ?? this.heads[0];
  }

  /** @param {number} version */
  choose(version) {
    // Who looks at the newest goes on to a newer one.
    this.version = version === this.heads[0]?.version ? 0 : version;
    this.#draw();
    this.list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  // -- what can be done ---------------------------------------------------------------------------

  #bar() {
    const back = el("a", { class: "gp-button", href: "#/buses" }, `‹ ${t("content.buses")}`);
    const upload = button(t("content.upload"), () => chooseFiles((files) => void this.#publish(files), true), "gp-primary");
    return el("div", { class: "gc-bar" }, back, el("h1", { class: "gc-title" }, this.name), this.label, upload);
  }

  /** @param {File[]} files */
  async #publish(files) {
    const label = this.label.value.trim();
    if (files.length && (await publish(this.context, this.name, files, label))) {
      this.label.value = "";
      this.version = 0;
      await this.#look();
    }
  }

  async #removeBus() {
    if (!this.heads.length || !(await this.removals.allowed())) return;
    // Each version that is seen here, by its number: one that is published meanwhile stays.
    const paths = this.#kept.map(({ version }) => `${busPath(this.name)}?version=${version}`);
    this.removals.hold({ key: `bus:${this.name}`, name: this.name, paths });
    this.context.go("#/buses");
  }

  /** @param {any} head */
  async #removeVersion(head) {
    if (!(await this.removals.allowed())) return;
    const name = `${this.name}@${head.version}`;
    this.removals.hold({ key: `bus:${name}`, name, paths: [`${busPath(this.name)}?version=${head.version}`] });
  }

  // -- what shows -----------------------------------------------------------------------------------

  #later() {
    clearTimeout(this.#settling);
    this.#settling = window.setTimeout(() => void this.#look(), SETTLE);
  }

  async #look() {
    let failure = "";
    try {
      this.#kept = (await this.context.api.versions(this.name)).versions;
    } catch (error) {
      this.#kept = [];
      const { status, message } = /** @type {any} */ (error);
      failure = status === 404 ? t("content.noSuchBus", { name: this.name }) : message;
    }
    if (this.#removed) return;
    this.heads = this.#kept.filter(({ version }) => !this.removals.has(`bus:${this.name}@${version}`));
    if (!failure && !this.heads.length) failure = t("content.noSuchBus", { name: this.name });
    this.empty.replaceChildren(el("strong", {}, failure), el("p", {}, t("content.noSuchBusHint")));
    this.empty.toggleAttribute("hidden", !failure);
    this.parts.toggleAttribute("hidden", Boolean(failure));
    this.deleteButton.disabled = !this.heads.length;
    this.#draw();
  }

  #draw() {
    const { shown } = this;
    const focused = document.activeElement instanceof HTMLElement && this.list.contains(document.activeElement) ? document.activeElement.dataset.version : "";
    this.list.replaceChildren(...this.heads.map((head) => this.#entry(head, head === shown)));
    if (focused) /** @type {HTMLElement | null} */ (this.list.querySelector(`[data-version="${focused}"]`))?.focus();
    if (shown) this.picture.show(shown, this.heads);
    this.#drawAbout();
    this.#tick();
  }

  /** @param {any} head @param {boolean} current */
  #entry(head, current) {
    const thumbnail = new Thumbnail(this.context.api);
    thumbnail.show(busUrl(this.context.api, head, "thumbnail", 0, 128));
    const newest = head === this.heads[0] ? el("span", { class: "gc-mark" }, t("content.newest")) : null;
    const age = el("span", { class: "gc-quiet", "data-published": head.published });
    const text = el(
      "span",
      { class: "gc-text" },
      el("span", { class: "gc-line" }, el("strong", {}, `@${head.version}`), newest),
      head.meta.label ? el("span", { class: "gc-one" }, head.meta.label) : null,
      age,
    );
    const attributes = { type: "button", class: "gc-version-button", "data-version": head.version, "aria-current": current ? "true" : null };
    const choose = el("button", { ...attributes, onclick: () => this.choose(head.version) }, thumbnail.element, text);
    return el("li", {}, choose);
  }

  #drawAbout() {
    const { shown, picture, context } = this;
    if (!shown) return this.about.replaceChildren();
    const { meta, version, mask } = shown;
    const { frame } = picture;
    const file = (/** @type {string} */ end) => `${this.name}@${version}${shown.frames > 1 ? `-${frame + 1}` : ""}${end}.png`;
    const get = (/** @type {"image" | "mask"} */ what, /** @type {string} */ end) => () => void download(context, busUrl(context.api, shown, what, frame), file(end));
    const facts = [
      [t("content.size"), sizeText(shown)],
      [t("content.label"), meta.label],
      [t("content.workflow"), meta.workflow],
      [t("content.from"), meta.instance],
      [t("content.time"), new Date(shown.published).toLocaleString()],
    ];
    this.about.replaceChildren(
      picture.controls(),
      el(
        "div",
        { class: "gc-actions" },
        button(t("content.downloadImage"), get("image", "")),
        ...(mask ? [button(t("content.downloadMask"), get("mask", "-mask"))] : []),
        button(t("content.deleteVersion", { version }), () => void this.#removeVersion(shown), "gp-danger"),
        this.deleteButton,
      ),
      el("dl", { class: "gc-facts" }, ...facts.filter(([, value]) => value).flatMap(([key, value]) => [el("dt", {}, key), el("dd", {}, value)])),
    );
  }

  #tick() {
    const now = this.context.feed.now();
    for (const age of this.list.querySelectorAll("[data-published]")) {
      const text = ageText({ published: Number(age.getAttribute("data-published")) }, now);
      if (age.textContent !== text) age.textContent = text;
    }
  }
}
