/** What a person set for this page in this browser. */
import { ofBrowser } from "./storage.mjs";

const KEY = "gatebus.settings";

/** Name -> what it is before anybody sets it. */
const DEFAULTS = {
  /** Who decides, as others see it; "" until it was asked for. */
  name: "",
  /** Whether the person was asked for it, and may have declined. */
  asked: false,
  /** Seconds for which a decision waits before it is sent, so that it can be undone. */
  hold: 5,
  /** Whether the next gate follows a decision by itself. */
  advance: true,
  /** Whether a gate that opens is heard. */
  sound: false,
  /** Whether a gate that opens is told of by the browser while another window is used. */
  notification: false,
  /** `auto`, `light` or `dark`. */
  theme: "auto",
  /** `auto` or one of i18n's LANGUAGES. */
  language: "auto",
  /** How large the inbox's previews are: `small`, `medium` or `large`. */
  size: "medium",
  /** Which gates come first in the inbox: `oldest` or `newest`. */
  order: "oldest",
  /** What a swipe over a gate's image does: `step` to the next one, or `decide`: right route 1, left route 2. */
  swipe: "step",
};

/** @typedef {keyof typeof DEFAULTS} SettingName */

/** Event `change` (detail: the name) also when another tab of this browser sets something. */
export class Settings extends EventTarget {
  /** @type {Record<string, any>} */
  #values = {};

  constructor() {
    super();
    this.#values = read();
    window.addEventListener("storage", (event) => {
      if (event.key !== KEY) return;
      const before = this.#values;
      this.#values = read();
      for (const name of /** @type {SettingName[]} */ (Object.keys(DEFAULTS))) {
        if ((before[name] ?? DEFAULTS[name]) !== this.get(name)) this.#changed(name);
      }
    });
  }

  /** @param {SettingName} name @returns {any} */
  get(name) {
    return this.#values[name] ?? DEFAULTS[name];
  }

  /** @param {SettingName} name @param {any} value */
  set(name, value) {
    if (this.get(name) === value) return;
    this.#values[name] = value;
    ofBrowser.setItem(KEY, JSON.stringify(this.#values));
    this.#changed(name);
  }

  /** @param {SettingName} name */
  #changed(name) {
    this.dispatchEvent(new CustomEvent("change", { detail: name }));
  }
}

/** @returns {Record<string, any>} */
function read() {
  try {
    const values = JSON.parse(ofBrowser.getItem(KEY) ?? "{}");
    return values && typeof values === "object" ? values : {};
  } catch {
    // What another program left there is not ours to mend: the defaults stand.
    return {};
  }
}
