"""The pool node, the saved workflows, the help pages and the start, in a real ComfyUI."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.comfyui.graphs import from_workflow, gate_graph, node
from tests.comfyui.process import CHECKOUT, Client, ComfyUI

WORKFLOWS = sorted((CHECKOUT / "example_workflows").glob("*.json"))


def png(colour: tuple[int, int, int], size: tuple[int, int] = (20, 10)) -> bytes:
    body = io.BytesIO()
    Image.new("RGB", size, colour).save(body, "PNG")
    return body.getvalue()


def pool_graph(pool: str, index: Any = -1) -> dict[str, Any]:
    return {
        "1": node("GridImagePool", index=index, pool_id=pool),
        "2": node("PreviewImage", images=["1", 0]),
        "3": node("ProbeMask", mask=["1", 1]),
        "4": node("PreviewAny", source=["1", 2]),
        "5": node("PreviewAny", source=["1", 3]),
        "6": node("PreviewAny", source=["1", 4]),
    }


async def add(client: Client, pool: str, colour: tuple[int, int, int], label: str = "") -> str:
    query = {"label": label} if label else {}
    status, answer = await client.ask("POST", f"/gatebus/pools/{pool}/slots", data=png(colour), params=query)
    assert status in (200, 201), answer
    return str(answer["added"][0])


async def colour_of(client: Client, history: dict[str, Any]) -> list[int]:
    return np.asarray(Image.open(io.BytesIO(await client.image(history, "2"))))[0, 0].tolist()


async def run(client: Client, graph: dict[str, Any]) -> dict[str, Any]:
    history = await client.ended(await client.queue(graph))
    assert history["status"]["status_str"] == "success", history["status"]
    return history


def told(history: dict[str, Any]) -> list[str]:
    """index, count and label as the graph's previews show them."""
    return [history["outputs"][key]["text"][0] for key in ("4", "5", "6")]


async def test_an_empty_pool_gives_one_black_pixel(alone: ComfyUI):
    async with alone.client() as client:
        for pool in ("", f"none-{uuid.uuid4().hex[:8]}"):
            history = await run(client, pool_graph(pool))
            assert await colour_of(client, history) == [0, 0, 0]
            assert history["outputs"]["3"]["shape"] == [[1, 1, 1]]
            assert told(history) == ["0", "0", ""]


async def test_every_edit_that_the_node_outputs_runs_it_again_and_no_other_does(alone: ComfyUI):
    pool = f"set-{uuid.uuid4().hex[:8]}"
    async with alone.client() as client:
        red = await add(client, pool, (255, 0, 0), "red")
        history = await run(client, pool_graph(pool))
        assert await colour_of(client, history) == [255, 0, 0]
        assert told(history) == ["0", "1", "red"]
        green = await add(client, pool, (0, 255, 0), "green")
        assert told(await run(client, pool_graph(pool))) == ["0", "2", "red"]
        assert told(await run(client, pool_graph(pool, 9999))) == ["1", "2", "green"]

        status, _ = await client.ask("POST", f"/gatebus/pools/{pool}/activate", json={"file": green})
        assert status == 200
        history = await run(client, pool_graph(pool))
        assert await colour_of(client, history) == [0, 255, 0]
        status, _ = await client.ask("PATCH", f"/gatebus/pools/{pool}/slots/{green}", json={"label": "leaf"})
        assert status == 200
        assert told(await run(client, pool_graph(pool))) == ["1", "2", "leaf"]

        body = io.BytesIO()
        Image.new("L", (20, 10), 255).save(body, "PNG")
        status, _ = await client.ask("PUT", f"/gatebus/pools/{pool}/slots/{green}/mask", data=body.getvalue())
        assert status == 200
        assert (await run(client, pool_graph(pool)))["outputs"]["3"]["means"] == [[1.0]]

        status, _ = await client.ask("PATCH", f"/gatebus/pools/{pool}/slots/{red}", json={"label": "other"})
        assert status == 200
        prompt = await client.queue(pool_graph(pool))
        await client.ended(prompt)
        _, cached = await client.event("execution_cached", prompt_id=prompt)
        assert "1" in cached["nodes"]


