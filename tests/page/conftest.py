"""The broker's page in a headless Chromium, over a broker in a thread and a real Redis.

How to use it, in ``tests/page/test_*.py`` (plain ``def`` tests)::

    def test_a_gate_is_shown(broker_page: BrokerPage) -> None:
        waiter = broker_page.open_gate("portrait", labels=("keep", "redo"))
        broker_page.goto("#/gates")
        broker_page.page.get_by_role("button", name="keep").click()
        broker_page.until(lambda: waiter.decision)
        broker_page.screenshot("decided")                # SCREENSHOTS=folder keeps them

Each test runs in three variants: ``desktop`` (1280x800), ``phone`` (360x740, touch) and ``dark``
(desktop, dark colours); choose with ``-k desktop``, or for one test with
``@pytest.mark.parametrize("variant", ["desktop"], indirect=True)``. ``broker`` can be stopped and started
(``broker.start(tokens=...)``); ``new_tab()`` opens another tab of the same browser. The person has
the name "anna" and decisions are sent at once (``hold`` 0, no auto-advance), unless a test sets that otherwise.
Wait by ``broker_page.sees("location.hash == '#/pools'")`` instead of Playwright's ``wait_for_function``, whose
polling is an eval that the page's Content-Security-Policy forbids.
At the end of each test the console must hold no error and no warning, a violated
Content-Security-Policy among them; ``broker_page.console.allow("409")`` expects one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer

from gates.settings import Settings
from gates.store import open_store
from tests.page.broker_page import BrokerPage, BrokerThread, Studio
from tests.web.conftest import browser as browser

VARIANTS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "phone": {
        "viewport": {"width": 360, "height": 740},
        "color_scheme": "light",
        "has_touch": True,
        "is_mobile": True,
        "device_scale_factor": 2,
    },
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
}

SETTINGS = {"name": "anna", "hold": 0, "advance": False, "language": "en"}

FAILED: pytest.StashKey[bool] = pytest.StashKey()


@pytest.fixture(params=list(VARIANTS))
def variant(request: pytest.FixtureRequest) -> str:
    """On what the page is shown."""
    return str(request.param)


@pytest.fixture
def broker(redis_server: RedisServer, tmp_path: Path) -> Iterator[BrokerThread]:
    """A running broker on an empty Redis."""
    broker = BrokerThread(redis_server.url, tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def studio(redis_server: RedisServer, tmp_path: Path) -> Iterator[Studio]:
    """A process that opens gates."""
    settings = replace(Settings(), store_url=redis_server.url, instance="studio", tick=0.3, lease=5.0)
    store = open_store(settings, tmp_path / "studio", tmp_path / "studio-state")
    yield Studio(store)
    store.close()


@pytest.fixture
def new_tab(
    browser: Any, broker: BrokerThread, studio: Studio, variant: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[], BrokerPage]]:
    """Opens one more tab of the same browser, still empty; all tabs' consoles are checked at the end."""
    pictures = Path(os.environ.get("SCREENSHOTS") or tmp_path / "screenshots")
    pictures.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(reduced_motion="reduce", **VARIANTS[variant])
    # Only what is not there yet: a reload keeps what the test has set since.
    kept = json.dumps(json.dumps(SETTINGS))
    context.add_init_script(f'if (location.protocol === "http:") localStorage["gatebus.settings"] ??= {kept};')
    tabs: list[BrokerPage] = []

    def open_tab() -> BrokerPage:
        tabs.append(BrokerPage(context, broker, studio, variant, pictures))
        return tabs[-1]

    yield open_tab
    if request.node.stash.get(FAILED, False):
        for number, tab in enumerate(tabs):
            print(f"tab {number} looked like this: {tab.screenshot(f'failed-{request.node.name}-{number}')}")
    for tab in tabs:
        # Messages arrive while Playwright is asked something.
        tab.page.wait_for_timeout(50)
    context.close()
    faults = [fault for tab in tabs for fault in tab.console.faults()]
    assert not faults, "the page complained:\n" + "\n".join(map(str, faults))


@pytest.fixture
def broker_page(new_tab: Callable[[], BrokerPage]) -> BrokerPage:
    """A tab that has loaded nothing yet: ``broker_page.goto("#/gates")``."""
    return new_tab()


@pytest.fixture
def open_gate(studio: Studio) -> Callable[..., Any]:
    """See :meth:`Studio.open_gate`."""
    return studio.open_gate


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    report = yield
    if call.when == "call":
        item.stash[FAILED] = report.failed
    return report
