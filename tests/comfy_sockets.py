"""The stream of the stand-in for a ComfyUI: one socket a client id, with the core's way to forget one."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

FEATURES = {"supports_preview_metadata": True, "max_upload_size": 100 * 1024 * 1024}


class ComfySockets:
    """The open sockets; ``status`` and ``current`` (client id and node that run) are what a new one is told."""

    def __init__(
        self, status: Callable[[], dict[str, Any]], current: Callable[[], tuple[str | None, str | None]]
    ) -> None:
        self._status, self._current = status, current
        self.mute = False
        """Whether sockets stay open and hear nothing."""
        self.by_id: dict[str, web.WebSocketResponse] = {}
        self.flags: dict[str, dict[str, Any]] = {}
        self._connected: set[web.WebSocketResponse] = set()

    def cut(self) -> int:
        """Cuts every stream, without a word; how many."""
        for socket in (cut := list(self._connected)):
            if socket._req is not None and socket._req.transport is not None:
                socket._req.transport.abort()
        return len(cut)

    async def shout(self, message: bytes) -> None:
        """Sends the bytes to every stream."""
        for socket in list(self._connected):
            await socket.send_bytes(message)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sid = request.query.get("clientId") or uuid.uuid4().hex
        self.by_id[sid] = socket
        self._connected.add(socket)
        self.flags[sid] = {}
        try:
            await self.send("status", {"status": self._status(), "sid": sid}, sid)
            if self._current() == (sid, node := self._current()[1]) and node is not None:
                await self.send("executing", {"node": node}, sid)
            first = True
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    told = json.loads(message.data)
                    if first and told.get("type") == "feature_flags":
                        self.flags[sid] = told.get("data", {})
                        await self.send("feature_flags", FEATURES, sid)
                    first = False
        finally:
            # As the core does: also when another socket of the same id has come meanwhile.
            self.by_id.pop(sid, None)
            self.flags.pop(sid, None)
            self._connected.discard(socket)
        return socket

    async def send(self, event: str, data: dict[str, Any], sid: str | None) -> None:
        for socket in self._to(sid):
            with contextlib.suppress(ConnectionError, RuntimeError):
                await socket.send_str(json.dumps({"type": event, "data": data}))

    def _to(self, sid: str | None) -> list[web.WebSocketResponse]:
        if self.mute:
            return []
        return [self.by_id[sid]] if sid in self.by_id else list(self.by_id.values()) if sid is None else []

    async def send_bytes(self, message: bytes, sid: str | None) -> None:
        for socket in self._to(sid):
            with contextlib.suppress(ConnectionError, RuntimeError):
                await socket.send_bytes(message)
