"""One gate full screen: decided, and on to the next."""

from __future__ import annotations

import pytest

from gates.gate.record import make_decision
from tests.page.broker_page import BrokerPage
from tests.page.gate_screen import Screen

desktop = pytest.mark.parametrize("variant", ["desktop"], indirect=True)
phone = pytest.mark.parametrize("variant", ["phone"], indirect=True)
LABELS = ("Keep it as it is", "Redo with another seed and more steps", "Upscale", "Repair the face first of all",
          "Discard", "Into the client's archive", "Crop", "Colour", "Later", "Ask Anna")  # fmt: skip


@pytest.fixture
def screen(broker_page: BrokerPage) -> Screen:
    return Screen(broker_page)


def inside(screen: Screen, selector: str) -> bool:
    """Whether every one of them lies within the window, not cut by its edges to the sides."""
    return bool(
        screen.page.evaluate(
            """selector => [...document.querySelectorAll(selector)].every((element) => {
                 const box = element.getBoundingClientRect();
                 const fits = element.scrollWidth <= element.clientWidth + 1;
                 return box.left >= 0 && box.right <= innerWidth + 0.5 && fits })""",
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


def test_the_next_gate_follows_a_decision_and_a_hasty_second_key_does_not_decide_it(screen: Screen) -> None:
    first, second, third = (screen.tab.open_gate(f"gate {n}") for n in range(3))
    screen.open(first, advance=True)
    screen.settle()
    assert screen.spoken == "Gate 1 of 3, gate 0"
    # Both at once: from key to key of Playwright's, a machine under load lets the gate settle.
    screen.page.evaluate(
        """for (const key of "12") {
            const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
            document.activeElement.dispatchEvent(event);
        }"""
    )
    screen.shows(second)
    screen.tab.until(lambda: first.decision)
    screen.page.wait_for_timeout(200)
    assert second.decision is None
    screen.settle()
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
        names = "performance.getEntriesByType('resource').map((each) => each.name).join()"
        screen.page.wait_for_function(f"{names}.includes('{waiter.gate.id}/preview')")
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
              const send = (type, x) => canvas.dispatchEvent(new PointerEvent(type, { pointerId: 7,
                pointerType: "touch", isPrimary: true, bubbles: true, cancelable: true,
                clientX: x, clientY: box.top + 60 }));
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
