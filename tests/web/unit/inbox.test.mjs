/** The inbox without its page: places, filters. */
import assert from "node:assert/strict";
import test from "node:test";

import { ApiError } from "../../../web/comfyui/lib/api.mjs";
import { sharedRoutes } from "../../../web/page/batch.mjs";
import { NO_FILTER, countsOf, filterOf, matcher, placeOfFilter } from "../../../web/page/inbox-filter.mjs";
import { layoutOf } from "../../../web/page/inbox-layout.mjs";
import { Order } from "../../../web/page/inbox-order.mjs";

const gates = (...ids) => ids.map((id) => ({ id }));

function gate(id, more = {}) {
  const empty = { title: "", note: "", workflow: "", instance: "", send_id: "", get_id: "", labels: [], status: "waiting" };
  return { ...empty, id, opened: 0, routes: 2, ...more };
}

test("a gate that is gone keeps its place until it is closed, and is known until then", () => {
  const order = new Order();
  order.update(gates("a", "b", "c"), 0);
  order.update(gates("a", "c"), 5);
  assert.deepEqual(order.ids, ["a", "b", "c"]);
  assert.deepEqual([...order.gone], [["b", 5]]);
  order.update(gates("a"), 9);
  order.close(5);
  assert.deepEqual(order.ids, ["a", "c"]);
  assert.equal(order.gate("b"), undefined);
  assert.equal(order.gate("c").id, "c");
});

test("a gate that comes back takes the place that it had", () => {
  const order = new Order();
  order.update(gates("a", "b", "c"), 0);
  order.update(gates("a", "c"), 1);
  order.update(gates("a", "b", "c"), 2);
  assert.deepEqual(order.ids, ["a", "b", "c"]);
  assert.equal(order.unsettled, false);
});

test("a new gate has a place only where it moves no other", () => {
  const order = new Order();
  order.update(gates("b", "c"), 0);
  order.update(gates("a", "b", "c", "d"), 1);
  assert.deepEqual(order.ids, ["b", "c", "d"]);
  assert.deepEqual(order.fresh, ["a"]);
  order.close(0);
  assert.deepEqual(order.fresh, ["a"]);
  order.settle();
  assert.deepEqual(order.ids, ["a", "b", "c", "d"]);
  assert.deepEqual(order.fresh, []);
});

test("a new gate that is gone before anybody saw it leaves nothing", () => {
  const order = new Order();
  order.update(gates("b"), 0);
  order.update(gates("a", "b"), 1);
  order.update(gates("b"), 2);
  assert.deepEqual([order.ids, order.fresh, order.gone.size], [["b"], [], 0]);
});

test("no gate is ever without a place and not among the fresh, whatever comes and goes", () => {
  let seed = 7;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const order = new Order();
  let here = [];
  for (let step = 0; step < 2000; step += 1) {
    here = here.filter(() => random() > 0.1);
    for (let count = random() * 4; count > 1; count -= 1) here.splice(Math.floor(random() * (here.length + 1)), 0, `g${step}-${count}`);
    order.update(gates(...here), step);
    if (random() < 0.2) order.close(step - 3);
    if (random() < 0.05) order.settle();
    const seen = [...order.ids.filter((id) => !order.gone.has(id)), ...order.fresh];
    assert.deepEqual(new Set(seen), new Set(here));
    assert.equal(seen.length, here.length);
    for (const id of [...order.ids, ...order.fresh]) assert.ok(order.gate(id));
  }
});

test("a filter lets through what every field of it names", () => {
  const passes = (filter, one) => matcher({ ...NO_FILTER, ...filter }, 600_000)(one);
  const one = gate("1", { title: "Portrait", workflow: "flux.json", send_id: "cp1", labels: ["keep"], opened: 300_000 });
  assert.ok(passes({}, one));
  assert.ok(passes({ text: "flux PORT" }, one));
  assert.ok(passes({ text: "keep", bus: "cp1", workflow: "flux.json", age: 5 }, one));
  assert.ok(!passes({ text: "portrait sdxl" }, one));
  assert.ok(!passes({ age: 6 }, one));
  assert.ok(!passes({ status: "orphaned" }, one));
  assert.ok(!passes({ bus: "cp" }, one));
});

test("counts tell what another choice of one field would show", () => {
  const all = [gate("1", { workflow: "a", instance: "x" }), gate("2", { workflow: "b", instance: "x" }), gate("3", { workflow: "b", instance: "y" })];
  const counts = countsOf(all, { ...NO_FILTER, workflow: "a" }, 0);
  assert.deepEqual([...counts.workflow], [["a", 1], ["b", 2]]);
  assert.deepEqual([...counts.instance], [["x", 1]]);
});

test("an address holds the filter, whatever is in it", () => {
  const filter = { text: "a & b=c #ü", instance: "x/y", workflow: "50% + 1.json", bus: "", age: 15, status: "waiting" };
  const place = placeOfFilter(filter);
  assert.deepEqual(filterOf(new URLSearchParams(place.split("?")[1])), filter);
  assert.equal(placeOfFilter(NO_FILTER), "#/gates");
  assert.equal(filterOf(new URLSearchParams("age=-3")).age, 0);
  assert.equal(filterOf(new URLSearchParams("age=x")).age, 0);
});

test("every size of card has at least one column and room for its routes", () => {
  for (const size of ["small", "medium", "large"]) {
    for (const width of [1, 300, 348, 1268, 3000]) {
      const few = layoutOf({ count: 100, width, size, routes: 2, button: 44 });
      const many = layoutOf({ count: 100, width, size, routes: 10, button: 44 });
      assert.ok(few.columns >= 1 && few.cell > 0 && few.columns * few.cell <= width + 1);
      assert.ok(many.row >= few.row);
      assert.equal(few.height, Math.ceil(100 / few.columns) * few.row);
    }
  }
});

/** An API whose answers a test gives; `most` is how many were on their way at a time. */
test("routes are shared when all have them", () => {
  const shared = sharedRoutes([gate("1", { routes: 3, labels: ["keep", "redo", "up"] }), gate("2", { labels: ["keep", "fix"] })]);
  assert.deepEqual(shared.map(({ route, labels }) => [route, [...labels]]), [
    [1, [["keep", 2]]],
    [2, [["redo", 1], ["fix", 1]]],
  ]);
  assert.deepEqual(sharedRoutes([]), []);
});
