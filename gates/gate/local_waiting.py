"""A gate that this process alone holds: in memory, and on the disk as soon as its run could be continued from there.

Who opened it waits on it. When it is parked, or was loaded after a restart, nobody does, and it is
only held. Locks, outer ones first: ``_keeping``, ``lock``, ``_disk``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import codec
from ..decisions.record import LogWriter, decision_entry, image_digest, image_entry, take_back_entry
from ..errors import GateNotFound, StoreUnavailable
from . import parking, steps
from .folder import GateFolders
from .record import Decision, Gate
from .waiting import Waiting, frame_not_found, mask_token, now_ms

log = logging.getLogger(__name__)

NOBODY = "nobody waited"
"""The outcome of a stop that nobody was there to carry out."""


class LocalWaiting(Waiting):
    """See :class:`record.Waiter`. ``on_change`` is called at every change, under the gate's lock."""

    def __init__(
        self,
        gate: Gate,
        preview: bytes,
        timeout: float,
        mask: bytes | None,
        on_change: Callable[[Gate], None],
        journal: LogWriter,
        folders: GateFolders,
    ) -> None:
        super().__init__(gate, preview, timeout, mask, on_change, journal)
        self.owner = gate.owner
        """This process."""
        self._folders = folders
        self._continuation: bytes | None = None
        """Until it is on the disk."""
        self._image_on_disk = False
        self._written = 0
        """The revision of the record on the disk, 0 when there is none."""
        self._shown = self._gate
        self._keeping = threading.Lock()
        self._disk = threading.Lock()

    @classmethod
    def loaded(
        cls, gate: Gate, owner: str, on_change: Callable[[Gate], None], journal: LogWriter, folders: GateFolders
    ) -> LocalWaiting:
        """A gate as it was found on the disk; ``owner`` is this process."""
        remaining = max(0.001, (gate.deadline - now_ms()) / 1000) if gate.deadline else 0.0
        held = cls(gate, b"", remaining, None, on_change, journal, folders)
        held.owner = owner
        held._gate = held._shown = gate
        held._image_on_disk = gate.layout is not None and bool(gate.kept)
        held._written = gate.rev
        held.wake()
        return held

    # -- what a Waiter promises -----------------------------------------------------------
    def store_image(self, image: codec.Encoded) -> None:
        """See :class:`record.Waiter`. On a disk that is full it stays in memory, and is tried again."""
        # Neither under the lock, for which a decision or an interrupt would wait.
        digest = image_digest(image)
        with self._keeping:
            written = self._tried(lambda: self._folders.put_image(self._gate.id, image))
            with self.lock:
                gate = replace(self._gate, layout=image.layout, digest=digest, rev=self._gate.rev + 1)
                self._image_on_disk = written
                self.encoded = image if self.live and not written else None
                if not self.live and digest != self._gate.digest:
                    self._journal.append(image_entry(gate), durable=False)
                self.see(gate)

    def store_continuation(self, data: bytes) -> None:
        """See :class:`record.Waiter`. From then on the gate outlives this process."""
        with self.lock:
            self._continuation = data
        self._tried(self.keep)

    @property
    def ready(self) -> bool:
        """Whether it can be parked: what its run needs to go on is on the disk."""
        return bool(self._gate.kept) and (self._image_on_disk or self._gate.kind == "text")

    def mask(self) -> bytes | None:
        """See :class:`record.Waiter`."""
        decision = self.decision
        return self.read_mask() if decision is not None and decision.mask else None

    def apply(self) -> Decision:
        """See :class:`record.Waiter`; raises Conflict when it is parked: its run carries the decision out."""
        with self.lock:
            if self._gate.parked:
                raise parking.is_parked(self._gate)
            return super().apply()

    def close(self, outcome: str) -> None:
        """See :class:`record.Waiter`; a parked gate stays."""
        with self.lock:
            if not self._gate.parked:
                super().close(outcome)

    # -- for the store that holds it ------------------------------------------------------
    @property
    def shown(self) -> Gate:
        """The gate as others see it: orphaned, when the process is gone that waited on it."""
        gate = self._gate
        if gate.status != "waiting" or gate.owner == self.owner:
            return gate
        shown = self._shown
        if (shown.rev, shown.status) != (gate.rev, "orphaned"):
            shown = self._shown = replace(gate, status="orphaned")
        return shown

    @property
    def abandoned(self) -> bool:
        """Whether no prompt of this process waits on it."""
        return bool(self._gate.parked) or self._gate.owner != self.owner

    @property
    def unkept(self) -> bool:
        """Whether something of it should be on the disk and is not."""
        return self.encoded is not None or self._continuation is not None

    def keep(self) -> None:
        """Puts on the disk what should be there; raises StoreUnavailable."""
        with self._keeping:
            gate_id, encoded, continuation = self._gate.id, self.encoded, self._continuation
            if encoded is not None:
                self._folders.put_image(gate_id, encoded)
                with self.lock:
                    self._image_on_disk, self.encoded = True, None
            if continuation is None:
                return
            self._folders.put_continuation(gate_id, continuation)
            if self.preview:
                self._folders.put_preview(gate_id, self.preview)
            while not self._kept():
                # A mask was painted meanwhile.
                pass
        self.flush()

    def _kept(self) -> bool:
        """Marks the gate as kept when the mask that counts is on the disk too; returns False when it has changed."""
        painted, token = self.painted, self._gate.mask
        if painted is not None and token:
            self._folders.put_mask(self._gate.id, token, painted)
        with self.lock:
            if token != self._gate.mask or painted is not self.painted:
                self._folders.drop_mask(self._gate.id, token)
                return False
            self._continuation, self.preview, self.painted = None, b"", None
            if not self._gate.kept:
                self.see(replace(self._gate, kept=1, rev=self._gate.rev + 1))
            return True

    def flush(self) -> None:
        """Writes the record as it is now, when it is newer than the one on the disk; raises StoreUnavailable."""
        with self._disk:
            gate = self._gate
            if (gate.kept or self._written) and gate.rev > self._written:
                self._folders.put_record(gate)
                self._written = gate.rev

    def write(self, gate: Gate) -> None:
        """Writes the record that is about to be :meth:`see`n; raises StoreUnavailable, and nothing has changed then.

        Under the lock, and not for a gate that a prompt waits on: its next node would wait for the disk.
        """
        with self._disk:
            self._folders.put_record(gate)
            self._written = gate.rev

    def unwrite(self, gate: Gate) -> None:
        """Puts the record back that :meth:`write` replaced; what the disk does not take, the next start puts right."""
        with self._disk:
            self._written = gate.rev
            self._tried(lambda: self._folders.put_record(gate))

    def commit(self, gate: Gate) -> None:
        """As :meth:`write`, and then it is so."""
        if gate is not self._gate:
            self.write(gate)
            self.see(gate)

    def leave(self) -> None:
        """The gate is forgotten: nothing more of it is written."""
        with self._disk:
            self._written = 2**62

    def decide(self, decision: Decision) -> Gate:
        """Makes the decision about a gate that is not parked; see :class:`record.GateStore`.

        Raises StoreUnavailable: not logged.
        """
        with self.lock:
            gate = steps.decide(self._gate, decision, now_ms())
            if gate is not self._gate and gate.decision is not None:
                # On the disk before anybody can see it, and so before anything follows from it.
                self._journal.append(decision_entry(gate, gate.decision))
                self._logged(gate)
                if self._gate.owner != self.owner and decision.kind != "route":
                    # Nobody is there to acknowledge it.
                    self._end(steps.end(self._gate, steps.END_OF[decision.kind], NOBODY, now_ms()))
                    self._logged(self._gate)
            return self.shown

    def take_back(self, decision_id: str, by: str, where: str) -> Gate:
        """Takes the decision about a gate that is not parked back; see :class:`record.GateStore`."""
        with self.lock:
            gate = steps.take_back(self._gate, decision_id)
            if gate is not self._gate:
                self._journal.append(take_back_entry(gate, decision_id, by, where, now_ms()))
                self._logged(gate)
            return self.shown

    def set_mask(self, png: bytes | None) -> Gate:
        """Replaces the painted mask; see :class:`record.GateStore`."""
        token = mask_token(png)
        with self.lock:
            before, gate = self._gate.mask, steps.paint(self._gate, token)
            if not gate.kept:
                self.painted = png
                self.see(gate)
                return self.shown
            if png is not None:
                self._folders.put_mask(gate.id, token, png)
            self.commit(gate)
            self._folders.drop_mask(gate.id, before)
            return self.shown

    def read_preview(self) -> bytes:
        """The preview; raises GateNotFound."""
        return self.preview or (self._folders.preview(self._gate.id) if self._gate.kept else b"")

    def read_mask(self) -> bytes | None:
        """The painted mask as PNG, None when there is none."""
        with self.lock:
            painted, gate = self.painted, self._gate
        if not gate.mask:
            return None
        return painted if painted is not None else self._folders.mask(gate.id, gate.mask)

    def continuation(self) -> bytes:
        """What it takes to run on from here; raises GateNotFound."""
        if not self._gate.kept:
            raise GateNotFound("What it takes to run on from that gate is not stored", gate=self._gate.id)
        return self._folders.continuation(self._gate.id)

    def frame(self, frame: int) -> bytes:
        """Image ``frame`` of the batch as PNG; raises GateNotFound."""
        gate = self._gate
        if self.encoded is not None or not self._image_on_disk:
            return super().frame(frame)
        if gate.layout is None or not 0 <= frame < gate.layout.frames:
            raise frame_not_found(gate.id, gate.layout, frame)
        return codec.frame_png(gate.layout, lambda part: self._folders.part(gate, part), frame)

    def image(self) -> NDArray[np.floating[Any]]:
        """The whole batch; raises GateNotFound."""
        gate = self._gate
        if self.encoded is not None or not self._image_on_disk or gate.layout is None:
            return super().image()
        return codec.decode(gate.layout, [self._folders.part(gate, part) for part in range(gate.layout.parts)])

    def drop_bytes(self) -> None:
        """Lets image and continuation go, of a gate that has ended and that nobody continues any more."""
        with self._keeping:
            with self.lock:
                self.encoded = self._continuation = None
                self._image_on_disk = False
                if self._gate.kept:
                    self.see(replace(self._gate, kept=0, rev=self._gate.rev + 1))
            if self._written:
                self.flush()
                self._folders.drop_bytes(self._gate.id)
            else:
                self._folders.remove(self._gate.id)

    @property
    def has_bytes(self) -> bool:
        """Whether there is something that :meth:`drop_bytes` would let go."""
        return bool(self._gate.kept) or self._image_on_disk or self.unkept

    # -- inside ---------------------------------------------------------------------------
    def _logged(self, gate: Gate) -> None:
        """Takes the record whose decision is in the log: from there it is put right, should it not be written here."""
        if self.abandoned and gate.kept:
            self._tried(lambda: self.write(gate))
        self.see(gate)

    def _tried(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except StoreUnavailable as error:
            log.warning("gatebus: gate %s is not on the disk yet: %s", self._gate.id, error.message)
            return False
        return True
