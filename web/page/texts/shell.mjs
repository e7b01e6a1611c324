/** Texts of the page's frame: places, connection, settings, messages, help, login. */

/** @type {import("../../comfyui/lib/i18n.mjs").Texts} */
export const shell = {
  en: {
    gates: "Gates",
    buses: "Buses",
    pools: "Pools",
    instances: "Instances",
    log: "Log",
    messages: "Messages",
    close: "Close",
    ok: "OK",
    cancel: "Cancel",
    notHere: "This place can't be opened",
  },
  zh: {},
  ja: {},
  de: {},
};
