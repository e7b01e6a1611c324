/** The inbox: every gate that waits for somebody. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";

/** @param {import("./page.mjs").Context} context @returns {import("./page.mjs").View} */
export function open(context) {
  const list = el("ul", {});
  const draw = () => {
    const items = context.inbox.gates.map((gate) =>
      el("li", {}, el("a", { href: `#/gates/${gate.id}` }, gate.title || gate.id)),
    );
    list.replaceChildren(...items);
  };
  context.inbox.addEventListener("change", draw);
  draw();
  return { element: list, title: t("shell.gates"), remove: () => context.inbox.removeEventListener("change", draw) };
}
