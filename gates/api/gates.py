"""The routes of a gate: see it, paint a mask, decide. The list of them is in ``gate_list.py``."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from ..errors import InvalidInput, NotFound, StoreUnavailable
from ..gate.record import MAX_ROUTES, Decision, Gate, make_decision
from ..names import TEXT_LIMIT
from .answer import exchange_key
from .call import Call
from .route import DECISION_ID, JSON_LIMIT, SIZE, Field, Route

REPEAT = 2.0
"""Seconds for which a decision with an unknown outcome is repeated (with the same id) before that is answered."""

REPEAT_PAUSE = 0.1

DECISION = exchange_key("gatebus_decision", tuple)
"""Where an exchange keeps what it decided, for a server that counts: (kind of the gate, route in digits or
``cancel``) of each."""


async def get_gate(call: Call) -> web.Response:
    """Shows one gate."""
    return await call.answer((await _gate(call)).to_json())


async def get_preview(call: Call) -> web.StreamResponse:
    """The gate's preview: a JPEG of at most 1024 px."""
    gate = await _gate(call)
    return await call.answer_image(f"{gate.id}-{gate.fence}-preview", lambda: call.store.gates.preview(gate.id))


async def get_image(call: Call) -> web.StreamResponse:
    """One whole image of the gate's batch, as PNG; 404 until it is stored."""
    gate, frame = await _gate(call), call.query["frame"]
    if gate.layout is None:
        # Let the store say why there is none, before a 304 could be answered.
        await call.run(call.store.gates.frame, gate.id, frame)
    return await call.answer_image(f"{gate.id}-{gate.fence}-{frame}", lambda: call.store.gates.frame(gate.id, frame))


async def get_thumbnail(call: Call) -> web.StreamResponse:
    """A small WebP of one image of the gate's batch; 404 until it is stored."""
    gate, frame = await _gate(call), call.query["frame"]
    # A gate's image never changes, so its id stands for the content.
    content = hashlib.sha256(f"{gate.id}-{gate.fence}".encode()).hexdigest()
    return await call.answer_thumbnail(
        f"{content}-{frame}", call.query["size"], lambda: call.store.gates.frame(gate.id, frame)
    )


async def get_mask(call: Call) -> web.StreamResponse:
    """The mask painted at the gate, as grey PNG; 404 when none is."""
    gate = await _gate(call)
    if not gate.mask:
        raise _no_mask(gate.id)

    def load() -> bytes:
        png = call.store.gates.mask(gate.id)
        if png is None:
            raise _no_mask(gate.id)
        return png

    return await call.answer_image(f"{gate.id}-{gate.mask}", load)


async def put_mask(call: Call) -> web.Response:
    """Sets the mask painted at the gate: an image of the gate's size, white (or transparent) where painted."""
    gate = await _gate(call)
    if not gate.width or not gate.height:
        raise InvalidInput("This gate shows no image, so it takes no mask", gate=gate.id)
    png = await call.mask_png(gate.width, gate.height)
    return await call.answer((await call.run(call.store.gates.set_mask, gate.id, png)).to_json())


async def delete_mask(call: Call) -> web.Response:
    """Clears the mask painted at the gate."""
    return await call.answer((await call.run(call.store.gates.set_mask, call.path["gate_id"], None)).to_json())


async def route_gate(call: Call) -> web.Response:
    """Decides the gate: it takes the route; the first decision wins."""
    fields = await call.fields()
    by, id, chosen = decider(call, fields["by"]), fields["decision_id"], chosen_text(fields["chosen"])
    decision = make_decision("route", fields["route"], by, fields["text"] or "", id, call.where, chosen)
    step = unedited(call) if fields["text"] is None else None
    return await call.answer((await decide(call, call.path["gate_id"], decision, step)).to_json())


async def cancel_gate(call: Call) -> web.Response:
    """Decides the gate: its prompt is stopped."""
    fields = await call.fields()
    decision = make_decision("cancel", by=decider(call, fields["by"]), id=fields["decision_id"], where=call.where)
    return await call.answer((await decide(call, call.path["gate_id"], decision)).to_json())


