/** Questions to the person: modal, answered by keyboard as by hand, Escape is no. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";

let dialogs = 0;

/**
 * A modal dialog; the browser keeps the focus inside and gives it back.
 * @param {string} title
 * @param {(Node | null)[]} content
 * @param {(Node | null)[]} buttons
 * @returns {HTMLDialogElement} shown; whoever opened it removes it at `close`
 */
export function openDialog(title, content, buttons) {
  const id = `gp-dialog-${(dialogs += 1)}`;
  const dialog = /** @type {HTMLDialogElement} */ (
    /** @type {unknown} */ (
      el(
        "dialog",
        { class: "gp-dialog", "aria-labelledby": id },
        el("h2", { id }, title),
        ...content,
        buttons.length ? el("div", { class: "gp-dialog-buttons" }, ...buttons) : null,
      )
    )
  );
  // A click beside it closes it, as Escape does; one that began inside (a text selected) does not.
  let began = false;
  dialog.addEventListener("pointerdown", (event) => (began = event.target === dialog));
  dialog.addEventListener("click", (event) => {
    const { left, right, top, bottom } = dialog.getBoundingClientRect();
    const inside = event.clientX >= left && event.clientX <= right && event.clientY >= top && event.clientY <= bottom;
    if (began && event.target === dialog && !inside) dialog.close();
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** A button. @param {string} name @param {() => void} run @param {string} [kind] `gp-primary`, `gp-danger` */
export function button(name, run, kind = "") {
  return el("button", { type: "button", class: `gp-button ${kind}`.trim(), onclick: run }, name);
}

/**
 * Asks for a line of text.
 * @param {{title: string, message?: string, value?: string, label?: string, yes?: string}} question
 * @returns {Promise<string | null>} trimmed; null when the person does not answer
 */
export function ask({ title, message = "", value = "", label = title, yes = t("shell.ok") }) {
  return new Promise((resolve) => {
    /** @type {string | null} */
    let answer = null;
    const input = el("input", { type: "text", class: "gp-input", value, maxlength: 200, "aria-label": label });
    const form = el("form", {}, message ? el("p", {}, message) : null, input);
    const send = (/** @type {Event} */ event) => {
      event.preventDefault();
      answer = input.value.trim();
      dialog.close();
    };
    form.addEventListener("submit", send);
    const submit = button(yes, () => form.requestSubmit(), "gp-primary");
    const dialog = openDialog(title, [form], [button(t("shell.cancel"), () => dialog.close()), submit]);
    dialog.addEventListener("close", () => resolve(answer));
    input.focus();
    input.select();
  });
}

/**
 * Asks whether to go on.
 * @param {{title: string, message?: string, content?: Node | null, yes?: string, danger?: boolean}} question
 * @returns {Promise<boolean>}
 */
export function confirm({ title, message = "", content = null, yes = t("shell.ok"), danger = false }) {
  return new Promise((resolve) => {
    let answer = false;
    const agree = button(
      yes,
      () => {
        answer = true;
        dialog.close();
      },
      danger ? "gp-danger" : "gp-primary",
    );
    const parts = [message ? el("p", {}, message) : null, content];
    const dialog = openDialog(title, parts, [button(t("shell.cancel"), () => dialog.close()), agree]);
    dialog.addEventListener("close", () => resolve(answer));
    agree.focus();
  });
}
