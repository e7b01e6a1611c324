"""Gates of this process alone: the store without Redis.

What parks, and what waits as soon as its run could be continued from there, is on the disk too and
so outlives the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..decisions.file import FileLog
from ..errors import GateBusy, TooLarge
from ..events import Events
from ..settings import Settings
from . import parking, steps
from .folder import GateFolders
from .local_index import LocalIndex
from .local_keeping import LocalKeeping
from .local_load import load
from .local_runs import LocalRuns, by_opening
from .local_waiting import LocalWaiting
from .record import ENDED, Gate
from .waiting import as_opened, now_ms


class LocalGates(LocalRuns):
    """See :class:`record.GateStore`. One thread keeps the deadlines and the disk."""

    def __init__(self, settings: Settings, owner: str, events: Events, journal: FileLog, folders: GateFolders) -> None:
        """``journal`` is the decision log; ``folders`` are this process's alone."""
        super().__init__(settings, owner, LocalIndex(settings, owner, events), journal, folders)
        self._events = events
        self._keeping = LocalKeeping(settings, self._index, folders, self.decide)
        self._load(load(folders, journal))
        with self._index.lock:
            if self._index.any:
                self._keeping.start()

    def open(self, gate: Gate, preview: bytes, timeout: float = 0, mask: bytes | None = None) -> LocalWaiting:
        """See :class:`record.GateStore`."""
        opened = replace(as_opened(gate, self._owner, self._settings, timeout), rev=1)
        waiting = LocalWaiting(opened, preview, timeout, mask, self._index.changed, self._journal, self._folders)
        with self._index.lock:
            found = self._index.find(gate.id)
            if found is None:
                limit = self._settings.max_gates
                if (here := self._index.waiting_here()) >= limit:
                    raise TooLarge(f"{here} gates wait already; GATEBUS_MAX_GATES allows no more", limit=limit)
                self._index.add(waiting)
                self._keeping.start()
        if found is not None:
            return self._adopted(found, opened)
        self._events.append("gate", gate.id, rev=1, status="waiting")
        return waiting

    def records(self, live: bool = True) -> list[Gate]:
        """See :class:`record.GateStore`."""
        return sorted((held.shown for held in self._index.all(live)), key=by_opening)

    def counts(self) -> dict[str, int]:
        """See :class:`record.GateStore`."""
        counted = {"waiting": 0, "orphaned": 0, "parked": 0}
        for held in self._index.all():
            if not held.gate.parked:
                counted["orphaned" if held.abandoned else "waiting"] += 1
            elif held.gate.decision is None:
                counted["parked"] += 1
        return counted

    def some(self, ids: Sequence[str]) -> list[Gate]:
        """See :class:`record.GateStore`."""
        return [held.shown for held in self._index.some(ids)]

    def clock(self) -> int:
        """See :class:`record.GateStore`."""
        return now_ms()

    def get(self, gate_id: str) -> Gate:
        """See :class:`record.GateStore`."""
        return self._index.held(gate_id).shown

    def mask(self, gate_id: str) -> bytes | None:
        """See :class:`record.GateStore`."""
        return self._index.held(gate_id).read_mask()

    def preview(self, gate_id: str) -> bytes:
        """See :class:`record.GateStore`."""
        return self._index.held(gate_id).read_preview()

    def frame(self, gate_id: str, frame: int) -> bytes:
        """See :class:`record.GateStore`."""
        return self._index.held(gate_id).frame(frame)

    def image(self, gate_id: str) -> NDArray[np.floating[Any]]:
        """See :class:`record.GateStore`."""
        return self._index.held(gate_id).image()

    def close(self) -> None:
        """See :class:`record.GateStore`. What is parked, or was left by an earlier process, stays."""
        for held in self._index.all():
            if not held.abandoned:
                held.close("shutdown")
        self._keeping.close()

    def _adopted(self, held: LocalWaiting, opened: Gate) -> LocalWaiting:
        """Waits on a gate that another process left; raises GateClosed, or GateBusy when this process waits on it."""
        with self._stepping, held.lock:
            gate = held.gate
            if gate.status in ENDED:
                raise steps.gate_closed(gate)
            if gate.parked:
                raise parking.is_parked(gate)
            if not held.abandoned:
                raise GateBusy("This process waits on that gate already", gate=gate.id)
            taken = {name: getattr(opened, name) for name in ("owner", "instance", "prompt_id", "node_id")}
            held.commit(replace(gate, **taken, fence=gate.fence + 1, rev=gate.rev + 1))
        return held
