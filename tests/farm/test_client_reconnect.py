"""A hundred prompts while the stream is cut at random, the server starts anew and answers get lost: counted."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest
from comfy_server import ComfyServer

from broker.comfyui.connection import Limits
from tests.farm.client_world import client_of, steps

pytestmark = pytest.mark.slow
LIMITS = Limits(connect=2, timeout=5, patience=30)


async def cut(server: ComfyServer, chance: random.Random) -> int:
    count = 0
    while True:
        await asyncio.sleep(chance.uniform(0.005, 0.12))
        count += server.sockets.cut()


@pytest.mark.parametrize("jobs", [False, True], ids=["without jobs", "with jobs"])
async def test_a_hundred_prompts_over_a_stream_that_is_cut_at_random_none_lost_none_doubled(
    tmp_path: Path, jobs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It comes again as fast as it is cut.
    monkeypatch.setattr("broker.comfyui.stream.MAX_PAUSE", 0.05)
    chance = random.Random(7)
    async with ComfyServer(tmp_path, jobs=jobs).serving() as server, client_of(server, limits=LIMITS) as client:
        cutter = asyncio.create_task(cut(server, chance))

        async def one(seed: int) -> tuple[str, str, int]:
            await asyncio.sleep(chance.uniform(0, 3))
            submission = await client.submit(steps(3, 0.005, seed=seed))
            outcome = await client.wait(submission.prompt_id)
            return submission.prompt_id, outcome.state, len(outcome.files)

        ended = await asyncio.gather(*(one(seed) for seed in range(100)))
        cutter.cancel()
        assert Counter(state for _, state, _ in ended) == {"done": 100}
        assert {files for _, _, files in ended} == {1}
        assert sorted(server.prompts.executed) == sorted(prompt_id for prompt_id, _, _ in ended)
        assert server.faults.count("GET", "/ws") > 20


async def test_a_hundred_prompts_whose_answers_get_lost_none_lost_none_doubled(tmp_path: Path) -> None:
    chance = random.Random(8)
    async with ComfyServer(tmp_path).serving() as server, client_of(server, limits=LIMITS) as client:
        cutter = asyncio.create_task(cut(server, chance))

        async def one(seed: int) -> str:
            await asyncio.sleep(chance.uniform(0, 3))
            if chance.random() < 0.4:
                server.faults.add("/prompt", chance.choice(["drop_before", "drop_after"]), method="POST")
            if chance.random() < 0.4:
                server.faults.add(chance.choice(["/queue", "/api/jobs"]), chance.choice(["drop_before", "cut"]))
            submission = await client.submit(steps(2, 0.005, seed=seed))
            assert (await client.wait(submission.prompt_id)).state == "done"
            return submission.prompt_id

        ended = await asyncio.gather(*(one(seed) for seed in range(100)))
        cutter.cancel()
        assert sorted(server.prompts.executed) == sorted(ended)


async def test_a_hundred_prompts_over_restarts_are_done_or_lost_and_those_that_are_lost_are_done_when_sent_again(
    tmp_path: Path,
) -> None:
    chance = random.Random(9)
    async with ComfyServer(tmp_path).serving() as server, client_of(server, limits=LIMITS, away=30) as client:
        counts: Counter[str] = Counter()

        async def one(seed: int) -> list[str]:
            await asyncio.sleep(chance.uniform(0, 3))
            sent: list[str] = []
            while True:
                sent.append((await client.submit(steps(3, 0.01, seed=seed))).prompt_id)
                outcome = await client.wait(sent[-1])
                counts[outcome.state] += 1
                if outcome.state == "done":
                    return sent
                assert outcome.state == "lost"
                assert outcome.error is not None
                assert outcome.error.details["restarted"] is True

        async def restart() -> None:
            for _ in range(5):
                await asyncio.sleep(chance.uniform(0.3, 0.9))
                await server.restart(pause=0.1)

        restarting = asyncio.create_task(restart())
        ended = await asyncio.gather(*(one(seed) for seed in range(100)))
        await restarting
        assert counts["done"] == 100
        assert counts["lost"] > 0
        # Each was told done once; what had run and was then forgotten by the server ran again, and was told lost.
        assert all(Counter(server.prompts.executed)[sent[-1]] == 1 for sent in ended)
        assert max(Counter(server.prompts.executed).values()) == 1
