"""Parked gates of this process alone, and the runs that continue them: see :class:`parked.ParkedGates`.

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
from functools import partial

from ..decisions.file import FileLog
from ..decisions.record import Entry, decision_entry, end_entry, park_entry, take_back_entry
from ..errors import Conflict, Fenced, GateNotFound, InvalidInput, StoreUnavailable
from ..names import check_decision_id, check_gate_id, clean_text
from . import parking, steps
from .folder import GateFolders
from .local_index import LocalIndex
from .local_waiting import LocalWaiting
from .parking import Group
from .record import ENDED, Decision, Gate, Waiter
from .resumed import Resumed
from .waiting import now_ms

log = logging.getLogger(__name__)


class LocalParked:
    """The part of the store without Redis (``local.py``) that parks gates and continues them."""

    def __init__(self, owner: str, index: LocalIndex, journal: FileLog, folders: GateFolders) -> None:
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

    # -- runs -----------------------------------------------------------------------------
    def resume(self, gate_id: str, decision_id: str, prompt_id: str) -> Waiter:
        """See :class:`parked.ParkedGates`."""
        check_decision_id(decision_id)
        held = self._index.held(gate_id)
        with self._stepping:
            group = self._group(held)
            lives = group[0].run_owner == self._owner
            self._commit(
                parking.resume(group, gate_id, decision_id, prompt_id, self._owner, lives, self._runs + 1, now_ms())
            )
            gate = held.gate
        if gate.decision is None:
            raise steps.undecided(gate)
        return Resumed(gate, gate.decision, held.read_mask, partial(self._carry, held, decision_id, prompt_id))

    def again(self, gate_id: str, decision: Decision) -> Gate:
        """See :class:`parked.ParkedGates`."""
        old = self._index.held(gate_id)
        new_id = parking.again_id(gate_id, decision.id)
        with self._stepping:
            made = self._index.some([new_id])
            if made:
                return made[0].shown
            before = old.gate
            lead = self._index.some([before.group or before.id])
            new = parking.again(before, lead[0].gate.run if lead else before.run, decision, now_ms())
            if not old.ready:
                raise parking.not_ready(before)
            try:
                self._folders.share(before, new_id)
                held = self._hold(new)
                held.write(new)
            except (GateNotFound, StoreUnavailable) as error:
                self._folders.remove(new_id)
                if isinstance(error, GateNotFound):
                    raise Conflict(f"This gate can't be run again: {error.message}", gate=gate_id) from error
                raise
            if new.decision is not None:
                self._journal.append(decision_entry(new, new.decision))
            with self._index.lock:
                self._index.add(held)
            self._index.changed(new)
            self._schedule(new)
            if before.status not in ENDED:
                ended = steps.end(before, "cancelled", parking.RUN_AGAIN, now_ms())
                self._take(tuple(ended if gate.id == gate_id else gate for gate in self._group(old)))
                self._log_end(before, ended)
            return new

    def due_runs(self, grace_ms: int = 0, most: int = 100) -> list[Gate]:
        """See :class:`parked.ParkedGates`."""
        with self._stepping:
            latest = now_ms() - grace_ms
            due = sorted((at, gate_id) for gate_id, at in self._due.items() if at <= latest)
            return [held.gate for held in self._index.some(gate_id for _, gate_id in due[:most])]

    def claim_run(self, gate_id: str, by: str, for_ms: int) -> Gate | None:
        """See :class:`parked.ParkedGates`."""
        check_gate_id(gate_id)
        by = clean_text(by, "by")
        with self._stepping:
            now = now_ms()
            found = self._index.some([gate_id])
            if not found or self._due.get(gate_id, now + 1) > now:
                return None
            lead = found[0].gate
            if not lead.over and lead.owner == self._owner:
                return None
            claimed = parking.claim(lead, by, lambda: self._runs + 1, now)
            if claimed is not None:
                self._commit((claimed, *self._group(found[0])[1:]))
                self._due[gate_id] = now + for_ms
            return claimed

    def note_run(
        self,
        gate_id: str,
        by: str,
        state: str,
        run_id: str = "",
        on: str = "",
        error: str = "",
        look_in_ms: int = 0,
    ) -> Gate | None:
        """See :class:`parked.ParkedGates`."""
        parking.check_noted(state)
        check_gate_id(gate_id)
        with self._stepping:
            found = self._index.some([gate_id])
            if not found:
                return None
            now = now_ms()
            noted = parking.note(self._group(found[0]), clean_text(by, "by"), state, run_id, on, error, now)
            if noted is None:
                return None
            self._commit(noted)
            if gate_id in self._due:
                self._due[gate_id] = now + look_in_ms
            return noted[0]

    def family(self, gate: Gate) -> list[Gate]:
        """See :class:`parked.ParkedGates`."""
        root = gate.family or gate.prompt_id
        if not root:
            return [gate]
        shown = (held.shown for held in self._index.all(live=False))
        return sorted((one for one in shown if (one.family or one.prompt_id) == root), key=by_opening)

    def prompts_ended(self, ends: Mapping[str, str]) -> None:
        """See :class:`parked.ParkedGates`."""
        with self._stepping:
            for held in self._index.all(live=False):
                lead = held.gate
                if lead.group != lead.id:
                    continue
                for prompt_id in {lead.prompt_id, lead.run_prompt} & ends.keys():
                    group = self._group(held)
                    # True whether it can be written or not.
                    self._take(parking.prompt_ended(group, prompt_id, self._owner, ends[prompt_id], now_ms()))

    # -- inside ---------------------------------------------------------------------------
    def _load(self, gates: Sequence[Gate]) -> None:
        """Holds what was found on the disk."""
        for gate in gates:
            self._index.add(self._hold(gate))
            self._schedule(gate)

    def _hold(self, gate: Gate) -> LocalWaiting:
        return LocalWaiting.loaded(gate, self._owner, self._index.changed, self._journal, self._folders)

    def _carry(self, held: LocalWaiting, decision_id: str, prompt_id: str) -> Gate:
        with self._stepping:
            before, group = held.gate, self._group(held)
            after = parking.apply(group, before.id, decision_id, prompt_id, self._owner, now_ms())
            if after is not group:
                self._commit(after)
                self._log_end(before, held.gate)
            return held.gate

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


def by_opening(gate: Gate) -> tuple[int, str]:
    """By what gates are listed."""
    return gate.opened, gate.id
