"""The page below a sub-path that the proxy in front takes off or leaves on, with a token that is in no URL."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout, web
from redis_server import RedisServer, free_port

from tests.page.broker_page import Studio
from tests.service.processes import LIMIT, Command

TOKEN = "gb_a-token-that-no-url-may-hold"
ENVIRON = {
    "GATEBUS_TOKENS": f"decide:anna:{hashlib.sha256(TOKEN.encode()).hexdigest()}",
    "GATEBUS_TRUSTED_PROXIES": "127.0.0.1",
    "GATEBUS_TICK": "0.3",
}
DROPPED = {"connection", "transfer-encoding", "content-length", "host", "keep-alive"}


class Proxy:
    """Passes ``/deep/farm/…`` on to a broker; ``strip`` takes the sub-path off on the way."""

    def __init__(self, target: str, strip: bool) -> None:
        self.url = f"http://127.0.0.1:{free_port()}/deep/farm/"
        self._target, self._strip = target, strip
        self._loop = asyncio.new_event_loop()
        self._ready, self._end = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(LIMIT)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(LIMIT)

    async def _serve(self) -> None:
        async with ClientSession(timeout=ClientTimeout(total=None), auto_decompress=False) as session:
            app = web.Application(client_max_size=2**30)

            async def passed(http: web.Request) -> web.StreamResponse:
                return await self._pass(session, http)

            app.router.add_route("*", "/deep/farm{rest:.*}", passed)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", int(self.url.split(":")[2].partition("/")[0])).start()
            self._ready.set()
            await self._end.wait()
            await runner.cleanup()

    async def _pass(self, session: ClientSession, http: web.Request) -> web.StreamResponse:
        path = http.raw_path.removeprefix("/deep/farm") if self._strip else http.raw_path
        headers = {name: value for name, value in http.headers.items() if name.lower() not in DROPPED}
        headers |= {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http", "X-Forwarded-Host": http.host}
        body = await http.read() if http.can_read_body else None
        async with session.request(
            http.method, self._target + path, headers=headers, data=body, allow_redirects=False
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in DROPPED}
            passed = web.StreamResponse(status=answer.status, headers=kept)
            await passed.prepare(http)
            async for chunk in answer.content.iter_any():
                await passed.write(chunk)
            return passed


@pytest.fixture(params=["left on", "taken off"])
def farm(
    request: pytest.FixtureRequest, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Command, str]]:
    """A broker process and the URL of the page behind the proxy."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    prefix = ["--prefix", "/deep/farm"] if request.param == "left on" else []
    command = Command(["--url", redis_server.url, "serve", "--port", "0", *prefix], ENVIRON)
    target = command.line(r"http://127\.0\.0\.1:[0-9]+")[0]
    proxy = Proxy(target, strip=not prefix)
    yield command, proxy.url
    proxy.close()
    assert command.end() == 0


def test_the_page_works_below_a_sub_path(
    farm: tuple[Command, str], studio: Studio, browser: Any, until: Callable[..., Any], tmp_path: Path
) -> None:
    command, url = farm
    waiter = studio.open_gate("portrait", labels=("keep", "redo"))
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    context.add_init_script(
        f'localStorage["gatebus.token"] = "{TOKEN}";'
        'localStorage["gatebus.settings"] = JSON.stringify({name: "anna", hold: 0, advance: false, language: "en"});'
        "window.violations = [];"
        'document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));'
    )
    page = context.new_page()
    urls: list[str] = []
    faults: list[str] = []
    page.on("request", lambda sent: urls.append(sent.url))
    page.on("console", lambda said: said.type in ("error", "warning") and faults.append(said.text))
    page.on("pageerror", lambda error: faults.append(error.message))
    page.goto(f"{url}#/gates", wait_until="domcontentloaded")
    page.wait_for_selector("html[data-connection=on]")
    page.wait_for_selector("main img")
    page.wait_for_function("[...document.querySelectorAll('main img')].some((image) => image.naturalWidth > 0)")
    page.screenshot(path=Path(os.environ.get("SCREENSHOTS") or tmp_path) / "sub-path.png")
    page.get_by_role("button", name="keep").first.click()
    until(lambda: waiter.decision, page)
    assert waiter.decision is not None
    assert (waiter.decision.route, waiter.decision.by) == (1, "anna")
    assert page.evaluate("violations") == []
    assert faults == []
    assert [sent for sent in urls if TOKEN in sent] == []
    assert all(sent.startswith((url, "blob:", "data:")) for sent in urls), urls
    command.line(r"route=/gatebus/gates/\{gate_id\}/route status=200 .*who=anna remote=203\.0\.113\.9")
    context.close()


@pytest.fixture
def until() -> Callable[..., Any]:
    def wait(condition: Callable[[], Any], page: Any) -> Any:
        for _ in range(300):
            value = condition()
            if value:
                return value
            page.wait_for_timeout(30)
        raise AssertionError("it did not happen")

    return wait
