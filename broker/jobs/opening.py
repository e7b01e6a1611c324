"""The jobs that belong to a store: in its Redis, or without one in the state folder."""

from __future__ import annotations

from pathlib import Path

from gates.settings import Settings
from gates.store import Store

from .local import LocalJobs
from .record import Limits
from .redis import open_redis_jobs
from .store import JobStore


def limits_of(settings: Settings) -> Limits:
    """What the settings say about jobs."""
    return Limits(
        queued=settings.max_jobs,
        queued_each=settings.max_jobs_each,
        lease=settings.lease,
        keep=settings.keep_decided,
        keep_blobs=settings.keep_results,
    )


def open_jobs(store: Store, state_dir: Path) -> JobStore:
    """The jobs; to be closed by the caller. Never raises because Redis is away."""
    settings = store.settings
    if settings.store_url:
        return open_redis_jobs(settings, limits_of(settings))
    return LocalJobs((settings.state_dir or state_dir) / "jobs", limits_of(settings), store.events)
