/**
 * The broker's page: one document, a view for each place (`#/gates`, `#/gates/ID`, `#/buses`, …).
 *
 * A view's module is loaded when its place is first opened and exports `open(context, rest)`,
 * `rest` being what follows the view's name in the place, decoded and split at slashes.
 */
import { Api } from "../comfyui/lib/api.mjs";
import { el } from "../comfyui/lib/dom.mjs";
import { Feed } from "../comfyui/lib/feed.mjs";
import { Decisions } from "../comfyui/lib/gate-decisions.mjs";
import { setLanguage } from "../comfyui/lib/i18n.mjs";
import { startShared } from "../comfyui/lib/one-stream.mjs";
import { host } from "./host.mjs";

/**
 * @typedef {object} Context what every view works with
 * @property {Api} api
 * @property {Feed} feed
 * @property {Decisions} decisions
 * @property {(severity: "info" | "success" | "warn" | "error", summary: string, detail?: string) => void} toast
 * @property {(place: string) => void} go to a place, e.g. `#/gates`
 *
 * @typedef {object} View one place's screen
 * @property {HTMLElement} element
 * @property {string} title of the document
 * @property {() => void} remove undoes every listener
 * @property {(event: KeyboardEvent) => boolean} [key] whether the key was the view's; never asked while somebody types
 */

/** @type {Record<string, () => Promise<{open: (context: Context, rest: string[]) => View}>>} name -> module */
const VIEWS = {};

setLanguage(navigator.language);
const api = new Api(host);
const feed = new Feed(api);
startShared(feed, "gatebus-page");
document.body.append(el("main", {}));
void [VIEWS, Decisions];
