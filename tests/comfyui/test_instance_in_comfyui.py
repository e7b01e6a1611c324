"""A real ComfyUI announces itself: what it is, what it runs, what waits; and withdraws when it ends in order."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.comfyui.graphs import gate_graph
from tests.comfyui.process import ComfyUI


async def until(client: Any, condition: Callable[[list[dict[str, Any]]], Any], limit: float = 30) -> Any:
    """The condition's value over the list of instances, once it is true."""
    deadline = time.monotonic() + limit
    while True:
        status, answer = await client.ask("GET", "/gatebus/instances")
        assert status == 200, answer
        value = condition(answer["instances"])
        if value:
            return value
        assert time.monotonic() < deadline, answer
        await asyncio.sleep(0.1)


async def test_a_comfyui_tells_what_it_is_and_what_its_queue_holds(alone: ComfyUI) -> None:
    async with alone.client() as client:
        own = (await until(client, lambda found: found))[0]
        assert (own["name"], own["url"], own["reach"]) == ("alone", alone.url, "loopback")
        _, stats = await client.ask("GET", "/system_stats")
        assert own["comfyui"] == stats["system"]["comfyui_version"]
        assert own["devices"][0]["type"] == stats["devices"][0]["type"]
        assert own["devices"][0]["vram_total"] == stats["devices"][0]["vram_total"]
        assert not own["gone"]

        first, second = await client.queue(gate_graph()), await client.queue(gate_graph())
        busy = await until(
            # Of the prompt before it the last look may still tell.
            client, lambda found: found[0]["pending"] and found[0]["running"] and found[0]["running"][0]["node"]
            and found[0]["running"][0]["prompt_id"] == first and found[0],
        )  # fmt: skip
        assert [(each["prompt_id"], each["node"]) for each in busy["running"]] == [(first, "2")]
        assert [(each["prompt_id"], each["position"], each["client"]) for each in busy["next"]] == [
            (second, 1, client.id[:8])
        ]
        (gate,) = await client.gates(first)
        assert gate["owner"] == f"{busy['id']}:{busy['boot']}"
        for prompt in (first, second):
            (gate,) = await client.gates(prompt)
            await client.route(gate["id"], 1)
            await client.ended(prompt)
        await until(client, lambda found: not found[0]["running"] and not found[0]["pending"])


@pytest.mark.redis
async def test_one_that_ends_in_order_is_gone_at_once_and_a_killed_one_when_its_lease_is_over(
    start_comfyui: Callable[..., ComfyUI], one: ComfyUI, farm_redis: Any
) -> None:
    other = start_comfyui("short", GATEBUS_INSTANCE="short", GATEBUS_STORE_URL=farm_redis.url, GATEBUS_LEASE="6")

    def named(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [each for each in found if each["name"] == "short"]

    async with one.client() as client:
        await until(client, named)
        other.stop(signal.SIGINT)
        await until(client, lambda found: not named(found), limit=5)
        other.start()
        await until(client, named)
        other.stop()
        assert (await until(client, lambda found: [each for each in named(found) if each["gone"]], limit=15))[0]["url"]
