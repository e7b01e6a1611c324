/**
 * What a person ticked and typed at gates and has not decided yet: the images of a batch that go on,
 * the text of a text gate. The same for every view of a gate. Free of the DOM and of ComfyUI.
 */

/** @typedef {{ticked: number[], text: string | null}} Answer `text` null: not edited */

const KEY = "gatebus.answers";
/** Gates of which the answers are kept, those touched at last. */
const MOST = 100;

/** Whether it asks about a text. @param {any} gate */
export function isText(gate) {
  return gate?.kind === "text";
}

/** Whether images of it can be ticked. @param {any} gate */
export function isBatch(gate) {
  return gate?.batch > 1 && gate.width > 0;
}

/** Whether it is asked only which images go on. @param {any} gate */
export function isChooser(gate) {
  return gate?.kind === "batch";
}

/** The images of a decision, from 0. @param {any} decision @returns {number[]} none for all of them */
export function chosenOf(decision) {
  return decision?.chosen ? decision.chosen.split(",").map(Number) : [];
}

/** Event `change` (detail: the gate's id). */
export class Answers extends EventTarget {
  /** @type {Map<string, Answer>} gate id -> answer, the last touched last */
  #all;

  /** @param {Pick<Storage, "getItem" | "setItem">} [storage] where they are kept over a reload */
  constructor(storage) {
    super();
    this.storage = storage;
    this.#all = new Map(read(storage));
  }

  /** The images of the batch that are ticked, ascending, from 0. @param {any} gate @returns {number[]} */
  ticked(gate) {
    return (this.#all.get(gate.id)?.ticked ?? []).filter((frame) => frame < gate.batch);
  }

  /** Ticks the image, or no longer. @param {any} gate @param {number} frame */
  toggle(gate, frame) {
    if (!isBatch(gate) || frame < 0 || frame >= gate.batch) return;
    const ticked = this.ticked(gate);
    const without = ticked.filter((each) => each !== frame);
    this.#set(gate, { ticked: without.length < ticked.length ? without : [...ticked, frame].sort((one, other) => one - other) });
  }

  /** Ticks all images; none when all of them are. @param {any} gate */
  toggleAll(gate) {
    if (!isBatch(gate)) return;
    const all = this.ticked(gate).length === gate.batch;
    this.#set(gate, { ticked: all ? [] : Array.from({ length: gate.batch }, (_, frame) => frame) });
  }

  /** The text as it was edited, else as the gate asks about it. @param {any} gate @returns {string} */
  text(gate) {
    return this.#all.get(gate.id)?.text ?? gate.text ?? "";
  }

  /** Whether it is another text than the gate asks about. @param {any} gate */
  edited(gate) {
    return this.text(gate) !== (gate.text ?? "");
  }

  /** @param {any} gate @param {string} text */
  edit(gate, text) {
    this.#set(gate, { text: text === gate.text ? null : text });
  }

  /** Begins with what was decided at the gate, to be decided otherwise. @param {any} gate */
  begin(gate) {
    const text = isText(gate) && gate.decision?.kind === "route" ? gate.decision.text : null;
    const all = isChooser(gate) ? Array.from({ length: gate.batch }, (_, frame) => frame) : [];
    const chosen = chosenOf(gate.decision);
    this.#set(gate, { ticked: isBatch(gate) ? (chosen.length ? chosen : all) : [], text: text === gate.text ? null : text });
  }

  /** Whether something is ticked or edited. @param {any} gate */
  has(gate) {
    return this.ticked(gate).length > 0 || (isText(gate) && this.edited(gate));
  }

  /** Whether it can be decided so: a gate that asks which images go on needs one. @param {any} gate */
  ready(gate) {
    return !isChooser(gate) || !isBatch(gate) || this.ticked(gate).length > 0;
  }

  /**
   * What goes with the decision. To tick none or all is to choose all.
   * @param {any} gate
   * @returns {{text: string, chosen?: number[]}}
   */
  of(gate) {
    if (isText(gate)) return { text: this.text(gate) };
    const ticked = isBatch(gate) ? this.ticked(gate) : [];
    return ticked.length && ticked.length < gate.batch ? { text: "", chosen: ticked } : { text: "" };
  }

  /** @param {any} gate @param {Partial<Answer>} change */
  #set(gate, change) {
    const before = this.#all.get(gate.id) ?? { ticked: [], text: null };
    const after = { ...before, ...change };
    this.#all.delete(gate.id);
    if (after.ticked.length || after.text !== null) this.#all.set(gate.id, after);
    const [oldest] = this.#all.keys();
    if (this.#all.size > MOST) this.#all.delete(oldest);
    try {
      this.storage?.setItem(KEY, JSON.stringify([...this.#all]));
    } catch (error) {
      console.warn("gatebus: ticks and texts are not kept over a reload of this tab", error);
    }
    this.dispatchEvent(new CustomEvent("change", { detail: gate.id }));
  }
}

/** @param {Pick<Storage, "getItem"> | undefined} storage @returns {[string, Answer][]} */
function read(storage) {
  try {
    const kept = JSON.parse(storage?.getItem(KEY) ?? "[]");
    return kept.filter(
      (/** @type {any} */ [id, answer]) =>
        typeof id === "string" && Array.isArray(answer?.ticked) && (answer.text === null || typeof answer.text === "string"),
    );
  } catch {
    // What another program left there is no answer of ours.
    return [];
  }
}
