"""How the test host runs prompts: one after the other, our nodes' real code, with a door to this host."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest import mock

from gates import comfy
from gates.store import Store

Send = Callable[[str, dict[str, Any], "str | None"], None]
"""Type, data, and the tab (None: all) of a message; from any thread."""


class Interrupted(Exception):
    """What ComfyUI's own exception is to the nodes."""


class Blocked:
    """What ComfyUI's ExecutionBlocker is to the nodes."""


@dataclass
class Prompt:
    """A queued prompt and what became of it."""

    id: str
    number: int
    graph: dict[str, Any]
    extra: dict[str, Any]
    client_id: str
    targets: list[str]
    created: int = field(default_factory=lambda: int(time.time() * 1000))
    status: str = "pending"
    outputs: dict[str, Any] = field(default_factory=dict)
    messages: list[Any] = field(default_factory=list)

    def as_queued(self) -> list[Any]:
        return [self.number, self.id, self.graph, self.extra, self.targets]

    def as_history(self) -> dict[str, Any]:
        done = self.status == "completed"
        status = {"status_str": "success" if done else "error", "completed": done, "messages": self.messages}
        return {"prompt": self.as_queued(), "outputs": self.outputs, "status": status, "meta": {}}

    def as_job(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "status": self.status,
            "create_time": self.created,
            "outputs_count": len(self.outputs),
            "priority": self.number,
        }


