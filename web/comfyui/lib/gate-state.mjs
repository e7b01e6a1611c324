/** What a gate's record means to a page: pure functions, free of the DOM and of ComfyUI. */
import { duration, t } from "./i18n.mjs";

export const MAX_ROUTES = 10;
/** Outcome of a gate whose route was not carried out -> its text. @type {Record<string, string>} */
const UNCARRIED = { dismissed: "dismissed", "run again": "madeAgain" };
const OPEN = new Set(["waiting", "orphaned", "parked"]);

/** Whether somebody may still decide. @param {any} gate */
export function isOpen(gate) {
  return OPEN.has(gate.status) && !gate.decision;
}

/**
 * Whether that gate is one of that node, in the workflow that is open here.
 * @param {any} gate
 * @param {{workflowId: string, clientId: string, executionIds: string[]}} place
 */
export function belongs(gate, { workflowId, clientId, executionIds }) {
  const here = gate.workflow_id ? gate.workflow_id === workflowId : !!clientId && gate.client_id === clientId;
  return here && executionIds.includes(gate.node_id);
}

/** For sorting: the oldest first, items of a list in their order. @param {any} one @param {any} other */
export function byAge(one, other) {
  return one.opened - other.opened || one.list_index - other.list_index || (one.id < other.id ? -1 : 1);
}

/**
 * The labels in a text of one a line.
 * @param {string} text
 * @param {number} count
 * @returns {string[]} that many, "" where none is given
 */
export function labelsOf(text, count) {
  const lines = String(text ?? "").split(/\r\n|\r|\n/).map((line) => line.trim());
  return Array.from({ length: count }, (_, index) => lines[index] ?? "");
}

/**
 * The text with one label replaced; others, surplus ones too, stay.
 * @param {string} text
 * @param {number} route from 1
 * @param {string} label
 */
export function withLabel(text, route, label) {
  const lines = String(text ?? "").split(/\r\n|\r|\n/);
  while (lines.length < route) lines.push("");
  lines[route - 1] = label.replace(/\s+/g, " ").trim();
  return lines.join("\n").replace(/\n+$/, "");
}

/** The route's name for people. @param {number} route @param {(string | undefined)[]} labels from route 1 on */
export function routeName(route, labels) {
  return labels[route - 1] || t("gate.route", { number: route });
}

/** The route that a key means (1 to 9, 0 is 10), 0 for none. @param {string} key */
export function routeOfKey(key) {
  return /^[0-9]$/.test(key) ? Number(key) || MAX_ROUTES : 0;
}

/** The key that means a route. @param {number} route */
export function keyOfRoute(route) {
  return String(route % MAX_ROUTES);
}

/**
 * How the gate was decided or ended, "" while it is open.
 * @param {any} gate
 * @param {string[]} labels
 */
export function outcomeText(gate, labels = gate.labels) {
  const { decision } = gate;
  if (!decision) {
    if (gate.status === "expired") return t("gate.expired");
    return gate.ended ? t("gate.ended") : "";
  }
  const text = decidedText(decision, labels);
  if (gate.status !== "cancelled" || decision.kind !== "route") return text;
  // Decided, but its run had ended or failed.
  return t(`gate.${UNCARRIED[gate.outcome] ?? "undone"}`, { decided: text });
}

/** @param {any} decision @param {string[]} labels */
function decidedText(decision, labels) {
  const by = decision.by === "deadline" ? t("gate.byDeadline") : decision.by;
  let text;
  if (decision.kind === "expire") text = t("gate.expired");
  else if (decision.kind === "cancel") text = by ? t("gate.stoppedBy", { by }) : t("gate.stopped");
  else {
    const route = routeName(decision.route, labels);
    text = by ? t("gate.decidedBy", { route, by }) : t("gate.decided", { route });
  }
  return decision.at ? t("gate.decidedAt", { decided: text, time: timeOfDay(decision.at) }) : text;
}

/** @param {number} at milliseconds since the epoch */
function timeOfDay(at) {
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** How long it waits. @param {any} gate @param {number} now milliseconds, by the server's clock */
export function ageText(gate, now) {
  return duration((now - gate.opened) / 1000);
}

/**
 * What is left until the deadline and what happens then, "" without one.
 * @param {any} gate
 * @param {number} now milliseconds, by the server's clock
 * @param {string[]} labels
 */
export function countdownText(gate, now, labels = gate.labels) {
  if (!gate.deadline || !isOpen(gate)) return "";
  const seconds = (gate.deadline - now) / 1000;
  const left = seconds > 0 ? clockText(Math.ceil(seconds)) : t("gate.now");
  return gate.timeout_route
    ? t("gate.left", { left, route: routeName(gate.timeout_route, labels) })
    : t("gate.leftStop", { left });
}

/** Seconds left as `4:05`, in larger units from an hour on. @param {number} seconds */
function clockText(seconds) {
  return seconds < 3600 ? `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}` : duration(seconds);
}

/** The size, and how many images. @param {any} gate */
export function sizeText(gate) {
  const { width, height, batch: count } = gate;
  if (!width || !height) return "";
  return count > 1 ? t("gate.batch", { count, width, height }) : t("gate.size", { width, height });
}

/**
 * The number of columns that shows that many images largest.
 * @param {number} count
 * @param {number} width of the place
 * @param {number} height of the place
 * @param {number} aspect width by height of one image
 */
export function columnsFor(count, width, height, aspect) {
  let best = 1;
  let largest = 0;
  for (let columns = 1; columns <= count; columns += 1) {
    const size = Math.min(width / columns, (height / Math.ceil(count / columns)) * aspect);
    if (size > largest) [best, largest] = [columns, size];
  }
  return best;
}
