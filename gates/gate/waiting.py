"""A gate that this process waits on: the owner's side, with everything it needs to open it again.

It keeps the record, the preview, the whole image and the painted mask, so that a store that
lost its data is given all of it again.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import codec
from ..decisions.record import LogWriter, decision_entry, end_entry, image_digest, image_entry, take_back_entry
from ..errors import GateNotFound, StoreUnavailable
from ..names import check_gate_id
from ..settings import Settings
from . import steps
from .record import DEADLINE, ENDED, Decision, Gate, make_decision

log = logging.getLogger(__name__)


def now_ms() -> int:
    """This process's clock, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Waiting:
    """A gate that waits in this process alone; ``redis.py`` extends it for gates that others see."""

    def __init__(
        self,
        gate: Gate,
        preview: bytes,
        timeout: float,
        mask: bytes | None,
        on_change: Callable[[Gate], None],
        journal: LogWriter,
    ) -> None:
        self.lock = threading.RLock()
        self.preview = preview
        self.encoded: codec.Encoded | None = None
        self.painted = mask
        """The PNG that ``gate.mask`` names."""
        self._gate = replace(gate, mask=mask_token(mask))
        self._timeout_at = time.monotonic() + timeout if timeout > 0 else None
        self._on_change = on_change
        self._journal = journal
        self._decided = threading.Event()
        self._callbacks: list[Callable[[], None]] = []

    # -- what a Waiter promises -----------------------------------------------------------
    @property
    def gate(self) -> Gate:
        """See :class:`record.Waiter`."""
        return self._gate

    @property
    def decision(self) -> Decision | None:
        """See :class:`record.Waiter`."""
        return self._gate.decision

    def wait(self, timeout: float | None = None) -> Decision | None:
        """See :class:`record.Waiter`."""
        end = None if timeout is None else time.monotonic() + timeout
        while self._decided.wait(None if end is None else max(0.0, end - time.monotonic())):
            with self.lock:
                if self.settled:
                    return self.decision
                # Taken back in this moment.
                self._decided.clear()
        return self.decision

    def on_decision(self, callback: Callable[[], None]) -> None:
        """See :class:`record.Waiter`."""
        with self.lock:
            if not self._decided.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def store_image(self, image: codec.Encoded) -> None:
        """See :class:`record.Waiter`."""
        # Not under the lock, for which a decision or an interrupt would wait: it takes its time with a large image.
        digest = image_digest(image)
        with self.lock:
            gate = replace(self._gate, layout=image.layout, digest=digest, rev=self._gate.rev + 1)
            if self.live:
                self.encoded = image
            elif gate.digest != self._gate.digest:
                self._journal.append(image_entry(gate), durable=False)
            self.see(gate)

    def mask(self) -> bytes | None:
        """See :class:`record.Waiter`."""
        return self.painted if self.decision is not None and self.decision.mask else None

    def apply(self) -> Decision:
        """See :class:`record.Waiter`."""
        with self.lock:
            decision = self.decision
            if decision is None:
                raise steps.not_decided(self._gate)
            self._end(steps.apply(self._gate, now_ms()))
            return decision

    def close(self, outcome: str) -> None:
        """See :class:`record.Waiter`."""
        with self.lock:
            try:
                self._end(steps.end(self._gate, "cancelled", outcome, now_ms()))
            except StoreUnavailable as error:
                log.warning("gatebus: how gate %s ended could not be logged: %s", self._gate.id, error.message)
                self.see(steps.end(self._gate, "cancelled", outcome, now_ms()))

    # -- for the store that holds it ------------------------------------------------------
    @property
    def settled(self) -> bool:
        """Whether there is nothing to wait for: it is decided, or has ended."""
        return self.decision is not None or not self.live

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self._gate.status not in ENDED

    def see(self, gate: Gate) -> None:
        """Takes the record as it now is; wakes who waits when it carries the decision."""
        with self.lock:
            older = gate.rev < self._gate.rev and (gate.decision is None or self.decision is not None)
            if gate.decision is not None and steps.was_taken_back(self._gate, gate.decision.id):
                older = True
            if self.decision is not None and steps.was_taken_back(gate, self.decision.id):
                older = False
            if older:
                # An answer that a newer one overtook.
                return
            changed = gate.rev != self._gate.rev or gate.status != self._gate.status
            self._gate = gate
            if gate.decision is None and gate.status not in ENDED:
                self._decided.clear()
        if changed:
            self._on_change(gate)
        self.wake()

    def wake(self) -> None:
        """Wakes who waits, once, when it is settled; also by an end without a decision, which may be another's."""
        with self.lock:
            if not self.settled:
                return
            self._decided.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:
                # The prompt that waited has ended with its event loop; the gate's state is not touched by that.
                log.exception("gatebus: the waiter of gate %s could not be woken", self._gate.id)

    def decide(self, decision: Decision) -> Gate:
        """Makes the decision in this process; see :class:`record.GateStore`. Raises StoreUnavailable: not logged."""
        with self.lock:
            gate = steps.decide(self._gate, decision, now_ms())
            if gate is not self._gate and gate.decision is not None:
                # On the disk before anybody can see it, and so before anything follows from it.
                self._journal.append(decision_entry(gate, gate.decision))
                self.see(gate)
            return self._gate

    def take_back(self, decision_id: str, by: str, where: str) -> Gate:
        """Takes the decision back in this process; see :class:`record.GateStore`."""
        with self.lock:
            gate = steps.take_back(self._gate, decision_id)
            if gate is not self._gate:
                self._journal.append(take_back_entry(gate, decision_id, by, where, now_ms()))
                self.see(gate)
            return self._gate

    def set_mask(self, png: bytes | None) -> Gate:
        """Replaces the painted mask in this process; see :class:`record.GateStore`."""
        with self.lock:
            gate = steps.paint(self._gate, mask_token(png))
            self.painted = png
            self.see(gate)
            return gate

    def _end(self, gate: Gate) -> None:
        if gate is not self._gate:
            # Not made durable on its own: nothing waits for it, and the next node waits for this step.
            self._journal.append(end_entry(gate), durable=False)
        self.see(gate)

    def remaining(self) -> float | None:
        """Seconds until the deadline by this process's monotonic clock, None without one."""
        return None if self._timeout_at is None else self._timeout_at - time.monotonic()

    def deadline_decision(self) -> Decision:
        """What is decided when the deadline passes; the same over every repeat, whoever makes it."""
        return deadline_decision(self._gate, self._gate.instance)

    def frame(self, frame: int) -> bytes:
        """Image ``frame`` of the batch as PNG; raises GateNotFound."""
        encoded = self.encoded
        if encoded is None or not 0 <= frame < encoded.layout.frames:
            raise frame_not_found(self._gate.id, encoded.layout if encoded else None, frame)
        return codec.frame_png(encoded.layout, lambda part: bytes(encoded.parts[part]), frame)

    def image(self) -> NDArray[np.floating[Any]]:
        """The whole batch; raises GateNotFound."""
        if self.encoded is None:
            raise frame_not_found(self._gate.id, None, 0)
        return codec.decode(self.encoded.layout, [bytes(part) for part in self.encoded.parts])


