"""The owner's side of a gate in Redis: alone in this process until it is announced, in Redis from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import codec
from ..decisions.record import LogWriter
from ..errors import Fenced
from .parking import can_park
from .record import Decision, Gate
from .waiting import Waiting

if TYPE_CHECKING:
    from .owned import OwnedGates


class RedisWaiting(Waiting):
    """The owner's side of a gate in Redis; see :class:`record.Waiter`."""

    def __init__(
        self,
        owned: OwnedGates,
        gate: Gate,
        preview: bytes,
        timeout: float,
        mask: bytes | None,
        journal: LogWriter,
    ) -> None:
        super().__init__(gate, preview, timeout, mask, lambda gate: None, journal)
        self._owned = owned
        self._fenced: Gate | None = None
        self.opening = True
        """Until its opener is done with it; no look comes between."""
        self.announced = False
        """Whether others may know of it: from then on only Redis decides."""
        self.unsettled = False
        """Whether its bytes still have to lose the expiry that they were written with."""
        self.image_stored = False
        self.continuation: bytes | None = None
        self.continuation_stored = False
        self.deciding = 0
        """Decisions under way in this process, each of which sees its own outcome."""

    @property
    def awaits_news(self) -> bool:
        """Whether a look would tell what is not known here already: a hint may be of this process's own making."""
        return self.decision is None and not self.deciding

    @property
    def settled(self) -> bool:
        """Whether there is nothing to wait for; also when another owner has it."""
        return super().settled or self._fenced is not None

    def decide_here(self, decision: Decision) -> bool:
        """Makes the decision when nobody else can know of the gate; otherwise does nothing and returns False."""
        with self.lock:
            if self.announced:
                return False
            self.decide(decision)
            return True

    def take_back_here(self, decision_id: str, by: str, where: str) -> bool:
        """Takes the decision back when nobody else can know of the gate; otherwise returns False."""
        with self.lock:
            if self.announced:
                return False
            self.take_back(decision_id, by, where)
            return True

    def set_mask_here(self, png: bytes | None) -> bool:
        """Sets the painted mask when nobody else can know of the gate; otherwise does nothing and returns False."""
        with self.lock:
            if self.announced:
                return False
            self.set_mask(png)
            return True

    def store_image(self, image: codec.Encoded) -> None:
        """See :class:`record.Waiter`."""
        with self.lock:
            self.encoded = image
            self.image_stored = False
            if not self.announced:
                super().store_image(image)
                return
        self._owned.keeping.store(self)

    def store_continuation(self, data: bytes) -> None:
        """See :class:`record.Waiter`."""
        with self.lock:
            self.continuation = data
        self._owned.keeping.store(self)

    @property
    def ready(self) -> bool:
        """See :class:`record.Waiter`."""
        return self.announced and can_park(self.gate)

    def mask(self) -> bytes | None:
        """See :class:`record.Waiter`; raises StoreUnavailable, or GateNotFound when the mask is lost."""
        decision = self.decision
        if decision is None or not decision.mask:
            return None
        if self.painted is None or self.gate.mask != decision.mask:
            self.painted = self._owned.painted_mask(self.gate.id, decision.mask)
        return self.painted

    def apply(self) -> Decision:
        """See :class:`record.Waiter`."""
        if self._fenced is not None:
            raise fenced(self._fenced)
        with self.lock:
            if not self.announced:
                self._owned.forget(self)
                return super().apply()
        return self._owned.applied(self)

    def close(self, outcome: str) -> None:
        """See :class:`record.Waiter`."""
        with self.lock:
            if not self.live or self._fenced is not None or self.gate.parked:
                return
            if not self.announced:
                super().close(outcome)
                self._owned.forget(self)
                return
        self._owned.withdraw(self, outcome)

    def fence_off(self, gate: Gate) -> None:
        """Ends the wait: another owner has the gate, and this one must not apply anything."""
        self._fenced = gate
        self.wake()


def fenced(gate: Gate) -> Fenced:
    """The error for an owner that lost its gate; tells to whom."""
    return Fenced(f"The gate was taken over by {gate.instance}", gate=gate.id)
