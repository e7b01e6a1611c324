"""Masks of gates and slots: the round trip through ComfyUI's own editor, and our painter."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gates.codec import encode_png
from gates.gate.record import Gate
from tests.web.comfy_pages import ComfyPage

EDITOR = "#maskEditor, [data-testid=mask-editor-root]"
PAINTER = ".gatebus-painter-dialog"

START = """async ([kind, ...what]) => {
    const { api } = window.comfyAPI.api;
    const paths = await (await api.fetchApi("/extensions")).json();
    const entry = new URL(api.fileURL(paths.find((path) => path.endsWith("/gatebus.js"))), location.href);
    const { host } = await import(new URL("./comfy.mjs", entry));
    const { Api } = await import(new URL("./lib/api.mjs", entry));
    const editing = await import(new URL("./nodes/mask-editing.mjs", entry));
    window.edited = "";
    const edit = kind === "gate" ? editing.editGateMask : editing.editSlotMask;
    edit(...what, new Api(host)).then(() => (window.edited = "done"));
}"""


def waiting_gate(comfy: ComfyPage, size: tuple[int, int] = (320, 240)) -> Gate:
    comfy.gate_workflow(size=size)
    comfy.queue()
    (gate,) = comfy.gates(1)
    return comfy.until(lambda: (known := comfy.store.gates.get(gate.id)).layout and known, "its whole image")


def grey(png: bytes | None) -> Any:
    assert png is not None
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "L"
        return np.array(image)


def edit_gate(comfy: ComfyPage, gate: Gate) -> None:
    now = comfy.store.gates.get(gate.id).to_json()
    comfy.evaluate(START, ["gate", now])


def open_editor(comfy: ComfyPage, gate: Gate) -> None:
    edit_gate(comfy, gate)
    comfy.page.wait_for_selector(EDITOR, state="attached")
    # The editor measures itself and loads its picture before it takes strokes; it tells nobody when.
    comfy.page.wait_for_timeout(2500)


def paint_in_editor(comfy: ComfyPage, x: int, y: int) -> None:
    mouse = comfy.page.mouse
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + 60, y + 30, steps=6)
    mouse.up()
    comfy.page.wait_for_timeout(300)


def press_in_editor(comfy: ComfyPage, name: str) -> None:
    if comfy.mode.startswith("old"):
        comfy.page.locator(f"#maskEditor_topBar{name}Button").click()
    else:
        comfy.page.get_by_role("button", name=name).last.click()
    comfy.until(lambda: comfy.evaluate("() => window.edited") == "done", "the end of the editing")


def editor_leftovers(comfy: ComfyPage) -> list[str]:
    files = [path for name in ("input", "temp") for path in (comfy.bed.folder / name).rglob("*.png")]
    return sorted(path.name for path in files if path.name.startswith(("clipspace", "gatebus-edit")))


def with_ours(comfy: ComfyPage) -> None:
    """As in a frontend whose editor can't be reached."""
    comfy.evaluate("() => { window.app.constructor.open_maskeditor = undefined; }")


def open_painter(comfy: ComfyPage, gate: Gate) -> dict[str, float]:
    """The place of the picture's middle, once the painter is open."""
    with_ours(comfy)
    edit_gate(comfy, gate)
    comfy.page.wait_for_selector(f"{PAINTER} canvas")
    comfy.settle()
    box = comfy.page.locator(f"{PAINTER} canvas").bounding_box()
    assert box is not None
    return {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}


def drag(comfy: ComfyPage, start: tuple[float, float], end: tuple[float, float]) -> None:
    comfy.page.mouse.move(*start)
    comfy.page.mouse.down()
    comfy.page.mouse.move(*end, steps=8)
    comfy.page.mouse.up()


def done(comfy: ComfyPage) -> bool:
    return bool(comfy.evaluate("() => window.edited") == "done")


