"""Both kinds of job stores, as worlds in which further brokers can open them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from job_world import LEASE, World
from redis_server import RedisServer

from broker.jobs.local import LocalJobs
from broker.jobs.record import JobStore, Limits
from broker.jobs.redis import RedisJobs
from gates.connection import Connection
from gates.events import LocalEvents, RedisEvents
from gates.keys import Keys
from gates.listener import Listener
from gates.settings import Settings


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
