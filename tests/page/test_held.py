"""Decisions are held, undone, taken back, and outlive the page that made them."""

from __future__ import annotations

from typing import Any

import pytest

from gates.gate.record import make_decision
from tests.page.broker_page import BrokerPage

desktop = pytest.mark.parametrize("variant", ["desktop"], indirect=True)


def show(tab: BrokerPage, waiter: Any, **settings: Any) -> None:
    """The gate's screen, with those settings, settled."""
    tab.goto("#/buses")
    tab.set(**settings)
    tab.reload()
    tab.goto(f"#/gates/{waiter.gate.id}")
    tab.page.wait_for_selector(f'.gs-look[data-drawn^="{waiter.gate.id}"]')
    tab.page.wait_for_timeout(320)


def test_a_decision_is_seen_as_held_and_undone_by_its_button(broker_page: BrokerPage) -> None:
    waiter = broker_page.open_gate()
    show(broker_page, waiter, hold=30)
    broker_page.press('.gatebus-route:has-text("keep")')
    broker_page.page.wait_for_selector('.gb-held-row[data-state="held"]')
    assert broker_page.page.locator(".gs").get_attribute("data-state") == "held"
    broker_page.screenshot("held")
    box = broker_page.page.locator(".gb-held-row").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= broker_page.page.viewport_size["width"]
    routes = broker_page.page.locator(".gatebus-routes").bounding_box()
    assert box["y"] + box["height"] <= routes["y"]
    broker_page.press('.gb-held-button:has-text("Undo")')
    broker_page.page.wait_for_selector(".gb-held-row", state="detached")
    assert broker_page.page.locator(".gs").get_attribute("data-state") == "waiting"
    assert waiter.decision is None


@desktop
def test_u_undoes_and_what_is_not_undone_is_sent_after_its_time(broker_page: BrokerPage) -> None:
    first, second = (broker_page.open_gate(f"gate {n}") for n in range(2))
    show(broker_page, first, hold=1, advance=True)
    broker_page.page.keyboard.press("2")
    broker_page.page.keyboard.press("u")
    broker_page.page.wait_for_timeout(1300)
    assert first.decision is None
    broker_page.page.keyboard.press("1")
    broker_page.until(lambda: second.decision)
    assert first.decision is None


@desktop
def test_a_page_that_is_closed_sends_what_it_holds(broker_page: BrokerPage) -> None:
    waiter = broker_page.open_gate()
    show(broker_page, waiter, hold=30)
    broker_page.page.keyboard.press("2")
    broker_page.page.wait_for_selector('.gb-held-row[data-state="held"]')
    other = broker_page.page.context.new_page()
    broker_page.page.close(run_before_unload=True)
    end = 100
    while waiter.decision is None and end:
        end -= 1
        other.wait_for_timeout(50)
    assert waiter.decision is not None
    assert waiter.decision.route == 2
    broker_page.page = other


@desktop
def test_a_page_that_is_reloaded_sends_what_it_holds_once(broker_page: BrokerPage) -> None:
    waiter = broker_page.open_gate()
    show(broker_page, waiter, hold=30)
    broker_page.page.keyboard.press("2")
    broker_page.page.wait_for_selector('.gb-held-row[data-state="held"]')
    broker_page.reload()
    broker_page.until(lambda: waiter.decision)
    assert waiter.decision.route == 2
    broker_page.until(lambda: broker_page.page.evaluate("sessionStorage.getItem('gatebus.held')") is None)


@desktop
def test_a_tab_that_crashed_goes_on_with_what_it_held(broker_page: BrokerPage) -> None:
    waiter = broker_page.open_gate()
    show(broker_page, waiter, hold=4)
    broker_page.page.keyboard.press("2")
    broker_page.page.wait_for_selector('.gb-held-row[data-state="held"]')
    kept = broker_page.page.evaluate("sessionStorage.getItem('gatebus.held')")
    # What a crash leaves: the tab's storage, and nothing sent.
    broker_page.page.keyboard.press("u")
    broker_page.page.wait_for_selector(".gb-held-row", state="detached")
    broker_page.page.evaluate("kept => sessionStorage.setItem('gatebus.held', kept)", kept)
    broker_page.reload()
    broker_page.page.wait_for_selector('.gb-held-row[data-state="held"]')
    broker_page.until(lambda: waiter.decision)
    assert waiter.decision.route == 2


@desktop
def test_what_could_not_be_sent_is_kept_and_sent_when_the_broker_is_back(broker_page: BrokerPage) -> None:
    waiter = broker_page.open_gate()
    show(broker_page, waiter, hold=0)
    broker_page.console.allow("ERR_")
    broker_page.broker.stop()
    broker_page.page.keyboard.press("2")
    broker_page.page.wait_for_selector('.gb-held-button:has-text("Try again")')
    assert waiter.decision is None
    broker_page.broker.start()
    broker_page.until(lambda: waiter.decision)
    assert waiter.decision.route == 2


@desktop
def test_a_gate_decided_elsewhere_drops_what_is_held_and_says_who_was_first(broker_page: BrokerPage) -> None:
    waiter = broker_page.open_gate()
    show(broker_page, waiter, hold=30)
    broker_page.page.keyboard.press("1")
    broker_page.page.wait_for_selector('.gb-held-row[data-state="held"]')
    broker_page.store.gates.decide(waiter.gate.id, make_decision("route", 2, by="Bo"))
    toast = broker_page.page.locator(".gp-toast", has_text="Somebody was first")
    toast.wait_for()
    assert "redo, decided by Bo" in str(toast.text_content())
    assert broker_page.page.locator(".gb-held-row").count() == 0


def test_a_decision_that_is_not_carried_out_yet_is_taken_back(broker_page: BrokerPage) -> None:
    waiter = broker_page.open_gate()
    show(broker_page, waiter, hold=0)
    broker_page.press('.gatebus-route:has-text("keep")')
    broker_page.until(lambda: waiter.decision)
    broker_page.press('.gb-held-button:has-text("Take back")')
    broker_page.until(lambda: broker_page.store.gates.get(waiter.gate.id).decision is None)
    broker_page.page.wait_for_selector('.gs[data-state="waiting"]')
    broker_page.page.wait_for_selector('.gs-history li:has-text("Taken back by anna")', state="attached")
    broker_page.page.wait_for_timeout(320)
    broker_page.press('.gatebus-route:has-text("redo")')
    broker_page.until(
        lambda: (broker_page.store.gates.get(waiter.gate.id).decision or make_decision("cancel")).route == 2
    )


@desktop
def test_what_was_carried_out_can_not_be_taken_back_and_that_is_said(broker_page: BrokerPage) -> None:
    waiter = broker_page.open_gate()
    show(broker_page, waiter, hold=0)
    broker_page.console.allow("409")

    def carry_out(route: Any) -> None:
        waiter.apply()
        route.continue_()

    # Between the click and what it asks for.
    broker_page.page.route("**/take-back", carry_out)
    broker_page.page.keyboard.press("1")
    broker_page.until(lambda: waiter.decision)
    broker_page.press('.gb-held-button:has-text("Take back")')
    broker_page.page.locator(".gp-toast", has_text="Too late to take back").wait_for()
    broker_page.page.wait_for_selector('.gs[data-state="applied"]')
