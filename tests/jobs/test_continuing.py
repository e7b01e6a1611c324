"""What was decided at a parked gate goes on as one job of the farm, whoever dies on the way."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import comfy_nodes
import pytest
from comfy_server import ComfyServer
from farm_world import LEASE, quick_client
from parked_world import NODES, Studio, decided, files, parked, prompt
from redis_server import RedisServer

from broker.cancelling import cancelled
from broker.farm import carrier, continuing
from broker.farm.continuing import FARM, Continuing
from broker.farm.dispatcher import Dispatcher
from broker.farm.mounting import STOP_PATIENCE, carry
from broker.jobs.local import LocalJobs
from broker.jobs.record import PRIORITIES, Failure, Job, Limits, Offer, Reason
from broker.jobs.redis import open_redis_jobs
from broker.jobs.store import JobStore
from gates.cut import run_id
from gates.gate.record import Gate
from gates.runs import Run, advance
from gates.settings import Settings
from gates.store import Store, open_store

TESTS = Path(__file__).resolve().parent.parent
LIMITS = Limits(lease=LEASE)


def job_id(store: Store, gate: Gate) -> str:
    """Under which its run is submitted as it is decided now."""
    lead = store.gates.get(gate.id)
    return run_id(lead, store.gates.family(lead))


# -- the submitter alone ------------------------------------------------------------------


class Desk:
    """A store with one decided gate, jobs that nobody carries, and the farm's submitter."""

    def __init__(self, store: Store, jobs: JobStore) -> None:
        self.store, self.jobs = store, jobs
        self.able = True
        self.submitter = Continuing(store, jobs, lambda job: self.able)

    def look(self) -> int:
        return advance(self.store, self.submitter)

    def run(self, **more: object) -> Gate:
        """A gate whose run was submitted."""
        lead = decided(self.store, parked(self.store), 2)
        assert self.look() == 1
        return self.store.gates.get(lead.id)

    def job(self, lead: Gate) -> Job:
        return self.jobs.get(lead.run_id)

    def sent(self, lead: Gate) -> Job:
        reason = Reason("i1", "laptop", True, "free")
        claimed = self.jobs.claim("b1", [Offer(lead.run_id, "i1", 9, "laptop", "http://i1", (reason,))])
        assert claimed is not None
        return self.jobs.send(claimed, str(uuid.uuid4()))

    def seen(self, lead: Gate, state: str) -> Gate:
        """The gate once its run is noted to stand so."""
        end = time.monotonic() + 20
        while True:
            self.look()
            now = self.store.gates.get(lead.id)
            if now.run == state:
                return now
            assert time.monotonic() < end, now
            time.sleep(0.05)


@pytest.fixture(params=["local", "redis"])
def desk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(continuing, "SOONEST", 0.1)
    if request.param == "local":
        store = open_store(Settings(), tmp_path / "disk", tmp_path / "state")
        jobs: JobStore = LocalJobs(tmp_path / "jobs", LIMITS, store.events)
    else:
        settings = Settings(store_url=request.getfixturevalue("redis_server").url)
        store = open_store(settings, tmp_path / "disk", tmp_path / "state")
        jobs = open_redis_jobs(settings, LIMITS)
    yield Desk(store, jobs)
    jobs.close()
    store.close()


def test_a_run_is_a_job_of_its_own_id_by_whom_who_decided_and_goes_before_others(desk: Desk) -> None:
    lead = desk.run()
    job = desk.job(lead)
    assert (lead.run, lead.run_id, lead.run_by, lead.run_on) == (
        "submitted",
        job_id(desk.store, lead),
        FARM,
        "the farm",
    )
    assert (job.state, job.title, job.submitter) == ("queued", "portrait → redo", "anna")
    assert (job.priority, job.gates) == (PRIORITIES["high"], True)
    document = json.loads(desk.jobs.blob(job.prompt))
    assert document["extra_data"] == {"extra_pnginfo": {"workflow": {"id": "w"}}}
    # Only what the route feeds, and the gate that carries its decision out.
    assert {node["class_type"] for node in document["prompt"].values()} == {
        "ImageGate",
        "SaveImage",
        "GatebusContinued",
    }
    assert lead.decision is not None
    assert document["prompt"]["2"]["inputs"]["resume"] == f"{lead.id}:{lead.decision.id}"


def test_whoever_looks_next_finds_the_job_and_makes_no_other(desk: Desk) -> None:
    lead = desk.run()
    for _ in range(5):
        time.sleep(0.15)
        other = Continuing(desk.store, desk.jobs, lambda job: True)
        advance(desk.store, other)
    assert [job.id for job in desk.jobs.page(10)[0]] == [lead.run_id]


