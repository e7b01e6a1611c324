"""Gates that ask for more than a route, on the broker's page: images of a batch to tick, a text to edit."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from gates.gate.record import Gate, Waiter
from gates.text_picture import text_jpeg
from tests.page.broker_page import BrokerPage

desktop = pytest.mark.parametrize("variant", ["desktop"], indirect=True)
phone = pytest.mark.parametrize("variant", ["phone"], indirect=True)
TEXT = "a <b>cat</b> on a mat,\nsoft light, 猫"
PASS = ".gs-foot .gatebus-route"


class Screen:
    """The screen of a gate that asks so."""

    def __init__(self, tab: BrokerPage) -> None:
        self.tab, self.page = tab, tab.page

    def chooser(self, batch: int = 6, **more: Any) -> Waiter:
        return self.tab.open_gate("six", kind="batch", routes=1, labels=("pass",), batch=batch, **more)

    def text(self, text: str = TEXT, **more: Any) -> Waiter:
        gate = Gate(id=uuid.uuid4().hex, kind="text", title="prompt", text=text, routes=1, labels=("pass",), **more)
        return self.tab.store.gates.open(gate, text_jpeg(text))

    def open(self, waiter: Waiter, **settings: Any) -> None:
        if settings:
            self.tab.goto("#/buses")
            self.tab.set(**settings)
            self.tab.reload()
        self.tab.goto(f"#/gates/{waiter.gate.id}")
        self.page.wait_for_selector(f'.gs[data-gate="{waiter.gate.id}"][data-state="waiting"]')
        # A click just after a gate came into view is taken for one that was meant for another.
        self.page.wait_for_timeout(320)

    def ticked(self) -> list[int]:
        found = self.page.locator(".gs-answer .gatebus-tick").evaluate_all("all => all.map((each) => each.ariaChecked)")
        return [number for number, on in enumerate(found) if on == "true"]

    def until_ticked(self, *frames: int) -> None:
        self.tab.until(lambda: self.ticked() == list(frames), f"ticks {frames}")

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)


@pytest.fixture
def screen(broker_page: BrokerPage) -> Screen:
    return Screen(broker_page)


def test_images_of_a_batch_are_ticked_and_passed(screen: Screen) -> None:
    waiter = screen.chooser(note="the sharp ones")
    screen.open(waiter)
    tick = screen.page.locator(".gs-answer .gatebus-tick")
    screen.tab.until(lambda: tick.count() == 6, "all images")
    for number in (4, 1, 2, 1):
        screen.tab.press(f".gs-answer .gatebus-tick >> nth={number}")
    screen.until_ticked(2, 4)
    screen.tab.screenshot("answer-grid")
    assert screen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert "Pass 2 of 6" in screen.page.locator(PASS).inner_text()
    screen.tab.press(PASS)
    screen.tab.until(lambda: waiter.decision)
    assert (waiter.decision.chosen, waiter.decision.by) == ("2,4", "anna")
    waiter.apply()
    screen.tab.until(
        lambda: "2 of 6 images: Images 3, 5" in screen.page.locator(".gs-history").text_content(), "history"
    )


@desktop
def test_a_chooser_by_keys_alone(screen: Screen) -> None:
    waiter = screen.chooser()
    screen.open(waiter)
    screen.keys("Enter")
    screen.page.get_by_text("Tick the images that go on first").first.wait_for()
    screen.keys("1", "3", "6", "8", "3")
    screen.until_ticked(0, 5)
    screen.keys("a")
    screen.until_ticked(0, 1, 2, 3, 4, 5)
    screen.keys("a", "2")
    screen.page.locator(".gs-answer .gatebus-tick").first.focus()
    screen.keys("End", "Space", "ArrowLeft", "Space")
    screen.until_ticked(1, 4, 5)
    # One of them closely: X ticks what is seen.
    screen.keys("v")
    screen.page.wait_for_selector(f'.gs-look[data-drawn^="{waiter.gate.id} 0"]')
    screen.keys("x", ".")
    screen.tab.screenshot("answer-one")
    screen.keys("v")
    screen.until_ticked(0, 1, 4, 5)
    screen.keys("Enter")
    screen.tab.until(lambda: waiter.decision)
    assert waiter.decision.chosen == "0,1,4,5"


@desktop
def test_ticks_at_an_image_gate_leave_its_digits_to_the_routes(screen: Screen) -> None:
    waiter = screen.tab.open_gate(batch=4)
    screen.open(waiter)
    screen.keys("v")
    screen.tab.until(lambda: screen.page.locator(".gs-answer .gatebus-tick").count() == 4, "all images")
    screen.tab.press(".gs-answer .gatebus-tick >> nth=3")
    screen.until_ticked(3)
    screen.keys("2")
    screen.tab.until(lambda: waiter.decision)
    assert (waiter.decision.route, waiter.decision.chosen) == (2, "3")
    untouched = screen.tab.open_gate(batch=4)
    screen.open(untouched)
    screen.keys("1")
    screen.tab.until(lambda: untouched.decision)
    assert untouched.decision.chosen == ""


def test_many_images_are_scrolled_and_all_can_be_ticked(screen: Screen) -> None:
    waiter = screen.chooser(batch=60, size=(48, 32))
    screen.open(waiter)
    screen.tab.until(lambda: screen.page.locator(".gs-answer .gatebus-tick").count() == 60, "all images")
    last = screen.page.locator(".gs-answer .gatebus-tick").last
    last.scroll_into_view_if_needed()
    screen.tab.screenshot("answer-many")
    box = last.bounding_box()
    assert min(box["width"], box["height"]) >= 44
    screen.tab.press(".gs-answer .gatebus-tick >> nth=59")
    screen.until_ticked(59)
    screen.tab.press(PASS)
    screen.tab.until(lambda: waiter.decision)
    assert waiter.decision.chosen == "59"


def test_a_text_is_edited_and_passed(screen: Screen) -> None:
    waiter = screen.text(note="no dogs")
    screen.open(waiter)
    area = screen.page.locator(".gs-answer textarea")
    assert area.input_value() == TEXT
    screen.tab.screenshot("answer-text")
    assert not screen.page.locator(".gs-text").is_visible()
    area.fill("a dog, 1 2 3")
    assert waiter.decision is None
    screen.tab.until(lambda: "edited" in screen.page.locator(PASS).inner_text(), "what the button does")
    screen.tab.press(PASS)
    screen.tab.until(lambda: waiter.decision)
    assert waiter.decision.text == "a dog, 1 2 3"


@desktop
def test_a_text_passes_by_ctrl_enter_left_alone_or_emptied(screen: Screen) -> None:
    for typed, passed in ((None, TEXT), ("", "")):
        waiter = screen.text()
        screen.open(waiter)
        area = screen.page.locator(".gs-answer textarea")
        area.focus()
        if typed is not None:
            area.fill(typed)
        screen.keys("Control+Enter")
        screen.tab.until(lambda waiter=waiter: waiter.decision)
        assert waiter.decision.text == passed


@desktop
def test_what_was_ticked_and_typed_outlives_a_reload(screen: Screen) -> None:
    batch, text = screen.chooser(), screen.text()
    screen.open(batch)
    screen.keys("2", "5")
    screen.until_ticked(1, 4)
    screen.open(text)
    screen.page.locator(".gs-answer textarea").fill("half a sen")
    screen.tab.reload()
    screen.page.wait_for_selector(".gs-answer textarea")
    assert screen.page.locator(".gs-answer textarea").input_value() == "half a sen"
    screen.open(batch)
    screen.until_ticked(1, 4)


@desktop
def test_what_is_held_says_what_it_is_and_goes_out_whole(screen: Screen) -> None:
    batch, text = screen.chooser(), screen.text()
    screen.open(batch, hold=60)
    screen.keys("1", "Enter")
    screen.page.get_by_text("Pass (1 of 6 images)").first.wait_for()
    screen.open(text)
    screen.page.locator(".gs-answer textarea").fill("")
    screen.page.locator(".gs-answer textarea").press("Control+Enter")
    # Leaving the page sends what is held.
    screen.page.goto("about:blank")
    screen.tab.until(lambda: batch.decision and text.decision)
    assert batch.decision.chosen == "0"
    assert text.decision.text == ""


def test_the_inbox_shows_the_text_and_opens_what_is_to_be_chosen(screen: Screen) -> None:
    text, batch = screen.text(), screen.chooser()
    screen.tab.goto("#/gates")
    card = screen.page.locator(f'[data-id="{text.gate.id}"]')
    card.wait_for()
    assert TEXT in card.inner_text()
    screen.tab.screenshot("answer-inbox")
    screen.page.wait_for_timeout(700)
    screen.tab.press(f'[data-id="{batch.gate.id}"] .gi-route')
    screen.tab.sees(f"location.hash == '#/gates/{batch.gate.id}'")
    assert batch.decision is None
    screen.tab.goto("#/gates")
    screen.page.wait_for_timeout(700)
    screen.tab.press(f'[data-id="{text.gate.id}"] .gi-route')
    screen.tab.until(lambda: text.decision)
    assert text.decision.text == TEXT


@desktop
def test_the_log_tells_which_images_went_on(screen: Screen) -> None:
    waiter = screen.chooser()
    screen.open(waiter)
    screen.keys("1", "4", "Enter")
    screen.tab.until(lambda: waiter.decision)
    waiter.apply()
    screen.tab.goto("#/log")
    screen.page.get_by_text("2 of 6 images: Images 1, 4").first.wait_for()


@desktop
def test_many_decided_together_keep_what_was_ticked_and_typed(screen: Screen) -> None:
    ticked, untouched = screen.chooser(), screen.chooser()
    edited, plain = screen.text("one"), screen.text("two")
    screen.open(ticked)
    screen.keys("3")
    screen.open(edited)
    screen.page.locator(".gs-answer textarea").fill("ONE")
    screen.tab.goto("#/gates")
    screen.page.locator(f'[data-id="{plain.gate.id}"]').wait_for()
    screen.keys("Control+a")
    screen.page.get_by_text("4 selected").first.wait_for()
    screen.page.wait_for_timeout(700)
    screen.keys("1")
    screen.page.get_by_role("dialog").get_by_role("button").last.click()
    screen.page.get_by_text("1 ask which images go on").first.wait_for()
    screen.tab.until(lambda: ticked.decision and edited.decision and plain.decision)
    assert (ticked.decision.chosen, edited.decision.text, plain.decision.text) == ("2", "ONE", "two")
    assert untouched.decision is None
