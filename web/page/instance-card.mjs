/** One instance as a card: where it is, what it has, what it runs, what waits. */
import { el } from "../comfyui/lib/dom.mjs";
import { duration, t } from "../comfyui/lib/i18n.mjs";
import { InstancePlace } from "./instance-place.mjs";

/** @param {number} bytes */
const gib = (bytes) => (bytes / 2 ** 30).toFixed(bytes < 10 * 2 ** 30 ? 1 : 0);

export class InstanceCard {
  /** @type {any} */
  instance = null;
  #gates = -1;
  /** @type {{element: HTMLElement, since: number, key: string}[]} texts that grow older */
  #ages = [];

  /** @param {import("./page.mjs").Context} context @param {() => void} changed told after the farm's place was set */
  constructor(context, changed) {
    this.place = new InstancePlace(context, changed);
    this.name = el("h2", {});
    this.state = el("span", { class: "gc-state" });
    this.url = el("div", { class: "gc-url" });
    this.queue = el("div", { class: "gc-queue" });
    this.gates = el("div", {});
    this.memory = el("div", {});
    this.facts = el("p", { class: "gc-quiet" });
    this.seen = el("p", { class: "gc-quiet" });
    const head = el("div", { class: "gc-line" }, this.name, this.state);
    this.element = el("li", { class: "gc-instance" }, head, this.url, this.queue, this.gates, this.place.element, this.memory, this.facts, this.seen);
  }

  /** @param {any} instance `listed`: only the settings know of it @param {import("./instance-place.mjs").Place} [place] */
  show(instance, place) {
    this.instance = instance;
    const { name, gone, listed, running, pending, version, comfyui, frontend, python, torch, system } = instance;
    this.place.show(instance, place);
    this.#ages = listed ? [] : [{ element: this.seen, since: instance.seen, key: "instances.seen" }];
    this.name.textContent = name;
    this.element.classList.toggle("gc-gone", gone);
    const state = listed ? "listed" : gone ? "gone" : running.length || pending ? "busy" : "idle";
    this.state.textContent = t(`instances.${state}`);
    this.state.setAttribute("data-state", state);
    this.#drawUrl();
    this.#drawQueue();
    this.memory.replaceChildren(...instance.devices.map((/** @type {any} */ device) => this.#device(device)));
    this.facts.textContent = listed ? "" : [`ComfyUI ${comfyui}`, frontend && t("instances.frontend", { version: frontend }), `gatebus ${version}`, `Python ${python}`, `torch ${torch}`, system].filter(Boolean).join(" · ");
    this.#drawGates();
  }

  /** How many gates wait there. @param {number} count */
  showGates(count) {
    if (count === this.#gates) return;
    this.#gates = count;
    this.#drawGates();
  }

  /** @param {number} now milliseconds, by the server's clock */
  tick(now) {
    for (const { element, since, key } of this.#ages) {
      const text = t(key, { time: duration((now - since) / 1000) });
      if (element.textContent !== text) element.textContent = text;
    }
  }

  #drawUrl() {
    const { url, reach, host, gone } = this.instance;
    const note = reach === "loopback" ? t("instances.loopback", { host }) : reach === "guess" ? t("instances.guessed") : "";
    const link = gone || !url ? el("span", {}, url) : el("a", { href: url, target: "_blank", rel: "noreferrer noopener" }, url);
    this.url.replaceChildren(link, ...(note ? [el("small", { class: "gc-quiet" }, note)] : []));
  }

  #drawQueue() {
    const { running, pending, next, gone, listed } = this.instance;
    if (listed) return this.queue.replaceChildren(el("p", { class: "gc-quiet" }, t("instances.listedHint")));
    if (gone) return this.queue.replaceChildren(el("p", { class: "gc-quiet" }, t("instances.goneHint")));
    const parts = running.map((/** @type {any} */ each) => this.#running(each));
    if (pending) {
      const entries = next.map((/** @type {any} */ each) => el("li", {}, each.workflow || each.prompt_id.slice(0, 8)));
      const more = pending > next.length ? el("p", { class: "gc-quiet" }, t("instances.more", { count: pending - next.length })) : null;
      const open = Boolean(this.queue.querySelector("details[open]"));
      parts.push(el("details", { open }, el("summary", {}, t("instances.pending", { count: pending })), el("ol", {}, ...entries), more));
    }
    if (!parts.length) parts.push(el("p", { class: "gc-quiet" }, t("instances.nothingRuns")));
    this.queue.replaceChildren(...parts);
  }

  /** @param {any} prompt */
  #running({ prompt_id, workflow, started, node, title, progress }) {
    const since = el("span", { class: "gc-quiet" });
    this.#ages.push({ element: since, since: started, key: "instances.since" });
    const share = Math.round(progress * 100);
    const bar = progress >= 0 ? el("progress", { max: 100, value: share, "aria-label": t("instances.progress", { title }) }) : null;
    return el(
      "div",
      { class: "gc-running" },
      el("div", { class: "gc-line" }, el("strong", { class: "gc-one", title: prompt_id }, workflow || prompt_id.slice(0, 8)), since),
      node ? el("div", { class: "gc-one" }, t("instances.node", { title: title || node }), progress >= 0 ? ` ${share} %` : "") : null,
      bar,
    );
  }

  #drawGates() {
    const count = Math.max(0, this.#gates);
    const { name } = this.instance;
    const href = `#/gates?${new URLSearchParams({ instance: name })}`;
    const text = t(count === 1 ? "instances.gateOne" : "instances.gates", { count });
    this.gates.replaceChildren(...(count ? [el("a", { class: "gp-button", href }, text)] : []));
  }

  /** @param {any} device */
  #device({ name, type, vram_total, vram_free }) {
    const used = vram_total - vram_free;
    const what = type === "cpu" ? t("instances.ram") : t("instances.vram");
    const text = `${what}: ${t("instances.memory", { used: gib(used), total: gib(vram_total) })}`;
    return el("div", { class: "gc-device" }, el("span", { class: "gc-one", title: name }, name), el("meter", { min: 0, max: vram_total, high: vram_total * 0.9, value: used, "aria-label": text }), el("span", { class: "gc-quiet" }, text));
  }
}
