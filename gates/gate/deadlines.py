"""The deadlines of the gates in Redis that this process waits on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ..errors import Conflict, GateNotFound
from .record import Decision, Gate
from .redis_waiting import RedisWaiting

log = logging.getLogger(__name__)

FAR = 3600.0
"""Seconds to the nearest deadline when there is none."""


class Deadlines:
    """Knows which is the nearest, and decides those that have passed; each at most once in a tick.

    What could not be decided (Redis is away, or tells of a decision that was not looked at yet) is
    late in any case: tried at once again and again, it would only take the processor. ``add`` and
    ``remove`` may be called from any thread, the others from the one that looks.
    """

    def __init__(self, decide: Callable[[RedisWaiting, Decision], Gate]) -> None:
        """``decide`` makes the decision in Redis."""
        self._decide = decide
        self._lock = threading.Lock()
        self._timed: dict[str, RedisWaiting] = {}
        self._tried: set[str] = set()
        """Ids of those that have passed and were tried in this tick."""

    def add(self, waiting: RedisWaiting) -> None:
        """Keeps the gate's deadline."""
        with self._lock:
            self._timed[waiting.gate.id] = waiting

    def remove(self, gate_id: str) -> None:
        """Keeps its deadline no more; nothing when it has none."""
        with self._lock:
            self._timed.pop(gate_id, None)

    def next_tick(self) -> None:
        """What could not be decided is tried once more."""
        self._tried.clear()

    def nearest(self) -> float:
        """When the next one passes, by ``time.monotonic``."""
        return time.monotonic() + min((left for left, _ in self._open()), default=FAR)

    def keep(self) -> None:
        """Decides what nobody decided in time; raises StoreUnavailable when one could not be."""
        passed = [waiting for left, waiting in self._open() if left <= 0]
        self._tried.update(waiting.gate.id for waiting in passed)
        # Those of this process alone first: they need no Redis.
        for waiting in sorted(passed, key=lambda waiting: waiting.announced):
            decision = waiting.deadline_decision()
            try:
                if not waiting.decide_here(decision):
                    self._decide(waiting, decision)
            except (Conflict, GateNotFound) as error:
                log.debug("gatebus: the deadline of gate %s: %s", waiting.gate.id, error)

    def _open(self) -> list[tuple[float, RedisWaiting]]:
        """(seconds left, gate) of those to be decided that were not tried in this tick."""
        # Every decision passes here, so that gates without a deadline must cost nothing.
        with self._lock:
            timed = list(self._timed.values())
        return [
            (left, waiting)
            for waiting in timed
            if waiting.decision is None
            and waiting.gate.id not in self._tried
            and (left := waiting.remaining()) is not None
        ]
