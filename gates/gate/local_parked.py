"""Gates of this process alone that are parked, in groups: how they are parked and decided.

A step of a group is one under ``_stepping``. On the disk the lead is written last: a park that was
not finished there never was, and what else a lead says of its group is told anew at the next start
(``local_load.py``).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from ..decisions.file import FileLog
from ..decisions.record import Entry, decision_entry, end_entry, park_entry, take_back_entry
from ..errors import Fenced, InvalidInput, StoreUnavailable
from ..names import check_decision_id, clean_text
from ..settings import Settings
from . import parking
from .folder import GateFolders
from .local_index import LocalIndex
from .local_waiting import LocalWaiting
from .parking import Group
from .record import ENDED, Decision, Gate, Waiter
from .waiting import now_ms

log = logging.getLogger(__name__)


class LocalParked:
    """The part of the store without Redis (``local.py``) that parks gates and decides them; see ``local_runs.py``."""

    def __init__(
        self, settings: Settings, owner: str, index: LocalIndex, journal: FileLog, folders: GateFolders
    ) -> None:
        self._settings = settings
        self._owner = owner
        self._index = index
        self._journal = journal
        self._folders = folders
        self._stepping = threading.RLock()
        """Taken before a gate's own lock, by who changes more than one gate, or what a group hangs on."""
        self._due: dict[str, int] = {}
        """Leads of runs under way -> milliseconds since the epoch at which they are looked at next."""
        self._runs = 0
        """The number of the last run that has begun."""
        self._ends: deque[Entry] = deque()
        """What is still to be logged."""

    # -- parking --------------------------------------------------------------------------
    def park(self, waiters: Sequence[Waiter]) -> bool:
        """See :class:`parked.ParkedGates`."""
        group = [waiter for waiter in waiters if isinstance(waiter, LocalWaiting)]
        if not group or len(group) != len(waiters):
            raise InvalidInput("Only gates that this process has opened can be parked, and at least one")
        with self._stepping, ExitStack() as locks:
            for held in group:
                locks.enter_context(held.lock)
            before = tuple(held.gate for held in group)
            if any(gate.parked and gate.group != before[0].id for gate in before):
                raise parking.is_parked(next(gate for gate in before if gate.parked))
            if any(gate.owner != self._owner for gate in before):
                raise Fenced("The gate was taken over", gate=before[0].id)
            after = parking.park(before, now_ms())
            if after is None:
                return False
            for held in group:
                if not held.gate.parked and not held.ready:
                    raise parking.not_ready(held.gate)
            self._commit(after)
            for old, new in zip(before, after, strict=True):
                self._log_end(old, new)
            return True

    def park_orphan(self, gate_id: str, by: str = "", where: str = "") -> Gate:
        """See :class:`parked.ParkedGates`."""
        by, where = clean_text(by, "by"), clean_text(where, "where")
        held = self._index.held(gate_id)
        with self._stepping:
            before = held.gate
            if before.status not in ENDED and not held.abandoned:
                raise parking.owner_lives(before)
            after = parking.park_orphan(before, now_ms())
            if after is not before:
                self._commit((after,))
                self._journal.append(park_entry(after, by, where, after.parked))
                self._log_end(before, after)
            return after

    def continuation(self, gate_id: str) -> bytes:
        """See :class:`parked.ParkedGates`."""
        return self._index.held(gate_id).continuation()

    # -- deciding -------------------------------------------------------------------------
    def decide(self, gate_id: str, decision: Decision) -> Gate:
        """See :class:`record.GateStore`."""
        held = self._index.held(gate_id)
        with self._stepping:
            if not held.gate.parked:
                return held.decide(decision)
            before, group = held.gate, self._group(held)
            after = parking.decide(group, gate_id, decision, now_ms())
            now = _of(after, gate_id)
            if now is not before:
                if now.decision is not None and now.decision is not before.decision:
                    # On the disk before anybody can see it, and so before anything follows from it.
                    self._journal.append(decision_entry(now, now.decision))
                    self._take(after)
                    self._log_end(before, now)
                else:
                    self._commit(after)
                    self._log_end(before, now)
            return now

    def take_back(self, gate_id: str, decision_id: str, by: str = "", where: str = "") -> Gate:
        """See :class:`record.GateStore`."""
        check_decision_id(decision_id)
        by, where = clean_text(by, "by"), clean_text(where, "where")
        held = self._index.held(gate_id)
        with self._stepping:
            if not held.gate.parked:
                return held.take_back(decision_id, by, where)
            before = self._group(held)
            after = parking.take_back(before, gate_id, decision_id, now_ms())
            if after is not before:
                self._journal.append(take_back_entry(_of(after, gate_id), decision_id, by, where, now_ms()))
                self._take(after)
            return held.gate

    def set_mask(self, gate_id: str, png: bytes | None) -> Gate:
        """See :class:`record.GateStore`."""
        held = self._index.held(gate_id)
        with self._stepping:
            return held.set_mask(png)

    # -- inside ---------------------------------------------------------------------------
    def _load(self, gates: Sequence[Gate]) -> None:
        """Holds what was found on the disk."""
        for gate in gates:
            self._index.add(self._hold(gate))
            self._schedule(gate)

    def _hold(self, gate: Gate) -> LocalWaiting:
        return LocalWaiting.loaded(gate, self._owner, self._index.changed, self._journal, self._folders)

    def _group(self, held: LocalWaiting) -> Group:
        """The gate's group, the lead first; the gate alone when it is not parked, or its lead is forgotten."""
        leads = self._index.some([held.gate.group]) if held.gate.group else []
        lead = leads[0].gate if leads else held.gate
        members = tuple(one.gate for one in self._index.some(lead.members.split() or [lead.id]))
        return members if held.gate in members else (held.gate,)

    def _commit(self, after: Group) -> None:
        """Makes it so, on the disk and for everybody; raises StoreUnavailable, and nothing has changed then."""
        written: list[tuple[LocalWaiting, Gate]] = []
        helds = {gate.id: self._index.held(gate.id) for gate in after}
        changed = [gate for gate in reversed(after) if gate is not helds[gate.id].gate]
        try:
            for gate in changed:
                held = helds[gate.id]
                written.append((held, held.gate))
                held.write(gate)
        except StoreUnavailable:
            for held, before in written:
                held.unwrite(before)
            raise
        self._see(changed, helds)

    def _take(self, after: Group) -> None:
        """Makes it so for everybody, and on the disk as soon as that can be: it is in the log, or has happened."""
        helds = {gate.id: self._index.held(gate.id) for gate in after}
        changed = [gate for gate in reversed(after) if gate is not helds[gate.id].gate]
        for gate in changed:
            try:
                helds[gate.id].write(gate)
            except StoreUnavailable as error:
                log.warning("gatebus: gate %s is not on the disk yet: %s", gate.id, error.message)
        self._see(changed, helds)

    def _see(self, changed: Sequence[Gate], helds: Mapping[str, LocalWaiting]) -> None:
        for gate in changed:
            helds[gate.id].see(gate)
            self._schedule(gate)

    def _schedule(self, gate: Gate) -> None:
        """Keeps when the run is looked at next, while it is under way."""
        self._runs = max(self._runs, gate.run_seq)
        if gate.group != gate.id:
            return
        if gate.run not in parking.UNDER_WAY:
            self._due.pop(gate.id, None)
        elif gate.id not in self._due:
            self._due[gate.id] = now_ms()

    def _log_end(self, before: Gate, after: Gate) -> None:
        """Logs the end when it has come to that; on a disk that is full with the next one, or at the next start."""
        if before.status not in ENDED and after.status in ENDED:
            self._ends.append(end_entry(after))
        while self._ends:
            try:
                # Not made durable on its own: nothing waits for it.
                self._journal.append(self._ends[0], durable=False)
            except StoreUnavailable as error:
                log.warning("gatebus: how a gate ended can't be logged yet: %s", error.message)
                return
            self._ends.popleft()


def _of(group: Group, gate_id: str) -> Gate:
    return next(gate for gate in group if gate.id == gate_id)
