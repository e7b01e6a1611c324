"""What a page goes through: fingers, sleep, a browser that keeps nothing, another tab, the way back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.page.broker_page import BrokerPage
from tests.page.gate_screen import Screen

desktop = pytest.mark.parametrize("variant", ["desktop"], indirect=True)
phone = pytest.mark.parametrize("variant", ["phone"], indirect=True)

NO_STORAGE = """for (const name of ["localStorage", "sessionStorage"])
    Object.defineProperty(window, name, { get() { throw new DOMException("denied", "SecurityError"); } });"""


class Fingers:
    """Touches as the browser gets them from a screen: what becomes of them is the browser's."""

    def __init__(self, page: Any) -> None:
        self._page, self._cdp = page, page.context.new_cdp_session(page)

    def stroke(self, *fingers: tuple[tuple[float, float], tuple[float, float]], steps: int = 8) -> None:
        """Each finger goes from one place to another; all of them at the same time."""
        for step in range(steps + 1):
            part = step / steps
            points = [
                {"x": x + (to_x - x) * part, "y": y + (to_y - y) * part, "id": number}
                for number, ((x, y), (to_x, to_y)) in enumerate(fingers)
            ]
            self._send("touchMove" if step else "touchStart", points)
            self._page.wait_for_timeout(12)
        self._send("touchEnd", [])

    def tap(self, x: float, y: float, *, at: float | None = None) -> None:
        """``at``: when the finger went down, in seconds since the epoch, however late that arrives."""
        self._send("touchStart", [{"x": x, "y": y, "id": 0}], at)
        self._send("touchEnd", [], None if at is None else at + 0.02)

    def _send(self, kind: str, points: list[dict[str, float]], at: float | None = None) -> None:
        when = {} if at is None else {"timestamp": at}
        self._cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points, **when})


