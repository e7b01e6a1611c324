"""Which gates this process holds: those that live, and those that ended and are remembered."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable

from ..errors import GateNotFound
from ..events import Events
from ..names import check_gate_id
from ..settings import Settings
from .local_waiting import LocalWaiting
from .record import ENDED, Gate
from .waiting import now_ms

MAX_REMEMBERED = 1000
"""Gates that ended and are still listed."""


class LocalIndex:
    """Finds them by id, and moves those that end; thread-safe. Its lock is taken last of all, and for a moment."""

    def __init__(self, settings: Settings, owner: str, events: Events) -> None:
        self._settings = settings
        self._owner = owner
        self._events = events
        self._live: dict[str, LocalWaiting] = {}
        self._ended: dict[str, LocalWaiting] = {}
        self._changed: set[str] = set()
        self.lock = threading.Lock()
        self.news = threading.Condition(self.lock)
        """Tells the thread that keeps deadlines and records of changes."""

    def add(self, held: LocalWaiting) -> None:
        """Holds the gate from now on; the caller holds the lock when others may look already."""
        (self._ended if held.gate.status in ENDED else self._live)[held.gate.id] = held

    def find(self, gate_id: str) -> LocalWaiting | None:
        """The gate, None when it is not there; the caller holds the lock."""
        return self._live.get(gate_id) or self._ended.get(gate_id)

    def held(self, gate_id: str) -> LocalWaiting:
        """The gate; raises GateNotFound."""
        check_gate_id(gate_id)
        with self.lock:
            found = self.find(gate_id)
        if found is None:
            raise GateNotFound("No gate has that id", gate=gate_id)
        return found

    def some(self, ids: Iterable[str]) -> list[LocalWaiting]:
        """Those of these ids that are there, in their order."""
        with self.lock:
            return [held for gate_id in ids if (held := self.find(gate_id)) is not None]

    def all(self, live: bool = True) -> list[LocalWaiting]:
        """Those that live, or also those that have ended."""
        with self.lock:
            return [*(() if live else self._ended.values()), *self._live.values()]

    @property
    def any(self) -> bool:
        """Whether there are gates; the caller holds the lock."""
        return bool(self._live or self._ended)

    def timed(self) -> list[LocalWaiting]:
        """Those that wait for a decision; the caller holds the lock."""
        return [held for held in self._live.values() if held.decision is None]

    def waiting_here(self) -> int:
        """How many this process waits on; the caller holds the lock."""
        return sum(not held.abandoned for held in self._live.values())

    def changed(self, gate: Gate) -> None:
        """The gate has changed: says so to those who follow the events."""
        with self.lock:
            if gate.status in ENDED and gate.id in self._live:
                self._ended[gate.id] = self._live.pop(gate.id)
            self._changed.add(gate.id)
            self.news.notify_all()
        status = "orphaned" if gate.status == "waiting" and gate.owner != self._owner else gate.status
        self._events.append("gate", gate.id, rev=gate.rev, status=status)

    def take_changed(self) -> list[LocalWaiting]:
        """Those that have changed since the last call."""
        with self.lock:
            ids, self._changed = self._changed, set()
            return [held for gate_id in ids if (held := self.find(gate_id)) is not None]

    @property
    def has_changed(self) -> bool:
        """Whether there is one that :meth:`take_changed` would tell of; the caller holds the lock."""
        return bool(self._changed)

    def forget(self, needed: Collection[str]) -> list[LocalWaiting]:
        """Takes out, and returns, those that ended too long ago, or are too many; ``needed`` ids stay."""
        oldest = now_ms() - int(self._settings.keep_decided * 1000)
        with self.lock:
            ended = sorted(self._ended.values(), key=lambda held: held.gate.ended)
            surplus = len(ended) - MAX_REMEMBERED
            gone = [held for place, held in enumerate(ended) if place < surplus or held.gate.ended < oldest]
            gone = [held for held in gone if held.gate.id not in needed]
            for held in gone:
                del self._ended[held.gate.id]
        return gone
