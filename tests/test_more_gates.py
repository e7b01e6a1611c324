"""Choosing images of a batch, the text gate, and what was decided told to the nodes behind; without ComfyUI."""

from __future__ import annotations

import asyncio
import io
import math
import time
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with ComfyUI, or with the extra 'test'")

from node_world import Blocker, Door, Stopped, door, ends, image, opened, status, store  # noqa: E402
from PIL import Image  # noqa: E402

from gates.errors import AlreadyDecided, InvalidInput, TooLarge  # noqa: E402
from gates.gate.record import Gate, make_decision  # noqa: E402
from gates.nodes.chooser_gate import ImageChooserGate  # noqa: E402
from gates.nodes.gate_decision import GateDecision  # noqa: E402
from gates.nodes.image_gate import ImageGate  # noqa: E402
from gates.nodes.text_gate import ANY, TextGate  # noqa: E402
from gates.store import Store  # noqa: E402
from gates.text_picture import SIZE, text_jpeg  # noqa: E402

__all__ = ["door", "store"]


def start(node: Any, **inputs: Any) -> asyncio.Task[tuple[Any, ...]]:
    return asyncio.create_task(node().run(**{"unique_id": "7", "dynprompt": None, **inputs}))


def route(**inputs: Any) -> asyncio.Task[tuple[Any, ...]]:
    return start(ImageGate, **{"routes": 2, **inputs})


def choose(**inputs: Any) -> asyncio.Task[tuple[Any, ...]]:
    return start(ImageChooserGate, **inputs)


def edit(text: str, **inputs: Any) -> asyncio.Task[tuple[Any, ...]]:
    return start(TextGate, text=text, **inputs)


async def passes(door: Door, task: asyncio.Task[Any], route: int = 1, **more: Any) -> tuple[Any, ...]:
    """The outputs once the gate that the task opens is decided so; the text as it came, unless there is one."""
    (gate,) = await opened(door)
    text = more.pop("text", door.store().gates.get(gate).text)
    door.store().gates.decide(gate, make_decision("route", route, text=text, **more))
    return await asyncio.wait_for(task, 10)