async def decide(
    call: Call, gate_id: str, decision: Decision, step: Callable[[str, Decision], Gate] | None = None
) -> Gate:
    """Makes the decision, by ``step`` if given; repeats it while its outcome is unknown, which its id makes safe."""
    end = time.monotonic() + REPEAT
    while True:
        try:
            gate = await call.run(step or call.store.gates.decide, gate_id, decision)
            made = (gate.kind, str(decision.route) if decision.kind == "route" else decision.kind)
            call.http[DECISION] = (*call.http.get(DECISION, ()), made)
            return gate
        except StoreUnavailable as error:
            if time.monotonic() + REPEAT_PAUSE > end:
                raise StoreUnavailable(
                    f"{error.message} Whether the decision was made is unknown; to repeat it with this"
                    " decision_id is safe.",
                    **{**error.details, "decision_id": decision.id, "outcome": "unknown"},
                ) from error
        await asyncio.sleep(REPEAT_PAUSE)


def decider(call: Call, given: str) -> str:
    """Who decides: the token's name when tokens are used, else what the caller says."""
    return call.caller.name or given


def unedited(call: Call) -> Callable[[str, Decision], Gate]:
    """Makes a decision by which the text that a gate asks about, if it does, goes on as it is."""
    gates = call.store.gates
    # What a gate asks about never changes, so that it may be read before.
    return lambda gate_id, decision: gates.decide(gate_id, replace(decision, text=gates.get(gate_id).text))


def chosen_text(indexes: list[int]) -> str:
    """The indexes of images as a decision has them, in whichever order they came."""
    return ",".join(map(str, sorted(indexes)))


async def _gate(call: Call) -> Gate:
    return await call.run(call.store.gates.get, call.path["gate_id"])


def _no_mask(gate_id: str) -> NotFound:
    return NotFound("No mask is painted at this gate", gate=gate_id)


_PATH = "/gatebus/gates/{gate_id}"
_FRAME = Field("frame", "int", "From 0.", default=0, high=999_999)
ROUTE = Field("route", "int", "1 to the gate's number of routes.", required=True, low=1, high=MAX_ROUTES)
BY = Field("by", "text", "Who decides, for people. With a token it is the token's name.", default="")
CHOSEN = Field(
    "chosen",
    "ints",
    "Indexes, from 0, of the images of the batch that go on, each once; none, or left out: all of them.",
    default=[],
    high=999_999,
)
GIVEN_ID = Field(
    "decision_id",
    "text",
    "1 to 64 of A-Z a-z 0-9 _ : -, made by the caller: a repeat is then safe.",
    default="",
    pattern=f"({DECISION_ID})?",
)

ROUTES = [
    Route("GET", _PATH, get_gate, answer=Gate),
    Route("GET", f"{_PATH}/preview", get_preview, answer="image/jpeg"),
    Route("GET", f"{_PATH}/image", get_image, query=(_FRAME,), answer="image/png"),
    Route("GET", f"{_PATH}/thumbnail", get_thumbnail, query=(SIZE, _FRAME), answer="image/webp"),
    Route("GET", f"{_PATH}/mask", get_mask, answer="image/png"),
    Route("PUT", f"{_PATH}/mask", put_mask, role="decide", body="image", answer=Gate),
    Route("DELETE", f"{_PATH}/mask", delete_mask, role="decide", answer=Gate),
    Route(
        "POST",
        f"{_PATH}/route",
        route_gate,
        role="decide",
        body="json",
        # A text of 16,384 characters may be six bytes each, escaped.
        body_limit=JSON_LIMIT + 6 * TEXT_LIMIT,
        fields=(
            ROUTE,
            Field(
                "text",
                "text",
                "A text that goes with the decision; at a text gate the one that goes on. Left out: the text that the"
                " gate asks about, unchanged.",
                limit=TEXT_LIMIT,
            ),
            CHOSEN,
            BY,
            GIVEN_ID,
        ),
        answer=Gate,
    ),
    Route("POST", f"{_PATH}/cancel", cancel_gate, role="decide", body="json", fields=(BY, GIVEN_ID), answer=Gate),
]
