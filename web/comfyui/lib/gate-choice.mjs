/** Gates that ask for more than a route, in words: pure functions, free of the DOM and of ComfyUI. */
import { chosenOf, isBatch, isChooser, isText } from "./gate-answers.mjs";
import { register, t } from "./i18n.mjs";
import { choice as texts } from "./texts/choice.mjs";

register("choice", texts);

/** @typedef {import("./gate-answers.mjs").Answers} Answers */

/** How many images went on, "" when all did. @param {any} decision @param {number} batch */
export function chosenText(decision, batch) {
  const { length } = chosenOf(decision);
  return length ? t("choice.some", { count: length, batch }) : "";
}

/** Which images went on, by the numbers that people see, "" when all did. @param {any} decision */
export function chosenNumbers(decision) {
  const numbers = chosenOf(decision).map((frame) => frame + 1);
  return numbers.length ? t("choice.numbers", { numbers: numbers.join(", ") }) : "";
}

/** How the one button of a gate that only lets pass is worked, undefined for one with routes. @param {any} gate */
export function onlyButton(gate) {
  if (isText(gate)) return { sign: "Ctrl ⏎", hint: t("choice.textHint") };
  return isChooser(gate) ? { sign: "⏎", hint: t("choice.tickHint") } : undefined;
}

/**
 * What the routes of the gate are called: the one of a gate that only lets pass by what it does.
 * @param {any} gate
 * @param {Answers} [answers] what a person ticked and typed
 * @returns {string[]} "" where none is given
 */
export function labelsOfGate(gate, answers) {
  if (isText(gate)) return [answers?.edited(gate) ? t("choice.edited") : t("choice.pass")];
  if (!isChooser(gate)) return gate?.labels ?? [];
  const { length } = answers?.ticked(gate) ?? [];
  if (!isBatch(gate) || !answers) return [t("choice.pass")];
  return [length === gate.batch ? t("choice.passAll", { count: length }) : t("choice.passSome", { count: length, batch: gate.batch })];
}
