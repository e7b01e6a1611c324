"""The broker's HTTP server: the API over the store, and whether it is healthy."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from gates.api import mount
from gates.api.answer import answer_json, as_json
from gates.errors import Conflict, InvalidSetting
from gates.settings import Settings
from gates.store import Store

from .notify.notifications import mount_notifications
from .page import mount_page

PORT = 8787

STOP_LIMIT = 5.0
"""Seconds that open connections have to end when the broker stops."""


def make_app(store: Store, state_dir: Path) -> web.Application:
    """The application over an open store, which stays the caller's to close. ``state_dir``: see ``gates.api.mount``."""
    app = web.Application()
    mount(app, lambda: store, state_dir)

    async def health(_: web.Request) -> web.Response:
        """200, or 503 while the shared store is away. Asks for no token, so with tokens it gives no reason."""
        reason = await asyncio.get_running_loop().run_in_executor(None, store.unavailable)
        if not reason:
            return answer_json(as_json({"status": "ok"}))
        shown = "" if store.settings.tokens else reason
        answer = answer_json(as_json({"status": "store_unavailable", "reason": shown}))
        answer.set_status(503)
        return answer

    mount_page(app)
    app.router.add_get("/healthz", health)
    return app


def check_host(host: str, settings: Settings, allow_open: bool = False) -> None:
    """Raises InvalidSetting when other machines could reach the broker and decide without a token."""
    if settings.tokens or allow_open or is_loopback(host):
        return
    raise InvalidSetting(
        f"With the host {host} whoever reaches this machine could decide gates. Set GATEBUS_TOKENS, listen on"
        " 127.0.0.1, or say --allow-open when that is meant.",
        setting="tokens",
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def serve(store: Store, state_dir: Path, host: str, port: int, started: Callable[[str], object]) -> None:
    """Serves until SIGINT, SIGTERM or SIGHUP; ``started`` gets the URL as soon as it answers. Port 0 takes a free one.

    Raises Conflict when the port is in use, InvalidSetting when the host is no address of this machine.
    """
    stop = asyncio.Event()
    _on_signals(stop.set)
    app = make_app(store, state_dir)
    mount_notifications(app, store)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_LIMIT)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Conflict(f"Port {port} on {host} is in use already; choose another", port=port) from error
            raise InvalidSetting(f"The broker can't listen on {host}, port {port}: {error}") from error
        address = runner.addresses[0]
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        started(f"http://{shown}:{address[1]}")
        await stop.wait()
    finally:
        await runner.cleanup()


def _on_signals(stop: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":
        # Event loops there take no signal handlers; Ctrl-C reaches the loop's thread when something wakes it.
        signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(stop))
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
