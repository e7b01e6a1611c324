"""The side of a parked gate of the prompt that carries its decision out."""

from __future__ import annotations

from collections.abc import Callable

from ..codec import Encoded
from .decision import Decision
from .record import Gate


class Resumed:
    """See :class:`record.Waiter`; there is nothing to wait for any more, and nothing to store."""

    def __init__(
        self, gate: Gate, decision: Decision, mask: Callable[[], bytes | None], carry: Callable[[], Gate]
    ) -> None:
        """``mask`` reads what was painted; ``carry`` acknowledges the decision in the store, repeatably."""
        self._gate = gate
        self._decision = decision
        self._mask = mask
        self._carry = carry

    @property
    def gate(self) -> Gate:
        """See :class:`record.Waiter`."""
        return self._gate

    @property
    def decision(self) -> Decision:
        """See :class:`record.Waiter`."""
        return self._decision

    @property
    def ready(self) -> bool:
        """See :class:`record.Waiter`: it was parked, and is over with that."""
        return False

    def wait(self, timeout: float | None = None) -> Decision:
        """See :class:`record.Waiter`."""
        return self._decision

    def on_decision(self, callback: Callable[[], None]) -> None:
        """See :class:`record.Waiter`."""
        callback()

    def store_image(self, image: Encoded) -> None:
        """See :class:`record.Waiter`: it is stored."""

    def store_continuation(self, data: bytes) -> None:
        """See :class:`record.Waiter`: it is stored."""

    def mask(self) -> bytes | None:
        """See :class:`record.Waiter`."""
        return self._mask() if self._decision.mask else None

    def apply(self) -> Decision:
        """See :class:`record.Waiter`; raises Fenced when another prompt is the run now, or it has ended."""
        self._gate = self._carry()
        return self._decision

    def close(self, outcome: str) -> None:
        """See :class:`record.Waiter`: the end of its prompt is the end of the run (``prompts_ended``)."""
