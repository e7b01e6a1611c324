"""Gate stores that share their state, as the processes of one farm do: in this process, on fakeredis, on Redis."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import fakeredis
import numpy as np
import pytest

from gates.connection import Connection
from gates.decisions.file import FileLog
from gates.decisions.record import DecisionLog
from gates.decisions.redis import RedisLog
from gates.events import Events, LocalEvents, RedisEvents
from gates.gate.folder import GateFolders
from gates.gate.local import LocalGates
from gates.gate.record import Gate, GateStore
from gates.gate.redis import RedisGates
from gates.keys import Keys
from gates.listener import Listener
from gates.settings import Settings

SETTINGS = replace(Settings(), instance="studio", tick=0.3, lease=1.0, max_gates=50)
PREVIEW = b"\xff\xd8preview"
IMAGE = np.linspace(0, 1, 2 * 6 * 4 * 3, dtype=np.float32).reshape(2, 6, 4, 3)


Made = tuple[GateStore, Events, DecisionLog, list[Callable[[], None]]]
Maker = Callable[[str, Settings], Made]


class Shop:
    """Opens stores that share their state, as processes of one farm do."""

    def __init__(self, make: Maker) -> None:
        self._make = make
        self._closers: list[Callable[[], None]] = []
        self.events: Events
        self.decisions: DecisionLog

    def store(self, owner: str = "one", settings: Settings = SETTINGS) -> GateStore:
        gates, self.events, self.decisions, closers = self._make(owner, settings)
        self._closers += closers
        return gates

    def close(self) -> None:
        for close in self._closers:
            close()


def redis_store(connection: Connection, owner: str, folder: Path) -> Made:
    keys = Keys(connection.settings.namespace)
    listener = Listener(connection)
    away = FileLog(folder / f"{owner}-away.jsonl")
    gates = RedisGates(connection, keys, listener, owner, away)
    events, decisions = RedisEvents(connection, keys, listener), RedisLog(connection, keys, away)
    return gates, events, decisions, [gates.close, listener.close, connection.close]


@pytest.fixture(params=["local", "fakeredis", "redis"])
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    yield from open_shop(request)


@pytest.fixture(params=["fakeredis", "redis"])
def shared(request: pytest.FixtureRequest) -> Iterator[Shop]:
    """Only stores that more than one process can share."""
    yield from open_shop(request)


def open_shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    folder = request.getfixturevalue("tmp_path")
    if request.param == "redis":
        make = redis_maker(request.getfixturevalue("redis_server").url, folder)
    else:
        make = {"local": local_maker, "fakeredis": fakeredis_maker}[request.param](folder)
    shop = Shop(make)
    yield shop
    shop.close()


def local_maker(folder: Path) -> Maker:
    made: list[tuple[GateStore, Events, DecisionLog]] = []

    def make(owner: str, settings: Settings) -> Made:
        if not made:
            events = LocalEvents()
            log = FileLog(folder / "decisions.jsonl")
            folders = GateFolders(folder / "gates")
            made.append((LocalGates(settings, owner, events, log, folders), events, log))
        return *made[0], [made[0][0].close]

    return make


def fakeredis_maker(folder: Path) -> Maker:
    server = fakeredis.FakeServer()

    def make(owner: str, settings: Settings) -> Made:
        control = fakeredis.FakeRedis(server=server, decode_responses=True)
        connection = Connection(settings, control=control, blobs=fakeredis.FakeRedis(server=server))
        return redis_store(connection, owner, folder)

    return make


def redis_maker(url: str, folder: Path) -> Maker:
    return lambda owner, settings: redis_store(Connection(replace(settings, store_url=url)), owner, folder)


def gate(**fields: object) -> Gate:
    return Gate(id=uuid.uuid4().hex, **fields)  # type: ignore[arg-type]


def eventually(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)
