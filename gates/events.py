"""The event stream: what changed, for pages that follow and reconnect.

An event says which thing changed and to what state; the thing itself is then read from its own
place. A cursor is ``EPOCH.ID``: the epoch tells whether the data set is still the same one.
``since`` gives the events behind a cursor, or says that there is no way to tell (another epoch,
or the stream was trimmed past it): the reader then takes a fresh snapshot.

:class:`LocalEvents` serves one process; :class:`RedisEvents` reads the stream that the Redis
scripts write.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from .connection import Connection
from .keys import Keys
from .listener import Listener

KEPT_EVENTS = 20_000
"""Events that the stream keeps (about); a reader that was away longer gets a reset."""


@dataclass(frozen=True)
class Event:
    """One change: ``type`` is what happened (``gate``, ``bus``, ``pool``, ``instance``), ``id`` to whom."""

    type: str
    id: str
    cursor: str
    data: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The event as the HTTP API shows it."""
        return {"type": self.type, "id": self.id, **self.data}


class Events(Protocol):
    """The stream of one store; thread-safe."""

    def append(self, type: str, id: str, **data: Any) -> None:
        """Adds an event whose change is not written by a script of its own (buses and pools)."""
        ...

    def cursor(self) -> str:
        """The place behind the newest event. Take it before a snapshot: what follows is then replayed."""
        ...

    def since(self, cursor: str) -> list[Event] | None:
        """The events behind the cursor, oldest first; None when that can't be told: take a snapshot."""
        ...

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back (from any thread; it must not block) when there may be new events; returns the unsubscriber."""
        ...


class _Hub:
    """The callbacks of those who wait for events in this process."""

    def __init__(self) -> None:
        self._callbacks: set[Callable[[], None]] = set()
        self._lock = threading.Lock()

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        with self._lock:
            self._callbacks.add(callback)
        return lambda: self._drop(callback)

    def _drop(self, callback: Callable[[], None]) -> None:
        with self._lock:
            self._callbacks.discard(callback)

    def wake(self, _hint: str | None = None) -> None:
        with self._lock:
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()


class LocalEvents:
    """The events of this process, in memory."""

    def __init__(self) -> None:
        self._epoch = secrets.token_hex(8)
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._last = 0
        self._lock = threading.Lock()
        self._hub = _Hub()
        self.subscribe = self._hub.subscribe

    def append(self, type: str, id: str, **data: Any) -> None:
        """See :class:`Events`."""
        with self._lock:
            self._last += 1
            self._events.append(Event(type, id, f"{self._epoch}.{self._last}", data))
        self._hub.wake()

    def cursor(self) -> str:
        """See :class:`Events`."""
        with self._lock:
            return f"{self._epoch}.{self._last}"

    def since(self, cursor: str) -> list[Event] | None:
        """See :class:`Events`."""
        epoch, _, last = cursor.partition(".")
        with self._lock:
            if epoch != self._epoch or not last.isascii() or not last.isdigit() or int(last) > self._last:
                return None
            behind = self._last - int(last)
            if behind > len(self._events):
                return None
            return list(self._events)[len(self._events) - behind :] if behind else []


SINCE_AT_ONCE = 1000
"""Events in one answer of Redis."""

# KEYS[1] - epoch, KEYS[2] - events
# ARGV[1] - a random value for an epoch that is missing, ARGV[2..] - type, id, data as JSON (to append) or nothing
# Returns the epoch and the newest id.
_APPEND = """
local epoch = redis.call('GET', KEYS[1])
if not epoch or redis.call('EXISTS', KEYS[2]) == 0 then
  epoch = ARGV[1]
  redis.call('SET', KEYS[1], epoch)
  -- So that every cursor names an entry, and that one being trimmed can be noticed.
  redis.call('XADD', KEYS[2], '*', 'type', 'epoch', 'id', epoch)
end
if ARGV[2] then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'type', ARGV[2], 'id', ARGV[3], 'data', ARGV[4])
  redis.call('PUBLISH', KEYS[2], '')
end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
return {epoch, last[1][1]}
"""

# KEYS[1] - epoch, KEYS[2] - events
# ARGV[1] - the entry behind which to read, ARGV[2] - at most so many
# Returns the epoch, 1 when that entry is still there, then entry, type, id, data of each.
_SINCE = """
local rows = redis.call('XRANGE', KEYS[2], ARGV[1], '+', 'COUNT', ARGV[2] + 1)
local reply = {redis.call('GET', KEYS[1]) or '', rows[1] and rows[1][1] == ARGV[1] and '1' or '0'}
for i = 2, #rows do
  local fields = {}
  for j = 1, #rows[i][2], 2 do fields[rows[i][2][j]] = rows[i][2][j + 1] end
  for _, value in ipairs({rows[i][1], fields.type or '', fields.id or '', fields.data or '{}'}) do
    reply[#reply + 1] = value
  end
end
return reply
"""


class RedisEvents:
    """The events of everyone who shares the Redis."""

    def __init__(self, connection: Connection, keys: Keys, listener: Listener) -> None:
        self._connection = connection
        self._keys = keys
        self._append = connection.script(_APPEND)
        self._since = connection.script(_SINCE)
        self._hub = _Hub()
        self.subscribe = self._hub.subscribe
        listener.subscribe(keys.events, self._hub.wake)

    def append(self, type: str, id: str, **data: Any) -> None:
        """See :class:`Events`; raises StoreUnavailable."""
        self._call(type, id, json.dumps(data), KEPT_EVENTS)

    def cursor(self) -> str:
        """See :class:`Events`; raises StoreUnavailable."""
        epoch, last = self._call()
        return f"{epoch}.{last}"

    def since(self, cursor: str) -> list[Event] | None:
        """See :class:`Events`; raises StoreUnavailable."""
        epoch, _, last = cursor.partition(".")
        if not _is_stream_id(last):
            return None
        found: list[Event] = []
        while True:
            with self._connection.available():
                current, there, *flat = self._since(
                    keys=[self._keys.epoch, self._keys.events], args=[last, SINCE_AT_ONCE]
                )
            # The cursor's own entry must still be there: else entries behind it may have been trimmed
            # (trimming leaves no trace in max-deleted-entry-id), or lost in a failover.
            if current != epoch or there != "1":
                return None
            rows = list(zip(*(flat[part::4] for part in range(4)), strict=True))
            found += [
                Event(kind, thing, f"{epoch}.{entry}", json.loads(data))
                for entry, kind, thing, data in rows
                if kind != "epoch"
            ]
            if len(rows) < SINCE_AT_ONCE:
                return found
            last = rows[-1][0]

    def _call(self, *arguments: Any) -> list[str]:
        with self._connection.available():
            return self._append(keys=[self._keys.epoch, self._keys.events], args=[secrets.token_hex(8), *arguments])


def _is_stream_id(text: str) -> bool:
    milliseconds, dash, sequence = text.partition("-")
    return bool(dash) and all(
        part.isascii() and part.isdigit() and len(part) <= 20 for part in (milliseconds, sequence)
    )
