"""Gate nodes that park, without ComfyUI: what they store, when they park, and how they are taken up again."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with ComfyUI, or with the extra 'test'")

from node_world import Blocker, Door, Stopped, door, ends, image, opened, store  # noqa: E402

from gates.continuation import Continuation  # noqa: E402
from gates.cut import cut  # noqa: E402
from gates.errors import AlreadyDecided, GateBusy, InvalidInput  # noqa: E402
from gates.gate.record import MAX_ROUTES, Gate, make_decision  # noqa: E402
from gates.nodes.chooser_gate import ImageChooserGate  # noqa: E402
from gates.nodes.gate_inputs import check_question  # noqa: E402
from gates.nodes.image_gate import ImageGate  # noqa: E402
from gates.nodes.text_gate import TextGate  # noqa: E402
from gates.store import Store  # noqa: E402

__all__ = ["door", "store"]

NODES: dict[str, Any] = {"ImageGate": ImageGate, "ImageChooserGate": ImageChooserGate, "TextGate": TextGate}


def prompt(kind: str = "ImageGate", **inputs: Any) -> Any:
    """A live prompt: 1 -> the gate 7 -> 9, which saves."""
    source = {"TextGate": "text", "ImageChooserGate": "images"}.get(kind, "image")
    routes = {"routes": 2} if kind == "ImageGate" else {}
    graph = {
        "1": {"class_type": "Load", "inputs": {}},
        "7": {"class_type": kind, "inputs": {**routes, source: ["1", 0], **inputs}, "is_changed": [math.nan]},
        "9": {"class_type": "Save", "inputs": {"images": ["7", 1]}},
    }
    return SimpleNamespace(original_prompt=graph)


def call(kind: str = "ImageGate", **inputs: Any) -> asyncio.Task[tuple[Any, ...]]:
    routes = {"routes": 2} if kind == "ImageGate" else {}
    given = {**routes, "unique_id": "7", "dynprompt": prompt(kind), "when_waiting": "park", **inputs}
    return asyncio.create_task(NODES[kind]().run(**given))


def all_blocked(outputs: tuple[Any, ...]) -> bool:
    return all(isinstance(output, Blocker) for output in outputs)


async def parked(door: Door, **inputs: Any) -> Gate:
    """A gate that has parked, its prompt over."""
    task = call(**inputs)
    (gate_id,) = await opened(door)
    assert all_blocked(await asyncio.wait_for(task, 10))
    return end(door, gate_id)


def end(door: Door, gate_id: str) -> Gate:
    door.store().gates.prompts_ended({"prompt": ""})
    return door.store().gates.get(gate_id)


def continued(store: Store, gate: Gate) -> dict[str, Any]:
    """The inputs that the gate's node has in the prompt that goes on from it, claimed for it."""
    (lead,) = [each for each in store.gates.due_runs() if each.id == (gate.group or gate.id)]
    claimed = store.gates.claim_run(lead.id, "a test", 10_000)
    assert claimed is not None
    kept = Continuation.from_bytes(store.gates.continuation(claimed.id))
    return dict(cut(kept, claimed, store.gates.family(claimed)).prompt["7"]["inputs"])


async def goes_on(door: Door, gate: Gate, kind: str = "ImageGate", **more: Any) -> tuple[Any, ...]:
    """What the node puts out in the run from a decided gate."""
    inputs = continued(door.store(), gate)
    return await asyncio.wait_for(call(kind, **{**inputs, **more}), 10)


# -- parking ------------------------------------------------------------------------------
async def test_a_gate_parks_with_what_it_takes_to_go_on_and_lets_nothing_behind_it_run(door: Door, store: Store):
    source = image(2)
    gate = await parked(door, image=source)
    assert (gate.status, gate.group, gate.family, gate.kept) == ("parked", gate.id, "prompt", 1)
    assert np.array_equal(store.gates.image(gate.id), source.numpy()), "exactly as it was, whatever the format"
    kept = Continuation.from_bytes(store.gates.continuation(gate.id))
    assert kept.node == "7"
    assert "is_changed" not in kept.prompt["7"]
    assert door.watched == {"prompt"}
    assert not door.notices


