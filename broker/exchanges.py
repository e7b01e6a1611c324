"""The frame around every exchange: its line in the log, its figures, and plain errors as JSON."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from gates.api import CALLER, DECISION
from gates.api.answer import answer_error
from gates.errors import GatebusError, NotFound
from gates.guard import Guard

from .metrics import Metrics

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Any other method is counted as OTHER: whoever sends it chooses its name."""

QUIET = ("/healthz", "/metrics", "/", "/web/{path}")
"""Routes whose exchanges are logged at the level debug: probes, and the page's files."""

NO_ROUTE = "(none)"
"""The route of what the table does not have."""

GONE = 499
"""Status in log and figures of an exchange whose caller left before the answer."""

log = logging.getLogger(__name__)


class WrongMethod(GatebusError):
    """That address takes other methods."""

    status = 405
    type = "method_not_allowed"


def framed(guard: Guard, metrics: Metrics, prefix: str = "") -> Middleware:
    """The middleware; ``prefix`` is left out of the routes that it names."""

    @web.middleware
    async def frame(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        began = time.perf_counter()
        status, streamed = GONE, False
        try:
            try:
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

    def record(http: web.Request, status: int, timed: float | None, seconds: float) -> None:
        resource = http.match_info.route.resource
        route = resource.canonical.removeprefix(prefix) if resource is not None else NO_ROUTE
        method = http.method if http.method in METHODS else "OTHER"
        metrics.exchanged(route, method, status, timed)
        if DECISION in http:
            kind, taken = http[DECISION]
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
