"""What is decided when a run goes on once more from a gate that was decided before."""

from __future__ import annotations

from ..errors import InvalidInput
from .record import Decision, Gate, make_decision


def decision_again(
    old: Gate,
    route: int | None = None,
    text: str | None = None,
    chosen: str | None = None,
    *,
    by: str = "",
    where: str = "",
    id: str = "",
) -> Decision:
    """The decision for ``GateStore.again``: what is None is as it was decided before.

    Raises InvalidInput when no route was taken before and none is given; else as ``make_decision``.
    """
    before = old.decision if old.decision is not None and old.decision.kind == "route" else Decision("", "route")
    taken = before.route if route is None else route
    if not taken:
        raise InvalidInput(
            f"No route was taken here that could be taken again: name one of 1 to {old.routes}",
            what="route",
            gate=old.id,
            status=old.status,
        )
    # Of a text gate that nobody decided, what it asked about goes on.
    asked = before.text if before.id else old.text
    said = asked if text is None else text
    picked = before.chosen if chosen is None else chosen
    return make_decision("route", taken, by=by, text=said, id=id, where=where, chosen=picked)
