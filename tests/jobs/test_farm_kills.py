"""Broker and instance processes are killed again and again under hundreds of jobs, and everything is counted."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from farm_world import graph
from redis_server import RedisServer, free_port

from broker.farm.needs import needs_of
from broker.jobs.record import Job, Limits
from broker.jobs.redis import RedisJobs, open_redis_jobs
from gates.settings import Settings

TESTS = Path(__file__).resolve().parent.parent
JOBS = int(os.environ.get("KILL_JOBS", "300"))
BROKER_KILLS = JOBS // 10
INSTANCE_KILLS = JOBS // 30
LEASE = 1.5


@dataclass
class Farm:
    """Processes of a farm: two instances and three brokers."""

    redis: RedisServer
    folder: Path
    ports: list[int] = field(default_factory=lambda: [free_port(), free_port()])
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        kind, _, number = name.partition("-")
        if kind == "comfy":
            base = self.folder / name
            options = ["--port", str(self.ports[int(number)]), "--base", str(base)]
            command = [str(TESTS / "comfy_server.py"), *options, *(["--jobs"] if number == "1" else [])]
        else:
            urls = [f"http://127.0.0.1:{port}" for port in self.ports]
            command = [str(TESTS / "farm_broker.py"), self.redis.url, str(LEASE), *urls]
        with open(self.folder / f"{name}.log", "ab") as log:
            self.running[name] = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def completed(self) -> Counter[str]:
        """Job title -> copies that ran to their end, told by the files that they wrote."""
        files = (file for number in range(2) for file in (self.folder / f"comfy-{number}").rglob("job*_*.png"))
        return Counter(file.name.partition("_")[0] for file in files if "output" in file.parts)


def submit(jobs: RedisJobs, number: int, chance: random.Random) -> Job:
    prompt = graph(chance.uniform(0.02, 0.3), prefix=f"job{number}", seed=number)
    needs = needs_of(prompt)
    blob = jobs.put_blob(json.dumps({"prompt": prompt, "extra_data": {}}).encode())
    who = chance.choice(("ann", "bob", "cy"))
    return jobs.submit(Job(uuid.uuid4().hex, title=f"job{number}", submitter=who, prompt=blob, nodes=needs.nodes))


@pytest.mark.slow
@pytest.mark.redis
@pytest.mark.timeout(600)
def test_no_job_is_lost_and_none_runs_twice_unnoticed_while_brokers_and_instances_are_killed(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    chance = random.Random(11)
    farm = Farm(own_redis, tmp_path)
    jobs = open_redis_jobs(Settings(store_url=own_redis.url), Limits(lease=LEASE))
    names = ["comfy-0", "comfy-1", "broker-0", "broker-1", "broker-2"]
    kills: Counter[str] = Counter()
    try:
        for name in names:
            farm.start(name)
        given = [submit(jobs, number, chance) for number in range(JOBS)]
        deadline = time.monotonic() + 500
        while jobs.counts()["ended"] < JOBS:
            assert time.monotonic() < deadline, jobs.counts()
            ended = jobs.counts()["ended"]
            # Spread over the whole run, so that every step is hit.
            wanted = {"broker": BROKER_KILLS * ended // JOBS + 1, "comfy": INSTANCE_KILLS * ended // JOBS + 1}
            for kind, most in (("broker", BROKER_KILLS), ("comfy", INSTANCE_KILLS)):
                if kills[kind] < min(wanted[kind], most):
                    name = chance.choice([each for each in names if each.startswith(kind)])
                    farm.kill(name)
                    kills[kind] += 1
                    time.sleep(chance.uniform(0, 0.3))
                    farm.start(name)
            time.sleep(chance.uniform(0.05, 0.4))
        until_settled = time.monotonic() + 60
        while jobs.strays() and time.monotonic() < until_settled:
            time.sleep(0.2)
        shown = [jobs.get(each.id) for each in given]
        completed = farm.completed()
        print(kills, Counter(each.state for each in shown), "attempts", Counter(each.attempt for each in shown))
        print("completed", Counter(completed.values()), "adopted", sum(each.fence > each.attempt for each in shown))
        assert {each.state for each in shown} == {"done"}
        assert [each.title for each in shown if not each.outputs] == []
        assert [each.title for each in shown if not completed[each.title]] == []
        # Each further copy that ran to its end is told by the job: as a copy, or as an attempt whose end nobody saw.
        unnoticed = [
            (each.title, completed[each.title], each.attempts)
            for each in shown
            if completed[each.title] > 1 + max(each.copies, len(each.attempts))
        ]
        assert unnoticed == []
        assert (kills["broker"], kills["comfy"]) == (BROKER_KILLS, INSTANCE_KILLS)
        assert jobs.places() == {}
        assert jobs.strays() == []
    finally:
        for name in list(farm.running):
            farm.kill(name)
        jobs.close()
