"""The frame around every exchange: its line in the log, its figures, and plain errors as JSON."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from aiohttp import web

from gates.api import CALLER, DECISION
from gates.api.answer import answer_error
from gates.errors import GatebusError, NotFound
from gates.guard import Guard

from .metrics import Metrics

if TYPE_CHECKING:
    # aiohttp 3.9 has no such name.
    from aiohttp.typedefs import Middleware

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Any other method is counted as OTHER: whoever sends it chooses its name."""

QUIET = ("/healthz", "/metrics", "/", "/web/{path}")
"""Routes whose exchanges are logged at the level debug: probes, and the page's files."""

NO_ROUTE = "(none)"
"""The route of what the table does not have."""

GONE = 499
"""Status in log and figures of an exchange whose caller left before the answer."""

STREAMS = "/gatebus/events"
"""The route whose exchanges last as long as both sides live."""

log = logging.getLogger(__name__)


class Running:
    """The exchanges under way, event streams left out; used on one event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self.ending = False
        """Whether the server stops: connections are then closed with their answer."""

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def one(self) -> Iterator[None]:
        """An exchange, from its head to its answer."""
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._none.set()

    async def end(self, limit: float) -> None:
        """Returns when none runs any more, or after ``limit`` seconds."""
        self.ending = True
        self._none.clear()
        if self._count:
            try:
                await asyncio.wait_for(self._none.wait(), limit)
            except asyncio.TimeoutError:
                log.warning("calls are cut off", extra={"fields": {"calls": self._count}})


RUNNING = web.AppKey("gatebus_running", Running)
"""Where an application keeps its exchanges."""


class WrongMethod(GatebusError):
    """That address takes other methods."""

    status = 405
    type = "method_not_allowed"


def framed(guard: Guard, metrics: Metrics, running: Running, prefix: str = "") -> Middleware:
    """The middleware; ``prefix`` is left out of the routes that it names."""

    @web.middleware
    async def frame(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        began = time.perf_counter()
        status, streamed = GONE, False
        try:
            try:
                with nullcontext() if named(request) == STREAMS else running.one():
                    answer = await handler(request)
            except web.HTTPNotFound:
                answer = answer_error(NotFound("There is nothing at this address"))
            except web.HTTPMethodNotAllowed as error:
                accepted = sorted(error.allowed_methods)
                answer = answer_error(WrongMethod(f"This address takes {', '.join(accepted)}", accepted=accepted))
                answer.headers["Allow"] = ", ".join(accepted)
            except web.HTTPException as error:
                status = error.status
                raise
            status, streamed = answer.status, answer.content_type == "text/event-stream"
            if not answer.prepared:
                # aiohttp's own tells the versions of Python and of itself.
                answer.headers["Server"] = "gatebus"
            if running.ending:
                answer.force_close()
            return answer
        except (asyncio.CancelledError, ConnectionError, web.HTTPException):
            raise
        except Exception:
            status = 500
            log.exception("gatebus: %s failed", request.method if request.method in METHODS else "OTHER")
            return answer_error(GatebusError("This failed in a way that was not foreseen; the log tells more"))
        finally:
            seconds = time.perf_counter() - began
            record(request, status, None if streamed else seconds, seconds)

    def named(http: web.Request) -> str:
        resource = http.match_info.route.resource
        return resource.canonical.removeprefix(prefix) if resource is not None else NO_ROUTE

    def record(http: web.Request, status: int, timed: float | None, seconds: float) -> None:
        route = named(http)
        method = http.method if http.method in METHODS else "OTHER"
        metrics.exchanged(route, method, status, timed)
        for kind, taken in http.get(DECISION, ()):
            metrics.decided(kind, taken)
        level = logging.DEBUG if route in QUIET and status < 500 else logging.INFO
        if log.isEnabledFor(level):
            caller = http.get(CALLER)
            fields = {
                "method": method,
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 1),
                "who": caller.name if caller else "",
                "remote": guard.peer(http.headers, http.remote, http.secure).address,
            }
            log.log(level, "exchange", extra={"fields": fields})

    return frame
