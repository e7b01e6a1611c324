"""Gates in Redis: opened by their owner, seen and decided by everyone.

State is in keys and changes in scripts (``scripts.py``); what is published is a hint to look.
A gate that could not be announced because Redis is away waits in this process, where it can be
decided, and is announced as soon as Redis is back. A gate that may be known to others is
decided in Redis only: two people could otherwise both be told that they decided it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import codec
from ..connection import Connection
from ..decisions.record import LogWriter
from ..errors import GateNotFound, StoreUnavailable
from ..events import RedisEvents
from ..keys import Keys
from ..listener import Listener
from ..names import check_decision_id, check_gate_id, clean_text
from .blobs import GateBlobs
from .inventory import Inventory
from .owned import OwnedGates
from .record import ENDED, Decision, Gate
from .redis_parked import RedisParked
from .redis_steps import GateSteps
from .redis_waiting import RedisWaiting
from .waiting import as_opened, frame_not_found


class RedisGates(RedisParked):
    """See :class:`record.GateStore`."""

    def __init__(self, connection: Connection, keys: Keys, listener: Listener, owner: str, journal: LogWriter) -> None:
        """``journal`` takes what is decided here about gates that nobody else can know of."""
        redis, blobs = GateSteps(connection, keys), GateBlobs(connection, keys)
        super().__init__(redis, blobs, OwnedGates(redis, blobs, owner, journal), keys, owner)
        self._settings = connection.settings
        self._inventory = Inventory(connection, keys, RedisEvents(connection, keys, listener).cursor)
        listener.subscribe(keys.gates, self._owned.hint)

    def open(self, gate: Gate, preview: bytes, timeout: float = 0, mask: bytes | None = None) -> RedisWaiting:
        """See :class:`record.GateStore`."""
        return self._owned.open(as_opened(gate, self._owner, self._settings, timeout), preview, timeout, mask)

    def records(self, live: bool = True) -> list[Gate]:
        """See :class:`record.GateStore`."""
        try:
            listed = self._inventory.look()
            if not live:
                gates = {gate.id: gate for gate in (*self._redis.listed(self._keys.ended), *listed)}
                listed = sorted(gates.values(), key=lambda gate: (gate.opened, gate.id))
        except StoreUnavailable:
            here = [waiting.gate for waiting in self._owned.all().values()]
            return sorted(here, key=lambda gate: (gate.opened, gate.id))
        alone = {waiting.gate.id: waiting.gate for waiting in self._owned.all().values() if not waiting.announced}
        if not alone:
            return listed
        gates = {**{gate.id: gate for gate in listed}, **alone}
        return sorted(gates.values(), key=lambda gate: (gate.opened, gate.id))

    def some(self, ids: Sequence[str]) -> list[Gate]:
        """See :class:`record.GateStore`."""
        here = {gate_id: waiting for gate_id in ids if (waiting := self._owned.get(check_gate_id(gate_id))) is not None}
        try:
            found = {gate.id: gate for gate in self._inventory.some(ids)}
            here = {gate_id: waiting for gate_id, waiting in here.items() if not waiting.announced}
        except StoreUnavailable:
            found = {}
        found.update((gate_id, waiting.gate) for gate_id, waiting in here.items())
        return [found[gate_id] for gate_id in ids if gate_id in found]

    def clock(self) -> int:
        """See :class:`record.GateStore`."""
        return self._inventory.clock()

    def counts(self) -> dict[str, int]:
        """See :class:`record.GateStore`."""
        owned, over, parked = self._redis.counts()
        return {"waiting": owned, "orphaned": over, "parked": parked}

    def get(self, gate_id: str) -> Gate:
        """See :class:`record.GateStore`."""
        check_gate_id(gate_id)
        waiting = self._owned.get(gate_id)
        if waiting is not None and not waiting.announced:
            return waiting.gate
        try:
            return self._redis.get(gate_id)
        except GateNotFound:
            raise self._missing(gate_id) from None
        except StoreUnavailable:
            if waiting is None:
                raise
            return waiting.gate

    def decide(self, gate_id: str, decision: Decision) -> Gate:
        """See :class:`record.GateStore`."""
        check_gate_id(gate_id)
        waiting = self._owned.get(gate_id)
        if waiting is not None and waiting.decide_here(decision):
            return waiting.gate
        try:
            if waiting is not None:
                return self._owned.decide(waiting, decision)
            gate = self._redis.decide(gate_id, decision)
        except GateNotFound:
            raise self._missing(gate_id) from None
        if gate.status in ENDED:
            self._owned.keeping.expire(gate)
        return gate

    def take_back(self, gate_id: str, decision_id: str, by: str = "", where: str = "") -> Gate:
        """See :class:`record.GateStore`."""
        check_gate_id(gate_id)
        check_decision_id(decision_id)
        by, where = clean_text(by, "by"), clean_text(where, "where")
        waiting = self._owned.get(gate_id)
        if waiting is not None and waiting.take_back_here(decision_id, by, where):
            return waiting.gate
        try:
            gate = self._redis.take_back(gate_id, decision_id, by, where)
        except GateNotFound:
            raise self._missing(gate_id) from None
        if waiting is not None:
            waiting.see(gate)
        return gate

    def set_mask(self, gate_id: str, png: bytes | None) -> Gate:
        """See :class:`record.GateStore`."""
        check_gate_id(gate_id)
        waiting = self._owned.get(gate_id)
        if waiting is not None and waiting.set_mask_here(png):
            return waiting.gate
        before = self.get(gate_id)
        token = self._blobs.put_mask(gate_id, png) if png is not None else ""
        try:
            gate = self._redis.change(gate_id, "mask", token, undecided=True)
        except GateNotFound:
            raise self._missing(gate_id) from None
        self._blobs.persist(gate)
        self._blobs.drop_mask(gate_id, before.mask)
        if waiting is None and (after := self.get(gate_id)).status in ENDED:
            # It ended between these steps, and what persists would stay for ever.
            self._owned.keeping.expire(after)
        if waiting is not None:
            with waiting.lock:
                waiting.painted = png
                waiting.see(gate)
        return gate

    def mask(self, gate_id: str) -> bytes | None:
        """See :class:`record.GateStore`."""
        gate = self.get(gate_id)
        if not gate.mask:
            return None
        waiting = self._owned.get(gate_id)
        if waiting is not None and waiting.painted is not None and waiting.gate.mask == gate.mask:
            return waiting.painted
        return self._blobs.mask(gate_id, gate.mask)

    def preview(self, gate_id: str) -> bytes:
        """See :class:`record.GateStore`."""
        check_gate_id(gate_id)
        waiting = self._owned.get(gate_id)
        return waiting.preview if waiting is not None else self._blobs.preview(gate_id)

    def frame(self, gate_id: str, frame: int) -> bytes:
        """See :class:`record.GateStore`."""
        check_gate_id(gate_id)
        waiting = self._owned.get(gate_id)
        if waiting is not None and waiting.encoded is not None:
            return waiting.frame(frame)
        gate = self.get(gate_id)
        if gate.layout is None or not 0 <= frame < gate.layout.frames:
            raise frame_not_found(gate_id, gate.layout, frame)
        return codec.frame_png(gate.layout, lambda part: self._blobs.part(gate_id, part), frame)

    def image(self, gate_id: str) -> NDArray[np.floating[Any]]:
        """See :class:`record.GateStore`."""
        gate = self.get(gate_id)
        if gate.layout is None:
            raise frame_not_found(gate_id, None, 0)
        return codec.decode(gate.layout, [self._blobs.part(gate_id, part) for part in range(gate.layout.parts)])

    def close(self) -> None:
        """See :class:`record.GateStore`."""
        self._owned.close()

    def _missing(self, gate_id: str) -> GateNotFound | StoreUnavailable:
        if self._owned.get(gate_id) is not None or self._owned.data_lost:
            return StoreUnavailable("Redis has lost its data; the gate is announced again in a moment", gate=gate_id)
        return GateNotFound("No gate has that id", gate=gate_id)
