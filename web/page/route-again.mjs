/** Has a run go on from a decided gate once more: as it was decided, or by a route that the person chooses. */
import { ApiError } from "../comfyui/lib/api.mjs";
import { el } from "../comfyui/lib/dom.mjs";
import { again } from "../comfyui/lib/gate-again.mjs";
import { canRunAgain, leadOf } from "../comfyui/lib/gate-run.mjs";
import { routeName, routeOfKey } from "../comfyui/lib/gate-state.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { button, openDialog } from "./dialogs.mjs";

/** @typedef {Pick<import("./page.mjs").Context, "api" | "feed" | "decisions" | "toast">} Surroundings */

/**
 * Asks for the route, then has the run go on by it.
 * @param {Surroundings} context
 * @param {any} gate
 * @returns {Promise<any>} the new gate, null when the person or the server did not want it
 */
export async function routeAgain(context, gate) {
  if (!canRunAgain(gate, leadOf(gate, context.feed))) {
    context.toast("warn", t("run.notAgain"), t("run.notKept"));
    return null;
  }
  const route = await askRoute(gate);
  return route ? await runAgain(context, gate, route) : null;
}

/**
 * Has the run go on once more; says how that went.
 * @param {Surroundings} context
 * @param {any} gate
 * @param {number} [route] 0 for the one that was taken
 * @returns {Promise<any>} the new gate, null when the server did not want it
 */
export async function runAgain(context, gate, route = 0) {
  const { toast } = context;
  try {
    const fresh = await again(context, gate, route);
    toast("success", t("run.began", { route: routeName(fresh.decision?.route ?? route, fresh.labels) }), fresh.title);
    return fresh;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const repeat = { name: t("gate.retry"), run: () => void runAgain(context, gate, route) };
    toast("error", t("run.notAgain"), error.message, error.status === 0 || error.status >= 500 ? repeat : undefined);
    return null;
  }
}

/** @param {any} gate @returns {Promise<number>} 0 for none */
function askRoute(gate) {
  return new Promise((resolve) => {
    let chosen = 0;
    const choose = (/** @type {number} */ route) => {
      chosen = route;
      dialog.close();
    };
    const routes = Array.from({ length: gate.routes }, (_, index) => index + 1).map((route) => {
      const taken = gate.decision?.route === route;
      const choice = button("", () => choose(route), "gp-route");
      choice.append(el("kbd", { "aria-hidden": "true" }, String(route % 10)), el("span", {}, routeName(route, gate.labels)));
      choice.setAttribute("aria-pressed", String(taken));
      return choice;
    });
    const parts = [el("p", {}, t("run.chooseDetail")), el("div", { class: "gp-routes", role: "group" }, ...routes)];
    const dialog = openDialog(t("run.choose"), parts, [button(t("shell.cancel"), () => dialog.close())]);
    dialog.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const route = event.ctrlKey || event.altKey || event.metaKey || event.repeat ? 0 : routeOfKey(event.key);
      if (!route || route > gate.routes) return;
      event.preventDefault();
      choose(route);
    });
    dialog.addEventListener("close", () => resolve(chosen));
    (routes[(gate.decision?.route || 1) - 1] ?? routes[0])?.focus();
  });
}