def test_a_broker_that_died_before_or_after_it_submitted_is_succeeded(desk: Desk) -> None:
    before, after = (decided(desk.store, parked(desk.store)) for _ in range(2))
    for lead in (before, after):
        assert desk.store.gates.claim_run(lead.id, FARM, 200) is not None
    claimed = desk.store.gates.get(after.id)
    desk.submitter.submit(
        Run(job_id(desk.store, claimed), claimed, tuple(desk.store.gates.family(claimed)), desk.store)
    )
    assert desk.look() == 0
    for lead in (before, after):
        assert desk.seen(lead, "submitted").run_id == job_id(desk.store, lead)
    assert len(desk.jobs.page(10)[0]) == 2


def test_what_no_instance_of_the_farm_can_run_is_left_alone(desk: Desk) -> None:
    desk.able = False
    lead = decided(desk.store, parked(desk.store))
    asked: list[Job] = []
    desk.submitter = Continuing(desk.store, desk.jobs, lambda job: bool(asked.append(job)))
    for _ in range(3):
        assert desk.look() == 0
    shown = desk.store.gates.get(lead.id)
    assert (shown.run, shown.run_by) == ("pending", "")
    assert desk.jobs.page(1)[0] == []
    assert set(asked[0].nodes) == {"ImageGate", "ProbeBusy", "SaveImage", "GatebusContinued"}
    assert all(job.gates for job in asked)
    # A ComfyUI that has it keeps it while it tells of itself, and is succeeded when it does not.
    assert desk.store.gates.claim_run(lead.id, "studio", 1) is not None
    desk.submitter = Continuing(desk.store, desk.jobs, lambda job: True)
    time.sleep(0.05)
    assert desk.look() == 0


