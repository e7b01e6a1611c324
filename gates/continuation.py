"""What a gate stores so that its run can be continued (no ComfyUI, no torch).

It is the *whole* prompt in which the gate's family began, with the gate's place in it;
``cut.py`` makes of it the prompt that runs from a decided gate on.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import Conflict, InvalidInput, TooLarge

VERSION = 1

MAX_UNPACKED = 16 * 1024 * 1024
"""Bytes of a continuation's JSON."""

MAX_MASK = 2**31
"""Bytes of a continuation's mask, unpacked."""

Prompt = dict[str, dict[str, Any]]
"""ComfyUI's API format: execution id -> ``class_type``, ``inputs`` and more."""


@dataclass(frozen=True)
class Continuation:
    """What it takes, besides a gate's record and image, to run on from the gate."""

    prompt: Prompt
    """The whole API-format prompt, without what ComfyUI wrote into it while it ran."""
    node: str
    """The gate's execution id, ``12:3`` in a subgraph."""
    outputs: tuple[str, ...]
    """The output nodes that the prompt was to run."""
    extra_pnginfo: Mapping[str, Any] = field(default_factory=dict)
    """Goes into saved images, such as the workflow; the only part of a prompt's extra data that is kept."""
    lazy: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Node id -> its inputs that are evaluated only when it asks for them."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Constants for the gate node, such as its format."""
    mask_shape: tuple[int, ...] = ()
    """[B, H, W] of the mask to pass on unless one was painted; () when the record's mask says it all."""
    mask_data: bytes = b""
    """That mask: zlib of float32, little-endian."""

    def to_bytes(self) -> bytes:
        """As stored: zlib of JSON, then :attr:`mask_data`. Raises Conflict for what JSON can't hold, and TooLarge."""
        content = {
            "version": VERSION,
            "prompt": self.prompt,
            "extra_data": {"extra_pnginfo": self.extra_pnginfo},
            "node": self.node,
            "outputs": self.outputs,
            "lazy": self.lazy,
            "inputs": self.inputs,
            "mask": self.mask_shape,
        }
        try:
            text = _json(content)
        except (TypeError, ValueError, RecursionError) as error:
            raise Conflict(
                f"The prompt can't be kept: {self._odd_place() or 'a value'} is not JSON ({error})"
            ) from None
        if len(text) > MAX_UNPACKED:
            raise TooLarge(f"The prompt has {len(text)} bytes; {MAX_UNPACKED} can be kept")
        return zlib.compress(text, 1) + self.mask_data

    def _odd_place(self) -> str:
        """Where the first value is that JSON can't hold."""
        places = [
            (f"input {name} of node {node}", value)
            for node, entry in self.prompt.items()
            for name, value in dict(entry.get("inputs", {})).items()
        ]
        places += [(f"{name} of the extra data", value) for name, value in self.extra_pnginfo.items()]
        for place, value in places:
            try:
                _json(value)
            except (TypeError, ValueError, RecursionError):
                return place
        return ""

    @classmethod
    def from_bytes(cls, data: bytes) -> Continuation:
        """What :meth:`to_bytes` made; raises InvalidInput for anything else, and TooLarge."""
        unpacker = zlib.decompressobj()
        try:
            text = unpacker.decompress(data, MAX_UNPACKED + 1)
            if len(text) > MAX_UNPACKED:
                raise TooLarge(f"A continuation has at most {MAX_UNPACKED} bytes")
            content = json.loads(text)
        except (zlib.error, ValueError, RecursionError) as error:
            if isinstance(error, TooLarge):
                raise
            raise InvalidInput(f"These bytes are no continuation: {error}") from None
        if not unpacker.eof:
            raise InvalidInput("These bytes are the begin of a continuation only")
        if not isinstance(content, dict) or content.get("version") != VERSION:
            raise InvalidInput(f"A continuation has the version {VERSION}")
        try:
            made = cls(
                prompt=_checked_prompt(content["prompt"]),
                node=content["node"],
                outputs=_texts(content["outputs"]),
                extra_pnginfo=dict(content["extra_data"]["extra_pnginfo"]),
                lazy={str(node): _texts(names) for node, names in dict(content["lazy"]).items()},
                inputs=dict(content["inputs"]),
                mask_shape=tuple(content["mask"]),
                mask_data=unpacker.unused_data,
            )
            shape_known = all(type(size) is int and size > 0 for size in made.mask_shape)
            if not shape_known or len(made.mask_shape) not in (0, 3) or made.node not in made.prompt:
                raise ValueError("its gate or its mask is not as it should be")
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"A continuation is not whole: {error}") from None
        return made

    def mask(self) -> NDArray[np.float32] | None:
        """The mask to pass on unless one was painted, [B, H, W] float32; None when the record's says it all."""
        if not self.mask_shape:
            return None
        size = math.prod(self.mask_shape) * 4
        if size > MAX_MASK:
            raise TooLarge(f"A mask of {size} bytes; {MAX_MASK} can be kept")
        try:
            data = zlib.decompressobj().decompress(self.mask_data, size + 1)
        except zlib.error as error:
            raise InvalidInput(f"A continuation's mask can't be read: {error}") from None
        if len(data) != size:
            raise InvalidInput("A continuation's mask has another size than it says")
        return np.frombuffer(data, "<f4").reshape(self.mask_shape)


def packed_mask(mask: NDArray[np.float32]) -> dict[str, Any]:
    """The fields of a continuation that hold the mask [B, H, W]; raises TooLarge."""
    if mask.nbytes > MAX_MASK:
        raise TooLarge(f"A mask of {mask.nbytes} bytes; {MAX_MASK} can be kept")
    data = np.ascontiguousarray(mask, "<f4")
    return {"mask_shape": tuple(mask.shape), "mask_data": zlib.compress(data.data, 1)}


def recorded(
    prompt: Mapping[str, Any],
    node: str,
    outputs: Sequence[str],
    extra_pnginfo: Any,
    lazy: Mapping[str, Sequence[str]],
    inputs: Mapping[str, Any],
) -> Continuation:
    """The continuation of the gate ``node`` in a prompt that runs.

    ``prompt`` is the live graph, ``extra_pnginfo`` the hidden input of that name, ``lazy`` and
    ``inputs`` as in :class:`Continuation`. Raises Conflict, which says why this gate can't be
    parked, when the node is none of the prompt's own (it was made while the prompt ran).
    """
    if node not in prompt:
        raise Conflict("This gate is in a part of the prompt that was made while it ran; it can't be parked")
    # ComfyUI writes what it found out (often a NaN) into the graph, and would take it for the truth again.
    kept = {
        str(key): {name: value for name, value in dict(entry).items() if name != "is_changed"}
        for key, entry in list(prompt.items())
    }
    return Continuation(
        prompt=kept,
        node=node,
        outputs=tuple(outputs),
        extra_pnginfo=dict(extra_pnginfo) if isinstance(extra_pnginfo, dict) else {},
        lazy=dict(lazy),
        inputs=dict(inputs),
    )


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("a list of texts is none")
    return tuple(values)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _checked_prompt(prompt: Any) -> Prompt:
    for node, entry in dict(prompt).items():
        if not isinstance(entry, dict) or not isinstance(entry.get("class_type"), str):
            raise ValueError(f"node {node} has no class")
        if not isinstance(entry.get("inputs"), dict):
            raise ValueError(f"node {node} has no inputs")
    return dict(prompt)
