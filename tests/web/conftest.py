"""ComfyUI's page in a headless Chromium, over the test host and over real ComfyUIs.

How to use it, in ``tests/web/test_*.py`` (plain ``def`` tests: an ``async def`` can't drive Playwright's
sync API, and no other module of tests is affected, as the browser ends with each module)::

    def test_a_waiting_gate_shows_its_routes(comfy: ComfyPage) -> None:
        node = comfy.gate_workflow(routes=2)        # an empty workflow is open already
        comfy.queue()
        (gate,) = comfy.gates(1)                    # from the store that the page's server uses
        comfy.page.locator(".gatebus-route").first.click()      # Playwright's page
        comfy.until(lambda: comfy.store.gates.get(gate.id).status == "applied")
        comfy.screenshot("applied")                 # SCREENSHOTS=folder keeps them

Each test runs once a ``mode``: ``new-canvas`` and ``new-vue`` on the test host (``host.py``: newest
frontend, real API, store and nodes); with ``COMFYUI_DIR`` (and ``COMFYUI_PYTHON``) also ``old-canvas`` (the
frontend that this ComfyUI has), ``comfyui-new-canvas`` and ``comfyui-new-vue`` on real ComfyUIs that
share a Redis with the test's ``store``. Choose with ``-k new-vue``. ``comfy.vue``: nodes are elements.

``comfy`` is a :class:`~tests.web.comfy_pages.ComfyPage`: workflows and nodes, ``queue``, ``until``,
``traffic`` (bytes by URL), ``console``. ``page`` is its Playwright page, ``new_tab()`` opens another one.
``bed.set({...})`` stores settings before a ``comfy.reload()``; ``bed.host`` is the test host, where it is one.
At the end of each test the console must hold no error and no warning of ours (stack or text
names gatebus); ``comfy.console.allow("409")`` expects one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer, require_redis_server

from gates.errors import GatebusError
from gates.gate.record import make_decision
from gates.settings import Settings
from gates.store import Store, open_store
from tests.comfyui.process import ComfyUI, is_available
from tests.web.comfy_pages import ComfyPage

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HOST_MODES = ("new-canvas", "new-vue")
COMFYUI_MODES = ("old-canvas", "comfyui-new-canvas", "comfyui-new-vue")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The frontend asks after releases and the like; a test knows this machine only.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


def missing(what: str) -> None:
    """Fails the test in CI, and skips it elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(f"CI has {what}")
    pytest.skip(what)


def find_browser() -> str | None:
    """``$CHROMIUM``, or what is on the PATH."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium. It ends with the module: while Playwright runs, asyncio tests could not."""
    executable = find_browser()
    if executable is None:
        missing("no browser: install chromium (Debian: apt-get install chromium), or set CHROMIUM to one")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("no playwright: install the extra 'test'")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(
    scope="module",
    params=[*HOST_MODES, *(pytest.param(mode, marks=pytest.mark.comfyui) for mode in COMFYUI_MODES)],
)
def mode(request: pytest.FixtureRequest) -> str:
    """Which frontend, over what, and how it draws nodes."""
    reason = is_available()
    if request.param in COMFYUI_MODES and reason:
        pytest.skip(reason)
    return str(request.param)


@dataclass
class HostBed:
    """The test host under the page; a fresh one for each test."""

    host: Any
    folder: Path

    def __post_init__(self) -> None:
        self.url, self.store = self.host.url, self.host.store

    def set(self, settings: dict[str, Any]) -> None:
        self.host.settings.update(settings)


@dataclass
class ComfyUIBed:
    """A real ComfyUI under the page; it serves all tests of its frontend, and is cleared before each."""

    comfyui: ComfyUI
    store: Store
    host: None = None

    def __post_init__(self) -> None:
        self.url, self.folder = self.comfyui.url, self.comfyui.base

    def set(self, settings: dict[str, Any]) -> None:
        self._post("/settings", settings)

    def clear(self) -> None:
        """Nothing is queued, runs or waits; returns when that is so."""
        self._post("/queue", {"clear": True})
        deadline = time.monotonic() + 30
        while True:
            with urllib.request.urlopen(self.url + "/queue", timeout=10) as answer:
                running = json.load(answer)["queue_running"]
            waiting = [gate.id for gate in self.store.gates.records() if gate.status == "waiting"]
            if not running and not waiting:
                return
            assert time.monotonic() < deadline, f"still there: {running} {waiting}"
            # Again at each look: a prompt that has just been taken from the queue would miss one.
            self._post("/interrupt", {})
            for gate in waiting:
                with contextlib.suppress(GatebusError):
                    self.store.gates.decide(gate, make_decision("cancel"))
            time.sleep(0.2)

    def _post(self, path: str, body: Any) -> None:
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=10).close()


