"""The steps of a gate in Redis, run: each answers with the record after it, or raises what the store promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..connection import Connection, pairs
from ..errors import GatebusError, GateNotFound, StoreUnavailable
from ..events import KEPT_EVENTS
from ..keys import Keys
from . import scripts, steps
from .fields import from_fields
from .record import Decision, Gate

LOOK_AT_ONCE = 100
"""Gates in one script, which holds up everyone else for about a millisecond."""

Reply = tuple[str, dict[str, str]]
"""The code and the fields of a script's answer."""

REFUSALS: dict[str, Callable[[Gate], GatebusError]] = {
    "OTHER": steps.already_decided,
    "DECIDED": steps.already_decided,
    "ENDED": steps.gate_closed,
    "TAKEN": steps.taken_back,
    "STAYS": steps.stays,
    "UNDECIDED": steps.undecided,
}
"""Code of a step that changed nothing -> its error, of the gate as it is."""


class GateSteps:
    """Runs the scripts of ``scripts.py``; every call raises StoreUnavailable while Redis is away."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self.connection = connection
        self.settings = connection.settings
        self.keys = keys
        self._scripts = {
            name: connection.script(getattr(scripts, name))
            for name in (
                *("OPEN", "LOOK", "DECIDE", "TAKE_BACK", "APPLY", "CLOSE", "SET", "IMAGE", "ORPHAN"),
                *("OVERDUE", "INDEX", "RECORD", "COUNT"),
            )
        }

    @property
    def keep_ms(self) -> int:
        """Milliseconds for which a gate that ended is remembered."""
        return int(self.settings.keep_decided * 1000)

    @property
    def kept(self) -> tuple[int, int]:
        """What remains of a decision: the gate for so many milliseconds, and so many entries of the log (0: all)."""
        return self.keep_ms, self.settings.decision_log

    @property
    def lease_ms(self) -> int:
        """Milliseconds for which a gate counts as alive without a look."""
        return int(self.settings.lease * 1000)

    def run(self, name: str, gate_id: str, *arguments: Any) -> Reply:
        """One step of one gate."""
        with self.connection.available():
            return parsed(self._call(name, gate_id, arguments, None))

    def counts(self) -> tuple[int, int]:
        """How many live gates have an owner that lives, and how many have none."""
        with self.connection.available():
            owned, over = self._scripts["COUNT"](keys=[self.keys.gates, self.keys.leases])
        return int(owned), int(over)

    def look(self, owner: str, gates: Sequence[tuple[str, int, int, int]]) -> list[Reply]:
        """Renews the leases of (id, fence, ms to the deadline or -1, known rev) and answers what is new of each."""
        replies: list[Reply] = []
        for start in range(0, len(gates), LOOK_AT_ONCE):
            chunk = gates[start : start + LOOK_AT_ONCE]
            first, *others = self._keys_of(chunk[0][0])
            keys = [first, *others, *(self.keys.gate(gate_id) for gate_id, *_ in chunk[1:])]
            # The first id is named twice: as the step's gate, and in its turn.
            arguments: list[Any] = [chunk[0][0], KEPT_EVENTS, owner, self.lease_ms]
            arguments += [value for look in chunk for value in look]
            with self.connection.available():
                replies += [parsed(reply) for reply in self._scripts["LOOK"](keys=keys, args=arguments)]
        return replies

    def confirmed(self, name: str, gate_id: str, *arguments: Any) -> Reply:
        """A step that counts as made only when ``settings.replicas`` replicas have it."""
        replicas = self.settings.replicas
        if not replicas:
            return self.run(name, gate_id, *arguments)
        with self.connection.available():
            pipe = self.connection.control.pipeline(transaction=False)
            self._call(name, gate_id, arguments, pipe)
            pipe.wait(replicas, 250)
            reply, count = pipe.execute()
        if count < replicas:
            raise StoreUnavailable(
                f"Only {count} of {replicas} Redis replicas have confirmed it; repeat it", confirmed=count
            )
        return parsed(reply)

    def decide(self, gate_id: str, decision: Decision) -> Gate:
        """Makes the decision; see :class:`record.GateStore`."""
        code, row = self.confirmed("DECIDE", gate_id, *decision_arguments(decision), *self.kept)
        if code == "NOROUTE":
            raise steps.no_such_route(from_fields(gate_id, row), decision)
        if code == "NOIMAGE":
            raise steps.no_such_image(from_fields(gate_id, row), decision)
        return _answered(gate_id, code, row)

    def take_back(self, gate_id: str, decision_id: str, by: str, where: str) -> Gate:
        """Takes the decision back; see :class:`record.GateStore`."""
        arguments = (decision_id, by, where, steps.TAKEN_BACK_IDS, self.settings.decision_log)
        return _answered(gate_id, *self.confirmed("TAKE_BACK", gate_id, *arguments))

    def leaving(self, most: int = 1000) -> list[str]:
        """Ids of gates that ended and whose record and bytes still have no expiry, the first ones to end first."""
        with self.connection.available():
            ids: list[str] = self.connection.control.zrange(self.keys.leaving, 0, most - 1)
        return ids

    def left(self, gate_id: str) -> None:
        """Lets the record of an ended gate expire, after its bytes."""
        with self.connection.available():
            pipe = self.connection.control.pipeline(transaction=False)
            pipe.pexpire(self.keys.gate(gate_id), self.keep_ms)
            pipe.zrem(self.keys.leaving, gate_id)
            pipe.execute()

    def change(self, gate_id: str, field: str, value: str, undecided: bool = False) -> Gate:
        """Sets a field of a live gate, ``undecided``: only before its decision; raises AlreadyDecided or GateClosed."""
        return _answered(gate_id, *self.run("SET", gate_id, int(undecided), field, value))

    def overdue(self, most: int = 1000) -> tuple[list[str], list[str]]:
        """Ids of gates whose lease is over, and of those among them whose deadline is over."""
        with self.connection.available():
            reply = self._scripts["OVERDUE"](keys=[self.keys.leases, self.keys.deadlines], args=[most])
        split = reply.index("")
        return reply[:split], reply[split + 1 :]

    def listed(self, index: str) -> list[Gate]:
        """The records of an index (``keys.gates`` or ``keys.ended``), oldest first."""
        with self.connection.available():
            now, *rows = self._scripts["INDEX"](keys=[index, self.keys.leases], args=[])
        leases = dict(zip(rows[::2], rows[1::2], strict=True))
        ids = list(leases)
        gates = []
        for start in range(0, len(ids), 500):
            chunk = ids[start : start + 500]
            with self.connection.available():
                pipe = self.connection.control.pipeline(transaction=False)
                for gate_id in chunk:
                    pipe.hgetall(self.keys.gate(gate_id))
                records = pipe.execute()
            for gate_id, row in zip(chunk, records, strict=True):
                if row:
                    gates.append(from_fields(gate_id, row, orphaned=not float(leases[gate_id] or 0) > float(now)))
        return gates

    def get(self, gate_id: str) -> Gate:
        """The record; raises GateNotFound."""
        with self.connection.available():
            code, row = parsed(
                self._scripts["RECORD"](keys=[self.keys.gate(gate_id), self.keys.leases], args=[gate_id])
            )
        if not row:
            raise GateNotFound("No gate has that id", gate=gate_id)
        return from_fields(gate_id, row, orphaned=code == "OVERDUE")

    def epoch(self) -> str:
        """The data set's epoch, "" before there is one."""
        with self.connection.available():
            return self.connection.control.get(self.keys.epoch) or ""

    def _call(self, name: str, gate_id: str, arguments: Sequence[Any], pipe: Any) -> Any:
        return self._scripts[name](keys=self._keys_of(gate_id), args=[gate_id, KEPT_EVENTS, *arguments], client=pipe)

    def _keys_of(self, gate_id: str) -> list[str]:
        keys = self.keys
        indexes = [keys.gates, keys.leases, keys.deadlines, keys.events, keys.ended, keys.decisions, keys.leaving]
        return [keys.gate(gate_id), *indexes]


def parsed(reply: list[str]) -> Reply:
    """A script's answer as its code and its fields."""
    return reply[0], pairs(reply[1:])


def _answered(gate_id: str, code: str, row: dict[str, str]) -> Gate:
    """The gate as a step answered it; raises what the step refused."""
    if code == "MISSING":
        raise GateNotFound("No gate has that id", gate=gate_id)
    gate = from_fields(gate_id, row)
    if code in REFUSALS:
        raise REFUSALS[code](gate)
    return gate


def decision_arguments(decision: Decision) -> list[str | int]:
    """The decision as DECIDE takes it."""
    said = (decision.text, decision.where, decision.chosen)
    return [decision.id, decision.kind, decision.route, decision.by, *said]
