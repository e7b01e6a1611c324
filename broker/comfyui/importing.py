"""A template made of what ComfyUI exports: the prompt, what could be its parameters, and the choice of a person.

What is proposed is read from ``/object_info`` and from where links lead; nothing becomes a
parameter until it is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .checking import MODEL_ENDINGS
from .exports import to_prompt
from .node_info import Input, NodeInfo
from .parameters import INT_LIMIT, SEED_MAX, TYPES, Parameter, Place
from .refusals import InvalidTemplate
from .workflows import Output, Template, check_form

_SAMPLING = ("steps", "cfg", "denoise", "sampler_name", "scheduler", "guidance", "strength")
_NAME = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class Proposal:
    """An input that could be a parameter, with what the node says of it."""

    parameter: Parameter
    why: str

    @property
    def name(self) -> str:
        """Of the parameter."""
        return self.parameter.name


@dataclass(frozen=True)
class Export:
    """An exported workflow, read."""

    form: str
    """``page`` (Save, Export) or ``api`` (Export (API))."""
    prompt: dict[str, Any]
    proposals: tuple[Proposal, ...]
    outputs: Mapping[str, Output]
    """The nodes that write results."""
    notes: tuple[str, ...]
    """What the page would do besides when it queues."""


def read_export(document: Any, object_info: Mapping[str, Any], name: str = "the workflow") -> Export:
    """The prompt of an export, in either form, and proposals for its parameters.

    Raises NotConvertible for a page's workflow that can't be made into a prompt without guessing,
    InvalidTemplate for what is neither form.
    """
    notes: tuple[str, ...] = ()
    if isinstance(document, dict) and isinstance(document.get("nodes"), list):
        conversion = to_prompt(document, object_info)
        form, prompt, notes = "page", conversion.prompt, conversion.notes
    else:
        form, prompt = "api", _api(document)
    checked = check_form(prompt, name)
    infos = {
        node: NodeInfo.of(entry["class_type"], object_info[entry["class_type"]])
        for node, entry in checked.items()
        if entry["class_type"] in object_info
    }
    return Export(form, checked, tuple(_unique(_propose(checked, infos))), _outputs(checked, infos), notes)


def make_template(
    name: str,
    about: str,
    export: Export,
    accepted: Sequence[str],
    added: Sequence[Parameter] = (),
    outputs: Sequence[str] = (),
) -> Template:
    """The template with the proposals of these names (and ``added``) as parameters; raises InvalidTemplate.

    ``outputs``: the nodes whose files are results; default: all that write some.
    """
    proposed = {proposal.name: proposal.parameter for proposal in export.proposals}
    unknown = [each for each in accepted if each not in proposed]
    if unknown:
        there = ", ".join(proposed) or "none"
        raise InvalidTemplate(f"Not proposed: {', '.join(unknown)}; there are: {there}", parameters=unknown)
    parameters = {each: proposed[each] for each in proposed if each in accepted}
    for parameter in added:
        taken = [each for each, other in parameters.items() if set(other.places) & set(parameter.places)]
        for each in taken:
            del parameters[each]
        parameters[parameter.name] = parameter
    chosen = dict(export.outputs)
    if outputs:
        chosen = {each: output for each, output in chosen.items() if output.node in outputs}
        chosen.update({f"output-{_plain(node)}": Output(node) for node in outputs if node not in _nodes(chosen)})
    template = Template(name, about, parameters, chosen, export.prompt)
    return Template.from_json(template.to_json(), name)


def declared(text: str, export: Export, object_info: Mapping[str, Any]) -> Parameter:
    """A parameter as a person declares it, ``NAME=NODE.INPUT`` or ``NAME=NODE.INPUT:TYPE``; raises InvalidTemplate.

    Without a type it is that of the node's input, which must then be text, a number, a flag or a choice.
    """
    match = re.fullmatch(r"([^=]+)=([^=]+?)\.([^=]+?)(?::([a-z]+))?", text)
    if match is None or (match[4] is not None and match[4] not in TYPES):
        raise InvalidTemplate(f"{text[:100]!a} is not NAME=NODE.INPUT or NAME=NODE.INPUT:TYPE ({', '.join(TYPES)})")
    name, node, entry_name, kind = match.groups()
    entry = export.prompt.get(node)
    if entry is None or entry_name not in entry["inputs"]:
        raise InvalidTemplate(f"There is no input {entry_name} of node {node}", node=node, input=entry_name)
    info = object_info.get(entry["class_type"])
    given = NodeInfo.of(entry["class_type"], info).inputs.get(entry_name) if info is not None else None
    kinds = {"STRING": "text", "INT": "int", "FLOAT": "float", "BOOLEAN": "flag", "COMBO": "choice"}
    kind = kind or (kinds.get(given.type) if given else None)
    if kind is None:
        raise InvalidTemplate(f"What type {text[:100]!a} is of must be said: …:TYPE of {', '.join(TYPES)}", node=node)
    return _parameter(name, kind, Place(node, entry_name), given, entry["inputs"][entry_name])


def _api(document: Any) -> dict[str, Any]:
    """The prompt of an API export, also of the body that ``POST /prompt`` takes."""
    prompt = document.get("prompt") if isinstance(document, dict) and "prompt" in document else document
    if not isinstance(prompt, dict) or not prompt or not all(isinstance(node, dict) for node in prompt.values()):
        raise InvalidTemplate("This is neither a workflow as ComfyUI's page saves it nor an export in API format")
    # The core writes is_changed into the nodes of prompts that ran.
    return {node: {key: value for key, value in entry.items() if key != "is_changed"} for node, entry in prompt.items()}


def _propose(prompt: Mapping[str, Any], infos: Mapping[str, NodeInfo]) -> Iterator[Proposal]:
    for node, info in infos.items():
        for entry in info.inputs.values():
            value = prompt[node]["inputs"].get(entry.name)
            if value is None or isinstance(value, list):
                continue
            found = _kind(prompt, node, info, entry, value)
            if found is not None:
                name, kind, why = found
                yield Proposal(_parameter(name, kind, Place(node, entry.name), entry, value), f"{info.name}: {why}")


def _kind(
    prompt: Mapping[str, Any], node: str, info: NodeInfo, entry: Input, value: Any
) -> tuple[str, str, str] | None:
    """Name, type and reason of what an input could be; None when nothing speaks for it."""
    if entry.uploads:
        kind = "mask" if set(info.outputs) == {"MASK"} else "image"
        return kind, kind, "a file that is uploaded"
    if entry.type == "INT" and (entry.name in ("seed", "noise_seed") or entry.options.get("control_after_generate")):
        return ("seed" if "seed" in entry.name else entry.name), "seed", "the page draws it anew for every run"
    if entry.type == "COMBO":
        names = [each for each in (value, *(entry.choices or ())) if isinstance(each, str)]
        if any(each.lower().endswith(MODEL_ENDINGS) for each in names):
            return entry.name.removesuffix("_name"), "model", "names a model file"
    if entry.type == "STRING" and entry.options.get("multiline"):
        leads = sorted(_leads_to(prompt, node) & {"positive", "negative"})
        if len(leads) == 1:
            return leads[0], "text", f"its result goes to an input {leads[0]}"
        return entry.name, "text", "a text of several lines"
    kinds = {"INT": "int", "FLOAT": "float", "COMBO": "choice"}
    if entry.name in _SAMPLING and entry.type in kinds:
        return entry.name.removesuffix("_name"), kinds[entry.type], "how the picture is made"
    return None


def _leads_to(prompt: Mapping[str, Any], start: str) -> set[str]:
    """Names of the inputs that the node's result reaches, up to the first called positive or negative on each way."""
    found: set[str] = set()
    seen, ways = {start}, [start]
    while ways:
        source = ways.pop()
        for node, entry in prompt.items():
            for name, value in entry["inputs"].items():
                if isinstance(value, list) and value[0] == source:
                    found.add(name)
                    if name not in ("positive", "negative") and node not in seen:
                        seen.add(node)
                        ways.append(node)
    return found


