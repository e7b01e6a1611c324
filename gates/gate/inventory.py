"""Every live gate of the shared Redis, as this process last read it: brought up to the present at each look.

The first look reads every record. A later one asks for the events since the one before, and for
the leases that ended meanwhile, and reads only the gates that these name: one round trip when
nothing has changed. What a look gives is no older than the look itself, so nothing here is ever
stale: a Redis that does not answer is an error, not an old list.

The data set may be another one than at the last look, or the events since then may be gone
(trimmed, lost in a failover): then every record is read again.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..connection import Connection
from ..keys import Keys
from .fields import from_fields
from .record import ENDED, Gate

READ_AT_ONCE = 250
"""Records in one pipeline."""

REREAD = 5000
"""Events since the last look beyond which every record is read again."""

# KEYS[1] - epoch, KEYS[2] - events, KEYS[3] - leases
# ARGV[1] - the last event known, [2] - ms up to which leases that ended are known, [3] - at most so many events
# {now, epoch, newest event, 1 when the last event known is still there, id, ..., '', id, ...}: the gates that
# events name, then those whose lease has ended since.
_FOLLOW = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local rows = redis.call('XRANGE', KEYS[2], ARGV[1], '+', 'COUNT', ARGV[3])
local reply = {now, redis.call('GET', KEYS[1]) or '', ARGV[1], rows[1] and rows[1][1] == ARGV[1] and 1 or 0}
for i = 2, #rows do
  local fields = {}
  for j = 1, #rows[i][2], 2 do fields[rows[i][2][j]] = rows[i][2][j + 1] end
  if fields.type == 'gate' then reply[#reply + 1] = fields.id end
  reply[3] = rows[i][1]
end
reply[#reply + 1] = ''
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. ARGV[2], now)) do reply[#reply + 1] = id end
return reply
"""


class Inventory:
    """The live gates of one Redis; thread-safe. Every look raises StoreUnavailable while Redis is away."""

    def __init__(self, connection: Connection, keys: Keys, cursor: Callable[[], str]) -> None:
        """``cursor`` gives the place behind the newest event (:class:`events.Events`)."""
        self._connection = connection
        self._keys = keys
        self._cursor = cursor
        self._follow = connection.script(_FOLLOW)
        self._lock = threading.Lock()
        self._epoch = self._last = ""
        self._now = 0
        self._ahead = 0
        """Milliseconds by which the server's clock is ahead of this one's."""
        self._gates: dict[str, Gate] = {}
        self._order: list[tuple[int, str]] = []
        """(opened, id) of each, ascending."""
        self._unmarked: set[str] = set()
        """Orphans that nobody has marked yet: alive again they would tell by no event."""

    def look(self) -> list[Gate]:
        """Every live gate as it now is, oldest first."""
        with self._lock:
            self._catch_up()
            return [self._gates[gate_id] for _, gate_id in self._order]

    def some(self, ids: Sequence[str]) -> list[Gate]:
        """The gates of those ids, also such as have ended, in that order; those that are not there are left out."""
        with self._lock:
            self._catch_up()
            known = {gate_id: self._gates[gate_id] for gate_id in ids if gate_id in self._gates}
            now = self._now
        for gate, _ in self._read([gate_id for gate_id in dict.fromkeys(ids) if gate_id not in known], now):
            known[gate.id] = gate
        return [known[gate_id] for gate_id in ids if gate_id in known]

    def clock(self) -> int:
        """Milliseconds since the epoch by the server's clock, as far as the last look told it."""
        return time.time_ns() // 1_000_000 + self._ahead

    def _catch_up(self) -> None:
        if not self._last:
            self._read_all()
            return
        arguments = [self._last, self._now, REREAD + 1]
        with self._connection.available():
            now, epoch, last, there, *names = self._follow(
                keys=[self._keys.epoch, self._keys.events, self._keys.leases], args=arguments
            )
        # A clock that went back tells of no lease that it had ended before.
        if epoch != self._epoch or not int(there) or len(names) > REREAD or int(now) < self._now:
            self._read_all()
            return
        changed = set(names) - {""} | self._unmarked
        found = self._read(changed, int(now))
        self._take(changed, found)
        # Only now: a look that failed half-way finds the same changes again.
        self._last = last
        self._set_clock(int(now))

    def _read_all(self) -> None:
        self._last = ""
        cursor = self._cursor()
        with self._connection.available():
            now, *_ = self._follow(keys=[self._keys.epoch, self._keys.events, self._keys.leases], args=["+", "+inf", 1])
            ids = self._connection.control.zrange(self._keys.gates, 0, -1)
        found = self._read(ids, int(now))
        self._gates.clear()
        self._order.clear()
        self._unmarked.clear()
        self._take((), found)
        self._epoch, _, self._last = cursor.partition(".")
        self._set_clock(int(now))

    def _set_clock(self, now: int) -> None:
        self._now = now
        self._ahead = now - time.time_ns() // 1_000_000

    def _read(self, ids: Iterable[str], now: int) -> list[tuple[Gate, bool]]:
        """(gate, whether it is an orphan that nobody has marked) of each that is there."""
        found = []
        wanted = list(ids)
        for start in range(0, len(wanted), READ_AT_ONCE):
            chunk = wanted[start : start + READ_AT_ONCE]
            with self._connection.available():
                pipe = self._connection.control.pipeline(transaction=False)
                pipe.zmscore(self._keys.leases, chunk)
                for gate_id in chunk:
                    pipe.hgetall(self._keys.gate(gate_id))
                leases, *rows = pipe.execute()
            found += [
                _made(gate_id, row, lease, now)
                for gate_id, row, lease in zip(chunk, rows, leases, strict=True)
                if row.get("status")
            ]
        return found

    def _take(self, changed: Iterable[str], found: Iterable[tuple[Gate, bool]]) -> None:
        """Puts what was read in the place of what was known of the changed gates."""
        for gate_id in changed:
            self._unmarked.discard(gate_id)
            if (before := self._gates.pop(gate_id, None)) is not None:
                del self._order[bisect_left(self._order, (before.opened, gate_id))]
        for gate, unmarked in found:
            if gate.status in ENDED:
                continue
            self._gates[gate.id] = gate
            insort(self._order, (gate.opened, gate.id))
            if unmarked:
                self._unmarked.add(gate.id)


def _made(gate_id: str, row: Mapping[str, str], lease: Any, now: int) -> tuple[Gate, bool]:
    gate = from_fields(gate_id, row, orphaned=not float(lease or 0) > now)
    return gate, gate.status == "orphaned" and not row.get("orphaned")
