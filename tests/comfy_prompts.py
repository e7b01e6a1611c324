"""Queue, execution and history of the stand-in for a ComfyUI, with the core's events in the core's order."""

from __future__ import annotations

import asyncio
import heapq
import json
import struct
import time
import traceback
import uuid
from pathlib import Path
from typing import Any

from aiohttp import web
from comfy_nodes import NODES, Interrupted, Run, jpeg, signature, validate
from comfy_sockets import ComfySockets


class ComfyPrompts:
    """The prompts of one server. ``strict``: whether prompt ids must be UUIDs, as newer cores want it."""

    def __init__(self, folders: dict[str, Path], strict: bool) -> None:
        self.folders, self.strict = folders, strict
        self.sockets = ComfySockets(self.status, lambda: (self.client_id, self.last_node))
        self.executed: list[str] = []
        """Ids of the prompts that ran to their end, once for each time; not forgotten at a restart."""
        self.freed: list[dict[str, Any]] = []
        self.own_ids = False
        """Whether it gives prompts ids of its own, as cores before 0.3.50 or so do."""
        self.forget()

    def forget(self) -> None:
        """As a new process knows nothing of the last one."""
        self.number = 0
        self.queue: list[list[Any]] = []
        self.running: list[list[Any]] = []
        self.history: dict[str, Any] = {}
        self.interrupted = False
        self.client_id: str | None = None
        self.last_node: str | None = None
        self._nodes: dict[str, Any] = {}
        self._cache: dict[Any, tuple[tuple[Any, ...], Any]] = {}
        self._queued = asyncio.Event()

    def place(self, name: str) -> Path:
        """The file of an annotated name such as ``sub/x.png [temp]``."""
        for folder in self.folders:
            if name.endswith(f" [{folder}]"):
                return self.folders[folder] / name[: -len(folder) - 3]
        return self.folders["input"] / name

    async def tell_step(self, run: Run, value: int, most: int) -> None:
        """What a node's progress bar sends."""
        sid, picture = self.client_id, jpeg()
        await self._states(run.prompt_id, {run.node_id: (value, most, "running")})
        if sid is not None and self.sockets.flags.get(sid, {}).get("supports_preview_metadata"):
            told = {"node_id": run.node_id, "prompt_id": run.prompt_id, "display_node_id": run.node_id}
            meta = json.dumps({**told, "image_type": "image/jpeg"}).encode()
            binary = struct.pack(">II", 4, len(meta)) + meta + picture
        else:
            binary = struct.pack(">II", 1, 1) + picture
        await self.sockets.send_bytes(binary, sid)
        told = {"value": value, "max": most, "prompt_id": run.prompt_id, "node": run.node_id}
        await self.sockets.send("progress", told, sid)

    async def _states(self, prompt_id: str, changed: dict[str, tuple[float, float, str]]) -> None:
        for node, (value, most, state) in changed.items():
            told = {"value": value, "max": most, "state": state, "node_id": node, "prompt_id": prompt_id}
            ids = {"display_node_id": node, "parent_node_id": None, "real_node_id": node}
            self._nodes[node] = {**told, **ids}
        await self.sockets.send("progress_state", {"prompt_id": prompt_id, "nodes": self._nodes}, self.client_id)

    async def post_prompt(self, request: web.Request) -> web.Response:
        body = json.loads(await request.text())
        number = float(body["number"]) if "number" in body else self.number * (-1 if body.get("front") else 1)
        self.number += "number" not in body
        if "prompt" not in body:
            text = "No prompt provided"
            error = {"type": "no_prompt", "message": text, "details": text, "extra_info": {}}
            return web.json_response({"error": error, "node_errors": {}}, status=400)
        prompt, prompt_id = body["prompt"], str(uuid.uuid4() if self.own_ids else body.get("prompt_id", uuid.uuid4()))
        if self.strict and str(uuid.UUID(prompt_id)) != prompt_id:
            error = {"type": "invalid_prompt_id", "message": "prompt_id must be a valid UUID", "details": ""}
            return web.json_response({"error": {**error, "extra_info": {}}, "node_errors": {}}, status=400)
        targets = body.get("partial_execution_targets")
        error, outputs, node_errors = validate(prompt, targets, lambda name: self.place(name).is_file())  # type: ignore[assignment]
        if error is not None:
            return web.json_response({"error": error, "node_errors": node_errors}, status=400)
        extra = dict(body.get("extra_data", {}))
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        heapq.heappush(self.queue, [number, prompt_id, prompt, extra, outputs])
        self._queued.set()
        await self.tell_status()
        return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": node_errors})

    async def work(self) -> None:
        while True:
            while not self.queue:
                self._queued.clear()
                await self._queued.wait()
            item = heapq.heappop(self.queue)
            self.running.append(item)
            await self.tell_status()
            entry = await self._execute(item)
            self.running.remove(item)
            self.history[item[1]] = entry
            self.executed += [item[1]] if entry["status"]["completed"] else []
            await self.tell_status()
            if self.client_id is not None:
                await self.sockets.send("executing", {"node": None, "prompt_id": item[1]}, self.client_id)

    async def _execute(self, item: list[Any]) -> dict[str, Any]:
        _, prompt_id, prompt, extra, outputs = item
        self.interrupted, self.client_id = False, extra.get("client_id")
        self._nodes = {}
        signatures = {node: signature(prompt, node) for node in prompt}
        # The core keeps what this prompt can use, and drops the rest.
        self._cache = {key: kept for key, kept in self._cache.items() if key in signatures.values()}
        cached = [node for node in prompt if signatures[node] in self._cache]
        messages: list[list[Any]] = []

        async def tell(event: str, broadcast: bool = False, **data: Any) -> None:
            data = {"prompt_id": prompt_id, **data, "timestamp": int(time.time() * 1000)}
            messages.append([event, data])
            if self.client_id is not None or broadcast:
                await self.sockets.send(event, data, self.client_id)

        await tell("execution_start")
        await tell("execution_cached", nodes=cached)
        values: dict[str, tuple[Any, ...]] = {}
        shown: dict[str, Any] = {}
        ran: list[str] = []
        node = ""
        try:
            for node in _in_order(prompt, outputs):
                await self._run_node(prompt_id, prompt, node, signatures[node], values, shown, ran)
            await tell("execution_success")
        except Interrupted:
            told = {"node_id": node, "node_type": prompt[node]["class_type"], "executed": ran}
            await tell("execution_interrupted", broadcast=True, **told)
        except Exception as error:
            told = {"node_id": node, "node_type": prompt[node]["class_type"], "executed": ran}
            message, lines = f"{error}\n", traceback.format_tb(error.__traceback__)
            told |= {"exception_message": message, "exception_type": type(error).__name__, "traceback": lines}
            await tell("execution_error", **told, current_inputs={}, current_outputs=[*ran, node])
        self.last_node = None
        done = messages[-1][0] == "execution_success"
        ids = {"parent_node": None}
        meta = {key: {"node_id": key, "display_node": key, **ids, "real_node_id": key} for key in shown}
        status = {"status_str": "success" if done else "error", "completed": done, "messages": messages}
        return {"prompt": item, "outputs": shown, "status": status, "meta": meta}

    async def _run_node(
        self,
        prompt_id: str,
        prompt: Any,
        node: str,
        key: Any,
        values: dict[str, tuple[Any, ...]],
        shown: dict[str, Any],
        ran: list[str],
    ) -> None:
        told = {"node": node, "display_node": node, "prompt_id": prompt_id}
        if key in self._cache:
            values[node], report = self._cache[key]
            if report is not None or NODES[prompt[node]["class_type"]].is_output:
                await self.sockets.send("executed", {**told, "output": report}, self.client_id)
                await self._states(prompt_id, {node: (1, 1, "finished")})
        else:
            await self._states(prompt_id, {node: (0.0, 1.0, "running")})
            if self.client_id is not None:
                self.last_node = node
                await self.sockets.send("executing", told, self.client_id)
            # A node of the core does not give its loop away; here others get their turn.
            await asyncio.sleep(0)
            inputs = {
                name: values[value[0]][value[1]] if isinstance(value, list) else value
                for name, value in prompt[node]["inputs"].items()
            }
            values[node], report = await NODES[prompt[node]["class_type"]].run(Run(self, prompt_id, node), **inputs)
            self._cache[key] = values[node], report
            if report is not None:
                await self.sockets.send("executed", {**told, "output": report}, self.client_id)
            state = self._nodes[node]
            await self._states(prompt_id, {node: (state["max"], state["max"], "finished")})
            ran.append(node)
        if report is not None:
            shown[node] = report

    async def tell_status(self) -> None:
        await self.sockets.send("status", {"status": self.status()}, None)

    def status(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": len(self.queue) + len(self.running)}}

    async def get_prompt(self, request: web.Request) -> web.Response:
        return web.json_response(self.status())

    async def get_queue(self, request: web.Request) -> web.Response:
        return web.json_response({"queue_running": self.running, "queue_pending": self.queue})

    async def post_queue(self, request: web.Request) -> web.Response:
        body = await request.json()
        for prompt_id in [item[1] for item in self.queue] if body.get("clear") else body.get("delete", []):
            self.dequeue(prompt_id)
        await self.tell_status()
        return web.Response()

    def dequeue(self, prompt_id: str) -> bool:
        for item in self.queue:
            if item[1] == prompt_id:
                # One at a time, as the core does.
                self.queue.remove(item)
                heapq.heapify(self.queue)
                return True
        return False

    async def get_history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info.get("id")
        if prompt_id is not None:
            found = {prompt_id: self.history[prompt_id]} if prompt_id in self.history else {}
            return web.json_response(found)
        entries = list(self.history.items())
        return web.json_response(dict(entries[-int(request.query.get("max_items", len(entries) or 1)) :]))

    async def interrupt(self, request: web.Request) -> web.Response:
        text = await request.text()
        wanted = json.loads(text).get("prompt_id") if text else None
        if not wanted or any(item[1] == wanted for item in self.running):
            self.interrupted = True
        return web.Response()

    async def free(self, request: web.Request) -> web.Response:
        self.freed.append(await request.json())
        return web.Response()


def _in_order(prompt: Any, outputs: list[str]) -> list[str]:
    """The nodes that the outputs need, each after what feeds it."""
    order: list[str] = []

    def visit(node: str) -> None:
        if node not in order:
            for value in prompt[node]["inputs"].values():
                if isinstance(value, list):
                    visit(value[0])
            order.append(node)

    for output in outputs:
        visit(output)
    return order
