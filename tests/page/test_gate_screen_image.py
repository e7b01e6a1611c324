"""A gate's image on its screen: seen closely, compared, painted on."""

from __future__ import annotations

import numpy as np
import pytest

from gates import codec
from gates.bus.record import BusMeta
from tests.page.broker_page import BrokerPage, picture
from tests.page.gate_screen import Screen

desktop = pytest.mark.parametrize("variant", ["desktop"], indirect=True)


@pytest.fixture
def screen(broker_page: BrokerPage) -> Screen:
    return Screen(broker_page)


@desktop
def test_the_preview_comes_first_and_the_whole_image_when_it_is_seen_closer(screen: Screen) -> None:
    waiter = screen.tab.open_gate(size=(2048, 1024), stored=False)
    screen.open(waiter).shows(waiter, how="preview")
    fit = screen.scale
    assert 0.3 < fit < 0.6
    screen.page.mouse.move(400, 250)
    screen.key(" ")
    assert screen.until_scale(lambda scale: scale == 1) == 1
    screen.shows(waiter, how="preview")
    waiter.store_image(codec.encode(picture("portrait0", 2048, 1024)[None], "png"))
    screen.shows(waiter, how="whole")
    screen.key(" ")
    assert screen.until_scale(lambda scale: scale < 1) == fit
    screen.page.mouse.wheel(0, -500)
    screen.until_scale(lambda scale: scale > fit * 1.5)
    screen.key("+", "+", "+", "+", "+", "+", "+", "+", "+")
    screen.until_scale(lambda scale: scale > 8)


@desktop
def test_pixels_are_told_exactly_and_drawn_as_squares(screen: Screen) -> None:
    waiter = screen.tab.open_gate(size=(96, 64))
    screen.open(waiter)
    screen.key("p")
    screen.shows(waiter, how="whole")
    box = screen.page.locator(".gs-canvas").bounding_box()
    scale = screen.scale
    assert scale > 4
    left, top = box["x"] + (box["width"] - 96 * scale) / 2, box["y"] + (box["height"] - 64 * scale) / 2
    screen.page.mouse.move(left + 10.5 * scale, top + 7.5 * scale)
    red, green, blue = np.rint(picture("portrait0", 96, 64)[7, 10] * 255).astype(int)
    expected = f"x 10  y 7  #{red:02x}{green:02x}{blue:02x} ({red}, {green}, {blue})"
    screen.tab.until(lambda: screen.page.locator(".gs-pixel").text_content() == expected, expected)
    near = [(left + 10.1 * scale, top + 7.1 * scale), (left + 10.9 * scale, top + 7.9 * scale)]
    colours = {screen.colour((x - box["x"]) / box["width"], (y - box["y"]) / box["height"]) for x, y in near}
    assert colours == {(red, green, blue)}


@desktop
def test_a_drag_moves_what_is_zoomed_and_the_whole_image_stays(screen: Screen) -> None:
    waiter = screen.tab.open_gate(size=(2048, 1024))
    screen.open(waiter)
    mouse = screen.page.mouse

    def drag() -> tuple[tuple[int, ...], tuple[int, ...]]:
        before = screen.colour(0.5, 0.5)
        mouse.move(400, 250)
        mouse.down()
        mouse.move(150, 150, steps=4)
        mouse.up()
        screen.page.wait_for_timeout(100)
        return before, screen.colour(0.5, 0.5)

    screen.shows(waiter, how="whole")
    before, after = drag()
    assert before == after
    mouse.move(10, 100)
    screen.key(" ")
    screen.until_scale(lambda scale: scale == 1)
    screen.shows(waiter, how="whole")
    before, after = drag()
    assert before != after


def publish(screen: Screen, name: str, *seeds: str, size: tuple[int, int] = (96, 64)) -> None:
    for seed in seeds:
        screen.tab.store.buses.publish(name, picture(seed, *size)[None], None, meta=BusMeta())


