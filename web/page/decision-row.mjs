/** One row of the decision log: a decision with its image, who, when, from where, and how it ended. */
import { el } from "../comfyui/lib/dom.mjs";
import { chosenNumbers, chosenText } from "../comfyui/lib/gate-choice.mjs";
import { currentLanguage, duration, t } from "../comfyui/lib/i18n.mjs";
import { Thumbnail } from "./thumbnail.mjs";

/** @typedef {import("../comfyui/lib/api.mjs").Api} Api */

/** The log's columns: name of the text -> class of the cell. */
export const COLUMNS = ["picture", "what", "who", "when", "gate", "took", "where", "outcome"];

/** Outcome as logged -> name of its text. @type {Record<string, string>} */
const OUTCOMES = {
  "": "open",
  applied: "applied",
  "taken back": "takenBack",
  "nobody waited": "nobody",
  dismissed: "dismissed",
  "run again": "madeAgain",
  interrupted: "interrupted",
  error: "error",
  shutdown: "shutdown",
};

export class DecisionRow {
  /** @type {Record<string, HTMLElement>} */
  #cells = {};

  /** @param {Api} api @param {(gate: string) => void} again has a run go on from that gate once more */
  constructor(api, again) {
    this.api = api;
    this.again = again;
    this.thumbnail = new Thumbnail(api);
    for (const name of COLUMNS) this.#cells[name] = el("td", { class: `gl-${name}`, role: "cell" });
    this.#cells.picture.append(this.thumbnail.element);
    this.element = el("tr", { role: "row" }, ...Object.values(this.#cells));
  }

  /** @param {any} row @param {number} imagesSince milliseconds: images of gates that ended before are gone */
  show(row, imagesSince) {
    const kept = row.digest && (!row.ended || row.ended > imagesSince);
    this.thumbnail.show(kept ? this.api.gateThumbnailUrl({ id: row.gate }, 0, 128) : "");
    this.#text("what", what(row), chosenText(row, row.batch) && `${chosenText(row, row.batch)}: ${chosenNumbers(row)}`, row.text, row.mask && t("decisions.masked"));
    this.#text("who", row.by === "deadline" ? t("decisions.deadline") : row.by || "–");
    const at = new Date(row.at);
    const time = el("time", { datetime: at.toISOString() }, at.toLocaleString(currentLanguage(), { dateStyle: "short", timeStyle: "medium" }));
    this.#cells.when.replaceChildren(time);
    const link = el("a", { href: `#/gates/${row.gate}` }, row.title || row.gate.slice(0, 12));
    this.#cells.gate.replaceChildren(link, ...(row.workflow ? [el("small", {}, row.workflow)] : []));
    this.#text("took", row.opened ? duration((row.at - row.opened) / 1000) : "");
    this.#text("where", row.where);
    const outcome = OUTCOMES[row.outcome];
    const shown = el("span", { class: "gl-state", "data-outcome": outcome ?? "other" }, outcome ? t(`decisions.${outcome}`) : row.outcome);
    const again = () => this.again(row.gate);
    // Of a gate that lives it is known on its own screen whether it may.
    const offered = kept && row.kind === "route" && row.ended && row.outcome !== "taken back";
    const button = offered && el("button", { type: "button", class: "gp-button gl-again", title: t("run.anotherHint"), onclick: again }, t("run.another"));
    this.#cells.outcome.replaceChildren(shown, ...(button ? [button] : []));
  }

  /** @param {string} name @param {string} text @param {...(string | undefined | false)} below */
  #text(name, text, ...below) {
    const lines = below.filter(Boolean).map((line) => el("small", {}, line));
    this.#cells[name].replaceChildren(text, ...lines);
  }
}

/** @param {any} row */
function what(row) {
  if (row.kind !== "route") return t(`decisions.${row.kind}`);
  return row.label ? `${row.route} · ${row.label}` : t("decisions.routeN", { route: row.route });
}
