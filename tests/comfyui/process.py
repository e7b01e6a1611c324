"""A real ComfyUI process with this checkout as a custom node, and a client for it.

``COMFYUI_DIR`` is a checkout of ComfyUI, ``COMFYUI_PYTHON`` its interpreter (default: this one).
Nothing in the checkout of ComfyUI is touched: everything is written below a base directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

CHECKOUT = Path(__file__).resolve().parents[2]
START_LIMIT = 180.0
"""Seconds; a cold disk and two cores need up to a minute."""


class ComfyUI:
    """One ComfyUI on the CPU, started and stopped on one port and one base directory."""

    def __init__(
        self,
        base: Path,
        environ: Mapping[str, str] | None = None,
        nodes: Sequence[Path] = (),
        arguments: Sequence[str] = (),
    ) -> None:
        """``environ``: ``GATEBUS_*`` settings; ``nodes``: further custom nodes, copied; ``arguments``: ComfyUI's."""
        self.base = base
        self.arguments = tuple(arguments)
        self.environ = dict(environ or {})
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        for folder in ("custom_nodes", "input", "output", "temp", "user", "models"):
            (base / folder).mkdir(parents=True, exist_ok=True)
        # A name with dashes: the pack must not need to be importable by its folder's name.
        link = base / "custom_nodes" / "gatebus-under-test"
        if not link.exists():
            link.symlink_to(CHECKOUT, target_is_directory=True)
        for source in nodes:
            shutil.copy(source, base / "custom_nodes" / source.name)

    def start(self) -> None:
        directory = os.environ["COMFYUI_DIR"]
        command = [os.environ.get("COMFYUI_PYTHON") or sys.executable, str(Path(directory) / "main.py")]
        command += ["--cpu", "--listen", "127.0.0.1", "--port", str(self.port), "--base-directory", str(self.base)]
        command += ["--database-url", f"sqlite:///{self.base}/user/comfyui.db", "--disable-api-nodes"]
        command += self.arguments
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEBUS_")}
        environ = {**kept, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", **self.environ}
        with (self.base / "comfyui.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ)
        self._await_answer()

    def _await_answer(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(f"{self.url}/system_stats", timeout=5).close()
                return
            if self.process.poll() is not None:
                raise AssertionError(f"ComfyUI ended at its start:\n{self.log()[-4000:]}")
            time.sleep(0.25)
        self.stop()
        raise AssertionError(f"ComfyUI did not answer in {START_LIMIT:.0f} s:\n{self.log()[-4000:]}")

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def log(self) -> str:
        path = self.base / "comfyui.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def ask(self, path: str, body: Any = None) -> Any:
        """The JSON of one exchange: a GET, or with a body a POST."""
        data = None if body is None else json.dumps(body).encode()
        message = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(message, timeout=30) as answer:
            return json.loads(answer.read())

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A client with a tab's WebSocket of its own."""
        async with aiohttp.ClientSession(self.url) as http:
            client = Client(http)
            async with http.ws_connect("/ws", params={"clientId": client.id}) as socket:
                reader = asyncio.create_task(client.listen(socket))
                try:
                    yield client
                except BaseException:
                    # What a failed test left waiting must not hold up the next one.
                    await client.ask("POST", "/queue", json={"clear": True})
                    await client.ask("POST", "/interrupt", json={})
                    raise
                finally:
                    reader.cancel()


class Client:
    """What a tab does: queues prompts, hears events, asks the API."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.http = http
        self.id = uuid.uuid4().hex
        self.events: list[tuple[float, str, dict[str, Any]]] = []
        """(monotonic seconds, type, data)."""
        self._arrived = asyncio.Event()

    async def listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                event = json.loads(message.data)
                self.events.append((time.monotonic(), event["type"], event.get("data") or {}))
                self._arrived.set()

    async def event(self, kind: str, limit: float = 30, **wanted: Any) -> tuple[float, dict[str, Any]]:
        """The first event of that type whose data holds what is wanted: when, and its data."""
        deadline = time.monotonic() + limit
        while True:
            self._arrived.clear()
            for at, type_, data in self.events:
                if type_ == kind and all(data.get(key) == value for key, value in wanted.items()):
                    return at, data
            left = deadline - time.monotonic()
            if left <= 0:
                seen = [(type_, data) for _, type_, data in self.events[-20:]]
                raise AssertionError(f"no {kind} with {wanted} in {limit} s; the last events: {seen}")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """(status, JSON or bytes) of one exchange."""
        async with self.http.request(method, path, **options) as answer:
            if answer.content_type == "application/json":
                return answer.status, await answer.json()
            return answer.status, await answer.read()

    async def queue(self, graph: dict[str, Any], **more: Any) -> str:
        """Queues the prompt and returns its id."""
        body = {"prompt": graph, "client_id": self.id, **more}
        status, answer = await self.ask("POST", "/prompt", json=body)
        assert status == 200, answer
        assert not answer["node_errors"], answer
        return str(answer["prompt_id"])

    async def ended(self, prompt_id: str, limit: float = 60) -> dict[str, Any]:
        """The prompt's entry in the history, once it has ended."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            _, history = await self.ask("GET", f"/history/{prompt_id}")
            if prompt_id in history:
                return dict(history[prompt_id])
            await asyncio.sleep(0.05)
        raise AssertionError(f"prompt {prompt_id} did not end in {limit} s")

    async def gates(self, prompt_id: str, count: int = 1, limit: float = 30) -> list[dict[str, Any]]:
        """The prompt's waiting gates, once there are so many."""
        deadline = time.monotonic() + limit
        while True:
            status, answer = await self.ask("GET", "/gatebus/gates")
            assert status == 200, answer
            own = [g for g in answer["gates"] if g["prompt_id"] == prompt_id and g["status"] == "waiting"]
            if len(own) >= count:
                return own
            assert time.monotonic() < deadline, f"{len(own)} of {count} gates: {answer}"
            await asyncio.sleep(0.03)

    async def route(self, gate_id: str, route: int, **more: Any) -> tuple[int, Any]:
        """Decides a gate over HTTP."""
        return await self.ask("POST", f"/gatebus/gates/{gate_id}/route", json={"route": route, **more})

    async def image(self, history: dict[str, Any], node: str, position: int = 0) -> bytes:
        """The file that an output node of the prompt wrote."""
        reference = history["outputs"][node]["images"][position]
        status, data = await self.ask("GET", "/view", params=reference)
        assert status == 200
        return bytes(data)


def is_available() -> str:
    """Why no ComfyUI can be started, "" when one can."""
    directory = os.environ.get("COMFYUI_DIR")
    if not directory:
        return "COMFYUI_DIR is not set: no ComfyUI to test in"
    if not (Path(directory) / "main.py").is_file():
        return f"COMFYUI_DIR={directory} holds no main.py"
    return ""