@desktop
def test_a_gate_is_compared_with_the_last_version_of_the_bus_that_it_publishes_to(screen: Screen) -> None:
    publish(screen, "cp1", "first", "second", size=(48, 32))
    waiter = screen.tab.open_gate("portrait", send_id="cp1")
    screen.open(waiter)
    screen.page.wait_for_selector(".gs-mode")
    own, box = screen.colour(0.8, 0.5), '.gs-look[data-other="whole"]'
    screen.key("c")
    screen.page.wait_for_selector(box)
    captions = screen.page.locator(".gs-captions span")
    assert captions.all_text_contents() == ["This gate", "cp1, version 2, 48 × 32, scaled"]
    assert screen.colour(0.8, 0.5) != own
    slider = screen.page.get_by_role("slider", name="Slider between the two")
    slider.press("End")
    screen.tab.until(lambda: screen.colour(0.8, 0.5) == own, "the other one wiped away")
    screen.key("c")
    screen.page.wait_for_selector('.gs-mode[data-mode="side"][aria-pressed="true"]')
    screen.page.locator(".gs-with").select_option(label="cp1, version 1")
    screen.tab.until(lambda: "cp1, version 1" in "".join(captions.all_text_contents()))
    screen.tab.screenshot("gate-screen-side")
    screen.key("Escape")
    screen.page.wait_for_selector('.gs-mode[data-mode="single"][aria-pressed="true"]')
    screen.tab.until(lambda: screen.colour(0.8, 0.5) == own)
    screen.page.keyboard.down("b")
    screen.tab.until(lambda: screen.colour(0.8, 0.5) != own, "the blink")
    screen.page.keyboard.up("b")
    screen.tab.until(lambda: screen.colour(0.8, 0.5) == own, "its end")


@desktop
def test_what_was_loaded_from_a_bus_is_compared_with_the_version_before(screen: Screen) -> None:
    publish(screen, "cp2", "first", "second")
    waiter = screen.tab.open_gate("portrait", get_id="cp2")
    screen.open(waiter)
    screen.key("c")
    captions = screen.page.locator(".gs-captions span")
    screen.tab.until(lambda: captions.all_text_contents() == ["This gate", "cp2, version 1"])


def test_the_images_of_a_batch_are_gone_through_and_compared(screen: Screen) -> None:
    waiter = screen.tab.open_gate("batch", batch=3)
    screen.open(waiter)
    screen.key(".")
    screen.shows(waiter, 1)
    screen.tab.press('.gs-frame[aria-label="Image 3"]')
    screen.shows(waiter, 2)
    screen.key(".", ",")
    screen.shows(waiter, 1)
    screen.tab.press(".gs-mode[data-mode=side]")
    screen.tab.until(lambda: screen.page.locator(".gs-captions span").all_text_contents() == ["This gate", "Image 1"])


def test_a_mask_is_shown_hidden_and_cleared(screen: Screen) -> None:
    waiter = screen.tab.open_gate("masked", painted=png_mask())
    screen.open(waiter)
    screen.page.wait_for_selector(".gs-opacity")
    screen.page.wait_for_timeout(300)
    masked = screen.colour(0.5, 0.5)
    screen.key("o")
    screen.tab.until(lambda: screen.colour(0.5, 0.5) != masked, "the mask hidden")
    screen.key("o")
    screen.tab.until(lambda: screen.colour(0.5, 0.5) == masked, "the mask shown")
    screen.page.get_by_role("button", name="Clear mask").click()
    screen.tab.until(lambda: not screen.tab.store.gates.get(waiter.gate.id).mask, "the mask cleared")
    screen.tab.until(lambda: screen.colour(0.5, 0.5) != masked)


def png_mask() -> bytes:
    return codec.encode_png(np.full((64, 96), 255, np.uint8), 1)


@desktop
def test_a_mask_is_painted_and_stored_before_the_decision_goes(screen: Screen) -> None:
    waiter = screen.tab.open_gate()
    screen.open(waiter)
    screen.settle()
    screen.key("m")
    screen.page.wait_for_selector(".gatebus-painter-dialog")
    screen.key("1")
    screen.page.mouse.move(500, 400)
    screen.page.mouse.down()
    screen.page.mouse.move(700, 450, steps=5)
    screen.page.mouse.up()
    screen.key("Enter")
    screen.page.wait_for_selector(".gatebus-painter-dialog", state="detached")
    assert screen.tab.store.gates.get(waiter.gate.id).mask
    assert waiter.decision is None
    screen.key("1")
    screen.tab.until(lambda: waiter.decision)
    assert waiter.decision.mask
    assert waiter.mask() is not None