@pytest.mark.parametrize("route", [1, 2])
async def test_what_goes_on_is_what_would_have_passed(door: Door, store: Store, route: int):
    source, wired = image(2), torch.rand(2, 8, 12)
    gate = await parked(door, image=source, mask=wired, send_id="cp1", labels="keep\nretry")
    store.gates.decide(gate.id, make_decision("route", route))
    assert not store.buses.heads()
    mask, *routes = await goes_on(door, gate)
    assert torch.equal(mask, wired), "every frame of it, and unrounded"
    assert [isinstance(output, Blocker) for output in routes] == [n != route for n in range(1, MAX_ROUTES + 1)]
    assert torch.equal(routes[route - 1], source)
    assert store.buses.head("cp1").meta.label == ("keep", "retry")[route - 1]
    assert store.gates.get(gate.id).status == "applied"
    store.gates.prompts_ended({"prompt": ""})
    assert store.gates.get(gate.id).run == "done"


async def test_a_chooser_and_a_text_gate_go_on_with_what_was_chosen_and_written(door: Door, store: Store):
    source = image(3)
    gate = await parked(door, kind="ImageChooserGate", images=source)
    store.gates.decide(gate.id, make_decision("route", 1, chosen="0,2"))
    images, mask, rejected, indexes, count = await goes_on(door, gate, "ImageChooserGate")
    assert torch.equal(images, source[[0, 2]])
    assert torch.equal(rejected, source[[1]])
    assert (tuple(mask.shape), indexes, count) == ((2, 8, 12), "0,2", 2)
    store.gates.prompts_ended({"prompt": ""})
    for edited, text in (("a dog", "a dog"), (None, "a\tcat")):
        door.item = 0
        gate = await parked(door, kind="TextGate", text="a\tcat", signal="before")
        said = gate.text if edited is None else edited
        store.gates.decide(gate.id, make_decision("route", 1, text=said))
        assert await goes_on(door, gate, "TextGate", signal="anew") == (text, "anew")
        store.gates.prompts_ended({"prompt": ""})


async def test_the_items_of_a_list_park_together_in_its_order(door: Door, store: Store):
    tasks = [call(image=image()) for _ in range(5)]
    await opened(door, 5)
    assert all(all_blocked(outputs) for outputs in await asyncio.gather(*tasks))
    items = sorted(store.gates.records(), key=lambda gate: gate.list_index)
    assert items[0].members.split() == [item.id for item in items]
    assert {item.group for item in items} == {items[0].id}


async def test_an_item_that_is_decided_waits_for_its_siblings_and_parks_with_them(door: Door, store: Store):
    tasks = [call(image=image(), when_waiting="hold", park_after=0.8) for _ in range(2)]
    first, _ = await opened(door, 2)
    store.gates.decide(first, make_decision("route", 2))
    assert all(all_blocked(outputs) for outputs in await asyncio.gather(*tasks))
    record = store.gates.get(first)
    assert (record.status, record.parked > 0) == ("decided", True)


async def test_when_all_are_decided_before_they_park_they_pass_as_if_they_held(door: Door, store: Store):
    tasks = [call(image=image(), when_waiting="hold", park_after=30.0) for _ in range(2)]
    for gate_id in await opened(door, 2):
        store.gates.decide(gate_id, make_decision("route", 1))
    for outputs in await asyncio.wait_for(asyncio.gather(*tasks), 10):
        assert isinstance(outputs[1], torch.Tensor)
    assert {gate.status for gate in store.gates.records(live=False)} == {"applied"}


async def test_a_decision_that_is_taken_back_in_time_lets_the_gate_park_after_all(
    door: Door, store: Store, monkeypatch: pytest.MonkeyPatch
):
    task = call(image=image(), when_waiting="hold", park_after=1.5)
    (gate_id,) = await opened(door)
    first = make_decision("route", 1)
    store.gates.decide(gate_id, first)
    store.gates.take_back(gate_id, first.id)
    assert all_blocked(await asyncio.wait_for(task, 10))
    assert store.gates.get(gate_id).status == "parked"


