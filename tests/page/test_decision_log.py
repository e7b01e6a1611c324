"""The decision log's page: what was decided is there at once, filtered, exported; on a narrow window too."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gates.gate.record import make_decision
from tests.page.broker_page import BrokerPage


def decided(broker_page: BrokerPage, title: str, route: int = 1, by: str = "anna", **more: Any) -> Any:
    waiter = broker_page.open_gate(title, **more)
    gates = broker_page.studio.store.gates
    gates.decide(waiter.gate.id, make_decision("route", route, by=by, text="", where="10.0.0.7 via studio"))
    assert waiter.wait(10) is not None
    waiter.apply()
    return waiter


def rows(broker_page: BrokerPage) -> Any:
    return broker_page.page.locator(".gl-table tbody tr")


def test_a_decision_is_shown_as_it_is_made_with_who_what_where_and_its_image(broker_page: BrokerPage) -> None:
    broker_page.goto("#/log")
    broker_page.page.get_by_text("No decision yet").wait_for()
    decided(broker_page, "portrait", by="anna", workflow="wf")
    row = rows(broker_page).first
    row.wait_for()
    broker_page.until(lambda: "Carried out" in row.inner_text())
    for text in ("1 · keep", "anna", "portrait", "wf", "10.0.0.7 via studio"):
        assert text in row.inner_text()
    broker_page.until(lambda: row.locator("img").evaluate("image => image.naturalWidth") > 0)
    decided(broker_page, "second", 2, by="bob")
    broker_page.until(lambda: rows(broker_page).count() == 2)
    assert "second" in rows(broker_page).first.inner_text()
    assert broker_page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    broker_page.screenshot("log")


def test_the_filter_shows_what_it_names_and_says_when_that_is_nothing(broker_page: BrokerPage) -> None:
    decided(broker_page, "one", 1, by="anna")
    decided(broker_page, "two", 2, by="bob")
    broker_page.goto("#/log")
    broker_page.until(lambda: rows(broker_page).count() == 2)
    page = broker_page.page
    page.get_by_label("Person").fill("bob")
    broker_page.until(lambda: rows(broker_page).count() == 1 and "two" in rows(broker_page).first.inner_text())
    page.get_by_label("Route", exact=True).select_option("1")
    page.get_by_text("No decision matches the filter").wait_for()
    page.get_by_label("Person").fill("")
    broker_page.until(lambda: rows(broker_page).count() == 1 and "one" in rows(broker_page).first.inner_text())
    page.get_by_label("Time").select_option("hour")
    broker_page.until(lambda: rows(broker_page).count() == 1)


@pytest.mark.parametrize("variant", ["desktop"], indirect=True)
def test_the_log_and_its_images_are_exported_as_filtered(broker_page: BrokerPage) -> None:
    kept = decided(broker_page, "one", 1, by="anna")
    decided(broker_page, "two", 2, by="bob")
    broker_page.goto("#/log")
    page = broker_page.page
    page.get_by_label("Route", exact=True).select_option("1")
    broker_page.until(lambda: rows(broker_page).count() == 1)
    with page.expect_download() as started:
        page.get_by_role("button", name="CSV").click()
    text = Path(started.value.path()).read_bytes().decode()
    assert [row["title"] for row in csv.DictReader(io.StringIO(text, newline=""))] == ["one"]
    with page.expect_download() as started:
        page.get_by_role("button", name="Images").click()
    with zipfile.ZipFile(started.value.path()) as archive:
        (image,) = [name for name in archive.namelist() if name.endswith("_000.png")]
        assert image.split("_")[1] == kept.gate.id[:12]


@pytest.mark.parametrize("variant", ["desktop"], indirect=True)
def test_more_is_shown_page_by_page_and_stays_while_new_ones_come(broker_page: BrokerPage) -> None:
    for number in range(120):
        decided(broker_page, f"gate {number}")
    broker_page.goto("#/log")
    broker_page.until(lambda: rows(broker_page).count() == 100)
    broker_page.page.get_by_role("button", name="Show more").click()
    broker_page.until(lambda: rows(broker_page).count() == 120)
    assert broker_page.page.get_by_role("button", name="Show more").is_hidden()
    decided(broker_page, "the newest")
    # The page that is read again meets what is shown, so nothing of it is dropped.
    broker_page.until(lambda: rows(broker_page).count() == 121)
    assert "the newest" in rows(broker_page).first.inner_text()
    assert "gate 0" in rows(broker_page).last.inner_text()
