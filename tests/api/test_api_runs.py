"""Parked gates over HTTP: shown, counted, decided; what goes on from them, fails, and is run again by any route."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from gates.gate.record import Waiter
from gates.setting_values import Token
from gates.settings import Settings
from gates.store import open_store

QUICK = replace(Settings(), instance="studio", tick=0.3, lease=1.0)


@pytest.fixture(params=["local", pytest.param("redis", marks=pytest.mark.redis)])
async def farm(request: pytest.FixtureRequest, host_at: Any) -> Any:
    """An API over each kind of store."""
    if request.param == "local":
        return await host_at(QUICK)
    return await host_at(replace(QUICK, store_url=request.getfixturevalue("redis_server").url))


async def step(function: Any, *arguments: Any, **more: Any) -> Any:
    """The blocking step's result."""
    return await asyncio.get_running_loop().run_in_executor(None, lambda: function(*arguments, **more))


async def park(host: Any, count: int = 1, over: bool = True, **more: Any) -> list[Waiter]:
    """Gates of one node that parked together, by default in a prompt that has ended."""
    waiters = [host.open_gate(frames=3, prompt_id="p1", list_index=at, **more) for at in range(count)]
    for waiter in waiters:
        await step(waiter.store_continuation, b"how it goes on")
    assert await step(host.store.gates.park, waiters)
    if over:
        await step(host.store.gates.prompts_ended, {"p1": ""})
    return waiters


async def run(host: Any, gate_id: str, error: str = "") -> None:
    """Carries the decided gate out, as the process does that runs the continuation."""
    gates = host.store.gates
    gate = await step(gates.get, gate_id)
    assert await step(gates.claim_run, gate.group, "broker:1", 60_000)
    await step(gates.note_run, gate.group, "broker:1", "submitted", "j1", "gpu-1", look_in_ms=60_000)
    waiter = await step(gates.resume, gate.id, gate.decision.id, "p2")
    if not error:
        await step(waiter.apply)
    await step(gates.prompts_ended, {"p2": error})


async def test_a_parked_gate_is_shown_counted_and_found(farm: Any) -> None:
    held = farm.open_gate(title="held")
    (parked,) = await park(farm, title="parked", workflow_id="w1")
    shown = await farm.json(f"/gatebus/gates/{parked.gate.id}")
    assert (shown["status"], shown["kept"], shown["group"], shown["undecided"]) == ("parked", 1, parked.gate.id, 1)
    assert shown["parked"] >= shown["opened"] > 0
    listed = await farm.json("/gatebus/gates?facets=true")
    assert [gate["id"] for gate in listed["gates"]] == [held.gate.id, parked.gate.id]
    assert listed["facets"]["status"] == {"parked": 1, "waiting": 1}
    for query in ("status=parked", "workflow_id=w1", "status=parked&workflow_id=w1"):
        assert [gate["id"] for gate in (await farm.json(f"/gatebus/gates?{query}"))["gates"]] == [parked.gate.id]
    counts = await step(farm.store.gates.counts)
    assert (counts["waiting"], counts["parked"], counts["orphaned"]) == (1, 1, 0)


async def test_the_stream_tells_that_a_gate_parked_was_decided_and_ran(farm: Any, follow: Any) -> None:
    events = await follow(farm)
    await events.until("snapshot")
    (parked,) = await park(farm)
    await farm.post(f"/gatebus/gates/{parked.gate.id}/route", {"route": 1})
    await run(farm, parked.gate.id)
    seen = []
    while "applied" not in seen:
        event = await events.until("gate")
        if event["id"] == parked.gate.id and event["status"] not in seen:
            seen.append(event["status"])
    assert seen == ["waiting", "parked", "decided", "applied"]


