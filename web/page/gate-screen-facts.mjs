/** What is known about a gate beside its image: where it comes from, its history, and what was decided last. */
import { el } from "../comfyui/lib/dom.mjs";
import { outcomeText, sizeText } from "../comfyui/lib/gate-state.mjs";
import { t } from "../comfyui/lib/i18n.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {{at: number, text: string}} Happening */

/** Decisions of others that are listed. */
const LISTED = 12;

export class Facts {
  #key = "";
  /** @type {any[] | null} the gate's entries of the decision log, null while they are not known */
  #entries = null;
  #asked = "";

  /** @param {Context} context @param {() => void} close */
  constructor(context, close) {
    this.context = context;
    /** @type {(() => void)[]} show the options as they are set */
    this.options = [];
    this.details = el("dl", { class: "gs-details" });
    this.history = el("ol", { class: "gs-history" });
    this.last = el("ul", { class: "gs-last" });
    this.element = el(
      "aside",
      { class: "gs-facts", id: "gs-facts", "aria-label": t("screen.facts") },
      el("button", { type: "button", class: "gs-tool gs-facts-close", "aria-label": t("screen.closeFacts"), onclick: close }, "×"),
      el("h2", {}, t("screen.facts")),
      this.details,
      el("h2", {}, t("screen.history")),
      this.history,
      el("h2", {}, t("screen.last")),
      this.last,
      el("h2", {}, t("screen.options")),
      this.#option("advance", true, false),
      this.#option("swipe", "decide", "step"),
    );
  }

  /** @param {"advance" | "swipe"} name @param {any} on its value @param {any} off */
  #option(name, on, off) {
    const { settings } = this.context;
    const box = el("input", { type: "checkbox", checked: settings.get(name) === on, onchange: () => settings.set(name, box.checked ? on : off) });
    this.options.push(() => (box.checked = settings.get(name) === on));
    return el("label", { class: "gs-option" }, box, t(`screen.${name}`));
  }

  /** @param {any} gate undefined for none */
  show(gate) {
    for (const option of this.options) option();
    const { gates, ended } = this.context.feed;
    const others = [...ended.values(), ...gates.values()]
      .filter((each) => each.decision && each.id !== gate?.id)
      .sort((one, other) => other.decision.at - one.decision.at)
      .slice(0, LISTED);
    if (gate) void this.#ask(gate);
    const key = JSON.stringify([gate?.id, gate?.rev, this.#entries?.length, others.map(({ id, rev }) => [id, rev])]);
    if (key === this.#key) return;
    this.#key = key;
    this.details.replaceChildren(...(gate ? facts(gate) : []));
    this.history.replaceChildren(...(gate ? historyOf(gate, this.#entries ?? []) : []).map(({ at, text }) => el("li", {}, el("time", { datetime: new Date(at).toISOString() }, when(at)), text)));
    const links = others.map((each) =>
      el("li", {}, el("a", { href: `#/gates/${each.id}` }, each.title || t("gate.untitled")), el("span", {}, outcomeText(each))),
    );
    this.last.replaceChildren(...(links.length ? links : [el("li", {}, t("screen.noneDecided"))]));
  }

  /** Reads what the decision log tells of the gate, once for each of its states. @param {any} gate */
  async #ask(gate) {
    const asked = `${gate.id} ${gate.decision?.id ?? ""} ${gate.ended}`;
    if (asked === this.#asked) return;
    if (!this.#asked.startsWith(gate.id)) this.#entries = null;
    this.#asked = asked;
    try {
      const { decisions } = await this.context.api.call("GET", `/gatebus/decisions?gate=${encodeURIComponent(gate.id)}`);
      if (this.#asked !== asked) return;
      this.#entries = decisions;
      this.show(gate);
    } catch {
      // The gate's own record tells what stands; only what was taken back is missing.
    }
  }
}

/** @param {any} gate */
function facts(gate) {
  const bus = (/** @type {string} */ name) => name && el("a", { href: `#/buses/${encodeURIComponent(name.split("@")[0])}` }, name);
  /** @type {[string, string | Node][]} */
  const rows = [
    ["workflow", gate.workflow],
    ["instance", gate.instance],
    ["node", gate.node_id && gate.list_index ? t("screen.nodeItem", { node: gate.node_id, item: gate.list_index + 1 }) : gate.node_id],
    ["size", sizeText(gate)],
    ["sends", bus(gate.send_id)],
    ["gets", bus(gate.get_id)],
    ["prompt", gate.prompt_id],
    ["id", gate.id],
  ];
  return rows.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, t(`screen.${name}`)), el("dd", {}, value)]);
}

/**
 * What happened to the gate, in order.
 * @param {any} gate
 * @param {any[]} entries of the decision log
 * @returns {Happening[]}
 */
export function historyOf(gate, entries) {
  /** @type {Happening[]} */
  const happened = [{ at: gate.opened, text: t("screen.opened", { instance: gate.instance }) }];
  const takenBack = entries.filter((entry) => entry.kind === "take-back");
  for (const entry of entries) {
    const { kind, at, decision: id } = entry;
    if (kind === "take-back") happened.push({ at, text: entry.by ? t("screen.takenBackBy", { by: entry.by }) : t("screen.takenBack") });
    else if (["route", "cancel", "expire"].includes(kind) && (id !== gate.decision?.id || takenBack.some((each) => each.decision === id))) {
      happened.push({ at, text: outcomeText({ status: "decided", labels: gate.labels, decision: { ...entry, at: 0 } }) });
    }
  }
  const { decision } = gate;
  if (decision) {
    happened.push({ at: decision.at, text: outcomeText({ ...gate, status: "decided", decision: { ...decision, at: 0 } }) });
    if (decision.text) happened.push({ at: decision.at, text: t("screen.withText", { text: decision.text }) });
    if (decision.mask) happened.push({ at: decision.at, text: t("screen.withMask") });
  }
  if (gate.ended) happened.push({ at: gate.ended, text: t(endOf(gate)) });
  return happened.sort((one, other) => one.at - other.at);
}

/** @param {any} gate */
function endOf({ status, outcome }) {
  if (status === "applied") return "screen.applied";
  return status === "expired" ? "gate.expired" : outcome === "interrupted" || outcome === "cancel" ? "gate.stopped" : "screen.endedUnapplied";
}

/** @param {number} at milliseconds since the epoch */
function when(at) {
  const day = new Date(at);
  const today = day.toDateString() === new Date().toDateString();
  return day.toLocaleString([], today ? { timeStyle: "medium" } : { dateStyle: "short", timeStyle: "medium" });
}
