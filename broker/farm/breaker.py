"""Leaves an instance that fails alone for a while, and for longer each time."""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST = 1.0
"""Seconds after the first failure."""

LONGEST = 60.0


class Breaker:
    """Of one instance; used on one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._until = 0.0
        self.why = ""
        """What failed last, "" when nothing did since it last worked."""

    @property
    def left(self) -> float:
        """Seconds for which it is still left alone; 0 for none."""
        return max(0.0, self._until - self._clock())

    def failed(self, why: str) -> None:
        """Notes a failure; several within one pause are one."""
        self.why = why
        if self.left:
            return
        self._until = self._clock() + min(FIRST * 2**self._failures, LONGEST)
        self._failures += 1

    def worked(self) -> None:
        """Notes that it works."""
        self._failures, self._until, self.why = 0, 0.0, ""
