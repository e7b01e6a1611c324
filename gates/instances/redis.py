"""The registry in Redis: a hash an instance, and a sorted set of them by the end of their leases."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from ..connection import Connection, pairs
from ..errors import Conflict, InstanceNotFound
from ..events import KEPT_EVENTS
from ..instance import Identity
from ..keys import Keys
from ..names import check_instance_id
from .record import GONE_KEPT, Device, Instance, Pending, Running

# Every script: KEYS[1] - the instance's hash, KEYS[2] - instances (sorted set), KEYS[3] - events (stream)
# ARGV[1] - the instance's id, ARGV[2] - events that the stream keeps
_PRELUDE = """
local instance, id = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function tell(name, state)
  local data = cjson.encode({name = name, state = state})
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*', 'type', 'instance', 'id', id, 'data', data)
  redis.call('PUBLISH', KEYS[3], '')
end
"""

# ARGV[3] - lease ms, ARGV[4] - boot, ARGV[5] - host, ARGV[6] - name, ARGV[7] - face, ARGV[8..] - field, value, ...
# Returns {"OK", ms}, or {"TAKEN", host} when a living process of another machine has the id.
_ANNOUNCE = (
    _PRELUDE
    + """
local row = redis.call('HMGET', instance, 'boot', 'host', 'face', 'gone')
local lease = redis.call('ZSCORE', KEYS[2], id)
local alive = lease and tonumber(lease) > now
if alive and row[1] and row[1] ~= ARGV[4] and row[2] ~= ARGV[5] then return {'TAKEN', row[2]} end
redis.call('DEL', instance)
redis.call('HSET', instance, 'id', id, 'boot', ARGV[4], 'host', ARGV[5], 'name', ARGV[6], 'face', ARGV[7],
  'seen', string.format('%d', now), unpack(ARGV, 8))
redis.call('ZADD', KEYS[2], now + ARGV[3], id)
if row[3] ~= ARGV[7] or row[4] then tell(ARGV[6], 'here') end
return {'OK', string.format('%d', now)}
"""
)

# ARGV[3] - boot. A successor with the same id is left alone.
_WITHDRAW = (
    _PRELUDE
    + """
local row = redis.call('HMGET', instance, 'boot', 'name')
if row[1] ~= ARGV[3] then return 0 end
redis.call('ZREM', KEYS[2], id)
redis.call('DEL', instance)
tell(row[2], 'withdrawn')
return 1
"""
)

# ARGV[3] - ms for which it is still shown. Marks an instance whose lease is over; one without a record is dropped.
_GONE = (
    _PRELUDE
    + """
local lease = redis.call('ZSCORE', KEYS[2], id)
if not lease or tonumber(lease) > now then return 0 end
local row = redis.call('HMGET', instance, 'id', 'gone', 'name')
if not row[1] then return redis.call('ZREM', KEYS[2], id) end
if row[2] then return 0 end
redis.call('HSET', instance, 'gone', '1')
redis.call('PEXPIRE', instance, ARGV[3])
tell(row[3], 'gone')
return 1
"""
)

# KEYS[1] - instances (sorted set). Returns {ms, id, lease end, id, lease end, ...}.
_INDEX = """
local time = redis.call('TIME')
local rows = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
table.insert(rows, 1, string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000)))
return rows
"""

_LISTS: dict[str, Any] = {"devices": Device, "running": Running, "next": Pending}
_INTS = {f.name for f in fields(Instance) if f.type == "int"}
_TEXTS = {f.name for f in fields(Instance) if f.type == "str"}
_OF_THE_STORE = {"id", "boot", "host", "name", "seen"}


class RedisInstances:
    """The registry that everyone shares; see :class:`record.InstanceStore`."""

    def __init__(self, connection: Connection, keys: Keys, identity: Identity) -> None:
        self._connection = connection
        self._keys = keys
        self._identity = identity
        self._lease = int(connection.settings.lease * 1000)
        self._announce = connection.script(_ANNOUNCE)
        self._withdraw = connection.script(_WITHDRAW)
        self._gone = connection.script(_GONE)
        self._index = connection.script(_INDEX)

    def announce(self, instance: Instance) -> Instance:
        """See :class:`record.InstanceStore`."""
        own = self._identity
        shown = replace(instance, id=own.id, boot=own.boot, host=socket.gethostname(), gone=False)
        arguments = [self._lease, shown.boot, shown.host, shown.name, shown.face, *_flat(to_fields(shown))]
        with self._connection.available():
            code, told = self._run(self._announce, shown.id, arguments)
        if code == "TAKEN":
            raise Conflict(
                f"A process on {told} announces itself under the id of this one. Its state folder was copied from"
                " there, or there from here: delete instance-*.id in one of the two, and start that ComfyUI again",
                host=told,
            )
        return replace(shown, seen=int(told))

    def withdraw(self) -> None:
        """See :class:`record.InstanceStore`."""
        with self._connection.available():
            self._run(self._withdraw, self._identity.id, [self._identity.boot])

    def records(self) -> list[Instance]:
        """See :class:`record.InstanceStore`."""
        with self._connection.available():
            now, *flat = self._index(keys=[self._keys.instances])
            leases = pairs(flat)
            pipe = self._connection.control.pipeline(transaction=False)
            for instance_id in leases:
                pipe.hgetall(self._keys.instance(instance_id))
            rows = pipe.execute() if leases else []
            found = []
            for (instance_id, lease), row in zip(leases.items(), rows, strict=True):
                gone = float(lease) <= float(now)
                if gone and not row.get("gone"):
                    self._run(self._gone, instance_id, [int(GONE_KEPT * 1000)])
                if row:
                    found.append(from_fields(row, gone))
        return sorted(found, key=lambda each: (each.name, each.id))

    def get(self, instance_id: str) -> Instance:
        """See :class:`record.InstanceStore`."""
        check_instance_id(instance_id)
        for each in self.records():
            if each.id == instance_id:
                return each
        raise InstanceNotFound("No instance has that id", instance=instance_id)

    def _run(self, script: Any, instance_id: str, arguments: Sequence[Any]) -> Any:
        keys = [self._keys.instance(instance_id), self._keys.instances, self._keys.events]
        return script(keys=keys, args=[instance_id, KEPT_EVENTS, *arguments])


def to_fields(instance: Instance) -> dict[str, str]:
    """What the instance says of itself, as text; lists as JSON."""
    row = {name: str(getattr(instance, name)) for name in sorted((_INTS | _TEXTS) - _OF_THE_STORE)}
    for name in _LISTS:
        row[name] = json.dumps([asdict(each) for each in getattr(instance, name)], ensure_ascii=False)
    return row


def from_fields(row: Mapping[str, str], gone: bool) -> Instance:
    """The record of a hash. Unknown fields are of a newer version and ignored, missing ones of an older and empty."""
    values: dict[str, Any] = {name: int(row[name]) for name in _INTS if name in row}
    values.update((name, row[name]) for name in _TEXTS if name in row)
    for name, kind in _LISTS.items():
        known = {f.name for f in fields(kind)}
        entries = json.loads(row.get(name) or "[]")
        values[name] = tuple(kind(**{k: v for k, v in entry.items() if k in known}) for entry in entries)
    return Instance(**values, gone=gone)


def _flat(row: Mapping[str, str]) -> list[str]:
    return [text for pair in row.items() for text in pair]
