"""The gates that a process finds on the disk when it starts, put right by the decision log.

A decision is in the log before it is in the gate's record. So a process that died in between left
it in the log only; and the end of a gate may be in the record only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from ..decisions.file import FileLog
from ..decisions.record import DECIDED, Entry, end_entry
from ..errors import GatebusError, StoreUnavailable
from . import steps
from .folder import GateFolders
from .record import ENDED, Decision, Gate

LOOKED_AT = 20_000
"""Entries at the log's end in which something may stand that the records do not have yet."""

PAGE = 1000

log = logging.getLogger(__name__)


def load(folders: GateFolders, journal: FileLog) -> list[Gate]:
    """The gates on the disk by the time they opened, each as it was last answered; never raises."""
    try:
        gates = {gate.id: gate for gate in folders.load()}
        entries = _entries(journal, gates)
        for gate in list(gates.values()):
            now = _put_right(gate, entries.get(gate.id, []))
            if now is not gate:
                gates[gate.id] = now
                folders.put_record(now)
        _log_ends(journal, gates, entries)
    except StoreUnavailable as error:
        log.error("gatebus: the gates of earlier runs can't all be read: %s", error.message)
    return list(gates.values())


def _entries(journal: FileLog, gates: Mapping[str, Gate]) -> dict[str, list[Entry]]:
    """What the end of the log says of these gates, oldest first."""
    found: dict[str, list[Entry]] = {}
    if not gates:
        return found
    start, opened = "", min(gate.opened for gate in gates.values())
    for _ in range(LOOKED_AT // PAGE):
        page = journal.read(start, PAGE, newest=True)
        for entry in page:
            if entry.gate in gates:
                found.setdefault(entry.gate, []).insert(0, entry)
        if len(page) < PAGE or page[-1].at < opened:
            break
        start = page[-1].id
    return found


def _put_right(gate: Gate, entries: list[Entry]) -> Gate:
    for entry in entries:
        try:
            if entry.kind in DECIDED and gate.decision is None and gate.status not in ENDED:
                decision = Decision(
                    entry.decision, entry.kind, entry.route, entry.by, entry.where, entry.text, chosen=entry.chosen
                )
                gate = steps.decide(replace(gate, mask=entry.mask), decision, entry.at)
            elif entry.kind == "take-back" and gate.decision is not None and gate.decision.id == entry.decision:
                gate = steps.take_back(gate, entry.decision)
            elif entry.kind == "end" and gate.status not in ENDED:
                kind = gate.decision.kind if gate.decision is not None else ""
                applied = entry.outcome == "applied" or kind == "expire"
                status = steps.END_OF[kind] if applied and kind else "cancelled"
                gate = steps.end(gate, status, entry.outcome, entry.ended)
        except GatebusError as error:
            # What is in the record already.
            log.debug("gatebus: an entry of gate %s: %s", gate.id, error.message)
    return gate


def _log_ends(journal: FileLog, gates: Mapping[str, Gate], entries: Mapping[str, list[Entry]]) -> None:
    """Logs the ends that only the records have; of gates whose decision was looked at, so that none is logged twice."""
    for gate in gates.values():
        known = entries.get(gate.id, [])
        decided = gate.decision is not None and any(entry.decision == gate.decision.id for entry in known)
        if gate.status in ENDED and decided and not any(entry.kind == "end" for entry in known):
            journal.append(end_entry(gate))
