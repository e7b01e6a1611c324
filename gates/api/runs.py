"""The routes of runs that go on from a gate: park one whose process is gone, and run from a decided one again."""

from __future__ import annotations

from aiohttp import web

from ..gate.again import decision_again
from ..gate.record import MAX_ROUTES, Gate
from ..names import TEXT_LIMIT
from .call import Call
from .gates import BY, GIVEN_ID, chosen_text, decide, decider
from .route import JSON_LIMIT, Field, Route


async def park_gate(call: Call) -> web.Response:
    """Parks a gate whose process is gone: after the decision any instance goes on from it."""
    fields = await call.fields()
    by = decider(call, fields["by"])
    gate = await call.run(call.store.gates.park_orphan, call.path["gate_id"], by, call.where)
    return await call.answer(gate.to_json())


async def run_again(call: Call) -> web.Response:
    """Runs on from a gate that has ended, or whose run failed, by any route; answers with the new gate."""
    fields = await call.fields()
    old = await call.run(call.store.gates.get, call.path["gate_id"])
    chosen = None if fields["chosen"] is None else chosen_text(fields["chosen"])
    by, id = decider(call, fields["by"]), fields["decision_id"]
    decision = decision_again(old, fields["route"], fields["text"], chosen, by=by, where=call.where, id=id)
    return await call.answer((await decide(call, old.id, decision, call.store.gates.again)).to_json())


_PATH = "/gatebus/gates/{gate_id}"

ROUTES = [
    Route("POST", f"{_PATH}/park", park_gate, role="decide", body="json", fields=(BY,), answer=Gate),
    Route(
        "POST",
        f"{_PATH}/again",
        run_again,
        role="decide",
        body="json",
        # As of a decision.
        body_limit=JSON_LIMIT + 6 * TEXT_LIMIT,
        fields=(
            Field("route", "int", "Default: the one taken before.", low=1, high=MAX_ROUTES),
            Field("text", "text", "Default: the text that went before.", limit=TEXT_LIMIT),
            Field("chosen", "ints", "As for a route. Default: the images that went on before.", high=999_999),
            BY,
            GIVEN_ID,
        ),
        answer=Gate,
    ),
]
