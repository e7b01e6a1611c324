"""The inbox: what waits is seen, filtered and decided where it stands."""

from __future__ import annotations

from tests.page.broker_page import BrokerPage

CARD = ".gi-card"


def test_every_waiting_gate_has_a_card_with_its_picture_and_routes(broker_page: BrokerPage) -> None:
    broker_page.open_gate("portrait", size=(640, 480), labels=("keep", "redo"), note="left eye")
    broker_page.open_gate("landscape", size=(900, 400), labels=("keep", "redo", "upscale"), routes=3, batch=4)
    broker_page.open_gate("deadline", size=(300, 600), timeout=3600.0, timeout_route=1)
    broker_page.goto("#/gates")
    page = broker_page.page
    page.wait_for_function("document.querySelectorAll('.gi-card img').length == 3")
    page.wait_for_function("[...document.querySelectorAll('.gi-card img')].every(img => img.naturalWidth)")
    broker_page.screenshot("inbox")
