"""The decision log in Redis: a stream that the gates' own scripts write; and what was decided meanwhile.

What a gate's script changes and what it logs is one step (``gate/scripts.py``). Gates that nobody
else could know of, because Redis was away, are logged in a file of the state folder, which is
brought to the stream when Redis is back: each line once, by whoever comes first.
"""

from __future__ import annotations

import hashlib

from ..connection import Connection
from ..keys import Keys
from .file import FileLog
from .record import Entry

KEEP_BROUGHT = 7 * 86_400_000
"""Milliseconds for which it is remembered that a line was brought: its answer may have been lost."""

# KEYS[1] - the log (stream), KEYS[2] - lines that were brought (sorted set by time)
# ARGV[1] - the line's digest, [2] - entries that the log keeps or 0 for all, [3] - ms to remember the digest,
# [4..] - field, value, ... of the entry
# 1: written now, 0: it was before
_BRING = """
local t = redis.call('TIME')
local at = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', at - ARGV[3])
if redis.call('ZADD', KEYS[2], 'NX', at, ARGV[1]) == 0 then return 0 end
local row = {}
for i = 4, #ARGV do row[#row + 1] = ARGV[i] end
if ARGV[2] == '0' then
  redis.call('XADD', KEYS[1], '*', unpack(row))
else
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(row))
end
return 1
"""


class RedisLog:
    """See :class:`record.DecisionLog`."""

    def __init__(self, connection: Connection, keys: Keys, away: FileLog) -> None:
        self._connection = connection
        self._keys = keys
        self._away = away
        self._bring = connection.script(_BRING)

    def read(self, start: str, count: int, newest: bool = False) -> list[Entry]:
        """See :class:`record.DecisionLog`."""
        bound = f"({start}" if start else ""
        with self._connection.available():
            stream = self._connection.control
            if newest:
                rows = stream.xrevrange(self._keys.decisions, max=bound or "+", count=count)
            else:
                rows = stream.xrange(self._keys.decisions, min=bound or "-", count=count)
        return [Entry.from_fields(row, row_id) for row_id, row in rows]

    def catch_up(self) -> None:
        """Brings what was decided in this process while Redis was away; raises StoreUnavailable."""
        self._away.drain(self._bring_line)

    def _bring_line(self, entry: Entry, line: str) -> None:
        row: list[str | int] = []
        for name, value in entry.to_json().items():
            if name != "id":
                row += [name, value]
        kept = self._connection.settings.decision_log
        arguments = [hashlib.sha256(line.encode()).hexdigest()[:32], kept, KEEP_BROUGHT, *row]
        with self._connection.available():
            self._bring(keys=[self._keys.decisions, self._keys.brought], args=arguments)
