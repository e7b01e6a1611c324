"""What is asked of a ComfyUI by a template, and what came of it: two records that JSON carries whole.

Image bytes are in neither JSON form: an input has its digest and, when it came from a file, its
path; an output its digest and the path under which it was saved.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from gates.errors import GatebusError, InvalidInput
from gates.names import check_name

from .progress import Progress
from .refusals import NoOutput
from .submitting import check_prompt_id

STATES = ("done", "failed", "cancelled", "lost")


@dataclass(frozen=True)
class InputImage:
    """An image or mask as it goes to the ComfyUI, after it was made to fit."""

    width: int
    height: int
    digest: str
    """SHA-256 of the file that is sent, in hex."""
    source: str = ""
    """Path of the file that it was made of, "" when it came as bytes."""
    source_width: int = 0
    """Before it was made to fit."""
    source_height: int = 0
    data: bytes = field(default=b"", repr=False, compare=False)
    """The file that is sent; empty in what was read from JSON."""

    @classmethod
    def of(cls, data: bytes, size: tuple[int, int], source: str, source_size: tuple[int, int]) -> InputImage:
        """The input of a file's bytes."""
        return cls(*size, hashlib.sha256(data).hexdigest(), source, *source_size, data)


@dataclass(frozen=True)
class OutputImage:
    """A file that the ComfyUI made."""

    name: str
    """Of the template's output."""
    node: str
    filename: str
    """As the ComfyUI calls it."""
    digest: str
    """SHA-256 in hex."""
    width: int = 0
    """In pixels; 0 for what is no image."""
    height: int = 0
    path: str = ""
    """Where it was saved; "" when it was not."""
    data: bytes = field(default=b"", repr=False, compare=False)
    """Empty in what was read from JSON."""


@dataclass(frozen=True)
class Timings:
    """When things happened, in Unix seconds; None when it is not known or did not."""

    queued: float | None = None
    """ComfyUI took the prompt."""
    started: float | None = None
    ended: float | None = None

    @property
    def seconds(self) -> float | None:
        """How long it ran."""
        return None if self.started is None or self.ended is None else max(0.0, self.ended - self.started)


@dataclass(frozen=True)
class GenerationRequest:
    """One run of a template that is wanted."""

    id: str
    """A UUID; the prompt's id at the ComfyUI."""
    template: str
    parameters: Mapping[str, Any]
    """Of every parameter but images and masks, defaults and the drawn seed too: the same again gives the same."""
    inputs: Mapping[str, InputImage] = field(default_factory=dict)
    """Parameter -> image or mask."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The caller's own, JSON; comes back in the result."""
    on_progress: Callable[[Progress], None] | None = field(default=None, repr=False, compare=False)
    """Called on the loop, at each change; what it raises ends the following."""
    on_complete: Callable[[GenerationResult], None] | None = field(default=None, repr=False, compare=False)
    on_error: Callable[[GenerationResult], None] | None = field(default=None, repr=False, compare=False)

    @property
    def seed(self) -> int | None:
        """The parameter named ``seed``, None when there is none."""
        return _seed(self.parameters)

    def to_json(self) -> dict[str, Any]:
        """Without bytes and callbacks."""
        return {
            "id": self.id,
            "template": self.template,
            "parameters": dict(self.parameters),
            "inputs": {name: _without_data(each) for name, each in self.inputs.items()},
            "metadata": dict(self.metadata),
        }

    @classmethod
    def from_json(cls, value: Any) -> GenerationRequest:
        """As :meth:`to_json` wrote it; raises InvalidInput for anything else."""
        given = _object(value, ("id", "template", "parameters", "inputs", "metadata"), "request")
        return cls(
            check_prompt_id(given["id"]),
            check_name(given["template"], "template's name"),
            _mapping(given["parameters"], "parameters"),
            _inputs(given["inputs"]),
            _mapping(given["metadata"], "metadata"),
        )

    @staticmethod
    def fresh_id() -> str:
        """A new id."""
        return str(uuid.uuid4())


