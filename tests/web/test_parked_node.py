"""Parked gates on ComfyUI's page: in their node after the prompt has ended, and what goes on from them."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np

from gates import codec
from gates.gate.record import Gate, make_decision
from tests.web.comfy_pages import ComfyPage

ERROR = "KSampler (12): CUDA out of memory"
VIEW = ".gatebus-gate:not(.gatebus-card *)"


def workflow(comfy: ComfyPage) -> tuple[str, str]:
    """(workflow id, the node) of an open workflow with one Image Gate."""
    node = comfy.gate_workflow(routes=2, labels="keep\nredo")
    return str(comfy.workflow()["id"]), node


def park(comfy: ComfyPage, place: tuple[str, str], count: int = 1, **more: Any) -> list[Gate]:
    """Gates of that node whose prompt has ended, as a list of ``count``."""
    workflow_id, node = place
    gates, prompt = comfy.store.gates, uuid.uuid4().hex
    waiters = []
    for index in range(count):
        batch = np.full((1, 24, 32, 3), 0.2 + 0.3 * index, np.float32)
        gate = Gate(
            id=uuid.uuid4().hex, workflow_id=workflow_id, workflow="flux", node_id=node, list_index=index, width=32,
            height=24, batch=1, routes=2, labels=("keep", "redo"), prompt_id=prompt, instance="studio", **more,
        )  # fmt: skip
        waiter = gates.open(gate, codec.preview_jpeg(batch))
        waiter.store_image(codec.encode(batch, "exact"))
        waiter.store_continuation(b"how it goes on")
        waiters.append(waiter)
    assert gates.park(waiters)
    gates.prompts_ended({prompt: ""})
    return [gates.get(waiter.gate.id) for waiter in waiters]


def begin(comfy: ComfyPage, gate_id: str) -> str:
    """Has the run of the decided gate begun; its prompt."""
    gates, prompt = comfy.store.gates, uuid.uuid4().hex
    gate = gates.get(gate_id)
    assert gate.decision is not None
    assert gates.claim_run(gate.group, "broker:1", 60_000)
    gates.note_run(gate.group, "broker:1", "submitted", "j1", "gpu-1", look_in_ms=60_000)
    gates.resume(gate.id, gate.decision.id, prompt)
    return prompt


def end(comfy: ComfyPage, gate_id: str, prompt: str, error: str = "") -> None:
    """Has it end; without an error it has carried the decision out."""
    gates = comfy.store.gates
    gate = gates.get(gate_id)
    if not error and gate.decision is not None:
        gates.resume(gate_id, gate.decision.id, prompt).apply()
    gates.prompts_ended({prompt: error})


def said(comfy: ComfyPage) -> str:
    return str(comfy.page.locator(VIEW).inner_text())


def says(comfy: ComfyPage, words: str) -> None:
    comfy.until(lambda: words in said(comfy), words)


def tool(comfy: ComfyPage, name: str) -> Any:
    return comfy.page.locator(VIEW).get_by_role("button", name=name, exact=True)


def choose(comfy: ComfyPage, name: str) -> None:
    # A click just after a gate came into view is taken for one that was meant for another.
    comfy.page.wait_for_timeout(350)
    comfy.page.locator(f"{VIEW} .gatebus-route", has_text=name).click()


def test_a_parked_gate_is_seen_in_its_node_after_a_reload_and_followed_to_the_end(comfy: ComfyPage) -> None:
    place = workflow(comfy)
    (gate,) = park(comfy, place, note="Mind the hands")
    says(comfy, "Parked: the queue is free")
    saved = comfy.workflow()
    comfy.reload()
    comfy.load_workflow(saved)
    says(comfy, "Parked: the queue is free")
    says(comfy, "Mind the hands")
    comfy.page.locator(f"{VIEW} .gatebus-frame img").wait_for()
    comfy.screenshot("parked-node")
    choose(comfy, "redo")
    says(comfy, "Goes on in a moment")
    assert comfy.store.gates.get(gate.id).run == "pending"
    prompt = begin(comfy, gate.id)
    says(comfy, f"Runs on, at {comfy.store.settings.instance}")
    comfy.screenshot("parked-node-running")
    end(comfy, gate.id, prompt)
    says(comfy, f"Ran to its end, at {comfy.store.settings.instance}")
    # What came of it is still there after a reload.
    comfy.reload()
    comfy.load_workflow(saved)
    says(comfy, f"Ran to its end, at {comfy.store.settings.instance}")


def test_several_parked_gates_of_one_node_are_stepped_through_and_decided_each(comfy: ComfyPage) -> None:
    place = workflow(comfy)
    (first,) = park(comfy, place)
    two = park(comfy, place, count=2)
    says(comfy, "1 of 3")
    tool(comfy, "Next gate").click()
    says(comfy, "2 of 3")
    choose(comfy, "keep")
    comfy.until(lambda: comfy.store.gates.get(two[0].id).decision, "the decision")
    # A list goes on as one: what is decided waits for the others. The view goes on to what is open.
    for gate in (first, two[1]):
        comfy.page.locator(f'{VIEW}[data-gate="{gate.id}"][data-state=open]').wait_for()
        choose(comfy, "redo")
        comfy.until(lambda gate=gate: comfy.store.gates.get(gate.id).decision, "its decision")  # type: ignore[misc]
    comfy.until(lambda: comfy.store.gates.get(two[0].id).run == "pending", "the run of the list")
    comfy.until(lambda: comfy.store.gates.get(first.id).run == "pending", "the other run")


def test_a_run_that_failed_is_run_again_from_the_node(comfy: ComfyPage) -> None:
    place = workflow(comfy)
    (gate,) = park(comfy, place)
    comfy.store.gates.decide(gate.id, make_decision("route", 2))
    end(comfy, gate.id, begin(comfy, gate.id), ERROR)
    says(comfy, ERROR)
    comfy.screenshot("parked-node-failed")
    tool(comfy, "Run again").click()

    def fresh() -> list[Gate]:
        return [each for each in comfy.store.gates.records() if each.of == gate.id]

    (again,) = comfy.until(fresh, "the new gate")
    assert again.decision
    assert (again.decision.route, again.run) == (2, "pending")
    says(comfy, "Goes on in a moment")
    end(comfy, again.id, begin(comfy, again.id), ERROR)
    says(comfy, ERROR)
    tool(comfy, "Dismiss").click()
    comfy.until(lambda: comfy.store.gates.get(again.id).outcome == "dismissed", "it left so")


def test_run_from_here_takes_the_last_image_by_a_route_that_is_chosen(comfy: ComfyPage) -> None:
    place = workflow(comfy)
    (gate,) = park(comfy, place)
    comfy.store.gates.decide(gate.id, make_decision("route", 1))
    end(comfy, gate.id, begin(comfy, gate.id))
    says(comfy, "Ran to its end")
    comfy.page.locator(VIEW).get_by_role("button", name="Run from here").click()
    says(comfy, "Run from here: choose the route")
    comfy.screenshot("parked-node-armed")
    # Once more is no: nothing runs.
    comfy.page.locator(VIEW).get_by_role("button", name="Run from here").click()
    comfy.until(lambda: "choose the route" not in said(comfy), "it disarmed")
    choose(comfy, "redo")
    comfy.page.locator(VIEW).get_by_role("button", name="Run from here").click()
    choose(comfy, "redo")

    def fresh() -> list[Gate]:
        return [each for each in comfy.store.gates.records() if each.of == gate.id]

    (again,) = comfy.until(fresh, "the new gate")
    assert again.decision
    assert (again.decision.route, again.node_id) == (2, place[1])
    end(comfy, again.id, begin(comfy, again.id))
    says(comfy, "redo, decided")


def test_the_tab_lists_parked_gates_of_workflows_that_are_not_open(comfy: ComfyPage) -> None:
    (gate,) = park(comfy, (str(uuid.uuid4()), "7"), title="Cover")
    comfy.evaluate("() => window.app.extensionManager.command.execute('Workspace.ToggleSidebarTab.gatebus-gates')")
    card = comfy.page.locator(".gatebus-card", has_text="Cover")
    card.wait_for()
    comfy.until(lambda: "Parked: the queue is free" in card.inner_text(), "its state")
    comfy.screenshot("parked-tab")
    comfy.page.wait_for_timeout(350)
    card.locator(".gatebus-route", has_text="keep").click()
    comfy.until(lambda: comfy.store.gates.get(gate.id).run == "pending", "the run")
    # What was decided leaves the list, and comes back when its run fails.
    comfy.until(lambda: card.count() == 0, "the card to go")
    end(comfy, gate.id, begin(comfy, gate.id), ERROR)
    comfy.until(lambda: ERROR in card.inner_text() if card.count() else False, "it to come back")


def test_a_workflow_that_was_saved_before_gates_could_park_loads_unchanged(comfy: ComfyPage) -> None:
    node = comfy.gate_workflow(routes=3, labels="keep\nredo\nagain", timeout=600.0, note="the hands", format="exact")
    saved = comfy.workflow()
    (gate,) = [each for each in saved["nodes"] if each["type"] == "ImageGate"]
    values = gate["widgets_values"]
    assert values[-2:] == ["default", 0]
    # As it was saved then: without the last two widgets.
    gate["widgets_values"] = values[:-2]
    gate["inputs"] = [each for each in gate["inputs"] if each["name"] not in ("when_waiting", "park_after")]
    comfy.clear()
    comfy.load_workflow(saved)
    named = "Object.fromEntries(node.widgets.filter((w) => w.serialize !== false).map((w) => [w.name, w.value]))"
    shown = comfy.node(node, named)
    assert list(shown.values())[: len(values)] == values
    assert (shown["when_waiting"], shown["park_after"]) == ("default", 0)
    assert [shown[name] for name in ("labels", "timeout", "note", "format")] == [
        "keep\nredo\nagain",
        600,
        "the hands",
        "exact",
    ]
    assert comfy.node(node, "[1, 2, 3].map((at) => node.isOutputConnected(at))") == [True] * 3
    comfy.queue()
    (waiting,) = comfy.gates(1)
    assert (waiting.routes, waiting.note, waiting.status) == (3, "the hands", "waiting")
    comfy.store.gates.decide(waiting.id, make_decision("route", 3))
    comfy.until(lambda: comfy.store.gates.get(waiting.id).status == "applied", "the route")


def test_a_prompt_from_the_page_parks_frees_the_queue_and_goes_on_here(comfy: ComfyPage) -> None:
    if comfy.bed.host is not None:  # type: ignore[attr-defined]
        comfy.bed.host.go_on()  # type: ignore[attr-defined]
    node = comfy.gate_workflow(routes=2, labels="keep\nredo", when_waiting="park")
    comfy.queue()

    def parked() -> list[Gate]:
        return [gate for gate in comfy.store.gates.records() if gate.status == "parked"]

    (gate,) = comfy.until(parked, "the gate to park", limit=30)
    assert gate.node_id == node
    says(comfy, "Parked: the queue is free")
    # The queue is free: the same once more runs up to its gate.
    comfy.queue()
    comfy.until(lambda: len(parked()) == 2, "a second one", limit=30)
    says(comfy, "1 of 2")
    choose(comfy, "redo")
    comfy.until(lambda: comfy.store.gates.get(gate.id).run in ("done", "failed"), "the end of its run", limit=60)
    ended = comfy.store.gates.get(gate.id)
    assert (ended.status, ended.run, ended.run_error) == ("applied", "done", "")


def test_run_from_here_behind_a_gate_that_held_runs_nothing_before_it(comfy: ComfyPage) -> None:
    if comfy.bed.host is not None:  # type: ignore[attr-defined]
        comfy.bed.host.go_on()  # type: ignore[attr-defined]
    node = comfy.gate_workflow(routes=2, labels="keep\nredo", when_waiting="hold")
    comfy.queue()
    (gate,) = comfy.gates(1)
    comfy.until(lambda: comfy.page.locator(f'{VIEW}[data-gate="{gate.id}"][data-state=open]').count(), "the gate")
    choose(comfy, "keep")
    comfy.until(lambda: comfy.store.gates.get(gate.id).status == "applied", "the route")
    comfy.until(lambda: comfy.store.gates.get(gate.id).kept, "what it takes to run on")
    executed = comfy.evaluate(
        "() => { window.executed = []; window.app.api.addEventListener('executing',"
        " (event) => event.detail && window.executed.push(String(event.detail))); }"
    )
    assert executed is None
    comfy.page.locator(VIEW).get_by_role("button", name="Run from here").click()
    says(comfy, "Run from here: choose the route")
    choose(comfy, "redo")

    def fresh() -> list[Gate]:
        gates = [each for each in comfy.store.gates.records(live=False) if each.of == gate.id]
        return [each for each in gates if each.run in ("done", "failed")]

    (again,) = comfy.until(fresh, "the end of its run", limit=60)
    assert (again.run, again.status, again.run_error) == ("done", "applied", "")
    says(comfy, "redo, decided")
    # The page that queued the first prompt sees this one: the gate and the node behind route 2, no image made anew.
    preview = comfy.node(node, "String(node.graph.links.get?.(node.outputs[2].links[0])?.target_id ?? '')")
    ran = comfy.until(lambda: comfy.evaluate("() => window.executed"), "what was executed")
    assert preview in ran
    source = comfy.node(node, "String(node.graph.links.get?.(node.inputs[0].link)?.origin_id ?? '')")
    assert source not in ran
