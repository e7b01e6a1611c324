"""What a ComfyUI says of its nodes at ``/object_info``: inputs in their order, what they take, outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

VALUE_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
"""Types of inputs whose value may stand in the prompt, with which core nodes come."""

WIDGET_TYPES = frozenset(VALUE_TYPES) | {
    "MARKDOWN", "COLOR", "CURVE", "TEXTAREA", "RANGE", "BOUNDING_BOX", "BOUNDING_BOXES", "COLORS", "CHART", "GALLERIA",
    "PAINTER", "COMPOSITOR", "IMAGECOMPARE", "VIDEO_EDIT", "RESOLUTION_PREVIEW", "LIGHT_INFO_PREVIEW",
}  # fmt: skip
"""Types of inputs for which ComfyUI's page makes a widget."""

_UPLOADS = ("image_upload", "video_upload", "audio_upload", "animated_image_upload", "file_upload")
_ANY = ("*", "", "COMFY_MATCHTYPE_V3")


@dataclass(frozen=True)
class Input:
    """One input of a node class."""

    name: str
    type: str
    """``COMBO`` for a list of choices."""
    required: bool
    options: Mapping[str, Any]
    choices: tuple[Any, ...] | None = None
    """Of a COMBO; None when the page asks a server for them."""

    @property
    def low(self) -> Any:
        """The least accepted number, None for any."""
        return _plain_number(self.options.get("min"))

    @property
    def high(self) -> Any:
        """The largest accepted number, None for any."""
        return _plain_number(self.options.get("max"))

    @property
    def uploads(self) -> bool:
        """Whether it names a file that a person uploads."""
        return any(self.options.get(key) for key in _UPLOADS)

    @property
    def many(self) -> bool:
        """Whether its value is a list of choices."""
        return bool(self.options.get("multi_select") or self.options.get("multiselect"))

    @property
    def grows(self) -> bool:
        """Whether it stands for further inputs, named ``NAME.…``, instead of itself."""
        return self.type in ("COMFY_AUTOGROW_V3", "COMFY_DYNAMICSLOT_V3", "COMFY_DYNAMICGROUP_V3")

    @property
    def takes_value(self) -> bool:
        """Whether a value may stand there; of types that custom nodes bring this is not known."""
        return self.type not in _LINKED or self.options.get("widgetType") is not None


_LINKED = frozenset(
    {
        "IMAGE", "MASK", "LATENT", "MODEL", "CLIP", "VAE", "CONDITIONING", "CONTROL_NET", "CLIP_VISION", "STYLE_MODEL",
        "CLIP_VISION_OUTPUT", "UPSCALE_MODEL", "SAMPLER", "SIGMAS", "NOISE", "GUIDER", "GLIGEN", "AUDIO", "VIDEO",
    }
)  # fmt: skip
"""Types of core nodes that no JSON value can be."""


@dataclass(frozen=True)
class NodeInfo:
    """One node class."""

    name: str
    title: str
    inputs: Mapping[str, Input]
    """In the order of the page's widgets."""
    outputs: tuple[str, ...]
    """Their types."""
    output_node: bool

    @classmethod
    def of(cls, name: str, info: Mapping[str, Any]) -> NodeInfo:
        """The node class of its entry in ``/object_info``."""
        outputs = tuple("COMBO" if isinstance(each, list) else str(each) for each in info.get("output") or ())
        inputs = {each.name: each for each in _inputs(info)}
        return cls(name, info.get("display_name") or name, inputs, outputs, bool(info.get("output_node")))


def _inputs(info: Mapping[str, Any]) -> Iterator[Input]:
    given = info.get("input") or {}
    order = info.get("input_order") or {}
    for section in ("required", "optional"):
        specs = given.get(section) or {}
        names = [name for name in order.get(section) or () if name in specs]
        for name in [*names, *(name for name in specs if name not in names)]:
            yield input_of(name, specs[name], section == "required")


def input_of(name: str, spec: Any, required: bool) -> Input:
    """The input of its specification, ``[type or choices, options]``."""
    parts = spec if isinstance(spec, (list, tuple)) else [spec]
    options = parts[1] if len(parts) > 1 and isinstance(parts[1], dict) else {}
    kind = parts[0] if parts else "*"
    if isinstance(kind, list):
        return Input(name, "COMBO", required, options, tuple(kind))
    if kind == "COMBO":
        listed = options.get("options")
        return Input(name, "COMBO", required, options, tuple(listed) if isinstance(listed, list) else None)
    return Input(name, str(kind), required, options)


def types_fit(given: str, taken: str) -> bool:
    """Whether an output of the one type may be linked to an input of the other, as ComfyUI decides it."""
    if given == taken or given in _ANY or taken in _ANY:
        return True
    return not {each.strip() for each in given.split(",")}.isdisjoint(each.strip() for each in taken.split(","))


def _plain_number(value: Any) -> Any:
    return value if type(value) in (int, float) else None
