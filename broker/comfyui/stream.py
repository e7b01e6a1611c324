"""The stream: one WebSocket to a ComfyUI, made anew whenever it breaks. Decoration; the truth is asked for."""

from __future__ import annotations

import asyncio
import json
import random
import struct
import time
import uuid
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from gates.errors import GatebusError

from .connection import MAX_PAUSE, PAUSE, Connection

HEARTBEAT = 30.0
"""Seconds between pings; a server whose loop is held by a node answers late, so an answer has half as long."""

STABLE = 5.0
"""Seconds after which a connection counts as a good one, and the next break is repaired at once."""

KEPT_EVENTS = 500
"""Of one prompt, for who asks for them later; the oldest are dropped."""

KEPT_PROMPTS = 1000
"""Prompts whose events are kept; the one that was heard of longest ago is dropped."""

PREVIEW, TEXT, PREVIEW_WITH_METADATA = 1, 3, 4
"""Kinds of binary messages: their first 4 bytes, big-endian."""

FORMATS = {1: "jpeg", 2: "png"}

LATEST = frozenset({"preview", "progress", "progress_state"})
"""Types of which only the newest counts; an older one is kept no longer than the next one comes."""


@dataclass(frozen=True)
class Event:
    """Something that the stream told of a prompt."""

    prompt_id: str
    type: str
    """ComfyUI's word (``executing``, ``progress_state``, ``executed``, ...), or ``preview`` or ``text``."""
    data: dict[str, Any]
    """ComfyUI's; of ``preview``: ``format`` (``jpeg`` or ``png``) and ``node``; of ``text``: ``text`` and ``node``."""
    preview: bytes = field(default=b"", repr=False)
    """The image of a ``preview``, not verified."""
    at: float = field(default_factory=time.monotonic)
    """Monotonic seconds."""


class Channel:
    """The events of one prompt, oldest first; read by position, so that several may follow."""

    def __init__(self) -> None:
        self._events: deque[Event | None] = deque(maxlen=KEPT_EVENTS)
        self._latest: dict[str, int] = {}
        self.count = 0
        """Events that came, with those that are kept no more."""
        self.arrived = asyncio.Event()
        """Replaced at each event: whoever holds the old one is woken."""
        self.calls = 0
        """How often it was time to ask for the truth at once."""

    def put(self, event: Event) -> None:
        """Adds an event and wakes who follows."""
        if event.type in LATEST:
            place = self._latest.get(event.type, -1) - (self.count - len(self._events))
            if place >= 0:
                self._events[place] = None
            self._latest[event.type] = self.count
        self._events.append(event)
        self.count += 1
        self._wake()

    def call(self) -> None:
        """Makes who follows ask for the truth at once."""
        self.calls += 1
        self._wake()

    def since(self, position: int) -> list[Event]:
        """The events from that position on, as far as they are kept."""
        new = self.count - position
        return [event for event in list(self._events)[-new:] if event is not None] if new > 0 else []

    def _wake(self) -> None:
        arrived, self.arrived = self.arrived, asyncio.Event()
        arrived.set()


class Stream:
    """The events of every prompt that this client submits or follows."""

    def __init__(self, connection: Connection, heartbeat: float = HEARTBEAT) -> None:
        self.client_id = uuid.uuid4().hex
        self.breaks = 0
        """Connections that broke so far, those that were renewed on purpose not counted."""
        self.heard = time.monotonic()
        """When the last message came, of whatever kind; monotonic seconds."""
        self._connection = connection
        self._heartbeat = heartbeat
        self._channels: OrderedDict[str, Channel] = OrderedDict()
        self._open = asyncio.Event()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._current = ""
        self._renewed = False

    @property
    def is_open(self) -> bool:
        """Whether it is connected now."""
        return self._open.is_set()

    async def open(self, limit: float) -> bool:
        """Connects, unless it is connected; whether it is after at most ``limit`` seconds. Goes on trying."""
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._keep(), name="comfyui stream")
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._open.wait(), limit)
        return self.is_open

    async def renew(self) -> None:
        """Connects anew. The old socket is closed before, as the server forgets a client id when an old one ends."""
        if self._socket is not None:
            self._renewed = True
            await self._socket.close()

    async def close(self) -> None:
        """Disconnects for good."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader

    def channel(self, prompt_id: str) -> Channel:
        """The prompt's events, from now on or from where it was first asked for."""
        channel = self._channels.setdefault(prompt_id, Channel())
        self._channels.move_to_end(prompt_id)
        if len(self._channels) > KEPT_PROMPTS:
            self._channels.popitem(last=False)
        return channel

    async def _keep(self) -> None:
        pause = PAUSE
        while True:
            since = time.monotonic()
            try:
                self._socket = await self._connection.socket(self.client_id, self._heartbeat)
                await self._listen(self._socket)
            except (GatebusError, aiohttp.ClientError, OSError):
                # Whatever keeps it away, prompts are followed by asking; a refusal is raised where they are.
                pass
            finally:
                self.breaks += self._open.is_set() and not self._renewed
                self._renewed = False
                self._open.clear()
                if self._socket is not None:
                    with suppress(aiohttp.ClientError, OSError):
                        await self._socket.close()
                self._socket = None
                # Who follows a prompt looks at once: this may be a restart.
                for channel in self._channels.values():
                    channel.call()
            pause = PAUSE if time.monotonic() - since > STABLE else min(2 * pause, MAX_PAUSE)
            await asyncio.sleep(random.uniform(0, pause))

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        await socket.send_str(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        async for message in socket:
            if message.type is aiohttp.WSMsgType.ERROR:
                return
            # The first one (the server's status) tells that the client id is known there.
            self._open.set()
            self.heard = time.monotonic()
            with suppress(ValueError, KeyError, TypeError, struct.error):
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._text(json.loads(message.data))
                elif message.type is aiohttp.WSMsgType.BINARY:
                    self._binary(message.data)

    def _text(self, message: dict[str, Any]) -> None:
        data = message["data"]
        prompt_id = data.get("prompt_id")
        if isinstance(prompt_id, str):
            self._current = prompt_id
            self._put(Event(prompt_id, str(message["type"]), data))

    def _binary(self, message: bytes) -> None:
        (kind,) = struct.unpack_from(">I", message)
        if kind == PREVIEW:
            # It names no prompt: it is of the one that runs, which the last message named.
            (image,) = struct.unpack_from(">I", message, 4)
            self._put(Event(self._current, "preview", {"format": FORMATS.get(image, "jpeg"), "node": ""}, message[8:]))
        elif kind == PREVIEW_WITH_METADATA:
            (length,) = struct.unpack_from(">I", message, 4)
            told = json.loads(message[8 : 8 + length])
            form = str(told.get("image_type", "image/jpeg")).rpartition("/")[2]
            data = {"format": form, "node": str(told.get("display_node_id") or told.get("node_id") or "")}
            self._put(Event(str(told["prompt_id"]), "preview", data, message[8 + length :]))
        elif kind == TEXT:
            (length,) = struct.unpack_from(">I", message, 4)
            node, text = message[8 : 8 + length].decode(), message[8 + length :].decode(errors="replace")
            self._put(Event(self._current, "text", {"node": node, "text": text}))

    def _put(self, event: Event) -> None:
        channel = self._channels.get(event.prompt_id)
        if channel is not None:
            channel.put(event)