@phone
def test_a_tap_on_a_route_right_after_a_pinch_and_a_swipe_decides(broker_page: BrokerPage) -> None:
    screen, page = Screen(broker_page), broker_page.page
    waiters = [broker_page.open_gate(f"gate {number}", size=(400, 300)) for number in range(3)]
    screen.open(waiters[0], hold=0)
    screen.settle()
    box = page.locator(".gs-canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    fingers, fit = Fingers(page), screen.scale
    fingers.stroke(((x - 20, y), (x - 90, y)), ((x + 20, y), (x + 90, y)))
    screen.until_scale(lambda scale: scale > 1.5 * fit)
    fingers.stroke(((x - 120, y), (x - 2, y)), ((x + 120, y), (x + 2, y)))
    screen.until_scale(lambda scale: scale < 1.05 * fit)
    fingers.stroke(((x + 80, y), (x - 80, y)))
    screen.shows(waiters[1])
    screen.settle()
    route = page.locator(".gatebus-route", has_text="redo").bounding_box()
    fingers.tap(route["x"] + route["width"] / 2, route["y"] + route["height"] / 2)
    decision = broker_page.until(lambda: waiters[1].decision, "the decision")
    assert decision.route == 2
    assert [waiter.decision for waiter in (waiters[0], waiters[2])] == [None, None]


@phone
def test_a_double_tap_on_a_route_decides_one_gate_and_not_the_next(broker_page: BrokerPage) -> None:
    screen, page = Screen(broker_page), broker_page.page
    waiters = [broker_page.open_gate(f"gate {number}") for number in range(3)]
    screen.open(waiters[0], hold=0, advance=True)
    screen.settle()
    route = page.locator(".gatebus-route", has_text="keep").bounding_box()
    place = route["x"] + route["width"] / 2, route["y"] + route["height"] / 2
    fingers, now = Fingers(page), time.time()
    fingers.tap(*place, at=now)
    fingers.tap(*place, at=now + 0.12)
    broker_page.until(lambda: waiters[0].decision, "the decision")
    screen.shows(waiters[1])
    page.wait_for_timeout(300)
    assert [bool(waiter.decision) for waiter in waiters] == [True, False, False]


@desktop
def test_a_browser_that_keeps_nothing_decides_all_the_same(broker_page: BrokerPage) -> None:
    page = broker_page.page
    broker_page.console.allow("not kept")
    page.add_init_script(NO_STORAGE)
    waiter = broker_page.open_gate()
    broker_page.goto("#/gates")
    name = page.get_by_role("dialog", name="Who decides here?")
    name.get_by_role("textbox").fill("vera")
    name.get_by_role("button", name="OK").click()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Send a decision").select_option("0")
    page.keyboard.press("Escape")
    broker_page.press(".gi-route")
    assert broker_page.until(lambda: waiter.decision, "the decision").by == "vera"


@desktop
def test_a_page_that_slept_asks_anew_and_sends_what_was_due(broker_page: BrokerPage) -> None:
    page = broker_page.page
    page.clock.install()
    first, second = (broker_page.open_gate(f"gate {number}", stored=False) for number in range(2))
    broker_page.goto("#/gates")
    broker_page.set(hold=60)
    broker_page.reload()
    page.locator(".gi-card").first.wait_for()
    broker_page.press(".gi-route")
    page.locator(".gb-held-row").wait_for()
    streams: list[str] = []
    page.on("request", lambda request: streams.append(request.url) if "events" in request.url else None)
    page.clock.fast_forward("10:00")
    broker_page.until(lambda: first.decision, "what was due")
    broker_page.until(lambda: streams, "another stream")
    assert second.decision is None
    broker_page.ready()


@desktop
def test_the_swipe_is_set_in_the_settings_and_texts_outlive_a_reload(broker_page: BrokerPage) -> None:
    screen, page = Screen(broker_page), broker_page.page
    waiter = broker_page.open_gate()
    screen.open(waiter)
    page.locator(".gs-text").fill("brighter")
    broker_page.reload()
    screen.shows(waiter)
    assert page.locator(".gs-text").input_value() == "brighter"
    broker_page.goto("#/gates")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("A swipe decides").check()
    page.keyboard.press("Escape")
    screen.open(waiter).settle()
    assert page.locator(".gs-option", has_text="A swipe decides").locator("input").is_checked()
    screen.key("1")
    assert broker_page.until(lambda: waiter.decision, "the decision").text == "brighter"


@desktop
def test_what_is_held_takes_one_row_opens_to_all_and_hides_no_card(broker_page: BrokerPage) -> None:
    page = broker_page.page
    broker_page.goto("#/gates")
    broker_page.set(hold=60)
    for number in range(12):
        broker_page.open_gate(f"gate {number}", stored=False)
    broker_page.reload()
    page.locator(".gi-card").nth(11).wait_for(state="attached")
    for key in "121":
        page.keyboard.press(key)
    more = page.get_by_role("button", name="and 2 more")
    assert page.locator(".gb-held-row").count() == 1
    page.locator(".gi-grid").evaluate("grid => grid.scrollTop = 1e6")
    broker_page.sees(
        "Math.max(...[...document.querySelectorAll('.gi-card')].map(card => card.getBoundingClientRect().bottom))"
        " <= document.querySelector('.gb-held').getBoundingClientRect().top"
    )
    more.click()
    assert page.locator(".gb-held-row").count() == 3
    page.locator(".gb-held-row", has_text="gate 1").get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="only the last").click()
    page.get_by_role("button", name="and 1 more").wait_for()


@desktop
def test_two_tabs_tell_the_same_and_a_decision_in_one_is_seen_in_the_other(new_tab: Callable[[], BrokerPage]) -> None:
    one, other = new_tab(), new_tab()
    waiter = one.open_gate("shared", stored=False)
    for tab in (one, other):
        tab.goto("#/gates")
        tab.page.get_by_text("shared").first.wait_for()
    one.page.bring_to_front()
    one.press(".gi-route")
    one.until(lambda: waiter.decision, "the decision")
    other.page.bring_to_front()
    other.page.get_by_text("keep, decided by anna").first.wait_for()
