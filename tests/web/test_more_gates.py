"""Choosing images of a batch and editing a text, in their nodes on ComfyUI's page."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np

from gates import codec
from gates.gate.record import Gate, make_decision
from gates.text_picture import text_jpeg
from tests.web.comfy_pages import ComfyPage

OPEN = ".gatebus-gate[data-state=open]"
TICK = f"{OPEN} .gatebus-tick"
PASS = f"{OPEN} .gatebus-route"
AREA = f"{OPEN} textarea.gatebus-text"
SETTLE = 350
"""Milliseconds after which a click is not taken for one that was meant for another gate."""


def waits(comfy: ComfyPage) -> Gate:
    """The gate that waits, once it is shown with all that it asks about."""
    comfy.queue()
    (gate,) = comfy.gates(1)
    shown = f"document.querySelector('{OPEN}')?.dataset.gate"
    comfy.until(lambda: comfy.evaluate(f"() => {shown}") == gate.id, "the gate in its node")
    if gate.batch > 1:
        comfy.until(lambda: comfy.page.locator(TICK).count() == gate.batch, "the images of the batch")
    comfy.page.wait_for_timeout(SETTLE)
    return gate


def chooser(comfy: ComfyPage, batch: int = 6, **values: Any) -> str:
    """EmptyImage -> ImageChooserGate -> previews of the chosen and of the others; returns the gate's node id."""
    image = comfy.add_node("EmptyImage", {"width": 96, "height": 64, "batch_size": batch, "color": 0x3060A0}, (20, 60))
    gate = comfy.add_node("ImageChooserGate", values, (360, 60))
    comfy.connect(image, 0, gate, "images")
    for number, output in enumerate(("images", "rejected")):
        preview = comfy.add_node("PreviewImage", {}, (900, 60 + 300 * number))
        comfy.connect(gate, output, preview, "images")
    return gate


def text_gate(comfy: ComfyPage, text: str, **values: Any) -> str:
    """A Text Gate with an image through its signal, so that something is behind it; returns its node id."""
    image = comfy.add_node("EmptyImage", {"width": 96, "height": 64}, (20, 60))
    gate = comfy.add_node("TextGate", {"text": text, **values}, (360, 60))
    preview = comfy.add_node("PreviewImage", {}, (900, 60))
    comfy.connect(image, 0, gate, "signal")
    comfy.connect(gate, "signal", preview, "images")
    return gate


def decided(comfy: ComfyPage, gate: Gate) -> Any:
    comfy.until(lambda: comfy.store.gates.get(gate.id).status == "applied", "applied")
    return comfy.store.gates.get(gate.id).decision


def ticked(comfy: ComfyPage) -> list[int]:
    found = comfy.evaluate(
        "(where) => [...document.querySelectorAll(where)].map((each) => each.ariaChecked)",
        ".gatebus-gate:not(.gatebus-card *) .gatebus-tick",
    )
    return [number for number, on in enumerate(found) if on == "true"]


def test_images_are_ticked_by_click_and_passed_by_the_button(comfy: ComfyPage) -> None:
    chooser(comfy, note="the sharp ones")
    gate = waits(comfy)
    # With nothing ticked there is nothing to pass.
    comfy.page.locator(PASS).click()
    comfy.page.wait_for_timeout(300)
    assert comfy.store.gates.get(gate.id).decision is None
    for number in (4, 1, 2, 1):
        comfy.page.locator(TICK).nth(number).click()
    comfy.until(lambda: ticked(comfy) == [2, 4], "ticks")
    comfy.screenshot("chooser")
    assert comfy.page.locator(PASS).inner_text().split("\n")[-1] == "Pass 2 of 6"
    comfy.page.locator(PASS).click()
    assert decided(comfy, gate).chosen == "2,4"
    comfy.until(lambda: "2 of 6 images" in comfy.page.locator(".gatebus-gate").first.inner_text(), "what was chosen")
    comfy.screenshot("chosen")


