"""The real page with our extension: it loads without a complaint, and shows what people typed as text."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.web.comfy_pages import ComfyPage

XSS = '<img src=x onerror="window.caught=1"><b>bold</b>'


def test_the_extension_is_there_and_the_page_has_nothing_to_complain_about(comfy: ComfyPage) -> None:
    names = comfy.evaluate("() => window.app.extensions.map((each) => each.name)")
    assert sum("gatebus" in name.lower() for name in names) == 1, names
    for kind in ("ImageGate", "GridImagePool"):
        assert comfy.node(comfy.add_node(kind), "node.comfyClass") == kind


def test_what_nobody_expects_on_the_console_is_noticed(comfy: ComfyPage) -> None:
    comfy.evaluate("() => { console.warn('gatebus: a test'); fetch('/api/gatebus/gates/none'); }")
    comfy.until(lambda: len(comfy.console.faults()) == 2, "a warning and a 404")
    comfy.console.allow("a test|gates/none")
    assert comfy.console.faults() == []


def test_a_gate_waits_is_decided_and_the_route_runs_on(comfy: ComfyPage) -> None:
    workflow = comfy.evaluate("() => (window.app.rootGraph ?? window.app.graph).id")
    node = comfy.gate_workflow(routes=2, labels="keep\ndrop")
    prompt = comfy.queue()
    (gate,) = comfy.gates(1)
    assert (gate.prompt_id, gate.node_id, gate.workflow_id) == (prompt, node, workflow)
    assert (gate.width, gate.height, gate.labels) == (320, 240, ("keep", "drop"))
    decided = comfy.evaluate(
        """async (id) => (await window.comfyAPI.api.api.fetchApi(`/gatebus/gates/${id}/route`, {
            method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({route: 2, by: "me"}),
        })).json()""",
        gate.id,
    )
    assert decided["decision"]["route"] == 2
    comfy.until(lambda: comfy.store.gates.get(gate.id).status == "applied", "applied")
    history = """async (id) => (await (await window.comfyAPI.api.api.fetchApi(`/history/${id}`)).json())[id]"""
    entry = comfy.until(lambda: comfy.evaluate(history, prompt), "the prompt's end")
    assert entry["status"]["status_str"] == "success"
    assert len(entry["outputs"]) == 1, "only the chosen route's preview ran"


@pytest.mark.parametrize("palette", ["dark", "light"])
def test_it_can_be_looked_at_in_both_palettes(comfy: ComfyPage, palette: str) -> None:
    comfy.bed.set({"Comfy.ColorPalette": palette})
    comfy.reload()
    comfy.clear()
    comfy.gate_workflow(routes=3, labels="keep\nagain")
    comfy.add_node("GridImagePool", {}, (1130, 60))
    comfy.queue()
    comfy.gates(1)
    comfy.page.wait_for_timeout(500)
    with Image.open(comfy.screenshot(palette)) as picture:
        brightness = picture.convert("L").resize((1, 1)).getpixel((0, 0))
    assert brightness < 90 if palette == "dark" else brightness > 150, brightness


def test_markup_in_labels_notes_and_titles_is_shown_as_text(comfy: ComfyPage) -> None:
    node = comfy.gate_workflow(routes=2, labels=f"{XSS}\n{XSS}", note=XSS)
    comfy.node(node, f"(node.title = {XSS!r}, null)")
    comfy.queue()
    (gate,) = comfy.gates(1)
    assert gate.labels[0] == XSS
    comfy.page.wait_for_timeout(1000)
    comfy.screenshot("markup")
    assert comfy.evaluate("() => window.caught") is None
    assert (
        comfy.evaluate("""() => [...document.querySelectorAll("b, img")]
        .filter((each) => each.textContent === "bold" || each.getAttribute("src") === "x").length""")
        == 0
    )
    texts = comfy.page.get_by_text("<b>bold</b>")
    assert texts.count() > 0, "the labels are shown somewhere, as text"
