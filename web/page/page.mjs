/**
 * The broker's page: one document, a view for each place (`#/gates`, `#/gates/ID`, `#/buses`, …).
 *
 * A view's module is loaded when its place is first opened and exports `open(context, rest, query)`,
 * `rest` being what follows the view's name in the place, decoded and split at slashes.
 */
import { Api } from "../comfyui/lib/api.mjs";
import { Feed } from "../comfyui/lib/feed.mjs";
import { Decisions } from "../comfyui/lib/gate-decisions.mjs";
import { currentLanguage, register, setLanguage } from "../comfyui/lib/i18n.mjs";
import { startShared } from "../comfyui/lib/one-stream.mjs";
import { gate } from "../comfyui/lib/texts/gate.mjs";
import { ask, confirm } from "./dialogs.mjs";
import { host } from "./host.mjs";
import { Inbox } from "./inbox-list.mjs";
import { Settings } from "./settings.mjs";
import { Shell } from "./shell.mjs";
import { shell as shellTexts } from "./texts/shell.mjs";
import { followTheme } from "./theme.mjs";

/**
 * @typedef {object} Context what every view works with
 * @property {Api} api
 * @property {Feed} feed
 * @property {Decisions} decisions
 * @property {Inbox} inbox the open gates as the inbox's filter and order show them
 * @property {Settings} settings
 * @property {(severity: import("./toasts.mjs").Severity, summary: string, detail?: string, action?: import("./toasts.mjs").Action) => (() => void)} toast
 *   shows it, and gives what takes it away
 * @property {typeof ask} ask a line of text, null when the person does not answer
 * @property {typeof confirm} confirm whether to go on
 * @property {(keys: {key: string, does: string}[]) => void} help the view's keys, which `?` lists beside the page's
 * @property {(place: string, replace?: boolean) => void} go to a place, e.g. `#/gates`; `replace`: back does not return here
 *
 * @typedef {object} View one place's screen
 * @property {HTMLElement} element
 * @property {string} title of the document
 * @property {() => void} remove undoes every listener
 * @property {(event: KeyboardEvent) => boolean} [key] whether the key was the view's; never asked while somebody types
 * @property {(rest: string[], query: URLSearchParams) => boolean} [move] whether it shows that place of the same view itself
 *
 * @typedef {(context: Context, rest: string[], query: URLSearchParams) => View | Promise<View>} Open
 */

/** @type {Record<string, () => Promise<{open: Open}>>} name -> module; `#/gates/ID` is `gate` */
const VIEWS = {
  gates: () => import("./inbox.mjs"),
  gate: () => import("./gate-screen.mjs"),
  buses: () => import("./buses.mjs"),
  pools: () => import("./pools.mjs"),
  jobs: () => import("./jobs.mjs"),
  instances: () => import("./instances.mjs"),
  log: () => import("./decision-log.mjs"),
};

register("gate", gate);
register("shell", shellTexts);
const settings = new Settings();
const language = settings.get("language");
setLanguage(language === "auto" ? navigator.language : language);
document.documentElement.lang = currentLanguage();
followTheme(settings);
const api = new Api(host);
const feed = new Feed(api);
const decisions = new Decisions(api, feed, () => settings.get("name"));
const inbox = new Inbox(feed, settings);
new Shell({ api, feed, decisions, inbox, settings, ask, confirm }, VIEWS);
// Every text is made when it is shown: another language is another page.
settings.addEventListener("change", (event) => {
  if (/** @type {CustomEvent} */ (event).detail === "language") location.reload();
});
startShared(feed, "gatebus-page");
