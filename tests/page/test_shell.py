"""The page's frame: places, connection, who decides, settings, login, messages, keys."""

from __future__ import annotations

from tests.page.broker_page import BrokerPage


def test_the_page_opens_on_the_gates_that_wait(broker_page: BrokerPage) -> None:
    broker_page.open_gate("portrait")
    broker_page.goto("")
    broker_page.page.get_by_text("portrait").first.wait_for()
    broker_page.screenshot("gates")
