"""The instances on the page: what runs where, live; who is gone is seen to be gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis_server import RedisServer

from gates.gate.record import Gate
from gates.instances.record import Device, Instance, Pending, Running
from gates.settings import Settings
from gates.store import Store, open_store
from tests.page.broker_page import BrokerPage

LEASE = 6.0
IDLE = Instance(
    name="studio",
    url="http://studio.example:8188",
    reach="setting",
    version="0.1.0",
    comfyui="0.3.64",
    frontend="1.27.10",
    python="3.11.2",
    torch="2.8.0+cu128",
    system="Linux",
    devices=(Device("NVIDIA GeForce RTX 4090", "cuda", 24 * 2**30, 9 * 2**30),),
    ram_total=64 * 2**30,
    ram_free=32 * 2**30,
)
BUSY = replace(
    IDLE,
    running=(Running("0123456789abcdef", "portrait series", "abcdef01", 1, "12:3", "KSampler", 0.25),),
    pending=22,
    next=tuple(Pending(f"{place:016x}", "portrait series", "abcdef01", place) for place in range(1, 21)),
)


@pytest.fixture
def comfyui(redis_server: RedisServer, tmp_path: Path) -> Iterator[Store]:
    """A process that announces itself."""
    settings = replace(Settings(), store_url=redis_server.url, instance="studio", tick=0.3, lease=LEASE)
    store = open_store(settings, tmp_path / "comfyui", tmp_path / "comfyui-state")
    yield store
    store.close()


def test_without_instances_it_says_what_to_do(broker_page: BrokerPage) -> None:
    broker_page.goto("#/instances")
    broker_page.page.get_by_text("No ComfyUI has announced itself").wait_for()
    assert "GATEBUS_STORE_URL" in broker_page.page.inner_text(".gc-empty")
    broker_page.screenshot("instances-empty")


def test_an_instance_shows_what_it_has_and_does_as_it_changes(broker_page: BrokerPage, comfyui: Store) -> None:
    broker_page.goto("#/instances")
    page = broker_page.page
    comfyui.instances.announce(IDLE)
    card = page.locator(".gc-instance")
    card.wait_for()
    broker_page.until(lambda: "idle" in card.inner_text())
    text = card.inner_text()
    for piece in ("studio", "NVIDIA GeForce RTX 4090", "15 of 24 GiB", "ComfyUI 0.3.64", "gatebus 0.1.0", "seen"):
        assert piece in text
    link = card.get_by_role("link", name="http://studio.example:8188")
    assert link.get_attribute("rel") == "noreferrer noopener"
    assert card.locator("meter").get_attribute("aria-label") == "VRAM: 15 of 24 GiB used"
    comfyui.instances.announce(BUSY)
    broker_page.until(lambda: "busy" in card.inner_text())
    text = card.inner_text()
    assert "portrait series" in text
    assert "at: KSampler 25 %" in text
    assert "22 in the queue" in text
    card.locator("summary").click()
    assert card.locator("ol li").count() == 20
    card.get_by_text("and 2 more").wait_for()
    assert page.inner_text("[role=status].gc-count") == "1 running, 1 busy, 22 queued"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    broker_page.screenshot("instances")
    comfyui.instances.withdraw()
    page.get_by_text("No ComfyUI has announced itself").wait_for()


def test_its_waiting_gates_are_counted_and_lead_to_the_inbox(broker_page: BrokerPage, comfyui: Store) -> None:
    shown = comfyui.instances.announce(IDLE)
    broker_page.goto("#/instances")
    page = broker_page.page
    card = page.locator(".gc-instance")
    card.wait_for()
    # Of another process.
    broker_page.open_gate("elsewhere")
    gate = Gate(id="a" * 32, title="here", width=8, height=8, batch=1)
    comfyui.gates.open(gate, broker_page.store.gates.preview(next(iter(broker_page.store.gates.records())).id))
    assert comfyui.gates.get("a" * 32).owner.startswith(shown.id)
    link = card.get_by_role("link", name="1 gate waits")
    link.wait_for()
    assert link.get_attribute("href") == "#/gates?instance=studio"


@pytest.mark.parametrize("variant", ["desktop"], indirect=True)
def test_who_stops_without_a_word_is_shown_as_gone(broker_page: BrokerPage, comfyui: Store) -> None:
    comfyui.instances.announce(IDLE)
    broker_page.goto("#/instances")
    card = broker_page.page.locator(".gc-instance")
    card.wait_for()
    assert "idle" in card.inner_text()
    card.locator(".gc-state[data-state=gone]").wait_for(timeout=(LEASE + 10) * 1000)
    assert "It stopped without saying so" in card.inner_text()
    assert card.get_by_role("link").count() == 0
    broker_page.screenshot("instances-gone")


@pytest.mark.parametrize("reach", ["loopback", "guess"])
@pytest.mark.parametrize("variant", ["desktop"], indirect=True)
def test_an_address_that_may_not_work_from_here_says_so(broker_page: BrokerPage, comfyui: Store, reach: str) -> None:
    comfyui.instances.announce(replace(IDLE, reach=reach))
    broker_page.goto("#/instances")
    card = broker_page.page.locator(".gc-instance")
    card.wait_for()
    broker_page.until(lambda: "GATEBUS_INSTANCE_URL" in card.inner_text())
