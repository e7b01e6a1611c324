"""Gates that park in a real ComfyUI: their prompt ends, and what was decided goes on from there, once."""

from __future__ import annotations

import asyncio
import io
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from tests.comfyui.graphs import ROUTE_1, Graph, gate_graph, node, noise, renamed
from tests.comfyui.process import Client, ComfyUI

GOES_ON = 60.0
"""Seconds for a run to come to its end."""


@pytest.fixture(scope="module", params=["alone", "redis"])
def comfyui(request: pytest.FixtureRequest, start_comfyui: Callable[..., ComfyUI]) -> ComfyUI:
    """A ComfyUI without Redis, and one with."""
    if request.param == "alone":
        return start_comfyui("parks", GATEBUS_INSTANCE="parks")
    redis = request.getfixturevalue("farm_redis")
    return start_comfyui("parks-on-redis", GATEBUS_INSTANCE="parks", GATEBUS_STORE_URL=redis.url)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


async def parked(client: Client, prompt: str, count: int = 1) -> list[dict[str, Any]]:
    """The gates that parked in a prompt, in the order of their list, once it has ended."""
    history = await client.ended(prompt)
    assert history["status"]["status_str"] == "success", history["status"]
    return await gates(client, lambda gate: gate["prompt_id"] == prompt and gate["status"] == "parked", count)


async def gates(client: Client, wanted: Callable[[dict[str, Any]], bool], count: int = 1) -> list[dict[str, Any]]:
    deadline = time.monotonic() + GOES_ON
    while True:
        _, answer = await client.ask("GET", "/gatebus/gates", params={"status": "all"})
        found = [gate for gate in answer["gates"] if wanted(gate)]
        if len(found) >= count:
            return sorted(found, key=lambda gate: (gate["list_index"], gate["opened"]))
        assert time.monotonic() < deadline, f"{len(found)} of {count}: {answer['gates']}"
        await asyncio.sleep(0.05)


async def gate(client: Client, gate_id: str) -> dict[str, Any]:
    status, answer = await client.ask("GET", f"/gatebus/gates/{gate_id}")
    assert status == 200, answer
    return dict(answer)


async def run_ended(client: Client, gate_id: str, state: str = "done") -> dict[str, Any]:
    """The gate whose run has ended so."""
    deadline = time.monotonic() + GOES_ON
    while True:
        record = await gate(client, gate_id)
        if record["run"] in ("done", "failed"):
            assert record["run"] == state, record
            return record
        assert time.monotonic() < deadline, record
        await asyncio.sleep(0.05)


async def went_on(client: Client, gate_id: str) -> dict[str, Any]:
    """The history of the run from that gate."""
    record = await run_ended(client, gate_id)
    return await client.ended(record["run_id"])


async def prompts(client: Client) -> dict[str, Any]:
    _, history = await client.ask("GET", "/history")
    return dict(history)


def ran(history: dict[str, Any]) -> set[str]:
    assert history["status"]["status_str"] == "success", history["status"]
    return set(history["outputs"])


def executed(client: Client, prompt: str) -> set[str]:
    """The nodes that were executed, not taken from the cache, in a prompt of this tab."""
    return {
        str(data["node"])
        for _, kind, data in client.events
        if kind == "executing" and data.get("prompt_id") == prompt and data["node"] is not None
    }


def graph_of(seed: int, **more: Any) -> Graph:
    """As ``gate_graph``, of an image that 8 bits don't hold, and an output (6) beside the gate."""
    graph = gate_graph(noise(seed=seed, exact=True), **{"when_waiting": "park", **more})
    graph["6"] = node("SaveImage", images=["1", 0], filename_prefix=f"test/{uuid.uuid4().hex}")
    return graph


async def test_a_parked_gate_ends_its_prompt_and_goes_on_once_with_what_its_decision_feeds(comfyui: ComfyUI):
    async with comfyui.client() as client:
        workflow = {"id": "0c8e", "nodes": [], "extra": {"name": "portraits"}}
        graph = graph_of(seed=11, labels="keep\nretry")
        prompt = await client.queue(graph, extra_data={"extra_pnginfo": {"workflow": workflow}})
        (waits,) = await parked(client, prompt)
        assert ran(await client.ended(prompt)) == {"6"}, "what is not behind the gate ran, and nothing else"
        assert (waits["node_id"], waits["labels"], waits["title"]) == ("2", ["keep", "retry"], "ImageGate")
        # The queue moves on.
        other = await client.queue({"1": noise(seed=1), "3": node("PreviewImage", images=["1", 0])})
        assert ran(await client.ended(other)) == {"3"}
        assert (await client.route(waits["id"], 1, by="a test"))[0] == 200
        history = await went_on(client, waits["id"])
        run = (await gate(client, waits["id"]))["run_id"]
        assert ran(history) == {"3", "5"}
        # The tab that queued the first prompt sees this run; the image was not made anew.
        assert executed(client, run) == {"2", "3", "5", "gatebus-continued"}
        record = await gate(client, waits["id"])
        assert (record["status"], record["decision"]["by"], record["run_on"]) == ("applied", "a test", "parks")
        saved = Image.open(io.BytesIO(await client.image(history, "3")))
        assert isinstance(saved, PngImageFile)
        assert json.loads(saved.text["workflow"]) == workflow
        await asyncio.sleep(1.5)
        assert len([each for each in (await prompts(client)).values() if each["prompt"][1] == run]) == 1
        assert len(client_runs(await prompts(client), "3")) <= 2