async def test_the_setting_counts_for_gates_that_are_left_at_default(door: Door, store: Store):
    door._store = replace(store, settings=replace(store.settings, when_waiting="park"))
    await parked(door, image=image(), when_waiting="default")
    task = call(image=image(), when_waiting="hold")
    (gate_id,) = await opened(door)
    await asyncio.sleep(0.5)
    assert not task.done()
    store.gates.decide(gate_id, make_decision("route", 1))
    await task


@pytest.mark.parametrize("why", ["NaN", "made while it ran"])
async def test_a_gate_that_can_not_park_says_why_and_holds(door: Door, store: Store, why: str):
    live = prompt()
    if why == "NaN":
        live.original_prompt["1"]["inputs"]["odd"] = math.nan
    task = call(image=image(), dynprompt=live, unique_id="7" if why == "NaN" else "7.0.0.1")
    (gate_id,) = await opened(door)
    for _ in range(500):
        if door.notices:
            break
        await asyncio.sleep(0.01)
    assert door.notices[0].startswith("This gate holds.")
    assert ("odd" if why == "NaN" else why) in door.notices[0]
    await asyncio.sleep(0.3)
    assert store.gates.get(gate_id).status == "waiting"
    store.gates.decide(gate_id, make_decision("route", 1))
    assert isinstance((await asyncio.wait_for(task, 10))[1], torch.Tensor)


