/** What ComfyUI's page loads: the extension of gatebus. Everything else is imported from here. */
import { api as comfyApi, app, asset, host, PACK, setting, toast } from "./comfy.mjs";
import { Api } from "./lib/api.mjs";
import { addStylesheet, isTyping } from "./lib/dom.mjs";
import { Feed } from "./lib/feed.mjs";
import { alertOfGates, askForNotifications, chime } from "./lib/gate-alerts.mjs";
import { Answers } from "./lib/gate-answers.mjs";
import { Decisions } from "./lib/gate-decisions.mjs";
import { MAX_ROUTES } from "./lib/gate-state.mjs";
import { register, setLanguage, t } from "./lib/i18n.mjs";
import { startShared } from "./lib/one-stream.mjs";
import { gate as gateTexts } from "./lib/texts/gate.mjs";
import { selectedView, setupImageGate, setupPlainGate, showSoon } from "./nodes/image-gate.mjs";
import { loaded } from "./nodes/lazy.mjs";
import { addTab, jump } from "./sidebar.mjs";

register("gate", gateTexts);
for (const sheet of ["gate.css", "subject.css"]) addStylesheet(asset(sheet));

const api = new Api(host);
const feed = new Feed(api);
const decisions = new Decisions(api, feed, () => String(setting("name") ?? "").trim());
const answers = new Answers();
const shared = { api, feed, decisions, answers };

/** Modules of nodes that are there in time for the first node. @type {{pool?: any, bus?: any}} */
const modules = {};

/** The setting's own field: a password, so that it is not read over a shoulder. */
function tokenField(/** @type {string} */ _name, /** @type {(value: string) => void} */ set, /** @type {string} */ value) {
  const input = document.createElement("input");
  Object.assign(input, { type: "password", value: value ?? "", autocomplete: "off", className: "p-inputtext" });
  input.addEventListener("change", () => set(input.value.trim()));
  return input;
}

/** @param {boolean} on @param {boolean | undefined} before */
async function notificationsSwitched(on, before) {
  // Called with the stored value at the start, too: asking is for the moment when it is switched on.
  if (!on || before !== false) return;
  const answer = await askForNotifications();
  if (answer === "denied") toast("warn", t("gate.notificationsDenied"), t("gate.notificationsDeniedDetail"));
  if (answer === "missing") toast("warn", t("gate.notificationsMissing"), t("gate.notificationsMissingDetail"));
}

/** Decides the gate at the selected node. @param {number} route */
function routeSelected(route) {
  if (!selectedView()?.choose(route)) toast("info", t("gate.notChosen"), t("gate.notChosenDetail"));
}

/** Whether a dialog is open, so that keys are its own. */
const inDialog = () => document.querySelector('dialog[open], [aria-modal="true"], .p-dialog-mask') !== null;

window.addEventListener(
  "keydown",
  (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || event.isComposing) return;
    if (setting("keys") === false || isTyping(event.composedPath()[0] ?? null) || inDialog()) return;
    if (!selectedView()?.press(event)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  },
  { capture: true },
);

app.registerExtension({
  name: PACK,

  settings: [
    {
      id: `${PACK}.name`,
      category: ["Gatebus", "You", "Name"],
      name: "Your name",
      tooltip: "Shown to others with what you decide. With an access token the token's name is shown instead.",
      type: "text",
      defaultValue: "",
    },
    {
      id: `${PACK}.token`,
      category: ["Gatebus", "You", "Token"],
      name: "Access token",
      tooltip: "Needed only where the server was given tokens (GATEBUS_TOKENS).",
      type: tokenField,
      defaultValue: "",
      onChange: () => feed.refresh(),
    },
    {
      id: `${PACK}.notification`,
      category: ["Gatebus", "Alerts", "Notification"],
      name: "Browser notification when a gate waits",
      tooltip: "Shown while the page is not in front. The browser asks for your permission once.",
      type: "boolean",
      defaultValue: false,
      onChange: notificationsSwitched,
    },
    {
      id: `${PACK}.sound`,
      category: ["Gatebus", "Alerts", "Sound"],
      name: "Sound when a gate waits",
      type: "boolean",
      defaultValue: false,
      onChange: (/** @type {boolean} */ on, /** @type {boolean | undefined} */ before) => on && before === false && chime(),
    },
    {
      id: `${PACK}.painter`,
      category: ["Gatebus", "Masks", "Painter"],
      name: "Masks are painted in",
      tooltip: "Where ComfyUI's editor can't be reached, the pack's own painter opens in any case.",
      type: "combo",
      options: [
        { text: "ComfyUI's mask editor", value: "comfy" },
        { text: "the pack's own painter", value: "ours" },
      ],
      defaultValue: "comfy",
    },
    {
      id: `${PACK}.keys`,
      category: ["Gatebus", "Keys", "Routes"],
      name: "Keys 1 to 9 and 0 choose a route",
      tooltip:
        "At the gate that is selected, as long as nothing is being typed. 0 is route 10. At an Image Chooser Gate they tick"
        + " images, A ticks all, and Enter passes them.",
      type: "boolean",
      defaultValue: true,
    },
  ],

  commands: Array.from({ length: MAX_ROUTES }, (_, index) => ({
    id: `${PACK}.route-${index + 1}`,
    label: `Gate: choose route ${index + 1}`,
    icon: "pi pi-directions",
    function: () => routeSelected(index + 1),
  })),

  async init() {
    setLanguage(app.extensionManager.setting.get("Comfy.Locale"));
    // Here, since the page waits for it before it makes nodes; it does not for `beforeRegisterNodeDef`.
    [modules.pool, modules.bus] = await Promise.all([
      loaded(() => import("./nodes/image-pool.mjs")),
      loaded(() => import("./nodes/bus-picker.mjs")),
    ]);
  },

  nodeCreated(/** @type {any} */ node) {
    if (node.comfyClass === "ImageGate") {
      setupImageGate(node, shared);
      modules.bus?.setupBusPicker(node, api, feed);
    } else if (node.comfyClass === "ImageChooserGate") {
      setupPlainGate(node, shared, t("choice.idleBatch"));
      modules.bus?.setupBusPicker(node, api, feed);
    } else if (node.comfyClass === "TextGate") {
      setupPlainGate(node, shared, t("choice.idleText"));
    } else if (node.comfyClass === "GridImagePool") {
      modules.pool?.setupImagePool(node, feed, api);
    }
  },

  afterConfigureGraph() {
    showSoon(feed);
  },

  setup() {
    addTab(shared);
    feed.addEventListener("gates", () => showSoon(feed));
    alertOfGates(feed, {
      sound: () => setting("sound") === true,
      notification: () => setting("notification") === true,
      icon: (gate) => api.previewUrl(gate),
      open: jump,
    });
    // A hint only: what waits is read from the server.
    comfyApi.addEventListener(`${PACK}.gate`, () => {
      if (!feed.connected) feed.refresh();
    });
    comfyApi.addEventListener(`${PACK}.notice`, (/** @type {CustomEvent} */ event) => {
      toast(event.detail.severity, "Gatebus", event.detail.text);
    });
    comfyApi.addEventListener("reconnected", () => feed.refresh());
    startShared(feed, `${PACK} ${host.url("/gatebus/events")}`);
  },
});
