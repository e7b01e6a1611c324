"""Parked gates in Redis, and the runs that continue them: see :class:`parked.ParkedGates`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import Conflict, GateNotFound, InvalidInput, StoreUnavailable
from ..keys import Keys
from ..names import check_decision_id, check_gate_id, clean_text
from . import parking
from .blobs import GateBlobs
from .fields import from_fields, to_fields
from .owned import OwnedGates
from .record import Decision, Gate, Waiter
from .redis_steps import GateSteps, answered
from .redis_waiting import RedisWaiting
from .resumed import Resumed


class RedisParked:
    """The part of the store in Redis (``redis.py``) that parks gates and continues them."""

    def __init__(self, redis: GateSteps, blobs: GateBlobs, owned: OwnedGates, keys: Keys, owner: str) -> None:
        self._redis = redis
        self._blobs = blobs
        self._owned = owned
        self._keys = keys
        self._owner = owner

    def park(self, waiters: Sequence[Waiter]) -> bool:
        """See :class:`parked.ParkedGates`."""
        group = [waiter for waiter in waiters if isinstance(waiter, RedisWaiting)]
        if not group or len(group) != len(waiters):
            raise InvalidInput("Only gates that this process has opened can be parked, and at least one")
        if not all(waiter.announced for waiter in group):
            raise StoreUnavailable(
                "Redis does not know the gate yet, so that it can't be parked", gate=group[0].gate.id
            )
        # A wait that goes on while a decision arrives: whichever is first in Redis counts.
        if not self._owned.park(group):
            return False
        lead = self._redis.get(group[0].gate.id)
        self._owned.keeping.prolong([gate for gate in self.family(lead) if gate.ended])
        return True

    def park_orphan(self, gate_id: str, by: str = "", where: str = "") -> Gate:
        """See :class:`parked.ParkedGates`."""
        check_gate_id(gate_id)
        said = (clean_text(by, "by"), clean_text(where, "where"))
        gate = answered(gate_id, *self._redis.confirmed("PARK_ORPHAN", gate_id, *said, *self._redis.kept))
        if gate.ended:
            self._owned.keeping.expire(gate)
        return gate

    def continuation(self, gate_id: str) -> bytes:
        """See :class:`parked.ParkedGates`."""
        return self._blobs.continuation(check_gate_id(gate_id))

    def resume(self, gate_id: str, decision_id: str, prompt_id: str) -> Waiter:
        """See :class:`parked.ParkedGates`."""
        check_gate_id(gate_id)
        check_decision_id(decision_id)
        said = (decision_id, prompt_id, self._owner)
        gate = answered(
            gate_id,
            *self._redis.confirmed("RESUME", gate_id, *said, self._redis.lease_ms, self._redis.settings.instance),
        )
        decision = gate.decision
        if decision is None:
            raise StoreUnavailable("Redis does not keep the gate's decision; ask again", gate=gate_id)

        def mask() -> bytes:
            return self._blobs.mask(gate_id, decision.mask)

        def carry() -> Gate:
            after = answered(gate_id, *self._redis.confirmed("CARRY", gate_id, *said, *self._redis.kept))
            self._owned.keeping.expire(after)
            return after

        return Resumed(gate, decision, mask, carry)

    def again(self, gate_id: str, decision: Decision) -> Gate:
        """See :class:`parked.ParkedGates`."""
        old = self._redis.get(check_gate_id(gate_id))
        new_id = parking.again_id(gate_id, decision.id)
        try:
            return self._redis.get(new_id)
        except GateNotFound:
            pass
        run = old.run if old.ended or old.group in ("", old.id) else self._redis.get(old.group).run
        new = parking.again(old, run, decision, decision.at)
        try:
            self._blobs.copy(old, new)
        except GateNotFound as error:
            raise Conflict(f"This gate can't be run again: {error.message}", gate=gate_id) from error
        row: list[Any] = [value for pair in to_fields(new).items() for value in pair]
        code, fields = self._redis.confirmed("AGAIN", new_id, gate_id, *self._redis.kept, *row)
        if code == "GONE":
            raise GateNotFound("No gate has that id", gate=gate_id)
        if code == "NOTENDED":
            raise parking.has_not_ended(from_fields(gate_id, fields))
        made = answered(new_id if code == "OK" else gate_id, code, fields)
        self._blobs.persist(made)
        if not old.ended:
            self._owned.keeping.expire(self._redis.get(gate_id))
        if made.ended:
            self._owned.keeping.expire(made)
        return made

    def due_runs(self, grace_ms: int = 0, most: int = 100) -> list[Gate]:
        """See :class:`parked.ParkedGates`."""
        ids = self._redis.due_runs(grace_ms, most)
        rows = self._redis.rows(ids)
        for gate_id in ids:
            if gate_id not in rows:
                # Its record was lost, and it would stand in the way of others for ever.
                self._redis.run("CLAIM", gate_id, "", 0, 0)
        return [from_fields(gate_id, row) for gate_id, row in rows.items()]

    def claim_run(self, gate_id: str, by: str, for_ms: int) -> Gate | None:
        """See :class:`parked.ParkedGates`."""
        return self._noted(check_gate_id(gate_id), "CLAIM", clean_text(by, "by"), for_ms, self._redis.lease_ms)

    def note_run(
        self,
        gate_id: str,
        by: str,
        state: str,
        run_id: str = "",
        on: str = "",
        error: str = "",
        look_in_ms: int = 0,
    ) -> Gate | None:
        """See :class:`parked.ParkedGates`."""
        parking.check_noted(state)
        said = (clean_text(by, "by"), state, run_id, parking.told(on), parking.told(error), look_in_ms)
        return self._noted(check_gate_id(gate_id), "NOTE", *said)

    def family(self, gate: Gate) -> list[Gate]:
        """See :class:`parked.ParkedGates`."""
        root = gate.family or gate.prompt_id
        if not root:
            return [gate]
        found = self._redis.listed(self._keys.family(root))
        return sorted(found, key=lambda one: (one.opened, one.id))

    def prompts_ended(self, ends: Mapping[str, str]) -> None:
        """See :class:`parked.ParkedGates`."""
        if not ends:
            return
        for lead, prompt_id in self._redis.awaited_prompts().items():
            if prompt_id in ends:
                said = (prompt_id, self._owner, parking.told(ends[prompt_id]), parking.UNCARRIED)
                self._redis.run("PROMPT_ENDED", lead, *said)

    def _noted(self, gate_id: str, code: str, *said: Any) -> Gate | None:
        answer, row = self._redis.run(code, gate_id, *said)
        return from_fields(gate_id, row) if answer == "OK" else None
