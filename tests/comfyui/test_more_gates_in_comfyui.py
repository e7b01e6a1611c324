"""Choosing images, editing texts, and what was decided told behind the gate, in a real ComfyUI; held and parked."""

from __future__ import annotations

import asyncio
import io
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.comfyui.graphs import MASK, ROUTE_1, Graph, node, noise, renamed
from tests.comfyui.process import Client, ComfyUI

DECISION = {"route": 0, "label": 1, "text": 2, "chosen": 3, "by": 4}
"""Outputs of GateDecision."""

WAITING = pytest.mark.parametrize("when_waiting", ["hold", "park"])


def saver(source: str, output: int, name: str) -> dict[str, Any]:
    return node("SaveImage", images=[source, output], filename_prefix=f"more/{name}")


def teller(source: str, output: int) -> dict[str, Any]:
    return node("PreviewAny", source=[source, output])


def chooser(seed: int, **gate: Any) -> Graph:
    """noise (1) -> chooser (2); the chosen saved by 3, the others by 4, indexes and count told by 5, 6, masks by 7."""
    return {
        "1": noise(seed=seed, batch=4),
        "2": node("ImageChooserGate", images=["1", 0], **gate),
        "3": saver("2", 0, "chosen"),
        "4": saver("2", 2, "rejected"),
        "5": teller("2", 3),
        "6": teller("2", 4),
        "7": node("ProbeMask", mask=["2", 1]),
        "8": saver("1", 0, "all"),
    }


def texts(text: str, **gate: Any) -> Graph:
    """A text (1) and noise as the signal (2) -> text gate (3); the text told by 4, the signal saved by 5."""
    return {
        "1": node("PrimitiveStringMultiline", value=text),
        "2": noise(seed=3),
        "3": node("TextGate", text=["1", 0], signal=["2", 0], **gate),
        "4": teller("3", 0),
        "5": saver("3", 1, "signal"),
    }


def decisions(gate: str = "2") -> Graph:
    """What was decided at the gate, told by d-route, d-label and so on."""
    tellers = {f"d-{name}": teller("d", output) for name, output in DECISION.items()}
    return {"d": node("GateDecision", mask=[gate, MASK]), **tellers}


def told(history: dict[str, Any], number: str) -> str:
    return str(history["outputs"][number]["text"][0])


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


async def images(client: Client, history: dict[str, Any], number: str) -> list[np.ndarray]:
    count = len(history["outputs"][number]["images"])
    return [pixels(await client.image(history, number, position)) for position in range(count)]


async def parked(client: Client, prompt: str, count: int = 1) -> list[dict[str, Any]]:
    """The prompt's parked gates, once they are and it has ended."""
    assert (await client.ended(prompt))["status"]["status_str"] == "success"
    _, answer = await client.ask("GET", "/gatebus/gates")
    own = [gate for gate in answer["gates"] if gate["prompt_id"] == prompt and gate["status"] == "parked"]
    assert len(own) == count, answer
    return own


async def waits(client: Client, prompt: str, when_waiting: str, count: int = 1) -> list[dict[str, Any]]:
    own = await (client.gates(prompt, count) if when_waiting == "hold" else parked(client, prompt, count))
    return sorted(own, key=lambda gate: gate["list_index"])


async def ended(client: Client, prompt: str, gate: dict[str, Any], limit: float = 60) -> dict[str, Any]:
    """What became of the prompt: of its continuation, where its gate has parked."""
    if gate["status"] != "parked":
        history = await client.ended(prompt)
    else:
        end = time.monotonic() + limit
        lead = gate["group"]
        while True:
            _, record = await client.ask("GET", f"/gatebus/gates/{lead}")
            if record["run"] in ("done", "failed"):
                break
            assert time.monotonic() < end, record
            await asyncio.sleep(0.1)
        assert record["run"] == "done", record
        history = await client.ended(record["run_prompt"] or record["run_id"])
    assert history["status"]["status_str"] == "success", history["status"]
    return history