class Runs:
    """The queue, the history and the one prompt that runs. Used on the host's event loop."""

    def __init__(self, classes: dict[str, Any], store: Store, send: Send) -> None:
        self._classes = classes
        self._store = store
        self._send = send
        self._flag = False
        self._queued = asyncio.Event()
        self.watch: Callable[[str], object] = lambda prompt_id: None
        """Has the store told of that prompt's end."""
        self.prompts: list[Prompt] = []
        self.running: Prompt | None = None

    @contextlib.contextmanager
    def door(self) -> Iterator[None]:
        """``gates.comfy`` leads to this host instead of to ComfyUI."""

        def place(unique_id: str, dynprompt: Any, extra_pnginfo: Any) -> comfy.Place:
            assert self.running is not None
            title = (self.running.graph[unique_id].get("_meta") or {}).get("title") or ""
            workflow = (extra_pnginfo or {}).get("workflow") or {}
            of = str(workflow.get("id") or "")
            return comfy.Place(
                self.running.id, unique_id, unique_id, 0, self.running.client_id, title, of, workflow_id=of
            )

        def interrupt() -> None:
            self._flag = True

        doors: dict[str, Callable[..., Any]] = {
            "outputs": lambda prompt_id: tuple(self.running.targets) if self.running else (),
            "lazy_inputs": lambda classes: {},
            "watch_prompt": lambda prompt_id: self.watch(prompt_id),
            "place": place,
            "interrupted": lambda: self._flag,
            "interrupt": interrupt,
            "interruption": Interrupted,
            "blocker": Blocked,
            "store": lambda: self._store,
            "_send": lambda event, data, client_id: self._send(event, data, client_id or None),
        }
        with contextlib.ExitStack() as stack:
            for name, other in doors.items():
                stack.enter_context(mock.patch.object(comfy, name, other))
            yield

    def pending(self) -> list[Prompt]:
        return [prompt for prompt in self.prompts if prompt.status == "pending"]

    def prompt_end(self, prompt_id: str) -> tuple[bool, dict[str, Any] | None]:
        """Whether the prompt runs or waits to, and its entry in the history; from any thread."""
        for prompt in list(self.prompts):
            if prompt.id == prompt_id:
                there = prompt.status in ("pending", "in_progress")
                return there, None if there else prompt.as_history()
        return False, None

    def missing(self, classes: Iterable[str]) -> list[str]:
        """Those node classes that this host does not have."""
        return sorted(set(classes) - set(self._classes))

    def submit(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """(status, answer) of ``POST /prompt``."""
        graph = body["prompt"]
        outputs = [n for n, node in graph.items() if getattr(self._classes[node["class_type"]], "OUTPUT_NODE", False)]
        wanted = body.get("partial_execution_targets")
        targets = [node for node in outputs if wanted is None or node in wanted]
        errors = {node: found for node in graph if (found := self._errors(graph[node]))}
        if errors or not targets:
            kind = "prompt_outputs_failed_validation" if errors else "prompt_no_outputs"
            error = {"type": kind, "message": kind.replace("_", " "), "details": "", "extra_info": {}}
            return 400, {"error": error, "node_errors": errors}
        prompt = Prompt(
            str(body.get("prompt_id") or uuid.uuid4()),
            len(self.prompts),
            graph,
            body.get("extra_data") or {},
            str(body.get("client_id") or ""),
            targets,
        )
        self.prompts.append(prompt)
        self._queued.set()
        self.tell_status()
        return 200, {"prompt_id": prompt.id, "number": prompt.number, "node_errors": {}}

    def _errors(self, node: dict[str, Any]) -> dict[str, Any] | None:
        of = self._classes[node["class_type"]]
        given = node["inputs"]
        missing = [name for name in of.INPUT_TYPES().get("required", {}) if name not in given]
        details = f"Required input is missing: {', '.join(missing)}" if missing else ""
        if not missing and hasattr(of, "VALIDATE_INPUTS"):
            names = inspect.signature(of.VALIDATE_INPUTS).parameters
            valid = of.VALIDATE_INPUTS(
                **{name: None if isinstance(value, list) else value for name, value in given.items() if name in names}
            )
            details = "" if valid is True else str(valid)
        if not details:
            return None
        error = {"type": "custom_validation_failed", "message": "Invalid input", "details": details, "extra_info": {}}
        return {"errors": [error], "dependent_outputs": [], "class_type": node["class_type"]}

    def interrupt(self, prompt_id: str | None = None) -> None:
        """Stops the prompt that runs, if it is that one (or none is named)."""
        if self.running is not None and prompt_id in (None, self.running.id):
            self._flag = True

    def tell_status(self) -> None:
        left = len(self.pending()) + (self.running is not None)
        self._send("status", {"status": {"exec_info": {"queue_remaining": left}}}, None)

    async def work(self) -> None:
        """Runs what is queued, without end."""
        while True:
            self._queued.clear()
            for prompt in self.pending():
                if prompt.status == "pending":
                    await self._run(prompt)
            await self._queued.wait()

    async def _run(self, prompt: Prompt) -> None:
        self.running, self._flag, prompt.status = prompt, False, "in_progress"
        self._tell("execution_start")
        self._tell("execution_cached", nodes=[])
        running: dict[str, asyncio.Task[Any]] = {}
        try:
            await asyncio.gather(*(self._node(target, running) for target in prompt.targets))
            prompt.status = "completed"
            self._tell("execution_success")
        except Interrupted:
            prompt.status = "cancelled"
            self._tell("execution_interrupted", node_id="", node_type="", executed=[])
        except Exception as error:
            prompt.status = "failed"
            self._tell(
                "execution_error",
                node_id="",
                node_type="",
                exception_message=str(error),
                exception_type=type(error).__name__,
                traceback=[],
            )
        finally:
            for task in running.values():
                task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)
            self._tell("executing", node=None)
            self.running = None
            self.tell_status()

    def _node(self, node_id: str, running: dict[str, asyncio.Task[Any]]) -> asyncio.Task[Any]:
        """The one calculation of the node in this run."""
        if node_id not in running:
            running[node_id] = asyncio.get_running_loop().create_task(self._calculate(node_id, running))
        return running[node_id]

    async def _calculate(self, node_id: str, running: dict[str, asyncio.Task[Any]]) -> Any:
        assert self.running is not None
        node = self.running.graph[node_id]
        of = self._classes[node["class_type"]]
        values = dict(node["inputs"])
        declared = of.INPUT_TYPES()
        for name, value in values.items():
            if isinstance(value, list):
                values[name] = (await self._node(str(value[0]), running))[value[1]]
        if any(isinstance(value, Blocked) for value in values.values()):
            return [Blocked()] * len(of.RETURN_TYPES)
        known = {**declared.get("required", {}), **declared.get("optional", {}), **declared.get("hidden", {})}
        values = {name: value for name, value in values.items() if name in known}
        for name, kind in declared.get("hidden", {}).items():
            hidden = {
                "UNIQUE_ID": node_id,
                "DYNPROMPT": SimpleNamespace(original_prompt=self.running.graph),
                "EXTRA_PNGINFO": self.running.extra.get("extra_pnginfo"),
            }
            if isinstance(kind, str) and kind in hidden:
                values[name] = hidden[kind]
        self._tell("executing", node=node_id, display_node=node_id)
        result = getattr(of(), of.FUNCTION)(**values)
        if inspect.isawaitable(result):
            result = await result
        if self._flag:
            raise Interrupted
        if isinstance(result, dict):
            if "ui" in result:
                self.running.outputs[node_id] = result["ui"]
                self._tell("executed", node=node_id, display_node=node_id, output=result["ui"])
            result = result.get("result", ())
        return result

    def _tell(self, event: str, **data: Any) -> None:
        assert self.running is not None
        body = {**data, "prompt_id": self.running.id, "timestamp": int(time.time() * 1000)}
        self.running.messages.append([event, body])
        self._send(event, body, self.running.client_id or None)
