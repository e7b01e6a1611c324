"""What there is to tell: follows the store's events, from the place up to which all was told."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence

from gates.errors import GateNotFound
from gates.events import Event
from gates.gate.record import ENDED, Gate
from gates.store import Store

from .claims import Claims, Notified, cursor_ms
from .message import Notice

REMEMBERED = 50_000
"""Things to tell that this broker knows to have handed on; the claims in the store know the rest."""

ONE_BY_ONE = 32
"""Gates that are read one by one; more are read with the list."""

DECIDED = ("deadline", "failed")
"""What there may be to tell of a gate that was decided."""

Add = Callable[[Notified, str], None]
"""Takes one thing to tell, with a place in the events before it."""


class Follower:
    """Turns events into things to tell. It blocks on the store; ``look`` is for one thread, ``read`` for any."""

    def __init__(self, store: Store, claims: Claims, add: Add) -> None:
        self._store = store
        self._claims = claims
        self._add = add
        self._wanted = store.settings.notify_events
        self._after = int(store.settings.notify_after * 1000)
        self._since = 0
        """Gates opened before are not told of; milliseconds by the store's clock."""
        self._due: list[tuple[int, str]] = []
        """(when it has waited long enough, gate id), a heap."""
        self._known: OrderedDict[Notified, None] = OrderedDict()
        self.cursor = ""
        """The place up to which events were looked at; "" before the first look."""

    def look(self) -> None:
        """Takes what has happened since the last look; raises StoreUnavailable."""
        if not self.cursor:
            self._start()
        behind = self._store.events.since(self.cursor)
        if behind is None:
            self._start_over()
        elif behind:
            for gate_id in self._changed(behind):
                gate = self._get(gate_id)
                if gate is not None:
                    self._consider(gate)
            self.cursor = behind[-1].cursor
        if self._due:
            self._look_at_the_clock()

    def read(self, notified: Sequence[Notified]) -> list[Notice]:
        """Those that are still true, with their gates as they are now; raises StoreUnavailable."""
        if len(notified) > ONE_BY_ONE:
            gates = {gate.id: gate for gate in self._store.gates.records()}
        else:
            gates = {gate.id: gate for _, gate_id in notified if (gate := self._get(gate_id)) is not None}
        notices = []
        for event, gate_id in notified:
            # The list of what waits holds no gate that has ended, as one does at its deadline.
            gate = gates.get(gate_id) or (self._get(gate_id) if event in DECIDED else None)
            if gate is not None and is_true(event, gate):
                notices.append(Notice(event, gate))
        return notices

    def _start(self) -> None:
        """Goes on where the last broker was; where there was none, only what happens from now on is told."""
        self.cursor = self._claims.cursor(self._store.events.cursor())
        self._since = cursor_ms(self.cursor)
        if "waiting" in self._wanted:
            for gate in self._store.gates.records():
                self._wind(gate)

    def _start_over(self) -> None:
        """The events have a gap (too many, or the store lost its data): looks at every gate that waits."""
        cursor = self._store.events.cursor()
        for gate in self._store.gates.records():
            self._consider(gate)
        self.cursor = cursor

    def _changed(self, behind: Sequence[Event]) -> Collection[str]:
        """The gates among the events that may be worth telling of."""
        decided_too = any(event in self._wanted for event in DECIDED)
        return dict.fromkeys(
            event.id
            for event in behind
            if event.type == "gate" and (decided_too or event.data.get("status") not in ("decided", *ENDED))
        )

    def _consider(self, gate: Gate) -> None:
        # One that was announced again after the store had lost it was told of when it opened.
        if gate.opened >= self._since and not gate.recovered:
            self._take("opened", gate)
        self._take("orphaned", gate)
        self._take("deadline", gate)
        self._take("failed", gate)
        self._wind(gate)

    def _wind(self, gate: Gate) -> None:
        due = gate.opened + self._after
        if "waiting" in self._wanted and due > self._since and self._new(("due", gate.id)):
            heapq.heappush(self._due, (due, gate.id))

    def _look_at_the_clock(self) -> None:
        now = self._claims.now_ms()
        while self._due and self._due[0][0] <= now:
            gate = self._get(self._due[0][1])
            if gate is not None:
                self._take("waiting", gate)
            heapq.heappop(self._due)

    def _take(self, event: str, gate: Gate) -> None:
        if event in self._wanted and is_true(event, gate) and self._new((event, gate.id)):
            self._add((event, gate.id), self.cursor)

    def _new(self, notified: Notified) -> bool:
        if notified in self._known:
            return False
        self._known[notified] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return True

    def _get(self, gate_id: str) -> Gate | None:
        try:
            return self._store.gates.get(gate_id)
        except GateNotFound:
            return None


def is_true(event: str, gate: Gate) -> bool:
    """Whether that is so of the gate now."""
    if event == "deadline":
        return gate.decision is not None and gate.decision.id == f"deadline:{gate.id}"
    if event == "failed":
        return gate.run == "failed"
    if event == "orphaned":
        return gate.status == "orphaned"
    return gate.status in ("waiting", "orphaned", "parked")