async def test_a_route_makes_the_run_pending_and_it_is_told_to_its_end(farm: Any) -> None:
    (parked,) = await park(farm, over=False)
    gate_id = parked.gate.id
    decided = await farm.post(f"/gatebus/gates/{gate_id}/route", {"route": 2, "by": "anna", "chosen": [2, 0]})
    assert (decided["status"], decided["run"], decided["decision"]["chosen"]) == ("decided", "pending", "0,2")
    assert [gate["id"] for gate in (await farm.json("/gatebus/gates?run=open"))["gates"]] == [gate_id]
    await step(farm.store.gates.prompts_ended, {"p1": ""})
    await run(farm, gate_id)
    shown = await farm.json(f"/gatebus/gates/{gate_id}")
    assert (shown["status"], shown["run"], shown["run_on"], shown["run_id"]) == ("applied", "done", "studio", "j1")
    assert (await farm.json("/gatebus/gates?run=open"))["gates"] == []
    assert [gate["id"] for gate in (await farm.json("/gatebus/gates?run=done"))["gates"]] == [gate_id]


async def test_a_decision_is_taken_back_until_the_run_has_begun(farm: Any) -> None:
    (parked,) = await park(farm)
    path = f"/gatebus/gates/{parked.gate.id}"
    decided = await farm.post(f"{path}/route", {"route": 2})
    again = await farm.post(f"{path}/take-back", {"decision_id": decided["decision"]["id"]})
    assert (again["status"], again["run"], again["decision"]) == ("parked", "", None)
    decided = await farm.post(f"{path}/route", {"route": 1})
    assert await step(farm.store.gates.claim_run, parked.gate.id, "broker:1", 60_000)
    error = await farm.post(f"{path}/take-back", {"decision_id": decided["decision"]["id"]}, 409)
    assert error["error"]["type"] == "gate_closed"


async def test_many_are_decided_in_one_call_parked_ones_as_those_that_wait(farm: Any) -> None:
    held = farm.open_gate()
    (one,) = await park(farm)
    two, three = await park(farm, count=2)
    ids = [waiter.gate.id for waiter in (held, one, two, three)]
    answer = await farm.post("/gatebus/gates/route", {"ids": ids, "route": 2})
    assert [gate["id"] for gate in answer["gates"]] == ids
    assert [gate["run"] for gate in answer["gates"]] == ["", "pending", "", ""]
    # The list goes on as one, by its first.
    assert (await farm.json(f"/gatebus/gates/{two.gate.id}"))["run"] == "pending"
    (four,) = await park(farm)
    answer = await farm.post("/gatebus/gates/cancel", {"ids": [four.gate.id]})
    assert [gate["status"] for gate in answer["gates"]] == ["cancelled"]


async def test_a_failed_run_says_why_and_is_run_again_as_a_new_gate(farm: Any) -> None:
    (parked,) = await park(farm)
    gate_id = parked.gate.id
    await farm.post(f"/gatebus/gates/{gate_id}/route", {"route": 2, "text": "more light", "chosen": [1]})
    await run(farm, gate_id, error="KSampler: no memory")
    (failed,) = (await farm.json("/gatebus/gates?run=failed"))["gates"]
    assert (failed["id"], failed["run_error"]) == (gate_id, "KSampler: no memory")
    sent = {"by": "ben", "decision_id": "again-1"}
    fresh = await farm.post(f"/gatebus/gates/{gate_id}/again", sent)
    assert (fresh["of"], fresh["status"], fresh["run"]) == (gate_id, "decided", "pending")
    decision = fresh["decision"]
    assert [decision[name] for name in ("route", "text", "chosen", "by")] == [2, "more light", "1", "ben"]
    # The same call once more is the same run.
    assert (await farm.post(f"/gatebus/gates/{gate_id}/again", sent))["id"] == fresh["id"]
    await run(farm, fresh["id"])
    assert (await farm.json(f"/gatebus/gates/{fresh['id']}"))["run"] == "done"
    answer = await farm.get(f"/gatebus/gates/{fresh['id']}/image?frame=2")
    assert answer.status == 200


async def test_what_was_decided_is_run_again_by_another_route_with_what_is_given(farm: Any) -> None:
    (parked,) = await park(farm)
    gate_id = parked.gate.id
    await farm.post(f"/gatebus/gates/{gate_id}/route", {"route": 1, "text": "dark", "chosen": [0, 1]})
    await run(farm, gate_id)
    sent = {"route": 2, "text": "", "chosen": []}
    decision = (await farm.post(f"/gatebus/gates/{gate_id}/again", sent))["decision"]
    assert [decision[name] for name in ("route", "text", "chosen")] == [2, "", ""]
    one = (await farm.json(f"/gatebus/decisions?gate={gate_id}"))["decisions"]
    assert [row["route"] for row in one] == [1]