async def becomes(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to be")


# -- a subset at the Image Gate ---------------------------------------------------------------
async def test_the_chosen_images_of_a_gate_pass_as_a_batch_with_their_masks_and_on_the_bus(door: Door, store: Store):
    source, wired = image(batch=4), torch.rand(4, 8, 12)
    task = route(image=source, mask=wired, send_id="cp1", format="exact")
    mask, first, second = (await passes(door, task, route=2, chosen="0,2,3"))[:3]
    assert isinstance(first, Blocker)
    assert torch.equal(second, source[[0, 2, 3]])
    assert torch.equal(mask, wired[[0, 2, 3]])
    content = store.buses.load("cp1")
    assert torch.equal(torch.from_numpy(content.image.copy()), second)
    assert content.mask is not None
    assert torch.equal(torch.from_numpy(content.mask.copy()), mask)


@pytest.mark.parametrize("chosen", ["", "0,1,2"])
async def test_when_all_images_are_chosen_the_very_tensor_passes(door: Door, chosen: str):
    source = image(batch=3)
    assert (await passes(door, route(image=source), chosen=chosen))[1] is source


async def test_an_image_that_is_not_there_can_not_be_chosen(door: Door, store: Store):
    task = route(image=image(batch=3))
    (gate,) = await opened(door)
    for chosen in ("3", "0,1,2,3"):
        with pytest.raises(InvalidInput):
            store.gates.decide(gate, make_decision("route", 1, chosen=chosen))
    for chosen in ("1,0", "1,1", "-1", "a", "0,", "01"):
        with pytest.raises(InvalidInput):
            make_decision("route", 1, chosen=chosen)
    store.gates.decide(gate, make_decision("route", 1, chosen="2"))
    with pytest.raises(AlreadyDecided):
        store.gates.decide(gate, make_decision("route", 1, chosen="1"))
    assert (await task)[1].shape[0] == 1


async def test_the_decision_log_tells_what_was_chosen(door: Door, store: Store):
    await passes(door, route(image=image(batch=3)), chosen="0,2")
    (entry,) = [entry for entry in store.decisions.read("", 10) if entry.kind == "route"]
    assert entry.chosen == "0,2"


# -- the chooser ------------------------------------------------------------------------------
@pytest.mark.parametrize("chosen", ["0", "1,3", "0,1,2", "0,1,2,3", ""])
async def test_the_chooser_passes_the_chosen_in_order_and_the_others_beside(door: Door, chosen: str):
    source = image(batch=4)
    kept = [int(index) for index in chosen.split(",")] if chosen else [0, 1, 2, 3]
    images, mask, rejected, indexes, count = await passes(door, choose(images=source), chosen=chosen)
    assert torch.equal(images, source[kept])
    assert mask.shape == (len(kept), 8, 12)
    assert not mask.any()
    assert (indexes, count) == (",".join(map(str, kept)), len(kept))
    if len(kept) == 4:
        assert images is source
        assert isinstance(rejected, Blocker)
    else:
        assert torch.equal(rejected, source[[index for index in range(4) if index not in kept]])


async def test_the_chooser_says_what_it_asks(door: Door, store: Store):
    task = choose(images=image(3), note="the sharp ones", send_id="cp1", timeout=60.0, at_timeout="pass")
    (gate,) = await opened(door)
    record = store.gates.get(gate)
    assert (record.kind, record.batch, record.routes, record.labels) == ("batch", 3, 1, ("pass",))
    assert (record.note, record.send_id, record.timeout_route) == ("the sharp ones", "cp1", 1)
    store.gates.decide(gate, make_decision("route", 1, chosen="1"))
    await task
    assert store.buses.head("cp1").frames == 1


async def test_the_masks_of_the_chosen_pass_wired_or_painted(door: Door, store: Store):
    from gates import codec

    wired = torch.rand(3, 8, 12)
    _, mask, *_ = await passes(door, choose(images=image(3), mask=wired), chosen="2")
    assert torch.equal(mask, wired[[2]])
    task = choose(images=image(3), mask=wired)
    (gate,) = await opened(door)
    store.gates.set_mask(gate, codec.encode_png((torch.ones(8, 12) * 255).to(torch.uint8).numpy()))
    store.gates.decide(gate, make_decision("route", 1, chosen="0,1"))
    _, mask, *_ = await task
    assert torch.equal(mask, torch.ones(2, 8, 12))


async def test_a_chooser_without_images_is_refused(door: Door):
    assert ImageChooserGate.VALIDATE_INPUTS() == "images must be wired"
    assert ImageChooserGate.VALIDATE_INPUTS(images=None) is True
    assert ImageChooserGate.VALIDATE_INPUTS(resume="f" * 32) is True
    with pytest.raises(InvalidInput, match="images must be wired"):
        await choose()
    assert door.announced == []


# -- text -------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", ["a cat", "", "  two\nlines\t ", "größe 猫 🐈", "x" * 16_384])
async def test_an_edited_text_passes_as_it_was_edited(door: Door, text: str):
    signal = object()
    assert await passes(door, edit("before", signal=signal), text=text) == (text, signal)


@pytest.mark.parametrize("text", ["a cat", "", "windows\r\nlines", "a\x1b[1mbold", "x" * 16_384])
async def test_a_text_that_nobody_edited_passes_as_it_came(door: Door, text: str):
    task = edit(text)
    (gate,) = await opened(door)
    shown = door.store().gates.get(gate).text
    assert not set(shown) & {"\r", "\x1b"}
    door.store().gates.decide(gate, make_decision("route", 1, text=shown))
    assert await task == (text, None)


async def test_a_text_gate_says_what_it_asks_and_shows_it_as_a_picture(door: Door, store: Store):
    task = edit("a cat on a mat", note="no dogs", timeout=60.0)
    (gate,) = await opened(door)
    record = store.gates.get(gate)
    assert (record.kind, record.text, record.note, record.routes) == ("text", "a cat on a mat", "no dogs", 1)
    assert (record.width, record.height, record.batch, record.timeout_route) == (0, 0, 0, 0)
    assert Image.open(io.BytesIO(store.gates.preview(gate))).size == SIZE
    with pytest.raises(InvalidInput):
        store.gates.decide(gate, make_decision("route", 1, chosen="0"))
    store.gates.decide(gate, make_decision("cancel"))
    await ends(task, Stopped)


async def test_a_text_that_is_too_long_is_refused_before_anybody_is_asked(door: Door):
    assert "16384" in str(TextGate.VALIDATE_INPUTS(text="x" * 16_385))
    with pytest.raises(TooLarge):
        await edit("x" * 16_385)
    assert door.announced == []


async def test_each_text_of_a_list_has_its_gate(door: Door, store: Store):
    texts = [f"text {number}" for number in range(4)]
    tasks = [edit(text) for text in texts]
    gates = [store.gates.get(gate) for gate in await opened(door, 4)]
    assert sorted(gate.text for gate in gates) == texts
    for gate in gates:
        store.gates.decide(gate.id, make_decision("route", 1, text=gate.text.upper()))
    assert [(await task)[0] for task in tasks] == [text.upper() for text in texts]


def test_the_signal_fits_every_type_on_both_sides():
    for kind in ("IMAGE", "MASK", "STRING", "*", "ANYTHING"):
        # As ComfyUI asks, in validate_node_input().
        assert not (kind != ANY)  # noqa: SIM202
        assert not (kind != ANY)  # noqa: SIM202


@pytest.mark.parametrize(
    "text", ["", "a cat", "word " * 2000, "猫" * 500, "x" * 16_384, "\n" * 900, "🐈", "\t", "a\n\nb"], ids=len
)
def test_any_text_is_drawn_in_a_moment(text: str):
    begin = time.monotonic()
    assert Image.open(io.BytesIO(text_jpeg(text))).format == "JPEG"
    assert time.monotonic() - begin < 2


# -- both ---------------------------------------------------------------------------------------
BOTH = pytest.mark.parametrize(
    "open_one",
    [lambda **more: choose(images=image(2), **more), lambda **more: edit("text", **more)],
    ids=["batch", "text"],
)


@BOTH
async def test_the_deadline_stops_the_prompt_or_lets_all_pass(door: Door, open_one: Callable[..., Any]):
    await ends(open_one(timeout=0.2), Stopped)
    # A stop is acknowledged in the background, so that the prompt ends at once.
    await becomes(lambda: status(door, door.announced[0]) == ("expired", "applied"))
    door.flag = False
    first, *_ = await asyncio.wait_for(open_one(timeout=0.2, at_timeout="pass"), 10)
    assert first == "text" or first.shape[0] == 2
    assert status(door, door.announced[1]) == ("applied", "applied")


@BOTH
async def test_a_cancel_and_an_interrupt_end_it_within_the_promise(door: Door, open_one: Callable[..., Any]):
    task = open_one()
    (gate,) = await opened(door)
    door.store().gates.decide(gate, make_decision("cancel"))
    assert await ends(task, Stopped) < 0.3 + 0.5
    door.flag = False
    task = open_one()
    (gate,) = await opened(door)
    door.flag = True
    assert await ends(task, Stopped) < 0.3 + 0.5
    assert status(door, gate) == ("cancelled", "interrupted")


@pytest.mark.parametrize(
    "wrong",
    [{"timeout": -1.0}, {"at_timeout": "later"}, {"note": "x" * 20_000}, {"resume": "12"}],
    ids=lambda wrong: next(iter(wrong)),
)
@BOTH
async def test_wrong_inputs_are_refused_when_queued_and_over_a_link(
    door: Door, open_one: Callable[..., Any], wrong: dict[str, Any]
):
    said = [
        kind.VALIDATE_INPUTS(**{**given, **wrong})
        for kind, given in ((ImageChooserGate, {"images": None}), (TextGate, {}))
    ]
    assert all(isinstance(each, str) and each for each in said)
    with pytest.raises(ValueError, match=r".") as error:
        await open_one(**wrong)
    assert str(error.value) in said
    assert door.announced == []


def test_they_are_never_the_same_twice():
    assert math.isnan(ImageChooserGate.IS_CHANGED())
    assert math.isnan(TextGate.IS_CHANGED(text="a"))


# -- the decision behind ------------------------------------------------------------------------
class Prompt:
    """As much of ComfyUI's DynamicPrompt as a node asks."""

    def __init__(self, source: str = "ImageGate", gate: str = "7", output: int = 0) -> None:
        self._nodes = {
            gate: {"class_type": source, "inputs": {}, "_meta": {"title": "Good?"}},
            "9": {"class_type": "GateDecision", "inputs": {"mask": [gate, output]}},
        }

    def get_node(self, node_id: str) -> dict[str, Any]:
        return self._nodes[node_id]


def told(door: Door, prompt: Prompt, item: int = 0) -> tuple[Any, ...]:
    door.item = item
    return GateDecision().run(None, "9", prompt)


async def test_what_was_decided_at_the_gate_is_told_behind_it(door: Door, store: Store):
    task = route(image=image(3), labels="keep\nredo")
    (gate,) = await opened(door)
    store.gates.decide(gate, make_decision("route", 2, text="darker", by="anna", chosen="0,2"))
    await task
    assert told(door, Prompt()) == (2, "redo", "darker", "0,2", "anna")
    door.item = 0
    await passes(door, choose(images=image(3), unique_id="12:3"), by="ben")
    assert told(door, Prompt("ImageChooserGate", "12:3", 1)) == (1, "pass", "", "0,1,2", "ben")


async def test_each_item_of_a_list_is_told_its_own_decision(door: Door, store: Store):
    tasks = [route(image=image(), unique_id="20") for _ in range(3)]
    gates: list[Gate] = [store.gates.get(gate) for gate in await opened(door, 3)]
    for gate in gates:
        store.gates.decide(gate.id, make_decision("route", 1, text=f"item {gate.list_index}"))
    await asyncio.gather(*tasks)
    assert [told(door, Prompt(gate="20"), item)[2] for item in range(3)] == ["item 0", "item 1", "item 2"]


async def test_a_gate_that_asked_nobody_has_no_decision(door: Door):
    await route(unique_id="silent")
    assert told(door, Prompt(gate="silent")) == (0, "", "", "", "")


async def test_a_decision_of_another_prompt_is_not_told(door: Door, monkeypatch: pytest.MonkeyPatch):
    from gates import comfy

    await passes(door, route(image=image(), unique_id="30"))
    assert told(door, Prompt(gate="30"))[0] == 1
    monkeypatch.setattr(comfy, "place", lambda *_: comfy.Place("another prompt", "9"))
    assert told(door, Prompt(gate="30"))[0] == 0


@pytest.mark.parametrize("source", ["InvertMask", "TextGate"])
def test_a_wire_that_does_not_begin_at_a_gate_is_an_error_that_says_so(door: Door, source: str):
    with pytest.raises(InvalidInput, match=r"mask output of an Image Gate .* its wire comes from Good\?"):
        told(door, Prompt(source))
