"""The broker's page as a test uses it: a broker in a thread, gates that wait, and one tab of a browser."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from aiohttp import web
from redis_server import free_port

from broker.app import make_app
from broker.jobs.opening import open_jobs
from gates import codec
from gates.gate.record import Gate, Waiter
from gates.settings import Settings
from gates.store import Store, open_store
from tests.web.comfy_pages import Console, Message

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

T = TypeVar("T")

LIMIT = 10.0
"""Seconds for anything to happen."""


class BrokerThread:
    """A broker that can be stopped and started again on the same port, with other settings if wanted."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.settings = replace(Settings(), store_url=redis_url, instance="broker", tick=0.3)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: Callable[[], None] = lambda: None

    def start(self, **settings: Any) -> None:
        """Returns when it answers."""
        store_settings = replace(self.settings, **settings)
        started: Future[None] = Future()
        stop: Future[Callable[[], None]] = Future()

        async def serve() -> None:
            ended = asyncio.Event()
            loop = asyncio.get_running_loop()
            stop.set_result(lambda: loop.call_soon_threadsafe(ended.set) and None)
            store = open_store(store_settings, self._folder / "disk", self._folder / "state")
            jobs = open_jobs(store, self._folder / "state")
            app = make_app(store, self._folder / "state", jobs=jobs)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True).start()
                started.set_result(None)
                await ended.wait()
            except BaseException as error:
                if not started.done():
                    started.set_exception(error)
                raise
            finally:
                await runner.cleanup()
                await loop.run_in_executor(None, jobs.close)
                await loop.run_in_executor(None, store.close)

        thread = threading.Thread(target=lambda: asyncio.run(serve()), name="broker", daemon=True)
        thread.start()
        started.result(LIMIT)
        end = stop.result(LIMIT)

        def join() -> None:
            end()
            thread.join(LIMIT)
            assert not thread.is_alive(), "the broker does not end"

        self._end = join

    def stop(self) -> None:
        """Returns when nothing answers on its port any more; may be called again."""
        end, self._end = self._end, lambda: None
        end()


class Studio:
    """A process that opens gates on the broker's Redis."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def open_gate(self, title: str = "portrait", *, size: tuple[int, int] = (96, 64), **more: Any) -> Waiter:
        """A gate that waits, with its whole image stored; ``batch=3`` gives it three, ``note="x"`` sets a field.

        ``size`` is width, height.
        """
        width, height = size
        images = np.stack([picture(f"{title}{number}", width, height) for number in range(more.pop("batch", 1))])
        timeout, mask = more.pop("timeout", 0.0), more.pop("painted", None)
        stored = more.pop("stored", True)
        gate = Gate(
            **{
                "id": uuid.uuid4().hex,
                "title": title,
                "instance": "studio",
                "workflow": "flux.json",
                "labels": ("keep", "redo"),
                **more,
            },
            width=width,
            height=height,
            batch=len(images),
        )
        waiter = self.store.gates.open(gate, codec.preview_jpeg(images), timeout, mask)
        if stored:
            waiter.store_image(codec.encode(images, "png"))
        return waiter

    def park_gate(self, title: str = "portrait", **more: Any) -> Waiter:
        """A gate that has parked, and whose prompt has ended; keywords as of :meth:`open_gate`."""
        waiter = self.kept_gate(title, **more)
        assert self.store.gates.park([waiter])
        self.store.gates.prompts_ended({waiter.gate.prompt_id: ""})
        return waiter

    def kept_gate(self, title: str = "portrait", **more: Any) -> Waiter:
        """A gate that waits, with all that a run needs to go on from it."""
        waiter = self.open_gate(title, **{"prompt_id": uuid.uuid4().hex, **more})
        waiter.store_continuation(b"how it goes on")
        return waiter

    def begin_run(self, gate_id: str, on: str = "gpu-1", run_id: str = "") -> str:
        """Has the run of the decided gate begin; the prompt that it is."""
        gates, prompt_id = self.store.gates, uuid.uuid4().hex
        gate = gates.get(gate_id)
        assert gate.decision is not None
        assert gates.claim_run(gate.group, "broker:1", 60_000)
        gates.note_run(gate.group, "broker:1", "submitted", run_id, on, look_in_ms=60_000)
        gates.resume(gate.id, gate.decision.id, prompt_id)
        return prompt_id

    def end_run(self, gate_id: str, prompt_id: str, error: str = "") -> None:
        """Has that run end; without an error it has carried the decision out."""
        gates = self.store.gates
        gate = gates.get(gate_id)
        if not error and gate.decision is not None:
            gates.resume(gate.id, gate.decision.id, prompt_id).apply()
        gates.prompts_ended({prompt_id: error})


def picture(seed: str, width: int, height: int) -> np.ndarray[Any, Any]:
    """[H, W, 3] float32 of 0 to 1: a gradient and a disk, in colours of the text's own."""
    number = zlib.crc32(seed.encode())
    colour = np.array([(number >> shift & 255) / 255 for shift in (0, 8, 16)], dtype=np.float32)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    ground = np.stack([x * colour[0], y * colour[1], (1 - x) * colour[2]], axis=-1)
    disk = ((x - 0.5) * width) ** 2 + ((y - 0.5) * height) ** 2 < (min(width, height) * 0.3) ** 2
    return np.where(disk[..., None], 0.4 + 0.6 * colour, ground).astype(np.float32)