@WAITING
async def test_the_chosen_images_go_on_and_the_others_beside(alone: ComfyUI, when_waiting: str):
    async with alone.client() as client:
        graph = {**chooser(seed=11, when_waiting=when_waiting), **decisions()}
        graph["d"]["inputs"]["mask"] = ["2", 1]
        prompt = await client.queue(graph)
        (gate,) = await waits(client, prompt, when_waiting)
        assert (gate["kind"], gate["batch"], gate["labels"]) == ("batch", 4, ["pass"])
        status, answer = await client.route(gate["id"], 1, chosen=[3, 1], text="sharp", by="anna")
        assert status == 200, answer
        history = await ended(client, prompt, gate)
        whole = await images(client, history if gate["status"] != "parked" else await client.ended(prompt), "8")
        for number, indexes in (("3", (1, 3)), ("4", (0, 2))):
            got = await images(client, history, number)
            assert len(got) == len(indexes)
            assert all(np.array_equal(one, whole[index]) for one, index in zip(got, indexes, strict=True))
        assert (told(history, "5"), told(history, "6")) == ("1,3", "2")
        assert history["outputs"]["7"]["shape"] == [[2, 48, 64]]
        assert [told(history, f"d-{name}") for name in DECISION] == ["1", "pass", "sharp", "1,3", "anna"]


@WAITING
async def test_when_all_go_on_nothing_behind_the_others_runs(alone: ComfyUI, when_waiting: str):
    async with alone.client() as client:
        prompt = await client.queue(chooser(seed=12, when_waiting=when_waiting))
        (gate,) = await waits(client, prompt, when_waiting)
        await client.route(gate["id"], 1)
        history = await ended(client, prompt, gate)
        assert len(await images(client, history, "3")) == 4
        assert "4" not in history["outputs"]


@WAITING
async def test_a_text_goes_on_edited_emptied_or_as_it_came(alone: ComfyUI, when_waiting: str):
    async with alone.client() as client:
        for given, passed in (({"text": "a dog 猫"}, "a dog 猫"), ({"text": ""}, ""), ({}, "a cat\r\non a mat")):
            prompt = await client.queue(texts("a cat\r\non a mat", when_waiting=when_waiting))
            (gate,) = await waits(client, prompt, when_waiting)
            assert (gate["kind"], gate["text"]) == ("text", "a cat\non a mat")
            status, answer = await client.route(gate["id"], 1, **given)
            assert status == 200, answer
            history = await ended(client, prompt, gate)
            assert told(history, "4") == passed
            assert len(await images(client, history, "5")) == 1


@WAITING
async def test_what_was_decided_is_told_behind_an_image_gate_also_in_a_subgraph(alone: ComfyUI, when_waiting: str):
    async with alone.client() as client:
        graph = {
            "1": noise(seed=13, batch=3),
            "2": node("ImageGate", routes=3, labels="keep\nredo", image=["1", 0], when_waiting=when_waiting),
            "3": saver("2", ROUTE_1 + 1, "redo"),
            **decisions(),
        }
        for name in (lambda each: each, lambda each: f"12:{each}"):
            prompt = await client.queue(renamed(graph, name))
            (gate,) = await waits(client, prompt, when_waiting)
            await client.route(gate["id"], 2, chosen=[0, 2], text="darker", by="anna")
            history = await ended(client, prompt, gate)
            assert [told(history, name(f"d-{each}")) for each in DECISION] == ["2", "redo", "darker", "0,2", "anna"]
            assert len(await images(client, history, name("3"))) == 2


@WAITING
async def test_each_item_of_a_list_is_told_its_own_decision(alone: ComfyUI, when_waiting: str):
    async with alone.client() as client:
        graph = {
            "1": noise(seed=14, batch=3),
            "7": node("RebatchImages", images=["1", 0], batch_size=1),
            "2": node("ImageGate", routes=2, image=["7", 0], when_waiting=when_waiting),
            "3": saver("2", ROUTE_1, "item"),
            "d": node("GateDecision", mask=["2", MASK]),
            "d-text": teller("d", DECISION["text"]),
        }
        prompt = await client.queue(graph)
        gates = await waits(client, prompt, when_waiting, 3)
        for number, gate in enumerate(gates):
            await client.route(gate["id"], 1, text=f"item {number}")
        history = await ended(client, prompt, gates[0])
        assert history["outputs"]["d-text"]["text"] == ["item 0", "item 1", "item 2"]
        assert len(await images(client, history, "3")) == 3