def _parameter(name: str, kind: str, place: Place, entry: Input | None, value: Any) -> Parameter:
    """With the bounds and choices that the node declares, and the value that stands there as default."""
    parameter = Parameter(_plain(name), kind, (place,))
    if kind in ("int", "float") and entry is not None:
        bounds = (_bound(kind, entry.low), _bound(kind, entry.high))
        parameter = replace(parameter, low=bounds[0], high=bounds[1])
    if kind == "seed" and entry is not None and type(entry.high) is int and 0 <= entry.high < SEED_MAX:
        parameter = replace(parameter, high=entry.high)
    if kind == "choice":
        choices = tuple(each for each in (entry.choices if entry and entry.choices else ()) if type(each) is not bool)
        parameter = replace(parameter, choices=choices or (value,))
    if kind in ("image", "mask", "seed"):
        return parameter
    try:
        return replace(parameter, default=parameter.check(value))
    except ValueError:
        # What stands there is not accepted by the node itself any more: whoever uses the template must say it.
        return parameter


def _bound(kind: str, value: Any) -> int | float | None:
    if value is None or abs(value) > INT_LIMIT:
        return None
    return int(value) if kind == "int" else float(value)


def _outputs(prompt: Mapping[str, Any], infos: Mapping[str, NodeInfo]) -> dict[str, Output]:
    found: dict[str, Output] = {}
    for node, info in infos.items():
        if info.output_node:
            name = "image" if "image" in info.name.lower() else "output"
            title = str(prompt[node].get("_meta", {}).get("title") or info.title)
            found[name if name not in found else f"{name}-{_plain(node)}"] = Output(node, title)
    return found


def _unique(proposals: Iterator[Proposal]) -> Iterator[Proposal]:
    names: set[str] = set()
    for proposal in proposals:
        name = proposal.name
        if name in names:
            name = f"{name}-{_plain(proposal.parameter.places[0].node)}"
        names.add(name)
        yield replace(proposal, parameter=replace(proposal.parameter, name=name))


def _nodes(outputs: Mapping[str, Output]) -> set[str]:
    return {output.node for output in outputs.values()}


def _plain(text: str) -> str:
    """The text in the form of a name."""
    return _NAME.sub("-", text).strip("-.")[:48] or "value"
