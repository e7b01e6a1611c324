"""What may go wrong at the stand-in for a ComfyUI, or on the way to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Fault:
    """What happens to the next exchanges whose path ends so."""

    path: str
    kind: str
    """``status``, ``drop_before``, ``drop_after`` (it is done, then the connection is cut), ``cut`` (in the
    middle of the body), ``trickle``, ``hang``, ``redirect``, ``garbage``, ``endless``."""
    value: Any = None
    times: int = 1
    method: str = ""


class Faults:
    """The faults that are still to come, and what came to the server."""

    def __init__(self, prefix: str, token: str) -> None:
        self.prefix, self.token = prefix, token
        self.coming: list[Fault] = []
        self.exchanges: list[tuple[str, str]] = []
        """(method, path) of everything that came, sockets included."""

    def add(self, path: str, kind: str, value: Any = None, *, times: int = 1, method: str = "") -> None:
        self.coming.append(Fault(path, kind, value, times, method))

    def count(self, method: str, path: str) -> int:
        """How many such exchanges came."""
        return sum(came == (method, path) for came in self.exchanges)

    @web.middleware
    async def meddle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path.removeprefix(self.prefix)
        self.exchanges.append((request.method, path))
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        for fault in self.coming:
            if fault.times > 0 and path.endswith(fault.path) and fault.method in ("", request.method):
                fault.times -= 1
                return await self._fail(fault, request, handler)
        try:
            return await handler(request)
        except (web.HTTPException, ConnectionError):
            raise
        except Exception:
            return web.Response(status=500, text="500 Internal Server Error\n\nServer got itself in trouble")

    async def _fail(self, fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
        if fault.kind == "status":
            return web.Response(status=fault.value, headers={"Retry-After": "0"})
        if fault.kind == "redirect":
            return web.Response(status=302, headers={"Location": fault.value})
        if fault.kind == "garbage":
            return web.Response(text="<html>Welcome</html>", content_type="text/html")
        if fault.kind == "hang":
            await asyncio.sleep(fault.value)
            return await handler(request)
        assert request.transport is not None
        if fault.kind in ("drop_before", "drop_after"):
            if fault.kind == "drop_after":
                await handler(request)
            request.transport.abort()
            return web.Response()
        body = bytes(1024 * 1024)
        answer = web.StreamResponse()
        if fault.kind != "endless":
            whole = await handler(request)
            assert isinstance(whole, web.Response)
            assert isinstance(whole.body, bytes)
            body, answer.content_type, answer.content_length = whole.body, whole.content_type, len(whole.body)
        await answer.prepare(request)
        if fault.kind == "cut":
            await answer.write(body[: len(body) // 2])
            await asyncio.sleep(0.02)
            request.transport.abort()
        while fault.kind == "endless":
            await answer.write(body)
        for place in range(len(body) if fault.kind == "trickle" else 0):
            await answer.write(body[place : place + 1])
            await asyncio.sleep(fault.value)
        return answer
