"""A stand-in for a ComfyUI server, with its behaviours as they were recorded, and faults at will.

``tests/farm/test_comfy_contract.py`` holds it to a real one. Runs in the event loop of the test, or
alone: ``python tests/comfy_server.py --port 8188``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web
from comfy_faults import Faults
from comfy_files import ComfyFiles
from comfy_nodes import NODES
from comfy_prompts import ComfyPrompts
from comfy_sockets import FEATURES


class ComfyServer:
    """One stand-in on one port. ``jobs``: whether it is a core with ``/api/jobs`` (0.36) or without (0.3.64)."""

    def __init__(self, base: Path, *, jobs: bool = False, prefix: str = "", token: str = "", port: int = 0) -> None:
        self.jobs, self.prefix, self.port = jobs, prefix, port
        self.folders = {folder: base / folder for folder in ("input", "output", "temp")}
        for folder in self.folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        self.faults = Faults(prefix, token)
        self.files = ComfyFiles(self.folders)
        self.prompts = ComfyPrompts(self.folders, strict=jobs)
        self.sockets = self.prompts.sockets
        self.models: dict[str, list[str]] = {"checkpoints": [], "loras": ["one.safetensors"]}
        self._runner: web.AppRunner | None = None
        self._ssl: Any = None

    @property
    def url(self) -> str:
        return f"{'https' if self._ssl else 'http'}://127.0.0.1:{self.port}{self.prefix}"

    # -- its life -------------------------------------------------------------------------
    async def start(self, ssl: Any = None) -> None:
        self._ssl = ssl or self._ssl
        app = web.Application(client_max_size=100 * 1024 * 1024, middlewares=[self.faults.meddle])
        routes = [
            ("GET", "/ws", self.sockets.serve),
            ("GET", "/prompt", self.prompts.get_prompt),
            ("POST", "/prompt", self.prompts.post_prompt),
            ("GET", "/queue", self.prompts.get_queue),
            ("POST", "/queue", self.prompts.post_queue),
            ("GET", "/history", self.prompts.get_history),
            ("GET", "/history/{id}", self.prompts.get_history),
            ("POST", "/interrupt", self.prompts.interrupt),
            ("POST", "/free", self.prompts.free),
            ("POST", "/upload/image", self.files.upload),
            ("POST", "/upload/mask", self.files.upload),
            ("GET", "/view", self.files.view),
            ("GET", "/system_stats", self._stats),
            ("GET", "/object_info", self._info),
            ("GET", "/object_info/{kind}", self._info),
            ("GET", "/models", self._models),
            ("GET", "/models/{folder}", self._models),
            ("GET", "/features", self._features),
        ]
        for method, path, handler in routes:
            for place in (path, f"/api{path}"):
                add = app.router.add_get if method == "GET" else app.router.add_post
                add(self.prefix + place, handler)
        if self.jobs:
            app.router.add_get(f"{self.prefix}/api/jobs", self._get_jobs)
            app.router.add_get(f"{self.prefix}/api/jobs/{{id}}", self._get_job)
            app.router.add_post(f"{self.prefix}/api/jobs/{{id}}/cancel", self._cancel_job)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._ssl, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self._worker = asyncio.create_task(self.prompts.work())

    async def stop(self) -> None:
        """Ends at once, as a killed process does."""
        self._worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._worker
        self.sockets.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def restart(self, pause: float = 0.0) -> None:
        """Queue, history and temp/ are gone."""
        await self.stop()
        self.prompts.forget()
        for file in self.folders["temp"].iterdir():
            file.unlink()
        await asyncio.sleep(pause)
        await self.start()

    @contextlib.asynccontextmanager
    async def serving(self, ssl: Any = None) -> AsyncIterator[ComfyServer]:
        await self.start(ssl)
        try:
            yield self
        finally:
            await self.stop()

    # -- jobs, of newer cores -------------------------------------------------------------
    def _job(self, prompt_id: str, full: bool) -> dict[str, Any] | None:
        for item, status in [(i, "in_progress") for i in self.prompts.running] + [
            (i, "pending") for i in self.prompts.queue
        ]:
            if item[1] == prompt_id:
                return {"id": prompt_id, "status": status, "priority": item[0], "outputs_count": 0}
        entry = self.prompts.history.get(prompt_id)
        if entry is None:
            return None
        status = entry["status"]
        ended = {"execution_success": "completed", "execution_error": "failed", "execution_interrupted": "cancelled"}
        job = {"id": prompt_id, "status": ended[status["messages"][-1][0]], "priority": entry["prompt"][0]}
        return {**job, "outputs": entry["outputs"], "execution_status": status} if full else job

    async def _get_jobs(self, request: web.Request) -> web.Response:
        wanted = request.query.get("status", "pending,in_progress,completed,failed,cancelled").split(",")
        ids = [item[1] for item in [*self.prompts.running, *self.prompts.queue]] + list(self.prompts.history)
        jobs = [job for job in (self._job(key, False) for key in dict.fromkeys(ids)) if job and job["status"] in wanted]
        limit = int(request.query.get("limit", len(jobs) or 1))
        page = {"offset": 0, "limit": limit, "total": len(jobs), "has_more": limit < len(jobs)}
        return web.json_response({"jobs": jobs[:limit], "pagination": page})

    async def _get_job(self, request: web.Request) -> web.Response:
        job = self._job(request.match_info["id"], True)
        return web.json_response(job or {"error": "Job not found"}, status=200 if job else 404)

    async def _cancel_job(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        runs = any(item[1] == prompt_id for item in self.prompts.running)
        self.prompts.interrupted = self.prompts.interrupted or runs
        cancelled = runs or self.prompts.dequeue(prompt_id)
        await self.prompts.tell_status()
        return web.json_response({"cancelled": cancelled})

    # -- about itself ---------------------------------------------------------------------
    async def _stats(self, request: web.Request) -> web.Response:
        memory = {"vram_total": 8 * 2**30, "vram_free": 6 * 2**30}
        system = {"os": "posix", "ram_total": 16 * 2**30, "ram_free": 8 * 2**30, "embedded_python": False}
        system |= {"comfyui_version": "0.36.0" if self.jobs else "0.3.64", "python_version": sys.version}
        system |= {"pytorch_version": "2.9.0", "argv": ["main.py"]}
        device = {"name": "stand-in", "type": "cpu", "index": None, **memory}
        device |= {f"torch_{key}": value for key, value in memory.items()}
        return web.json_response({"system": system, "devices": [device]})

    async def _info(self, request: web.Request) -> web.Response:
        kind = request.match_info.get("kind")
        wanted = NODES if kind is None else {kind: NODES[kind]} if kind in NODES else {}
        return web.json_response({name: node.info(name) for name, node in wanted.items()})

    async def _models(self, request: web.Request) -> web.Response:
        folder = request.match_info.get("folder")
        if folder is not None and folder not in self.models:
            return web.Response(status=404)
        return web.json_response(list(self.models) if folder is None else self.models[folder])

    async def _features(self, request: web.Request) -> web.Response:
        return web.json_response(FEATURES)


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--jobs", action="store_true", help="a core with /api/jobs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        async with ComfyServer(given.base or Path(folder), jobs=given.jobs, port=given.port).serving() as server:
            print(server.url, flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main())
