/** What goes on from a gate whose own prompt has ended: pure functions of its record, free of the DOM and of ComfyUI. */
import { isOpen } from "./gate-state.mjs";
import { register, t } from "./i18n.mjs";
import { run as texts } from "./texts/run.mjs";

register("run", texts);

const UNDER_WAY = new Set(["pending", "submitting", "submitted", "running"]);
const ENDED = new Set(["applied", "cancelled", "expired"]);

/**
 * The gate that carries the run: the first of the list items that parked together, most often itself.
 * @param {any} gate
 * @param {{gates: Map<string, any>, ended: Map<string, any>}} known
 */
export function leadOf(gate, { gates, ended }) {
  if (!gate.group || gate.group === gate.id) return gate;
  return gates.get(gate.group) ?? ended.get(gate.group) ?? gate;
}

/** Whether a run goes on from it, or is going to. @param {any} lead */
export function isUnderWay(lead) {
  return UNDER_WAY.has(lead.run);
}

/** Whether the run that went on from it failed, and nothing has been done about that. @param {any} gate @param {any} lead */
export function hasFailed(gate, lead) {
  return lead.run === "failed" && gate.status !== "cancelled" && gate.status !== "expired";
}

/** Whether it is to be decided, or its decision could not be carried out. @param {any} gate */
export function wantsSomebody(gate) {
  return isOpen(gate) || (gate.status === "decided" && gate.run === "failed");
}

/** How it goes on, "" where nothing does. @param {any} gate @param {any} lead */
export function runText(gate, lead) {
  if (gate.status === "decided" && gate.parked && lead.undecided) return t("run.others", { count: lead.undecided });
  if (gate.status === "cancelled" || gate.status === "expired") return "";
  const where = lead.run_on;
  switch (lead.run) {
    case "pending":
    case "submitting":
      return lead.run_error ? t("run.pendingFor", { reason: lead.run_error }) : t("run.pending");
    case "submitted":
      return where ? t("run.submittedTo", { where }) : t("run.submitted");
    case "running":
      return where ? t("run.runningOn", { where }) : t("run.running");
    case "done":
      return where ? t("run.doneOn", { where }) : t("run.done");
    case "failed":
      return t("run.failed", { error: lead.run_error || "?" });
    default:
      return "";
  }
}

/** Whether its state can be carried by a run of its own. @param {any} gate */
function isKept(gate) {
  return !!gate.kept && (!!gate.layout || gate.kind === "text");
}

/** Whether a person may park it: its process is gone and everything is kept. @param {any} gate */
export function canPark(gate) {
  return gate.status === "orphaned" && !gate.decision && isKept(gate);
}

/** Whether a run may go on from it once more, by any route. @param {any} gate @param {any} lead */
export function canRunAgain(gate, lead) {
  return isKept(gate) && (ENDED.has(gate.status) || (gate.status === "decided" && lead.run === "failed"));
}

/** Whether that is so, or will be by the time a person has chosen a route: its own prompt carries it out just now. @param {any} gate @param {any} lead */
export function willRunAgain(gate, lead) {
  return canRunAgain(gate, lead) || (gate.status === "decided" && !gate.parked && isKept(gate));
}

/** Whether its decision may still be taken back. @param {any} gate @param {any} lead */
export function canTakeBack(gate, lead) {
  return gate.status === "decided" && gate.decision?.kind === "route" && (!gate.parked || !lead.run || lead.run === "pending");
}
