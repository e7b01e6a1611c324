"""The nodes without ComfyUI: another door stands where ``gates.comfy`` leads into it."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import math
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with ComfyUI, or with the extra 'test'")

from node_world import Blocker, Door, Stopped, door, ends, image, opened, status, store  # noqa: E402

from gates import codec, comfy  # noqa: E402
from gates.errors import (  # noqa: E402
    Fenced,
    GateClosed,
    GateNotFound,
    InvalidImage,
    InvalidName,
    StoreUnavailable,
    TooLarge,
)
from gates.gate.record import MAX_ROUTES, make_decision  # noqa: E402
from gates.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS, pause  # noqa: E402
from gates.nodes.image_gate import ImageGate  # noqa: E402
from gates.nodes.image_pool import GridImagePool  # noqa: E402
from gates.store import Store  # noqa: E402

__all__ = ["door", "store"]

ROOT = Path(__file__).resolve().parents[1]


def run(**inputs: Any) -> asyncio.Task[tuple[Any, ...]]:
    return asyncio.create_task(ImageGate().run(**{"routes": 2, "unique_id": "7", "dynprompt": None, **inputs}))


async def decided(door: Door, route: int, **inputs: Any) -> tuple[Any, ...]:
    """The outputs of a gate that is decided as soon as it is open."""
    task = run(**inputs)
    (gate,) = await opened(door)
    door.store().gates.decide(gate, make_decision("route", route))
    return await asyncio.wait_for(task, 10)


# -- what passes --------------------------------------------------------------------------
@pytest.mark.parametrize("route", [1, 2, 10])
async def test_the_chosen_route_carries_the_very_tensor_and_the_others_block(door: Door, route: int):
    source = image(batch=3)
    mask, *routes = await decided(door, route, routes=10, image=source)
    assert len(routes) == MAX_ROUTES
    for number, output in enumerate(routes, 1):
        assert output is source if number == route else isinstance(output, Blocker)
    assert mask.shape == (3, 8, 12)
    assert not mask.any()
    assert status(door, door.announced[0]) == ("applied", "applied")


async def test_a_gate_says_what_it_asks(door: Door):
    task = run(image=image(2), routes=3, labels=" keep \n\nretry\nsurplus", note="why", send_id="cp1", timeout=60.0)
    (gate,) = await opened(door)
    record = door.store().gates.get(gate)
    assert (record.labels, record.note, record.routes, record.send_id) == (("keep", "", "retry"), "why", 3, "cp1")
    assert (record.title, record.workflow, record.prompt_id, record.node_id) == ("title", "workflow", "prompt", "7")
    assert (record.batch, record.height, record.width) == (2, 8, 12)
    assert record.deadline - record.opened == 60_000
    door.store().gates.decide(gate, make_decision("route", 1))
    await task


async def test_the_whole_image_follows_the_preview(door: Door):
    source = image(batch=2)
    task = run(image=source, format="exact")
    (gate,) = await opened(door)
    for _ in range(500):
        if door.store().gates.get(gate).layout is not None:
            break
        await asyncio.sleep(0.01)
    assert np.array_equal(door.store().gates.image(gate), source.numpy())
    door.store().gates.decide(gate, make_decision("route", 1))
    await task


def white_left(height: int = 8, width: int = 12) -> bytes:
    pixels = np.zeros((height, width), np.uint8)
    pixels[:, : width // 2] = 255
    return codec.encode_png(pixels)


@pytest.mark.parametrize("painted", [True, False])
@pytest.mark.parametrize("loaded", [True, False])
@pytest.mark.parametrize("wired", [True, False])
async def test_the_mask_is_painted_else_loaded_else_wired_else_zeros(
    door: Door, store: Store, painted: bool, loaded: bool, wired: bool
):
    published = np.full((2, 8, 12), 0.25, np.float32) if loaded else None
    store.buses.publish("cp1", image(2).numpy(), published, format="exact")
    task = run(get_id="cp1", mask=torch.full((3, 5), 0.75) if wired else None)
    (gate,) = await opened(door)
    if painted:
        store.gates.set_mask(gate, white_left())
    store.gates.decide(gate, make_decision("route", 1))
    mask, *_ = await task
    assert mask.shape == (2, 8, 12)
    if painted:
        assert mask[:, :, :6].min() == 1
        assert mask[:, :, 6:].max() == 0
    else:
        assert torch.allclose(mask, torch.tensor(0.25 if loaded else 0.75 if wired else 0.0))


async def test_what_passes_is_published_whole_and_resumed_as_it_was(door: Door, store: Store):
    source = image(batch=3)
    wired = torch.rand(3, 8, 12)
    await decided(door, 2, image=source, mask=wired, send_id="cp1", format="exact", labels="keep\nretry")
    head = store.buses.head("cp1")
    assert (head.frames, head.meta.label, head.meta.workflow, head.mask) == (3, "retry", "workflow", True)
    mask, first, _ = (await decided(door, 1, get_id="cp1"))[:3]
    assert torch.equal(first, source)
    assert torch.equal(mask, wired)


async def test_nothing_is_published_before_the_decision_nor_after_a_cancel(door: Door, store: Store):
    task = run(image=image(), send_id="cp1")
    (gate,) = await opened(door)
    store.gates.decide(gate, make_decision("cancel"))
    await ends(task, Stopped)
    assert store.buses.heads() == []


@pytest.mark.parametrize("cleared", [False, True])
async def test_a_wired_mask_is_shown_and_passes_unrounded_unless_it_is_cleared(door: Door, store: Store, cleared: bool):
    wired = torch.stack([torch.full((8, 12), 0.1003), torch.full((8, 12), 0.9001)])
    task = run(image=image(2), mask=wired)
    (gate,) = await opened(door)
    shown = store.gates.mask(gate)
    assert shown is not None
    assert (codec.decode_png(shown) == 26).all()
    if cleared:
        store.gates.set_mask(gate, None)
    store.gates.decide(gate, make_decision("route", 1))
    mask, *_ = await task
    assert torch.equal(mask, torch.zeros(2, 8, 12) if cleared else wired)


async def test_a_mask_is_published_only_when_there_is_one(door: Door, store: Store):
    for wired, painted in ((False, False), (True, False), (False, True)):
        task = run(image=image(), send_id="cp1", mask=torch.ones(8, 12) if wired else None)
        (gate,) = await opened(door)
        if painted:
            store.gates.set_mask(gate, white_left())
        store.gates.decide(gate, make_decision("route", 1))
        await task
        assert store.buses.head("cp1").mask is (wired or painted)


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        ({"image": torch.rand(8, 12, 3)}, InvalidImage),
        ({"image": torch.rand(1, 8, 12, 2)}, InvalidImage),
        ({"image": torch.rand(1, 8, 12, 3), "mask": torch.rand(1, 2, 8, 12)}, InvalidImage),
        ({"image": torch.rand(1025, 1, 1, 3), "send_id": "cp1"}, TooLarge),
    ],
    ids=["no batch", "two channels", "mask of two channels", "too many for a bus"],
)
async def test_what_can_not_pass_is_refused_before_anybody_is_asked(
    door: Door, store: Store, inputs: dict[str, Any], kind: type[Exception]
):
    await ends(run(**inputs), kind)
    assert store.gates.records(live=False) == []


async def test_a_gate_that_can_not_be_announced_does_not_stay_open(
    door: Door, store: Store, monkeypatch: pytest.MonkeyPatch
):
    def broken(at: comfy.Place, gate_id: str) -> None:
        raise RuntimeError("Event loop is closed")

    monkeypatch.setattr(comfy, "announce", broken)
    await ends(run(image=image()), RuntimeError)
    assert [record.status for record in store.gates.records(live=False)] == ["cancelled"]


async def test_a_wired_image_goes_before_the_bus(door: Door, store: Store):
    store.buses.publish("cp1", image(2).numpy(), None)
    source = image()
    assert (await decided(door, 1, image=source, get_id="cp1"))[1] is source


@pytest.mark.parametrize("get_id", ["", "never", "cp1@-1"])
async def test_nothing_to_ask_opens_no_gate(door: Door, store: Store, get_id: str):
    store.buses.publish("cp1", image().numpy(), None)
    mask, *routes = await asyncio.wait_for(run(get_id=get_id), 10)
    assert mask.shape == (1, 64, 64)
    assert not mask.any()
    assert all(isinstance(route, Blocker) for route in routes)
    assert door.announced == []


# -- ends without a decision --------------------------------------------------------------
async def test_an_interrupt_ends_every_gate_within_the_promise(door: Door):
    tasks = [run(image=image(), unique_id=str(number)) for number in range(20)]
    gates = await opened(door, 20)
    door.flag = True
    start = time.monotonic()
    assert {type(result) for result in await asyncio.gather(*tasks, return_exceptions=True)} == {Stopped}
    assert time.monotonic() - start < 0.3 + 0.5
    assert {status(door, gate) for gate in gates} == {("cancelled", "interrupted")}


async def test_an_interrupt_does_not_wait_for_a_step_and_its_gate_is_withdrawn(
    door: Door, store: Store, monkeypatch: pytest.MonkeyPatch
):
    entered, leave = threading.Event(), threading.Event()
    original = store.gates.open

    def frozen(*arguments: Any) -> Any:
        entered.set()
        leave.wait(10)
        return original(*arguments)

    monkeypatch.setattr(store.gates, "open", frozen)
    task = run(image=image())
    await asyncio.to_thread(entered.wait, 10)
    door.flag = True
    assert await ends(task, Stopped) < 0.3 + 0.5
    leave.set()
    for _ in range(500):
        records = store.gates.records(live=False)
        if records and records[0].status == "cancelled":
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the gate that was opened too late still waits")


async def test_a_cancel_and_a_deadline_stop_the_prompt_and_its_busy_nodes(door: Door, store: Store):
    task = run(image=image())
    (gate,) = await opened(door)
    store.gates.decide(gate, make_decision("cancel"))
    await ends(task, Stopped)
    assert door.flag, "nodes that are busy are told as well"
    door.flag = False
    task = run(image=image(), timeout=0.05)
    (late,) = await opened(door)
    await ends(task, Stopped)
    for _ in range(500):
        if status(door, late)[0] == "expired" and status(door, gate)[0] == "cancelled":
            return
        await asyncio.sleep(0.01)
    raise AssertionError([status(door, each) for each in (gate, late)])


async def test_a_deadline_with_a_route_takes_it(door: Door):
    source = image()
    outputs = await asyncio.wait_for(run(image=source, timeout=0.05, timeout_route=2), 10)
    assert outputs[2] is source


@pytest.mark.parametrize("cancelled", range(3))
async def test_one_cancelled_item_of_a_list_ends_the_others(door: Door, store: Store, cancelled: int):
    tasks = [run(image=image()) for _ in range(3)]
    gates = await opened(door, 3)
    door.interrupt = lambda: None  # type: ignore[method-assign]
    store.gates.decide(gates[cancelled], make_decision("cancel"))
    assert {type(result) for result in await asyncio.gather(*tasks, return_exceptions=True)} == {Stopped}
    assert pause._siblings == {}


async def test_a_cancelled_task_withdraws_its_gate(door: Door):
    task = run(image=image())
    (gate,) = await opened(door)
    task.cancel()
    await ends(task, asyncio.CancelledError)
    # It may have been on its way out of the opening, which then withdraws the gate from its own thread.
    for _ in range(500):
        if status(door, gate)[0] != "waiting":
            break
        await asyncio.sleep(0.01)
    assert status(door, gate) == ("cancelled", "interrupted")


async def test_a_gate_ended_elsewhere_is_an_error_and_no_hang(door: Door, store: Store):
    task = run(image=image())
    (gate,) = await opened(door)
    store.gates._index.held(gate).close("shutdown")  # type: ignore[attr-defined]
    await ends(task, GateClosed)


def test_a_prompt_that_ends_leaves_nothing_that_speaks_to_its_loop(
    door: Door, store: Store, caplog: pytest.LogCaptureFixture
):
    """As ComfyUI does it: a loop for each prompt, closed under the gate."""

    async def prompt() -> None:
        run(image=image())
        await opened(door)

    for _ in range(3):
        asyncio.run(prompt())
    assert store.gates.records() == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# -- a store that is away -----------------------------------------------------------------
async def test_a_store_that_is_away_after_the_decision_is_asked_until_it_is_back(
    door: Door, store: Store, monkeypatch: pytest.MonkeyPatch
):
    task = run(image=image(), send_id="cp1")
    (gate,) = await opened(door)
    waiting = store.gates._index.held(gate)  # type: ignore[attr-defined]
    original, calls = waiting.apply, []

    def away_twice() -> Any:
        calls.append(1)
        if len(calls) < 3:
            raise StoreUnavailable("Redis does not answer")
        return original()

    monkeypatch.setattr(waiting, "apply", away_twice)
    store.gates.decide(gate, make_decision("route", 1))
    await asyncio.wait_for(task, 10)
    assert len(calls) == 3
    assert len(door.notices) == 1
    assert store.buses.head("cp1").version == 1


async def test_a_store_that_stays_away_does_not_hold_up_an_interrupt(
    door: Door, store: Store, monkeypatch: pytest.MonkeyPatch
):
    task = run(image=image())
    (gate,) = await opened(door)

    def away() -> Any:
        raise StoreUnavailable("Redis does not answer")

    monkeypatch.setattr(store.gates._index.held(gate), "apply", away)  # type: ignore[attr-defined]
    store.gates.decide(gate, make_decision("route", 1))
    await asyncio.sleep(0.5)
    assert not task.done()
    door.flag = True
    assert await ends(task, Stopped) < 0.3 + 0.5


@pytest.mark.parametrize("seen", ["the decision", "nothing"])
async def test_an_owner_that_was_fenced_applies_nothing(
    door: Door, store: Store, monkeypatch: pytest.MonkeyPatch, seen: str
):
    task = run(image=image(), send_id="cp1")
    (gate,) = await opened(door)

    def fenced() -> Any:
        raise Fenced("Another owner has the gate")

    waiting = store.gates._index.held(gate)  # type: ignore[attr-defined]
    monkeypatch.setattr(waiting, "apply", fenced)
    if seen == "nothing":
        monkeypatch.setattr(type(waiting), "settled", True)
        waiting.wake()
    else:
        store.gates.decide(gate, make_decision("route", 1))
    await ends(task, Fenced)
    assert store.buses.heads() == []


async def test_a_decision_that_is_taken_back_is_not_carried_out_and_the_node_waits_for_another_one(
    door: Door, store: Store, monkeypatch: pytest.MonkeyPatch
):
    task = run(image=image())
    (gate,) = await opened(door)
    waiting = store.gates._index.held(gate)  # type: ignore[attr-defined]
    first, apply = make_decision("route", 1), waiting.apply
    refused = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow() -> Any:
        # The owner has seen the decision, and is on its way to acknowledge it.
        monkeypatch.setattr(waiting, "apply", apply)
        store.gates.take_back(gate, first.id)
        loop.call_soon_threadsafe(refused.set)
        return apply()

    monkeypatch.setattr(waiting, "apply", slow)
    store.gates.decide(gate, first)
    await asyncio.wait_for(refused.wait(), 10)
    assert store.gates.get(gate).status == "waiting"
    assert not task.done()
    store.gates.decide(gate, make_decision("route", 2))
    outputs = await asyncio.wait_for(task, 10)
    assert [isinstance(output, torch.Tensor) for output in outputs[1:3]] == [False, True]


async def test_a_gate_to_resume_that_is_not_there_is_an_error(door: Door):
    await ends(run(resume="f" * 32), GateNotFound)


# -- declarations -------------------------------------------------------------------------
def test_the_order_of_the_inputs_is_kept():
    inputs = ImageGate.INPUT_TYPES()
    assert list(inputs["required"]) == ["routes"]
    assert list(inputs["optional"]) == [
        *["image", "send_id", "get_id", "labels", "mask", "timeout", "timeout_route", "note", "format"],
        *["when_waiting", "park_after"],
    ]
    assert list(GridImagePool.INPUT_TYPES()["required"]) == ["index", "pool_id"]
    assert list(NODE_CLASS_MAPPINGS["ImageChooserGate"].INPUT_TYPES()["optional"]) == [
        *["images", "send_id", "mask", "timeout", "at_timeout", "note", "format", "when_waiting", "park_after"]
    ]
    assert list(NODE_CLASS_MAPPINGS["TextGate"].INPUT_TYPES()["optional"]) == [
        "signal",
        "timeout",
        "at_timeout",
        "note",
        "when_waiting",
        "park_after",
    ]
    assert set(NODE_CLASS_MAPPINGS) == set(NODE_DISPLAY_NAME_MAPPINGS)
    for node in NODE_CLASS_MAPPINGS.values():
        assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES) == len(node.OUTPUT_TOOLTIPS)


WAYS = ("when_waiting", "park_after", "resume", "replay", "family")


def test_the_run_takes_every_input_that_is_declared():
    for node in NODE_CLASS_MAPPINGS.values():
        declared = {name for kind in node.INPUT_TYPES().values() for name in kind}
        taken = set(inspect.signature(node.run).parameters) - {"self"}
        if "ways" in taken:
            assert declared >= set(WAYS)
            taken = taken - {"ways"} | set(WAYS)
        assert taken == declared


@pytest.mark.parametrize(
    "wrong",
    [
        {"send_id": "a/b"},
        {"send_id": "a" * 65},
        {"get_id": "cp1@"},
        {"get_id": "cp1@0"},
        {"get_id": "nul"},
        {"timeout_route": 3, "routes": 2},
        {"timeout_route": -1, "routes": 2},
        {"timeout": -0.5},
        {"timeout": float("nan")},
        {"routes": 0},
        {"routes": 11},
        {"labels": "x" * 300},
        {"note": "x" * 20_000},
        {"resume": "12"},
    ],
    ids=str,
)
async def test_a_wrong_input_is_refused_when_queued_and_when_it_comes_over_a_link(door: Door, wrong: dict[str, Any]):
    said = ImageGate.VALIDATE_INPUTS(**wrong)
    assert isinstance(said, str)
    assert said
    with pytest.raises(ValueError, match=r".") as error:
        await run(image=image(), **wrong)
    assert str(error.value) == said
    assert door.announced == []


def test_right_and_linked_inputs_pass_the_check():
    assert ImageGate.VALIDATE_INPUTS() is True
    assert ImageGate.VALIDATE_INPUTS(routes=None, timeout_route=10, send_id=None, get_id=None) is True
    assert (
        ImageGate.VALIDATE_INPUTS(routes=3, send_id="Bus_1.a-b", get_id="größe@-2", timeout=1.5, timeout_route=3)
        is True
    )


def test_a_gate_that_may_ask_is_never_the_same_twice():
    assert math.isnan(ImageGate.IS_CHANGED(routes=2, image=None))
    assert math.isnan(ImageGate.IS_CHANGED(routes=2, get_id="cp1"))
    assert math.isnan(ImageGate.IS_CHANGED(routes=2, get_id=None))
    assert math.isnan(ImageGate.IS_CHANGED(routes=2, resume="f" * 32))
    assert ImageGate.IS_CHANGED(routes=2) == ImageGate.IS_CHANGED(routes=3, get_id="")


# -- the pool -----------------------------------------------------------------------------
def png(value: int, size: tuple[int, int] = (3, 5), channels: int = 3) -> bytes:
    return codec.encode_png(np.full((*size, channels), value, np.uint8))


def test_an_empty_or_missing_pool_gives_one_black_pixel(door: Door, store: Store):
    for pool in ("", "never"):
        picture, mask, index, count, label = GridImagePool().run(-1, pool)
        assert (picture.shape, mask.shape, index, count, label) == ((1, 1, 1, 3), (1, 1, 1), 0, 0, "")
        assert not picture.any()
        assert GridImagePool.IS_CHANGED(-1, pool) == GridImagePool.IS_CHANGED(3, "")


def test_the_index_is_the_active_one_or_clamped_and_is_echoed(door: Door, store: Store):
    manifest = store.pools.add("p", [(png(10), "a"), (png(20), "b"), (png(30), "c")])
    store.pools.activate("p", manifest.slots[1].file)
    for asked, used in ((-1, 1), (0, 0), (2, 2), (3, 2), (9999, 2)):
        picture, mask, index, count, label = GridImagePool().run(asked, "p")
        assert (index, count, label) == (used, 3, "abc"[used])
        assert torch.allclose(picture, torch.tensor((used + 1) * 10 / 255))
        assert picture.shape == (1, 3, 5, 3)
        assert mask.shape == (1, 3, 5)
        assert not mask.any()


def test_transparency_is_dropped_and_only_the_slots_mask_is_a_mask(door: Door, store: Store):
    manifest = store.pools.add("p", [(png(40, channels=4), "")])
    picture, mask, *_ = GridImagePool().run(-1, "p")
    assert picture.shape == (1, 3, 5, 3)
    assert not mask.any()
    store.pools.set_mask("p", manifest.slots[0].file, codec.encode_png(np.full((3, 5), 51, np.uint8)))
    _, mask, *_ = GridImagePool().run(-1, "p")
    assert torch.allclose(mask, torch.tensor(0.2))


def test_the_fingerprint_covers_everything_that_is_output(door: Door, store: Store):
    manifest = store.pools.add("p", [(png(1), "a"), (png(2), "b")])
    first, second = (slot.file for slot in manifest.slots)
    seen = {GridImagePool.IS_CHANGED(-1, "p")}

    def changed() -> bool:
        before = len(seen)
        seen.add(GridImagePool.IS_CHANGED(-1, "p"))
        return len(seen) > before

    assert not changed()
    store.pools.label("p", second, "other")
    assert not changed(), "what the node does not output runs nothing again"
    store.pools.label("p", first, "A")
    assert changed()
    store.pools.set_mask("p", first, codec.encode_png(np.full((3, 5), 255, np.uint8)))
    assert changed()
    store.pools.set_mask("p", first, None)
    assert not changed(), "back to what it was"
    store.pools.add("p", [(png(3), "")])
    assert changed()
    store.pools.move("p", [first], None)
    assert changed()
    store.pools.activate("p", second)
    assert changed()


def test_a_linked_index_or_pool_is_covered_too(door: Door, store: Store):
    manifest = store.pools.add("p", [(png(1), "a"), (png(2), "b")])
    before = GridImagePool.IS_CHANGED(None, "p")
    assert GridImagePool.IS_CHANGED(None, "p") == before
    store.pools.label("p", manifest.slots[1].file, "other")
    assert GridImagePool.IS_CHANGED(None, "p") != before
    assert math.isnan(GridImagePool.IS_CHANGED(0, None))


def test_wrong_inputs_of_the_pool_are_refused(door: Door):
    for index, pool in ((-2, "p"), (10_000, "p"), (0, "../p"), (0, "a b")):
        assert isinstance(GridImagePool.VALIDATE_INPUTS(index, pool), str)
        with pytest.raises((ValueError, InvalidName)):
            GridImagePool().run(index, pool)
    assert GridImagePool.VALIDATE_INPUTS(None, None) is True
    assert GridImagePool.VALIDATE_INPUTS(-1, "") is True


# -- what comes with the nodes --------------------------------------------------------------
@pytest.mark.parametrize("path", sorted((ROOT / "example_workflows").glob("*.json")), ids=lambda path: path.stem)
def test_a_saved_workflow_has_the_widgets_and_outputs_of_its_nodes(path: Path):
    nodes = [node for node in json.loads(path.read_text())["nodes"] if node["type"] in NODE_CLASS_MAPPINGS]
    assert nodes
    for node in nodes:
        declared = NODE_CLASS_MAPPINGS[node["type"]]
        assert [slot["name"] for slot in node["outputs"]] == list(declared.RETURN_NAMES)
        inputs = declared.INPUT_TYPES()
        everything = {**inputs["required"], **inputs.get("optional", {})}
        widgets = [name for name, (kind, *_) in everything.items() if kind not in ("IMAGE", "MASK")]
        assert [slot["name"] for slot in node["inputs"] if "widget" in slot] == widgets
        assert len(node["widgets_values"]) == len(widgets)


def test_the_help_pages_explain_every_input():
    for name, node in NODE_CLASS_MAPPINGS.items():
        if getattr(node, "DEPRECATED", False):
            continue
        page = (ROOT / "web" / "comfyui" / "docs" / f"{name}.md").read_text()
        inputs = node.INPUT_TYPES()
        for each in [*inputs["required"], *inputs.get("optional", {})]:
            assert f"| `{each}` |" in page, (name, each)


# -- the folder as ComfyUI and pytest see it ------------------------------------------------
@pytest.mark.parametrize("folder", ["main", "gatebus", "Gate-Bus 2"])
def test_the_root_does_nothing_outside_comfyui(tmp_path: Path, folder: str):
    (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "__init__.py", tmp_path / folder / "__init__.py")
    for name in ("__init__", folder, str(tmp_path / folder)):
        spec = importlib.util.spec_from_file_location(name, tmp_path / folder / "__init__.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert not hasattr(module, "NODE_CLASS_MAPPINGS")


def test_nothing_of_comfyui_is_imported_by_the_nodes():
    assert not {"server", "folder_paths", "execution", "comfy"} & set(sys.modules)