def test_comfyui_s_editor_paints_a_gate_s_mask_and_leaves_nothing_behind(comfy: ComfyPage) -> None:
    gate = waiting_gate(comfy, (640, 480))
    before = editor_leftovers(comfy)
    before_menu = comfy.evaluate(
        "() => [window.app.constructor.clipspace, window.app.constructor.clipspace_return_node]"
    )
    open_editor(comfy, gate)
    paint_in_editor(comfy, 600, 450)
    press_in_editor(comfy, "Save")
    first = grey(comfy.store.gates.mask(gate.id))
    assert first.shape == (480, 640)
    assert 100 < (first > 0).sum() < first.size / 4
    open_editor(comfy, gate)
    comfy.screenshot("editor-with-mask")
    paint_in_editor(comfy, 720, 450)
    press_in_editor(comfy, "Save")
    second = grey(comfy.store.gates.mask(gate.id))
    assert (second >= first).all(), "what was painted before is still there"
    assert (second > 0).sum() > (first > 0).sum()
    assert editor_leftovers(comfy) == before
    after = comfy.evaluate("() => [window.app.constructor.clipspace, window.app.constructor.clipspace_return_node]")
    assert after == before_menu
    assert comfy.evaluate("() => Object.keys(window.app.nodeOutputs).filter((id) => Number(id) < 0)") == []


def test_comfyui_s_editor_closed_without_saving_changes_nothing(comfy: ComfyPage) -> None:
    gate = waiting_gate(comfy)
    comfy.store.gates.set_mask(gate.id, encode_png(np.full((240, 320), 90, np.uint8)))
    before = comfy.store.gates.mask(gate.id)
    open_editor(comfy, gate)
    press_in_editor(comfy, "Cancel")
    assert comfy.store.gates.mask(gate.id) == before
    assert comfy.evaluate("() => window.app.constructor.clipspace_return_node") is None


def test_a_slot_s_mask_makes_the_round_trip_exactly(comfy: ComfyPage) -> None:
    greys = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    pool = f"masks-{comfy.mode}"
    manifest = comfy.store.pools.add(pool, [(encode_png(np.full((256, 256, 3), 120, np.uint8)), "one")])
    slot = manifest.slots[-1]
    manifest = comfy.store.pools.set_mask(pool, slot.file, encode_png(greys))
    # The page's server may still be on its way to the same state.
    comfy.evaluate(START, ["slot", pool, manifest.slot(slot.file).to_json()])
    comfy.page.wait_for_selector(EDITOR, state="attached")
    comfy.page.wait_for_timeout(2500)
    press_in_editor(comfy, "Save")
    assert np.array_equal(grey(comfy.store.pools.mask(pool, slot.file)), greys)


def test_our_painter_opens_where_comfyui_s_editor_can_t_be_reached_and_saves_at_the_exact_size(
    comfy: ComfyPage,
) -> None:
    gate = waiting_gate(comfy, (333, 211))
    at = open_painter(comfy, gate)
    drag(comfy, (at["x"] - 100, at["y"]), (at["x"] + 100, at["y"]))
    comfy.screenshot("painter")
    comfy.page.keyboard.press("Enter")
    comfy.until(lambda: done(comfy), "saved")
    mask = grey(comfy.store.gates.mask(gate.id))
    assert mask.shape == (211, 333)
    assert mask[105, 166] == 255
    assert 0 < (mask > 0).sum() < mask.size / 2
    assert comfy.page.locator(PAINTER).count() == 0


def test_our_painter_shows_the_mask_that_is_there_and_saves_it_unchanged(comfy: ComfyPage) -> None:
    gate = waiting_gate(comfy, (256, 128))
    greys = np.tile(np.arange(256, dtype=np.uint8), (128, 1))
    comfy.store.gates.set_mask(gate.id, encode_png(greys))
    open_painter(comfy, gate)
    comfy.page.keyboard.press("Enter")
    comfy.until(lambda: done(comfy), "saved")
    assert np.array_equal(grey(comfy.store.gates.mask(gate.id)), greys)


def test_the_painter_s_keys_do_what_they_say_and_reach_nothing_beneath(comfy: ComfyPage) -> None:
    gate = waiting_gate(comfy, (200, 100))
    at = open_painter(comfy, gate)
    nodes = comfy.evaluate("() => (window.app.rootGraph ?? window.app.graph).nodes.length")
    keyboard = comfy.page.keyboard
    keyboard.press("x")
    keyboard.press("e")
    drag(comfy, (at["x"] - 400, at["y"]), (at["x"] + 400, at["y"]))
    keyboard.press("Control+z")
    keyboard.press("Control+y")
    keyboard.press("1")
    keyboard.press("Delete")
    keyboard.press("Control+v")
    keyboard.press("Enter")
    comfy.until(lambda: done(comfy), "saved")
    mask = grey(comfy.store.gates.mask(gate.id))
    assert (mask[0, 0], mask[50, 100]) == (255, 0), "inverted, then erased in the middle"
    assert comfy.store.gates.get(gate.id).status == "waiting", "1 is no route here"
    assert comfy.evaluate("() => (window.app.rootGraph ?? window.app.graph).nodes.length") == nodes


