"""What can go wrong between us and a ComfyUI, or with a prompt there.

Each class is one sentence; those below ``PromptEnded`` tell how a prompt ended without its outputs::

    GatebusError
    └── ComfyError                            502  comfyui
        ├── ComfyUnreachable (ConnectionError) 503  comfyui_unreachable
        │   └── SubmitUnknown                 503  comfyui_submit_unknown
        ├── ComfySilent (TimeoutError)        504  comfyui_silent
        ├── ComfyRefused                      502  comfyui_refused
        ├── ComfyUnexpected                   502  comfyui_unexpected
        ├── AnswerTooLarge                    502  comfyui_answer_too_large
        ├── DownloadBroken                    502  comfyui_download_broken
        ├── NoSuchFile (LookupError)          404  comfyui_no_such_file
        ├── NoSuchPrompt (LookupError)        404  comfyui_no_such_prompt
        ├── PromptNotEnded                    409  comfyui_prompt_not_ended
        ├── PromptInvalid (ValueError)        422  comfyui_prompt_invalid
        └── PromptEnded                       502  comfyui_prompt_ended
            ├── PromptFailed                  502  comfyui_prompt_failed
            │   └── OutOfMemory               507  comfyui_out_of_memory
            ├── PromptCancelled               409  comfyui_prompt_cancelled
            └── PromptLost                    502  comfyui_prompt_lost
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gates.errors import GatebusError


class ComfyError(GatebusError):
    """A ComfyUI, or what it answered, stood in the way."""

    status = 502
    type = "comfyui"


class ComfyUnreachable(ComfyError, ConnectionError):
    """The ComfyUI does not answer, or not to its end; what was asked of it may have been done."""

    status = 503
    type = "comfyui_unreachable"


class SubmitUnknown(ComfyUnreachable):
    """Nobody knows whether the prompt was queued; look for ``prompt_id`` before it is sent anywhere again."""

    type = "comfyui_submit_unknown"

    def __init__(self, prompt_id: str, message: str) -> None:
        super().__init__(message, prompt_id=prompt_id)
        self.prompt_id = prompt_id


class ComfySilent(ComfyError, TimeoutError):
    """The prompt is there and has shown no progress for the time that the caller allows; it was not cancelled."""

    status = 504
    type = "comfyui_silent"


class ComfyRefused(ComfyError):
    """The ComfyUI, or a proxy before it, wants other credentials, another address or a smaller body."""

    type = "comfyui_refused"


class ComfyUnexpected(ComfyError):
    """Something answers, but not as a ComfyUI does."""

    type = "comfyui_unexpected"


class AnswerTooLarge(ComfyError):
    """The ComfyUI sends more than the limits allow."""

    type = "comfyui_answer_too_large"


class DownloadBroken(ComfyError):
    """The file that came is not whole, or not the image that its name says."""

    type = "comfyui_download_broken"


class NoSuchFile(ComfyError, LookupError):
    """The ComfyUI has no such file (temp/ is emptied at every start), folder or model type."""

    status = 404
    type = "comfyui_no_such_file"


class NoSuchPrompt(ComfyError, LookupError):
    """The prompt is in neither queue nor history."""

    status = 404
    type = "comfyui_no_such_prompt"


class PromptNotEnded(ComfyError):
    """The prompt still waits or runs."""

    status = 409
    type = "comfyui_prompt_not_ended"


@dataclass(frozen=True)
class NodeProblem:
    """Why ComfyUI does not take a node as it is."""

    node_id: str
    """"" when the prompt as a whole is meant."""
    class_type: str
    input: str
    """Name of the input; "" when the node as a whole is meant."""
    kind: str
    """ComfyUI's word for it, e.g. ``value_smaller_than_min``, ``return_type_mismatch``."""
    reason: str
    """For a person."""
    received: Any = None
    """The value that was not accepted, where ComfyUI tells."""
    dropped: tuple[str, ...] = ()
    """Ids of the output nodes that do not run because of it."""

    def __str__(self) -> str:
        place = f"node {self.node_id} ({self.class_type})" if self.node_id else "the prompt"
        return f"{place}{f', input {self.input}' if self.input else ''}: {self.reason}"


