"""The real API on real sockets over real stores: on this machine alone, and on a redis-server."""

from __future__ import annotations

import asyncio
import io
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientResponse, ClientTimeout, web
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

from gates import codec
from gates.api import Api, mount
from gates.gate.record import Gate, Waiter
from gates.settings import Settings
from gates.store import Store, open_store

SETTINGS = replace(Settings(), instance="studio", tick=0.3, lease=1.0)


def png_bytes(width: int = 8, height: int = 6, colour: Any = (200, 100, 50), kind: str = "PNG") -> bytes:
    """A flat image as the bytes of a file."""
    target = io.BytesIO()
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[len(colour) if isinstance(colour, tuple) else 1]
    Image.new(mode, (width, height), colour).save(target, kind)
    return target.getvalue()


@dataclass
class Host:
    """One API over one store, and a client of it."""

    store: Store
    api: Api
    client: TestClient[Any, Any]
    folder: Path
    waiters: list[Waiter] = field(default_factory=list)

    def open_gate(self, width: int = 8, height: int = 6, frames: int = 2, stored: bool = True, **more: Any) -> Waiter:
        """A gate that waits, with a picture of that size."""
        batch = np.linspace(0, 1, frames * height * width * 3, dtype=np.float32).reshape(frames, height, width, 3)
        gate = Gate(id=uuid.uuid4().hex, width=width, height=height, batch=frames, **more)
        waiter = self.store.gates.open(gate, codec.preview_jpeg(batch))
        if stored:
            waiter.store_image(codec.encode(batch, "png"))
        self.waiters.append(waiter)
        return waiter

    async def get(self, path: str, **options: Any) -> ClientResponse:
        return await self.client.get(path, **options)

    async def json(self, path: str, status: int = 200) -> Any:
        answer = await self.client.get(path)
        assert answer.status == status, await answer.text()
        return await answer.json()

    async def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = await self.client.post(path, json={} if body is None else body)
        assert answer.status == status, await answer.text()
        return await answer.json()

    async def send(
        self, method: str, path: str, data: bytes, status: int = 200, content_type: str = "image/png"
    ) -> Any:
        answer = await self.client.request(method, path, data=data, headers={"Content-Type": content_type})
        assert answer.status == status, await answer.text()
        return await answer.json()

    async def delete(self, path: str, status: int = 200) -> Any:
        answer = await self.client.delete(path)
        assert answer.status == status, await answer.text()
        return await answer.json()

    def tree(self) -> dict[str, bytes]:
        """Every file below the folder, with its bytes."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }


class Events:
    """A reader of the event stream; a browser's EventSource in miniature."""

    def __init__(self, answer: ClientResponse) -> None:
        self.answer = answer
        self.last_id = ""

    async def next(self, timeout: float = 10.0) -> tuple[str, Any]:
        """(event, data) of the next message."""
        kind, data = "message", ""
        while True:
            line = await self._line(timeout)
            if not line and data:
                return kind, json.loads(data)
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                data += value
            elif name == "id":
                self.last_id = value

    async def comment(self) -> None:
        """Returns with the next comment."""
        while not (await self._line(10)).startswith(":"):
            pass

    async def _line(self, timeout: float) -> str:
        line = (await asyncio.wait_for(self.answer.content.readline(), timeout)).decode()
        if not line:
            raise EOFError
        return line.rstrip("\n")

    async def until(self, kind: str, timeout: float = 20.0) -> Any:
        """The data of the next message of that kind; others are passed over."""
        end = time.monotonic() + timeout
        while True:
            found, data = await self.next(end - time.monotonic())
            if found == kind:
                return data


async def soon(condition: Callable[[], Awaitable[Any]], timeout: float = 15.0) -> Any:
    """The first true value of the condition; fails when none comes."""
    end = time.monotonic() + timeout
    while True:
        value = await condition()
        if value:
            return value
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)


@pytest.fixture
def image() -> Callable[..., bytes]:
    return png_bytes


@pytest.fixture
def eventually() -> Callable[..., Awaitable[Any]]:
    return soon


@pytest.fixture
async def host_at(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Host]]]:
    """Opens a host with the given settings; all are closed after the test."""
    hosts: list[Host] = []

    async def make(settings: Settings = SETTINGS, folder: Path = tmp_path / "host") -> Host:
        folder.mkdir(parents=True, exist_ok=True)
        store = open_store(settings, folder / "input", folder / "state")
        app = web.Application()
        api = mount(app, lambda: store, folder / "state")
        client: TestClient[Any, Any] = TestClient(TestServer(app))
        await client.start_server()
        hosts.append(Host(store, api, client, folder))
        return hosts[-1]

    yield make
    for host in hosts:
        await host.client.close()
        await asyncio.get_running_loop().run_in_executor(None, host.store.close)


@pytest.fixture
async def local(host_at: Callable[..., Awaitable[Host]]) -> Host:
    """An API over a store of this machine alone."""
    return await host_at()


@pytest.fixture(params=["local", pytest.param("redis", marks=pytest.mark.redis)])
async def host(request: pytest.FixtureRequest, host_at: Callable[..., Awaitable[Host]]) -> Host:
    """An API over each kind of store."""
    if request.param == "local":
        return await host_at()
    server = request.getfixturevalue("redis_server")
    return await host_at(replace(SETTINGS, store_url=server.url))


@pytest.fixture
async def follow() -> AsyncIterator[Callable[..., Awaitable[Events]]]:
    """Opens an event stream of a host."""
    opened: list[Events] = []

    async def open_stream(host: Host, last_id: str = "") -> Events:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        answer = await host.client.get("/gatebus/events", headers=headers, timeout=ClientTimeout(total=None))
        assert answer.status == 200, await answer.text()
        opened.append(Events(answer))
        return opened[-1]

    yield open_stream
    for events in opened:
        events.answer.close()
