"""A prompt beside the nodes of a ComfyUI: what does not fit, and whether the graph is wrong or only a model is missing.

What ComfyUI itself would check before it runs a prompt, read from its ``/object_info``. A node's
own checks in Python are not in there, so a prompt without problems can still be refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .node_info import Input, NodeInfo, types_fit
from .parameters import Parameter, Place

MODEL_ENDINGS = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".gguf", ".onnx", ".pkl")
SHOWN = 20
"""Choices that a message lists at most."""

MISSING = ("missing_node", "missing_model", "missing_file")

FITTING = {
    "text": {"STRING", "COMBO"},
    "int": {"INT", "FLOAT"},
    "float": {"FLOAT"},
    "flag": {"BOOLEAN"},
    "choice": {"COMBO", "STRING", "INT", "FLOAT"},
    "seed": {"INT"},
    "image": {"COMBO", "STRING"},
    "mask": {"COMBO", "STRING"},
    "model": {"COMBO", "STRING"},
}
"""Type of a parameter -> types of the inputs that it may fill."""


@dataclass(frozen=True)
class Problem:
    """One thing that does not fit."""

    kind: str
    """``missing_node``, ``missing_model``, ``missing_file``: this ComfyUI lacks it. The graph is wrong:
    ``missing_input``, ``wrong_link``, ``wrong_type``, ``wrong_value``, ``out_of_bounds``, ``not_in_list``,
    ``no_output``, ``cycle``, and of parameters ``wrong_parameter``."""
    message: str
    node: str = ""
    input: str = ""
    class_type: str = ""
    parameter: str = ""

    @property
    def missing(self) -> bool:
        """Whether the graph is right and this ComfyUI lacks a node class, a model or a file."""
        return self.kind in MISSING

    def to_json(self) -> dict[str, Any]:
        """Its fields that are not empty."""
        return {name: value for name, value in vars(self).items() if value}


@dataclass
class _Check:
    """One prompt under check."""

    prompt: Mapping[str, Any]
    nodes: Mapping[str, NodeInfo | None]
    of_parameters: Mapping[Place, Parameter]
    problems: list[Problem] = field(default_factory=list)

    def say(self, kind: str, message: str, place: Place) -> None:
        parameter = self.of_parameters.get(place)
        class_type = self.prompt[place.node]["class_type"]
        name = parameter.name if parameter else ""
        self.problems.append(Problem(kind, message, place.node, place.input, class_type, name))


def check_prompt(
    prompt: Mapping[str, Any], object_info: Mapping[str, Any], parameters: Sequence[Parameter] = ()
) -> list[Problem]:
    """The problems of a prompt that has the form of :func:`broker.comfyui.workflows.check_form`, in its order.

    Inputs that ``parameters`` fill with files or models are not looked for in this ComfyUI's
    lists when their value is to be given: a file is uploaded first.
    """
    nodes = {
        node: NodeInfo.of(entry["class_type"], object_info[entry["class_type"]])
        if entry["class_type"] in object_info
        else None
        for node, entry in prompt.items()
    }
    of_parameters = {place: parameter for parameter in parameters for place in parameter.places}
    check = _Check(prompt, nodes, of_parameters)
    for node, info in nodes.items():
        if info is None:
            name = prompt[node]["class_type"]
            check.say("missing_node", f"This ComfyUI has no node {name} (node {node})", Place(node, ""))
        else:
            _check_node(check, node, info)
    for parameter in parameters:
        for place in parameter.places:
            _check_parameter(check, parameter, place)
    if not any(info is not None and info.output_node for info in nodes.values()) and None not in nodes.values():
        check.problems.append(Problem("no_output", "No node of the prompt writes a result"))
    check.problems.extend(_cycles(prompt))
    return check.problems


def _check_node(check: _Check, node: str, info: NodeInfo) -> None:
    given = check.prompt[node]["inputs"]
    for entry in info.inputs.values():
        place = Place(node, entry.name)
        if entry.name not in given:
            if entry.required and not entry.grows:
                check.say("missing_input", f"The {place} ({info.name}) is required and not given", place)
        elif isinstance(given[entry.name], list):
            _check_link(check, place, entry, given[entry.name])
        else:
            _check_value(check, place, entry, given[entry.name])
    for name, value in given.items():
        # ComfyUI passes over an input that it does not know, but not over one that leads nowhere.
        if name not in info.inputs and isinstance(value, list):
            _check_link(check, Place(node, name), None, value)


def _check_link(check: _Check, place: Place, entry: Input | None, link: list[Any]) -> None:
    source, slot = link
    origin = check.nodes[source]
    if origin is None:
        return
    if slot >= len(origin.outputs):
        count = len(origin.outputs)
        check.say(
            "wrong_link", f"The {place} wants output {slot} of node {source} ({origin.name}); it has {count}", place
        )
    elif entry is not None and not types_fit(origin.outputs[slot], entry.type):
        came = origin.outputs[slot]
        check.say(
            "wrong_type", f"The {place} takes {entry.type}, and node {source} ({origin.name}) gives {came}", place
        )


def _check_value(check: _Check, place: Place, entry: Input, value: Any) -> None:
    if isinstance(value, dict) and "__value__" in value:
        value = value["__value__"]
    parameter = check.of_parameters.get(place)
    if parameter is not None and parameter.type in ("image", "mask"):
        return
    if entry.type == "COMBO":
        if entry.choices is not None and not (entry.many or value in entry.choices):
            _say_not_in_list(check, place, entry, value, parameter)
    elif not entry.takes_value:
        check.say("wrong_value", f"The {place} takes a link of {entry.type}, not a value", place)
    elif entry.type in ("INT", "FLOAT"):
        number = _number(entry.type, value)
        if number is None:
            check.say("wrong_value", f"The {place} takes {entry.type}, not {str(value)[:80]!a}", place)
        elif not _within(number, entry.low, entry.high):
            message = f"The {place} takes {entry.low} to {entry.high}, not {number}"
            check.say("out_of_bounds", message, place)


def _say_not_in_list(check: _Check, place: Place, entry: Input, value: Any, parameter: Parameter | None) -> None:
    said = f"{str(value)[:200]!a}"
    if entry.uploads:
        check.say("missing_file", f"This ComfyUI has no file {said} (the {place})", place)
    elif (parameter is not None and parameter.type == "model") or _names_a_model(value, entry):
        there = ", ".join(map(str, (entry.choices or ())[:SHOWN])) or "none"
        check.say("missing_model", f"This ComfyUI has no model {said} (the {place}); there are: {there}", place)
    else:
        there = ", ".join(map(str, (entry.choices or ())[:SHOWN])) or "nothing"
        check.say("not_in_list", f"The {place} takes {there}; not {said}", place)


def _names_a_model(value: Any, entry: Input) -> bool:
    if not isinstance(value, str):
        return False
    return value.lower().endswith(MODEL_ENDINGS) or any(
        isinstance(choice, str) and choice.lower().endswith(MODEL_ENDINGS) for choice in entry.choices or ()
    )


def _check_parameter(check: _Check, parameter: Parameter, place: Place) -> None:
    info = check.nodes.get(place.node)
    if info is None:
        return
    entry = info.inputs.get(place.input)
    said = f"The parameter {parameter.name} fills the {place}"
    if entry is None:
        check.say("wrong_parameter", f"{said}; {info.name} has no such input", place)
    elif entry.type not in FITTING[parameter.type] and entry.takes_value:
        check.say("wrong_parameter", f"{said}, which takes {entry.type}; it is of type {parameter.type}", place)
    elif parameter.type in ("int", "float", "seed") and entry.type in ("INT", "FLOAT"):
        # A parameter without bounds of its own is held by the node's.
        for bound in (parameter.low, parameter.high, parameter.default):
            if bound is not None and not _within(bound, entry.low, entry.high):
                check.say("wrong_parameter", f"{said}, which takes {entry.low} to {entry.high}, not {bound}", place)
    elif parameter.type == "choice" and entry.type == "COMBO" and entry.choices is not None:
        strange = [str(choice) for choice in parameter.choices if choice not in entry.choices]
        if strange:
            check.say("wrong_parameter", f"{said}, which does not take {', '.join(strange)}", place)


def _number(kind: str, value: Any) -> int | float | None:
    try:
        number = int(value) if kind == "INT" else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _within(number: float, low: Any, high: Any) -> bool:
    return (low is None or number >= low) and (high is None or number <= high)


def _cycles(prompt: Mapping[str, Any]) -> Iterator[Problem]:
    """At most one: a node of a circle of links."""
    needs = {
        node: [value[0] for value in entry["inputs"].values() if isinstance(value, list)]
        for node, entry in prompt.items()
    }
    fed: dict[str, list[str]] = {node: [] for node in prompt}
    for node, sources in needs.items():
        for source in sources:
            fed[source].append(node)
    left = {node: len(sources) for node, sources in needs.items()}
    ready = [node for node, count in left.items() if count == 0]
    while ready:
        node = ready.pop()
        del left[node]
        for below in fed[node]:
            left[below] -= 1
            if left[below] == 0:
                ready.append(below)
    if left:
        node = min(left)
        yield Problem("cycle", f"Node {node} needs its own result", node, "", prompt[node]["class_type"])
