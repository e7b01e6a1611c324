"""One open event stream: where its reader is, and what waits to be sent to it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from aiohttp import web

from ..errors import StoreUnavailable
from ..events import Event
from ..store import Store
from .answer import as_json
from .gates import LIST_LIMIT, to_json

if TYPE_CHECKING:
    from .streams import Streams

BACKLOG = 2000
"""Events that wait for a slow reader; beyond them it starts over from its cursor."""

SEND_TIMEOUT = 30.0
"""Seconds in which a reader must take what is sent; one that does not is gone."""

LOOK_AGAIN = 2.0
"""Seconds between two looks at a store that is away."""


class Stream:
    """What one asker follows; its messages come from the streams' reader, or from the store when it is behind."""

    def __init__(self, streams: Streams, store: Store, response: web.StreamResponse, cursor: str) -> None:
        self._streams = streams
        self._store = store
        self._response = response
        self._cursor = cursor
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._woken = asyncio.Event()
        self._behind = True
        self._ended = False
        self._shown = False

    # -- from the streams' reader -----------------------------------------------------------
    def put(self, cursor: str, message: bytes) -> None:
        """Sends an event, unless this stream finds its own way to it."""
        if len(self._waiting) >= BACKLOG:
            self.start_over()
        if not self._behind:
            self._waiting.append((cursor, message))
            self._woken.set()

    def put_text(self, message: bytes) -> None:
        """Sends what is no event of the store: a heartbeat, a status."""
        if len(self._waiting) < 2 * BACKLOG:
            self._waiting.append(("", message))
            self._woken.set()

    def start_over(self) -> None:
        """Drops the events that wait; the stream goes on from its cursor, or by a snapshot."""
        self._waiting = deque(entry for entry in self._waiting if not entry[0])
        self._behind = True
        self._woken.set()

    def end(self) -> None:
        """Ends the stream after what is being sent."""
        self._ended = True
        self._woken.set()

    # -- its own task -----------------------------------------------------------------------
    async def run(self) -> None:
        """Sends until it is ended or its reader is gone (ConnectionError, TimeoutError)."""
        await self._send(b"retry: 2000\n\n")
        reason = await self._streams.call(self._store.unavailable)
        if reason:
            await self._send(status_message(reason))
        while not self._ended:
            self._woken.clear()
            if self._behind:
                try:
                    await self._catch_up()
                except StoreUnavailable:
                    await self._show_snapshot_message()
                    await self._flush_texts()
                    await self._pause()
                    continue
            while self._waiting and not self._behind and not self._ended:
                cursor, message = self._waiting.popleft()
                if not cursor:
                    await self._send(message)
                elif is_after(cursor, self._cursor):
                    await self._send(message)
                    self._cursor = cursor
            if not self._waiting and not self._behind and not self._ended:
                await self._woken.wait()

    async def _catch_up(self) -> None:
        """Sends what lies between the cursor and the present."""
        # From here on the reader's events wait as well; those that are also found here are passed over.
        self._behind = False
        try:
            missed = await self._streams.call(self._store.events.since, self._cursor) if self._cursor else None
            while missed is None:
                if self._cursor:
                    await self._send(b"event: reset\ndata: {}\n\n")
                self._cursor, snapshot = await self._streams.snapshot(self._store)
                await self._send(snapshot)
                missed = await self._streams.call(self._store.events.since, self._cursor)
        except StoreUnavailable:
            self._behind = True
            raise
        for event in missed:
            await self._send(event_message(event))
            self._cursor = event.cursor

    async def _show_snapshot_message(self) -> None:
        """Shows a stream that begins while the store is away what waits in this process; once, and without an id."""
        if not self._cursor and not self._shown:
            self._shown = True
            await self._send(await self._streams.call(snapshot_message, self._store))

    async def _flush_texts(self) -> None:
        while self._waiting:
            cursor, message = self._waiting.popleft()
            if not cursor:
                await self._send(message)

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._woken.wait(), LOOK_AGAIN)
        except asyncio.TimeoutError:
            return

    async def _send(self, message: bytes) -> None:
        await asyncio.wait_for(self._response.write(message), SEND_TIMEOUT)


def is_after(cursor: str, other: str) -> bool:
    """Whether ``cursor`` lies behind ``other``; one of another epoch does."""
    epoch, _, place = cursor.partition(".")
    other_epoch, _, other_place = other.partition(".")
    return epoch != other_epoch or _order(place) > _order(other_place)


def _order(place: str) -> tuple[int, ...]:
    return tuple(int(part) for part in place.split("-"))


def take_snapshot(store: Store) -> tuple[str, bytes]:
    """(cursor, message) of what waits; the cursor is taken first, so that what happens meanwhile is sent again."""
    cursor = store.events.cursor()
    return cursor, b"id: %s\n%s" % (cursor.encode(), snapshot_message(store))


def snapshot_message(store: Store) -> bytes:
    """The snapshot without a cursor; while the store is away it has the gates of this process."""
    shown = to_json(store.gates.records(live=True), LIST_LIMIT, store.unavailable())
    gates = shown.pop("gates")
    # A line a gate: readers that go by lines have a limit on their length.
    lines = [b'{"gates":[', *(as_json(gate) + b"," for gate in gates[:-1]), *(as_json(gate) for gate in gates[-1:])]
    lines.append(b"]," + as_json(shown)[1:])
    return b"event: snapshot\n%s\n" % b"".join(b"data: %s\n" % line for line in lines)


def event_message(event: Event) -> bytes:
    """The event as it goes over the wire."""
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.cursor.encode(), event.type.encode(), as_json(event.to_json()))


def status_message(reason: str) -> bytes:
    """Why the store is away, "" when it is back."""
    return b"event: status\ndata: %s\n\n" % as_json({"unavailable": reason})
