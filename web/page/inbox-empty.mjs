/** What the inbox says when it has nothing to show, and what to do then. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";

/**
 * @param {HTMLElement} place
 * @param {object} state
 * @param {boolean} state.known whether the server has told what waits
 * @param {number} state.hidden gates that the filter holds back
 * @param {() => void} state.clear lets them through
 */
export function emptyInbox(place, { known, hidden, clear }) {
  const key = `${known} ${hidden}`;
  if (place.dataset.key === key && place.firstChild) return;
  place.dataset.key = key;
  if (!known) place.replaceChildren(el("p", { role: "status" }, t("inbox.asking")));
  else if (hidden) {
    place.replaceChildren(
      el("h1", {}, t("inbox.nothing")),
      el("p", {}, t("inbox.hidden", { count: hidden })),
      el("button", { type: "button", class: "gp-button gp-primary", onclick: clear }, t("inbox.clear")),
    );
  } else {
    place.replaceChildren(
      el("h1", {}, t("inbox.empty")),
      el("p", {}, t("inbox.emptyDetail")),
      el("ul", {}, el("li", {}, t("inbox.emptyNode")), el("li", {}, t("inbox.emptyStore")), el("li", {}, t("inbox.emptyDoctor"))),
    );
  }
}
