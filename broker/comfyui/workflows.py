"""Workflow templates: a prompt in ComfyUI's API format with named parameters, each with its declared place.

A template is one JSON document of this form (a file ``NAME.json``)::

    {
      "name": "inpaint_masked",          the file's name, as check_name accepts it
      "about": "Repaints what the mask covers.",
      "version": 1,                      of this form; 1 is the only one
      "parameters": {
        "positive": {"node": "6", "input": "text", "type": "text", "default": "", "about": "What to paint."},
        "denoise": {"node": "3", "input": "denoise", "type": "float", "default": 1.0, "min": 0.0, "max": 1.0},
        "seed": {"node": "3", "input": "seed", "type": "seed"},
        "image": {"node": "10", "input": "image", "type": "image"}
      },
      "outputs": {"image": {"node": "9", "about": "The edited image."}},
      "prompt": {"3": {"class_type": "KSampler", "inputs": {...}}, ...}
    }

The types, and what each accepts, stand at :class:`broker.comfyui.parameters.Parameter`. A
parameter fills the input that it names (and those in ``also``: ``[{"node", "input"}]``), which
must be there and hold a value, not a link; nothing else of the prompt ever changes. A parameter
without ``default`` must be given; a seed that is not given is drawn, and recorded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from gates.errors import InvalidInput
from gates.names import TEXT_LIMIT, check_name, clean_text

from .checking import Problem, check_prompt
from .parameters import Parameter, Place
from .refusals import InvalidParameter, InvalidTemplate

VERSION = 1
MAX_BYTES = 8 * 1024 * 1024
"""Bytes of a template's document."""

MAX_NODES = 5000
MAX_PARAMETERS = 200
_KEYS = ("name", "about", "version", "parameters", "outputs", "prompt")
_NODE_KEYS = {"class_type", "inputs", "_meta"}
_DEPTH = 32


@dataclass(frozen=True)
class Output:
    """A node whose files are results of the template."""

    node: str
    about: str = ""


@dataclass(frozen=True)
class Filled:
    """A prompt that is ready to be submitted, and the values that it was filled with."""

    template: str
    prompt: dict[str, Any]
    values: dict[str, Any]
    """Of every parameter, the defaults and the drawn seeds too."""

    @property
    def seed(self) -> int | None:
        """The value of the parameter named ``seed``, None when there is none."""
        seed = self.values.get("seed")
        return seed if type(seed) is int else None