async def test_what_cannot_be_run_again_says_what_to_do(farm: Any) -> None:
    held = farm.open_gate()
    refused = await farm.post(f"/gatebus/gates/{held.gate.id}/again", {"route": 1}, 409)
    assert "not ended" in refused["error"]["message"]
    (parked,) = await park(farm)
    path = f"/gatebus/gates/{parked.gate.id}"
    refused = await farm.post(f"{path}/again", {}, 400)
    assert (refused["error"]["type"], "1 to 2" in refused["error"]["message"]) == ("invalid_input", True)
    await farm.post(f"{path}/cancel")
    # Nobody chose a route there, so one must be named; then it runs.
    await farm.post(f"{path}/again", {}, 400)
    await farm.post(f"{path}/again", {"route": 3}, 400)
    await farm.post(f"{path}/again", {"route": 2, "chosen": [3]}, 400)
    assert (await farm.post(f"{path}/again", {"route": 2}))["run"] == "pending"
    await farm.post(f"/gatebus/gates/{'0' * 32}/again", {"route": 1}, 404)
    never = farm.open_gate()
    await farm.post(f"/gatebus/gates/{never.gate.id}/cancel")
    never.close("interrupted")
    refused = await farm.post(f"/gatebus/gates/{never.gate.id}/again", {"route": 1}, 409)
    assert "not stored" in refused["error"]["message"]


@pytest.mark.redis
async def test_an_orphan_is_parked_by_a_person_and_goes_on(redis_server: Any, host_at: Any, tmp_path: Any) -> None:
    farm = await host_at(replace(QUICK, store_url=redis_server.url))
    store = open_store(replace(QUICK, store_url=redis_server.url), tmp_path / "disk", tmp_path / "state")
    kept, bare = [replace(farm, store=store, waiters=[]).open_gate(frames=1) for _ in range(2)]
    await step(kept.store_continuation, b"how it goes on")
    paths = [f"/gatebus/gates/{waiter.gate.id}" for waiter in (kept, bare)]
    refused = await farm.post(f"{paths[0]}/park", {}, 409)
    assert "waits on this gate" in refused["error"]["message"]
    # It dies without a word.
    store.gates._owned._closed.set()  # type: ignore[attr-defined]

    async def is_orphaned() -> bool:
        return bool((await farm.json(paths[0]))["status"] == "orphaned")

    end = asyncio.get_running_loop().time() + 15
    while not await is_orphaned():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.1)
    refused = await farm.post(f"{paths[1]}/park", {}, 409)
    assert "not stored" in refused["error"]["message"]
    parked = await farm.post(f"{paths[0]}/park", {"by": "anna"})
    assert (parked["status"], parked["over"]) == ("parked", 1)
    assert (await farm.post(f"{paths[0]}/park", {"by": "ben"}))["rev"] == parked["rev"]
    assert (await farm.post(f"{paths[0]}/route", {"route": 1}))["run"] == "pending"
    kinds = [row["kind"] for row in (await farm.json(f"/gatebus/decisions?gate={kept.gate.id}&kind=all"))["decisions"]]
    assert "park" in kinds
    await step(store.close)


async def test_who_may_only_look_parks_nothing_and_runs_nothing_again(host_at: Any) -> None:
    digest = hashlib.sha256(b"eye").hexdigest()
    host = await host_at(replace(QUICK, tokens=(Token("view", "eye", digest),)))
    for name in ("park", "again"):
        path = f"/gatebus/gates/{'0' * 32}/{name}"
        for token, status in (("", 401), ("eye", 403)):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            assert (await host.client.post(path, json={}, headers=headers)).status == status


async def test_gates_look_alike_in_the_list_the_snapshot_and_alone(farm: Any, follow: Any) -> None:
    (parked,) = await park(farm)
    alone = await farm.json(f"/gatebus/gates/{parked.gate.id}")
    assert (await farm.json("/gatebus/gates"))["gates"] == [alone]
    events = await follow(farm)
    assert (await events.until("snapshot"))["gates"] == [alone]
    assert json.loads(json.dumps((await step(farm.store.gates.get, parked.gate.id)).to_json())) == alone
