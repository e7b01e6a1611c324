"""The steps of a gate in Redis, run: each answers with the record after it, or raises what the store promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..connection import Connection, pairs
from ..errors import GatebusError, GateNotFound, StoreUnavailable
from ..events import KEPT_EVENTS
from ..keys import Keys
from . import parking, scripts, scripts_parking, scripts_reading, scripts_runs, steps
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
    "CLOSED": steps.gate_closed,
    "BEGUN": parking.run_begun,
    "NOTREADY": parking.not_ready,
    "LIVES": parking.owner_lives,
    "PARKED": parking.is_parked,
    "UNPARKED": parking.not_parked,
    "UNSETTLED": parking.not_settled,
    "RUNENDED": parking.run_ended,
    "BUSY": parking.run_busy,
    "FENCED": parking.run_fenced,
}
"""Code of a step that changed nothing -> its error, of the gate as it is."""


class GateSteps:
    """Runs the scripts of ``scripts.py``; every call raises StoreUnavailable while Redis is away."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self.connection = connection
        self.settings = connection.settings
        self.keys = keys
        self._scripts = {
            name: connection.script(source)
            for module in (scripts, scripts_reading, scripts_parking, scripts_runs)
            for name, source in vars(module).items()
            if name.isupper() and not name.startswith("_") and name != "PRELUDE"
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

    def counts(self) -> tuple[int, int, int]:
        """How many gates have an owner that lives, how many have one that is gone, and how many are parked."""
        with self.connection.available():
            owned, over, parked = self._scripts["COUNT"](keys=[self.keys.leases, self.keys.parked])
        return int(owned), int(over), int(parked)

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
        confirmed_by(count, replicas)
        return parsed(reply)

    def decide(self, gate_id: str, decision: Decision) -> Gate:
        """Makes the decision; see :class:`record.GateStore`."""
        code, row = self.confirmed("DECIDE", gate_id, *decision_arguments(decision), *self.kept)
        if code == "NOROUTE":
            raise steps.no_such_route(from_fields(gate_id, row), decision)
        if code == "NOIMAGE":
            raise steps.no_such_image(from_fields(gate_id, row), decision)
        return answered(gate_id, code, row)

    def take_back(self, gate_id: str, decision_id: str, by: str, where: str) -> Gate:
        """Takes the decision back; see :class:`record.GateStore`."""
        arguments = (decision_id, by, where, steps.TAKEN_BACK_IDS, self.settings.decision_log)
        return answered(gate_id, *self.confirmed("TAKE_BACK", gate_id, *arguments))

    def leaving(self, most: int = 1000) -> list[str]:
        """Ids of gates that ended and whose record and bytes still have no expiry, the first ones to end first."""
        with self.connection.available():
            ids: list[str] = self.connection.control.zrange(self.keys.leaving, 0, most - 1)
        return ids

    def leave(self, gate_id: str, given: bool) -> bool:
        """Whether the bytes of an ended gate may go; ``given``: they have their expiry, and the record gets its own."""
        code, _ = self.run("LEAVE", gate_id, self.keep_ms, int(given))
        return code == "OK"

    def change(self, gate_id: str, field: str, value: str, undecided: bool = False) -> Gate:
        """Sets a field of a live gate, ``undecided``: only before its decision; raises AlreadyDecided or GateClosed."""
        return answered(gate_id, *self.run("SET", gate_id, int(undecided), field, value))

    def overdue(self, most: int = 1000) -> tuple[list[str], list[str], list[str]]:
        """Ids of gates whose lease is over, of those of them whose deadline is too, and of parked ones so."""
        with self.connection.available():
            reply = self._scripts["OVERDUE"](keys=[self.keys.leases, self.keys.deadlines], args=[most])
        first = reply.index("")
        second = reply.index("", first + 1)
        return reply[:first], reply[first + 1 : second], reply[second + 1 :]

    def listed(self, index: str) -> list[Gate]:
        """The records of an index (``keys.gates`` or ``keys.ended``), oldest first."""
        with self.connection.available():
            now, *rows = self._scripts["INDEX"](keys=[index, self.keys.leases], args=[])
        leases = dict(zip(rows[::2], rows[1::2], strict=True))
        rows = self.rows(list(leases))
        late = {gate_id for gate_id, lease in leases.items() if not float(lease or 0) > float(now)}
        return [from_fields(gate_id, row, orphaned=gate_id in late) for gate_id, row in rows.items()]

    def rows(self, ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """The hashes of the gates that are there."""
        found: dict[str, dict[str, str]] = {}
        for start in range(0, len(ids), 500):
            chunk = ids[start : start + 500]
            with self.connection.available():
                pipe = self.connection.control.pipeline(transaction=False)
                for gate_id in chunk:
                    pipe.hgetall(self.keys.gate(gate_id))
                records = pipe.execute()
            found.update((gate_id, row) for gate_id, row in zip(chunk, records, strict=True) if row)
        return found

    def get(self, gate_id: str) -> Gate:
        """The record; raises GateNotFound."""
        with self.connection.available():
            code, row = parsed(
                self._scripts["RECORD"](keys=[self.keys.gate(gate_id), self.keys.leases], args=[gate_id])
            )
        if not row:
            raise GateNotFound("No gate has that id", gate=gate_id)
        return from_fields(gate_id, row, orphaned=code == "OVERDUE")

    def due_runs(self, grace_ms: int, most: int) -> list[str]:
        """The leads whose runs are due for so long, the longest first."""
        with self.connection.available():
            ids: list[str] = self._scripts["DUE"](keys=[self.keys.runs], args=[grace_ms, most])
        return ids

    def awaited_prompts(self) -> dict[str, str]:
        """Of each lead that waits for the end of a prompt: which one."""
        with self.connection.available():
            prompts: dict[str, str] = self.connection.control.hgetall(self.keys.prompts)
        return prompts

    def park(self, owner: str, gates: Sequence[Gate]) -> tuple[str, list[dict[str, str]]]:
        """Parks the gates, the lead first: the code, and the fields of each, or of the one that is the reason."""
        pairs = [value for gate in gates for value in (gate.id, gate.fence)]
        arguments = [gates[0].id, KEPT_EVENTS, owner, *self.kept, *pairs]
        keys = self._keys_of(gates[0].id)
        replicas = self.settings.replicas
        with self.connection.available():
            pipe = self.connection.control.pipeline(transaction=False) if replicas else None
            replies = self._scripts["PARK"](keys=keys, args=arguments, client=pipe)
            if pipe is not None:
                pipe.wait(replicas, 250)
                replies, count = pipe.execute()
                confirmed_by(count, replicas)
        answers = [parsed(reply) for reply in replies]
        return answers[0][0], [row for _, row in answers]

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


def confirmed_by(count: int, replicas: int) -> None:
    """Raises StoreUnavailable when fewer replicas have a step than it takes to count."""
    if count < replicas:
        raise StoreUnavailable(
            f"Only {count} of {replicas} Redis replicas have confirmed it; repeat it", confirmed=count
        )


def answered(gate_id: str, code: str, row: dict[str, str]) -> Gate:
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
