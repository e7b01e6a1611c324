"""What a prompt needs of an instance, read from the prompt itself; and the digest under which its results are kept."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gates.errors import InvalidInput

from ..jobs.record import Input

GATE_NODES = frozenset({"ImageGate", "ImageChooserGate", "TextGate"})
"""Node classes of the pack that wait for a person; pools give what is active, and don't."""

CONTINUED = "GatebusContinued"
"""The node class that every run from a gate has."""

MAX_NODES = 5000
"""Nodes of one prompt."""

_MODEL = re.compile(r"[^\n]{1,300}\.(safetensors|sft|ckpt|pt|pth|bin|gguf|onnx)", re.IGNORECASE)


@dataclass(frozen=True)
class Needs:
    """What an instance must have to run a prompt."""

    nodes: tuple[str, ...]
    models: tuple[str, ...]
    """Each as ``CLASS.INPUT=FILE``."""
    gates: bool


def needs_of(graph: Any) -> Needs:
    """The needs of a prompt in API format; raises InvalidInput for anything else."""
    if isinstance(graph, Mapping) and isinstance(graph.get("nodes"), list):
        raise InvalidInput("This is a workflow as the page saves it; a prompt in API format is needed (Export (API))")
    if not isinstance(graph, Mapping) or not 1 <= len(graph) <= MAX_NODES:
        raise InvalidInput(f"A prompt is an object of 1 to {MAX_NODES} nodes: id -> {{class_type, inputs}}")
    nodes, models = set[str](), set[str]()
    for node_id, node in graph.items():
        kind = node.get("class_type") if isinstance(node, Mapping) else None
        values = node.get("inputs", {}) if isinstance(node, Mapping) else None
        if not isinstance(kind, str) or not 1 <= len(kind) <= 200 or not isinstance(values, Mapping):
            raise InvalidInput(f"Node {str(node_id)[:64]!a} of the prompt is no object of class_type and inputs")
        nodes.add(kind)
        models.update(
            f"{kind}.{name}={value}"
            for name, value in values.items()
            if isinstance(value, str) and _MODEL.fullmatch(value)
        )
    return Needs(tuple(sorted(nodes)), tuple(sorted(models)), not GATE_NODES.isdisjoint(nodes))


def check_inputs(graph: Mapping[str, Any], inputs: Sequence[Input]) -> None:
    """Raises InvalidInput when an input names no node of the prompt, or one twice."""
    seen = set[tuple[str, str]]()
    for each in inputs:
        node = graph.get(each.node)
        if node is None or each.input not in node.get("inputs", {}):
            raise InvalidInput(
                f"The prompt has no input {each.input[:64]!a} of a node {each.node[:64]!a} to put a file in"
            )
        if (each.node, each.input) in seen:
            raise InvalidInput(f"The input {each.node}.{each.input} is given twice")
        seen.add((each.node, each.input))


def result_digest(graph: Mapping[str, Any], inputs: Sequence[Input]) -> str:
    """The digest under which the results of identical jobs are found.

    Identical are jobs whose nodes have the same ids, classes and inputs, the seeds with them, and the same bytes in
    the files that come with the job; titles and other remarks (``_meta``) don't count. What else decides a result is
    not seen: a node that draws without a seed, reads the time or the network, or a file that lies on an instance,
    which counts by its name. Who asks for the cache says that there is none of that.
    """
    files = {(each.node, each.input): each.digest for each in inputs}
    nodes = {
        node_id: [node["class_type"], {k: files.get((node_id, k), v) for k, v in node.get("inputs", {}).items()}]
        for node_id, node in graph.items()
    }
    text = json.dumps(nodes, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def with_files(graph: Mapping[str, Any], references: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """The prompt with the names that an instance gave the job's files."""
    return {
        node_id: {
            **node,
            "inputs": {k: references.get((node_id, k), v) for k, v in node.get("inputs", {}).items()},
        }
        for node_id, node in graph.items()
    }
