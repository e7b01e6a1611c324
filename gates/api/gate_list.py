"""The route that lists gates: filtered, in pages, with counts for the menus of filters."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..errors import StoreUnavailable
from ..gate.listing import RUNS, Page, Wanted, page
from ..gate.record import ENDED, LIVE, Gate
from ..store import Store
from .answer import as_json
from .call import Call
from .route import GATE_ID, Field, Route

LIST_LIMIT = 1000
"""Gates in one answer, when no other limit is asked for."""

IDS_LIMIT = 200
"""Gates that one call may name: their ids fit into the first line of an HTTP message."""

AGE_LIMIT = 10 * 365 * 86_400
"""Seconds that a filter by age may name."""


async def list_gates(call: Call) -> web.Response:
    """Lists gates, oldest first; while the shared store is away those of this process."""
    ask = call.query
    ids = ask["ids"].split(",") if ask["ids"] else []
    names = ("status", "instance", "workflow", "bus", "older", "newer", "run", "workflow_id")
    wanted = Wanted(text=ask["q"], **{name: ask[name] for name in names})

    def make() -> bytes:
        if ids:
            found, reason = _some(call.store, ids)
            return list_bytes(Page(found, len(found)), reason)
        gates, reason = records(call.store, wanted.live)
        now = call.store.gates.clock()
        chosen, facets = wanted.count(gates, now) if ask["facets"] else (wanted.choose(gates, now), None)
        return list_bytes(page(chosen, ask["limit"], ask["cursor"], ask["order"] == "newest"), reason, facets)

    return await call.answer_list(make)


def records(store: Store, live: bool = True) -> tuple[list[Gate], str]:
    """(gates, why the store is away or ""); blocks."""
    try:
        return store.gates.records(live=live), store.unavailable()
    except StoreUnavailable as error:
        return [], error.message


def list_bytes(part: Page, reason: str, facets: dict[str, Any] | None = None, separator: bytes = b",") -> bytes:
    """A list of gates as the API answers it; ``separator`` stands between two of them."""
    rest: dict[str, Any] = {"total": part.total, "next": part.next, "unavailable": reason}
    if facets is not None:
        rest["facets"] = facets
    return b'{"gates":[%s],%s' % (separator.join(gate.json_bytes for gate in part.gates), as_json(rest)[1:])


def _some(store: Store, ids: list[str]) -> tuple[list[Gate], str]:
    return store.gates.some(ids), store.unavailable()


ROUTES = [
    Route(
        "GET",
        "/gatebus/gates",
        list_gates,
        query=(
            Field(
                "status",
                "text",
                "live (waiting, orphaned, parked, decided), all, or one state.",
                default="live",
                choices=("live", "all", *LIVE, *ENDED),
            ),
            Field("instance", "text", "Only gates of this instance.", default=""),
            Field("workflow", "text", "Only gates of this workflow.", default=""),
            Field("workflow_id", "text", "Only gates of the saved workflow of that id.", default=""),
            Field(
                "run",
                "text",
                "Only gates from which a run goes on, in that state; open: all but done. With status live, ended gates"
                " are shown too.",
                default="",
                choices=("", "open", *RUNS),
            ),
            Field("bus", "text", "Only gates that publish to this bus or were loaded from it.", default=""),
            Field("q", "text", "Words in title, note, workflow, instance, buses, labels or id.", default=""),
            Field("older", "int", "Seconds since it opened, at least.", default=0, high=AGE_LIMIT),
            Field("newer", "int", "Seconds since it opened, at most.", default=0, high=AGE_LIMIT),
            Field("order", "text", "Which come first.", default="oldest", choices=("oldest", "newest")),
            Field("limit", "int", "Gates in the answer, at most.", default=LIST_LIMIT, low=1, high=100_000),
            Field(
                "cursor",
                "text",
                "The next of the answer before: what follows it.",
                default="",
                pattern=f"([0-9]{{1,15}}-{GATE_ID})?",
            ),
            Field("facets", "flag", "Whether the values to filter by are counted.", default=False),
            Field(
                "ids",
                "text",
                "Only these gates, ids with commas between; no other filter counts then, and ended ones are shown.",
                default="",
                limit=IDS_LIMIT * 33,
                pattern=f"({GATE_ID}(,{GATE_ID})*)?",
            ),
        ),
        answer={"gates": [Gate], "total": int, "next": str, "unavailable": str, "facets?": Any},
    )
]
