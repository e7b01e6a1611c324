"""Two real ComfyUI processes on one Redis, and one on its disk: decide from afar, publish here, resume there."""

from __future__ import annotations

import asyncio
import io
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gates.gate.record import make_decision
from gates.settings import Settings
from gates.store import Store, open_store
from tests.comfyui.graphs import MASK, ROUTE_1, gate_graph, node, noise
from tests.comfyui.process import Client, ComfyUI


@pytest.fixture
def outside(farm_redis: Any, tmp_path: Path):
    """The store as another process sees it, which is no ComfyUI."""
    settings = Settings.from_env({"GATEBUS_STORE_URL": farm_redis.url, "GATEBUS_INSTANCE": "outside"})
    store = open_store(settings, tmp_path / "disk", tmp_path / "state")
    yield store
    store.close()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


async def pass_gate(client: Client, graph: dict[str, Any], route: int = 1, mask: bytes | None = None) -> dict[str, Any]:
    """Runs the graph, decides its only gate, and gives its history."""
    prompt = await client.queue(graph)
    (gate,) = await client.gates(prompt)
    if mask is not None:
        assert (await client.ask("PUT", f"/gatebus/gates/{gate['id']}/mask", data=mask))[0] == 200
    assert (await client.route(gate["id"], route))[0] == 200
    history = await client.ended(prompt)
    assert history["status"]["status_str"] == "success", history["status"]
    return history


