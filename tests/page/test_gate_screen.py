"""One gate full screen: seen closely, compared, decided, and on to the next."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gates import codec
from gates.bus.record import BusMeta
from gates.gate.record import make_decision
from tests.page.broker_page import BrokerPage, picture

desktop = pytest.mark.parametrize("variant", ["desktop"], indirect=True)
phone = pytest.mark.parametrize("variant", ["phone"], indirect=True)
LABELS = ("Keep it as it is", "Redo with another seed and more steps", "Upscale", "Repair the face before anything else",
          "Discard", "Into the client's archive", "Crop", "Colour", "Later", "Ask Anna")  # fmt: skip


class Screen:
    """The screen of a gate."""

    def __init__(self, tab: BrokerPage) -> None:
        self.tab, self.page = tab, tab.page

    def open(self, waiter: Any, **settings: Any) -> Screen:
        """Shows that gate, with those settings of the browser."""
        if settings:
            self.tab.goto("#/buses")
            self.tab.set(**settings)
            self.tab.reload()
        self.tab.goto(f"#/gates/{waiter.gate.id}")
        return self.shows(waiter)

    def shows(self, waiter: Any, frame: int = 0, how: str = "") -> Screen:
        """Waits until the gate's image is seen; ``how``: ``whole`` or ``preview``."""
        self.page.wait_for_selector(f'.gs-look[data-drawn^="{waiter.gate.id} {frame} {how}"]')
        return self

    def until_scale(self, condition: Callable[[float], bool]) -> float:
        self.tab.until(lambda: condition(self.scale), "another zoom")
        return self.scale

    @property
    def scale(self) -> float:
        return float(self.page.locator(".gs-look").get_attribute("data-scale") or 0)

    @property
    def state(self) -> str:
        return str(self.page.locator(".gs").get_attribute("data-state"))

    @property
    def spoken(self) -> str:
        return str(self.page.locator(".gs-spoken").text_content())

    def settle(self) -> None:
        """Until a gate that has just come can be decided."""
        self.page.wait_for_timeout(320)

    def key(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def colour(self, x: float, y: float) -> tuple[int, ...]:
        """Of what is seen of the image's place, at those parts of its width and height."""
        box = self.page.locator(".gs-canvas").bounding_box()
        clip = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "width": 2, "height": 2}
        return Image.open(io.BytesIO(self.page.screenshot(clip=clip))).convert("RGB").getpixel((0, 0))


@pytest.fixture
def screen(broker_page: BrokerPage) -> Screen:
    return Screen(broker_page)


def inside(screen: Screen, selector: str) -> bool:
    """Whether every one of them lies within the window, not cut by its edges to the sides."""
    return bool(
        screen.page.evaluate(
            """selector => [...document.querySelectorAll(selector)].every((element) => {
                 const box = element.getBoundingClientRect();
                 return box.left >= 0 && box.right <= innerWidth + 0.5 && element.scrollWidth <= element.clientWidth + 1 })""",
            selector,
        )
    )


def test_a_gate_is_shown_with_all_that_is_known_and_decided_by_its_button(screen: Screen) -> None:
    waiter = screen.tab.open_gate("portrait", routes=10, labels=LABELS, note="Check the hands.", node_id="12:3")
    screen.open(waiter)
    for text in ("portrait", "Check the hands.", *LABELS):
        assert screen.page.get_by_text(text, exact=True).first.is_visible(), text
    assert inside(screen, ".gs .gatebus-route")
    assert inside(screen, ".gs-foot")
    assert screen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    screen.tab.screenshot("gate-screen")
    screen.settle()
    screen.tab.press('.gatebus-route:has-text("Ask Anna")')
    screen.tab.until(lambda: waiter.decision)
    assert (waiter.decision.route, waiter.decision.by) == (10, "anna")
    waiter.apply()
    screen.tab.until(lambda: screen.state == "applied")
    assert "Ask Anna, decided by anna" in str(screen.page.locator(".gs-state").text_content())


