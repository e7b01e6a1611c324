"""What tests of jobs share: a world of one farm, jobs, offers and conditions to wait for."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from redis_server import RedisServer

from broker.jobs.record import Job, Offer
from broker.jobs.store import JobStore
from gates.events import Events

LEASE = 0.4
"""Seconds."""


@dataclass
class World:
    """One farm's jobs: ``open(limits)`` gives another broker's view of the same ones."""

    kind: str
    open: Callable[..., JobStore]
    events: Events
    redis: RedisServer | None = None


def job(submitter: str = "ann", priority: int = 0, **values: object) -> Job:
    return Job(uuid.uuid4().hex, submitter=submitter, priority=priority, **values)  # type: ignore[arg-type]


def offer(job: Job, instance: str = "i1", limit: int = 1) -> Offer:
    return Offer(job.id, instance, limit, name=f"name of {instance}", url=f"http://{instance}")


def submitted(jobs: JobStore, prompt_id: str = "p1", broker: str = "b1", **values: object) -> Job:
    """A job whose prompt was sent by the broker."""
    waiting = jobs.submit(job(**values))  # type: ignore[arg-type]
    claimed = jobs.claim(broker, [offer(waiting)])
    assert claimed is not None
    return jobs.send(claimed, prompt_id)


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Returns when the condition holds; fails when it does not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
