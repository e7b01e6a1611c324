"""The inbox: what waits is seen, filtered and decided where it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gates.gate.record import make_decision
from gates.store import open_store
from tests.page.broker_page import BrokerPage, Studio

desktop = pytest.mark.parametrize("variant", ["desktop"], indirect=True)


def titles(broker_page: BrokerPage) -> list[str]:
    """Of the cards that wait, in the order that Tab takes."""
    return list(broker_page.page.locator(".gi-card:not(.gi-gone) .gi-title").all_text_contents())


def shown(broker_page: BrokerPage, *expected: str) -> None:
    broker_page.until(lambda: titles(broker_page) == list(expected), f"{expected}, there is {titles(broker_page)}")


def cursor(broker_page: BrokerPage) -> str:
    """The title of the card that has the focus."""
    return str(broker_page.page.evaluate("document.activeElement.querySelector?.('.gi-title')?.textContent ?? ''"))


def card(broker_page: BrokerPage, title: str) -> Any:
    return broker_page.page.locator(".gi-card", has=broker_page.page.locator(f".gi-title:text-is('{title}')"))


def decided(waiter: Any) -> Callable[[], Any]:
    return lambda: waiter.decision


def test_every_waiting_gate_has_a_card_with_its_picture_and_routes(broker_page: BrokerPage) -> None:
    broker_page.open_gate("portrait", size=(640, 480), note="left eye", send_id="cp1")
    broker_page.open_gate("landscape", size=(900, 400), labels=("keep", "redo", "upscale"), routes=3, batch=4)
    broker_page.open_gate("deadline", size=(300, 600), timeout=3600.0, timeout_route=1)
    broker_page.goto("#/gates")
    page = broker_page.page
    shown(broker_page, "portrait", "landscape", "deadline")
    broker_page.sees("[...document.querySelectorAll('.gi-card img')].every(img => img.naturalWidth)")
    broker_page.screenshot("inbox")
    assert page.title() == "(3) Gates · gatebus"
    first = card(broker_page, "portrait")
    assert "flux.json · studio" in first.inner_text()
    assert "left eye" in first.inner_text()
    assert re.search(r"Waiting \d+ s", first.inner_text())
    assert "×4" in card(broker_page, "landscape").inner_text()
    assert re.search(r"(59|1 h).* left, then keep", card(broker_page, "deadline").inner_text())
    names = card(broker_page, "landscape").locator(".gi-route").all_inner_texts()
    assert [" ".join(name.split()) for name in names] == ["1 keep", "2 redo", "3 upscale"]


def test_a_route_decides_the_gate_which_fades_with_who_decided(broker_page: BrokerPage) -> None:
    waiter = broker_page.open_gate("portrait")
    other = broker_page.open_gate("landscape")
    broker_page.goto("#/gates")
    broker_page.press(".gi-card:has-text('portrait') .gi-route:has-text('redo')")
    assert broker_page.until(decided(waiter), "the decision").route == 2
    assert waiter.decision.by == "anna"
    gone = card(broker_page, "portrait")
    broker_page.until(lambda: "redo, decided by anna" in gone.inner_text(), "who decided")
    broker_page.until(lambda: "gi-gone" in gone.get_attribute("class"), "it fades")
    broker_page.screenshot("decided")
    shown(broker_page, "landscape")
    broker_page.page.mouse.move(5, 5)
    gone.wait_for(state="detached")
    assert other.decision is None


def test_a_decision_is_held_and_can_be_undone_where_it_was_made(broker_page: BrokerPage) -> None:
    waiter = broker_page.open_gate("portrait")
    broker_page.goto("#/gates")
    broker_page.set(hold=5)
    broker_page.reload()
    broker_page.press(".gi-card .gi-route")
    broker_page.page.get_by_text("keep: held").wait_for()
    broker_page.screenshot("held")
    broker_page.press(".gi-card .gi-word button")
    broker_page.page.get_by_text("keep: held").wait_for(state="detached")
    assert waiter.decision is None
    assert broker_page.store.gates.get(waiter.gate.id).decision is None


def test_keys_alone_move_open_and_decide(broker_page: BrokerPage) -> None:
    if broker_page.touch:
        pytest.skip("a phone has no keys")
    waiters = [broker_page.open_gate(f"gate{number}") for number in range(12)]
    broker_page.goto("#/gates")
    shown(broker_page, *(f"gate{number}" for number in range(12)))
    keys = broker_page.page.keyboard
    # Skip link, brand, places, ... down to the one card that Tab reaches.
    for _ in range(30):
        keys.press("Tab")
        if cursor(broker_page):
            break
    assert cursor(broker_page) == "gate0"
    keys.press("ArrowRight")
    assert cursor(broker_page) == "gate1"
    keys.press("2")
    assert broker_page.until(decided(waiters[1])).route == 2
    broker_page.until(lambda: cursor(broker_page) == "gate2", "the next one has the focus")
    keys.press("End")
    assert cursor(broker_page) == "gate11"
    keys.press("Home")
    assert cursor(broker_page) == "gate0"
    keys.press("ArrowDown")
    below = cursor(broker_page)
    assert below not in ("gate0", "gate1")
    keys.press("Enter")
    number = int(below.removeprefix("gate"))
    broker_page.sees(f"location.hash == '#/gates/{waiters[number].gate.id}'")
    broker_page.page.go_back()
    broker_page.until(lambda: cursor(broker_page) == below, "the gate that was open has the focus")
    assert [waiter.decision is None for waiter in waiters].count(False) == 1


def test_a_filter_shows_what_it_says_and_stands_in_the_address(broker_page: BrokerPage) -> None:
    broker_page.open_gate("one", workflow="flux.json", send_id="cp1")
    broker_page.open_gate("two", workflow="sdxl.json", get_id="cp1")
    broker_page.open_gate("three", workflow="sdxl.json", note="hands")
    broker_page.goto("#/gates")
    shown(broker_page, "one", "two", "three")
    page = broker_page.page
    if broker_page.touch:
        broker_page.press(".gi-fold")
    page.get_by_label("Workflow").select_option(label="sdxl.json (2)")
    shown(broker_page, "two", "three")
    assert page.evaluate("location.hash") == "#/gates?workflow=sdxl.json"
    page.get_by_role("searchbox").fill("HAND")
    shown(broker_page, "three")
    assert page.locator(".gi-count").inner_text() == "1 of 3"
    broker_page.screenshot("filter")
    address = page.url
    page.get_by_role("searchbox").fill("nowhere")
    page.get_by_role("heading", name="Nothing passes the filter").wait_for()
    broker_page.screenshot("filtered-out")
    broker_page.press(".gi-empty button")
    shown(broker_page, "one", "two", "three")
    page.goto("about:blank")
    page.goto(address)
    broker_page.ready()
    shown(broker_page, "three")
    page.evaluate("location.hash = '#/gates?bus=cp1'")
    shown(broker_page, "one", "two")


def test_new_gates_do_not_move_what_is_seen(broker_page: BrokerPage) -> None:
    for number in range(40):
        broker_page.open_gate(f"old{number}", stored=False)
    broker_page.goto("#/gates")
    broker_page.set(order="newest")
    broker_page.reload()
    page = broker_page.page
    shown_now = (
        "[...document.querySelectorAll('.gi-card')].map(card => [card.dataset.id, card.getBoundingClientRect().y])"
    )
    page.wait_for_selector(".gi-card")
    page.evaluate("document.querySelector('.gi-grid').scrollTop = 700")
    page.wait_for_timeout(300)
    before = page.evaluate(shown_now)
    for number in range(3):
        broker_page.open_gate(f"new{number}", stored=False)
    pill = page.get_by_role("button", name="3 new")
    pill.wait_for()
    assert page.evaluate(shown_now) == before
    broker_page.screenshot("pill")
    broker_page.press(".gi-pill")
    broker_page.until(lambda: titles(broker_page)[0] == "new2", "the newest comes first")
    assert pill.is_hidden()


def test_a_gate_decided_elsewhere_keeps_its_place_while_somebody_acts(broker_page: BrokerPage) -> None:
    waiters = [broker_page.open_gate(f"gate{number}") for number in range(4)]
    broker_page.goto("#/gates")
    shown(broker_page, "gate0", "gate1", "gate2", "gate3")
    page = broker_page.page
    place = card(broker_page, "gate2").bounding_box()
    broker_page.store.gates.decide(waiters[0].gate.id, make_decision("route", 1, by="bert"))
    gone = card(broker_page, "gate0")
    broker_page.until(lambda: "decided by bert" in gone.inner_text(), "who decided")
    for step in range(25):
        # A hand that moves: nothing moves under it.
        page.mouse.move(200 + step, 300)
        page.wait_for_timeout(200)
        assert card(broker_page, "gate2").bounding_box() == place
    page.mouse.move(5, 5)
    gone.wait_for(state="detached")
    assert card(broker_page, "gate2").bounding_box() != place


def test_a_key_never_falls_on_the_gate_that_took_anothers_place(broker_page: BrokerPage) -> None:
    if broker_page.touch:
        pytest.skip("a phone has no keys")
    waiters = [broker_page.open_gate(f"gate{number}") for number in range(3)]
    broker_page.goto("#/gates")
    shown(broker_page, "gate0", "gate1", "gate2")
    card(broker_page, "gate0").focus()
    broker_page.store.gates.decide(waiters[0].gate.id, make_decision("route", 1, by="bert"))
    broker_page.page.locator(".gi-gone").wait_for()
    broker_page.page.keyboard.press("2")
    broker_page.page.get_by_text("This gate waits no longer").wait_for()
    assert [waiter.decision is None for waiter in waiters[1:]] == [True, True]


def test_only_what_is_in_view_is_in_the_page(broker_page: BrokerPage) -> None:
    for number in range(300):
        broker_page.open_gate(f"gate{number}", size=(24, 16), stored=False)
    broker_page.goto("#/gates")
    page = broker_page.page
    page.wait_for_selector(".gi-card")
    assert page.locator(".gi-count").inner_text() == "300 waiting"
    assert page.locator(".gi-card").count() < 40
    page.evaluate("document.querySelector('.gi-grid').scrollTop = 1e9")
    card(broker_page, "gate299").wait_for()
    assert page.locator(".gi-card").count() < 40
    assert page.locator(".gi-card").last.get_attribute("aria-posinset") == "300"


def test_a_contact_sheet_is_gone_through_by_digits(broker_page: BrokerPage) -> None:
    if broker_page.touch:
        pytest.skip("a phone has no keys")
    waiters = [broker_page.open_gate(f"gate{number}") for number in range(30)]
    broker_page.goto("#/gates")
    page = broker_page.page
    page.get_by_role("button", name="Contact sheet").click()
    broker_page.until(lambda: len(titles(broker_page)) == 30, "all at once")
    broker_page.screenshot("contact-sheet")
    card(broker_page, "gate0").focus()
    for key in "1221":
        page.keyboard.press(key)
    routes = [1, 2, 2, 1]
    broker_page.until(lambda: all(waiter.decision for waiter in waiters[:4]), "four decisions")
    assert [waiter.decision.route for waiter in waiters[:4]] == routes
    assert not any(waiter.decision for waiter in waiters[4:])
    assert cursor(broker_page) == "gate4"


def test_an_orphaned_gate_is_marked_and_still_decided(broker_page: BrokerPage, tmp_path: Path) -> None:
    settings = replace(broker_page.broker.settings, instance="lost", lease=1.0)
    store = open_store(settings, tmp_path / "lost", tmp_path / "lost-state")
    lost = Studio(store).open_gate("left alone")
    # As a process that was killed: nothing is withdrawn, the lease just ends.
    owned = store.gates._owned  # type: ignore[attr-defined]
    owned._closed.set()
    owned._wake.set()
    owned._thread.join()
    broker_page.goto("#/gates")
    broker_page.page.get_by_role("img", name="Its ComfyUI is gone").wait_for()
    broker_page.screenshot("orphaned")
    broker_page.press(".gi-card .gi-route")
    broker_page.until(lambda: broker_page.store.gates.get(lost.gate.id).decision, "the decision")


def test_an_empty_inbox_says_what_to_do(broker_page: BrokerPage) -> None:
    broker_page.goto("#/gates")
    broker_page.page.get_by_role("heading", name="No gate waits").wait_for()
    assert "GATEBUS_STORE_URL" in broker_page.page.locator(".gi-empty").inner_text()
    broker_page.screenshot("empty")
    broker_page.open_gate("first")
    shown(broker_page, "first")


@desktop
def test_a_flood_of_words_from_a_workflow_stays_text(broker_page: BrokerPage) -> None:
    broker_page.open_gate("<img src=x onerror=alert(1)>", note="<b>bold</b>" * 20, labels=("<i>keep</i>", "x" * 200))
    broker_page.goto("#/gates")
    broker_page.page.get_by_text("<img src=x onerror=alert(1)>").first.wait_for()
    assert broker_page.page.locator(".gi-card b, .gi-card i").count() == 0
    box = broker_page.page.locator(".gi-card").bounding_box()
    for route in broker_page.page.locator(".gi-route").all():
        assert route.bounding_box()["width"] <= box["width"]
