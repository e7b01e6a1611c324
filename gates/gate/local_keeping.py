"""The one thread of the gates of this process: keeps deadlines, brings records to the disk, and lets go what is old."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ..errors import Conflict, StoreUnavailable
from ..settings import Settings
from .folder import GateFolders
from .local_index import LocalIndex
from .local_waiting import LocalWaiting
from .parking import UNDER_WAY
from .record import ENDED, Decision, Gate
from .waiting import now_ms

LOG_AGAIN = 1.0
"""Seconds between two attempts to log on a disk that is full."""

SETTLE = 0.1
"""Seconds from a change of a gate to its record on the disk: the decision and its end are then written in one."""

LATE = 60.0
"""Seconds for which what it takes to run on from a gate may come after the gate's end."""

log = logging.getLogger(__name__)


class LocalKeeping:
    """Starts with the first gate that has a deadline or is on the disk."""

    def __init__(
        self,
        settings: Settings,
        index: LocalIndex,
        folders: GateFolders,
        decide: Callable[[str, Decision], Gate],
    ) -> None:
        """``decide`` is the store's."""
        self._settings = settings
        self._index = index
        self._folders = folders
        self._decide = decide
        self._closed = False
        self._sweep_at = 0.0
        self._flush_at = 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread unless it runs; the caller holds the index's lock."""
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="gatebus-gates", daemon=True)
            self._thread.start()
        self._index.news.notify_all()

    def close(self) -> None:
        """Ends the thread and writes what it has not written yet."""
        with self._index.lock:
            self._closed = True
            self._index.news.notify_all()
        if self._thread is not None:
            self._thread.join(3)
        self.flush()

    def flush(self) -> None:
        """Writes the records that have changed; what can't be written is tried again a tick later."""
        for held in self._index.take_changed():
            self._tried(held, held.flush)

    def sweep(self) -> None:
        """Writes what could not be written before, and lets go what is kept no longer."""
        everything = self._index.all(live=False)
        kept_for = int(self._settings.keep_decided * 1000)
        needed = _needed([held.gate for held in everything], now_ms() - kept_for)
        for held in everything:
            if held.unkept:
                self._tried(held, held.keep)
            self._tried(held, held.flush)
        runs = {held.gate.id: held.gate.run_at for held in everything}
        for held in everything:
            since = max(held.gate.ended, runs.get(held.gate.group, 0))
            if held.has_bytes and held.gate.id not in needed and self._is_old(held.gate, since):
                self._tried(held, held.drop_bytes)
        for held in self._index.forget(needed):
            held.leave()
            self._folders.remove(held.gate.id)

    def _is_old(self, gate: Gate, since: int) -> bool:
        """Whether bytes not needed since then are to go; those of a gate that can't be continued go soon."""
        kept = self._settings.keep_images if gate.kept else min(LATE, self._settings.keep_images)
        return since + int(kept * 1000) <= now_ms()

    def _run(self) -> None:
        while True:
            with self._index.lock:
                if self._closed:
                    return
                passed, pause = self._due()
                if pause > 0:
                    self._index.news.wait(pause)
                    continue
            try:
                self._step(passed)
            except Exception:
                # Every deadline of this process hangs on this thread.
                log.exception("gatebus: a look at the gates failed; trying again")
                with self._index.lock:
                    self._index.news.wait(LOG_AGAIN)

    def _due(self) -> tuple[list[LocalWaiting], float]:
        """The gates whose deadline has passed, and the seconds until there is something to do."""
        now = time.monotonic()
        timed = [(left, held) for held in self._index.timed() if (left := held.remaining()) is not None]
        if self._index.has_changed and not self._flush_at:
            self._flush_at = now + SETTLE
        moments = [self._sweep_at - now, *(left for left, _ in timed)]
        if self._flush_at:
            moments.append(self._flush_at - now)
        return [held for left, held in timed if left <= 0], min(moments)

    def _step(self, passed: list[LocalWaiting]) -> None:
        now = time.monotonic()
        try:
            for held in passed:
                self._decide_at_deadline(held)
        except StoreUnavailable as error:
            log.warning("gatebus: what a deadline decides can't be logged; trying again: %s", error.message)
            with self._index.lock:
                self._index.news.wait(LOG_AGAIN)
        if self._flush_at and self._flush_at <= now:
            self._flush_at = 0.0
            self.flush()
        if self._sweep_at <= now:
            self._sweep_at = now + self._settings.tick
            self.sweep()

    def _decide_at_deadline(self, held: LocalWaiting) -> None:
        try:
            self._decide(held.gate.id, held.deadline_decision())
        except Conflict:
            log.debug("gatebus: gate %s was decided in the moment of its deadline", held.gate.id)

    def _tried(self, held: LocalWaiting, step: Callable[[], None]) -> None:
        try:
            step()
        except StoreUnavailable as error:
            log.warning("gatebus: gate %s is not on the disk yet: %s", held.gate.id, error.message)


def _needed(gates: list[Gate], since: int) -> set[str]:
    """The gates whose bytes may still be read: they live, or run on, or may be passed again by their family.

    The latter while a gate is parked that was so after ``since``.
    """
    living = [gate for gate in gates if gate.status not in ENDED or gate.run in UNDER_WAY]
    families = {_root(gate) for gate in living if gate.parked > since} - {""}
    groups = {gate.group for gate in living} - {""}
    passed = {gate.id for gate in gates if _root(gate) in families or gate.group in groups}
    return passed | {gate.id for gate in living}


def _root(gate: Gate) -> str:
    return gate.family or gate.prompt_id