async def test_a_wire_that_does_not_begin_at_a_gate_is_an_error_of_that_node(alone: ComfyUI):
    async with alone.client() as client:
        graph = {
            "1": node("SolidMask", value=1.0, width=8, height=8),
            "d": node("GateDecision", mask=["1", 0]),
            "d-by": teller("d", DECISION["by"]),
        }
        history = await client.ended(await client.queue(graph))
        (error,) = [data for kind, data in history["status"]["messages"] if kind == "execution_error"]
        assert error["node_id"] == "d"
        assert "mask output of an Image Gate" in error["exception_message"]


async def test_a_chooser_without_images_and_a_text_that_is_too_long_are_refused_when_queued(alone: ComfyUI):
    async with alone.client() as client:
        for wrong, said in (
            (node("ImageChooserGate", note=""), "images must be wired"),
            (node("TextGate", text="x" * 16_385), "16384"),
        ):
            graph = {"2": wrong, "3": teller("2", 0)}
            status, answer = await client.ask("POST", "/prompt", json={"prompt": graph, "client_id": client.id})
            assert status == 400, answer
            assert said in str(answer["node_errors"]["2"]["errors"])


async def test_a_stop_ends_a_text_gate_and_a_chooser_without_anything_behind_them(alone: ComfyUI):
    async with alone.client() as client:
        for graph, behind in ((chooser(seed=15), "3"), (texts("a cat"), "4")):
            prompt = await client.queue(graph)
            (gate,) = await client.gates(prompt)
            await client.ask("POST", f"/gatebus/gates/{gate['id']}/cancel", json={})
            history = await client.ended(prompt)
            assert behind not in history["outputs"]
            assert "execution_interrupted" in {kind for kind, _ in history["status"]["messages"]}


async def test_a_decision_is_told_in_the_run_of_a_later_gate_too(alone: ComfyUI):
    async with alone.client() as client:
        graph = {
            "1": noise(seed=16, batch=2),
            "2": node("ImageGate", routes=2, labels="keep\nredo", image=["1", 0], when_waiting="park"),
            "3": node("ImageChooserGate", images=["2", ROUTE_1 + 1], when_waiting="park"),
            "4": saver("3", 0, "later"),
            "5": node("TextGate", text=["d", DECISION["text"]], signal=["3", 0], when_waiting="park"),
            "6": teller("5", 0),
            "7": saver("5", 1, "signal"),
            **decisions(),
        }
        first_prompt = await client.queue(graph)
        (first,) = await parked(client, first_prompt)
        await client.route(first["id"], 2, text="darker", by="anna", chosen=[1])
        history = await ended(client, first_prompt, first)
        # One image is a batch too; it passes without a tick.
        (second,) = await family_gates(client, first_prompt, "batch")
        assert second["batch"] == 1
        assert told(history, "d-by") == "anna"
        await client.route(second["id"], 1)
        history = await ended(client, first_prompt, second)
        assert len(await images(client, history, "4")) == 1
        (third,) = await family_gates(client, first_prompt, "text")
        assert third["text"] == "darker"
        await client.route(third["id"], 1, text="brighter")
        history = await ended(client, first_prompt, third)
        assert told(history, "6") == "brighter"
        assert len(await images(client, history, "7")) == 1


async def family_gates(client: Client, prompt: str, kind: str) -> list[dict[str, Any]]:
    """The parked gates of that kind in the runs that go on from the prompt."""
    end = time.monotonic() + 30
    while True:
        _, answer = await client.ask("GET", "/gatebus/gates")
        own = [gate for gate in answer["gates"] if gate["family"] == prompt and gate["kind"] == kind]
        if own and all(gate["status"] == "parked" for gate in own):
            return own
        assert time.monotonic() < end, answer
        await asyncio.sleep(0.1)
