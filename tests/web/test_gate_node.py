"""The Image Gate on ComfyUI's page: what waits is shown wherever its node is, and decided once."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw

from gates.gate.record import Gate, make_decision
from tests.web.comfy_pages import ComfyPage

NewTab = Callable[[], ComfyPage]
OUTPUTS = "node.outputs.map((each) => each.label || each.name)"
OPEN = ".gatebus-gate[data-state=open]"
IN_NODE = f"{OPEN}:not(.gatebus-card *)"


def shown(comfy: ComfyPage) -> list[str]:
    """The ids of the gates that nodes of the tab show as waiting."""
    found = comfy.evaluate("(where) => [...document.querySelectorAll(where)].map((each) => each.dataset.gate)", IN_NODE)
    return [str(each) for each in found]


def wait_shown(comfy: ComfyPage, gate: Gate) -> None:
    comfy.until(lambda: shown(comfy) == [gate.id], "the gate in its node")


def status(comfy: ComfyPage, gate: Gate, wanted: str) -> Gate:
    comfy.until(lambda: comfy.store.gates.get(gate.id).status == wanted, wanted)
    return comfy.store.gates.get(gate.id)


def head(comfy: ComfyPage) -> str:
    return str(comfy.page.locator(".gatebus-gate .gatebus-head").first.inner_text())


def waiting_gate(comfy: ComfyPage, **values: Any) -> tuple[str, Gate]:
    """A gate that waits and is shown: (its node, the gate)."""
    node = comfy.gate_workflow(**{"routes": 2, "labels": "keep\ndrop", **values})
    comfy.queue()
    (gate,) = comfy.gates(1)
    wait_shown(comfy, gate)
    # A click just after a gate came into view is taken for one that was meant for another.
    comfy.page.wait_for_timeout(350)
    return node, gate


def set_widget(comfy: ComfyPage, node: str, name: str, value: object) -> None:
    comfy.node(
        node,
        f"((w) => {{ w.value = {value!r}; w.callback?.(w.value); }})(node.widgets.find((w) => w.name === {name!r}))",
    )
    comfy.settle()


def test_outputs_come_and_go_at_the_end_and_are_named_by_the_labels(comfy: ComfyPage) -> None:
    node = comfy.add_node("ImageGate")
    assert comfy.node(node, OUTPUTS) == ["mask", "route_1", "route_2"]
    set_widget(comfy, node, "routes", 4)
    set_widget(comfy, node, "labels", "keep")
    assert comfy.node(node, OUTPUTS) == ["mask", "keep", "route_2", "route_3", "route_4"]
    set_widget(comfy, node, "routes", 1)
    assert comfy.node(node, OUTPUTS) == ["mask", "keep"]


def test_a_linked_output_stays_when_there_are_fewer_routes_and_goes_with_its_link(comfy: ComfyPage) -> None:
    node = comfy.gate_workflow(routes=3)
    set_widget(comfy, node, "routes", 1)
    assert comfy.node(node, "node.outputs.length") == 4
    assert comfy.node(node, "[1, 2, 3].map((at) => node.isOutputConnected(at))") == [True] * 3
    comfy.node(node, "(node.disconnectOutput(3), node.disconnectOutput(2), null)")
    comfy.until(lambda: comfy.node(node, "node.outputs.length") == 2, "the outputs go")


def test_outputs_names_and_links_are_saved_and_come_back(comfy: ComfyPage) -> None:
    node = comfy.gate_workflow(routes=4, labels="keep\n\nredo")
    saved = comfy.workflow()
    comfy.clear()
    comfy.load_workflow(saved)
    assert comfy.node(node, OUTPUTS) == ["mask", "keep", "route_2", "redo", "route_4"]
    assert comfy.node(node, "[1, 2, 3, 4].map((at) => node.isOutputConnected(at))") == [True] * 4
    again = comfy.workflow()
    outputs = [each["outputs"] for each in (saved, again) for each in each["nodes"] if str(each["id"]) == node]
    assert [[out["name"] for out in each] for each in outputs] == [["mask", *(f"route_{n}" for n in range(1, 5))]] * 2


def test_a_gate_waits_in_its_node_and_a_click_decides_it(comfy: ComfyPage) -> None:
    comfy.bed.set({"gatebus.name": "Anna"})
    comfy.reload()
    comfy.clear()
    _, gate = waiting_gate(comfy, note="look <b>closely</b>", timeout=900.0, timeout_route=1)
    text = comfy.page.locator(OPEN).inner_text()
    for part in ("320 × 240", "look <b>closely</b>", "left, then keep"):
        assert part in text
    comfy.page.locator(f"{OPEN} .gatebus-frame img").wait_for()
    comfy.until(
        lambda: comfy.evaluate("() => document.querySelector('.gatebus-frame img').naturalWidth"), "the preview"
    )
    comfy.page.locator(".gatebus-route", has_text="drop").click()
    decision = status(comfy, gate, "applied").decision
    assert decision is not None
    assert (decision.route, decision.by) == (2, "Anna")
    comfy.until(lambda: head(comfy).startswith("drop, decided by Anna, "), "who decided")
    assert comfy.page.locator(OPEN).count() == 0


def test_the_age_ticks(comfy: ComfyPage) -> None:
    waiting_gate(comfy)
    ages = {head(comfy)}
    comfy.until(lambda: ages.add(head(comfy)) or len(ages) > 2, "three different ages")  # type: ignore[func-returns-value]


def test_a_reload_and_a_second_tab_show_the_gate_and_another_workflow_does_not(
    comfy: ComfyPage, new_tab: NewTab
) -> None:
    _, gate = waiting_gate(comfy)
    saved = comfy.workflow()
    comfy.reload()
    comfy.load_workflow(saved)
    wait_shown(comfy, gate)
    second = new_tab()
    second.load_workflow({**saved, "id": "00000000-0000-4000-8000-000000000001"})
    second.until(lambda: second.page.locator(".gatebus-gate[data-state=idle]").count(), "the same node, drawn")
    assert shown(second) == []
    second.load_workflow(saved)
    wait_shown(second, gate)
    second.page.wait_for_timeout(350)
    second.page.locator(".gatebus-route", has_text="keep").click()
    status(comfy, gate, "applied")
    for tab in (comfy, second):
        tab.until(lambda tab=tab: head(tab).startswith("keep, decided"), "the decision in both tabs")  # type: ignore[misc]


def test_a_gate_that_opened_while_the_page_was_offline_is_shown_when_it_is_back(comfy: ComfyPage) -> None:
    comfy.gate_workflow(routes=2)
    comfy.console.allow("ERR_INTERNET_DISCONNECTED|Failed to fetch|WebSocket|ERR_NETWORK")
    body = comfy.evaluate(
        """async () => {
            const { output: prompt, workflow } = await window.app.graphToPrompt();
            return { prompt, extra_data: { extra_pnginfo: { workflow } } };
        }"""
    )
    with comfy.offline():
        comfy.page.request.post(comfy.url + "/prompt", data=body)
        (gate,) = comfy.gates(1)
        comfy.page.wait_for_timeout(300)
    wait_shown(comfy, gate)
    comfy.store.gates.decide(gate.id, make_decision("route", 1, "someone far away"))
    comfy.until(lambda: "someone far away" in head(comfy), "who decided")


def test_each_copy_of_a_node_shows_its_own_gate(comfy: ComfyPage) -> None:
    node = comfy.gate_workflow(routes=1)
    copy = str(
        comfy.node(
            node,
            """((copy) => { copy.pos = [20, 320]; graph.add(copy); graph.nodes[0].connect(0, copy, 0);
            const end = window.LiteGraph.createNode("PreviewImage"); graph.add(end); copy.connect(1, end, 0);
            return String(copy.id); })(node.clone())""",
        )
    )
    comfy.queue()
    gates = {gate.node_id: gate.id for gate in comfy.gates(2)}
    assert set(gates) == {node, copy}
    comfy.node(copy, "(window.app.canvas.centerOnNode(node), window.app.canvas.setDirty(true, true), null)")
    comfy.until(lambda: gates[copy] in shown(comfy), "the copy's gate")
    comfy.node(node, "(window.app.canvas.centerOnNode(node), window.app.canvas.setDirty(true, true), null)")
    comfy.until(lambda: gates[node] in shown(comfy), "the first one's gate")


def test_a_gate_two_subgraphs_deep_is_found_from_the_tab_and_decided_by_key(comfy: ComfyPage) -> None:
    node = comfy.gate_workflow(routes=2)
    comfy.console.allow("Attempted to cleanup event listeners for graph|already registered in root graph")
    for _ in range(2):
        node = comfy.node(node, "String(graph.convertToSubgraph(new Set([node])).node.id)")
    comfy.queue()
    (gate,) = comfy.gates(1)
    assert gate.node_id.count(":") == 2
    open_tab(comfy)
    comfy.page.locator(".gatebus-title").click()
    wait_shown(comfy, gate)
    comfy.page.wait_for_timeout(350)
    comfy.page.keyboard.press("2")
    decision = status(comfy, gate, "applied").decision
    assert decision is not None
    assert decision.route == 2


def open_tab(comfy: ComfyPage) -> None:
    comfy.evaluate("() => window.app.extensionManager.command.execute('Workspace.ToggleSidebarTab.gatebus-gates')")
    comfy.page.locator(".gatebus-tab").wait_for()


def test_keys_decide_at_the_selected_node_only_and_never_while_somebody_types(comfy: ComfyPage) -> None:
    node, gate = waiting_gate(comfy)
    comfy.evaluate("() => { window.app.canvas.deselectAll?.(); document.activeElement?.blur(); }")
    comfy.page.keyboard.press("1")
    comfy.select(node)
    comfy.page.keyboard.press("7")
    comfy.page.keyboard.press("Control+1")
    comfy.evaluate(
        """() => {
            const box = Object.assign(document.createElement("textarea"), { id: "typing" });
            document.body.append(box);
            box.focus();
        }"""
    )
    comfy.page.keyboard.press("2")
    assert comfy.evaluate("() => document.getElementById('typing').value") == "2"
    comfy.evaluate("() => document.getElementById('typing').remove()")
    comfy.page.wait_for_timeout(300)
    assert comfy.store.gates.get(gate.id).status == "waiting"
    comfy.page.keyboard.press("1")
    decision = status(comfy, gate, "applied").decision
    assert decision is not None
    assert decision.route == 1


def test_names_of_routes_are_edited_in_place_and_kept_by_the_workflow(comfy: ComfyPage) -> None:
    node = comfy.gate_workflow(routes=3)
    comfy.page.locator(".gatebus-route").nth(1).dblclick()
    comfy.page.keyboard.type("<i>again</i>")
    comfy.page.keyboard.press("Tab")
    comfy.page.keyboard.type("1 more")
    comfy.page.keyboard.press("Enter")
    comfy.settle()
    assert comfy.node(node, "node.widgets.find((w) => w.name === 'labels').value") == "\n<i>again</i>\n1 more"
    assert comfy.node(node, OUTPUTS) == ["mask", "route_1", "<i>again</i>", "1 more"]
    comfy.page.locator(".gatebus-route").first.focus()
    comfy.page.keyboard.press("F2")
    comfy.page.keyboard.type("dropped")
    comfy.page.keyboard.press("Escape")
    assert comfy.node(node, OUTPUTS)[1] == "route_1"


def test_a_batch_is_a_grid_with_the_mask_over_each_image(comfy: ComfyPage) -> None:
    node = comfy.gate_workflow(routes=2)
    comfy.node(node, "(graph.nodes[0].widgets.find((w) => w.name === 'batch_size').value = 5, null)")
    comfy.queue()
    (gate,) = comfy.gates(1)
    images = comfy.page.locator(f"{OPEN} .gatebus-frame img")
    loaded = "(images) => images.filter((image) => image.complete && image.naturalWidth === 320).length"
    comfy.until(lambda: images.evaluate_all(loaded) == 5, "five thumbnails")
    mask = Image.new("L", (320, 240))
    ImageDraw.Draw(mask).rectangle((0, 0, 159, 239), fill=255)
    png = BytesIO()
    mask.save(png, "PNG")
    comfy.store.gates.set_mask(gate.id, png.getvalue())
    overlays = comfy.page.locator(".gatebus-mask")
    comfy.until(lambda: overlays.count() == 5, "five overlays")
    alpha = overlays.first.evaluate(
        "(canvas) => [10, 300].map((x) => canvas.getContext('2d').getImageData(x, 120, 1, 1).data[3])"
    )
    assert alpha[0] > 100, "tinted where it is painted"
    assert alpha[1] == 0, "clear elsewhere"
    comfy.page.get_by_role("button", name="Clear mask").click()
    comfy.until(lambda: comfy.store.gates.get(gate.id).mask == "", "cleared")
    comfy.until(lambda: overlays.count() == 0, "no overlay")


def test_a_decision_that_did_not_arrive_is_kept_and_goes_out_once(comfy: ComfyPage) -> None:
    comfy.console.allow("ERR_FAILED|/route")
    _, gate = waiting_gate(comfy)
    sent: list[str] = []

    def fail(route: Any) -> None:
        sent.append(route.request.post_data_json["decision_id"])
        route.abort()

    comfy.page.route("**/route", fail)
    comfy.page.locator(".gatebus-route", has_text="drop").click()
    problem = comfy.page.locator(".gatebus-problem")
    comfy.until(lambda: "Your decision is kept" in problem.inner_text(), "what happened")
    comfy.page.unroute("**/route")
    problem.get_by_role("button").click()
    decision = status(comfy, gate, "applied").decision
    assert decision is not None
    assert (decision.route, decision.id) == (2, sent[0])


def test_who_comes_second_is_told_who_decided(comfy: ComfyPage) -> None:
    comfy.console.allow("409|/route")
    _, gate = waiting_gate(comfy)
    comfy.page.route("**/gatebus/events*", lambda route: route.abort())

    def first_another(route: Any) -> None:
        comfy.store.gates.decide(gate.id, make_decision("route", 1, "Bo"))
        route.continue_()

    comfy.page.route("**/route", first_another)
    comfy.page.locator(".gatebus-route", has_text="drop").click()
    comfy.until(lambda: "faster: keep, decided by Bo" in comfy.page.locator(".gatebus-problem").inner_text(), "Bo")


def test_stop_ends_the_run_that_waits_there(comfy: ComfyPage) -> None:
    _, gate = waiting_gate(comfy)
    comfy.page.get_by_role("button", name="Stop", exact=True).click()
    decision = status(comfy, gate, "cancelled").decision
    assert decision is not None
    assert decision.kind == "cancel"
    comfy.until(lambda: head(comfy).startswith("Stopped"), "stopped")


def test_run_from_here_asks_again_and_runs_only_what_hangs_behind(comfy: ComfyPage) -> None:
    # Of a node that has no image that is kept.
    node = comfy.gate_workflow(routes=2)
    other = comfy.add_node("PreviewImage", {}, (20, 400))
    comfy.node(node, f"(graph.nodes[0].connect(0, graph.nodes.find((n) => String(n.id) === '{other}'), 0), null)")
    with comfy.page.expect_request(lambda each: each.method == "POST" and each.url.endswith("/prompt")) as posted:
        comfy.page.get_by_role("button", name="Run from here").click()
    targets = posted.value.post_data_json["partial_execution_targets"]
    assert len(targets) == 2
    assert other not in targets
    (again,) = comfy.gates(1)
    assert again.node_id == node
    comfy.until(lambda: shown(comfy) == [again.id], "it waits")


def test_the_tab_lists_every_waiting_gate_and_its_badge_counts_them(comfy: ComfyPage) -> None:
    badge = (
        "() => window.app.extensionManager.sidebarTab.sidebarTabs.find((tab) => tab.id === 'gatebus-gates').iconBadge"
    )
    open_tab(comfy)
    assert "No gate waits" in comfy.page.locator(".gatebus-tab").inner_text()
    _, gate = waiting_gate(comfy)
    comfy.until(lambda: comfy.evaluate(badge) == "1", "the badge")
    # The workflow that holds it is closed: it is still there to be decided.
    comfy.clear()
    assert shown(comfy) == []
    card = comfy.page.locator(".gatebus-card")
    card.locator(".gatebus-route", has_text="drop").click()
    decision = status(comfy, gate, "applied").decision
    assert decision is not None
    assert decision.route == 2
    comfy.until(lambda: comfy.evaluate(badge) is None, "no badge")
    comfy.until(lambda: card.count() == 0, "the card goes")


def test_the_second_click_of_a_double_click_decides_no_other_gate(comfy: ComfyPage) -> None:
    node = comfy.gate_workflow(routes=2)
    comfy.queue()
    (first,) = comfy.gates(1)
    comfy.queue()
    wait_shown(comfy, first)
    comfy.page.wait_for_timeout(350)
    comfy.page.locator(".gatebus-route").first.dblclick()
    status(comfy, first, "applied")
    (second,) = comfy.gates(1)
    comfy.until(lambda: shown(comfy) == [second.id], "the next gate")
    comfy.page.wait_for_timeout(500)
    assert comfy.store.gates.get(second.id).status == "waiting"
    assert comfy.node(node, "node.widgets.find((w) => w.name === 'labels').value") == ""