class PromptInvalid(ComfyError, ValueError):
    """ComfyUI's validation refused the prompt; ``problems`` names node, input and reason of each fault."""

    status = 422
    type = "comfyui_prompt_invalid"

    def __init__(self, message: str, problems: Sequence[NodeProblem], kind: str = "") -> None:
        super().__init__(message, kind=kind, problems=[asdict(problem) for problem in problems])
        self.problems = tuple(problems)
        self.kind = kind


class PromptEnded(ComfyError):
    """The prompt ended without being done."""

    type = "comfyui_prompt_ended"

    def __init__(self, prompt_id: str, message: str, **details: Any) -> None:
        super().__init__(message, prompt_id=prompt_id, **details)
        self.prompt_id = prompt_id


class PromptFailed(PromptEnded):
    """A node raised; it is named, with class, message and traceback."""

    type = "comfyui_prompt_failed"

    def __init__(
        self,
        prompt_id: str,
        node_id: str,
        class_type: str,
        exception_type: str,
        exception_message: str,
        traceback: Sequence[str] = (),
    ) -> None:
        place = f"Node {node_id} ({class_type})" if node_id else "The prompt"
        super().__init__(
            prompt_id,
            f"{place} failed: {exception_type}: {exception_message.strip()}",
            node_id=node_id,
            class_type=class_type,
            exception_type=exception_type,
            exception_message=exception_message,
            traceback=list(traceback),
        )
        self.node_id = node_id
        self.class_type = class_type
        self.exception_type = exception_type
        self.exception_message = exception_message
        self.traceback = tuple(traceback)


class OutOfMemory(PromptFailed):
    """A node had too little memory; another instance, or this one after ``free``, may run the prompt."""

    status = 507
    type = "comfyui_out_of_memory"


class PromptCancelled(PromptEnded):
    """The prompt was interrupted, or taken out of the queue by us."""

    status = 409
    type = "comfyui_prompt_cancelled"


class PromptLost(PromptEnded):
    """The prompt is in neither queue nor history: the ComfyUI was started anew, or somebody removed it.

    ``restarted``: whether the stream broke since the prompt was submitted, as it does at a restart. When it did
    not, somebody took the prompt out of the queue, or its entry out of the history; None when that is not known,
    because another client submitted it.
    """

    type = "comfyui_prompt_lost"

    def __init__(self, prompt_id: str, restarted: bool | None) -> None:
        anew, removed = "the ComfyUI was started anew", "it was removed from the queue or the history"
        why = f"{anew}, or {removed}" if restarted is None else anew if restarted else removed
        super().__init__(prompt_id, f"The prompt {prompt_id} is gone: {why}", restarted=restarted)
        self.restarted = restarted


def problems_of(node_errors: Any) -> tuple[NodeProblem, ...]:
    """The problems of a ``node_errors`` object as ``POST /prompt`` answers it; unknown shapes are passed over."""
    found: list[NodeProblem] = []
    for node_id, entry in node_errors.items() if isinstance(node_errors, Mapping) else ():
        if not isinstance(entry, Mapping):
            continue
        dropped = tuple(dict.fromkeys(str(node) for node in entry.get("dependent_outputs") or ()))
        for error in entry.get("errors") or ():
            if isinstance(error, Mapping):
                found.append(_problem(str(node_id), str(entry.get("class_type", "")), error, dropped))
    return tuple(found)


def _problem(node_id: str, class_type: str, error: Mapping[str, Any], dropped: tuple[str, ...]) -> NodeProblem:
    extra = error.get("extra_info")
    extra = extra if isinstance(extra, Mapping) else {}
    message, details = str(error.get("message", "")), str(error.get("details", ""))
    return NodeProblem(
        node_id,
        class_type,
        str(extra.get("input_name") or ""),
        str(error.get("type", "")),
        f"{message}: {details}" if details else message,
        extra.get("received_value"),
        dropped,
    )


def invalid_of(answer: Any) -> PromptInvalid:
    """The error of a 400 answer of ``POST /prompt``."""
    answer = answer if isinstance(answer, Mapping) else {}
    error = answer.get("error")
    problems = problems_of(answer.get("node_errors"))
    if isinstance(error, Mapping):
        message, details, kind = (str(error.get(key) or "") for key in ("message", "details", "type"))
    else:
        message, details, kind = str(error or "the prompt was refused"), "", ""
    if not problems:
        problems = (NodeProblem("", "", "", kind, f"{message}: {details}" if details else message),)
    told = "; ".join(map(str, problems[:5])) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
    return PromptInvalid(f"ComfyUI refuses the prompt: {told}", problems, kind)
