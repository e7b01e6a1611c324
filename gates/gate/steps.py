"""The steps of a gate as pure functions: what ``redis.py`` does in scripts, for gates of this process.

Each takes the gate and returns the gate after the step; ``now`` is milliseconds since the epoch.
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import AlreadyDecided, GateClosed, InvalidInput
from .record import ENDED, Decision, Gate

END_OF = {"route": "applied", "cancel": "cancelled", "expire": "expired"}
"""Kind of decision -> the state in which a gate ends when the decision is applied."""


def decide(gate: Gate, decision: Decision, now: int) -> Gate:
    """The gate with the decision, or unchanged when this repeats the one that stands.

    Raises AlreadyDecided, GateClosed, or InvalidInput when the gate has no such route.
    """
    if gate.decision is not None:
        if gate.decision.id == decision.id or gate.decision.same(decision):
            return gate
        raise already_decided(gate)
    if gate.status in ENDED:
        raise gate_closed(gate)
    if decision.route > gate.routes:
        raise no_such_route(gate, decision)
    made = replace(decision, at=now, mask=gate.mask)
    return replace(gate, decision=made, status="decided", rev=gate.rev + 1)


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


def no_such_route(gate: Gate, decision: Decision) -> InvalidInput:
    """The error for a route beyond the gate's last one."""
    return InvalidInput(
        f"Route {decision.route} does not exist: this gate has routes 1 to {gate.routes}", low=1, high=gate.routes
    )
