/** What is going on with a gate in the inbox: held, sent, refused, gone; and what may be done about that. */
import { isOpen, outcomeText } from "../comfyui/lib/gate-state.mjs";
import { t } from "../comfyui/lib/i18n.mjs";

/**
 * @typedef {object} Surroundings
 * @property {import("./page.mjs").Context} context
 * @property {import("./held-bar.mjs").HeldBar} held
 * @property {import("./inbox-order.mjs").Order} order
 * @property {import("../comfyui/lib/selection.mjs").Selection} selection
 */

/**
 * @param {string} id
 * @param {Surroundings} surroundings
 * @returns {import("./inbox-card.mjs").Condition}
 */
export function conditionOf(id, { context, held: bar, order, selection }) {
  const { feed, decisions } = context;
  const gone = order.gone.has(id);
  const gate = feed.gates.get(id) ?? feed.ended.get(id) ?? order.gate(id);
  const base = { gate, gone, selected: selection.has(id), cursor: selection.cursor === id, chosen: 0, word: "", action: null };
  const held = bar.decisions.of(id);
  const undo = { name: t("inbox.undo"), run: () => void bar.undo(id) };
  if (gone) {
    if (isOpen(gate)) return { ...base, word: t(feed.gates.has(id) ? "inbox.filteredOut" : "inbox.isGone") };
    const mine = held?.state === "done" && gate.status === "decided";
    return mine ? { ...base, word: outcomeText(gate), action: { ...undo, name: t("inbox.takeBack") } } : base;
  }
  const batch = bar.batches.of(id);
  if (batch) return { ...base, chosen: batch.kept.route, word: t("inbox.inBatch", { route: batch.kept.name || t("gate.stop") }) };
  const attempt = decisions.of(id);
  if (attempt?.state === "unknown") {
    const retry = { name: t("gate.retry"), run: () => void decisions.retry(id) };
    return { ...base, chosen: attempt.route, word: t("gate.unknown", { reason: attempt.reason }), action: retry };
  }
  if (attempt?.state === "refused") {
    const giveUp = { name: t("gate.giveUp"), run: () => bar.decisions.dismiss(id) };
    return { ...base, word: t("gate.failed", { reason: attempt.reason }), action: giveUp };
  }
  if (!held || held.state === "done") return base;
  const word = t(held.state === "held" ? "inbox.held" : "inbox.sent", { route: held.name || t("gate.stop") });
  return { ...base, chosen: held.route, word, action: held.state === "held" ? undo : null };
}