def test_digits_tick_a_ticks_all_and_enter_passes_where_the_node_is_selected(comfy: ComfyPage) -> None:
    node = chooser(comfy)
    gate = waits(comfy)
    comfy.select(node)
    press = comfy.page.keyboard.press
    for key in ("1", "3", "6", "9"):
        press(key)
    comfy.until(lambda: ticked(comfy) == [0, 2, 5], "digits")
    press("3")
    comfy.until(lambda: ticked(comfy) == [0, 5], "a digit again")
    press("a")
    comfy.until(lambda: ticked(comfy) == [0, 1, 2, 3, 4, 5], "all")
    press("a")
    comfy.until(lambda: ticked(comfy) == [], "none")
    press("Enter")
    comfy.page.wait_for_timeout(200)
    assert comfy.store.gates.get(gate.id).decision is None
    press("2")
    press("Enter")
    assert decided(comfy, gate).chosen == "1"


def test_arrows_and_space_reach_every_image(comfy: ComfyPage) -> None:
    chooser(comfy)
    gate = waits(comfy)
    comfy.page.locator(TICK).first.focus()
    press = comfy.page.keyboard.press
    for key in ("ArrowRight", "Space", "End", "Space", "Home", "Space"):
        press(key)
    comfy.until(lambda: ticked(comfy) == [0, 1, 5], "ticks")
    press("Enter")
    assert decided(comfy, gate).chosen == "0,1,5"


def test_an_image_gate_passes_the_ticked_images_or_all(comfy: ComfyPage) -> None:
    image = comfy.add_node("EmptyImage", {"width": 96, "height": 64, "batch_size": 4}, (20, 60))
    node = comfy.add_node("ImageGate", {"routes": 2}, (360, 60))
    preview = comfy.add_node("PreviewImage", {}, (900, 60))
    comfy.connect(image, 0, node, "image")
    comfy.connect(node, 2, preview, "images")
    for tick, chosen in ((True, "3"), (False, "")):
        gate = waits(comfy)
        if tick:
            comfy.page.locator(TICK).nth(3).click()
            comfy.until(lambda: ticked(comfy) == [3], "a tick")
        comfy.screenshot("image-gate")
        comfy.select(node)
        # Digits are routes here.
        comfy.page.keyboard.press("2")
        decision = decided(comfy, gate)
        assert (decision.route, decision.chosen) == (2, chosen)


def test_ticks_are_the_same_in_the_tab_and_stay_until_somebody_decides(comfy: ComfyPage) -> None:
    chooser(comfy)
    gate = waits(comfy)
    comfy.page.locator(TICK).nth(1).click()
    comfy.evaluate("() => window.app.extensionManager.sidebarTab.toggleSidebarTab('gatebus-gates')")
    card = comfy.page.locator(".gatebus-card .gatebus-tick")
    comfy.until(lambda: card.count() == 6, "the card")
    assert card.nth(1).get_attribute("aria-checked") == "true"
    card.nth(4).click()
    comfy.until(lambda: ticked(comfy) == [1, 4], "the tick in the node")
    comfy.screenshot("tab")
    comfy.store.gates.decide(gate.id, make_decision("route", 1, chosen="0,5", by="Ben"))
    comfy.until(lambda: ticked(comfy) == [0, 5], "what Ben chose")


def test_a_text_is_edited_and_passed_by_ctrl_enter(comfy: ComfyPage) -> None:
    node = text_gate(comfy, "a <b>cat</b>\non a mat", note="no dogs")
    gate = waits(comfy)
    area = comfy.page.locator(AREA)
    assert area.input_value() == "a <b>cat</b>\non a mat"
    comfy.screenshot("text")
    area.fill("a dog")
    comfy.until(lambda: "Pass the edited text" in comfy.page.locator(PASS).inner_text(), "what the button does")
    comfy.page.get_by_text("As it was", exact=True).first.click()
    comfy.until(lambda: area.input_value() == gate.text, "the text as it was")
    # What is typed is no key of the canvas: the node stays.
    area.press("End")
    area.press("Backspace")
    area.press("1")
    area.press("Delete")
    assert comfy.node(node, "node.id") is not None
    assert comfy.store.gates.get(gate.id).decision is None
    area.press("Control+Enter")
    assert decided(comfy, gate).text == "a <b>cat</b>\non a ma1" or decided(comfy, gate).text.count("1") == 1