@pytest.fixture(scope="session")
def comfyui_bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ComfyUIBed]]:
    """The real ComfyUI with the frontend ``old`` or ``new``, started when it is first asked for."""
    beds: dict[str, ComfyUIBed] = {}
    redises: list[RedisServer] = []

    def bed(frontend: str) -> ComfyUIBed:
        if frontend not in beds:
            require_redis_server()
            redis = RedisServer(tmp_path_factory.mktemp("web-redis"))
            redis.start()
            redises.append(redis)
            arguments = []
            if frontend == "new":
                from tests.web.host import FRONTEND

                arguments = ["--front-end-root", str(FRONTEND)]
            environ = {"GATEBUS_STORE_URL": redis.url, "GATEBUS_INSTANCE": "studio"}
            comfyui = ComfyUI(tmp_path_factory.mktemp(f"web-{frontend}"), environ, arguments=arguments)
            own = tmp_path_factory.mktemp("web-store")
            store = open_store(Settings.from_env({**environ, "GATEBUS_INSTANCE": "test"}), own / "disk", own / "state")
            beds[frontend] = ComfyUIBed(comfyui, store)
            comfyui.start()
        return beds[frontend]

    yield bed
    for each in beds.values():
        each.comfyui.stop()
        each.store.close()
    for redis in redises:
        redis.stop()


@pytest.fixture
def bed(mode: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HostBed | ComfyUIBed]:
    """The server of this mode, set to it, with nothing queued or waiting."""
    settings = {
        "Comfy.TutorialCompleted": True,
        "Comfy.VueNodes.Enabled": mode.endswith("vue"),
        "Comfy.ColorPalette": "dark",
        "Comfy.Locale": "en",
        "Comfy.Notification.ShowVersionUpdates": False,
    }
    if mode in COMFYUI_MODES:
        real = request.getfixturevalue("comfyui_bed")("old" if mode.startswith("old") else "new")
        real.clear()
        real.set(settings)
        yield real
        real.clear()
        return
    pytest.importorskip("torch", reason="torch comes with ComfyUI, or with the extra 'test'")
    from tests.web.host import Host

    host = Host(tmp_path / "host")
    host.settings.update(settings)
    host.start()
    yield HostBed(host, tmp_path / "host")
    host.stop()


@pytest.fixture
def new_tab(browser: Any, bed: Any, mode: str, tmp_path: Path, request: Any) -> Iterator[Callable[[], ComfyPage]]:
    """Opens one more tab on an empty workflow, in the same browser; all tabs' consoles are checked at the end."""
    pictures = Path(os.environ.get("SCREENSHOTS") or tmp_path / "screenshots")
    pictures.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    tabs: list[ComfyPage] = []

    def open_tab() -> ComfyPage:
        tab = ComfyPage(context, bed, mode, pictures)
        tabs.append(tab)
        tab.open()
        tab.clear()
        return tab

    yield open_tab
    if request.node.stash.get(FAILED, False):
        for number, tab in enumerate(tabs):
            print(f"tab {number} looked like this: {tab.screenshot(f'failed-{request.node.name}-{number}')}")
    for tab in tabs:
        # Messages arrive while Playwright is asked something.
        tab.page.wait_for_timeout(50)
    context.close()
    faults = [fault for tab in tabs for fault in tab.console.faults()]
    assert not faults, "the page complained about us:\n" + "\n".join(map(str, faults))


@pytest.fixture
def comfy(new_tab: Callable[[], ComfyPage]) -> ComfyPage:
    """A tab on an empty workflow."""
    return new_tab()


@pytest.fixture
def page(comfy: ComfyPage) -> Any:
    """Playwright's page of :func:`comfy`."""
    return comfy.page


FAILED: pytest.StashKey[bool] = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    report = yield
    if call.when == "call":
        item.stash[FAILED] = report.failed
    return report
