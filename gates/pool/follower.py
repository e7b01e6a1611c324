"""The thread that brings the disk after Redis, and Redis after the disk when it is back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ..errors import GatebusError, StoreUnavailable

DELAY = 0.1
"""Seconds for which edits gather before the disk is brought after them."""

log = logging.getLogger(__name__)


class Follower:
    """Calls ``bring`` for marked pools, one at a time, and ``catch_up`` every ``tick`` seconds while Redis is away.

    The thread starts when it is first needed.
    """

    def __init__(self, bring: Callable[[str], None], catch_up: Callable[[], None], tick: float) -> None:
        self._bring = bring
        self._catch_up = catch_up
        self._tick = tick
        self.away = False
        """Whether Redis did not answer and has not been caught up with since."""
        self._marked: set[str] = set()
        # Pools that failed, and were said to.
        self._failed: set[str] = set()
        self._busy = False
        self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def mark(self, pool_id: str) -> None:
        """The disk is (or may be) behind with the pool."""
        with self._changed:
            self._marked.add(pool_id)
            self._start()

    def lose(self, error: StoreUnavailable) -> None:
        """Redis is away."""
        with self._changed:
            if not self.away:
                log.warning("gatebus: pools are on the disk until Redis is back: %s", error)
            self.away = True
            self._start()

    def find(self) -> None:
        """Redis is back, and what was done without it is there."""
        with self._changed:
            self.away = False
            self._changed.notify_all()

    def settle(self, timeout: float) -> bool:
        """Waits until nothing is marked any more; False when that takes longer than ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._marked and not self._busy, timeout)

    def close(self) -> None:
        """Ends the thread, after what is marked now if Redis is there; waits for at most 10 s."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(10.0)

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="gatebus-pools", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._marked or self.away or self._closed)
                if self.away:
                    self._changed.wait_for(lambda: self._closed or not self.away, self._tick)
                elif self._marked <= self._failed:
                    self._changed.wait_for(lambda: self._closed or not self._marked <= self._failed, self._tick)
                else:
                    self._changed.wait_for(lambda: self._closed, DELAY)
                if self._closed and (self.away or self._marked <= self._failed):
                    return
                pool_ids, self._marked, self._busy = self._marked, set(), True
            left = self._work(pool_ids)
            with self._changed:
                self._marked |= left
                self._busy = False
                self._changed.notify_all()

    def _work(self, pool_ids: set[str]) -> set[str]:
        """Brings the pools; those that are left to do."""
        left = set(pool_ids)
        try:
            if self.away:
                self._catch_up()
            for pool_id in sorted(pool_ids):
                if self._succeeds(pool_id):
                    left.discard(pool_id)
        except StoreUnavailable as error:
            self.lose(error)
        except Exception:
            log.exception("gatebus: the disk can't follow the pools in Redis")
            return set()
        return left

    def _succeeds(self, pool_id: str) -> bool:
        try:
            self._bring(pool_id)
        except GatebusError as error:
            if isinstance(error, StoreUnavailable) and not is_of_disk(error):
                raise
            # One pool that can't be brought (its disk is full, say) must not hold up the others.
            if pool_id not in self._failed:
                log.warning("gatebus: the disk can't follow the pool %s now: %s", pool_id, error)
            self._failed.add(pool_id)
            return False
        self._failed.discard(pool_id)
        return True


def is_of_disk(error: StoreUnavailable) -> bool:
    """Whether the disk is what does not answer: its errors name a path."""
    return "path" in error.details
