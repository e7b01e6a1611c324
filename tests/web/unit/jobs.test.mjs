/** The farm's jobs without their page: what the address asks for, and what is said of one. */
import assert from "node:assert/strict";
import test from "node:test";
import { register, setLanguage } from "../../../web/comfyui/lib/i18n.mjs";
import { ENDED, HELD, filterOf, nameOf, passes, placeOfFilter, priorityText, spanText, stateText } from "../../../web/page/job-words.mjs";
import { job as jobTexts } from "../../../web/page/texts/job.mjs";
import { jobs } from "../../../web/page/texts/jobs.mjs";

register("jobs", jobs);
const none = { state: "", submitter: "", instance: "" };

test("an address and its filter say the same, whatever a submitter is called", () => {
  for (const filter of [none, { ...none, state: "failed" }, { state: "held", submitter: "ä & b=c/#?", instance: "5".repeat(32) }]) {
    const place = placeOfFilter(filter);
    assert.deepEqual(filterOf(new URLSearchParams(place.split("?")[1] ?? "")), filter);
  }
  assert.equal(placeOfFilter(none), "#/jobs");
});

test("a filter's groups of states leave no job out and count none twice", () => {
  for (const state of ["queued", ...HELD, ...ENDED]) {
    const shown = ["queued", "held", "ended"].filter((group) => passes({ ...none, state: group }, { state }));
    assert.equal(shown.length, 1, state);
    assert.equal(passes({ ...none, state: "live" }, { state }), !ENDED.includes(state));
    assert.ok(passes(none, { state }) && passes({ ...none, state }, { state }));
  }
  assert.ok(!passes({ ...none, submitter: "ann" }, { state: "done", submitter: "anna" }));
  assert.ok(!passes({ ...none, instance: "1" }, { state: "done", instance: "2" }));
});

test("a job is said to wait, to run or to have run for a time", () => {
  const job = { id: "0123456789abcdef", title: "", state: "queued", submitted: 1000, started: 0, ended: 0, cancelling: "" };
  assert.equal(nameOf(job), "01234567");
  assert.equal(spanText(job, 61_000), "waits for 1 min");
  assert.equal(spanText({ ...job, started: 31_000 }, 61_000), "runs for 30 s");
  assert.equal(spanText({ ...job, started: 31_000, ended: 41_000 }, 61_000), "ran for 10 s");
  assert.equal(spanText({ ...job, ended: 41_000 }, 61_000), "");
  assert.equal(stateText({ ...job, state: "running", cancelling: "anna" }), "Stopping…");
  assert.equal(stateText({ ...job, state: "cancelled", cancelling: "anna" }), "Cancelled");
  assert.deepEqual([10, 0, -10, 7].map(priorityText), ["high", "normal", "low", "7"]);
});

test("every language says everything", () => {
  for (const texts of [jobs, jobTexts]) {
    for (const language of ["zh", "ja", "de"]) assert.deepEqual(Object.keys(texts[language]), Object.keys(texts.en));
  }
  setLanguage("de");
  assert.equal(priorityText(10), "hoch");
  setLanguage("en");
});
