/** The keys of the page and of the view that is shown. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { button, openDialog } from "./dialogs.mjs";

/** @typedef {{key: string, does: string}} Key `key` may name several, with spaces between: `1 … 9` */

/** Whether the list is shown. */
let shown = false;

/** @param {Key[]} keys of the view @param {Key[]} general of the page */
export function showHelp(keys, general) {
  if (shown) return;
  shown = true;
  const parts = [
    ...(keys.length ? [el("h3", {}, t("shell.keysHere")), listOf(keys)] : []),
    el("h3", {}, t("shell.keysEverywhere")),
    listOf(general),
  ];
  const dialog = openDialog(t("shell.keys"), parts, [button(t("shell.close"), () => dialog.close(), "gp-primary")]);
  dialog.addEventListener("close", () => (shown = false));
}

/** @param {Key[]} keys */
function listOf(keys) {
  const rows = keys.flatMap(({ key, does }) => [
    el("dt", {}, ...key.split(" ").flatMap((one) => [/^[…–-]$/.test(one) ? one : el("kbd", {}, one), " "])),
    el("dd", {}, does),
  ]);
  return el("dl", { class: "gp-keys" }, ...rows);
}
