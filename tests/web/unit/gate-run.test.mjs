import assert from "node:assert/strict";
import { test } from "node:test";

import { again } from "../../../web/comfyui/lib/gate-again.mjs";
import { ApiError } from "../../../web/comfyui/lib/api.mjs";
import { canPark, canRunAgain, canTakeBack, hasFailed, isUnderWay, leadOf, runText, willRunAgain } from "../../../web/comfyui/lib/gate-run.mjs";
import { register, t } from "../../../web/comfyui/lib/i18n.mjs";
import { outcomeText } from "../../../web/comfyui/lib/gate-state.mjs";
import { gate as texts } from "../../../web/comfyui/lib/texts/gate.mjs";

register("gate", texts);

const ROUTE = { id: "d", kind: "route", route: 2, by: "", at: 0 };

/** @param {object} [values] */
function gate(values = {}) {
  return {
    id: "a", status: "decided", kind: "image", labels: ["keep", "redo"], routes: 2, layout: {}, kept: 1, parked: 5, group: "a", undecided: 0,
    run: "", run_on: "", run_error: "", outcome: "", decision: ROUTE, ...values,
  };
}

test("the run of a list is told at the gate that leads it", () => {
  const lead = gate({ run: "running", run_on: "gpu-1" });
  const item = gate({ id: "b", group: "a" });
  const known = { gates: new Map([["a", lead]]), ended: new Map() };
  assert.equal(leadOf(item, known), lead);
  assert.equal(runText(item, lead), "Runs on, at gpu-1");
  assert.equal(leadOf(item, { gates: new Map(), ended: new Map() }), item);
  assert.equal(leadOf(lead, known), lead);
});

test("one that is decided before the others of its list says what it waits for", () => {
  assert.equal(runText(gate(), gate({ undecided: 2 })), t("run.others", { count: 2 }));
  assert.equal(runText(gate({ status: "cancelled" }), gate({ undecided: 2 })), "");
});

test("each state of a run has its words, with where it runs when that is known", () => {
  for (const run of ["pending", "submitting", "submitted", "running"]) {
    assert.equal(isUnderWay(gate({ run })), true);
    assert.notEqual(runText(gate({ run }), gate({ run })), "");
    assert.doesNotMatch(runText(gate({ run }), gate({ run })), /undefined|run\./);
  }
  const waits = gate({ run: "pending", run_error: "gpu-0 has no UpscaleModel" });
  assert.match(runText(waits, waits), /has no UpscaleModel/);
  assert.match(runText(gate(), gate({ run: "failed", run_error: "no memory" })), /no memory/);
  assert.equal(isUnderWay(gate({ run: "done" })) || isUnderWay(gate({ run: "failed" })), false);
  assert.equal(runText(gate({ parked: 0 }), gate({ parked: 0 })), "");
});

test("a decision is taken back until the run has begun", () => {
  assert.equal(canTakeBack(gate({ parked: 0 }), gate({ parked: 0 })), true);
  for (const run of ["", "pending"]) assert.equal(canTakeBack(gate({ run }), gate({ run })), true);
  for (const run of ["submitting", "submitted", "running", "failed"]) assert.equal(canTakeBack(gate({ run }), gate({ run })), false);
  assert.equal(canTakeBack(gate({ decision: { ...ROUTE, kind: "expire" } }), gate()), false);
});

test("a run goes on once more from what has ended or failed, while everything is kept", () => {
  const may = (/** @type {object} */ values) => canRunAgain(gate(values), gate(values));
  assert.equal(may({ status: "applied" }), true);
  assert.equal(may({ status: "expired" }), true);
  assert.equal(may({ run: "failed" }), true);
  assert.equal(may({ run: "running" }), false);
  assert.equal(may({ status: "parked", decision: null }), false);
  assert.equal(may({ status: "applied", kept: 0 }), false);
  const applying = gate({ parked: 0 });
  assert.deepEqual([canRunAgain(applying, applying), willRunAgain(applying, applying)], [false, true]);
  assert.equal(willRunAgain(gate({ run: "running" }), gate({ run: "running" })), false);
  assert.equal(may({ status: "applied", layout: null }), false);
  assert.equal(may({ status: "applied", layout: null, kind: "text" }), true);
});

test("a person parks an orphan that is kept, and nothing else", () => {
  assert.equal(canPark(gate({ status: "orphaned", decision: null })), true);
  assert.equal(canPark(gate({ status: "orphaned", decision: null, kept: 0 })), false);
  assert.equal(canPark(gate({ status: "waiting", decision: null })), false);
});

test("a failed run that was left or made again wants nobody any more", () => {
  assert.equal(hasFailed(gate({ run: "failed" }), gate({ run: "failed" })), true);
  const left = gate({ status: "cancelled", outcome: "dismissed", run: "failed" });
  assert.equal(hasFailed(left, left), false);
  assert.equal(outcomeText(left), "redo, decided; its run failed and was left so");
  assert.equal(outcomeText({ ...left, outcome: "run again" }), "redo, decided; its run failed and was made again");
});

test("asking once more after an answer that was lost is the same run, after a refusal another", async () => {
  /** @type {(string | undefined)[]} */
  const ids = [];
  /** @type {any[]} */
  const answers = [new ApiError(0, "unreachable", "gone"), new ApiError(503, "store_unavailable", "away"), new ApiError(409, "conflict", "no"), gate({ id: "new" })];
  const taken = /** @type {any[]} */ ([]);
  const shared = /** @type {any} */ ({
    api: {
      again: async (/** @type {string} */ _id, /** @type {any} */ more) => {
        ids.push(more.decision_id);
        const answer = answers.shift();
        if (answer instanceof Error) throw answer;
        return answer;
      },
    },
    feed: { take: (/** @type {any} */ one) => taken.push(one), look: async () => undefined },
    decisions: { name: () => "anna" },
  });
  for (const status of [0, 503, 409]) await assert.rejects(again(shared, gate(), 2), (/** @type {any} */ error) => error.status === status);
  const fresh = await again(shared, gate(), 2);
  assert.equal(ids[0], ids[1]);
  assert.equal(ids[1], ids[2]);
  assert.notEqual(ids[2], ids[3]);
  assert.deepEqual(taken, [fresh]);
});