async def test_a_pool_filled_in_one_comfyui_is_output_by_the_other(one: ComfyUI, two: ComfyUI):
    pool = f"set-{uuid.uuid4().hex[:8]}"
    async with one.client() as here, two.client() as there:
        await add(here, pool, (0, 0, 255), "blue")
        history = await run(there, pool_graph(pool))
        assert await colour_of(there, history) == [0, 0, 255]
        assert told(history) == ["0", "1", "blue"]


async def test_bad_inputs_are_refused_when_queued(alone: ComfyUI):
    async with alone.client() as client:
        for index, pool in ((-2, "a"), (10_000, "a"), (0, "../a"), (0, "a/b"), (0, "nul")):
            status, answer = await client.ask(
                "POST", "/prompt", json={"prompt": pool_graph(pool, index), "client_id": client.id}
            )
            assert status == 400, (index, pool)
            assert "1" in answer["node_errors"]


async def test_every_input_and_output_is_explained_and_has_its_order(alone: ComfyUI):
    async with alone.client() as client:
        _, info = await client.ask("GET", "/object_info")
        gate, pool = info["ImageGate"], info["GridImagePool"]
        assert gate["display_name"] == "Image Gate (Manual Router)"
        assert pool["display_name"] == "Image Pool (Grid)"
        assert gate["input_order"]["required"] == ["routes"]
        assert gate["input_order"]["optional"] == [
            *["image", "send_id", "get_id", "labels", "mask", "timeout", "timeout_route", "note", "format"],
            *["when_waiting", "park_after"],
        ]
        assert gate["output_name"] == ["mask", *[f"route_{number}" for number in range(1, 11)]]
        assert pool["input_order"]["required"] == ["index", "pool_id"]
        assert pool["output_name"] == ["image", "mask", "index", "count", "label"]
        for each in (gate, pool):
            assert each["category"] == "Gate Bus"
            assert each["description"]
            assert len(each["output_tooltips"]) == len(each["output"])
            for kind in ("required", "optional"):
                for name, declared in each["input"].get(kind, {}).items():
                    assert declared[1]["tooltip"], name
            status, page = await client.ask("GET", f"/extensions/gatebus-under-test/docs/{each['name']}.md")
            assert status == 200
            for name in [*each["input"].get("required", {}), *each["input"].get("optional", {})]:
                assert f"`{name}`" in page.decode(), name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
async def test_the_saved_workflow_fits_the_nodes_and_runs_without_any_model(alone: ComfyUI, path: Any):
    async with alone.client() as client:
        _, info = await client.ask("GET", "/object_info")
        if path.stem == "bus_resume":
            status, answer = await client.ask("PUT", "/gatebus/buses/cp1", data=png((9, 8, 7)))
            assert status in (200, 201), answer
        for node_ in json.loads(path.read_text())["nodes"]:
            declared = info.get(node_["type"], {}).get("output", [])
            assert [slot["type"] for slot in node_["outputs"]] == declared, node_["type"]
        for route in (1, 2):
            prompt = await client.queue(from_workflow(path, info))
            (gate,) = await client.gates(prompt)
            assert (await client.route(gate["id"], route))[0] == 200
            history = await client.ended(prompt)
            assert history["status"]["status_str"] == "success", history["status"]
            assert history["outputs"]


def test_there_are_workflows():
    assert {path.stem for path in WORKFLOWS} == {"gate_routes", "bus_publish", "bus_resume", "pool_gate"}


async def test_a_wrong_setting_is_said_once_and_leaves_comfyui_running(start_comfyui: Callable[..., ComfyUI]):
    wrong = start_comfyui("wrong", GATEBUS_TICK="soon")
    try:
        assert wrong.log().count("GATEBUS_TICK must be") == 1
        async with wrong.client() as client:
            history = await client.ended(await client.queue(gate_graph()))
            assert history["status"]["status_str"] == "error"
            assert "GATEBUS_TICK must be" in str(history["status"]["messages"])
            status, answer = await client.ask("GET", "/gatebus/gates")
            assert status == 503, answer
    finally:
        wrong.stop()