def test_a_text_that_is_left_alone_or_emptied(comfy: ComfyPage) -> None:
    text_gate(comfy, "a cat")
    gate = waits(comfy)
    comfy.page.locator(PASS).click()
    assert decided(comfy, gate).text == "a cat"
    gate = waits(comfy)
    comfy.page.locator(AREA).fill("")
    comfy.page.locator(PASS).click()
    assert decided(comfy, gate).text == ""


def test_a_text_that_somebody_else_passed_is_shown_as_it_passed(comfy: ComfyPage) -> None:
    text_gate(comfy, "a cat")
    gate = waits(comfy)
    comfy.page.locator(AREA).fill("half a")
    comfy.store.gates.decide(gate.id, make_decision("route", 1, text="a dog", by="Ben"))
    area = comfy.page.locator(".gatebus-gate textarea.gatebus-text").first
    comfy.until(lambda: area.input_value() == "a dog", "what Ben made of it")
    assert area.get_attribute("readonly") is not None


def ended(comfy: ComfyPage, node: str, batch: int = 0, text: str = "", **decided: Any) -> Gate:
    """A gate of that node, of images or of a text, that was parked, decided so and has run on."""
    gates, prompt = comfy.store.gates, uuid.uuid4().hex
    place = {"workflow_id": str(comfy.workflow()["id"]), "node_id": node, "prompt_id": prompt, "routes": 1}
    if batch:
        images = np.linspace(0, 1, batch * 24 * 32 * 3, dtype=np.float32).reshape(batch, 24, 32, 3)
        gate = Gate(id=uuid.uuid4().hex, kind="batch", width=32, height=24, batch=batch, **place)  # type: ignore[arg-type]
        waiter = gates.open(gate, codec.preview_jpeg(images))
        waiter.store_image(codec.encode(images, "exact"))
    else:
        gate = Gate(id=uuid.uuid4().hex, kind="text", text=text, **place)  # type: ignore[arg-type]
        waiter = gates.open(gate, text_jpeg(text))
    waiter.store_continuation(b"how it goes on")
    assert gates.park([waiter])
    gates.prompts_ended({prompt: ""})
    gates.decide(gate.id, make_decision("route", 1, **decided))
    assert gates.claim_run(gate.id, "test:1", 60_000)
    gates.note_run(gate.id, "test:1", "submitted", "j1", "gpu-1", look_in_ms=60_000)
    run = uuid.uuid4().hex
    gates.resume(gate.id, gates.get(gate.id).decision.id, run).apply()
    gates.prompts_ended({run: ""})
    return gates.get(gate.id)


def fresh(comfy: ComfyPage, old: Gate) -> Any:
    """The decision of the gate that was made to run again."""
    found = comfy.until(lambda: [gate for gate in comfy.store.gates.records() if gate.of == old.id], "the new gate")
    return found[0].decision


def test_run_from_here_of_a_chooser_takes_other_images(comfy: ComfyPage) -> None:
    node = chooser(comfy)
    old = ended(comfy, node, batch=4, chosen="0,2")
    comfy.until(lambda: ticked(comfy) == [0, 2], "what was chosen")
    tick = comfy.page.locator(".gatebus-gate:not(.gatebus-card *) .gatebus-tick")
    comfy.page.get_by_role("button", name="Run from here").first.click()
    comfy.until(lambda: "then pass" in comfy.page.locator(".gatebus-gate").first.inner_text(), "armed")
    tick.nth(0).click()
    tick.nth(3).click()
    comfy.until(lambda: ticked(comfy) == [2, 3], "other ticks")
    comfy.screenshot("chooser-again")
    comfy.page.locator(".gatebus-route").first.click()
    assert fresh(comfy, old).chosen == "2,3"


def test_run_from_here_of_a_text_gate_takes_another_text(comfy: ComfyPage) -> None:
    node = text_gate(comfy, "a cat")
    old = ended(comfy, node, text="a cat", **{})
    area = comfy.page.locator(".gatebus-gate textarea.gatebus-text").first
    comfy.until(lambda: area.get_attribute("readonly") is not None, "the text as it passed")
    comfy.page.get_by_role("button", name="Run from here").first.click()
    comfy.until(lambda: area.get_attribute("readonly") is None, "armed")
    area.fill("a dog")
    area.press("Control+Enter")
    assert fresh(comfy, old).text == "a dog"
