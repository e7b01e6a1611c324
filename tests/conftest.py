"""Fixtures: a real redis-server of the test run's own, and stores on it.

A missing redis-server fails the run in CI and skips the tests elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_server import RedisServer, require_redis_server

from gates.settings import PREFIX

# A clean environment for every test: a developer's own settings must not decide.
for variable in [name for name in os.environ if name.startswith(PREFIX)]:
    del os.environ[variable]


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for the whole run; use :func:`redis_server`, which empties it."""
    require_redis_server()
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """An empty real redis-server that must not be killed."""
    client = shared_redis.client()
    client.flushall()
    client.close()
    return shared_redis


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A real redis-server of this test's own, with AOF always, to kill and freeze."""
    require_redis_server()
    folder = tmp_path / "own-redis"
    folder.mkdir()
    server = RedisServer(folder, appendonly=True)
    server.start()
    yield server
    server.stop()
