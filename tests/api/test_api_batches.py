"""Many gates decided in one call, each as if it were alone."""

from __future__ import annotations

from typing import Any

from gates.api.batches import LIMIT
from gates.errors import StoreUnavailable

ROUTE, CANCEL = "/gatebus/gates/route", "/gatebus/gates/cancel"
UNKNOWN = "0" * 32


async def test_many_gates_take_a_route_in_one_call(host: Any) -> None:
    waiters = [host.open_gate() for _ in range(5)]
    ids = [waiter.gate.id for waiter in waiters]
    answer = await host.post(ROUTE, {"ids": ids, "route": 2, "by": "ann", "decision_id": "all"})
    assert [gate["id"] for gate in answer["gates"]] == ids
    assert answer["refused"] == []
    assert {gate["decision"]["id"] for gate in answer["gates"]} == {"all"}
    decisions = [waiter.wait(5) for waiter in waiters]
    assert {(each.kind, each.route, each.by) for each in decisions} == {("route", 2, "ann")}


async def test_many_gates_are_stopped_in_one_call(host: Any) -> None:
    waiters = [host.open_gate() for _ in range(2)]
    answer = await host.post(CANCEL, {"ids": [waiter.gate.id for waiter in waiters]})
    assert len(answer["gates"]) == 2
    assert {waiter.wait(5).kind for waiter in waiters} == {"cancel"}


async def test_what_is_refused_at_one_gate_is_told_and_holds_up_no_other(host: Any) -> None:
    first, narrow, last = host.open_gate(routes=3), host.open_gate(routes=2), host.open_gate(routes=3)
    taken = host.open_gate(routes=3)
    await host.post(f"/gatebus/gates/{taken.gate.id}/route", {"route": 1, "by": "bob"})
    ids = [first.gate.id, UNKNOWN, narrow.gate.id, taken.gate.id, last.gate.id]
    answer = await host.post(ROUTE, {"ids": ids, "route": 3})
    assert [gate["id"] for gate in answer["gates"]] == [first.gate.id, last.gate.id]
    refused = {each["id"]: (each["status"], each["type"]) for each in answer["refused"]}
    assert refused == {
        UNKNOWN: (404, "gate_not_found"),
        narrow.gate.id: (400, "invalid_input"),
        taken.gate.id: (409, "already_decided"),
    }
    assert answer["refused"][2]["details"]["decision"]["by"] == "bob"
    assert narrow.decision is None


async def test_a_repeat_decides_nothing_twice_and_is_a_success(host: Any) -> None:
    ids = [host.open_gate().gate.id for _ in range(3)]
    body = {"ids": ids, "route": 1, "decision_id": "once"}
    first, again = await host.post(ROUTE, body), await host.post(ROUTE, body)
    assert [gate["decision"] for gate in first["gates"]] == [gate["decision"] for gate in again["gates"]]
    assert again["refused"] == []


async def test_one_of_many_is_taken_back_alone(host: Any) -> None:
    ids = [host.open_gate().gate.id for _ in range(2)]
    await host.post(ROUTE, {"ids": ids, "route": 1, "decision_id": "all"})
    await host.post(f"/gatebus/gates/{ids[0]}/take-back", {"decision_id": "all"})
    assert [gate["status"] for gate in (await host.json(f"/gatebus/gates?ids={','.join(ids)}"))["gates"]] == [
        "waiting",
        "decided",
    ]


async def test_a_store_that_is_away_is_waited_for_once_not_for_every_gate(host: Any, monkeypatch: Any) -> None:
    ids = [host.open_gate().gate.id for _ in range(3)]
    asked: list[str] = []

    def away(gate_id: str, decision: Any) -> Any:
        asked.append(gate_id)
        raise StoreUnavailable("away")

    monkeypatch.setattr(host.store.gates, "decide", away)
    answer = await host.post(ROUTE, {"ids": ids, "route": 1})
    assert [(each["id"], each["status"]) for each in answer["refused"]] == [(id, 503) for id in ids]
    assert set(asked) == {ids[0]}


async def test_a_list_that_is_none_empty_repeated_or_too_long_decides_nothing(host: Any) -> None:
    waiter = host.open_gate()
    id = waiter.gate.id
    for ids in (id, [], [id, id], [id, "no id"], [f"{number:032x}" for number in range(LIMIT)] + [id], None):
        await host.post(ROUTE, {"ids": ids, "route": 1}, status=400)
    assert waiter.decision is None
