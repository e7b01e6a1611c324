"""Many brokers at once, brokers that stop in the middle of any step, and a Redis that is killed: all is counted."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from job_world import LEASE, World, job, offer, until
from redis_server import RedisServer

from broker.jobs.record import Job, Limits
from broker.jobs.redis import RedisJobs
from broker.jobs.store import JobStore
from gates.connection import Connection
from gates.errors import Conflict, GatebusError, JobEnded, StoreUnavailable
from gates.keys import Keys
from gates.settings import Settings

INSTANCES = ("i1", "i2", "i3")
LIMIT = 2


class Instances:
    """What the instances see: which copy of which job runs, and how many of one at a time there ever were."""

    def __init__(self) -> None:
        self.running: dict[str, tuple[str, str]] = {}
        self.finished: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.crowd: Counter[str] = Counter()
        self._lock = threading.Lock()

    def start(self, job: Job) -> None:
        with self._lock:
            self.running[job.prompt_id] = (job.id, job.instance)
            copies = sum(1 for owner, _ in self.running.values() if owner == job.id)
            self.most[job.id] = max(self.most[job.id], copies)
            at = sum(1 for _, instance in self.running.values() if instance == job.instance)
            self.crowd[job.instance] = max(self.crowd[job.instance], at)

    def end(self, job: Job) -> None:
        with self._lock:
            if self.running.pop(job.prompt_id, None):
                self.finished[job.id] += 1

    def knows(self, prompt_id: str) -> bool:
        with self._lock:
            return prompt_id in self.running


class Dies(Exception):
    """The broker stops here, without a word."""


def broker(jobs: JobStore, name: str, farm: Instances, chance: random.Random, over: threading.Event) -> None:
    """Claims, sends, runs and finishes; now and then it dies, and goes on under another name."""
    while not over.is_set():
        me = f"{name}:{uuid.uuid4().hex[:6]}"
        try:
            while not over.is_set():
                one = take(jobs, me, chance)
                if one is None:
                    time.sleep(0.005)
                    continue
                carry(jobs, one, farm, chance)
        except Dies:
            continue


def take(jobs: JobStore, me: str, chance: random.Random) -> Job | None:
    for over in jobs.overdue(5):
        mine = jobs.adopt(me, over)
        if mine is not None:
            return mine
    offers = [offer(each, chance.choice(INSTANCES), LIMIT) for each in jobs.queued(5)]
    return jobs.claim(me, offers)


def carry(jobs: JobStore, one: Job, farm: Instances, chance: random.Random) -> None:
    def may_die() -> None:
        if chance.random() < 0.03:
            raise Dies

    try:
        may_die()
        if one.prompt_id and not farm.knows(one.prompt_id):
            # It was never sent, or has ended there: the stand-in's history says which.
            if farm.finished[one.id]:
                jobs.finish(one, "done")
            else:
                jobs.requeue(one, "never sent")
            return
        if not one.prompt_id:
            one = jobs.send(one, uuid.uuid4().hex)
            may_die()
            farm.start(one)
        may_die()
        jobs.progress(one, "running", 0.5)
        farm.end(one)
        may_die()
        jobs.finish(one, "done")
    except JobEnded:
        return


@pytest.mark.slow
def test_brokers_that_die_anywhere_lose_no_job_and_run_none_twice(world: World) -> None:
    count, chance = (300, random.Random(7))
    farm, over = Instances(), threading.Event()
    limits = Limits(lease=LEASE)
    jobs = world.open(limits)
    given = [jobs.submit(job(chance.choice(("ann", "bob", "cy")), chance.choice((-10, 0, 10)))) for _ in range(count)]
    threads = [
        threading.Thread(
            target=broker, args=(world.open(limits), f"b{number}", farm, random.Random(number), over), daemon=True
        )
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    try:
        until(lambda: jobs.counts()["ended"] == count, 90)
    finally:
        over.set()
        for thread in threads:
            thread.join(10)
    assert {jobs.get(each.id).state for each in given} == {"done"}
    assert [farm.finished[each.id] for each in given] == [1] * count
    assert max(farm.most.values()) == 1
    assert max(farm.crowd.values()) <= LIMIT
    assert jobs.places() == {}
    assert sum(jobs.get(each.id).fence > 1 for each in given) > 10


@pytest.mark.slow
def test_of_many_brokers_one_gets_each_job(world: World) -> None:
    jobs = world.open()
    given = [jobs.submit(job()) for _ in range(100)]
    won: Counter[str] = Counter()
    start = threading.Barrier(6)

    def race(view: JobStore, name: str) -> None:
        start.wait()
        for each in given:
            if view.claim(name, [offer(each, limit=1000)]) is not None:
                won[each.id] += 1

    threads = [threading.Thread(target=race, args=(world.open(), f"b{number}")) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [won[each.id] for each in given] == [1] * 100
    assert jobs.places()["i1"].held == 100


@pytest.mark.slow
def test_a_cancel_that_races_with_the_sending_stops_it_or_is_told_to_the_owner(world: World) -> None:
    jobs, other = world.open(), world.open()
    for _ in range(60):
        claimed = jobs.claim("b1", [offer(jobs.submit(job()), limit=1000)])
        assert claimed is not None
        gone = threading.Thread(target=other.cancel, args=(claimed.id,))
        gone.start()
        try:
            jobs.send(claimed, "p")
            sent = True
        except Conflict:
            sent = False
        gone.join()
        told = jobs.renew([claimed])[0]
        assert told.cancelling
        assert jobs.get(claimed.id).prompt_id == ("p" if sent else "")
        assert jobs.requeue(claimed, "x").state == "cancelled"


def through(jobs: JobStore, name: str) -> Iterator[Job]:
    """A job from the queue to its end, as it is answered at each step."""
    new = jobs.submit(job(name))
    yield new
    claimed = jobs.claim(name, [offer(new, limit=10**6)])
    if claimed is not None:
        yield claimed
        yield jobs.send(claimed, "p")
        yield jobs.finish(claimed, "done")


@pytest.mark.slow
@pytest.mark.redis
def test_a_killed_redis_loses_nothing_that_was_answered(own_redis: RedisServer, tmp_path: Path) -> None:
    settings = Settings(store_url=own_redis.url)
    jobs = RedisJobs(Connection(settings), Keys(), Limits(lease=5))
    answered: dict[str, str] = {}
    over = threading.Event()

    def work(name: str) -> None:
        while not over.is_set():
            try:
                for one in through(jobs, name):
                    answered[one.id] = one.state
            except StoreUnavailable:
                time.sleep(0.02)
            except GatebusError:
                # A step of which the answer was lost had been made.
                continue

    threads = [threading.Thread(target=work, args=(f"b{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(8):
        time.sleep(0.5)
        own_redis.kill()
        own_redis.start()
    over.set()
    for thread in threads:
        thread.join()
    order = ("queued", "claimed", "submitted", "done")
    kept = {job_id: jobs.get(job_id).state for job_id in answered}
    assert len(answered) > 100
    assert [job_id for job_id in answered if order.index(kept[job_id]) < order.index(answered[job_id])] == []
    counts = jobs.counts()
    assert sum(place.held for place in jobs.places().values()) == sum(
        counts[state] for state in ("claimed", "submitted", "running", "unknown")
    )
    jobs.close()
