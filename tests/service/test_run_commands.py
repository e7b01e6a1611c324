"""``gatebus park`` and ``gatebus again``, and what ``gatebus gates`` tells of runs that go on from parked gates."""

from __future__ import annotations

import json
import re
from pathlib import Path

from gates.store import open_store
from tests.service.processes import Gatebus, Studio, refused, until


def row(gatebus: Gatebus, gate_id: str, *options: str) -> str:
    """That gate's line of the list, "" when it is not listed."""
    lines = [line for line in gatebus("gates", *options).out.splitlines() if line.startswith(gate_id)]
    return lines[0] if lines else ""


def test_parked_gates_and_runs_under_way_are_listed_with_what_waits(studio: Studio, gatebus: Gatebus) -> None:
    gate_id = studio.park_gate("cover").gate.id
    held = studio.open_gate("held").gate.id
    assert re.search(r"  parked  .* cover$", row(gatebus, gate_id))
    assert row(gatebus, gate_id, "--status", "parked")
    assert not row(gatebus, held, "--status", "parked")
    assert gatebus("route", gate_id, "2", "--by", "anna").code == 0
    assert "decided: route 2, run pending" in row(gatebus, gate_id)
    gates = studio.store.gates
    gate = gates.get(gate_id)
    assert gate.decision
    assert gates.claim_run(gate_id, "broker:1", 60_000)
    gates.note_run(gate_id, "broker:1", "submitted", "j1", "gpu-1", look_in_ms=60_000)
    waiter = gates.resume(gate_id, gate.decision.id, "p2")
    waiter.apply()
    # It has ended, and its run has not.
    assert "applied: route 2, run running on studio" in row(gatebus, gate_id)
    gates.prompts_ended({"p2": ""})
    assert row(gatebus, gate_id) == ""
    assert "run done" in row(gatebus, gate_id, "--run", "done")


def test_what_failed_is_found_and_runs_again_as_before(studio: Studio, gatebus: Gatebus) -> None:
    gate_id = studio.park_gate("cover", labels=("keep", "redo")).gate.id
    gatebus("route", gate_id, "2", "--text", "more light")
    studio.run(gate_id, "KSampler: no memory")
    assert "run failed" in row(gatebus, gate_id, "--run", "failed")
    assert re.search(r"^run_error +KSampler: no memory$", gatebus("show", gate_id).out, re.MULTILINE)
    answer = gatebus("again", gate_id[:12], "--by", "ben")
    told = re.fullmatch(r"([0-9a-f]{32}) takes route 2 \(redo\) again from ([0-9a-f]{32})\n", answer.out)
    assert told
    assert told[2] == gate_id
    fresh = studio.store.gates.get(told[1])
    assert fresh.decision
    assert (fresh.of, fresh.run, fresh.decision.text, fresh.decision.by) == (gate_id, "pending", "more light", "ben")
    studio.run(fresh.id)
    assert studio.store.gates.get(fresh.id).run == "done"


def test_again_takes_another_route_and_answers_with_the_new_gate(studio: Studio, gatebus: Gatebus) -> None:
    gate_id = studio.park_gate(routes=3).gate.id
    gatebus("route", gate_id, "1")
    studio.run(gate_id)
    shown = json.loads(gatebus("again", gate_id, "--route", "3", "--text", "dark", "--json").out)
    assert (shown["of"], shown["decision"]["route"], shown["decision"]["text"]) == (gate_id, 3, "dark")
    assert shown == json.loads(json.dumps(studio.store.gates.get(shown["id"]).to_json()))


def test_what_cannot_run_again_or_park_has_its_exit_code_and_says_why(studio: Studio, gatebus: Gatebus) -> None:
    held, parked = studio.kept_gate().gate.id, studio.park_gate().gate.id
    assert "has not ended" in refused(gatebus("again", held, "--route", "1"), 4)
    assert "name one of 1 to 2" in refused(gatebus("again", parked), 2)
    assert "waits on this gate" in refused(gatebus("park", held), 4)
    refused(gatebus("again", "0" * 32), 3)
    refused(gatebus("park", "0" * 32), 3)
    gatebus("cancel", parked)
    assert "routes 1 to 2" in refused(gatebus("again", parked, "--route", "3"), 2)
    refused(gatebus("again", parked, "--route", "1", "--chosen", "7"), 2)


def test_an_orphan_is_parked(studio: Studio, gatebus: Gatebus, tmp_path: Path) -> None:
    store = open_store(studio.store.settings, tmp_path / "other", tmp_path / "other-state")
    gate_id = Studio(store, studio.url).kept_gate("lost").gate.id
    store.gates._owned._closed.set()  # type: ignore[attr-defined]
    until(lambda: "orphaned" in row(gatebus, gate_id), "the orphan")
    assert gatebus("park", gate_id, "--by", "anna").out == f"{gate_id} is parked\n"
    assert json.loads(gatebus("park", gate_id, "--json").out)["status"] == "parked"
    store.close()
    assert "  parked  " in row(gatebus, gate_id)
    assert gatebus("take-back", gate_id).code == 4
    gatebus("route", gate_id, "1")
    assert gatebus("take-back", gate_id).code == 0
    assert "  parked  " in row(gatebus, gate_id)