@desktop
def test_a_text_goes_with_the_decision_and_digits_typed_into_it_decide_nothing(screen: Screen) -> None:
    waiter = screen.tab.open_gate()
    screen.open(waiter)
    screen.settle()
    screen.key("t")
    screen.page.keyboard.type("take 2, brighter")
    assert waiter.decision is None
    screen.key("Escape", "2")
    screen.tab.until(lambda: waiter.decision)
    assert (waiter.decision.route, waiter.decision.text) == (2, "take 2, brighter")


@desktop
def test_the_key_0_is_route_10_and_a_digit_beyond_the_routes_is_nothing(screen: Screen) -> None:
    waiter = screen.tab.open_gate(routes=10, labels=LABELS)
    screen.open(waiter)
    screen.settle()
    screen.key("0")
    screen.tab.until(lambda: waiter.decision)
    assert waiter.decision.route == 10
    other = screen.tab.open_gate("two")
    screen.open(other)
    screen.settle()
    screen.key("3")
    screen.page.wait_for_timeout(300)
    assert other.decision is None


def test_stop_asks_first(screen: Screen) -> None:
    waiter = screen.tab.open_gate()
    screen.open(waiter)
    screen.settle()
    screen.tab.press(".gs-stop")
    screen.tab.press('dialog .gp-button:has-text("Cancel")')
    screen.page.wait_for_timeout(200)
    assert waiter.decision is None
    screen.tab.press(".gs-stop")
    screen.tab.press('dialog .gp-button:has-text("Stop")')
    screen.tab.until(lambda: waiter.decision)
    assert waiter.decision.kind == "cancel"


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


def test_the_next_gate_follows_a_decision_and_a_hasty_second_key_does_not_decide_it(screen: Screen) -> None:
    first, second, third = (screen.tab.open_gate(f"gate {n}") for n in range(3))
    screen.open(first, advance=True)
    screen.settle()
    assert screen.spoken == "Gate 1 of 3, gate 0"
    screen.key("1", "2")
    screen.shows(second)
    screen.tab.until(lambda: first.decision)
    screen.page.wait_for_timeout(200)
    assert second.decision is None
    screen.key("2")
    screen.shows(third)
    screen.settle()
    screen.key("2")
    screen.tab.until(lambda: third.decision)
    assert (first.decision.route, second.decision.route, third.decision.route) == (1, 2, 2)
    screen.tab.until(lambda: screen.spoken == "Every gate is decided")


@desktop
def test_arrows_go_through_the_gates_and_the_way_back_leads_to_the_inbox(screen: Screen) -> None:
    first, second, third = (screen.tab.open_gate(f"gate {n}") for n in range(3))
    screen.tab.goto("#/gates")
    screen.page.evaluate(f"location.hash = '#/gates/{second.gate.id}'")
    screen.shows(second)
    screen.key("ArrowRight")
    screen.shows(third)
    screen.key("ArrowRight", "j")
    screen.shows(third)
    screen.key("k", "ArrowLeft")
    screen.shows(first)
    assert screen.page.title() == "(3) gate 0 · gatebus"
    assert screen.spoken == "Gate 1 of 3, gate 0"
    assert screen.page.locator(".gs-canvas:focus").count() == 1
    screen.page.go_back()
    screen.page.wait_for_selector(".gs", state="detached")
    assert screen.page.url.endswith("#/gates")