def top_half(width: int, height: int) -> bytes:
    painted = np.zeros((height, width), np.uint8)
    painted[: height // 2] = 255
    body = io.BytesIO()
    Image.fromarray(painted).save(body, "PNG")
    return body.getvalue()


async def test_another_process_decides_through_redis(one: ComfyUI, outside: Store):
    async with one.client() as client:
        for route, ran in ((1, "3"), (2, "4")):
            prompt = await client.queue(gate_graph())
            _, event = await client.event("gatebus.gate", prompt_id=prompt)
            gate = outside.gates.get(event["gate_id"])
            assert (gate.status, gate.instance, gate.node_id) == ("waiting", "one", "2")
            assert pixels(outside.gates.preview(gate.id)).shape == (48, 64, 3)
            outside.gates.decide(gate.id, make_decision("route", route, by="outside"))
            assert ran in (await client.ended(prompt))["outputs"]
            assert outside.gates.get(gate.id).status == "applied"


async def test_the_other_comfyui_decides_what_waits_in_this_one(one: ComfyUI, two: ComfyUI):
    async with one.client() as here, two.client() as there:
        prompt = await here.queue(gate_graph())
        (gate,) = await there.gates(prompt)
        status, whole = await there.ask("GET", f"/gatebus/gates/{gate['id']}/image")
        for _ in range(100):
            if status == 200:
                break
            await asyncio.sleep(0.05)
            status, whole = await there.ask("GET", f"/gatebus/gates/{gate['id']}/image")
        assert pixels(whole).shape == (48, 64, 3)
        assert (await there.route(gate["id"], 1))[0] == 200
        history = await here.ended(prompt)
        assert np.array_equal(pixels(await here.image(history, "3")), pixels(whole))


async def test_what_passes_here_is_resumed_there(one: ComfyUI, two: ComfyUI):
    bus = f"cp-{uuid.uuid4().hex[:8]}"
    async with one.client() as here, two.client() as there:
        history = await pass_gate(
            here, gate_graph(noise(seed=11, batch=8), send_id=bus, labels="keep\nretry"), mask=top_half(64, 48)
        )
        passed = [pixels(await here.image(history, "3", frame)) for frame in range(8)]
        resumed = await pass_gate(there, gate_graph(get_id=bus))
        assert len(resumed["outputs"]["3"]["images"]) == 8
        for frame in range(8):
            assert np.array_equal(pixels(await there.image(resumed, "3", frame)), passed[frame])
        assert resumed["outputs"]["5"]["shape"] == [[8, 48, 64]]
        assert np.allclose(resumed["outputs"]["5"]["means"][0], 0.5)
        _, answer = await there.ask("GET", "/gatebus/buses")
        (head,) = [head for head in answer["buses"] if head["name"] == bus]
        assert (head["frames"], head["version"], head["meta"]["instance"], head["meta"]["label"]) == (
            8,
            1,
            "one",
            "keep",
        )


async def test_the_exact_format_gives_back_the_identical_tensor(one: ComfyUI, two: ComfyUI):
    bus = f"cp-{uuid.uuid4().hex[:8]}"
    async with one.client() as here, two.client() as there:
        await pass_gate(here, gate_graph(noise(seed=12, batch=2, exact=True), send_id=bus, format="exact"))
        graph = gate_graph(get_id=bus)
        graph["1"] = noise(seed=12, batch=2, exact=True)
        graph["6"] = node("ProbeEqual", one=["1", 0], other=["2", ROUTE_1])
        history = await pass_gate(there, graph)
        assert history["outputs"]["6"]["same"] == [True]


async def test_an_older_version_can_be_resumed_and_a_wired_mask_serves_where_none_was_published(
    one: ComfyUI, two: ComfyUI
):
    bus = f"cp-{uuid.uuid4().hex[:8]}"
    async with one.client() as here, two.client() as there:
        first = await pass_gate(here, gate_graph(noise(seed=13), send_id=bus))
        await pass_gate(here, gate_graph(noise(seed=14), send_id=bus))
        graph = gate_graph(get_id=f"{bus}@-1")
        graph["7"] = node("SolidMask", value=1.0, width=8, height=8)
        graph["2"]["inputs"]["mask"] = ["7", 0]
        resumed = await pass_gate(there, graph)
        assert np.array_equal(pixels(await there.image(resumed, "3")), pixels(await here.image(first, "3")))
        assert resumed["outputs"]["5"]["means"] == [[1.0]]


async def test_what_was_published_is_resumed_after_a_restart_through_the_disk(alone: ComfyUI):
    bus = f"cp-{uuid.uuid4().hex[:8]}"
    async with alone.client() as client:
        history = await pass_gate(client, gate_graph(noise(seed=15, batch=2), send_id=bus), mask=top_half(64, 48))
        passed = [pixels(await client.image(history, "3", frame)) for frame in range(2)]
    alone.restart()
    async with alone.client() as client:
        resumed = await pass_gate(client, gate_graph(get_id=bus))
        assert [pixels(await client.image(resumed, "3", frame)).tolist() for frame in range(2)] == [
            frame.tolist() for frame in passed
        ]
        assert np.allclose(resumed["outputs"]["5"]["means"][0], 0.5)


async def test_a_decision_made_while_redis_restarts_is_applied_once(one: ComfyUI, outside: Store, farm_redis: Any):
    async with one.client() as client:
        prompt = await client.queue(gate_graph())
        _, event = await client.event("gatebus.gate", prompt_id=prompt)
        outside.gates.decide(event["gate_id"], make_decision("route", 2))
        farm_redis.kill()
        await asyncio.sleep(0.5)
        farm_redis.start()
        assert "4" in (await client.ended(prompt))["outputs"]


async def test_a_gate_whose_comfyui_died_is_taken_up_by_another_with_its_decision(
    two: ComfyUI, one: ComfyUI, outside: Store
):
    """The graph that resumes has no image wired: the gate's stored one is taken."""
    async with one.client() as client:
        prompt = await client.queue(gate_graph(noise(seed=16, batch=2)))
        _, event = await client.event("gatebus.gate", prompt_id=prompt)
        gate_id = event["gate_id"]
        for _ in range(100):
            if outside.gates.get(gate_id).layout is not None:
                break
            await asyncio.sleep(0.05)
    one.stop()
    try:
        for _ in range(400):
            if outside.gates.get(gate_id).status == "orphaned":
                break
            await asyncio.sleep(0.1)
        assert outside.gates.get(gate_id).status == "orphaned"
        outside.gates.decide(gate_id, make_decision("route", 1, by="outside"))
        async with two.client() as client:
            graph = gate_graph(resume=gate_id)
            graph["1"] = noise(seed=16, batch=2)
            graph["6"] = node("PreviewImage", images=["1", 0])
            prompt = await client.queue(graph)
            history = await client.ended(prompt)
            assert history["status"]["status_str"] == "success", history["status"]
            assert np.array_equal(pixels(await client.image(history, "3")), pixels(await client.image(history, "6")))
            assert len(history["outputs"]["3"]["images"]) == 2
            # The same continuation once more: it is over.
            prompt = await client.queue(graph)
            history = await client.ended(prompt)
            assert history["status"]["status_str"] == "error"
            assert "ended" in str(history["status"]["messages"])
        assert outside.gates.get(gate_id).status == "applied"
    finally:
        one.start()


async def test_the_mask_of_the_gate_is_of_the_size_of_a_loaded_image(one: ComfyUI):
    bus = f"cp-{uuid.uuid4().hex[:8]}"
    async with one.client() as client:
        await pass_gate(client, gate_graph(noise(seed=17, width=33, height=21), send_id=bus))
        graph = gate_graph(get_id=bus)
        graph["8"] = node("MaskPreview", mask=["2", MASK])
        history = await pass_gate(client, graph)
        assert history["outputs"]["5"]["shape"] == [[1, 21, 33]]
