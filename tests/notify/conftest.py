"""A server that records notifications, and brokers' notifications that tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer

from broker.notify.delivery import Patience
from broker.notify.notifications import Notifications
from gates.keys import Keys
from gates.settings import Settings
from gates.store import open_store
from tests.notify.hooks import Hooks
from tests.service.conftest import gatebus, own_home, start
from tests.service.processes import QUICK, Studio, until
from tests.test_topologies import servers

__all__ = ["gatebus", "own_home", "servers", "start"]

SECRET = "correct-horse-battery"
QUICK_PATIENCE = Patience(timeout=1.0, waits=(0.05, 0.05, 0.05, 0.05))


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    server = Hooks()
    yield server
    server.close()


@pytest.fixture
def studio(redis_server: RedisServer, tmp_path: Path) -> Iterator[Studio]:
    store = open_store(replace(QUICK, store_url=redis_server.url), tmp_path / "disk", tmp_path / "state")
    yield Studio(store, redis_server.url)
    store.close()


Telling = Callable[..., Notifications]


@pytest.fixture
def telling(redis_server: RedisServer, hooks: Hooks, tmp_path: Path) -> Iterator[Telling]:
    """Starts the notifications of one more broker, which tell ``paths`` of the hooks."""
    opened: list[Any] = []

    def start(*paths: str, lease: float = 3.0, patience: Patience = QUICK_PATIENCE, **more: Any) -> Notifications:
        settings = replace(
            Settings(), store_url=more.pop("store_url", redis_server.url), tick=0.3, notify_secret=SECRET,
            notify=tuple(f"json+{hooks.url}{path}" if path.startswith("/") else path for path in paths or ("/ok",)),
            notify_every=more.pop("notify_every", 0.3), **more,
        )  # fmt: skip
        folder = tmp_path / f"broker-{len(opened)}"
        store = open_store(settings, folder, folder)
        notifications = Notifications(store, patience, lease)
        notifications.start()
        opened.append((notifications, store))
        return notifications

    yield start
    for notifications, store in opened:
        notifications.close()
        store.close()


def started(telling: Telling, hooks: Hooks, redis: RedisServer, *paths: str, **more: object) -> object:
    """Notifications that follow the events: what opens from now on is told."""
    notifications = telling(*paths, **more)
    until(lambda: redis.client().get(Keys().notify_cursor), "a cursor")
    return notifications
