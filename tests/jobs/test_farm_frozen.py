"""Brokers that stop for a while, as a machine that sleeps does, and one machine's broker that is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis_server import RedisServer, free_port

from broker.farm.submission import Submission
from broker.jobs.local import LocalJobs
from broker.jobs.record import Job, Limits
from broker.jobs.redis import open_redis_jobs
from broker.jobs.store import JobStore
from gates.settings import Settings
from tests.farm_world import graph

TESTS = Path(__file__).resolve().parent.parent
LEASE = 1.5
LIMIT = 60.0


@dataclass
class Processes:
    """Two stand-ins and brokers over one job store, each a process."""

    folder: Path
    store: str
    """As farm_broker.py takes it: a Redis URL, or a folder."""
    jobs: JobStore
    ports: list[int] = field(default_factory=lambda: [free_port(), free_port()])
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        kind, _, number = name.partition("-")
        if kind == "comfy":
            words = ["comfy_server.py", "--port", str(self.ports[int(number)]), "--base", str(self.folder / name)]
        else:
            urls = [f"http://127.0.0.1:{port}" for port in self.ports]
            words = ["farm_broker.py", self.store, str(LEASE), *urls]
        with open(self.folder / f"{name}.log", "ab") as log:
            command = [sys.executable, str(TESTS / words[0]), *words[1:]]
            self.running[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def signal(self, name: str, number: int) -> None:
        self.running[name].send_signal(number)
        if number == signal.SIGKILL:
            self.running.pop(name).wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def submit(self, number: int, seconds: float) -> Job:
        prompt = graph(seconds, prefix=f"job{number}", seed=number)
        return Submission(prompt, title=f"job{number}").submit(self.jobs)

    def until(self, what: str, true: object) -> None:
        end = time.monotonic() + LIMIT
        while not true():  # type: ignore[operator]
            assert time.monotonic() < end, (what, self.jobs.counts(), {name: self.log(name) for name in self.running})
            time.sleep(0.05)

    def completed(self) -> Counter[str]:
        """Job title -> copies that ran to their end."""
        files = (file for number in range(2) for file in (self.folder / f"comfy-{number}" / "output").rglob("job*.png"))
        return Counter(file.name.partition("_")[0] for file in files)

    def unnoticed(self, given: list[Job]) -> list[tuple[str, int]]:
        """Jobs of which more copies ran to their end than they tell."""
        completed, shown = self.completed(), [self.jobs.get(job.id) for job in given]
        assert {job.state for job in shown} == {"done"}
        assert [job.title for job in shown if len(job.outputs) != 1 or not completed[job.title]] == []
        most = {job.title: 1 + max(job.copies, len(job.attempts)) for job in shown}
        return [(title, completed[title]) for title in most if completed[title] > most[title]]


def ended(processes: Processes) -> None:
    for name in list(processes.running):
        processes.signal(name, signal.SIGCONT)
        processes.signal(name, signal.SIGKILL)
    processes.jobs.close()


@pytest.fixture
def on_redis(own_redis: RedisServer, tmp_path: Path) -> Iterator[Processes]:
    jobs = open_redis_jobs(Settings(store_url=own_redis.url), Limits(lease=LEASE))
    made = Processes(tmp_path, own_redis.url, jobs)
    yield made
    ended(made)


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[Processes]:
    (tmp_path / "state").mkdir()
    jobs = LocalJobs(tmp_path / "state" / "jobs", Limits(lease=LEASE))
    made = Processes(tmp_path, str(tmp_path / "state"), jobs)
    yield made
    ended(made)


@pytest.mark.redis
@pytest.mark.timeout(180)
def test_what_a_frozen_broker_held_another_ends_and_woken_it_does_nothing_more(on_redis: Processes) -> None:
    farm = on_redis
    for name in ("comfy-0", "comfy-1", "broker-0"):
        farm.start(name)
    held = [farm.submit(number, 3.0) for number in range(2)]
    farm.until("both run", lambda: [farm.jobs.get(job.id).state for job in held] == ["running"] * 2)
    before = [farm.jobs.get(job.id) for job in held]
    farm.signal("broker-0", signal.SIGSTOP)
    farm.start("broker-1")
    farm.until("both end", lambda: all(farm.jobs.get(job.id).has_ended for job in held))
    after = [farm.jobs.get(job.id) for job in held]
    assert [job.prompt_id for job in after] == [job.prompt_id for job in before]
    assert [job.fence for job in after] == [2, 2]
    assert len({job.broker for job in after + before}) == 2
    farm.signal("broker-0", signal.SIGCONT)
    farm.until("it sees that they are another's", lambda: farm.log("broker-0").count(": job ") >= 2)
    assert [farm.jobs.get(job.id) for job in held] == after
    # It works on, for new jobs.
    farm.signal("broker-1", signal.SIGKILL)
    again = farm.submit(7, 0.0)
    farm.until("a new one ends", lambda: farm.jobs.get(again.id).has_ended)
    assert farm.unnoticed([*held, again]) == []
    assert farm.completed() == {"job0": 1, "job1": 1, "job7": 1}
    assert farm.jobs.places() == {}


@pytest.mark.slow
@pytest.mark.redis
@pytest.mark.timeout(240)
def test_brokers_that_freeze_and_wake_again_and_again_lose_no_job(on_redis: Processes) -> None:
    farm, chance = on_redis, random.Random(5)
    names = ["broker-0", "broker-1", "broker-2"]
    for name in ("comfy-0", "comfy-1", *names):
        farm.start(name)
    count = int(os.environ.get("FREEZE_JOBS", "60"))
    given = [farm.submit(number, chance.uniform(0.05, 0.8)) for number in range(count)]
    freezes = 0
    while farm.jobs.counts()["ended"] < count:
        frozen = chance.sample(names, 2)
        for name in frozen:
            farm.signal(name, signal.SIGSTOP)
        # Mostly longer than the lease, sometimes not.
        time.sleep(chance.uniform(0.6 * LEASE, 2.2 * LEASE))
        for name in frozen:
            farm.signal(name, signal.SIGCONT)
        freezes += 2
        assert freezes < 100, farm.jobs.counts()
        time.sleep(chance.uniform(0, 0.3))
    farm.until("copies are seen to", lambda: not farm.jobs.strays())
    print(
        f"{freezes} freezes; taken over: {sum(farm.jobs.get(job.id).fence > 1 for job in given)} of {count};"
        f" copies {Counter(farm.completed().values())}"
    )
    assert farm.unnoticed(given) == []
    assert any(farm.jobs.get(job.id).fence > 1 for job in given)
    assert farm.jobs.places() == {}


@pytest.mark.timeout(180)
def test_a_killed_broker_without_redis_goes_on_with_its_jobs(on_disk: Processes) -> None:
    farm = on_disk
    for name in ("comfy-0", "comfy-1", "broker-0"):
        farm.start(name)
    given = [farm.submit(number, 0.4) for number in range(12)]
    for kills in range(3):
        farm.until("some have ended", lambda kills=kills: farm.jobs.counts()["ended"] >= 3 * kills + 1)
        farm.signal("broker-0", signal.SIGKILL)
        farm.start("broker-0")
    farm.until("all end", lambda: farm.jobs.counts()["ended"] == 12)
    farm.until("copies are seen to", lambda: not farm.jobs.strays())
    assert farm.unnoticed(given) == []
    assert sum(farm.jobs.get(job.id).fence > 1 for job in given) > 0
    assert farm.jobs.places() == {}
