"""Handing a prompt in: under an id of our own, and never twice without having looked."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gates.errors import InvalidInput

from .connection import Connection
from .errors import ComfyUnexpected, ComfyUnreachable, NodeProblem, SubmitUnknown, invalid_of, problems_of
from .truth import Truth

Graph = Mapping[str, Mapping[str, Any]]
"""A prompt in ComfyUI's API format: node id -> ``{"class_type", "inputs"}``."""

Record = Callable[[str], Awaitable[None] | None]
"""Keeps a prompt id; must not block."""

SETTLE = 1.0
"""Seconds after an unknown outcome before the second look: the server may still be reading what was sent."""


@dataclass(frozen=True)
class Submission:
    """A prompt that a ComfyUI has queued."""

    prompt_id: str
    number: float
    """Its place: prompts run in the order of their numbers."""
    dropped: tuple[NodeProblem, ...]
    """Why output nodes were left out: ComfyUI runs what is valid of a prompt, and says so here only."""

    resent: bool = False
    """Whether it was sent more than once, because nobody answered and it was not there."""

    @property
    def dropped_outputs(self) -> tuple[str, ...]:
        """Ids of the output nodes that will not run."""
        return tuple(dict.fromkeys(node for problem in self.dropped for node in problem.dropped))


def check_prompt_id(prompt_id: object) -> str:
    """The id, when it is a UUID as ComfyUI wants it (lower case, with dashes); raises InvalidInput otherwise."""
    try:
        if isinstance(prompt_id, str) and str(uuid.UUID(prompt_id)) == prompt_id:
            return prompt_id
    except ValueError:
        pass
    raise InvalidInput("A prompt id is a UUID in lower case with dashes", what="prompt id")


def check_graph(graph: Any) -> dict[str, str]:
    """Node id -> class of a prompt in API format; raises InvalidInput for a page's workflow or anything else."""
    if isinstance(graph, Mapping) and isinstance(graph.get("nodes"), list):
        raise InvalidInput("This is a workflow as the page saves it; a prompt in API format is needed (Export (API))")
    if not isinstance(graph, Mapping) or not graph:
        raise InvalidInput("A prompt is an object of node id -> {class_type, inputs}, with at least one node")
    for node_id, node in graph.items():
        if not isinstance(node_id, str) or not isinstance(node, Mapping):
            raise InvalidInput(f"Node {str(node_id)[:64]!a} of the prompt is no object of class_type and inputs")
    return {node_id: str(node.get("class_type", "")) for node_id, node in graph.items()}


class Submitting:
    """Hands prompts in to one ComfyUI."""

    def __init__(self, connection: Connection, truth: Truth, client_id: str) -> None:
        self._connection = connection
        self._truth = truth
        self._client_id = client_id

    async def submit(
        self,
        graph: Graph,
        prompt_id: str,
        before: Record | None,
        *,
        front: bool,
        targets: Sequence[str] | None,
        extra_data: Mapping[str, Any] | None,
    ) -> Submission:
        """As :meth:`ComfyClient.submit`."""
        body: dict[str, Any] = {"prompt": graph, "prompt_id": prompt_id, "client_id": self._client_id}
        if front:
            body["front"] = True
        if targets is not None:
            body["partial_execution_targets"] = list(targets)
        if extra_data:
            body["extra_data"] = dict(extra_data)
        try:
            data = json.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"The prompt cannot be written as JSON: {error}") from error
        if before is not None:
            kept = before(prompt_id)
            if inspect.isawaitable(kept):
                await kept
        return await self._send(prompt_id, data)

    async def _send(self, prompt_id: str, data: bytes) -> Submission:
        end = time.monotonic() + self._connection.limits.patience
        unknown = False
        while True:
            sent = time.monotonic()
            try:
                submission = await self._post(prompt_id, data)
            except (ComfyUnreachable, ComfyUnexpected) as error:
                if isinstance(error, ComfyUnexpected) and error.details.get("status", 0) < 500:
                    raise
                unknown = unknown or not error.details.get("unsent")
                if error.details.get("final") or (not unknown and time.monotonic() > end):
                    raise
                if unknown and await self._arrived(prompt_id, sent, end, error):
                    return Submission(prompt_id, float("nan"), ())
                if isinstance(error, ComfyUnexpected) or time.monotonic() > end:
                    raise
                await asyncio.sleep(max(0.2, min(float(error.details.get("retry_after") or 0), 5.0)))
                continue
            # What was sent before may still arrive: who follows the prompt leaves one of the copies.
            return replace(submission, resent=unknown)

    async def _post(self, prompt_id: str, data: bytes) -> Submission:
        async with self._connection.ask(
            "POST", "prompt", data=data, headers={"Content-Type": "application/json"}
        ) as answer:
            if answer.status != 400:
                self._connection.check(answer, "prompt")
            body = await self._connection.body(answer, self._connection.limits.json_bytes)
        try:
            told = json.loads(body)
        except ValueError as error:
            raise ComfyUnexpected(f"{self._connection.url}/prompt answers {answer.status}, with no JSON") from error
        if answer.status == 400:
            raise invalid_of(told)
        if not isinstance(told, dict) or not isinstance(told.get("prompt_id"), str):
            raise ComfyUnexpected(f"{self._connection.url}/prompt does not tell a prompt id")
        if told["prompt_id"] != prompt_id:
            await self._connection.json("POST", "queue", json={"delete": [told["prompt_id"]]})
            raise ComfyUnexpected(
                f"{self._connection.url} takes no prompt id from us; it must be ComfyUI 0.3.60 or newer"
            )
        number = told.get("number")
        number = float(number) if isinstance(number, int | float) else float("nan")
        return Submission(prompt_id, number, problems_of(told.get("node_errors")))

    async def _arrived(self, prompt_id: str, sent: float, end: float, cause: Exception) -> bool:
        """Whether the prompt is there, looked for twice; raises SubmitUnknown when nobody can tell."""
        for pause in (0.0, SETTLE):
            await asyncio.sleep(pause)
            while True:
                try:
                    found = await self._truth.find(prompt_id, after=max(sent, time.monotonic() - 0.01))
                    break
                except (ComfyUnreachable, ComfyUnexpected) as error:
                    if time.monotonic() > end:
                        raise SubmitUnknown(
                            prompt_id, f"Whether the prompt {prompt_id} was queued is not known: {cause}; {error}"
                        ) from error
                    await asyncio.sleep(0.5)
            if found.state != "absent":
                return True
        return False
