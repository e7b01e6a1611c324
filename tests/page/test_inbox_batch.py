"""Many gates at once: selected, routed together, told how it went."""

from __future__ import annotations

from typing import Any

import pytest

from gates.gate.record import make_decision
from tests.page.broker_page import BrokerPage

desktop = pytest.mark.parametrize("variant", ["desktop"], indirect=True)


def select(broker_page: BrokerPage, *titles: str) -> None:
    for title in titles:
        box = broker_page.page.get_by_label(f"Select {title}", exact=True)
        broker_page.page.locator(".gi-check", has=box).click()


def open_gates(broker_page: BrokerPage, count: int, **more: Any) -> list[Any]:
    waiters = [broker_page.open_gate(f"gate{number}", stored=False, **more) for number in range(count)]
    broker_page.goto("#/gates")
    broker_page.page.locator(".gi-card").first.wait_for()
    broker_page.until(lambda: broker_page.page.locator(".gi-count").inner_text() == f"{count} waiting", "all gates")
    return waiters


def test_selected_gates_are_routed_together_after_a_question(broker_page: BrokerPage) -> None:
    waiters = open_gates(broker_page, 5)
    page = broker_page.page
    select(broker_page, "gate0")
    page.get_by_text("1 selected").wait_for()
    page.get_by_role("button", name="Select all 5").click()
    page.get_by_text("5 selected").wait_for()
    broker_page.screenshot("selected")
    page.locator(".gi-batch .gi-route", has_text="redo").click()
    dialog = page.get_by_role("dialog")
    assert "Route 5 gates to redo?" in dialog.inner_text()
    broker_page.screenshot("question")
    # Somebody else was faster at one.
    broker_page.store.gates.decide(waiters[3].gate.id, make_decision("route", 1, by="bert"))
    dialog.get_by_role("button", name="Route 5").click()
    page.get_by_text("4 routed to redo").wait_for()
    page.get_by_text("1 decided already by bert").wait_for()
    broker_page.screenshot("result")
    assert [waiter.decision.route for waiter in waiters] == [2, 2, 2, 1, 2]
    assert {waiter.decision.by for waiter in waiters} == {"anna", "bert"}
    broker_page.console.allow("409")


def test_what_is_held_together_is_undone_together(broker_page: BrokerPage) -> None:
    broker_page.goto("#/gates")
    broker_page.set(hold=5)
    waiters = open_gates(broker_page, 3)
    broker_page.reload()
    page = broker_page.page
    select(broker_page, "gate0", "gate2")
    page.locator(".gi-batch .gi-route", has_text="keep").click()
    page.get_by_role("button", name="Route 2").click()
    page.get_by_text("2 gates go to keep in").wait_for()
    broker_page.screenshot("batch-held")
    page.locator(".gb-batch").get_by_role("button", name="Undo").click()
    page.get_by_text("2 gates wait on; nothing was sent").wait_for()
    page.wait_for_timeout(300)
    assert [broker_page.store.gates.get(waiter.gate.id).decision for waiter in waiters] == [None] * 3


def test_only_routes_that_all_have_are_offered_and_other_names_are_told(broker_page: BrokerPage) -> None:
    broker_page.open_gate("two routes", labels=("keep", "redo"))
    broker_page.open_gate("three routes", routes=3, labels=("keep", "fix", "upscale"))
    broker_page.goto("#/gates")
    page = broker_page.page
    select(broker_page, "two routes", "three routes")
    offered = page.locator(".gi-batch .gi-route")
    assert [" ".join(text.split()) for text in offered.all_inner_texts()] == ["1 keep", "2 redo / fix"]
    offered.last.click()
    text = page.get_by_role("dialog").inner_text()
    assert "redo: 1" in text
    assert "fix: 1" in text
    broker_page.screenshot("labels-differ")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").wait_for(state="detached")
    assert not any(gate.decision for gate in broker_page.store.gates.records())