def test_a_run_that_a_comfyui_left_behind_is_taken_over(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    lead = decided(desk.store, parked(desk.store))
    assert desk.store.gates.claim_run(lead.id, "studio", 1) is not None
    monkeypatch.setattr(continuing, "TAKEOVER", 0.3)
    assert desk.seen(lead, "submitted").run_by == FARM


@pytest.mark.parametrize(
    ("state", "error", "told"),
    [
        ("failed", Failure("execution", "out of luck", "7", "KSampler"), "KSampler #7: out of luck"),
        ("failed", Failure("validation", "no such model"), "no such model"),
        ("lost", Failure("lost", "It was sent 5 times"), "Its job was lost: It was sent 5 times"),
        ("cancelled", None, "Its job was cancelled by eve"),
        ("done", None, continuing.NOT_APPLIED),
    ],
)
def test_how_the_job_ends_is_how_the_run_ends(desk: Desk, state: str, error: Failure | None, told: str) -> None:
    lead = desk.run()
    sent = desk.sent(lead)
    assert desk.seen(lead, "submitted").run_error == ""
    if state == "cancelled":
        desk.jobs.cancel(sent.id, "eve")
    desk.jobs.finish(sent, state, error=error)
    failed = desk.seen(lead, "failed")
    assert (failed.run_error, failed.run_on) == (told, "laptop")
    assert desk.store.gates.due_runs() == []
    # As what it is, it can be run again, under another id.
    assert failed.decision is not None
    again = desk.store.gates.again(lead.id, replace(failed.decision, id="again"))
    assert desk.seen(again, "submitted").run_id != lead.run_id


def test_a_decision_that_was_carried_out_is_done_when_its_job_is(desk: Desk) -> None:
    lead = desk.run()
    sent = desk.sent(lead)
    assert lead.decision is not None
    desk.store.gates.resume(lead.id, lead.decision.id, sent.prompt_id).apply()
    desk.jobs.finish(sent, "done")
    # Its ComfyUI has ended in the same moment, and tells nothing.
    assert desk.seen(lead, "done").run_error == ""


def test_a_run_whose_job_waits_in_vain_says_why(desk: Desk) -> None:
    lead = desk.run()
    desk.jobs.explain(desk.job(lead), [Reason("i1", "laptop", False, "lacks the node KSampler")])
    assert desk.seen(lead, "submitted").run_error == ""
    desk.able = False
    end = time.monotonic() + 10
    while not desk.store.gates.get(lead.id).run_error:
        assert time.monotonic() < end
        desk.look()
        time.sleep(0.05)
    assert desk.store.gates.get(lead.id).run_error == "laptop: lacks the node KSampler"


def test_while_the_farm_has_too_many_jobs_the_run_waits_and_says_so(desk: Desk) -> None:
    desk.jobs.limits = replace(LIMITS, queued=0)  # type: ignore[attr-defined]
    lead = decided(desk.store, parked(desk.store))
    assert desk.look() == 1
    shown = desk.store.gates.get(lead.id)
    assert shown.run == "pending"
    assert "more are not taken" in shown.run_error
    assert desk.jobs.page(1)[0] == []


def test_what_is_not_kept_any_more_fails_with_the_reason(desk: Desk) -> None:
    lead = decided(desk.store, parked(desk.store))
    desk.submitter = Continuing(desk.store, desk.jobs, lambda job: False)
    gone = Gate(**{**lead.__dict__, "id": "0" * 32})
    assert desk.submitter.takes(gone, 0)


# -- on a farm ----------------------------------------------------------------------------


class Farm:
    """Two stand-ins with the pack, and brokers, on the loop of the test."""

    def __init__(self, redis: RedisServer, folder: Path) -> None:
        self.settings = Settings(store_url=redis.url, tick=0.2, lease=LEASE)
        self.folder = folder
        self.jobs = open_redis_jobs(self.settings, LIMITS)
        self.store = open_store(self.settings, folder / "person", folder / "person")
        self.studios: list[Studio] = []
        self.brokers: list[asyncio.Task[None]] = []
        self._closers: list[Callable[[], None]] = [self.store.close, self.jobs.close]

    async def studio(self) -> Studio:
        name = f"studio{len(self.studios)}"
        server = ComfyServer(self.folder / name, jobs=bool(self.studios))
        await server.start()
        self.studios.append(Studio(server, self.settings, self.folder / f"{name}-state", name))
        self.studios[-1].start()
        return self.studios[-1]

    def broker(self) -> asyncio.Task[None]:
        place = self.folder / f"broker{len(self.brokers)}"
        store, jobs = open_store(self.settings, place, place), open_redis_jobs(self.settings, LIMITS)
        self._closers += [store.close, jobs.close]
        dispatcher = Dispatcher(store, jobs, lease=LEASE, client_of=quick_client)
        self.brokers.append(asyncio.create_task(carry(store, jobs, dispatcher)))
        return self.brokers[-1]

    async def until(self, condition: Callable[[], object], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not await asyncio.to_thread(condition):
            shown = [(gate.run, gate.run_error, gate.run_on) for gate in self.store.gates.records(live=False)]
            jobs = [(job.state, job.note, job.reasons, job.attempts, job.error) for job in self.jobs.page(5)[0]]
            assert time.monotonic() < end, (shown, jobs)
            await asyncio.sleep(0.05)

    async def ended(self, lead: Gate, state: str = "done", seconds: float = 30) -> Gate:
        await self.until(lambda: self.store.gates.get(lead.id).run == state, seconds)
        return self.store.gates.get(lead.id)

    def jobs_of(self, lead: Gate) -> list[Job]:
        return [job for job in self.jobs.page(100)[0] if job.id == job_id(self.store, lead)]

    @property
    def applied(self) -> list[str]:
        return [gate_id for studio in self.studios for gate_id in studio.applied]

    async def close(self) -> None:
        await cancelled(self.brokers, STOP_PATIENCE)
        for studio in self.studios:
            await studio.close()
        for close in self._closers:
            await asyncio.to_thread(close)


@asynccontextmanager
async def opened(redis: RedisServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Farm]:
    for name, node in NODES.items():
        monkeypatch.setitem(comfy_nodes.NODES, name, node)
    monkeypatch.setattr(carrier, "REPORT", 0.05)
    monkeypatch.setattr(carrier, "AGAIN", 0.1)
    monkeypatch.setattr(carrier, "REFUSED_FOR", 0.5)
    monkeypatch.setattr(continuing, "SOONEST", 0.3)
    made = Farm(redis, folder)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def farm(redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Farm]:
    async with opened(redis_server, tmp_path, monkeypatch) as made:
        yield made


async def test_a_decision_goes_on_at_an_instance_of_the_farm_once(farm: Farm) -> None:
    first = await farm.studio()
    await farm.studio()
    farm.broker()
    farm.broker()
    gates = [await asyncio.to_thread(parked, first.store, prompt(name=str(number))) for number in range(6)]
    for number, gate in enumerate(gates):
        await asyncio.to_thread(decided, farm.store, gate, 1 + number % 2)
    ended = [await farm.ended(gate) for gate in gates]
    assert sorted(farm.applied) == sorted(gate.id for gate in gates)
    assert [len(farm.jobs_of(gate)) for gate in gates] == [1] * 6
    for gate in ended:
        await farm.until(lambda gate=gate: farm.jobs.get(gate.run_id).state == "done")  # type: ignore[misc]
    made = [
        [files(studio, f"{name}{number}") for studio in farm.studios]
        for number in range(6)
        for name in ("kept", "redone")
    ]
    assert [sum(map(len, each)) for each in made] == [1, 0, 0, 1] * 3
    assert {gate.run_on for gate in ended} <= {"studio0", "studio1", "the farm"}


async def test_without_an_instance_that_can_it_waits_for_one_that_comes(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(comfy_nodes.NODES, "OnlyHere")
    first = await farm.studio()
    farm.broker()
    gate = await asyncio.to_thread(parked, first.store, prompt(kind="OnlyHere"))
    await asyncio.to_thread(decided, farm.store, gate, 2)
    # Long enough for many looks, with the instance known.
    other = await asyncio.to_thread(parked, first.store, prompt(kind="OnlyHere"))
    await asyncio.to_thread(decided, farm.store, other, 1)
    await farm.ended(other)
    shown = farm.store.gates.get(gate.id)
    assert (shown.run, shown.run_by) == ("pending", "")
    assert farm.jobs_of(gate) == []
    monkeypatch.setitem(comfy_nodes.NODES, "OnlyHere", NODES["OnlyHere"])
    second = await farm.studio()
    await farm.ended(gate)
    assert files(second, "redone")
    assert second.applied == [gate.id]


async def test_an_error_in_the_run_is_told_at_its_gate(farm: Farm) -> None:
    studio = await farm.studio()
    farm.broker()
    for tells, what in ((True, "luck"), (False, "luck"), (True, "memory")):
        studio.tells = tells
        gate = await asyncio.to_thread(parked, studio.store, prompt(kind="Broken", name=what))
        await asyncio.to_thread(decided, farm.store, gate, 2)
        failed = await farm.ended(gate, "failed")
        assert f"out of {what}" in failed.run_error
        await farm.until(lambda failed=failed: farm.jobs.get(failed.run_id).state == "failed")  # type: ignore[misc]
        assert farm.jobs.get(failed.run_id).attempt == 1
        # By its ComfyUI, or by its job when that says nothing.
        assert ("Broken #5" in failed.run_error) is not tells


async def test_the_run_of_an_instance_that_dies_ends_at_another_one(farm: Farm) -> None:
    first = await farm.studio()
    farm.broker()
    gate = await asyncio.to_thread(parked, first.store, prompt(seconds=5))
    await asyncio.to_thread(decided, farm.store, gate)
    await farm.until(lambda: first.applied)
    second = await farm.studio()
    await first.die()
    await farm.ended(gate, seconds=60)
    assert (first.applied, second.applied) == ([gate.id], [gate.id])
    (job,) = farm.jobs_of(gate)
    assert job.attempt == 2
    assert (files(first, "kept"), len(files(second, "kept"))) == ([], 1)


async def test_over_kills_of_redis_each_run_is_one_job_and_ends(
    own_redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(own_redis, tmp_path, monkeypatch) as farm:
        first = await farm.studio()
        await farm.studio()
        farm.broker()
        farm.broker()
        gates = [await asyncio.to_thread(parked, first.store, prompt(0.2, name=str(number))) for number in range(8)]
        chance = random.Random(3)
        for number, gate in enumerate(gates):
            await asyncio.to_thread(decided, farm.store, gate)
            if number % 2:
                await asyncio.sleep(chance.uniform(0, 0.6))
                await asyncio.to_thread(own_redis.kill)
                await asyncio.sleep(chance.uniform(0, 0.3))
                await asyncio.to_thread(own_redis.start)
                await farm.until(lambda: not farm.store.unavailable())
        for gate in gates:
            await farm.ended(gate, seconds=60)
        assert [len(farm.jobs_of(gate)) for gate in gates] == [1] * 8
        assert set(farm.applied) == {gate.id for gate in gates}
        made = [sum(len(files(studio, f"kept{number}")) for studio in farm.studios) for number in range(8)]
        assert made == [1] * 8


@pytest.mark.slow
async def test_over_kills_of_brokers_each_run_is_one_job_and_ends(farm: Farm) -> None:
    first = await farm.studio()
    await farm.studio()
    url = farm.settings.store_url
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        command = [sys.executable, str(TESTS / "farm_broker.py"), url, str(LEASE)]
        with open(farm.folder / "brokers.log", "ab") as log:
            running.append(subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ)))

    def kill() -> None:
        process = running.pop(0)
        process.send_signal(signal.SIGKILL)
        process.wait()

    chance = random.Random(5)
    await asyncio.to_thread(start)
    try:
        gates = []
        for number in range(16):
            gates.append(await asyncio.to_thread(parked, first.store, prompt(0.1, name=str(number))))
            await asyncio.to_thread(decided, farm.store, gates[-1])
            if number % 2:
                start()
                await farm.until(lambda: any(farm.store.gates.get(gate.id).run != "pending" for gate in gates[-2:]))
                await asyncio.sleep(chance.uniform(0, 0.4))
                await asyncio.to_thread(kill)
        for gate in gates:
            await farm.ended(gate, seconds=90)
    finally:
        while running:
            await asyncio.to_thread(kill)
    assert [len(farm.jobs_of(gate)) for gate in gates] == [1] * 16
    assert sorted(set(farm.applied)) == sorted(gate.id for gate in gates)