@desktop
def test_the_next_gates_are_loaded_ahead(screen: Screen) -> None:
    waiters = [screen.tab.open_gate(f"gate {n}", size=(1024, 768)) for n in range(6)]
    screen.open(waiters[0], advance=True)
    for waiter in waiters[1:4]:
        seen = f"performance.getEntriesByType('resource').some((each) => each.name.includes('{waiter.gate.id}/preview'))"
        screen.page.wait_for_function(seen)
    screen.page.wait_for_timeout(500)
    spent = screen.page.evaluate(
        """next => new Promise((done) => {
          const look = document.querySelector(".gs-look");
          let start = 0;
          new MutationObserver(() => look.dataset.drawn.startsWith(next) && done(performance.now() - start))
            .observe(look, { attributes: true, attributeFilter: ["data-drawn"] });
          addEventListener("keydown", () => (start = performance.now()), { capture: true, once: true });
          setTimeout(() => dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" })), 0);
        })""",
        waiters[1].gate.id,
    )
    print(f"the next image is drawn {spent:.1f} ms after the key")
    entries = screen.page.evaluate("performance.getEntriesByType('resource').map((each) => each.name)")
    assert sum(f"{waiters[1].gate.id}/preview" in entry for entry in entries) == 1


def test_a_gate_decided_elsewhere_says_who_and_takes_nothing_more(screen: Screen) -> None:
    waiter = screen.tab.open_gate()
    screen.open(waiter)
    screen.tab.store.gates.decide(waiter.gate.id, make_decision("route", 2, by="Bo"))
    screen.tab.until(lambda: screen.state == "decided")
    assert "redo, decided by Bo" in str(screen.page.locator(".gs-state").text_content())
    assert "not carried out yet" in str(screen.page.locator(".gs-state").text_content())
    assert screen.page.locator(".gatebus-route[data-open]").count() == 0
    assert screen.page.locator('.gatebus-route[aria-pressed="true"]').text_content() == "2redo"


def test_a_gate_that_is_not_known_is_said_to_be_so(screen: Screen) -> None:
    screen.tab.console.allow("404")
    screen.tab.goto(f"#/gates/{'0' * 32}")
    screen.page.wait_for_selector(".gs-missing a")
    assert screen.state == "missing"


@phone
def test_a_swipe_goes_on_or_decides_as_it_is_set(screen: Screen) -> None:
    first, second = (screen.tab.open_gate(f"gate {n}", size=(300, 400)) for n in range(2))
    screen.open(first)

    def swipe(by: int) -> None:
        screen.page.evaluate(
            """by => { const canvas = document.querySelector(".gs-canvas"), box = canvas.getBoundingClientRect();
              canvas.setPointerCapture = () => undefined;
              const send = (type, x) => canvas.dispatchEvent(new PointerEvent(type, { pointerId: 7, pointerType: "touch",
                isPrimary: true, bubbles: true, cancelable: true, clientX: x, clientY: box.top + 60 }));
              send("pointerdown", 180);
              for (let step = 1; step <= 5; step += 1) send("pointermove", 180 + by * step / 5);
              send("pointerup", 180 + by); }""",
            by,
        )

    swipe(-40)
    screen.page.wait_for_timeout(200)
    screen.shows(first)
    swipe(-120)
    screen.shows(second)
    swipe(120)
    screen.shows(first)
    screen.open(first, swipe="decide")
    screen.settle()
    swipe(120)
    screen.tab.until(lambda: first.decision)
    assert first.decision.route == 1


@phone
def test_a_phone_on_its_side_has_image_and_routes_beside_each_other(screen: Screen) -> None:
    waiter = screen.tab.open_gate("portrait", routes=10, labels=LABELS, note="Check the hands.")
    screen.page.set_viewport_size({"width": 740, "height": 360})
    screen.open(waiter)
    look, routes = (screen.page.locator(each).bounding_box() for each in (".gs-look", ".gatebus-routes"))
    assert routes["x"] >= look["x"] + look["width"] - 1
    assert look["height"] > 150
    assert inside(screen, ".gs .gatebus-route")
    screen.tab.screenshot("gate-screen-landscape")
    screen.settle()
    screen.tab.press('.gatebus-route:has-text("Ask Anna")')
    screen.tab.until(lambda: waiter.decision)
