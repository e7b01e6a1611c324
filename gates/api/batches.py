"""The routes that decide many gates in one call: each gate by itself, as if it were alone."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..errors import GatebusError, StoreUnavailable
from ..gate.record import Decision, Gate, make_decision
from .call import Call
from .gates import BY, CHOSEN, GIVEN_ID, ROUTE, chosen_text, decide, decider, unedited
from .route import Field, Route

LIMIT = 500
"""Gates of one call: three such calls fit into the 64 KiB that a browser sends for a page that is left."""


async def route_gates(call: Call) -> web.Response:
    """Decides many gates: each takes the route, or is among the refused with its error."""
    fields = await call.fields()
    by, id, chosen = decider(call, fields["by"]), fields["decision_id"], chosen_text(fields["chosen"])
    decision = make_decision("route", fields["route"], by, "", id, call.where, chosen)
    return await _decide_all(call, fields["ids"], decision)


async def cancel_gates(call: Call) -> web.Response:
    """Decides many gates: the prompt of each is stopped, or it is among the refused with its error."""
    fields = await call.fields()
    decision = make_decision("cancel", by=decider(call, fields["by"]), id=fields["decision_id"], where=call.where)
    return await _decide_all(call, fields["ids"], decision)


async def _decide_all(call: Call, ids: list[str], decision: Decision) -> web.Response:
    """The same decision of every gate: an id names a decision of one gate, so they may share it."""
    gates, refused = [], []
    away: StoreUnavailable | None = None
    step = unedited(call) if decision.kind == "route" else None
    for id in ids:
        try:
            # A store that did not answer for one is not waited for by each of the others.
            if away is not None:
                raise away
            gates.append((await decide(call, id, decision, step)).to_json())
        except StoreUnavailable as error:
            away = error
            refused.append(_refusal(id, error))
        except GatebusError as error:
            refused.append(_refusal(id, error))
    return await call.answer({"gates": gates, "refused": refused}, large=True)


def _refusal(id: str, error: GatebusError) -> dict[str, Any]:
    return {"id": id, "status": error.status, "type": error.type, "message": error.message, "details": error.details}


_IDS = Field("ids", "gates", f"1 to {LIMIT} gates, each one once.", required=True, high=LIMIT)
_ANSWER = {
    "gates": [Gate],
    "refused": [{"id": str, "status": int, "type": str, "message": str, "details": Any}],
}

ROUTES = [
    Route(
        "POST",
        "/gatebus/gates/route",
        route_gates,
        role="decide",
        body="json",
        fields=(_IDS, ROUTE, CHOSEN, BY, GIVEN_ID),
        answer=_ANSWER,
    ),
    Route(
        "POST",
        "/gatebus/gates/cancel",
        cancel_gates,
        role="decide",
        body="json",
        fields=(_IDS, BY, GIVEN_ID),
        answer=_ANSWER,
    ),
]
