import assert from "node:assert/strict";
import { test } from "node:test";

import {
  ageText,
  belongs,
  byAge,
  columnsFor,
  countdownText,
  isOpen,
  keyOfRoute,
  labelsOf,
  outcomeText,
  routeName,
  routeOfKey,
  withLabel,
} from "../../../web/comfyui/lib/gate-state.mjs";
import { currentLanguage, duration, LANGUAGES, register, setLanguage, t } from "../../../web/comfyui/lib/i18n.mjs";
import { gate as texts } from "../../../web/comfyui/lib/texts/gate.mjs";

register("gate", texts);

/** A gate as the server shows it, with what the test is about. */
const gate = (fields = {}) => ({
  id: "a",
  status: "waiting",
  node_id: "4",
  workflow_id: "w",
  client_id: "c",
  list_index: 0,
  opened: 1000,
  deadline: 0,
  timeout_route: 0,
  labels: ["keep", ""],
  routes: 2,
  decision: null,
  ended: 0,
  ...fields,
});
const decided = (fields) => ({ id: "d", kind: "route", route: 1, by: "", at: 0, ...fields });

test("a gate belongs to the node of that id in the workflow of that id, at any depth", () => {
  const place = { workflowId: "w", clientId: "other", executionIds: ["4", "9:4"] };
  assert.ok(belongs(gate(), place));
  assert.ok(belongs(gate({ node_id: "9:4" }), place));
  assert.ok(!belongs(gate({ node_id: "8:4" }), place));
  assert.ok(!belongs(gate({ workflow_id: "another" }), { ...place, clientId: "c" }), "the tab that queued it shows another workflow");
});

test("a gate without a workflow's id belongs to the tab that queued it", () => {
  const place = { workflowId: "w", clientId: "c", executionIds: ["4"] };
  assert.ok(belongs(gate({ workflow_id: "" }), place));
  assert.ok(!belongs(gate({ workflow_id: "" }), { ...place, clientId: "d" }));
  assert.ok(!belongs(gate({ workflow_id: "", client_id: "" }), { ...place, clientId: "" }), "nobody's is not everybody's");
});

test("what waits, is orphaned or parked can be decided, and nothing that has a decision", () => {
  for (const status of ["waiting", "orphaned", "parked"]) assert.ok(isOpen(gate({ status })));
  for (const status of ["decided", "applied", "cancelled", "expired"]) assert.ok(!isOpen(gate({ status })));
  assert.ok(!isOpen(gate({ decision: decided() })));
});

test("the oldest comes first, items of one list in their order", () => {
  const gates = [gate({ id: "c", opened: 2 }), gate({ id: "b", opened: 1, list_index: 1 }), gate({ id: "a", opened: 1 })];
  assert.deepEqual(gates.sort(byAge).map((each) => each.id), ["a", "b", "c"]);
});

test("labels are the lines of a text; one replaced leaves the others where they are", () => {
  assert.deepEqual(labelsOf(" keep \r\n\nredo", 4), ["keep", "", "redo", ""]);
  assert.deepEqual(labelsOf(undefined, 2), ["", ""]);
  assert.equal(withLabel("a\nb\nc", 2, "new"), "a\nnew\nc");
  assert.equal(withLabel("a", 4, "d"), "a\n\n\nd");
  assert.equal(withLabel("a\nb", 2, ""), "a");
  assert.equal(withLabel("", 1, "two\nlines "), "two lines", "a label is one line");
});

test("keys 1 to 9 are those routes, 0 is the tenth, others are none", () => {
  assert.deepEqual(["1", "9", "0", "a", "12", "", "F1"].map(routeOfKey), [1, 9, 10, 0, 0, 0, 0]);
  for (let route = 1; route <= 10; route += 1) assert.equal(routeOfKey(keyOfRoute(route)), route);
});

test("an outcome says what was decided and by whom", () => {
  setLanguage("en");
  assert.equal(outcomeText(gate()), "");
  assert.equal(outcomeText(gate({ status: "applied", decision: decided({ by: "Anna" }) })), "keep, decided by Anna");
  assert.equal(outcomeText(gate({ status: "applied", decision: decided({ route: 2 }) })), "Route 2, decided");
  assert.equal(outcomeText(gate({ status: "cancelled", decision: decided({ kind: "cancel", by: "Bo" }) })), "Stopped by Bo");
  assert.match(outcomeText(gate({ status: "cancelled", decision: decided() })), /^keep, decided; the run had ended/);
  assert.match(outcomeText(gate({ status: "applied", decision: decided({ by: "deadline" }) })), /by the deadline$/);
  assert.equal(outcomeText(gate({ status: "cancelled", ended: 5 })), "Ended before anybody decided");
  assert.match(outcomeText(gate({ status: "expired", ended: 5 })), /deadline/);
});

test("ages and deadlines are told in units that fit", () => {
  setLanguage("en");
  assert.equal(ageText(gate(), 43_500), "42 s");
  assert.equal(ageText(gate(), 0), "0 s", "a clock behind the server's shows no negative age");
  assert.equal(countdownText(gate(), 0), "");
  assert.equal(countdownText(gate({ deadline: 245_000 }), 0), "4:05 left, then the run stops");
  assert.equal(countdownText(gate({ deadline: 7_500_000, timeout_route: 1 }), 0), "2 h 5 min left, then keep");
  assert.match(countdownText(gate({ deadline: 1000 }), 2000), /^any moment/);
  assert.equal(duration(3 * 86_400 + 7200), "3 d 2 h");
});

test("images of a batch get the columns that show them largest", () => {
  assert.equal(columnsFor(1, 400, 100, 1), 1);
  assert.equal(columnsFor(4, 400, 100, 1), 4);
  assert.equal(columnsFor(4, 100, 400, 1), 1);
  assert.equal(columnsFor(4, 200, 200, 1), 2);
  assert.equal(columnsFor(6, 360, 130, 4 / 3), 3);
});

test("a name that is markup stays what it is", () => {
  assert.equal(routeName(1, ["<b>keep</b>"]), "<b>keep</b>");
  assert.equal(routeName(1, ["{number}"]), "{number}");
});

test("each language has the same texts with the same values", () => {
  const values = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();
  for (const language of LANGUAGES) {
    assert.deepEqual(Object.keys(texts[language]).sort(), Object.keys(texts.en).sort(), language);
    for (const [name, text] of Object.entries(texts[language])) assert.deepEqual(values(text), values(texts.en[name]), `${language} ${name}`);
  }
});

test("a language without texts is English, a region is its language", () => {
  for (const [tag, language] of [["de-AT", "de"], ["zh-TW", "zh"], ["fr", "en"], [undefined, "en"], ["ja", "ja"]]) {
    setLanguage(tag);
    assert.equal(currentLanguage(), language);
  }
  setLanguage("de");
  assert.equal(t("gate.route", { number: 3 }), "Weg 3");
  assert.equal(t("gate.nothing of that name"), "gate.nothing of that name");
  setLanguage("en");
});
