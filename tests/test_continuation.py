"""What a gate keeps of its prompt, as bytes."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gates import continuation
from gates.continuation import Continuation, packed_mask, recorded
from gates.errors import Conflict, InvalidInput, TooLarge


def prompt() -> dict[str, Any]:
    return {
        "1": {"class_type": "Load", "inputs": {"name": "é\U0001f600", "seed": 2**63, "cfg": 7.5}, "is_changed": [None]},
        "12:3": {
            "class_type": "ImageGate",
            "inputs": {"routes": 2, "image": ["1", 0]},
            "_meta": {"title": "Good?"},
            "is_changed": [float("nan")],
        },
        "4": {"class_type": "Save", "inputs": {"images": ["12:3", 1]}},
    }


def made(**changes: Any) -> Continuation:
    values: dict[str, Any] = {
        "prompt": prompt(),
        "node": "12:3",
        "outputs": ["4"],
        "extra_pnginfo": {"workflow": {"id": "w", "nodes": [1, 2]}},
        "lazy": {"4": ["a"]},
        "inputs": {"format": "exact"},
    }
    return recorded(**{**values, **changes})


def test_what_is_kept_comes_back_whole():
    kept = made()
    read = Continuation.from_bytes(kept.to_bytes())
    assert (read.prompt, read.node, read.outputs) == (kept.prompt, "12:3", ("4",))
    assert read.prompt["1"]["inputs"] == {"name": "é\U0001f600", "seed": 2**63, "cfg": 7.5}
    assert read.prompt["12:3"]["_meta"] == {"title": "Good?"}
    assert read.extra_pnginfo == {"workflow": {"id": "w", "nodes": [1, 2]}}
    assert (dict(read.lazy), dict(read.inputs)) == ({"4": ("a",)}, {"format": "exact"})
    assert read.mask() is None


def test_what_comfyui_found_out_about_its_nodes_is_not_kept_and_stays_with_it():
    live = prompt()
    kept = made(prompt=live)
    assert not any("is_changed" in node for node in kept.prompt.values())
    assert "is_changed" in live["12:3"]


def test_the_prompt_may_change_after_it_was_kept():
    live = prompt()
    kept = made(prompt=live)
    live["12:3"]["is_changed"] = [float("nan")]
    live["99"] = {"class_type": "Late", "inputs": {}}
    assert Continuation.from_bytes(kept.to_bytes()).prompt == {
        node: {key: value for key, value in entry.items() if key != "is_changed"} for node, entry in prompt().items()
    }


@pytest.mark.parametrize("pnginfo", [None, [], "workflow", 3])
def test_a_prompt_without_extra_data_is_kept_without(pnginfo: Any):
    assert Continuation.from_bytes(made(extra_pnginfo=pnginfo).to_bytes()).extra_pnginfo == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), object(), {1, 2}, b"bytes"])
def test_a_value_that_json_can_not_hold_is_a_conflict_that_names_its_node(value: Any):
    live = prompt()
    live["1"]["inputs"]["odd"] = value
    with pytest.raises(Conflict, match="node 1") as caught:
        made(prompt=live).to_bytes()
    assert "odd" in caught.value.message
    with pytest.raises(Conflict, match="workflow"):
        made(extra_pnginfo={"workflow": {"odd": value}}).to_bytes()


def test_a_value_that_holds_itself_is_a_conflict():
    live = prompt()
    live["1"]["inputs"]["odd"] = live
    with pytest.raises(Conflict):
        made(prompt=live).to_bytes()


def test_lone_surrogates_are_a_conflict():
    live = prompt()
    live["1"]["inputs"]["text"] = "\ud800"
    with pytest.raises(Conflict):
        made(prompt=live).to_bytes()


def test_a_gate_that_was_made_while_the_prompt_ran_can_not_be_kept():
    with pytest.raises(Conflict, match="made while it ran"):
        made(node="8.0.0.1")


def test_a_prompt_beyond_the_bound_is_refused_when_it_is_kept_and_when_it_is_read(monkeypatch: pytest.MonkeyPatch):
    data = made().to_bytes()
    monkeypatch.setattr(continuation, "MAX_UNPACKED", 64)
    with pytest.raises(TooLarge):
        made().to_bytes()
    with pytest.raises(TooLarge):
        Continuation.from_bytes(data)


def test_a_small_bomb_is_not_unpacked():
    bomb = zlib.compress(b" " * (200 * 1024 * 1024), 9)
    assert len(bomb) < 300_000
    with pytest.raises(TooLarge):
        Continuation.from_bytes(bomb)


def content(**changes: Any) -> bytes:
    value = json.loads(zlib.decompress(made().to_bytes()))
    value.update(changes)
    return zlib.compress(json.dumps(value).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zlib",
        made().to_bytes()[:-9],
        zlib.compress(b"[]"),
        zlib.compress(b"{"),
        zlib.compress(b"\xff"),
        zlib.compress(b'{"version":1}'),
        zlib.compress(b"[" * 100_000),
        content(version=2),
        content(version="1"),
        content(node="13"),
        content(node=["12:3"]),
        content(prompt=[]),
        content(prompt={"12:3": 1}),
        content(prompt={"12:3": {"class_type": 1, "inputs": {}}}),
        content(prompt={"12:3": {"class_type": "ImageGate"}}),
        content(prompt={"12:3": {"class_type": "ImageGate", "inputs": []}}),
        content(extra_data=None),
        content(extra_data={"extra_pnginfo": 1}),
        content(outputs=1),
        content(outputs=[1]),
        content(lazy=[1]),
        content(lazy={"1": 3}),
        content(inputs=1),
        content(mask=[1, 2]),
        content(mask=[1, 2, 0]),
        content(mask=[1, 2, -3]),
        content(mask=[1, 2, True]),
        content(mask=[1, 2, "3"]),
        content(mask=None),
    ],
)
def test_other_bytes_are_refused(data: bytes):
    with pytest.raises(InvalidInput):
        Continuation.from_bytes(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400), st.booleans())
def test_damaged_bytes_are_refused_or_read_as_something_whole(noise: bytes, at: int, packed: bool):
    data = made().to_bytes()
    if packed:
        text = zlib.decompress(data)
        data = zlib.compress(text[:at] + noise + text[at + len(noise) :])
    else:
        data = data[:at] + noise + data[at + len(noise) :]
    try:
        read = Continuation.from_bytes(data)
        read.mask()
    except (InvalidInput, TooLarge):
        return
    assert read.node in read.prompt


def test_a_mask_is_kept_to_the_last_bit():
    mask = np.random.default_rng(1).random((3, 5, 7), np.float32)
    read = Continuation.from_bytes(made_with(mask).to_bytes())
    back = read.mask()
    assert back is not None
    assert np.array_equal(back, mask)


def made_with(mask: Any) -> Continuation:
    from dataclasses import replace

    return replace(made(), **packed_mask(mask))


def test_a_mask_of_another_size_than_it_says_is_refused(monkeypatch: pytest.MonkeyPatch):
    from dataclasses import replace

    kept = made_with(np.zeros((1, 4, 4), np.float32))
    for shape in ((1, 4, 5), (1, 4, 3)):
        with pytest.raises(InvalidInput):
            replace(kept, mask_shape=shape).mask()
    with pytest.raises(InvalidInput):
        replace(kept, mask_data=b"x").mask()
    monkeypatch.setattr(continuation, "MAX_MASK", 63)
    with pytest.raises(TooLarge):
        kept.mask()
    with pytest.raises(TooLarge):
        made_with(np.zeros((1, 4, 4), np.float32))
