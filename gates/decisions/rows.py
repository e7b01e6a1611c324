"""The decision log as people read it: filtered, page by page, each decision with how it ended.

An entry is never changed, so what became of a decision stands in later entries: its end, that it was
taken back, its image's digest. A row is the decision's entry with those filled in; what the log tells
too far away, or not yet, is asked of the gate while that is remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ..errors import GateNotFound
from ..gate.record import Gate
from ..gate.steps import was_taken_back
from .record import DECIDED, KINDS, TAKEN_BACK, DecisionLog, Entry, order

CHOICES = ("decisions", "all", *KINDS)
"""What a filter takes for ``kind``: ``decisions`` are the rows of DECIDED."""

CHUNK = 500
"""Entries read at a time."""

SCANNED = 50_000
"""Entries looked at for one page; a filter that few pass gives a page that is not full, and a cursor to go on."""

NEAR = 200
"""Entries behind a chunk in which the ends of its decisions are looked for."""

REMEMBERED = 50_000
"""Ends that are remembered while the log is read backwards."""

_LAST = 2**64 - 1


@dataclass(frozen=True)
class Filter:
    """Which entries are wanted; "" and 0 mean any. Raises nothing: its values are checked where they come in."""

    since: int = 0
    """Milliseconds since the epoch, by the time of writing; so is ``until``, and both are included."""
    until: int = 0
    gate: str = ""
    by: str = ""
    workflow: str = ""
    instance: str = ""
    label: str = ""
    route: int = 0
    kind: str = "decisions"
    """One of CHOICES."""

    def passes(self, entry: Entry) -> bool:
        """Whether the entry is wanted."""
        if self.kind != "all" and entry.kind not in (DECIDED if self.kind == "decisions" else (self.kind,)):
            return False
        texts = ("gate", "by", "workflow", "instance", "label")
        if any(getattr(self, name) not in ("", getattr(entry, name)) for name in texts):
            return False
        return self.route in (0, entry.route)

    def inside(self, entry: Entry) -> bool:
        """Whether the entry was written in the time that is wanted."""
        written = order(entry.id)[0]
        return self.since <= written and (not self.until or written <= self.until)


@dataclass(frozen=True)
class Rows:
    """The rows of a log that pass a filter. Raises StoreUnavailable while the store is away."""

    log: DecisionLog
    gate: Callable[[str], Gate]
    """The gate of an id; raises GateNotFound."""
    filter: Filter = Filter()
    newest: bool = True
    """Newest first, or oldest first."""

    def page(self, limit: int, cursor: str = "") -> tuple[list[Entry], str]:
        """At most ``limit`` rows behind the cursor ("": from the start), and the next cursor, "" at the end."""
        rows: list[Entry] = []
        scanned = 0
        for chunk, behind in self.chunks(cursor, min(CHUNK, max(50, 2 * limit))):
            if len(rows) + len(chunk) > limit:
                rows += chunk[: limit - len(rows)]
                return rows, rows[-1].id
            rows += chunk
            scanned += CHUNK
            if behind and (len(rows) == limit or scanned >= SCANNED):
                return rows, behind
        return rows, ""

    def chunks(self, cursor: str = "", size: int = CHUNK) -> Iterator[tuple[list[Entry], str]]:
        """The rows in chunks, each with the cursor behind it, "" behind the last."""
        later = _Later(self.gate)
        start = cursor or self._start()
        first = True
        while True:
            entries = self.log.read(start, size, self.newest)
            inside = [entry for entry in entries if self.filter.inside(entry)]
            over = len(entries) < size or len(inside) < len(entries)
            if entries:
                start = entries[-1].id
                if first or not self.newest:
                    later.learn(self.log.read(entries[0 if self.newest else -1].id, NEAR))
                later.learn(entries)
                first = False
            yield [later.filled(entry) for entry in inside if self.filter.passes(entry)], "" if over else start
            if over:
                return

    def _start(self) -> str:
        """The id before the first one that the filter's time lets pass."""
        if self.newest:
            return f"{self.filter.until + 1}-0" if self.filter.until else ""
        return f"{self.filter.since - 1}-{_LAST}" if self.filter.since else ""


class _Later:
    """What entries tell of decisions before them."""

    def __init__(self, gate: Callable[[str], Gate]) -> None:
        self._gate = gate
        self._ends: OrderedDict[tuple[str, str], tuple[str, int]] = OrderedDict()
        """Gate and decision id -> outcome and when."""
        self._digests: OrderedDict[str, str] = OrderedDict()
        """Gate id -> digest."""

    def learn(self, entries: list[Entry]) -> None:
        """Takes in the entries."""
        for entry in entries:
            if entry.kind == "take-back":
                self._ends[entry.gate, entry.decision] = (TAKEN_BACK, entry.at)
            elif entry.kind == "end" and entry.decision:
                self._ends[entry.gate, entry.decision] = (entry.outcome, entry.ended)
            if entry.digest:
                self._digests[entry.gate] = entry.digest
        while len(self._ends) > REMEMBERED:
            self._ends.popitem(last=False)
        while len(self._digests) > REMEMBERED:
            self._digests.popitem(last=False)

    def filled(self, entry: Entry) -> Entry:
        """The entry of a decision with its outcome and digest, as far as they are known; others as they are."""
        if entry.kind not in DECIDED:
            return entry
        outcome, ended = self._ends.get((entry.gate, entry.decision), ("", 0))
        digest = entry.digest or self._digests.get(entry.gate, "")
        if not outcome or not digest:
            try:
                gate = self._gate(entry.gate)
            except GateNotFound:
                return replace(entry, outcome=outcome, ended=ended, digest=digest)
            digest = digest or gate.digest
            if not outcome and was_taken_back(gate, entry.decision):
                outcome = TAKEN_BACK
            elif not outcome and gate.decision is not None and gate.decision.id == entry.decision:
                outcome, ended = gate.outcome, gate.ended
        return replace(entry, outcome=outcome, ended=ended, digest=digest)