@dataclass(frozen=True)
class GenerationResult:
    """What came of a request."""

    id: str
    template: str
    state: str
    """``done``, ``failed``, ``cancelled`` or ``lost``."""
    parameters: Mapping[str, Any]
    seed: int | None
    inputs: Mapping[str, InputImage]
    outputs: tuple[OutputImage, ...]
    timings: Timings
    instance: str
    """Address of the ComfyUI."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[Mapping[str, Any], ...] = ()
    """``{"type", "message", "details"}`` each, as the HTTP API gives them; empty when it is done."""

    @property
    def image(self) -> OutputImage:
        """The first output; raises NoOutput when there is none."""
        if not self.outputs:
            raise NoOutput(f"The run {self.id} of {self.template} put out no file", id=self.id)
        return self.outputs[0]

    def to_json(self) -> dict[str, Any]:
        """Without bytes."""
        return {
            "id": self.id,
            "template": self.template,
            "state": self.state,
            "parameters": dict(self.parameters),
            "seed": self.seed,
            "inputs": {name: _without_data(each) for name, each in self.inputs.items()},
            "outputs": [_without_data(each) for each in self.outputs],
            "timings": asdict(self.timings),
            "instance": self.instance,
            "metadata": dict(self.metadata),
            "errors": [dict(each) for each in self.errors],
        }

    @classmethod
    def from_json(cls, value: Any) -> GenerationResult:
        """As :meth:`to_json` wrote it; raises InvalidInput for anything else."""
        given = _object(value, tuple(each.name for each in fields(cls)), "result")
        if given["state"] not in STATES:
            raise InvalidInput(f"The state of a result is one of {', '.join(STATES)}")
        if given["seed"] is not None and type(given["seed"]) is not int:
            raise InvalidInput("The seed of a result is a whole number or null")
        for name in ("outputs", "errors"):
            if not isinstance(given[name], list):
                raise InvalidInput(f"The {name} of a result are a list")
        return cls(
            check_prompt_id(given["id"]),
            check_name(given["template"], "template's name"),
            given["state"],
            _mapping(given["parameters"], "parameters"),
            given["seed"],
            _inputs(given["inputs"]),
            tuple(_record(OutputImage, each) for each in given["outputs"]),
            _record(Timings, given["timings"]),
            _text(given["instance"], "instance"),
            _mapping(given["metadata"], "metadata"),
            tuple(_mapping(each, "error") for each in given["errors"]),
        )


def result_of(
    wanted: GenerationRequest,
    instance: str,
    timings: Timings,
    outputs: tuple[OutputImage, ...] = (),
    error: GatebusError | None = None,
    state: str = "done",
) -> GenerationResult:
    """The result of a request that ended in this way."""
    return GenerationResult(
        wanted.id,
        wanted.template,
        state,
        wanted.parameters,
        wanted.seed,
        wanted.inputs,
        outputs,
        timings,
        instance,
        wanted.metadata,
        (error.to_json()["error"],) if error is not None else (),
    )


def input_path(image: bytes | str | Path) -> str:
    """The path of an image that is given as one, "" of bytes."""
    return "" if isinstance(image, bytes) else str(image)


def _seed(parameters: Mapping[str, Any]) -> int | None:
    seed = parameters.get("seed")
    return seed if type(seed) is int else None


def _without_data(image: InputImage | OutputImage) -> dict[str, Any]:
    return {name: value for name, value in vars(image).items() if name != "data"}


def _object(value: Any, keys: tuple[str, ...], what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(keys):
        raise InvalidInput(f"A generation's {what} is an object of {', '.join(keys)}")
    return value


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"The {what} of a generation must be an object")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"The {what} of a generation must be text")
    return value


def _inputs(value: Any) -> dict[str, InputImage]:
    return {name: _record(InputImage, each) for name, each in _mapping(value, "inputs").items()}


_KINDS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float | None": (int, float, type(None)),
}


def _record(kind: type[Any], value: Any) -> Any:
    """A flat record of its JSON; every field but ``data`` must be there and of its type."""
    wanted = {each.name: _KINDS[str(each.type)] for each in fields(kind) if each.name != "data"}
    given = _object(value, tuple(wanted), kind.__name__)
    for name, types in wanted.items():
        if type(given[name]) not in types:
            raise InvalidInput(f"The {name} of {kind.__name__} is of a wrong type")
    return kind(**given)