def test_selected_gates_are_stopped_together(broker_page: BrokerPage) -> None:
    waiters = open_gates(broker_page, 2)
    select(broker_page, "gate0", "gate1")
    broker_page.page.locator(".gi-batch").get_by_role("button", name="Stop").click()
    broker_page.page.get_by_role("button", name="Stop 2").click()
    broker_page.page.get_by_text("2 stopped").wait_for()
    assert {waiter.decision.kind for waiter in waiters} == {"cancel"}


def test_ctrl_shift_and_keys_select_as_in_a_file_browser(broker_page: BrokerPage) -> None:
    if broker_page.touch:
        pytest.skip("a phone has no keys")
    waiters = open_gates(broker_page, 8)
    page = broker_page.page
    pictures = page.locator(".gi-picture")
    pictures.nth(1).click(modifiers=["Control"])
    pictures.nth(5).click(modifiers=["Shift"])
    page.get_by_text("5 selected").wait_for()
    pictures.nth(3).click(modifiers=["Control"])
    page.get_by_text("4 selected").wait_for()
    page.keyboard.press("Escape")
    page.locator(".gi-batch").wait_for(state="hidden")
    page.keyboard.press("Control+a")
    page.get_by_text("8 selected").wait_for()
    page.keyboard.press("2")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Enter")
    page.get_by_text("8 routed to redo").wait_for()
    assert [waiter.decision.route for waiter in waiters] == [2] * 8


def test_a_long_press_selects_and_then_taps_do(broker_page: BrokerPage) -> None:
    if not broker_page.touch:
        pytest.skip("a mouse has ctrl and shift")
    open_gates(broker_page, 3)
    page = broker_page.page
    page.evaluate(
        """() => {
            const picture = document.querySelector(".gi-picture");
            const { x, y } = picture.getBoundingClientRect();
            const at = { clientX: x + 60, clientY: y + 60, bubbles: true };
            picture.dispatchEvent(new PointerEvent("pointerdown", { pointerType: "touch", pointerId: 7, ...at }));
        }"""
    )
    page.get_by_text("1 selected").wait_for()
    page.evaluate("window.dispatchEvent(new PointerEvent('pointerup', {pointerType: 'touch', pointerId: 7}))")
    page.locator(".gi-picture").nth(1).tap()
    page.get_by_text("2 selected").wait_for()
    broker_page.screenshot("taps")
    assert page.evaluate("location.hash") == "#/gates"


def test_what_did_not_arrive_is_told_and_sent_again(broker_page: BrokerPage) -> None:
    waiters = open_gates(broker_page, 3)
    broker_page.console.allow("503|Failed to load resource")
    page = broker_page.page
    page.route("**/route", lambda route: route.fulfill(status=503, json={"error": {"message": "away"}}))
    select(broker_page, "gate0", "gate1")
    page.locator(".gi-batch .gi-route", has_text="keep").click()
    page.get_by_role("button", name="Route 2").click()
    page.get_by_text("2 not sent: away").wait_for()
    broker_page.screenshot("batch-unknown")
    page.unroute("**/route")
    page.locator(".gb-batch").get_by_role("button", name="Try again").click()
    page.get_by_text("2 routed to keep").wait_for()
    assert [bool(waiter.decision) for waiter in waiters] == [True, True, False]


def hold_together(broker_page: BrokerPage, count: int) -> list[Any]:
    """That many gates, all of them held for long."""
    broker_page.goto("#/buses")
    broker_page.set(hold=60)
    broker_page.reload()
    waiters = open_gates(broker_page, count)
    page = broker_page.page
    select(broker_page, "gate0")
    page.get_by_role("button", name=f"Select all {count}").click()
    page.locator(".gi-batch .gi-route", has_text="redo").click()
    page.get_by_role("button", name=f"Route {count}").click()
    page.get_by_text(f"{count} gates go to redo in").wait_for()
    return waiters


