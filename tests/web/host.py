"""A test host: the newest frontend (the wheel ``comfyui-frontend-package``) over our real API, nodes and store.

It is as much of a ComfyUI as the page needs. Prompts run for real as far as our nodes go (a gate
opens in the store, waits, is decided, passes its image on), on stand-ins for a few core nodes.
It runs in a thread of the test's process, which therefore shares its store.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import threading
import uuid
from pathlib import Path
from typing import Any

import comfyui_frontend_package
from aiohttp import WSMsgType, web

from gates import api
from gates.own_server import OwnServer, PromptWatch
from gates.runs import Runs as GoingOn
from gates.settings import Settings
from gates.store import open_store

from .host_nodes import Folders, node_classes
from .host_routes import PACK, WEB, Answers
from .host_run import Runs

FRONTEND = Path(comfyui_frontend_package.__file__).parent / "static"
"""The newest frontend's files; also for ``--front-end-root``."""


class Host:
    """One host on a free port (``url``) with everything below the folder ``base``; one at a time in a process."""

    def __init__(
        self, base: Path, settings: Settings | None = None, prefix: str = "", frontend: Path = FRONTEND
    ) -> None:
        """``prefix`` such as ``/some/where`` serves below a sub-path only, as behind a proxy."""
        self.folders = Folders(base)
        self.store = open_store(settings or Settings(instance="host"), self.folders.input, self.folders.user)
        self.url = ""
        self._prefix = prefix
        self._frontend = frontend
        version = importlib.metadata.version("comfyui-frontend-package")
        classes = node_classes(self.folders)
        self._answers = Answers(self.folders, classes, frontend, version)
        self.settings = self._answers.settings
        """The frontend's settings; to be filled in before a page loads."""
        self.userdata = self._answers.userdata
        self.runs = Runs(classes, self.store, self._send)
        self._tabs: dict[str, web.WebSocketResponse] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-host", daemon=True)
        self._undo = contextlib.ExitStack()

    def start(self) -> None:
        self._thread.start()
        self._undo.enter_context(self.runs.door())
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)

    def stop(self) -> None:
        """Ends it; gates that wait are withdrawn."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._undo.close()
        self.store.close()

    def go_on(self) -> None:
        """Looks from now on for runs that go on from decided gates, as a ComfyUI does, and runs them here."""
        address = ("127.0.0.1", self._runner.addresses[0][1], False)
        runs = self.runs
        going = GoingOn(
            lambda: self.store, OwnServer(lambda: self.store, lambda: address, runs.prompt_end, runs.missing)
        )
        watch = PromptWatch(lambda: self.store, runs.prompt_end, going.wake)
        runs.watch = watch.add
        self._undo.callback(going.close)
        self._undo.callback(watch.close)

    def drop_sockets(self) -> None:
        """Closes every tab's WebSocket; the page connects again."""

        async def drop() -> None:
            for tab in list(self._tabs.values()):
                await tab.close()

        asyncio.run_coroutine_threadsafe(drop(), self._loop).result(10)

    async def _start(self) -> None:
        app = web.Application(client_max_size=100 * 1024 * 1024)
        folders = self.folders
        self._api = api.mount(
            self._answers.table,
            lambda: self.store,
            folders.user,
            api.Folders(lambda: folders.input, lambda: folders.temp),
        )
        self._add_queue(self._answers.table)
        app.add_routes(self._answers.table)
        app.add_routes([web.route(r.method, f"/api{r.path}", r.handler) for r in self._answers.table])  # type: ignore[attr-defined]
        app.router.add_static(f"/api/workflow_templates/{PACK}", WEB.parents[1] / "example_workflows")
        app.router.add_get("/", self._index)
        app.router.add_static(f"/extensions/{PACK}", WEB)
        app.router.add_static("/", self._frontend)
        outer = app
        if self._prefix:
            outer = web.Application(client_max_size=100 * 1024 * 1024)
            outer.add_subapp(self._prefix, app)
        outer.on_response_prepare.append(_uncached)
        self._runner = web.AppRunner(outer, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}{self._prefix}"
        self._work = asyncio.get_running_loop().create_task(self.runs.work())

    async def _stop(self) -> None:
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)
        await self._api.shut_down()
        for tab in list(self._tabs.values()):
            await tab.close()
        await self._runner.cleanup()
        await self._api.close()

    async def _index(self, http: web.Request) -> web.FileResponse:
        return web.FileResponse(self._frontend / "index.html")

    def _add_queue(self, table: web.RouteTableDef) -> None:
        runs = self.runs

        @table.get("/ws")
        async def ws(http: web.Request) -> web.WebSocketResponse:
            tab = web.WebSocketResponse(heartbeat=30)
            await tab.prepare(http)
            sid = http.query.get("clientId") or uuid.uuid4().hex
            self._tabs[sid] = tab
            left = len(runs.pending()) + (runs.running is not None)
            status = {"status": {"exec_info": {"queue_remaining": left}}, "sid": sid}
            await tab.send_json({"type": "status", "data": status})
            async for message in tab:
                if message.type is WSMsgType.TEXT and json.loads(message.data).get("type") == "feature_flags":
                    await tab.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
            if self._tabs.get(sid) is tab:
                del self._tabs[sid]
            return tab

        @table.get("/prompt")
        async def remaining(http: web.Request) -> web.Response:
            left = len(runs.pending()) + (runs.running is not None)
            return web.json_response({"exec_info": {"queue_remaining": left}})

        @table.post("/prompt")
        async def submit(http: web.Request) -> web.Response:
            status, answer = runs.submit(await http.json())
            return web.json_response(answer, status=status)

        @table.post("/interrupt")
        async def interrupt(http: web.Request) -> web.Response:
            body = await http.json() if http.can_read_body else {}
            runs.interrupt(body.get("prompt_id"))
            return web.Response()

        @table.get("/queue")
        async def queue(http: web.Request) -> web.Response:
            running = [runs.running.as_queued()] if runs.running else []
            pending = [prompt.as_queued() for prompt in runs.pending()]
            return web.json_response({"queue_running": running, "queue_pending": pending})

        @table.post("/queue")
        async def change_queue(http: web.Request) -> web.Response:
            body = await http.json()
            for prompt in runs.pending():
                if body.get("clear") or prompt.id in body.get("delete", ()):
                    runs.prompts.remove(prompt)
            runs.tell_status()
            return web.Response()

        @table.get("/history")
        @table.get("/history/{id}")
        async def history(http: web.Request) -> web.Response:
            wanted = http.match_info.get("id")
            ended = [p for p in runs.prompts if p.status not in ("pending", "in_progress") and wanted in (None, p.id)]
            return web.json_response({prompt.id: prompt.as_history() for prompt in ended})

        @table.get("/jobs")
        async def jobs(http: web.Request) -> web.Response:
            wanted = http.query.get("status", "").split(",")
            found = [p.as_job() for p in reversed(runs.prompts) if wanted == [""] or p.status in wanted]
            pages = {"offset": 0, "limit": len(found), "total": len(found), "has_more": False}
            return web.json_response({"jobs": found, "pagination": pages})

        @table.get("/jobs/{id}")
        async def job(http: web.Request) -> web.Response:
            for prompt in runs.prompts:
                if prompt.id == http.match_info["id"]:
                    workflow = {"prompt": prompt.graph, "extra_data": prompt.extra}
                    return web.json_response({**prompt.as_job(), "outputs": prompt.outputs, "workflow": workflow})
            return web.json_response({"error": "not found"}, status=404)

    def _send(self, event: str, data: dict[str, Any], client_id: str | None) -> None:
        self._loop.call_soon_threadsafe(self._send_here, event, data, client_id)

    def _send_here(self, event: str, data: dict[str, Any], client_id: str | None) -> None:
        for sid, tab in self._tabs.items():
            if client_id in (None, sid) and not tab.closed:
                self._loop.create_task(_send_json(tab, {"type": event, "data": data}))


async def _send_json(tab: web.WebSocketResponse, message: dict[str, Any]) -> None:
    # A tab that has just gone asks anew when it is back.
    with contextlib.suppress(ConnectionError):
        await tab.send_json(message)


async def _uncached(http: web.BaseRequest, response: web.StreamResponse) -> None:
    """As ComfyUI: scripts and pages are asked for again at every load; our own API says for itself."""
    if http.path.endswith((".js", ".mjs", ".css", "/")):
        response.headers["Cache-Control"] = "no-cache"
