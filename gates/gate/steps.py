"""The steps of a gate as pure functions: what ``redis.py`` does in scripts, for gates of this process.

Each takes the gate and returns the gate after the step; ``now`` is milliseconds since the epoch.
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import AlreadyDecided, Conflict, GateClosed, InvalidInput, TakenBack
from .record import DEADLINE, ENDED, Decision, Gate

TAKEN_BACK_IDS = 20
"""Ids of decisions that were taken back and are remembered, so that a late repeat does not make one again."""

END_OF = {"route": "applied", "cancel": "cancelled", "expire": "expired"}
"""Kind of decision -> the state in which a gate ends when the decision is applied."""


def decide(gate: Gate, decision: Decision, now: int) -> Gate:
    """The gate with the decision, or unchanged when this repeats the one that stands.

    Raises AlreadyDecided, GateClosed, TakenBack, or InvalidInput when the gate has no such route or image.
    """
    if gate.decision is not None:
        if gate.decision.id == decision.id or gate.decision.same(decision):
            return gate
        raise already_decided(gate)
    if gate.status in ENDED:
        raise gate_closed(gate)
    if was_taken_back(gate, decision.id):
        raise taken_back(gate)
    if decision.route > gate.routes:
        raise no_such_route(gate, decision)
    if decision.chosen and int(decision.chosen.rpartition(",")[2]) >= gate.batch:
        raise no_such_image(gate, decision)
    made = replace(decision, at=now, mask=gate.mask)
    return replace(gate, decision=made, status="decided", rev=gate.rev + 1)


def take_back(gate: Gate, decision_id: str) -> Gate:
    """The gate as it waited before that decision; unchanged when this was done before.

    Raises GateClosed, AlreadyDecided or Conflict.
    """
    if gate.status in ENDED:
        raise gate_closed(gate)
    decision = gate.decision
    if decision is None:
        if was_taken_back(gate, decision_id):
            return gate
        raise undecided(gate)
    if decision.id != decision_id:
        raise already_decided(gate)
    if decision.kind != "route" or decision.id == deadline_id(gate.id):
        raise stays(gate)
    gone = f"{gate.taken_back} {decision_id}".split()[-TAKEN_BACK_IDS:]
    return replace(gate, decision=None, status="waiting", taken_back=" ".join(gone), rev=gate.rev + 1)


def was_taken_back(gate: Gate, decision_id: str) -> bool:
    """Whether the decision of that id was made about the gate and taken back."""
    return decision_id in gate.taken_back.split()


def deadline_id(gate_id: str) -> str:
    """The id of what is decided about the gate at its deadline."""
    return f"{DEADLINE}:{gate_id}"


def paint(gate: Gate, token: str) -> Gate:
    """The gate with the painted mask of that token ("" clears it); raises AlreadyDecided or GateClosed."""
    if gate.status in ENDED:
        raise gate_closed(gate)
    if gate.decision is not None:
        raise already_decided(gate)
    return replace(gate, mask=token, rev=gate.rev + 1)


def apply(gate: Gate, now: int) -> Gate:
    """The gate after its owner has acknowledged the decision; unchanged when it had before."""
    if gate.status != "decided" or gate.decision is None:
        return gate
    return end(gate, END_OF[gate.decision.kind], "applied", now)


def end(gate: Gate, status: str, outcome: str, now: int) -> Gate:
    """The gate in one of its end states; unchanged when it had ended."""
    if gate.status in ENDED:
        return gate
    return replace(gate, status=status, outcome=outcome, ended=now, rev=gate.rev + 1)


def already_decided(gate: Gate) -> AlreadyDecided:
    """The error for a decision that came second; tells which one stands."""
    decision = gate.decision or Decision(id="", kind="decided")
    what = f"route {decision.route}" if decision.kind == "route" else decision.kind
    by = f" by {decision.by}" if decision.by else ""
    return AlreadyDecided(
        f"This gate is decided already: {what}{by}",
        decision={"id": decision.id, "kind": decision.kind, "route": decision.route, "by": decision.by},
        status=gate.status,
    )


def gate_closed(gate: Gate) -> GateClosed:
    """The error for a gate that takes nothing more."""
    return GateClosed(f"This gate has ended: {gate.status}", status=gate.status, outcome=gate.outcome)


def taken_back(gate: Gate) -> TakenBack:
    """The error for a decision that is no more."""
    return TakenBack("That decision was taken back; the gate waits for another one", gate=gate.id, status=gate.status)


def not_decided(gate: Gate) -> Conflict:
    """The error for an owner that acknowledges what is not, or no more, decided."""
    return taken_back(gate) if gate.taken_back else undecided(gate)


def undecided(gate: Gate) -> Conflict:
    """The error for what needs a decision, when there is none."""
    return Conflict("This gate is not decided", gate=gate.id, status=gate.status)


def stays(gate: Gate) -> Conflict:
    """The error for who takes back what nobody chose, or what takes effect at once."""
    return Conflict("Only a chosen route can be taken back, no cancel and no deadline", gate=gate.id)


def no_such_route(gate: Gate, decision: Decision) -> InvalidInput:
    """The error for a route beyond the gate's last one."""
    return InvalidInput(
        f"Route {decision.route} does not exist: this gate has routes 1 to {gate.routes}", low=1, high=gate.routes
    )


def no_such_image(gate: Gate, decision: Decision) -> InvalidInput:
    """The error for a chosen image behind the batch's last one."""
    return InvalidInput(
        f"{decision.chosen} can't be chosen: this gate has images 0 to {gate.batch - 1}", low=0, high=gate.batch - 1
    )
