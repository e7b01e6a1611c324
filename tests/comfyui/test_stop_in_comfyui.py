"""Interrupts in a real ComfyUI: a waiting gate ends within 0.3 s, whatever its store does.

The promise is a bound on the gate's own part. Measured is from before POST /interrupt to the
moment when the tab hears ``execution_interrupted``, both ways over HTTP included; on a machine
that is busy with other things the tests allow :data:`TOLERANCE` on top, and count how many of
the ends kept the promise as it is.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.comfyui.graphs import gate_graph, node, noise
from tests.comfyui.process import Client, ComfyUI

PROMISE = 0.3
TOLERANCE = 0.5
ROUNDS = 5


async def interrupt(client: Client, prompt: str) -> float:
    """Seconds from the interrupt of a prompt that waits at a gate to its end."""
    start = time.monotonic()
    status, _ = await client.ask("POST", "/interrupt", json={"prompt_id": prompt})
    assert status == 200
    at, _ = await client.event("execution_interrupted", prompt_id=prompt, limit=30)
    return at - start


def check(took: list[float], what: str) -> None:
    kept = sum(seconds <= PROMISE for seconds in took)
    print(f"\n{what}: {kept} of {len(took)} within {PROMISE} s; all: {', '.join(f'{s * 1000:.0f} ms' for s in took)}")
    assert max(took) <= PROMISE + TOLERANCE
    assert kept > len(took) / 2


async def announced(client: Client, prompt: str) -> None:
    await client.event("gatebus.gate", prompt_id=prompt)


async def next_prompt_runs(client: Client) -> None:
    """ComfyUI's thread of execution is alive, and the gate's end has left nothing that stops the next prompt."""
    prompt = await client.queue(
        {"1": noise(seed=time.monotonic_ns() % 2**31), "2": node("PreviewImage", images=["1", 0])}
    )
    assert (await client.ended(prompt))["status"]["status_str"] == "success"


async def gone(client: Client, prompt: str, limit: float = 30) -> list[dict[str, Any]]:
    """The prompt's gates, once none of them waits any more."""
    deadline = time.monotonic() + limit
    while True:
        _, answer = await client.ask("GET", "/gatebus/gates", params={"status": "all"})
        own = [gate for gate in answer.get("gates", ()) if gate["prompt_id"] == prompt]
        if own and all(gate["status"] == "cancelled" for gate in own):
            return own
        assert time.monotonic() < deadline, own
        await asyncio.sleep(0.1)


async def test_without_redis(alone: ComfyUI):
    async with alone.client() as client:
        took = []
        for number in range(ROUNDS):
            prompt = await client.queue(gate_graph())
            await announced(client, prompt)
            await asyncio.sleep(0.2 + 0.03 * number)
            took.append(await interrupt(client, prompt))
            assert [gate["outcome"] for gate in await gone(client, prompt)] == ["interrupted"]
        check(took, "without Redis")
        await next_prompt_runs(client)


async def test_forty_gates_of_a_list_end_together(alone: ComfyUI):
    async with alone.client() as client:
        graph = gate_graph(noise(seed=6, batch=40))
        graph["7"] = node("RebatchImages", images=["1", 0], batch_size=1)
        graph["2"]["inputs"]["image"] = ["7", 0]
        prompt = await client.queue(graph)
        await client.gates(prompt, count=40)
        check([await interrupt(client, prompt)], "forty gates of a list")
        assert len(await gone(client, prompt)) == 40
        await next_prompt_runs(client)


async def test_with_redis(one: ComfyUI):
    async with one.client() as client:
        took = []
        for number in range(ROUNDS):
            prompt = await client.queue(gate_graph())
            await announced(client, prompt)
            await asyncio.sleep(0.2 + 0.03 * number)
            took.append(await interrupt(client, prompt))
            assert [gate["outcome"] for gate in await gone(client, prompt)] == ["interrupted"]
        check(took, "with Redis")


@pytest.mark.parametrize("failure", ["frozen", "dead"])
async def test_with_redis_that_fails_while_the_gate_waits(one: ComfyUI, farm_redis: Any, failure: str):
    async with one.client() as client:
        took, prompts = [], []
        for number in range(ROUNDS):
            prompts.append(await client.queue(gate_graph()))
            await announced(client, prompts[-1])
            # At various moments of the waiter's own rhythm.
            await asyncio.sleep(0.31 * number)
            farm_redis.freeze() if failure == "frozen" else farm_redis.kill()
            try:
                await asyncio.sleep(0.52 * number)
                took.append(await interrupt(client, prompts[-1]))
            finally:
                farm_redis.thaw() if failure == "frozen" else farm_redis.start()
        check(took, f"Redis {failure} while the gate waits")
        for prompt in prompts:
            await gone(client, prompt)
        await next_prompt_runs(client)


@pytest.mark.parametrize("failure", ["frozen", "dead"])
async def test_with_redis_that_has_failed_before_the_gate_opens(one: ComfyUI, farm_redis: Any, failure: str):
    async with one.client() as client:
        took = []
        farm_redis.freeze() if failure == "frozen" else farm_redis.kill()
        try:
            for number in range(ROUNDS):
                prompt = await client.queue(gate_graph())
                await client.event("executing", prompt_id=prompt, node="2")
                # From within the gate's opening to well after it.
                await asyncio.sleep(0.1 + 0.83 * number)
                took.append(await interrupt(client, prompt))
        finally:
            farm_redis.thaw() if failure == "frozen" else farm_redis.start()
        check(took, f"Redis {failure} before the gate opens")
        await next_prompt_runs(client)


async def test_an_interrupt_stops_a_busy_node_and_the_gate_beside_it(alone: ComfyUI):
    async with alone.client() as client:
        graph = gate_graph()
        graph["20"] = node("ProbeBusy", image=["1", 0], seconds=60.0)
        graph["22"] = node("PreviewImage", images=["20", 0])
        prompt = await client.queue(graph)
        await client.event("executing", prompt_id=prompt, node="20")
        await interrupt(client, prompt)
        await gone(client, prompt)
        await next_prompt_runs(client)


async def test_a_cancel_over_the_api_ends_the_wait_as_fast(alone: ComfyUI):
    async with alone.client() as client:
        took = []
        for _ in range(ROUNDS):
            prompt = await client.queue(gate_graph())
            _, gate = await client.event("gatebus.gate", prompt_id=prompt)
            await asyncio.sleep(0.2)
            start = time.monotonic()
            status, _ = await client.ask("POST", f"/gatebus/gates/{gate['gate_id']}/cancel", json={})
            assert status == 200
            at, _ = await client.event("execution_interrupted", prompt_id=prompt)
            took.append(at - start)
        check(took, "cancel over the API")


async def test_a_prompt_interrupted_before_its_gate_was_reached_opens_none(alone: ComfyUI):
    async with alone.client() as client:
        graph = gate_graph()
        graph["20"] = node("ProbeBusy", image=["1", 0], seconds=60.0)
        graph["2"]["inputs"]["image"] = ["20", 0]
        prompt = await client.queue(graph)
        await client.event("executing", prompt_id=prompt, node="20")
        await interrupt(client, prompt)
        _, answer = await client.ask("GET", "/gatebus/gates", params={"status": "all"})
        assert not [gate for gate in answer["gates"] if gate["prompt_id"] == prompt]
