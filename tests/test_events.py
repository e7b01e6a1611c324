"""The event stream: a reader that was away gets exactly what it missed, or is told that it can't be known."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import fakeredis
import pytest
from redis_server import RedisServer

from gates import events as events_module
from gates.connection import Connection
from gates.events import Events, LocalEvents, RedisEvents
from gates.keys import Keys
from gates.listener import Listener
from gates.settings import Settings


@pytest.fixture(params=["local", "fakeredis", "redis"])
def events(request: pytest.FixtureRequest) -> Iterator[Events]:
    if request.param == "local":
        yield LocalEvents()
        return
    if request.param == "fakeredis":
        server = fakeredis.FakeServer()
        connection = Connection(
            Settings(), fakeredis.FakeRedis(server=server, decode_responses=True), fakeredis.FakeRedis(server=server)
        )
    else:
        connection = Connection(replace(Settings(), store_url=request.getfixturevalue("redis_server").url))
    listener = Listener(connection)
    yield RedisEvents(connection, Keys(), listener)
    listener.close()
    connection.close()


def eventually(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)


def test_what_follows_a_cursor_is_given_in_order_and_each_event_is_a_cursor_itself(events: Events) -> None:
    start = events.cursor()
    assert events.since(start) == []
    for number in range(5):
        events.append("bus", f"cp{number}", version=number)
    got = events.since(start)
    assert got is not None
    assert [(event.type, event.id, event.data) for event in got] == [
        ("bus", f"cp{number}", {"version": number}) for number in range(5)
    ]
    assert events.since(got[2].cursor) == got[3:]
    assert events.since(events.cursor()) == []


@pytest.mark.parametrize("cursor", ["", "x", "other.0", "other.0-0", ".", "a.b.c", "１.１"])
def test_a_cursor_of_another_data_set_or_of_no_form_asks_for_a_snapshot(events: Events, cursor: str) -> None:
    events.append("bus", "cp1")
    assert events.since(cursor) is None


def test_a_cursor_that_is_ahead_or_malformed_behind_its_epoch_asks_for_a_snapshot(events: Events) -> None:
    epoch = events.cursor().partition(".")[0]
    for place in ("", "x", "-1", "1-x", "٣"):
        assert events.since(f"{epoch}.{place}") is None


def test_a_reader_that_was_away_too_long_asks_for_a_snapshot(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(events, LocalEvents):
        events._events = type(events._events)(maxlen=10)
    monkeypatch.setattr(events_module, "KEPT_EVENTS", 10)
    start = events.cursor()
    events.append("bus", "first")
    first = events.cursor()
    # Redis trims whole nodes of 100 entries.
    for number in range(300):
        events.append("bus", f"cp{number}")
    assert events.since(first) is None
    assert events.since(start) is None


def test_who_subscribes_is_called_when_there_is_something_and_no_more_after_it_left(events: Events) -> None:
    called = threading.Semaphore(0)
    leave = events.subscribe(lambda: called.release())
    time.sleep(0.3)
    while called.acquire(blocking=False):
        pass
    events.append("pool", "p")
    assert called.acquire(timeout=10)
    leave()
    while called.acquire(timeout=0.2):
        pass
    events.append("pool", "p")
    assert not called.acquire(timeout=0.3)


def test_two_readers_of_one_redis_see_the_same(redis_server: RedisServer) -> None:
    connections = [Connection(replace(Settings(), store_url=redis_server.url)) for _ in range(2)]
    listeners = [Listener(connection) for connection in connections]
    one, other = (RedisEvents(c, Keys(), listener) for c, listener in zip(connections, listeners, strict=True))
    start = other.cursor()
    assert one.cursor() == start
    threads = [threading.Thread(target=one.append, args=("bus", f"cp{number}")) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = other.since(start)
    assert got is not None
    assert sorted(event.id for event in got) == sorted(f"cp{number}" for number in range(50))
    for listener, connection in zip(listeners, connections, strict=True):
        listener.close()
        connection.close()


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_a_subscription_survives_a_redis_that_dies_or_freezes_and_says_look_again(
    own_redis: RedisServer, fault: str
) -> None:
    connection = Connection(replace(Settings(), store_url=own_redis.url))
    listener = Listener(connection)
    heard: list[str | None] = []
    listener.subscribe("channel", heard.append)
    eventually(lambda: heard == [None])
    getattr(own_redis, fault)()
    # A frozen server shows no error: the watchdog has to miss the answer to its PING.
    eventually(lambda: not listener.connected.is_set())
    own_redis.thaw() if fault == "freeze" else own_redis.start()
    eventually(lambda: listener.connected.is_set() and heard.count(None) >= 2)
    client = own_redis.client()
    eventually(lambda: client.publish("channel", "hello") == 1 or heard[-1] == "hello")
    eventually(lambda: "hello" in heard)
    listener.close()
    connection.close()
