/** What a person may set for this page, in a dialog; every change holds at once. */
import { askForNotifications, chime } from "../comfyui/lib/gate-alerts.mjs";
import { el } from "../comfyui/lib/dom.mjs";
import { LANGUAGES, t } from "../comfyui/lib/i18n.mjs";
import { button, openDialog } from "./dialogs.mjs";
import { host, setToken } from "./host.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {import("./settings.mjs").SettingName} SettingName */

/** Seconds for which a decision may be held. */
const HOLDS = [0, 2, 5, 10];
/** Each language in its own words, so that whoever can't read this one finds theirs. */
const NAMES = { en: "English", zh: "中文", ja: "日本語", de: "Deutsch" };

/** @param {Pick<Context, "settings" | "toast">} context */
export function openSettings({ settings, toast }) {
  let id = 0;
  /** @param {string} name @param {string} detail @param {HTMLElement} control */
  const row = (name, detail, control) => {
    control.id = `gp-setting-${(id += 1)}`;
    return [el("label", { for: control.id }, name, detail ? el("small", {}, detail) : null), control];
  };
  /** @param {SettingName} setting @param {[any, string][]} options */
  const choice = (setting, options) => {
    const select = el("select", { class: "gp-select" });
    for (const [value, name] of options) select.append(el("option", { value: String(value) }, name));
    select.value = String(settings.get(setting));
    select.addEventListener("change", () => settings.set(setting, options[select.selectedIndex][0]));
    return select;
  };
  /** @param {SettingName} setting @param {(on: boolean) => unknown} [then] */
  const tick = (setting, then) => {
    const box = el("input", { type: "checkbox", checked: Boolean(settings.get(setting)) });
    box.addEventListener("change", () => {
      settings.set(setting, box.checked);
      then?.(box.checked);
    });
    return box;
  };
  const name = el("input", { type: "text", class: "gp-input", maxlength: 64, value: settings.get("name"), autocomplete: "nickname" });
  name.addEventListener("change", () => settings.set("name", name.value.trim()));
  const notification = tick("notification", async (on) => {
    const answer = on ? await askForNotifications() : "granted";
    if (answer === "granted") return;
    settings.set("notification", false);
    notification.checked = false;
    const missing = answer === "missing" ? "Missing" : "Denied";
    toast("warn", t(`gate.notifications${missing}`), t(`gate.notifications${missing}Detail`));
  });
  const swipe = el("input", { type: "checkbox", checked: settings.get("swipe") === "decide" });
  swipe.addEventListener("change", () => settings.set("swipe", swipe.checked ? "decide" : "step"));
  const holds = HOLDS.map((seconds) => /** @type {[any, string]} */ ([seconds, holdText(seconds)]));
  const languages = LANGUAGES.map((each) => /** @type {[any, string]} */ ([each, NAMES[/** @type {keyof typeof NAMES} */ (each)]]));
  const themes = ["auto", "light", "dark"].map((each) => /** @type {[any, string]} */ ([each, t(`shell.theme.${each}`)]));
  const logOut = () => {
    setToken("");
    location.reload();
  };
  const fields = el(
    "div",
    { class: "gp-fields" },
    ...row(t("shell.name"), t("shell.nameDetail"), name),
    ...row(t("shell.hold"), t("shell.holdDetail"), choice("hold", holds)),
    ...row(t("shell.advance"), t("shell.advanceDetail"), tick("advance")),
    ...row(t("shell.swipe"), t("shell.swipeDetail"), swipe),
    ...row(t("shell.sound"), "", tick("sound", (on) => on && chime())),
    ...row(t("shell.notification"), "", notification),
    ...row(t("shell.theme"), "", choice("theme", themes)),
    ...row(t("shell.language"), "", choice("language", [["auto", t("shell.theme.auto")], ...languages])),
  );
  const out = host.token?.() ? button(t("shell.logOut"), logOut) : null;
  const dialog = openDialog(t("shell.settings"), [fields], [out, button(t("shell.close"), () => dialog.close(), "gp-primary")]);
}

/** @param {number} seconds */
function holdText(seconds) {
  return seconds ? t("shell.seconds", { seconds }) : t("shell.atOnce");
}
