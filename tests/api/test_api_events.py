"""The event stream: nothing missed, nothing doubled, over reconnects, a dead Redis and a lost data set."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from gates.api.message import Message
from gates.api.stream import Stream, is_after


def text_of(event: tuple[str, Any]) -> str:
    return str(event[1].get("id", ""))


async def test_a_stream_begins_with_a_snapshot_of_what_waits(host: Any, follow: Any) -> None:
    gate_id = host.open_gate(stored=False).gate.id
    events = await follow(host)
    kind, data = await events.next()
    assert kind == "snapshot"
    assert [gate["id"] for gate in data["gates"]] == [gate_id]
    assert data["unavailable"] == ""
    assert events.last_id


async def test_a_change_arrives_with_the_state_it_led_to(host: Any, follow: Any) -> None:
    events = await follow(host)
    await events.until("snapshot")
    gate_id = host.open_gate(stored=False).gate.id
    opened = await events.until("gate")
    assert (opened["id"], opened["status"]) == (gate_id, "waiting")
    await host.post(f"/gatebus/gates/{gate_id}/route", {"route": 1})
    decided = await events.until("gate")
    assert (decided["id"], decided["status"]) == (gate_id, "decided")


async def test_a_stream_that_reconnects_gets_what_it_missed_and_nothing_twice(host: Any, follow: Any) -> None:
    events = await follow(host)
    await events.until("snapshot")
    host.store.events.append("bus", "seen")
    assert text_of(await events.next()) == "seen"
    events.answer.close()
    for number in range(20):
        host.store.events.append("bus", f"missed{number}")
    again = await follow(host, events.last_id)
    host.store.events.append("bus", "live")
    got = [text_of(await again.next()) for _ in range(21)]
    assert got == [f"missed{number}" for number in range(20)] + ["live"]


@pytest.mark.parametrize("cursor", ["gone.1", "nonsense", "a.b.c", "é.1", ".", "0" * 500])
async def test_a_cursor_that_cannot_be_resumed_gives_a_reset_and_a_snapshot(
    host: Any, follow: Any, cursor: str
) -> None:
    gate_id = host.open_gate(stored=False).gate.id
    events = await follow(host, cursor)
    assert (await events.next())[0] == "reset"
    kind, data = await events.next()
    assert kind == "snapshot"
    assert [gate["id"] for gate in data["gates"]] == [gate_id]


@pytest.mark.slow
async def test_no_event_is_lost_or_doubled_for_streams_that_come_and_go_under_load(host: Any, follow: Any) -> None:
    total = 600
    readers = 6
    start = host.store.events.cursor()

    def write() -> None:
        for number in range(total):
            host.store.events.append("bus", str(number))
            time.sleep(0.001)

    async def read(reader: int) -> list[str]:
        seen: list[str] = []
        cursor = start
        while len(seen) < total:
            events = await follow(host, cursor)
            for _ in range(min(37 + 11 * reader, total - len(seen))):
                kind, data = await events.next()
                assert kind == "bus"
                seen.append(data["id"])
            cursor = events.last_id
            events.answer.close()
        return seen

    writer = threading.Thread(target=write)
    writer.start()
    found = await asyncio.wait_for(asyncio.gather(*(read(reader) for reader in range(readers))), 60)
    writer.join()
    assert all(seen == [str(number) for number in range(total)] for seen in found)


async def test_a_snapshot_and_the_events_behind_it_leave_no_gap(host: Any, follow: Any) -> None:
    opened: list[str] = []
    done = threading.Event()

    def open_gates() -> None:
        while not done.is_set() and len(opened) < 900:
            opened.append(host.open_gate(stored=False).gate.id)

    writer = threading.Thread(target=open_gates)
    writer.start()
    try:
        streams = []
        for _ in range(5):
            events = await follow(host)
            snapshot = await events.until("snapshot")
            streams.append((events, {gate["id"] for gate in snapshot["gates"]}))
    finally:
        done.set()
        writer.join()
    host.store.events.append("bus", "end")
    for events, known in streams:
        while True:
            kind, data = await events.next()
            if kind == "bus":
                break
            known.add(data["id"])
        assert known == set(opened)


async def test_a_silent_stream_is_kept_open_by_comments(local: Any, follow: Any) -> None:
    local.api.streams._heartbeat = 0.05
    events = await follow(local)
    await events.until("snapshot")
    for _ in range(3):
        await events.comment()


async def test_one_reader_serves_all_streams(local: Any, follow: Any, monkeypatch: Any) -> None:
    streams = [await follow(local) for _ in range(20)]
    for events in streams:
        await events.until("snapshot")
    calls = []
    since = local.store.events.since
    monkeypatch.setattr(local.store.events, "since", lambda cursor: calls.append(cursor) or since(cursor))
    local.store.events.append("bus", "one")
    for events in streams:
        assert text_of(await events.next()) == "one"
    assert len(calls) <= 3


async def test_there_is_a_limit_of_streams_and_room_again_when_one_ends(
    local: Any, follow: Any, eventually: Any
) -> None:
    local.api.streams._limit = 3
    local.api.streams._heartbeat = 0.05
    streams = [await follow(local) for _ in range(3)]
    refused = await local.get("/gatebus/events")
    assert (refused.status, (await refused.json())["error"]["type"]) == (503, "too_busy")
    streams[0].answer.close()

    async def again() -> Any:
        answer = await local.get("/gatebus/events")
        if answer.status == 200:
            answer.close()
            return True
        return False

    await eventually(again)


async def test_streams_end_when_the_server_stops(local: Any, follow: Any) -> None:
    events = await follow(local)
    await events.until("snapshot")
    await asyncio.wait_for(local.client.server.close(), 10)
    with pytest.raises(EOFError):
        await events.until("never", 5)


async def test_a_reader_that_falls_far_behind_loses_nothing(local: Any, follow: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("gates.api.stream.BACKLOG", 5)
    events = await follow(local)
    await events.until("snapshot")
    for number in range(300):
        local.store.events.append("bus", str(number))
    assert [text_of(await events.next()) for _ in range(300)] == [str(number) for number in range(300)]


@pytest.mark.redis
async def test_a_stream_outlives_a_dead_redis(host_at: Any, own_redis: Any, follow: Any, eventually: Any) -> None:
    host = await host_at(replace((await host_at()).store.settings, store_url=own_redis.url))
    host.api.streams._heartbeat = 0.2
    events = await follow(host)
    await events.until("snapshot")
    host.store.events.append("bus", "before")
    assert text_of(await events.next()) == "before"
    own_redis.kill()
    assert (await events.until("status"))["unavailable"]
    late = await follow(host, events.last_id)
    assert (await late.until("status"))["unavailable"]
    gate_id = host.open_gate(stored=False).gate.id
    fresh = await follow(host)
    assert (await fresh.until("status"))["unavailable"]
    own = await fresh.until("snapshot")
    assert [gate["id"] for gate in own["gates"]] == [gate_id]
    assert (fresh.last_id, bool(own["unavailable"])) == ("", True)
    for stream in (events, late, fresh):
        await stream.comment()
    own_redis.start()
    other = own_redis.client()

    async def back() -> bool:
        return bool(other.ping()) and not host.store.unavailable()

    await eventually(back)
    await asyncio.get_running_loop().run_in_executor(None, host.store.events.append, "bus", "after")
    assert (await events.until("bus"))["id"] == "after"
    assert (await late.until("bus"))["id"] == "after"
    assert (await fresh.until("snapshot"))["unavailable"] == ""
    assert fresh.last_id
    other.close()


@pytest.mark.redis
async def test_a_lost_data_set_gives_every_stream_a_reset(host_at: Any, own_redis: Any, follow: Any) -> None:
    host = await host_at(replace((await host_at()).store.settings, store_url=own_redis.url))
    streams = [await follow(host) for _ in range(5)]
    for events in streams:
        await events.until("snapshot")
    client = own_redis.client()
    client.flushall()
    client.close()
    for events in streams:
        await events.until("reset")
        await events.until("snapshot")
    host.store.events.append("bus", "new")
    for events in streams:
        assert (await events.until("bus"))["id"] == "new"


def test_cursors_are_ordered_by_their_numbers_not_as_text() -> None:
    assert is_after("e.10", "e.9")
    assert not is_after("e.9", "e.10")
    assert not is_after("e.9", "e.9")
    assert is_after("e.1700-10", "e.1700-9")
    assert is_after("e.1701-0", "e.1700-9")
    assert is_after("other.1", "e.9")


def test_a_stream_that_starts_over_keeps_what_is_no_event() -> None:
    stream = Stream(None, None, None, "")  # type: ignore[arg-type]
    stream._behind = False
    status = Message(b"status")
    stream.put("e.1", Message(b"event"))
    stream.put_text(status)
    stream.start_over()
    assert list(stream._waiting) == [("", status)]
