/** The gate's screen over the whole display, and back. */
import { t } from "../comfyui/lib/i18n.mjs";

/** @param {Pick<import("./page.mjs").Context, "toast">} context */
export async function fullScreen({ toast }) {
  if (document.fullscreenElement) await document.exitFullscreen();
  else await document.documentElement.requestFullscreen?.().catch((error) => toast("warn", t("screen.noFullScreen"), error.message));
}
