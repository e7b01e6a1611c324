"""One open event stream: where its reader is, and what waits to be sent to it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from aiohttp import web

from ..errors import StoreUnavailable
from ..events import Event
from ..gate.listing import Page
from ..store import Store
from .answer import as_json
from .gate_list import list_bytes
from .message import GzipStream, Message

if TYPE_CHECKING:
    from .streams import Streams

BACKLOG = 2000
"""Events that wait for a slow reader; beyond them it starts over from its cursor."""

SEND_TIMEOUT = 30.0
"""Seconds in which a reader must take what is sent at once; one that does not is gone."""

SEND_AT_ONCE = 128 * 1024
"""Bytes that are sent at once."""

LARGE = 64 * 1024
"""Bytes from which a message is packed in a thread."""

CATCH_UP = 200
"""Events that are sent at once to a stream that catches up."""

LOOK_AGAIN = 2.0
"""Seconds between two looks at a store that is away."""


class Stream:
    """What one asker follows; its messages come from the streams' reader, or from the store when it is behind."""

    def __init__(
        self, streams: Streams, store: Store, response: web.StreamResponse, cursor: str, packed: bool = False
    ) -> None:
        """``packed``: the response is declared to be gzip."""
        self._streams = streams
        self._store = store
        self._response = response
        self._cursor = cursor
        self._gzip = GzipStream() if packed else None
        self._waiting: deque[tuple[str, Message]] = deque()
        self._woken = asyncio.Event()
        self._behind = True
        self._ended = False
        self._shown = False

    # -- from the streams' reader -----------------------------------------------------------
    def put(self, cursor: str, message: Message) -> None:
        """Sends an event, unless this stream finds its own way to it."""
        if len(self._waiting) >= BACKLOG:
            self.start_over()
        if not self._behind:
            self._waiting.append((cursor, message))
            self._woken.set()

    def put_text(self, message: Message) -> None:
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
        if self._gzip is not None:
            await self._response.write(self._gzip.head)
        await self._send(Message(b"retry: 2000\n\n"))
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
                await self._send_waiting()
            if not self._waiting and not self._behind and not self._ended:
                await self._woken.wait()
        if self._gzip is not None:
            await self._response.write(self._gzip.end())

    async def _send_waiting(self) -> None:
        """Sends what waits now, as one."""
        messages, reached = [], self._cursor
        while self._waiting:
            cursor, message = self._waiting.popleft()
            if not cursor or is_after(cursor, reached):
                messages.append(message)
                reached = cursor or reached
        await self._send(*messages)
        self._cursor = reached

    async def _catch_up(self) -> None:
        """Sends what lies between the cursor and the present."""
        # From here on the reader's events wait as well; those that are also found here are passed over.
        self._behind = False
        try:
            missed = await self._streams.call(self._store.events.since, self._cursor) if self._cursor else None
            while missed is None:
                if self._cursor:
                    await self._send(Message(b"event: reset\ndata: {}\n\n"))
                self._cursor, snapshot = await self._streams.snapshot(self._store)
                await self._send(snapshot)
                missed = await self._streams.call(self._store.events.since, self._cursor)
        except StoreUnavailable:
            self._behind = True
            raise
        for start in range(0, len(missed), CATCH_UP):
            part = missed[start : start + CATCH_UP]
            await self._send(*(event_message(event) for event in part))
            self._cursor = part[-1].cursor

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

    async def _send(self, *messages: Message) -> None:
        data = b"".join([await self._wire(message) for message in messages])
        for start in range(0, len(data), SEND_AT_ONCE):
            await asyncio.wait_for(self._response.write(data[start : start + SEND_AT_ONCE]), SEND_TIMEOUT)

    async def _wire(self, message: Message) -> bytes:
        """The message's bytes as they are sent."""
        if self._gzip is None:
            return message.plain
        if len(message.plain) > LARGE:
            return await self._streams.call(self._gzip.wrap, message)
        return self._gzip.wrap(message)


def is_after(cursor: str, other: str) -> bool:
    """Whether ``cursor`` lies behind ``other``; one of another epoch does."""
    epoch, _, place = cursor.partition(".")
    other_epoch, _, other_place = other.partition(".")
    return epoch != other_epoch or _order(place) > _order(other_place)


def _order(place: str) -> tuple[int, ...]:
    return tuple(int(part) for part in place.split("-"))


def take_snapshot(store: Store) -> tuple[str, Message]:
    """(cursor, message) of what waits; the cursor is taken first, so that what happens meanwhile is sent again."""
    cursor = store.events.cursor()
    return cursor, Message(b"id: %s\n%s" % (cursor.encode(), snapshot_message(store).plain))


def snapshot_message(store: Store) -> Message:
    """The snapshot without a cursor; while the store is away it has the gates of this process."""
    gates = store.gates.records(live=True)
    # A line a gate: readers that go by lines have a limit on their length.
    shown = list_bytes(Page(gates, len(gates)), store.unavailable(), separator=b",\ndata: ")
    return Message(b"event: snapshot\ndata: %s\n\n" % shown)


def event_message(event: Event) -> Message:
    """The event as it goes over the wire."""
    data = as_json(event.to_json())
    return Message(b"id: %s\nevent: %s\ndata: %s\n\n" % (event.cursor.encode(), event.type.encode(), data))


def status_message(reason: str) -> Message:
    """Why the store is away, "" when it is back."""
    return Message(b"event: status\ndata: %s\n\n" % as_json({"unavailable": reason}))