def test_escape_asks_only_when_something_was_painted(comfy: ComfyPage) -> None:
    gate = waiting_gate(comfy)
    at = open_painter(comfy, gate)
    comfy.page.keyboard.press("Escape")
    comfy.until(lambda: done(comfy), "closed without a question")
    at = open_painter(comfy, gate)
    drag(comfy, (at["x"], at["y"]), (at["x"] + 50, at["y"]))
    comfy.page.keyboard.press("Escape")
    question = comfy.page.locator(f"{PAINTER} [role=alertdialog]")
    question.wait_for(state="visible")
    comfy.page.keyboard.press("Escape")
    question.wait_for(state="hidden")
    assert not done(comfy), "going on is what Escape means there"
    comfy.page.keyboard.press("Escape")
    question.get_by_role("button").last.click()
    comfy.until(lambda: done(comfy), "thrown away")
    assert comfy.store.gates.mask(gate.id) is None


def test_what_can_t_be_saved_stays_in_the_painter(comfy: ComfyPage) -> None:
    gate = waiting_gate(comfy)
    comfy.console.allow("mask")
    at = open_painter(comfy, gate)
    drag(comfy, (at["x"], at["y"]), (at["x"] + 50, at["y"]))
    with comfy.offline():
        comfy.page.keyboard.press("Enter")
        comfy.page.locator(f"{PAINTER} [role=alert]").wait_for(state="visible")
    comfy.page.keyboard.press("Enter")
    comfy.until(lambda: done(comfy), "saved at the second try")
    assert grey(comfy.store.gates.mask(gate.id)).any()


def test_painting_everything_away_clears_the_mask(comfy: ComfyPage) -> None:
    gate = waiting_gate(comfy)
    comfy.store.gates.set_mask(gate.id, encode_png(np.full((240, 320), 255, np.uint8)))
    open_painter(comfy, gate)
    comfy.page.get_by_role("button", name="Clear", exact=True).click()
    comfy.page.get_by_role("button", name="Save", exact=True).click()
    comfy.until(lambda: done(comfy), "saved")
    assert comfy.store.gates.mask(gate.id) is None


@pytest.mark.parametrize("fingers", [1, 2])
def test_one_finger_paints_and_two_zoom(comfy: ComfyPage, fingers: int) -> None:
    gate = waiting_gate(comfy)
    at = open_painter(comfy, gate)
    session = comfy.page.context.new_cdp_session(comfy.page)
    scale = comfy.page.locator(".gatebus-painter-fit")
    before = scale.text_content()

    def touch(kind: str, spread: float) -> None:
        points = [{"x": at["x"] + side * spread, "y": at["y"], "id": side} for side in range(fingers)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points if kind != "touchEnd" else []})

    touch("touchStart", 20)
    for spread in (40, 60, 80, 100):
        touch("touchMove", spread)
    touch("touchEnd", 0)
    comfy.settle()
    undo = comfy.page.locator(f"{PAINTER} .gatebus-painter-undo")
    if fingers == 1:
        assert (scale.text_content(), undo.is_enabled()) == (before, True)
    else:
        assert scale.text_content() != before
        assert not undo.is_enabled(), "the first finger's dot was taken back"


def test_wheel_and_space_look_around_without_painting(comfy: ComfyPage) -> None:
    gate = waiting_gate(comfy)
    at = open_painter(comfy, gate)
    scale = comfy.page.locator(".gatebus-painter-fit")
    before = scale.text_content()
    comfy.page.mouse.move(at["x"], at["y"])
    comfy.page.mouse.wheel(0, -300)
    comfy.until(lambda: scale.text_content() != before, "zoomed")
    comfy.page.keyboard.down("Space")
    drag(comfy, (at["x"], at["y"]), (at["x"] + 120, at["y"] + 60))
    comfy.page.keyboard.up("Space")
    assert not comfy.page.locator(f"{PAINTER} .gatebus-painter-undo").is_enabled()
    comfy.page.keyboard.press("0")
    comfy.until(lambda: scale.text_content() == before, "the whole picture again")
