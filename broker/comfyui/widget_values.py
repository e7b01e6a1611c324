"""The widgets of a saved node: which input each value of ``widgets_values`` belongs to, as ComfyUI's page reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .node_info import WIDGET_TYPES, Input, NodeInfo, input_of
from .refusals import NotConvertible

CAPTURED = ("LOAD_3D", "LOAD_3D_ANIMATION", "PREVIEW_3D", "WEBCAM", "AUDIO_RECORD")
"""Types whose value the page makes when the prompt is queued: it is in no file."""

_COMMENT = re.compile(r"/\*[\s\S]*?\*/|//.*")
_REPLACED = re.compile(r"%(date:[^%]*|[^%.]+\.[^%.]+)%")
_DYNAMIC = "COMFY_DYNAMICCOMBO_V3"


def is_widget(entry: Input, named: frozenset[str]) -> bool:
    """Whether the page makes a widget of the input; ``named``: inputs that the saved node says to have one.

    Custom nodes bring types of their own, of which only the saved node tells.
    """
    if entry.options.get("forceInput"):
        return False
    kind = entry.options.get("widgetType") or entry.type
    return kind in WIDGET_TYPES or kind == _DYNAMIC or entry.name in named


def widget_names(node: Mapping[str, Any]) -> frozenset[str]:
    """The inputs of a saved node that stand for widgets."""
    slots = (slot for slot in node.get("inputs") or () if isinstance(slot, dict))
    return frozenset(
        str(slot["widget"].get("name") or slot.get("name")) for slot in slots if isinstance(slot.get("widget"), dict)
    )


def widget_values(info: NodeInfo, node: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """Input -> value, of every widget that goes into the prompt; ``say`` is told what the page would do besides.

    Raises NotConvertible for what the page computes or captures when it queues.
    """
    named = widget_names(node)
    saved = node.get("widgets_values")
    if isinstance(saved, dict):
        return {
            entry.name: _for_prompt(entry, saved.get(entry.name, _default(entry)), say)
            for entry in info.inputs.values()
            if is_widget(entry, named)
        }
    values = iter(_without_dummies(info, named, list(saved or [])))
    return dict(_read(list(info.inputs.values()), values, named, info, say))


def _read(
    entries: list[Input], values: Iterator[Any], named: frozenset[str], info: NodeInfo, say: Callable[[str], None]
) -> Iterator[tuple[str, Any]]:
    for entry in entries:
        if not is_widget(entry, named):
            if entry.type in CAPTURED:
                raise NotConvertible(f"{info.name} gets its {entry.name} from the page when it queues")
            continue
        value = next(values, _default(entry))
        yield entry.name, _for_prompt(entry, value, say)
        # Beside it stands what the page does with the value after a run, and for a list also a filter.
        for _ in range(_controls(entry)):
            next(values, None)
        if entry.type == _DYNAMIC:
            yield from _read(_chosen(entry, value), values, named, info, say)


def _controls(entry: Input) -> int:
    control = entry.options.get("control_after_generate")
    if entry.type == "INT":
        return int(bool(entry.name in ("seed", "noise_seed") if control is None else control))
    if entry.type == "COMBO" and control:
        return 1 if entry.many else 2
    return 0


def _chosen(entry: Input, value: Any) -> list[Input]:
    """The inputs that a choice brings with it."""
    for option in entry.options.get("options") or ():
        if isinstance(option, dict) and option.get("key") == value:
            below = option.get("inputs") or {}
            return [
                input_of(f"{entry.name}.{key}", spec, section == "required")
                for section in ("required", "optional")
                for key, spec in (below.get(section) or {}).items()
            ]
    return []


def _without_dummies(info: NodeInfo, named: frozenset[str], values: list[Any]) -> list[Any]:
    """The values without those that pages of before 1.16 wrote for inputs that have no widget."""
    dummies: list[bool] = []
    for entry in info.inputs.values():
        forced = bool(entry.options.get("forceInput"))
        if forced or is_widget(entry, named):
            dummies += [forced, False] if entry.options.get("control_after_generate") else [forced]
    if True not in dummies or len(values) != len(dummies):
        return values
    return [value for value, dummy in zip(values, dummies, strict=True) if not dummy]


def _default(entry: Input) -> Any:
    if entry.type == "COMBO":
        return entry.options.get("default") or (entry.choices[0] if entry.choices else None)
    if entry.type == _DYNAMIC:
        return next(
            (option.get("key") for option in entry.options.get("options") or () if isinstance(option, dict)), None
        )
    return entry.options.get("default", {"INT": 0, "FLOAT": 0, "BOOLEAN": False, "STRING": ""}.get(entry.type))


def _for_prompt(entry: Input, value: Any, say: Callable[[str], None]) -> Any:
    if isinstance(value, str) and entry.options.get("dynamicPrompts"):
        return _dynamic(entry.name, value, say)
    if isinstance(value, str) and _REPLACED.search(value):
        say(f"{entry.name}: the page puts values in place of {value[:80]!a}; here it is sent as it stands")
    if entry.type == "CURVE" and value is not None:
        return {"__type__": "CURVE", "__value__": value}
    # A list as it is would be read as a link.
    return {"__value__": value} if isinstance(value, list) else value


def _dynamic(name: str, text: str, say: Callable[[str], None]) -> str:
    """A text as the page sends it, without comments; the page draws one of ``{a|b}``, which is not done here."""
    bare = _COMMENT.sub("", text)
    result, place = "", 0
    while place < len(bare):
        character = bare[place]
        if character == "\\" and place + 1 < len(bare):
            following = bare[place + 1]
            result += following if following in "{}|" else character + following
            place += 2
        elif character == "{":
            say(f"{name}: the page draws from {{a|b}} at every run; here the text is sent as it stands")
            return text
        else:
            result += character
            place += 1
    return result
