/** The token that the server asks for: given once, kept in this browser until somebody logs out. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { fetchAs, host, setToken } from "./host.mjs";

/**
 * The form; it goes away when the server takes the token.
 * @param {() => void} done
 * @returns {HTMLElement}
 */
export function loginForm(done) {
  const had = Boolean(host.token?.());
  const input = el("input", {
    class: "gp-input",
    type: "password",
    id: "gp-token",
    autocomplete: "current-password",
    spellcheck: "false",
    required: true,
    "aria-describedby": "gp-token-error",
  });
  const error = el("p", { class: "gp-error", id: "gp-token-error", role: "alert" }, had ? t("shell.tokenOld") : "");
  const submit = el("button", { type: "submit", class: "gp-button gp-primary" }, t("shell.logIn"));
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const token = input.value.trim();
    if (!token) return;
    submit.disabled = true;
    error.textContent = "";
    const refusal = await refusalOf(token);
    submit.disabled = false;
    if (refusal) {
      error.textContent = refusal;
      input.select();
      return;
    }
    setToken(token);
    done();
  };
  return el(
    "div",
    { class: "gp-login" },
    el(
      "form",
      { onsubmit: send },
      el("h1", {}, t("shell.tokenTitle")),
      el("p", {}, t("shell.tokenDetail")),
      el("label", { for: "gp-token" }, t("shell.token")),
      input,
      error,
      submit,
    ),
  );
}

/**
 * Why the server does not let that token see gates, "" when it does.
 * @param {string} token
 * @returns {Promise<string>}
 */
async function refusalOf(token) {
  let response;
  try {
    response = await fetchAs(token, "/gatebus/gates?limit=1");
  } catch {
    return t("shell.off");
  }
  if (response.status === 401) return t("shell.tokenWrong");
  if (response.ok || response.status === 503) return "";
  const answer = await response.json().catch(() => null);
  return answer?.error?.message ?? t("shell.answered", { status: response.status });
}