def test_what_is_held_together_is_seen_and_undone_at_every_place(broker_page: BrokerPage) -> None:
    waiters = hold_together(broker_page, 3)
    page = broker_page.page
    page.goto(f"{broker_page.url}/#/gates/{waiters[0].gate.id}")
    page.locator(".gs").wait_for()
    broker_page.screenshot("batch-on-the-screen")
    page.goto(f"{broker_page.url}/#/pools")
    if broker_page.touch:
        page.locator(".gb-batch").get_by_role("button", name="Undo").tap()
    else:
        page.keyboard.press("u")
    page.get_by_text("3 gates wait on; nothing was sent").wait_for()
    assert not any(waiter.decision for waiter in waiters)


@desktop
def test_a_page_that_is_closed_sends_what_it_holds_together(broker_page: BrokerPage) -> None:
    waiters = hold_together(broker_page, 300)
    other = broker_page.page.context.new_page()
    broker_page.page.close(run_before_unload=True)
    broker_page.page = other
    broker_page.until(lambda: all(waiter.decision for waiter in waiters), "all decisions")
    assert {waiter.decision.route for waiter in waiters} == {2}


@desktop
def test_a_page_that_is_reloaded_sends_what_it_holds_together_once(broker_page: BrokerPage) -> None:
    waiters = hold_together(broker_page, 3)
    broker_page.reload()
    broker_page.until(lambda: all(waiter.decision for waiter in waiters), "all decisions")
    broker_page.until(lambda: broker_page.page.evaluate("sessionStorage.getItem('gatebus.batches')") is None)
    log = broker_page.page.evaluate("fetch('gatebus/decisions').then(answer => answer.json())")
    assert sorted(each["gate"] for each in log["decisions"]) == sorted(waiter.gate.id for waiter in waiters)


@desktop
def test_a_tab_that_crashed_goes_on_with_what_it_held_together(broker_page: BrokerPage) -> None:
    waiters = hold_together(broker_page, 3)
    page = broker_page.page
    kept = page.evaluate("sessionStorage.getItem('gatebus.batches')")
    # What a crash leaves: the tab's storage, and nothing sent.
    page.keyboard.press("u")
    page.locator(".gb-batch").wait_for(state="detached")
    page.evaluate("kept => sessionStorage.setItem('gatebus.batches', kept)", kept)
    broker_page.reload()
    page.get_by_text("3 gates go to redo in").wait_for()
    page.locator(".gb-batch").get_by_role("button", name="Send now").click()
    broker_page.until(lambda: all(waiter.decision for waiter in waiters), "all decisions")


@desktop
def test_another_choice_about_one_of_many_takes_it_out_and_two_batches_go_their_own_ways(
    broker_page: BrokerPage,
) -> None:
    waiters = hold_together(broker_page, 4)
    page = broker_page.page
    select(broker_page, "gate0", "gate1")
    page.locator(".gi-batch .gi-route", has_text="keep").click()
    page.get_by_role("button", name="Route 2").click()
    page.get_by_text("2 gates go to keep in").wait_for()
    page.get_by_text("2 gates go to redo in").wait_for()
    page.goto(f"{broker_page.url}/#/gates/{waiters[3].gate.id}")
    page.wait_for_selector(f'.gs-look[data-drawn^="{waiters[3].gate.id}"]')
    page.wait_for_timeout(320)
    page.keyboard.press("1")
    page.get_by_text("1 gates go to redo in").wait_for()
    for _ in range(3):
        page.get_by_role("button", name="Send now").first.click()
    broker_page.until(lambda: all(waiter.decision for waiter in waiters), "all decisions")
    assert [waiter.decision.route for waiter in waiters] == [1, 1, 2, 1]


@desktop
def test_what_was_sent_together_while_the_broker_was_away_goes_out_when_it_is_back(broker_page: BrokerPage) -> None:
    waiters = hold_together(broker_page, 3)
    broker_page.console.allow("ERR_|Failed to load")
    broker_page.broker.stop()
    page = broker_page.page
    page.locator(".gb-batch").get_by_role("button", name="Send now").click()
    page.get_by_text("3 not sent").wait_for()
    broker_page.broker.start()
    broker_page.until(lambda: all(waiter.decision for waiter in waiters), "all decisions")
    page.get_by_text("3 routed to redo").wait_for()
