"""The gates that a process finds on the disk when it starts, put right by the decision log.

A decision is in the log before it is in the gate's record. So a process that died in between left
it in the log only; and the end of a gate may be in the record only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from ..decisions.file import FileLog
from ..decisions.record import DECIDED, Entry, decision_entry, end_entry
from ..errors import GatebusError, StoreUnavailable
from . import steps
from .folder import GateFolders
from .local_waiting import NOBODY
from .parking import PENDING
from .record import ENDED, Decision, Gate
from .waiting import now_ms

LOOKED_AT = 20_000
"""Entries at the log's end in which something may stand that the records do not have yet."""

PAGE = 1000

NEVER = 2**63

log = logging.getLogger(__name__)


def load(folders: GateFolders, journal: FileLog) -> list[Gate]:
    """The gates on the disk by the time they opened, each as it was last answered; never raises."""
    try:
        found = folders.load()
    except StoreUnavailable as error:
        log.error("gatebus: the gates of earlier runs can't be read: %s", error.message)
        return []
    gates = {gate.id: gate for gate in found}
    logged = _Logged(journal, gates)
    gates = {gate.id: _put_right(gate, logged.of(gate)) for gate in found}
    gates.update(_regrouped(gates))
    for before in found:
        gate = gates[before.id]
        try:
            if gate is not before:
                folders.put_record(gate)
            logged.complete(gate)
        except StoreUnavailable as error:
            log.error("gatebus: gate %s can't be brought up to date on the disk: %s", gate.id, error.message)
    return list(gates.values())


class _Logged:
    """What the end of the log says of some gates."""

    def __init__(self, journal: FileLog, gates: Mapping[str, Gate]) -> None:
        self._journal = journal
        self._entries: dict[str, list[Entry]] = {}
        self._since = 0
        """Milliseconds since the epoch: the entries from then on were looked at."""
        try:
            self._read(gates)
        except (StoreUnavailable, OSError, ValueError) as error:
            self._since = NEVER
            log.error("gatebus: what was decided last can't be read in the decision log: %s", error)

    def _read(self, gates: Mapping[str, Gate]) -> None:
        start, opened = "", min((gate.opened for gate in gates.values()), default=0)
        for _ in range(LOOKED_AT // PAGE if gates else 0):
            page = self._journal.read(start, PAGE, newest=True)
            for entry in page:
                if entry.gate in gates:
                    self._entries.setdefault(entry.gate, []).insert(0, entry)
                self._since = entry.at
            if len(page) < PAGE or page[-1].at < opened:
                break
            start = page[-1].id

    def of(self, gate: Gate) -> list[Entry]:
        """What it says of the gate, oldest first."""
        return self._entries.get(gate.id, [])

    def complete(self, gate: Gate) -> None:
        """Logs what only the gate's record has; raises StoreUnavailable."""
        known = self.of(gate)
        decision = gate.decision
        if decision is not None and decision.at >= self._since and all(e.decision != decision.id for e in known):
            self._journal.append(decision_entry(gate, decision))
        if gate.status in ENDED and gate.ended >= self._since and all(e.kind != "end" for e in known):
            self._journal.append(end_entry(gate))


def _put_right(gate: Gate, entries: list[Entry]) -> Gate:
    for entry in entries:
        try:
            if entry.kind in DECIDED and gate.decision is None and gate.status not in ENDED:
                decision = Decision(
                    entry.decision, entry.kind, entry.route, entry.by, entry.where, entry.text, chosen=entry.chosen
                )
                gate = steps.decide(gate, decision, entry.at)
            elif entry.kind == "take-back" and gate.decision is not None and gate.decision.id == entry.decision:
                gate = steps.take_back(gate, entry.decision)
                gate = replace(gate, status="parked" if gate.parked else gate.status)
            elif entry.kind == "end" and gate.status not in ENDED:
                kind = gate.decision.kind if gate.decision is not None else ""
                applied = entry.outcome == "applied" or kind == "expire"
                status = steps.END_OF[kind] if applied and kind else "cancelled"
                gate = steps.end(gate, status, entry.outcome, entry.ended)
        except GatebusError as error:
            # What is in the record already.
            log.debug("gatebus: an entry of gate %s: %s", gate.id, error.message)
    if gate.status == "decided" and gate.decision is not None and gate.decision.kind != "route":
        # Nobody is there to carry it out, and nothing is left to stop.
        outcome = "applied" if gate.parked else NOBODY
        gate = steps.end(gate, steps.END_OF[gate.decision.kind], outcome, now_ms())
    return gate


def _regrouped(gates: Mapping[str, Gate]) -> dict[str, Gate]:
    """The parked gates of which not all was written: what a lead says of its group is told anew by its members."""
    changed: dict[str, Gate] = {}
    for gate in gates.values():
        lead = gates.get(gate.group) if gate.parked else None
        now = gate
        if gate.parked and lead is None and gate.status not in ENDED:
            # Its lead could not be read: it goes on alone.
            now = _led(replace(gate, group=gate.id, members="", over=1, run="", undecided=0), [gate])
        elif lead is gate:
            ids = gate.members.split() or [gate.id]
            now = _led(gate, [gates[member] for member in ids if member in gates])
        elif lead is not None and gate.id not in lead.members.split() and gate.status not in ENDED:
            # Its lead, the last one to be written, was not: they were not parked.
            status = "waiting" if gate.decision is None else "decided"
            now = replace(gate, status=status, parked=0, group="")
        if now != gate:
            changed[gate.id] = replace(now, rev=gate.rev + 1)
    return changed


def _led(lead: Gate, members: list[Gate]) -> Gate:
    undecided = sum(gate.decision is None for gate in members)
    ids = " ".join(gate.id for gate in members) if len(members) > 1 else ""
    run = lead.run
    if run in ("", PENDING):
        run = PENDING if not undecided and any(gate.status == "decided" for gate in members) else ""
    return replace(lead, members=ids, undecided=undecided, run=run)