async def test_a_gate_whose_image_can_not_be_stored_says_so_and_holds(
    door: Door, store: Store, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("gates.codec.encode", full)
    task = call(image=image())
    (gate_id,) = await opened(door)
    for _ in range(500):
        if door.notices:
            break
        await asyncio.sleep(0.01)
    assert "no space left" in door.notices[0]
    store.gates.decide(gate_id, make_decision("route", 1))
    assert isinstance((await asyncio.wait_for(task, 10))[1], torch.Tensor)


async def test_a_stop_while_it_waits_to_park_ends_it_at_once(door: Door, store: Store):
    tasks = [call(image=image(), when_waiting="hold", park_after=60.0) for _ in range(2)]
    await opened(door, 2)
    await asyncio.sleep(0.2)
    door.flag = True
    start = time.monotonic()
    assert {type(each) for each in await asyncio.gather(*tasks, return_exceptions=True)} == {Stopped}
    assert time.monotonic() - start < 0.3 + 0.5
    for _ in range(500):
        if {gate.status for gate in store.gates.records(live=False)} == {"cancelled"}:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(store.gates.records(live=False))


async def test_a_gate_that_parks_while_its_prompt_is_stopped_does_not_stay(
    door: Door, store: Store, monkeypatch: pytest.MonkeyPatch
):
    original, entered, leave = store.gates.park, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(waiters: Any) -> bool:
        loop.call_soon_threadsafe(entered.set)
        leave.wait(10)
        return original(waiters)

    monkeypatch.setattr(store.gates, "park", slow)
    task = call(image=image())
    (gate_id,) = await opened(door)
    await asyncio.wait_for(entered.wait(), 10)
    door.flag = True
    await ends(task, Stopped)
    leave.set()
    for _ in range(500):
        if store.gates.get(gate_id).status == "cancelled":
            return
        await asyncio.sleep(0.01)
    raise AssertionError(store.gates.get(gate_id))


# -- going on -----------------------------------------------------------------------------
async def test_a_gate_that_held_is_kept_so_that_another_route_can_be_taken_later(door: Door, store: Store):
    task = call(image=image(), when_waiting="hold")
    (gate_id,) = await opened(door)
    for _ in range(500):
        if store.gates.get(gate_id).kept:
            break
        await asyncio.sleep(0.01)
    store.gates.decide(gate_id, make_decision("route", 1))
    await task
    anew = store.gates.again(gate_id, make_decision("route", 2))
    outputs = await goes_on(door, anew)
    assert [isinstance(output, torch.Tensor) for output in outputs[1:3]] == [False, True]


async def test_what_was_passed_passes_again_and_publishes_nothing(door: Door, store: Store):
    source = image()
    gate = await parked(door, image=source, send_id="cp1")
    store.gates.decide(gate.id, make_decision("route", 2, id="d"))
    await goes_on(door, gate)
    head = store.buses.head("cp1").version
    for _ in range(2):
        outputs = await call(replay=f"{gate.id}:d", send_id="cp1")
        assert torch.equal(outputs[2], source)
    assert store.buses.head("cp1").version == head
    assert len(store.gates.records(live=False)) == 1
    await ends(call(replay=f"{gate.id}:another"), AlreadyDecided)


@pytest.mark.parametrize("kind", NODES)
async def test_a_gate_that_is_to_block_asks_nobody(door: Door, store: Store, kind: str):
    given = {"text": "a"} if kind == "TextGate" else {}
    assert all_blocked(await asyncio.wait_for(call(kind, resume="blocked", **given), 10))
    assert all_blocked(await asyncio.wait_for(call(kind, replay="blocked", **given), 10))
    assert store.gates.records(live=False) == []


async def test_a_gate_that_another_run_has_is_waited_for_and_a_stop_ends_that(
    door: Door, store: Store, monkeypatch: pytest.MonkeyPatch
):
    gate = await parked(door, image=image())
    store.gates.decide(gate.id, make_decision("route", 1))
    inputs = continued(store, gate)
    original, refusals = store.gates.resume, [0]

    def busy(*arguments: Any) -> Any:
        refusals[0] += 1
        if refusals[0] < 3:
            raise GateBusy("another run has it")
        return original(*arguments)

    monkeypatch.setattr(store.gates, "resume", busy)
    outputs = await asyncio.wait_for(call(**inputs), 10)
    assert isinstance(outputs[1], torch.Tensor)
    refusals[0] = -1000
    task = call(**inputs)
    await asyncio.sleep(0.3)
    door.flag = True
    assert await ends(task, Stopped) < 0.3 + 0.5


async def test_a_gate_behind_keeps_the_whole_prompt_and_its_own_place_in_it(door: Door, store: Store):
    live = prompt()
    live.original_prompt["8"] = {"class_type": "ImageGate", "inputs": {"routes": 2, "image": ["7", 1]}}
    first = await parked(door, image=image(), dynprompt=live)
    cut_off = SimpleNamespace(original_prompt={"8": live.original_prompt["8"]})
    second = await parked(
        door, image=image(), dynprompt=cut_off, unique_id="8", family=f"prompt:{first.id}", mask=torch.rand(8, 12)
    )
    assert second.family == "prompt"
    kept = Continuation.from_bytes(store.gates.continuation(second.id))
    assert (kept.node, set(kept.prompt)) == ("8", {"1", "7", "8", "9"})
    assert kept.mask() is not None
    assert Continuation.from_bytes(store.gates.continuation(first.id)).mask() is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"when_waiting": "sleep"},
        {"park_after": -1.0},
        {"park_after": math.nan},
        {"resume": "x"},
        {"resume": f"{'a' * 32}:"[:-1] + ":a b"},
        {"replay": "a" * 32},
        {"replay": f"{'a' * 32}:d", "resume": f"{'a' * 32}:d"},
        {"family": "prompt:x"},
    ],
)
def test_wrong_ways_are_refused_when_the_prompt_is_queued(wrong: dict[str, Any]):
    with pytest.raises(InvalidInput):
        check_question(**wrong)
    for node in NODES.values():
        assert isinstance(node.VALIDATE_INPUTS(**wrong), str), node


def test_links_are_accepted_where_a_list_goes_on():
    assert ImageGate.VALIDATE_INPUTS(routes=2, resume=None) is True
    assert ImageChooserGate.VALIDATE_INPUTS(resume=None) is True
    assert ImageChooserGate.VALIDATE_INPUTS(replay=None) is True
    assert math.isnan(float(ImageGate.IS_CHANGED(replay=None)))
