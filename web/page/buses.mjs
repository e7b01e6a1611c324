/** The buses (`#/buses`): what was published last under each name; and one of them (`#/buses/NAME`). */
import { everySecond } from "../comfyui/lib/clock.mjs";
import { addStylesheet, el } from "../comfyui/lib/dom.mjs";
import { register, t } from "../comfyui/lib/i18n.mjs";
import { matching } from "../comfyui/lib/bus-names.mjs";
import { BusView } from "./bus.mjs";
import { chooseFiles, publish, takeFiles } from "./bus-uploads.mjs";
import { ageText, busUrl, sizeText } from "./bus-words.mjs";
import { CardList } from "./card-list.mjs";
import { button } from "./dialogs.mjs";
import { content } from "./texts/content.mjs";
import { Thumbnail } from "./thumbnail.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {import("./page.mjs").View} View */

register("content", content);

/** @param {Context} context @param {string[]} rest @param {URLSearchParams} query @returns {View} */
export function open(context, rest, query) {
  addStylesheet(new URL("content.css", import.meta.url).href);
  return rest[0] ? new BusView(context, rest[0], Number(query.get("version")) || 0) : new Buses(context);
}

/** The grid of names. */
class Buses {
  title = t("content.buses");

  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    const fresh = button(t("content.newBus"), () => chooseFiles((files) => void this.#publish(files)));
    this.list = new CardList(
      context,
      {
        event: "bus",
        title: this.title,
        filter: t("content.filterBuses"),
        load: async () => (await context.api.buses()).buses,
        key: ({ name }) => name,
        matching,
        card: () => new BusCard(context),
        count: (count) => t("content.countBuses", { count }),
        none: t("content.noBuses"),
        hint: t("content.noBusesHint"),
      },
      fresh,
    );
    this.element = this.list.element;
    this.list.undoing.add(everySecond(() => this.#tick()));
    takeFiles(this.element, this.list.undoing, (files) => void this.#publish(files));
    context.help([{ key: "/", does: t("content.helpFilter") }, { key: "U", does: t("content.helpUndo") }]);
  }

  remove() {
    this.list.remove();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    return this.list.key(event);
  }

  #tick() {
    const now = this.context.feed.now();
    for (const card of this.list.cards.values()) card.tick(now);
  }

  /** @param {File[]} files */
  async #publish(files) {
    if (!files.length) return;
    const question = { title: t("content.newBusTitle"), message: t("content.newBusAsk"), label: t("content.busName") };
    const name = await this.context.ask(question);
    if (name && (await publish(this.context, name, files))) this.context.go(`#/buses/${encodeURIComponent(name)}`);
  }
}

/** One bus of the grid. */
class BusCard {
  /** @type {any} */
  head = null;

  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    this.thumbnail = new Thumbnail(context.api);
    this.mask = el("span", { class: "gc-mark", title: t("content.hasMask") }, t("content.mask"));
    this.name = el("strong", { class: "gc-name" });
    this.version = el("span", { class: "gc-version" });
    this.about = el("span", { class: "gc-quiet" });
    this.age = el("span", { class: "gc-quiet" });
    this.from = el("span", { class: "gc-quiet gc-one" });
    this.label = el("span", { class: "gc-label gc-one" });
    this.thumbnail.element.append(this.mask);
    const text = el("span", { class: "gc-text" }, el("span", { class: "gc-line" }, this.name, this.version), this.label, this.about, this.from, this.age);
    this.link = el("a", { class: "gc-card" }, this.thumbnail.element, text);
    this.element = el("li", {}, this.link);
  }

  /** @param {any} head */
  show(head) {
    this.head = head;
    const { api } = this.context;
    this.link.setAttribute("href", `#/buses/${encodeURIComponent(head.name)}`);
    this.thumbnail.show(busUrl(api, head, "thumbnail", 0, 256));
    this.mask.toggleAttribute("hidden", !head.mask);
    this.name.textContent = head.name;
    this.version.textContent = `@${head.version}`;
    this.about.textContent = sizeText(head);
    this.label.textContent = head.meta.label;
    this.from.textContent = [head.meta.workflow, head.meta.instance].filter(Boolean).join(" · ");
    this.tick(this.context.feed.now());
  }

  /** @param {number} now */
  tick(now) {
    const text = ageText(this.head, now);
    if (this.age.textContent !== text) this.age.textContent = text;
  }
}