class BrokerPage:
    """One tab on the broker's page. ``page`` is Playwright's."""

    def __init__(
        self, context: BrowserContext, broker: BrokerThread, studio: Studio, variant: str, pictures: Path
    ) -> None:
        self.broker, self.studio, self.variant = broker, studio, variant
        self.url, self.store, self.open_gate = broker.url, studio.store, studio.open_gate
        self.touch = variant == "phone"
        self.console = Console()
        self._pictures = pictures
        self.page: Page = context.new_page()
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self._add("error", f"{error.message}\n{error.stack}"))

    def goto(self, place: str = "#/gates") -> None:
        """Opens that place and waits until its view is there."""
        self.page.goto(f"{self.url}/{place}", wait_until="domcontentloaded")
        self.ready()

    def ready(self) -> None:
        """Returns when a view is shown and the event stream stands."""
        self.page.wait_for_selector("main > *")
        self.page.wait_for_selector("html[data-connection=on]")

    def reload(self) -> None:
        """As F5."""
        self.page.reload(wait_until="domcontentloaded")
        self.ready()

    def set(self, **settings: Any) -> None:
        """Settings of this browser (``hold=0``, ``theme="dark"``); they hold from the next load on."""
        self.page.evaluate(
            """settings => localStorage.setItem("gatebus.settings",
                JSON.stringify({...JSON.parse(localStorage.getItem("gatebus.settings") || "{}"), ...settings}))""",
            settings,
        )

    def until(self, condition: Callable[[], T], what: str = "it") -> T:
        """The condition's value as soon as it is true; the page lives on meanwhile."""
        end = time.monotonic() + LIMIT
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < end, f"{what} did not happen"
            self.page.wait_for_timeout(30)

    def sees(self, script: str) -> None:
        """Returns when the expression is true in the page; our CSP forbids Playwright's own ``wait_for_function``."""
        self.until(lambda: self.page.evaluate(script), script)

    def press(self, selector: str) -> None:
        """A click, or a tap where there is touch."""
        locator = self.page.locator(selector).first
        locator.tap() if self.touch else locator.click()

    def screenshot(self, name: str) -> Path:
        """A picture of what is seen, kept in the folder that SCREENSHOTS names."""
        path = self._pictures / f"{name}-{self.variant}.png"
        self.page.screenshot(path=path)
        return path

    def _said(self, message: Any) -> None:
        self._add(message.type, f"gatebus: {message.text}", (message.location.get("url", ""),))

    def _add(self, level: str, text: str, sources: tuple[str, ...] = ("gatebus",)) -> None:
        self.console.messages.append(Message(level, text, sources))