def client_runs(history: dict[str, Any], output: str) -> list[str]:
    return [prompt for prompt, entry in history.items() if output in entry["outputs"]]


async def test_what_goes_on_is_to_the_pixel_what_goes_on_when_the_gate_holds(comfyui: ComfyUI):
    async with comfyui.client() as client:
        saved = {}
        for way in ("hold", "park"):
            graph = graph_of(seed=12, when_waiting=way)
            # What 8 bits do to the image would be seen here.
            graph["7"] = node("ProbeEqual", one=["2", ROUTE_1], other=["1", 0])
            graph["8"] = node("ImageToMask", image=["1", 0], channel="red")
            graph["2"]["inputs"]["mask"] = ["8", 0]
            prompt = await client.queue(graph)
            if way == "hold":
                (waits,) = await client.gates(prompt)
                await client.route(waits["id"], 1)
                history = await client.ended(prompt)
            else:
                (waits,) = await parked(client, prompt)
                await client.route(waits["id"], 1)
                history = await went_on(client, waits["id"])
            assert history["outputs"]["7"]["same"] == [True]
            saved[way] = (await client.image(history, "3"), history["outputs"]["5"])
        assert np.array_equal(pixels(saved["hold"][0]), pixels(saved["park"][0]))
        assert saved["hold"][1] == saved["park"][1]


async def test_a_mask_painted_at_a_parked_gate_goes_on_with_it(comfyui: ComfyUI):
    async with comfyui.client() as client:
        (waits,) = await parked(client, await client.queue(graph_of(seed=13)))
        mask = io.BytesIO()
        Image.new("L", (64, 48), 255).save(mask, "PNG")
        status, answer = await client.ask(
            "PUT", f"/gatebus/gates/{waits['id']}/mask", data=mask.getvalue(), headers={"Content-Type": "image/png"}
        )
        assert status == 200, answer
        await client.route(waits["id"], 2)
        history = await went_on(client, waits["id"])
        assert ran(history) == {"4", "5"}
        assert history["outputs"]["5"]["means"] == [[1.0]]


async def test_a_gate_in_a_subgraph_parks(comfyui: ComfyUI):
    async with comfyui.client() as client:
        prompt = await client.queue(renamed(graph_of(seed=14), lambda key: f"12:{key}"))
        (waits,) = await parked(client, prompt)
        assert waits["node_id"] == "12:2"
        await client.route(waits["id"], 1)
        assert ran(await went_on(client, waits["id"])) == {"12:3", "12:5"}


def two_gates(seed: int, in_a_row: bool) -> Graph:
    """Gates 2 and 22, in a row or side by side; 3 saves behind the first, 23 behind the second, 9 behind both."""
    graph = graph_of(seed=seed)
    source = ["21", 0] if in_a_row else ["1", 0]
    graph["21"] = node("ImageInvert", image=["2", ROUTE_1])
    graph["22"] = node("ImageGate", routes=2, when_waiting="park", image=source)
    graph["23"] = node("SaveImage", images=["22", ROUTE_1], filename_prefix=f"test/{uuid.uuid4().hex}")
    graph["9"] = node("ImageBatch", image1=["21", 0], image2=["22", ROUTE_1])
    graph["10"] = node("SaveImage", images=["9", 0], filename_prefix=f"test/{uuid.uuid4().hex}")
    return graph


