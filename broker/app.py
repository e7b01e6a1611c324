"""The broker's application: the API and the page over the store, its health, and its figures."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from gates.api import CALLER, Api, mount
from gates.api.answer import SAFE_HEADERS, answer_error, answer_json, as_json
from gates.errors import GatebusError, InvalidInput, InvalidSetting, StoreUnavailable
from gates.gate.listing import RUNS
from gates.guard import Guard
from gates.setting_values import Token
from gates.settings import Settings
from gates.store import Store

from .exchanges import RUNNING, Running, framed
from .farm.api import FarmApi
from .farm.mounting import mount_farm
from .jobs.store import JobStore
from .metrics import CONTENT_TYPE, METRICS, Metrics
from .openapi import mount_document
from .page import mount_page
from .tokens import LOOK_AGAIN, Followed

T = TypeVar("T")

_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")

EVER = 10**12
"""Milliseconds beyond which no run's next look is due."""

COUNTED_RUNS = 10_000
"""Runs under way that are counted, at most."""

log = logging.getLogger(__name__)


def make_app(
    store: Store,
    state_dir: Path,
    *,
    prefix: str = "",
    tokens: Callable[[], Sequence[Token]] | None = None,
    jobs: JobStore | None = None,
) -> web.Application:
    """The application over an open store, which stays the caller's to close. ``state_dir``: see ``gates.api.mount``.

    ``prefix``: everything lies below this sub-path (see :func:`check_prefix`). ``tokens``
    gives the accepted ones of now, and is asked again while the application runs; without it
    those of the store's settings count.
    ``jobs``: the farm's, which stay the caller's to close; without them it has no farm.
    """
    prefix = check_prefix(prefix)
    guard, metrics, running = Guard(store.settings), Metrics(), Running()
    frame = framed(guard, metrics, running, prefix)
    app = web.Application(middlewares=[] if prefix else [frame])
    app[METRICS], app[RUNNING] = metrics, running
    further = FarmApi(jobs).routes if jobs is not None else ()
    api = mount(app, lambda: store, state_dir, guard=guard, further=further)
    if jobs is not None:
        mount_farm(app, store, jobs)
    mount_document(app, api.routes, prefix)
    mount_page(app)
    _mount_service(app, api, store, guard, metrics)
    steps: list[Callable[[], object]] = [_Watched(store).look]
    if tokens is not None:
        steps.append(Followed(guard, tokens, store.settings.tokens).look)
    app.cleanup_ctx.append(lambda _: _repeated(steps))
    if not prefix:
        return app
    outer = web.Application(middlewares=[frame])
    outer[METRICS], outer[RUNNING] = metrics, running

    async def to_page(http: web.Request) -> web.StreamResponse:
        # Relative, so that it also holds below a sub-path that a proxy has taken off.
        query = f"?{http.query_string}" if http.query_string else ""
        return web.Response(status=307, headers={**SAFE_HEADERS, "Location": f"{prefix.rpartition('/')[2]}/{query}"})

    outer.router.add_get(prefix, to_page)
    outer.add_subapp(prefix, app)
    return outer


def _mount_service(app: web.Application, api: Api, store: Store, guard: Guard, metrics: Metrics) -> None:
    async def health(_: web.Request) -> web.Response:
        """200, or 503 while the shared store is away. Asks for no token, so with tokens it gives no reason."""
        reason = await _in_thread(store.unavailable)
        if not reason:
            return answer_json(as_json({"status": "ok"}))
        shown = "" if guard.asks else reason
        answer = answer_json(as_json({"status": "store_unavailable", "reason": shown}))
        answer.set_status(503)
        return answer

    def count() -> tuple[dict[str, int] | None, dict[str, int]]:
        """(gates by status, runs by state); None while the store is away."""
        try:
            if not store.unavailable():
                runs = Counter(gate.run for gate in store.gates.due_runs(-EVER, COUNTED_RUNS))
                return store.gates.counts(), {**dict.fromkeys(RUNS[:4], 0), **runs}
        except StoreUnavailable:
            log.debug("gatebus: nothing is counted while the store is away")
        return None, {}

    async def figures(http: web.Request) -> web.Response:
        """The figures of this broker, as Prometheus reads them."""
        try:
            http[CALLER] = guard.check(http.headers, "view", remote=http.remote, secure=http.secure)
        except GatebusError as error:
            return answer_error(error)
        body = metrics.render(len(api.streams), *await _in_thread(count))
        return web.Response(body=body, headers={**SAFE_HEADERS, "Content-Type": CONTENT_TYPE})

    app.router.add_get("/healthz", health)
    app.router.add_get("/metrics", figures)


class _Watched:
    """Logs that the store went away and came back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reason = ""

    def look(self) -> None:
        reason = self._store.unavailable()
        if reason and not self._reason:
            log.error("the store is away", extra={"fields": {"reason": reason}})
        elif self._reason and not reason:
            log.info("the store is back")
        self._reason = reason


async def _repeated(steps: Sequence[Callable[[], object]]) -> AsyncIterator[None]:
    """Runs the steps, in a thread, every :data:`LOOK_AGAIN` seconds while the application runs."""

    async def repeat() -> None:
        while True:
            for step in steps:
                try:
                    await _in_thread(step)
                except Exception:
                    # It must go on: the next look may succeed.
                    log.exception("gatebus: a look at the store or the tokens failed")
            await asyncio.sleep(LOOK_AGAIN)

    running = asyncio.get_running_loop().create_task(repeat())
    yield
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _in_thread(step: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, step, *arguments)


def check_prefix(prefix: str) -> str:
    """The sub-path without a slash at its end, "" for none; raises InvalidInput."""
    trimmed = prefix.rstrip("/")
    if not _PREFIX.fullmatch(trimmed):
        raise InvalidInput(
            "The prefix must be a path such as /gatebus-farm, of letters, digits and - _ . ~", prefix=prefix
        )
    return trimmed


def check_host(host: str, settings: Settings, allow_open: bool = False) -> None:
    """Raises InvalidSetting when other machines could reach the broker and decide without a token."""
    if settings.tokens or allow_open or is_loopback(host):
        return
    raise InvalidSetting(
        f"With the host {host} whoever reaches this machine could decide gates. Make a token (`gatebus token create"
        " --name NAME`) or set GATEBUS_TOKENS, listen on 127.0.0.1, or say --allow-open when that is meant.",
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
