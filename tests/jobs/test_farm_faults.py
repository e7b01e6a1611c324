"""Instances and brokers of a farm die, forget, or fall silent at any point: no job is lost or runs twice unnoticed."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from farm_world import Farm, at, graph

from broker.farm import carrier
from broker.farm.roster import listed_id
from broker.jobs.record import Offer


async def test_jobs_of_a_killed_instance_end_at_another_one(farm: Farm) -> None:
    farm.broker()
    jobs = [farm.submit(graph(0.8, prefix=f"job{number}"), title=f"job{number}") for number in range(4)]
    await farm.until(lambda: sum(farm.state(job) == "running" for job in jobs) == 2)
    dead = farm.servers[0]
    await dead.stop()
    for job in jobs:
        assert (await farm.ended(job)).state == "done"
    assert [len(farm.runs(job)) for job in jobs] == [1] * 4
    dead.prompts.forget()
    await dead.start()
    await farm.until(lambda: farm.jobs.strays() == [], 15)
    assert [farm.jobs.get(job.id).copies for job in jobs] == [0] * 4


async def test_a_restarted_instance_that_forgot_its_queue_is_given_the_job_again(farm: Farm) -> None:
    await farm.servers[1].stop()
    farm.broker()
    job = farm.submit(graph(0.5, prefix="again"), title="again")
    await farm.until(lambda: farm.state(job) == "running")
    await farm.servers[0].restart(0.1)
    done = await farm.ended(job)
    assert (done.state, done.attempt, len(done.attempts)) == ("done", 2, 1)
    assert len(farm.runs(job)) == 1


async def test_what_a_killed_broker_sent_is_followed_and_fetched_by_another(farm: Farm) -> None:
    first = farm.broker()
    jobs = [farm.submit(graph(seconds, prefix=f"job{seconds}"), title=f"job{seconds}") for seconds in (0.3, 3.0)]
    await farm.until(lambda: [farm.state(job) for job in jobs] == ["running"] * 2)
    before = [farm.jobs.get(job.id).prompt_id for job in jobs]
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    farm.broker()
    done = [await farm.ended(job) for job in jobs]
    assert [each.state for each in done] == ["done"] * 2
    assert [each.prompt_id for each in done] == before
    assert [each.fence for each in done] == [2, 2]
    assert [len(farm.runs(job)) for job in jobs] == [1, 1]


async def test_a_job_whose_prompt_never_arrived_is_sent_anew(farm: Farm) -> None:
    job = farm.submit(graph(prefix="late"), title="late")
    url = farm.servers[0].url
    claimed = farm.jobs.claim("dead", [Offer(job.id, listed_id(url), 2, "one", url)])
    assert claimed is not None
    farm.jobs.send(claimed, str(uuid.uuid4()))
    farm.broker()
    done = await farm.ended(job)
    assert (done.state, done.attempt) == ("done", 2)
    assert len(farm.runs(job)) == 1


async def test_a_mute_instance_makes_its_jobs_unknown_and_nobody_sends_them_elsewhere(farm: Farm) -> None:
    farm.broker()
    job = farm.submit(graph(1.5, prefix="mute"), title="mute")
    await farm.until(lambda: farm.state(job) == "running")
    silent = farm.servers[at(farm, job)]
    silent.faults.add("", "drop_before", times=10**6)
    silent.sockets.cut()
    await farm.until(lambda: farm.state(job) == "unknown")
    await asyncio.sleep(1.0)
    assert farm.state(job) == "unknown"
    silent.faults.coming.clear()
    done = await farm.ended(job)
    assert (done.state, done.attempt) == ("done", 1)
    assert len(farm.runs(job)) == 1


async def test_a_copy_that_ran_on_behind_a_cut_is_noticed(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier, "GONE_AFTER", 1.0)
    farm.broker()
    job = farm.submit(graph(1.0, prefix="twice"), title="twice")
    await farm.until(lambda: farm.state(job) == "running")
    cut = farm.servers[at(farm, job)]
    cut.faults.add("", "drop_before", times=10**6)
    cut.sockets.cut()
    assert (await farm.ended(job)).state == "done"
    cut.faults.coming.clear()
    await farm.until(lambda: farm.jobs.get(job.id).copies == 1)
    assert len(farm.runs(job)) == 2
