"""How much one caller may do in a time: a bucket for each, filled at a steady rate."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_CALLERS = 10_000
"""Callers that are remembered; beyond them the one that was not seen for longest begins anew."""


@dataclass
class _Bucket:
    level: float
    at: float


class Rate:
    """So many a second for each key, and ``burst`` at once; thread-safe."""

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``per_second`` above 0; ``burst`` at least 1."""
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str) -> float:
        """Takes one and returns 0, or the seconds until there is one to take."""
        with self._lock:
            bucket = self._bucket(key)
            if bucket.level < 1:
                return (1 - bucket.level) / self._per_second
            bucket.level -= 1
            return 0.0

    def wait(self, key: str) -> float:
        """The seconds until there is one to take; 0 when there is."""
        with self._lock:
            return max(0.0, (1 - self._bucket(key).level) / self._per_second)

    def _bucket(self, key: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._burst, now)
            if len(self._buckets) > MAX_CALLERS:
                self._buckets.popitem(last=False)
            return bucket
        bucket.level = min(self._burst, bucket.level + (now - bucket.at) * self._per_second)
        bucket.at = now
        self._buckets.move_to_end(key)
        return bucket


class Guesses:
    """Wrong tokens from one place. The same one again (a page left open) is no further guess; thread-safe."""

    BURST = 10
    """Wrong tokens in a row."""

    PER_SECOND = 0.1
    """Further ones, when the row is used up."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = Rate(self.PER_SECOND, self.BURST, clock)
        self._tried: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, place: str, digest: bytes) -> float:
        """Seconds before this token may be tried from that place; 0 for now."""
        with self._lock:
            if (place, digest) in self._tried:
                return 0.0
        return self._rate.wait(place)

    def tried(self, place: str, digest: bytes, wrong: bool) -> None:
        """Remembers that the token was tried."""
        with self._lock:
            again = (place, digest) in self._tried
            self._tried[place, digest] = None
            self._tried.move_to_end((place, digest))
            if len(self._tried) > MAX_CALLERS:
                self._tried.popitem(last=False)
        if wrong and not again:
            self._rate.take(place)
