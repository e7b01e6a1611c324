"""Which gates are wanted, and a page of them: the same in the HTTP API, the commands and the pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..errors import InvalidInput
from .parking import DONE, FAILED, UNDER_WAY
from .record import LIVE, Gate

RUNS = (*UNDER_WAY, DONE, FAILED)
"""States of a run that goes on from a parked gate, in their order."""

FACET_LIMIT = 500
"""Values of one facet, the most frequent ones."""

FACETS = ("status", "instance", "workflow", "bus")


@dataclass(frozen=True)
class Wanted:
    """What gates have to be like; an empty field lets every gate through."""

    status: str = "live"
    """``live`` (waiting, orphaned, parked, decided), ``all``, or one state."""
    instance: str = ""
    workflow: str = ""
    bus: str = ""
    """That it publishes to or was loaded from."""
    text: str = ""
    """Words; each is somewhere in title, note, workflow, instance, buses, labels or id, in either case."""
    older: int = 0
    """Seconds: opened at least so long ago; 0 for any."""
    newer: int = 0
    """Seconds: opened at most so long ago; 0 for any."""
    run: str = ""
    """The state of the run that goes on from it: one of :data:`RUNS`, or ``open`` for all but done. Gates that have
    ended pass too, unless ``status`` names a state."""
    workflow_id: str = ""
    """That of the saved workflow."""

    @property
    def live(self) -> bool:
        """Whether only gates that have not ended can pass."""
        return self.status in LIVE or (self.status == "live" and not self.run)

    def choose(self, gates: Iterable[Gate], now: int) -> list[Gate]:
        """Those that pass, in their order; ``now`` in milliseconds since the epoch."""
        return [gate for gate in self._aged(gates, now) if not self._failed(gate)]

    def count(self, gates: Iterable[Gate], now: int) -> tuple[list[Gate], dict[str, dict[str, int]]]:
        """(those that pass, for each of :data:`FACETS`: value -> how many have it of those that pass all else).

        So a menu shows what else could be chosen. Most frequent first; empty values are left out.
        """
        counts: dict[str, dict[str, int]] = {name: {} for name in FACETS}
        passed = []
        for gate in self._aged(gates, now):
            failed = self._failed(gate)
            if not failed:
                passed.append(gate)
            for name in FACETS if not failed else failed if len(failed) == 1 else ():
                count = counts[name]
                for value in {gate.send_id, gate.get_id} if name == "bus" else (getattr(gate, name),):
                    if value:
                        count[value] = count.get(value, 0) + 1
        # Where they are as frequent, in the order of their names.
        return passed, {
            name: dict(sorted(count.items(), key=lambda pair: (-pair[1], pair[0]))[:FACET_LIMIT])
            for name, count in counts.items()
        }

    def _aged(self, gates: Iterable[Gate], now: int) -> Iterable[Gate]:
        """Those of that age, run and saved workflow, and with that text."""
        words = self.text.casefold().split()
        latest = now - self.older * 1000 if self.older else 1 << 62
        earliest = now - self.newer * 1000 if self.newer else 0
        aged = (gate for gate in gates if earliest <= gate.opened <= latest) if self.older or self.newer else gates
        if self.run:
            runs = [*UNDER_WAY, FAILED] if self.run == "open" else [self.run]
            aged = [gate for gate in aged if gate.run in runs]
        if self.workflow_id:
            aged = [gate for gate in aged if gate.workflow_id == self.workflow_id]
        for word in words:
            aged = [gate for gate in aged if word in gate.searched]
        return aged

    def _failed(self, gate: Gate) -> list[str]:
        """The conditions among :data:`FACETS` that it does not meet."""
        failed = []
        status, wanted = gate.status, self.status
        if wanted != status and wanted != "all" and not (wanted == "live" and (status in LIVE or self.run)):
            failed.append("status")
        if self.instance and gate.instance != self.instance:
            failed.append("instance")
        if self.workflow and gate.workflow != self.workflow:
            failed.append("workflow")
        if self.bus and self.bus != gate.send_id and self.bus != gate.get_id:
            failed.append("bus")
        return failed


@dataclass(frozen=True)
class Page:
    """A part of a list of gates."""

    gates: Sequence[Gate]
    total: int
    """Gates of the whole list."""
    next: str = ""
    """The cursor behind the last of these, "" when nothing follows."""
    facets: dict[str, dict[str, int]] = field(default_factory=dict)


def page(gates: Sequence[Gate], limit: int, cursor: str = "", newest: bool = False) -> Page:
    """The ``limit`` gates behind ``cursor`` ("" for the first ones) of a list that is in order, oldest first.

    A cursor names a place in time, not a number: whoever goes from page to page meets every
    gate that is there all the while once, whatever opens and ends meanwhile. Raises
    InvalidInput for a cursor that is none.
    """
    ordered = list(reversed(gates)) if newest else gates
    start = 0
    if cursor:
        place = _place(cursor)
        behind = (index for index, gate in enumerate(ordered) if (_key(gate) < place if newest else _key(gate) > place))
        start = next(behind, len(ordered))
    shown = ordered[start : start + limit]
    more = start + limit < len(ordered)
    return Page(shown, len(gates), f"{shown[-1].opened}-{shown[-1].id}" if more else "")


def _key(gate: Gate) -> tuple[int, str]:
    return gate.opened, gate.id


def _place(cursor: str) -> tuple[int, str]:
    if not re.fullmatch(r"[0-9]{1,15}-[0-9a-f]{32}", cursor):
        raise InvalidInput("cursor must be the next of an answer before", what="cursor")
    opened, _, gate_id = cursor.partition("-")
    return int(opened), gate_id