@dataclass(frozen=True)
class Template:
    """A checked template; treat ``prompt`` as read-only."""

    name: str
    about: str
    parameters: Mapping[str, Parameter]
    outputs: Mapping[str, Output]
    prompt: Mapping[str, Any]

    @classmethod
    def from_json(cls, value: Any, name: str | None = None) -> Template:
        """The template of a document; ``name``: what it must be called. Raises InvalidTemplate or InvalidName."""
        if not isinstance(value, dict):
            raise InvalidTemplate("A template is a JSON object")
        called = check_name(value.get("name") if name is None or "name" in value else name, "template's name")
        if name is not None and called != name:
            raise InvalidTemplate(f"The file of the template {name} says that it is {called}", template=name)
        unknown, missing = sorted(set(value) - set(_KEYS)), sorted(set(_KEYS) - set(value) - {"about"})
        if unknown or missing:
            wrong = [f"has the unknown keys {', '.join(map(ascii, unknown))}"] if unknown else []
            wrong += [f"lacks {', '.join(missing)}"] if missing else []
            raise InvalidTemplate(f"The template {called} {' and '.join(wrong)}", template=called)
        if type(value["version"]) is not int or value["version"] != VERSION:
            raise InvalidTemplate(f"The template {called} must be of version {VERSION}", template=called)
        prompt = check_form(value["prompt"], called)
        try:
            about = clean_text(value.get("about", ""), "about", TEXT_LIMIT)
        except InvalidInput as error:
            raise InvalidTemplate(f"The template {called}: {error.message}", template=called) from error
        return cls(
            called, about, _parameters(called, value["parameters"], prompt), _outputs(called, value, prompt), prompt
        )

    @classmethod
    def from_bytes(cls, data: bytes, name: str | None = None) -> Template:
        """As :meth:`from_json`, of a file's bytes."""
        return cls.from_json(read_json(data, name or "the template"), name)

    def to_json(self) -> dict[str, Any]:
        """The document, as :meth:`from_json` takes it."""
        return {
            "name": self.name,
            "about": self.about,
            "version": VERSION,
            "parameters": {name: parameter.to_json() for name, parameter in self.parameters.items()},
            "outputs": {name: {"node": each.node, "about": each.about} for name, each in self.outputs.items()},
            "prompt": deepcopy(dict(self.prompt)),
        }

    def of_type(self, kind: str) -> list[Parameter]:
        """The parameters of a type, in the document's order."""
        return [parameter for parameter in self.parameters.values() if parameter.type == kind]

    def fill(self, values: Mapping[str, Any]) -> Filled:
        """The prompt with these values at their places; raises InvalidParameter for unknown, missing and wrong ones.

        Nothing else of the prompt changes, and the template itself never does.
        """
        resolved = self.resolve(values)
        prompt = deepcopy(dict(self.prompt))
        for name, value in resolved.items():
            for place in self.parameters[name].places:
                prompt[place.node]["inputs"][place.input] = value
        return Filled(self.name, prompt, resolved)

    def resolve(self, values: Mapping[str, Any], without: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The value of every parameter but those in ``without``, checked; raises InvalidParameter."""
        unknown = [name for name in values if name not in self.parameters]
        if unknown:
            there = ", ".join(self.parameters) or "none"
            raise InvalidParameter(
                f"The template {self.name} has no parameter {', '.join(map(str, unknown))}; there are: {there}",
                template=self.name,
                parameters=unknown,
            )
        needed = {name: each for name, each in self.parameters.items() if name not in without}
        missing = [name for name, each in needed.items() if each.required and values.get(name) is None]
        if missing:
            raise InvalidParameter(
                f"The template {self.name} needs {', '.join(missing)}", template=self.name, parameters=missing
            )
        resolved = {}
        for name, parameter in needed.items():
            value = values.get(name)
            resolved[name] = parameter.check(parameter.default if value is None else value)
        return resolved

    def check(self, object_info: Mapping[str, Any]) -> list[Problem]:
        """What of the prompt and of the parameters does not fit the nodes of a ComfyUI; empty when all does.

        ``object_info`` is the answer of its ``/object_info``. A model that is not there is a
        problem of another kind than a wrong graph: see :attr:`Problem.missing`.
        """
        return check_prompt(self.prompt, object_info, tuple(self.parameters.values()))


def read_json(data: bytes, what: str) -> Any:
    """The document of a file's bytes; raises InvalidTemplate for what is no JSON, NaN and too much."""
    if len(data) > MAX_BYTES:
        raise InvalidTemplate(f"{what} has {len(data)} bytes; at most {MAX_BYTES} are accepted")

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands there twice")
        return found

    try:
        return json.loads(data, parse_constant=refuse, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise InvalidTemplate(f"{what} can't be read as JSON: {error}") from error


def check_form(value: Any, template: str) -> dict[str, Any]:
    """The prompt, when it has the form of ComfyUI's API: nodes, their inputs, links that lead to nodes that are there.

    Raises InvalidTemplate, which names node and input.
    """

    def refuse(what: str, **where: Any) -> InvalidTemplate:
        return InvalidTemplate(f"The prompt of {template} {what}", template=template, **where)

    if not isinstance(value, dict) or not 1 <= len(value) <= MAX_NODES:
        raise refuse(f"must be an object of 1 to {MAX_NODES} nodes, as ComfyUI's Export (API) writes it")
    for node, entry in value.items():
        if not 1 <= len(node) <= 200 or not node.isprintable():
            raise refuse("has a node whose id is not 1 to 200 characters")
        if not isinstance(entry, dict) or not {"class_type", "inputs"} <= set(entry) <= _NODE_KEYS:
            raise refuse(f"must give class_type and inputs (and _meta) of node {node}, and nothing else", node=node)
        if not isinstance(entry["class_type"], str) or not entry["class_type"]:
            raise refuse(f"gives node {node} no class_type", node=node)
        if not isinstance(entry["inputs"], dict) or not isinstance(entry.get("_meta", {}), dict):
            raise refuse(f"gives node {node} inputs or _meta that are no object", node=node)
        for name, given in entry["inputs"].items():
            if isinstance(given, list):
                if not is_link(given):
                    raise refuse(f"has no [node, output] at input {name} of node {node}", node=node, input=name)
                if given[0] not in value:
                    raise refuse(
                        f"links input {name} of node {node} to a node that is not there", node=node, input=name
                    )
            elif not _is_plain(given, _DEPTH):
                raise refuse(f"has no value that JSON knows at input {name} of node {node}", node=node, input=name)
    return value


def is_link(value: Any) -> bool:
    """Whether an input's value is a link, ``[node, output]``."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and type(value[1]) is int
        and 0 <= value[1] < 1000
    )


def _is_plain(value: Any, depth: int) -> bool:
    if depth == 0:
        return False
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(each, depth - 1) for key, each in value.items())
    if isinstance(value, list):
        return all(_is_plain(each, depth - 1) for each in value)
    return value is None or type(value) in (str, int, float, bool)


def _parameters(template: str, value: Any, prompt: Mapping[str, Any]) -> dict[str, Parameter]:
    if not isinstance(value, dict) or len(value) > MAX_PARAMETERS:
        raise InvalidTemplate(f"The parameters of {template} must be an object of at most {MAX_PARAMETERS}")
    parameters = {}
    taken: dict[Place, str] = {}
    for name, entry in value.items():
        check_name(name, "parameter's name")
        parameter = parameters[name] = Parameter.from_json(template, name, entry)
        for place in parameter.places:
            where = {"template": template, "parameter": name, "node": place.node, "input": place.input}
            if place.node not in prompt:
                raise InvalidTemplate(
                    f"The parameter {name} of {template} names a node {place.node}; there is none", **where
                )
            inputs = prompt[place.node]["inputs"]
            if place.input not in inputs:
                raise InvalidTemplate(f"The parameter {name} of {template}: there is no {place}", **where)
            if isinstance(inputs[place.input], list):
                raise InvalidTemplate(f"The parameter {name} of {template}: the {place} is linked", **where)
            if place in taken:
                raise InvalidTemplate(
                    f"The parameters {taken[place]} and {name} of {template} both fill the {place}", **where
                )
            taken[place] = name
    return parameters


def _outputs(template: str, document: Mapping[str, Any], prompt: Mapping[str, Any]) -> dict[str, Output]:
    value = document["outputs"]
    if not isinstance(value, dict) or not 1 <= len(value) <= MAX_NODES:
        raise InvalidTemplate(f"The outputs of {template} must be an object of at least one", template=template)
    outputs = {}
    for name, entry in value.items():
        check_name(name, "output's name")
        if not isinstance(entry, dict) or not {"node"} <= set(entry) <= {"node", "about"}:
            raise InvalidTemplate(f"The output {name} of {template} must say node (and about)", template=template)
        if not isinstance(entry["node"], str) or entry["node"] not in prompt:
            raise InvalidTemplate(
                f"The output {name} of {template} names a node that is not there", template=template, node=entry["node"]
            )
        outputs[name] = Output(entry["node"], clean_text(entry.get("about", ""), "about", TEXT_LIMIT))
    return outputs
