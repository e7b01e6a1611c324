"""What owners that are gone left undone: gates marked for everyone to see, deadlines kept, bytes given an expiry."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection

from ..errors import Conflict, GateNotFound
from .record import ENDED, Gate
from .redis_steps import GateSteps
from .waiting import deadline_decision

log = logging.getLogger(__name__)


class Sweeper:
    """Sweeps for one process; any number of processes may do so at once. Used by one thread."""

    def __init__(self, redis: GateSteps, expire: Callable[[Gate], None]) -> None:
        self._redis = redis
        self._expire = expire
        self._orphans: dict[str, float] = {}
        """Gate id -> when this process first saw its lease over, by the monotonic clock."""
        self._leaving: set[str] = set()
        """Gates that had ended at the last sweep, and whose bytes had no expiry."""

    def sweep(self, own: Collection[str]) -> None:
        """Marks gates whose lease is over, and takes their default route at the deadline; ``own`` are left alone.

        A deadline is taken for an owner that is gone only when this process has seen it gone
        for a whole lease by its own clock: the server's clock may have jumped. That of a parked gate
        is nobody's, and taken by whoever comes first. Raises StoreUnavailable.
        """
        overdue, late, parked = self._redis.overdue()
        known, now = self._orphans, time.monotonic()
        self._orphans = {gate_id: known.get(gate_id, now) for gate_id in overdue if gate_id not in own}
        for gate_id in self._orphans.keys() - known.keys():
            self._redis.run("ORPHAN", gate_id)
        for gate_id in late:
            if now - self._orphans.get(gate_id, now) >= self._redis.settings.lease:
                self._decide_deadline(gate_id)
        for gate_id in parked:
            self._decide_deadline(gate_id)
        # Who ends a gate expires its bytes in a moment; one that is still there was left.
        leaving = set(self._redis.leaving())
        for gate_id in leaving & self._leaving:
            self._expire_left(gate_id)
        self._leaving = leaving

    def _expire_left(self, gate_id: str) -> None:
        try:
            self._expire(self._redis.get(gate_id))
        except GateNotFound:
            self._redis.leave(gate_id, given=True)

    def _decide_deadline(self, gate_id: str) -> None:
        try:
            after = self._redis.decide(
                gate_id, deadline_decision(self._redis.get(gate_id), self._redis.settings.instance)
            )
        except GateNotFound:
            # Its record was lost.
            self._redis.run("ORPHAN", gate_id)
        except Conflict as error:
            log.debug("gatebus: the deadline of gate %s: %s", gate_id, error)
        else:
            if after.status in ENDED:
                self._expire(after)
