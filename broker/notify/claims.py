"""Who tells whom: what several brokers on one Redis agree on, so that a gate is told of once.

Telling is at least once. A broker that begins to tell takes a lease on (target, event, gate), one
atomic ``SET NX EX`` each, and renews it while it tries; only when the target has accepted (or the
message was given up) the claim says ``done``. A broker that is killed in between leaves a lease
that runs out, and another broker tells. The price is a message that comes twice when a broker dies
in the moment between the target's answer and ``done``: a person who hears twice loses nothing, one
who never hears leaves a farm waiting.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from gates.connection import Connection
from gates.keys import Keys

LEASE = 30.0
"""Seconds after which a broker that stopped telling is taken for dead."""

KEPT = 86_400
"""Seconds for which it is known that a gate was told of; brokers lag behind each other by seconds."""

DONE = "done"

Notified = tuple[str, str]
"""(event, gate id)"""

# KEYS[1] - the turn; ARGV[1] - who gives it back
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


# KEYS[1] - a control key: in a cluster its node's clock is the one that dates gates and events
_TIME = "local key = KEYS[1] return redis.call('TIME')"


class Claims:
    """The claims of one broker, on a connection of its own; every call may block and raises StoreUnavailable."""

    def __init__(self, connection: Connection, keys: Keys, lease: float = LEASE) -> None:
        self.lease = lease
        self._connection = connection
        self._keys = keys
        self._token = secrets.token_hex(8)
        self._release = connection.script(_RELEASE)
        self._time = connection.script(_TIME)

    def now_ms(self) -> int:
        """The time by the store's clock, which also dates gates and events."""
        with self._connection.available():
            seconds, micros = self._time([self._keys.notify_cursor])
        return int(seconds) * 1000 + int(micros) // 1000

    def cursor(self, newest: str) -> str:
        """The place in the events up to which all is told; ``newest``, and kept as such, when there is none yet."""
        with self._connection.available():
            self._connection.control.set(self._keys.notify_cursor, newest, nx=True)
            kept: str | None = self._connection.control.get(self._keys.notify_cursor)
        return kept or newest

    def keep_cursor(self, cursor: str) -> None:
        """Everything before that place is told."""
        with self._connection.available():
            self._connection.control.set(self._keys.notify_cursor, cursor)

    def take_turn(self, target: str, every: float) -> float:
        """0 when this broker may write to the target now; otherwise the seconds until it may be tried again."""
        key = self._keys.notify_turn(target)
        with self._connection.available():
            if self._connection.control.set(key, self._token, nx=True, px=max(1, int(every * 1000))):
                return 0.0
            left = int(self._connection.control.pttl(key))
        # Gone meanwhile (-2): at once.
        return max(left, 1) / 1000

    def release_turn(self, target: str) -> None:
        """Gives the turn back, unused."""
        with self._connection.available():
            self._release([self._keys.notify_turn(target)], [self._token])

    def told(self, target: str, notified: Sequence[Notified]) -> list[bool | None]:
        """For each: True when it was told of, False when somebody is telling, None when nobody has begun."""
        states = self._get(target, notified)
        return [None if state in (None, self._token) else state == DONE for state in states]

    def claim(self, target: str, notified: Sequence[Notified]) -> list[bool]:
        """For each: whether it is this broker's to tell, for the next ``lease`` seconds."""
        with self._connection.available():
            pipe = self._connection.control.pipeline(transaction=False)
            for event, gate_id in notified:
                key = self._keys.notified(target, event, gate_id)
                pipe.set(key, self._token, nx=True, px=int(self.lease * 1000))
            taken = pipe.execute()
        if all(taken):
            return [True] * len(notified)
        # One whose answer was lost before is ours as well.
        return [state == self._token for state in self._get(target, notified)]

    def renew(self, target: str, notified: Sequence[Notified]) -> None:
        """Prolongs the leases."""
        with self._connection.available():
            pipe = self._connection.control.pipeline(transaction=False)
            for event, gate_id in notified:
                pipe.pexpire(self._keys.notified(target, event, gate_id), int(self.lease * 1000))
            pipe.execute()

    def done(self, target: str, notified: Sequence[Notified]) -> None:
        """They are told of, or given up."""
        with self._connection.available():
            pipe = self._connection.control.pipeline(transaction=False)
            for event, gate_id in notified:
                pipe.set(self._keys.notified(target, event, gate_id), DONE, ex=KEPT)
            pipe.execute()

    def _get(self, target: str, notified: Sequence[Notified]) -> list[str | None]:
        with self._connection.available():
            pipe = self._connection.control.pipeline(transaction=False)
            for event, gate_id in notified:
                pipe.get(self._keys.notified(target, event, gate_id))
            states: list[str | None] = pipe.execute()
        return states


def cursor_ms(cursor: str) -> int:
    """When the event of that place happened, by the store's clock: the ids of a stream are times."""
    milliseconds = cursor.partition(".")[2].partition("-")[0]
    return int(milliseconds) if milliseconds.isdigit() else int(time.time() * 1000)
