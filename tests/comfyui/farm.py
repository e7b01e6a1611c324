"""A farm as people run it: two ComfyUI processes and two brokers on one Redis, each to be killed and started again,
and a browser's tab on it."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer, free_port

from gates.settings import Settings
from gates.store import Store, open_store
from tests.comfyui.conftest import PROBES
from tests.comfyui.process import ComfyUI
from tests.service.processes import Command

LIMIT = 60.0
"""Seconds for anything to happen."""


def until(condition: Callable[[], Any], what: str, limit: float = LIMIT) -> Any:
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.05)


class Farm:
    """The processes, and the store as one more process sees it."""

    def __init__(self, folder: Path, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, **environ: str) -> None:
        """``environ``: further ``GATEBUS_*`` settings of the ComfyUI processes."""
        monkeypatch.setenv("HOME", str(folder / "home"))
        monkeypatch.setenv("GATEBUS_STORE_URL", redis.url)
        self.redis = redis
        self.store: Store = open_store(Settings(store_url=redis.url), folder / "disk", folder / "state")
        common = {"GATEBUS_STORE_URL": redis.url, **environ}
        self.comfyuis = [
            ComfyUI(folder / name, {**common, "GATEBUS_INSTANCE": name}, [PROBES]) for name in ("one", "two")
        ]
        self.ports = [free_port(), free_port()]
        self.brokers: list[Command | None] = [None, None]

    def start(self) -> None:
        for comfyui in self.comfyuis:
            comfyui.start()
        for number in range(2):
            self.start_broker(number)

    def start_broker(self, number: int) -> None:
        broker = Command(["serve", "--port", str(self.ports[number])])
        self.brokers[number] = broker
        broker.line(r"http://127\.0\.0\.1:[0-9]+")

    def kill_broker(self, number: int) -> None:
        broker = self.brokers[number]
        assert broker is not None
        assert broker.end(signal.SIGKILL) == -signal.SIGKILL
        self.brokers[number] = None

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.ports[number]}"

    def stop(self) -> None:
        for broker in self.brokers:
            if broker is not None:
                broker.end(signal.SIGKILL)
        for comfyui in self.comfyuis:
            comfyui.stop()
        self.store.close()

    def decided(self, gate_id: str) -> bool:
        return self.store.gates.get(gate_id).decision is not None

    def waiting(self) -> list[str]:
        return [gate.id for gate in self.store.gates.records() if gate.status == "waiting"]


class Tab:
    """A browser's page on one of the brokers."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(reduced_motion="reduce", **options)
        settings = json.dumps(json.dumps({"name": "anna", "hold": 0, "advance": False, "language": "en"}))
        self.context.add_init_script(f'localStorage["gatebus.settings"] ??= {settings};')
        self.page = self.context.new_page()
        self.page.goto(f"{url}/#/gates", wait_until="domcontentloaded")
        self.connected()

    def connected(self) -> None:
        self.page.wait_for_selector("html[data-connection=on]", timeout=LIMIT * 1000)

    def ids(self) -> list[str]:
        """Of the cards that wait, as they stand in the page."""
        return list(
            self.page.evaluate("[...document.querySelectorAll('.gi-card:not(.gi-gone)')].map(card => card.dataset.id)")
        )

    def shows(self, expected: list[str]) -> None:
        """Every gate that waits has one card, and there is no other."""

        def difference() -> dict[str, int]:
            shown = Counter(self.ids())
            return {gate_id: shown[gate_id] - 1 for gate_id in expected if shown[gate_id] != 1} | {
                gate_id: count for gate_id, count in shown.items() if gate_id not in expected
            }

        end = time.monotonic() + LIMIT
        while wrong := difference():
            assert time.monotonic() < end, f"cards too few (-) or too many: {wrong}"
            self.page.wait_for_timeout(50)

    def route(self, gate_id: str, route: int, decided: Callable[[str], object], tap: bool = False) -> None:
        """A press on the route; once more when nothing came of it: the page says so when its cards had just moved."""
        button = self.page.locator(f".gi-card[data-id='{gate_id}'] .gi-route").nth(route - 1)
        end = time.monotonic() + LIMIT
        while True:
            button.scroll_into_view_if_needed()
            button.tap() if tap else button.click()
            for _ in range(20):
                if decided(gate_id):
                    return
                self.page.wait_for_timeout(50)
            assert self.page.locator(".gp-toast", has_text="just moved").count(), "a press was lost without a word"
            assert time.monotonic() < end