async def test_two_gates_in_a_row_park_one_after_the_other(comfyui: ComfyUI):
    async with comfyui.client() as client:
        (first,) = await parked(client, await client.queue(two_gates(15, in_a_row=True)))
        await client.route(first["id"], 1)
        assert ran(await went_on(client, first["id"])) == {"3", "5"}
        (second,) = await parked(client, (await gate(client, first["id"]))["run_id"])
        assert (second["node_id"], second["family"]) == ("22", first["prompt_id"])
        await client.route(second["id"], 1)
        assert ran(await went_on(client, second["id"])) == {"10", "23"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_two_gates_side_by_side_are_joined_by_the_one_that_is_decided_last(
    comfyui: ComfyUI, order: tuple[int, int]
):
    async with comfyui.client() as client:
        both = await parked(client, await client.queue(two_gates(16, in_a_row=False)), count=2)
        both.sort(key=lambda each: int(each["node_id"]))
        own = [{"3", "5"}, {"23"}]
        await client.route(both[order[0]]["id"], 1)
        assert ran(await went_on(client, both[order[0]]["id"])) == own[order[0]]
        await client.route(both[order[1]]["id"], 1)
        history = await went_on(client, both[order[1]]["id"])
        assert ran(history) == own[order[1]] | {"10"}
        assert len(history["outputs"]["10"]["images"]) == 2


async def test_two_gates_side_by_side_that_are_decided_at_once_run_one_after_the_other(comfyui: ComfyUI):
    async with comfyui.client() as client:
        both = await parked(client, await client.queue(two_gates(17, in_a_row=False)), count=2)
        await asyncio.gather(*[client.route(each["id"], 1) for each in both])
        outputs = [ran(await went_on(client, each["id"])) for each in both]
        assert sorted(name for each in outputs for name in each) == ["10", "23", "3", "5"]


async def test_a_list_parks_together_and_goes_on_once_when_all_are_decided(comfyui: ComfyUI):
    async with comfyui.client() as client:
        graph = graph_of(seed=18)
        graph["1"]["inputs"]["batch"] = 3
        graph["7"] = node("RebatchImages", images=["1", 0], batch_size=1)
        graph["2"]["inputs"]["image"] = ["7", 0]
        items = await parked(client, await client.queue(graph), count=3)
        assert [item["list_index"] for item in items] == [0, 1, 2]
        assert {item["group"] for item in items} == {items[0]["id"]}
        await client.route(items[2]["id"], 1)
        await client.route(items[0]["id"], 2)
        await asyncio.sleep(1.5)
        assert (await gate(client, items[0]["id"]))["run"] == ""
        await client.route(items[1]["id"], 1)
        history = await went_on(client, items[0]["id"])
        assert len(history["outputs"]["3"]["images"]) == 2
        assert len(history["outputs"]["4"]["images"]) == 1
        before = await client.ended(items[0]["prompt_id"])
        whole = [pixels(await client.image(before, "6", index)) for index in range(3)]
        assert np.array_equal(pixels(await client.image(history, "3", 0)), whole[1])
        assert np.array_equal(pixels(await client.image(history, "3", 1)), whole[2])


async def test_a_cancelled_item_of_a_list_is_left_out_and_a_cancelled_gate_does_not_go_on(comfyui: ComfyUI):
    async with comfyui.client() as client:
        graph = graph_of(seed=19)
        graph["1"]["inputs"]["batch"] = 2
        graph["7"] = node("RebatchImages", images=["1", 0], batch_size=1)
        graph["2"]["inputs"]["image"] = ["7", 0]
        items = await parked(client, await client.queue(graph), count=2)
        assert (await client.ask("POST", f"/gatebus/gates/{items[0]['id']}/cancel", json={}))[0] == 200
        await client.route(items[1]["id"], 1)
        history = await went_on(client, items[0]["id"])
        assert len(history["outputs"]["3"]["images"]) == 1
        (alone,) = await parked(client, await client.queue(graph_of(seed=20)))
        assert (await client.ask("POST", f"/gatebus/gates/{alone['id']}/cancel", json={}))[0] == 200
        await asyncio.sleep(1.5)
        record = await gate(client, alone["id"])
        assert (record["status"], record["run"]) == ("cancelled", "")


async def test_a_gate_that_holds_parks_after_its_time_unless_it_is_decided_before(comfyui: ComfyUI):
    async with comfyui.client() as client:
        prompt = await client.queue(graph_of(seed=21, when_waiting="hold", park_after=1.5))
        (waits,) = await client.gates(prompt)
        await client.route(waits["id"], 1)
        assert ran(await client.ended(prompt)) == {"3", "5", "6"}
        prompt = await client.queue(graph_of(seed=22, when_waiting="hold", park_after=1.5))
        await client.gates(prompt)
        (waits,) = await parked(client, prompt)
        await client.route(waits["id"], 1)
        assert ran(await went_on(client, waits["id"])) == {"3", "5"}


async def test_an_interrupt_while_a_gate_waits_to_park_ends_it_as_fast(comfyui: ComfyUI):
    async with comfyui.client() as client:
        prompt = await client.queue(graph_of(seed=23, when_waiting="hold", park_after=30.0))
        (waits,) = await client.gates(prompt)
        start = time.monotonic()
        await client.ask("POST", "/interrupt", json={})
        at, _ = await client.event("execution_interrupted", prompt_id=prompt)
        assert at - start < 1
        (ended,) = await gates(client, lambda each: each["id"] == waits["id"] and each["status"] == "cancelled")
        assert ended["parked"] == 0


async def test_a_gate_in_a_node_that_expands_holds_and_says_so(comfyui: ComfyUI):
    async with comfyui.client() as client:
        graph = {
            "1": noise(seed=24),
            "8": node("ProbeExpand", image=["1", 0], when_waiting="park"),
            "9": node("PreviewImage", images=["8", 0]),
        }
        prompt = await client.queue(graph)
        (waits,) = await client.gates(prompt)
        _, notice = await client.event("gatebus.notice")
        assert "while it ran" in notice["text"]
        await client.route(waits["id"], 1)
        assert "9" in ran(await client.ended(prompt))


async def test_another_route_is_taken_later_and_what_is_before_the_gate_does_not_run_again(comfyui: ComfyUI):
    async with comfyui.client() as client:
        for way in ("park", "hold"):
            prompt = await client.queue(graph_of(seed=25, when_waiting=way))
            (waits,) = await (parked if way == "park" else Client.gates)(client, prompt)
            await client.route(waits["id"], 1)
            await (went_on(client, waits["id"]) if way == "park" else client.ended(prompt))
            await gates(client, lambda each, own=waits["id"]: each["id"] == own and bool(each["kept"]))
            status, anew = await client.ask("POST", f"/gatebus/gates/{waits['id']}/again", json={"route": 2})
            assert status == 200, anew
            assert anew["of"] == waits["id"] != anew["id"]
            history = await went_on(client, anew["id"])
            assert ran(history) == {"4", "5"}
            assert "1" not in executed(client, (await gate(client, anew["id"]))["run_id"])


async def test_a_run_that_fails_shows_why_on_its_gate_and_runs_again(comfyui: ComfyUI):
    async with comfyui.client() as client:
        graph = graph_of(seed=26)
        graph["30"] = node("ProbeFail", image=["2", ROUTE_1])
        (waits,) = await parked(client, await client.queue(graph))
        await client.route(waits["id"], 1)
        failed = await run_ended(client, waits["id"], "failed")
        assert failed["run_error"] == "ProbeFail #30: probe"
        status, anew = await client.ask("POST", f"/gatebus/gates/{waits['id']}/again", json={"route": 2})
        assert status == 200, anew
        assert ran(await went_on(client, anew["id"])) == {"4", "5"}


async def test_a_chooser_and_a_text_gate_park_and_go_on_with_what_was_chosen_and_written(comfyui: ComfyUI):
    async with comfyui.client() as client:
        graph = {
            "1": noise(seed=32, batch=3, exact=True),
            "2": node("ImageChooserGate", images=["1", 0], when_waiting="park"),
            "3": node("SaveImage", images=["2", 0], filename_prefix=f"test/{uuid.uuid4().hex}"),
            "4": node("TextGate", text="a cat", signal=["2", 2], when_waiting="park"),
            "5": node("SaveImage", images=["4", 1], filename_prefix=["4", 0]),
        }
        (chooser,) = await parked(client, await client.queue(graph))
        assert (await client.route(chooser["id"], 1, chosen=[0, 2]))[0] == 200
        history = await went_on(client, chooser["id"])
        assert len(history["outputs"]["3"]["images"]) == 2
        (text,) = await parked(client, (await gate(client, chooser["id"]))["run_id"])
        assert (text["kind"], text["text"]) == ("text", "a cat")
        assert (await client.route(text["id"], 1, text="a-dog"))[0] == 200
        history = await went_on(client, text["id"])
        (image,) = history["outputs"]["5"]["images"]
        assert image["filename"].startswith("a-dog")
        assert "3" not in history["outputs"]


async def test_a_restart_loses_nothing_before_the_decision_nor_before_the_run(comfyui: ComfyUI):
    async with comfyui.client() as client:
        before, between = [(await parked(client, await client.queue(graph_of(seed=27 + n))))[0] for n in range(2)]
        # The run of this one waits behind a busy prompt when the process is killed.
        await client.queue(
            {"1": noise(seed=1), "2": node("ProbeBusy", image=["1", 0], seconds=60.0)}
            | {"3": node("PreviewImage", images=["2", 0])}
        )
        await client.route(between["id"], 1)
        deadline = time.monotonic() + GOES_ON
        while (await gate(client, between["id"]))["run"] != "submitted":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    await asyncio.to_thread(comfyui.restart)
    async with comfyui.client() as client:
        await client.route(before["id"], 2)
        assert ran(await went_on(client, before["id"])) == {"4", "5"}
        deadline = time.monotonic() + 90
        while (await gate(client, between["id"]))["run"] != "done":
            assert time.monotonic() < deadline, await gate(client, between["id"])
            await asyncio.sleep(0.2)
        assert ran(await client.ended((await gate(client, between["id"]))["run_id"])) == {"3", "5"}
