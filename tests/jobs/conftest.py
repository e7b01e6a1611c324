"""Both kinds of job stores, as worlds in which further brokers can open them, and a farm on each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import farm_world
import pytest
from farm_world import Farm, servers
from job_world import LEASE, World
from redis_server import RedisServer

from broker.cancelling import cancelled
from broker.farm import carrier
from broker.farm.mounting import STOP_PATIENCE
from broker.jobs.local import LocalJobs
from broker.jobs.record import Limits
from broker.jobs.redis import RedisJobs, open_redis_jobs
from broker.jobs.store import JobStore
from gates.connection import Connection
from gates.events import LocalEvents, RedisEvents
from gates.keys import Keys
from gates.listener import Listener
from gates.settings import Settings
from gates.store import Store, open_store


@pytest.fixture(params=["local", "redis"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    opened: list[JobStore] = []
    if request.param == "local":
        local_events = LocalEvents()

        def open_local(limits: Limits | None = None) -> JobStore:
            opened.append(LocalJobs(tmp_path / "jobs", limits or Limits(lease=LEASE), local_events))
            return opened[-1]

        yield World("local", open_local, local_events)
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        settings = Settings(store_url=server.url, namespace="farm")
        connection = Connection(settings)
        listener = Listener(connection)

        def open_redis(limits: Limits | None = None) -> JobStore:
            opened.append(RedisJobs(Connection(settings), Keys("farm"), limits or Limits(lease=LEASE)))
            return opened[-1]

        yield World("redis", open_redis, RedisEvents(connection, Keys("farm"), listener), server)
        listener.close()
        connection.close()
    for store in opened:
        store.close()


@pytest.fixture
def jobs(world: World) -> JobStore:
    return world.open()


@pytest.fixture(params=["local", "redis"])
def farm_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, Callable[[], JobStore]]]:
    limits = Limits(lease=farm_world.LEASE)
    if request.param == "local":
        store = open_store(Settings(), tmp_path / "disk", tmp_path / "state")
        opener: Callable[[], JobStore] = lambda: LocalJobs(tmp_path / "jobs", limits, store.events)  # noqa: E731
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        settings = Settings(store_url=server.url)
        store = open_store(settings, tmp_path / "disk", tmp_path / "state")
        opener = lambda: open_redis_jobs(settings, limits)  # noqa: E731
    opened: list[JobStore] = []

    def open_jobs() -> JobStore:
        opened.append(opener())
        return opened[-1]

    yield store, open_jobs
    for jobs in opened:
        jobs.close()
    store.close()


@pytest.fixture
async def farm(
    farm_store: tuple[Store, Callable[[], JobStore]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Farm]:
    monkeypatch.setattr(carrier, "REPORT", 0.05)
    monkeypatch.setattr(carrier, "AGAIN", 0.1)
    monkeypatch.setattr(carrier, "REFUSED_FOR", 0.5)
    async with servers(tmp_path, 2) as both:
        made = Farm(*farm_store, both)
        yield made
        await cancelled(made.brokers, STOP_PATIENCE)
