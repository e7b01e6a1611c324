"""The broker's socket: where it listens, with or without TLS, and how it stops."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from gates.errors import Conflict, InvalidSetting
from gates.setting_values import Token
from gates.store import Store

from .app import make_app
from .exchanges import RUNNING
from .jobs.opening import open_jobs
from .metrics import METRICS
from .notify.notifications import mount_notifications

PORT = 8787

COLLECT_AFTER = 50_000
"""Objects that are made before Python looks for cycles among the young ones; 700 is its default."""

STOP_LIMIT = 5.0
"""Seconds that running calls have to finish when the broker stops."""

CUT_LIMIT = 0.5
"""Seconds after that for each of the two steps in which aiohttp ends what still runs."""

IDLE_LIMIT = 75.0
"""Seconds in which a connection must bring the whole head of a call; the usual proxies keep theirs for 60."""

UNREAD_LIMIT = 60.0
"""Seconds for which a reader may leave what was sent untaken."""

LINE_LIMIT = 64 * 1024
"""Bytes of the first line of a call: a query may hold many ids, and text that is escaped by nine bytes a character."""

SWITCH = 0.0005
"""Seconds after which a thread that computes makes way for another. With Python's own 5 ms a decision, which
goes from thread to thread a few times, waits 20 ms and more while a long list is made."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listening:
    """Where and how a broker listens."""

    host: str = "127.0.0.1"
    port: int = PORT
    """0: any free one."""
    prefix: str = ""
    """Sub-path of everything, "" for none."""
    tls_cert: Path | None = None
    """PEM file of the certificate and its chain."""
    tls_key: Path | None = None
    """PEM file of its key, when that is not in the same file."""

    def context(self) -> ssl.SSLContext | None:
        """The TLS of these files, None when there is none; raises InvalidSetting."""
        if self.tls_cert is None:
            if self.tls_key is not None:
                raise InvalidSetting("--tls-key needs --tls-cert, the certificate that belongs to it")
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)

        def refuse() -> str:
            raise InvalidSetting(f"The key of {self.tls_cert} has a password; the broker needs one without")

        try:
            context.load_cert_chain(self.tls_cert, self.tls_key, password=refuse)
        except OSError as error:
            files = f"{self.tls_cert}" + (f" with {self.tls_key}" if self.tls_key else "")
            raise InvalidSetting(f"{files} can't be used for TLS (PEM files are needed): {error}") from error
        return context


async def serve(
    store: Store,
    state_dir: Path,
    listening: Listening,
    started: Callable[[str], object],
    tokens: Callable[[], Sequence[Token]] | None = None,
) -> None:
    """Serves until SIGINT, SIGTERM or SIGHUP; ``started`` gets the URL as soon as it answers.

    It then takes no more connections, ends event streams, and lets running calls finish for
    :data:`STOP_LIMIT` seconds. ``tokens``: see ``make_app``. Raises Conflict when the port is in
    use, InvalidSetting when the host is no address of this machine.
    """
    context = listening.context()
    sys.setswitchinterval(SWITCH)
    stop = asyncio.Event()
    _on_signals(stop.set)
    jobs = open_jobs(store, state_dir)
    # It walks every record that the inventory holds, and a decision would wait for that.
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
    app = make_app(store, state_dir, prefix=listening.prefix, tokens=tokens, jobs=jobs)
    mount_notifications(app, store, app[METRICS].notified)
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=CUT_LIMIT, keepalive_timeout=IDLE_LIMIT, max_line_size=LINE_LIMIT
    )
    await runner.setup()
    server: asyncio.Server | None = None
    try:
        server = await _listen(runner, listening, context)
        url = _url(server.sockets[0], listening, secure=context is not None)
        log.info("started", extra={"fields": {"url": url}})
        started(url)
        await stop.wait()
        server.close()
        log.info("stopping", extra={"fields": {"calls": len(app[RUNNING])}})
        # Before aiohttp's own end, which takes no more of a body that is under way.
        await app[RUNNING].end(STOP_LIMIT)
    finally:
        if server is not None:
            server.close()
        await runner.cleanup()
        jobs.close()
        if server is not None:
            log.info("stopped")


async def _listen(runner: web.AppRunner, listening: Listening, context: ssl.SSLContext | None) -> asyncio.Server:
    assert runner.server is not None  # noqa: S101 -- it is there once the runner is set up
    host, port = listening.host, listening.port
    try:
        server = await asyncio.get_running_loop().create_server(runner.server, host, port, ssl=context, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Conflict(f"Port {port} on {host} is in use already; choose another", port=port) from error
        raise InvalidSetting(f"The broker can't listen on {host}, port {port}: {error}") from error
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        # Connections inherit it: one whose other side takes nothing for so long is given up by the system.
        for listener in server.sockets:
            listener.setsockopt(socket.IPPROTO_TCP, option, int(UNREAD_LIMIT * 1000))
    return server


def _url(listener: socket.socket, listening: Listening, secure: bool) -> str:
    address = listener.getsockname()
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{'https' if secure else 'http'}://{host}:{address[1]}{listening.prefix.rstrip('/')}"


def _on_signals(stop: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":
        # Event loops there take no signal handlers; Ctrl-C reaches the loop's thread when something wakes it.
        signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(stop))
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
