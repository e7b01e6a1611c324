"""Parked gates on the broker's page: seen, decided, followed to the end of their run, and run again by any route."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer

from gates.gate.record import make_decision
from gates.settings import Settings
from gates.store import open_store
from tests.page.broker_page import BrokerPage, Studio
from tests.page.gate_screen import Screen

ERROR = "KSampler (12): CUDA out of memory. Tried to allocate 2.10 GiB"


def foot(tab: BrokerPage) -> str:
    return str(tab.page.locator(".gs-foot").inner_text())


def button(tab: BrokerPage, name: str) -> Any:
    return tab.page.locator(".gs-run").get_by_role("button", name=name, exact=True)


def press(tab: BrokerPage, locator: Any) -> None:
    locator.tap() if tab.touch else locator.click()


def test_a_parked_gate_stands_in_the_inbox_with_a_badge_and_is_filtered_and_decided_there(
    broker_page: BrokerPage, studio: Studio
) -> None:
    parked, held = studio.park_gate("parked"), studio.open_gate("held")
    broker_page.goto()
    card = broker_page.page.locator(f'.gi-card[data-id="{parked.gate.id}"]')
    assert card.locator(".gi-parked").inner_text() == "parked"
    assert card.locator(".gi-time").inner_text().startswith("Parked ")
    broker_page.screenshot("parked-inbox")
    broker_page.goto("#/gates?status=parked")
    broker_page.until(lambda: broker_page.page.locator(".gi-card").count() == 1, "the filter")
    press(broker_page, card.get_by_role("button", name="redo"))
    broker_page.until(lambda: studio.store.gates.get(parked.gate.id).run == "pending", "the run")
    assert studio.store.gates.get(held.gate.id).decision is None


def test_what_goes_on_and_what_failed_is_told_above_the_inbox_also_after_a_reload(
    broker_page: BrokerPage, studio: Studio
) -> None:
    going, failed = studio.park_gate("going").gate.id, studio.park_gate("failed").gate.id
    for gate_id in (going, failed):
        studio.store.gates.decide(gate_id, make_decision("route", 2))
    broker_page.goto()
    page = broker_page.page
    broker_page.until(lambda: "2 going on" in page.locator(".gi-runs summary").inner_text(), "the runs")
    prompt = studio.begin_run(failed)
    # The decision was carried out, and what comes behind it fails: the gate itself has ended.
    gate = studio.store.gates.get(failed)
    assert gate.decision
    studio.store.gates.resume(failed, gate.decision.id, prompt).apply()
    studio.store.gates.prompts_ended({prompt: ERROR})
    broker_page.until(lambda: "1 run failed" in page.locator(".gi-runs summary").inner_text(), "the failure")
    broker_page.reload()
    broker_page.until(lambda: "1 run failed" in page.locator(".gi-runs summary").inner_text(), "it after a reload")
    broker_page.press(".gi-runs summary")
    row = page.locator(f'.gi-run[data-gate="{failed}"]')
    assert ERROR in row.inner_text()
    broker_page.screenshot("parked-runs")
    press(broker_page, row.get_by_role("button", name="Run again"))

    def fresh() -> list[Any]:
        return [gate for gate in studio.store.gates.records() if gate.of == failed]

    (again,) = broker_page.until(fresh, "the new gate")
    assert (again.run, again.decision.route) == ("pending", 2)
    broker_page.until(lambda: "failed" not in page.locator(".gi-runs summary").inner_text(), "the failure to be over")


def test_a_gate_is_followed_from_parked_to_the_end_of_its_run(broker_page: BrokerPage, studio: Studio) -> None:
    # This broker has no farm to ask how far a job is.
    broker_page.console.allow("404")
    parked = studio.park_gate("cover", labels=("keep", "redo"))
    gate_id = parked.gate.id
    screen = Screen(broker_page).open(parked)
    assert screen.state == "parked"
    assert "Parked: its run has ended here" in foot(broker_page)
    broker_page.screenshot("parked-screen")
    screen.settle()
    screen.key("2")
    broker_page.until(lambda: "Goes on in a moment" in foot(broker_page), "what comes next")
    # Until the run has begun it can be taken back; it is parked again, not held.
    press(broker_page, broker_page.page.get_by_role("button", name="Take back").last)
    broker_page.until(lambda: screen.state == "parked", "the gate open again")
    screen.settle()
    screen.key("1")
    broker_page.until(lambda: studio.store.gates.get(gate_id).run == "pending", "the run")
    prompt = studio.begin_run(gate_id, run_id="0" * 32)
    broker_page.until(lambda: "Runs on, at studio" in foot(broker_page), "where it runs")
    assert not broker_page.page.locator(".gs-status").get_by_role("button", name="Take back").is_visible()
    broker_page.screenshot("parked-running")
    studio.end_run(gate_id, prompt)
    broker_page.until(lambda: "Ran to its end, at studio" in foot(broker_page), "its end")


def test_a_run_that_failed_says_why_and_is_run_again_routed_again_or_left(
    broker_page: BrokerPage, studio: Studio
) -> None:
    parked = studio.park_gate("cover", labels=("keep", "redo"))
    gate_id = parked.gate.id
    studio.store.gates.decide(gate_id, make_decision("route", 2))
    studio.end_run(gate_id, studio.begin_run(gate_id), ERROR)
    Screen(broker_page).open(parked)
    assert ERROR in foot(broker_page)
    broker_page.screenshot("parked-failed")
    press(broker_page, button(broker_page, "Run again"))
    # The page goes on to the new gate, which tells where it comes from.
    broker_page.until(lambda: broker_page.page.locator(".gs-run-of").is_visible(), "the new gate")
    broker_page.until(lambda: "Goes on in a moment" in foot(broker_page), "its run")
    (fresh,) = [gate for gate in studio.store.gates.records() if gate.of == gate_id]
    assert fresh.decision
    assert (fresh.decision.route, fresh.decision.by) == (2, "anna")
    studio.end_run(fresh.id, studio.begin_run(fresh.id), ERROR)
    broker_page.until(lambda: ERROR in foot(broker_page), "the second failure")
    press(broker_page, button(broker_page, "Dismiss"))
    broker_page.until(lambda: studio.store.gates.get(fresh.id).outcome == "dismissed", "it left so")
    broker_page.until(lambda: "its run failed and was left so" in foot(broker_page), "the words")


@pytest.mark.parametrize("variant", ["desktop", "phone"], indirect=True)
def test_a_decided_gate_is_routed_again_from_its_screen_and_from_the_log(
    broker_page: BrokerPage, studio: Studio
) -> None:
    parked = studio.park_gate("cover", labels=("keep", "redo"))
    gate_id = parked.gate.id
    studio.store.gates.decide(gate_id, make_decision("route", 1, text="dark"))
    studio.end_run(gate_id, studio.begin_run(gate_id))
    screen = Screen(broker_page).open(parked)
    screen.key("r")
    broker_page.page.locator("dialog[open]").wait_for()
    broker_page.screenshot("parked-again")
    screen.key("Escape")
    assert [gate for gate in studio.store.gates.records() if gate.of] == []
    screen.key("r")
    screen.key("2")

    def routes() -> list[int]:
        gates = [gate for gate in studio.store.gates.records() if gate.of == gate_id]
        return sorted(gate.decision.route for gate in gates if gate.decision)

    broker_page.until(lambda: routes() == [2], "the new gate")
    broker_page.goto("#/log")
    row = broker_page.page.locator("tr", has=broker_page.page.locator(f'a[href="#/gates/{gate_id}"]')).first
    press(broker_page, row.get_by_role("button", name="Route again…"))
    press(broker_page, broker_page.page.locator("dialog[open]").get_by_role("button", name="keep"))
    broker_page.until(lambda: routes() == [1, 2], "one more")
    broker_page.sees("location.hash.startsWith('#/gates/')")


def test_an_orphan_is_parked_by_hand(
    broker_page: BrokerPage, redis_server: RedisServer, tmp_path: Path, new_tab: Callable[[], BrokerPage]
) -> None:
    settings = replace(Settings(), store_url=redis_server.url, instance="lost", tick=0.3, lease=1.0)
    store = open_store(settings, tmp_path / "lost", tmp_path / "lost-state")
    waiter = Studio(store).kept_gate("lost")
    store.gates._owned._closed.set()  # type: ignore[attr-defined]
    broker_page.until(lambda: broker_page.store.gates.get(waiter.gate.id).status == "orphaned", "the orphan")
    screen = Screen(broker_page).open(waiter)
    broker_page.until(lambda: screen.state == "orphaned", "it on the page")
    assert "any instance goes on from here" in foot(broker_page)
    broker_page.screenshot("parked-orphan")
    press(broker_page, button(broker_page, "Park"))
    broker_page.until(lambda: screen.state == "parked", "it parked")
    screen.settle()
    screen.key("1")
    broker_page.until(lambda: broker_page.store.gates.get(waiter.gate.id).run == "pending", "its run")
    store.close()


def test_what_is_not_kept_any_more_says_so(broker_page: BrokerPage, studio: Studio) -> None:
    waiter = studio.open_gate("cover")
    studio.store.gates.decide(waiter.gate.id, make_decision("route", 1))
    waiter.wait(10)
    waiter.apply()
    screen = Screen(broker_page).open(waiter)
    assert not button(broker_page, "Route again…").is_visible()
    screen.key("r")
    broker_page.until(lambda: "not kept any more" in broker_page.page.locator(".gp-toasts").inner_text(), "the words")
    assert [gate for gate in studio.store.gates.records(live=False) if gate.of] == []
