"""The event stream over HTTP (server-sent events): what changes, as it changes.

One reader a process follows the store's events and hands each to every open stream. A stream
that begins, reconnects or falls behind finds its own way to the present: by the events behind
its cursor (``Last-Event-ID``) when the store can still tell them, else by ``reset`` and a
``snapshot``, whose cursor is taken before it is made, so that nothing falls in between. While
the store is away a stream stays open with heartbeats.

What a stream carries::

    id: EPOCH.ID    event: gate | bus | pool | instance
                                           data: {"type", "id", ...}  read the thing from its own place
    id: EPOCH.ID    event: snapshot            data: as GET /gatebus/gates answers (without an id: the store is away)
                    event: reset               data: {}  what you hold may be wrong; read buses and pools anew
                    event: status              data: {"unavailable": "why the store is away, or empty"}
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from aiohttp import web

from ..errors import StoreUnavailable, TooBusy, TooMany
from ..events import Event
from ..store import Store
from .answer import SAFE_HEADERS, takes_gzip
from .call import Call
from .message import Message
from .route import Field, Route
from .stream import LOOK_AGAIN, Stream, event_message, status_message, take_snapshot

T = TypeVar("T")

MAX_STREAMS = 200
"""Open streams of one process."""

LOOK_PAUSE = 0.02
"""Seconds between two looks at a store of which much is heard; what changes meanwhile is one look."""

CALLER_STREAMS = MAX_STREAMS // 2
"""Of them, those of one caller (token, else address): nobody keeps the others out."""

HEARTBEAT = 15.0
"""Seconds between comments that keep proxies from closing a silent stream."""

log = logging.getLogger(__name__)


class Streams:
    """Every open stream of this process and their one reader. Used on one event loop."""

    def __init__(self, limit: int = MAX_STREAMS, heartbeat: float = HEARTBEAT) -> None:
        self._limit = limit
        self._heartbeat = heartbeat
        self._open: dict[Stream, str] = {}
        """Each with who follows it."""
        self._closed = False
        self._reader: asyncio.Task[None] | None = None
        self._beats: asyncio.Task[None] | None = None
        self._snapshot: asyncio.Task[tuple[str, Message]] | None = None
        # Its own threads: the API's may all wait for a Redis that is away.
        self._threads = ThreadPoolExecutor(2, "gatebus-events")

    def __len__(self) -> int:
        return len(self._open)

    def close(self) -> None:
        """Ends every stream; none is taken any more."""
        self._closed = True
        for stream in self._open:
            stream.end()

    def release(self) -> None:
        """Ends the threads, after :meth:`close`."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def serve(self, http: web.Request, store: Store, cursor: str, caller: str = "") -> web.StreamResponse:
        """Answers with the stream behind ``cursor`` ("" for none), until either side ends it.

        Raises TooBusy when no more streams are taken, TooMany when ``caller`` has its share.
        """
        if self._closed or len(self._open) >= self._limit:
            raise TooBusy(f"{len(self._open)} event streams are open already; try again later", limit=self._limit)
        if caller and list(self._open.values()).count(caller) >= CALLER_STREAMS:
            raise TooMany(
                f"{CALLER_STREAMS} event streams of this caller are open already; close some",
                retry_after=int(HEARTBEAT),
                limit=CALLER_STREAMS,
            )
        response = web.StreamResponse(headers={**SAFE_HEADERS, "X-Accel-Buffering": "no", "Cache-Control": "no-store"})
        response.content_type = "text/event-stream"
        response.charset = "utf-8"
        # Packed here, not by aiohttp: what it has packed may wait for more before it is sent.
        packed = takes_gzip(http)
        if packed:
            response.headers["Content-Encoding"] = "gzip"
        stream = Stream(self, store, response, cursor, packed)
        self._open[stream] = caller
        try:
            await response.prepare(http)
            self._start(store)
            await stream.run()
            await response.write_eof()
        except (ConnectionError, asyncio.TimeoutError):
            log.debug("gatebus: the reader of an event stream is gone")
            if http.transport is not None:
                # Else the server would try to end the response in order, which a dead peer never lets it.
                http.transport.abort()
        finally:
            self._open.pop(stream, None)
            if not self._open:
                self._stop()
        return response

    async def call(self, step: Callable[..., T], *arguments: object) -> T:
        """The step's result, from a thread of the streams."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, step, *arguments)

    async def snapshot(self, store: Store) -> tuple[str, Message]:
        """(cursor, snapshot message); those who ask while one is made share it. Raises StoreUnavailable."""
        if self._snapshot is None:
            self._snapshot = asyncio.get_running_loop().create_task(self.call(take_snapshot, store))
            self._snapshot.add_done_callback(self._drop_snapshot)
        return await asyncio.shield(self._snapshot)

    def _drop_snapshot(self, done: asyncio.Task[tuple[str, Message]]) -> None:
        self._snapshot = None
        if not done.cancelled():
            done.exception()

    def _start(self, store: Store) -> None:
        if self._reader is None:
            loop = asyncio.get_running_loop()
            self._reader = loop.create_task(self._read(store))
            self._beats = loop.create_task(self._beat())

    def _stop(self) -> None:
        for running in (self._reader, self._beats):
            if running is not None:
                running.cancel()
        self._reader = self._beats = None

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat)
            beat = Message(b": still here\n\n")
            for stream in self._open:
                stream.put_text(beat)

    async def _read(self, store: Store) -> None:
        """Follows the store's events for every stream, over its outages and lost data sets."""
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(woken.set)

        unsubscribe = store.events.subscribe(wake)
        cursor, reason = "", ""
        try:
            while True:
                woken.clear()
                try:
                    events = await self.call(store.events.since, cursor) if cursor else None
                    if events is None:
                        cursor = await self.call(store.events.cursor)
                        for stream in self._open:
                            stream.start_over()
                    else:
                        cursor = events[-1].cursor if events else cursor
                        self._hand_out(events)
                    now = await self.call(store.unavailable)
                except StoreUnavailable as error:
                    now = error.message
                except Exception:
                    log.exception("gatebus: the event stream's reader failed; it looks again in %g s", LOOK_AGAIN)
                    now = reason
                if now != reason:
                    reason = now
                    for stream in self._open:
                        stream.put_text(status_message(reason))
                await asyncio.sleep(LOOK_PAUSE)
                try:
                    await asyncio.wait_for(woken.wait(), LOOK_AGAIN)
                except asyncio.TimeoutError:
                    continue
        finally:
            unsubscribe()

    def _hand_out(self, events: list[Event]) -> None:
        for event in events:
            message = event_message(event)
            for stream in self._open:
                stream.put(event.cursor, message)


async def follow(call: Call) -> web.StreamResponse:
    """Streams what changes, as server-sent events."""
    cursor = call.http.headers.get("Last-Event-ID", "") or call.query["cursor"]
    who = f"token {call.caller.name}" if call.caller.name else call.caller.remote
    return await call.api.streams.serve(call.http, call.store, cursor[:100], who)


ROUTES = [
    Route(
        "GET",
        "/gatebus/events",
        follow,
        query=(Field("cursor", "text", "As Last-Event-ID, where that can't be sent.", default=""),),
        answer="text/event-stream",
    )
]
