"""Where a prompt stands, and how it ended: read from the jobs, the queue and the history of a ComfyUI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .errors import NodeProblem, OutOfMemory, PromptCancelled, PromptEnded, PromptFailed, PromptLost
from .outputs import Output, OutputFile, OutputText, find_outputs

End = Literal["done", "failed", "cancelled", "lost"]


@dataclass(frozen=True)
class Outcome:
    """How a prompt ended."""

    prompt_id: str
    state: End
    outputs: tuple[Output, ...] = ()
    """Also of a prompt that failed or was cancelled: what its nodes had put out until then."""
    error: PromptEnded | None = None
    """PromptFailed, PromptCancelled or PromptLost; None when it is done."""
    dropped: tuple[NodeProblem, ...] = ()
    """Why output nodes of this prompt were left out at its submission; empty when all ran, or it is not known."""
    cached: tuple[str, ...] = ()
    """Nodes that the ComfyUI had in its cache."""
    started: float | None = None
    """Unix seconds; None when the ComfyUI does not tell."""
    ended: float | None = None

    @property
    def files(self) -> tuple[OutputFile, ...]:
        """The files among the outputs."""
        return tuple(output for output in self.outputs if isinstance(output, OutputFile))

    @property
    def texts(self) -> tuple[OutputText, ...]:
        """The texts among the outputs."""
        return tuple(output for output in self.outputs if isinstance(output, OutputText))

    @property
    def seconds(self) -> float | None:
        """How long it ran; None when the ComfyUI does not tell."""
        return None if self.started is None or self.ended is None else max(0.0, self.ended - self.started)

    def check(self) -> Outcome:
        """Itself when the prompt is done; raises its error otherwise."""
        if self.error is not None:
            raise self.error
        return self

    @classmethod
    def lost(cls, prompt_id: str, restarted: bool | None) -> Outcome:
        """Of a prompt that is in neither queue nor history."""
        return cls(prompt_id, "lost", error=PromptLost(prompt_id, restarted))

    @classmethod
    def cancelled(cls, prompt_id: str) -> Outcome:
        """Of a prompt that we took out of the queue, which leaves no trace there."""
        return cls(prompt_id, "cancelled", error=PromptCancelled(prompt_id, f"The prompt {prompt_id} was cancelled"))

    @classmethod
    def of_history(cls, prompt_id: str, entry: Mapping[str, Any]) -> Outcome:
        """Of an entry of ``/history``."""
        return cls._read(prompt_id, entry.get("status"), entry.get("outputs"), "")

    @classmethod
    def of_job(cls, prompt_id: str, job: Mapping[str, Any]) -> Outcome:
        """Of an ended job of ``/api/jobs/{id}``."""
        return cls._read(prompt_id, job.get("execution_status"), job.get("outputs"), str(job.get("status") or ""))

    @classmethod
    def _read(cls, prompt_id: str, status: Any, outputs: Any, job_status: str) -> Outcome:
        status = status if isinstance(status, Mapping) else {}
        messages = _messages(status.get("messages"))
        started, ended = _seconds(messages.get("execution_start")), None
        error: PromptEnded | None = None
        # The messages are of this prompt; status_str of old cores is the executor's, which keeps an earlier failure.
        if "execution_success" in messages:
            state: End = "done"
            ended = _seconds(messages["execution_success"])
        elif "execution_interrupted" in messages or job_status == "cancelled":
            state, said = "cancelled", messages.get("execution_interrupted", {})
            ended, node = _seconds(said), str(said.get("node_id") or "")
            where = f" at node {node} ({said.get('node_type', '')})" if node else ""
            error = PromptCancelled(prompt_id, f"The prompt {prompt_id} was interrupted{where}", node_id=node)
        elif "execution_error" in messages or job_status == "failed" or status.get("status_str") == "error":
            state, said = "failed", messages.get("execution_error", {})
            ended, error = _seconds(said), failure_of(prompt_id, said)
        else:
            state = "done"
        cached = messages.get("execution_cached", {}).get("nodes")
        return cls(
            prompt_id,
            state,
            find_outputs(outputs),
            error,
            cached=tuple(map(str, cached)) if isinstance(cached, list) else (),
            started=started,
            ended=ended,
        )


def failure_of(prompt_id: str, said: Mapping[str, Any]) -> PromptFailed:
    """The error of an ``execution_error`` message."""
    kind = str(said.get("exception_type") or "unknown")
    traceback = said.get("traceback")
    lines = tuple(map(str, traceback)) if isinstance(traceback, list) else ()
    message = str(said.get("exception_message") or "ComfyUI tells no reason")
    out = "OutOfMemory" in kind or "out of memory" in message.lower()
    error = OutOfMemory if out else PromptFailed
    return error(prompt_id, str(said.get("node_id") or ""), str(said.get("node_type") or ""), kind, message, lines)


def _messages(messages: Any) -> dict[str, Mapping[str, Any]]:
    """Type -> data, of the pairs in a status; the last of each type."""
    found: dict[str, Mapping[str, Any]] = {}
    for entry in messages if isinstance(messages, list) else ():
        if isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[1], Mapping):
            found[str(entry[0])] = entry[1]
    return found


def _seconds(said: Mapping[str, Any] | None) -> float | None:
    at = (said or {}).get("timestamp")
    return at / 1000 if isinstance(at, int | float) else None


@dataclass(frozen=True)
class Found:
    """Where a prompt stands at a ComfyUI."""

    prompt_id: str
    state: Literal["queued", "running", "ended", "absent"]
    """``absent``: in neither queue nor history."""
    ahead: int = 0
    """Prompts that run or come before it, while it is queued."""
    outcome: Outcome | None = None
    """When it has ended."""


@dataclass(frozen=True)
class Queue:
    """A ComfyUI's queue: ids of prompts."""

    running: tuple[str, ...]
    pending: tuple[str, ...]
    """In the order in which they will run."""

    def find(self, prompt_id: str) -> Found | None:
        """Where the prompt stands in it, None when it is not there."""
        if prompt_id in self.running:
            return Found(prompt_id, "running")
        if prompt_id in self.pending:
            return Found(prompt_id, "queued", len(self.running) + self.pending.index(prompt_id))
        return None