def as_opened(gate: Gate, owner: str, settings: Settings, timeout: float) -> Gate:
    """The gate as its owner opens it now, with a deadline ``timeout`` seconds ahead (0: none); raises InvalidName."""
    now = now_ms()
    return replace(
        gate,
        id=check_gate_id(gate.id),
        status="waiting",
        owner=owner,
        instance=gate.instance or settings.instance,
        opened=now,
        deadline=now + int(timeout * 1000) if timeout > 0 else 0,
        rev=0,
    )


def mask_token(png: bytes | None) -> str:
    """A fresh token for a painted mask, "" for none."""
    return secrets.token_hex(8) if png is not None else ""


def deadline_decision(gate: Gate, where: str) -> Decision:
    """What is decided about the gate at its deadline, by the owner or, when it is gone, by whoever sweeps.

    ``where`` is the name of that process.
    """
    kind = "route" if gate.timeout_route else "expire"
    # A text that is asked about goes on as it came.
    text = gate.text if kind == "route" else ""
    return make_decision(kind, gate.timeout_route, by=DEADLINE, text=text, id=steps.deadline_id(gate.id), where=where)


def frame_not_found(gate_id: str, layout: codec.Layout | None, frame: int) -> GateNotFound:
    """The error for a frame that is not stored."""
    if layout is None:
        return GateNotFound("The whole image of this gate is not stored (yet); the preview is", gate=gate_id)
    return GateNotFound(f"This gate has frames 0 to {layout.frames - 1}, no {frame}", gate=gate_id)
