/** Sound and browser notification when a gate opens anywhere on the farm. Free of ComfyUI. */
import { t } from "./i18n.mjs";

/** @typedef {import("./feed.mjs").Feed} Feed */

/** Milliseconds for which the tab that plays keeps the others from it. */
const ONE_TAB = 1500;

/**
 * Follows the feed for as long as the page lives.
 * @param {Feed} feed
 * @param {{sound: () => boolean, notification: () => boolean, icon: (gate: any) => string, open: (gate: any) => void}} wishes
 */
export function alertOfGates(feed, wishes) {
  feed.addEventListener("opened", (event) => {
    const gate = /** @type {CustomEvent} */ (event).detail;
    if (wishes.sound()) inOneTab("gatebus-sound", chime);
    if (wishes.notification() && !document.hasFocus()) notify(gate, wishes);
  });
}

/**
 * Asks the browser to allow notifications.
 * @returns {Promise<"granted" | "denied" | "missing">}
 */
export async function askForNotifications() {
  if (!("Notification" in window) || !window.isSecureContext) return "missing";
  const answer = Notification.permission === "default" ? await Notification.requestPermission() : Notification.permission;
  return answer === "granted" ? "granted" : "denied";
}

/**
 * @param {any} gate
 * @param {{icon: (gate: any) => string, open: (gate: any) => void}} wishes
 */
function notify(gate, { icon, open }) {
  if (!("Notification" in window) || Notification.permission !== "granted") return;
  const title = t("gate.opened", { title: gate.title || t("gate.untitled") });
  const body = gate.note || t("gate.openedBody", { workflow: gate.workflow || "?", instance: gate.instance });
  // Of the same tag there is one, however many tabs show it.
  const shown = new Notification(title, { body, icon: icon(gate), tag: gate.id });
  shown.onclick = () => {
    window.focus();
    shown.close();
    open(gate);
  };
}

/** Two short tones. */
export function chime() {
  const audio = new AudioContext();
  const gain = audio.createGain();
  gain.gain.value = 0.08;
  gain.connect(audio.destination);
  for (const [at, pitch] of [[0, 660], [0.14, 880]]) {
    const tone = audio.createOscillator();
    tone.frequency.value = pitch;
    tone.connect(gain);
    tone.start(audio.currentTime + at);
    tone.stop(audio.currentTime + at + 0.12);
  }
  setTimeout(() => void audio.close(), 600);
}

/** @param {string} name @param {() => void} step */
function inOneTab(name, step) {
  // Without https there are no locks: the tab that is seen plays.
  if (!navigator.locks) {
    if (!document.hidden) step();
    return;
  }
  void navigator.locks.request(name, { ifAvailable: true }, async (lock) => {
    if (!lock) return;
    step();
    await new Promise((done) => setTimeout(done, ONE_TAB));
  });
}
