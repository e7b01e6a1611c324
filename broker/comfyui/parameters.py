"""What a template lets its caller set: one named parameter, the places in the prompt that it fills, its bounds."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gates.errors import InvalidInput
from gates.names import LABEL_LIMIT, TEXT_LIMIT, clean_text

from .refusals import InvalidParameter, InvalidTemplate

TYPES = ("text", "int", "float", "flag", "choice", "seed", "image", "mask", "model")

SEED_MAX = 2**64 - 1
"""The largest seed that ComfyUI's samplers take."""

SEED_DRAWN_MAX = 2**53 - 1
"""The largest seed that is drawn: ComfyUI's page holds numbers as floats, and would show a larger one rounded."""

INT_LIMIT = 2**64
FILE_LIMIT = 400
"""Characters in the name of a file on a ComfyUI, with its subfolder."""

_KEYS = {"node", "input", "also", "type", "default", "min", "max", "multiple", "choices", "about"}
_BOUNDED = ("text", "int", "float", "seed", "image")
_INT = re.compile(r"[+-]?[0-9]{1,20}")
_FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, order=True)
class Place:
    """An input of a node of the prompt."""

    node: str
    input: str

    def __str__(self) -> str:
        return f"input {self.input} of node {self.node}"


@dataclass(frozen=True)
class Parameter:
    """One parameter of a template. What its value is, is said at ``type``:

    ``text``: text, at most ``high`` characters. ``int``, ``float``: a number of ``low`` to ``high``
    (an int is a float too; NaN and infinities are none). ``flag``: true or false. ``choice``: one
    of ``choices``. ``seed``: a whole number of 0 to 2^64 - 1, or None for one that is drawn.
    ``image``, ``mask``: the name of a file on the ComfyUI, as its upload returned it; before it is
    uploaded, an image is made to have no side above ``high`` pixels, and sides that ``multiple``
    divides. ``model``: the name of a model file, one of ``choices`` when there are any.
    """

    name: str
    type: str
    places: tuple[Place, ...]
    """Never empty; the first is ``node`` and ``input`` of the document, the others stand in ``also``."""
    default: Any = None
    """What holds when the caller gives none; None: the caller must give one (a seed is drawn)."""
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    about: str = ""
    multiple: int = 1

    @property
    def required(self) -> bool:
        """Whether the caller must give a value."""
        return self.default is None and self.type != "seed"

    def check(self, value: Any) -> Any:
        """The value as it stands in the prompt; a seed of None is drawn. Raises InvalidParameter."""
        if self.type == "text":
            return self._text(value)
        if self.type in ("int", "float", "seed"):
            return self._number(value)
        if self.type == "flag":
            if type(value) is bool:
                return value
            raise self._refusal("true or false")
        if self.type in ("image", "mask"):
            return self._file(value)
        return self._choice(value)

    def read(self, text: str) -> Any:
        """The value of a command line's text, checked; raises InvalidParameter."""
        if self.type == "seed" and text == "random":
            return self.check(None)
        if self.type in ("int", "seed"):
            if not _INT.fullmatch(text):
                raise self._refusal(self._range("a whole number"))
            return self.check(int(text))
        if self.type == "float":
            try:
                return self.check(float(text))
            except ValueError as error:
                if isinstance(error, InvalidParameter):
                    raise
                raise self._refusal(self._range("a number")) from None
        if self.type == "flag":
            if text.lower() not in _FLAGS:
                raise self._refusal("true or false")
            return _FLAGS[text.lower()]
        if self.type == "choice":
            named = {str(choice): choice for choice in self.choices}
            return self.check(named.get(text, text))
        return self.check(text)

    def _text(self, value: Any) -> str:
        limit = int(self.high if self.high is not None else TEXT_LIMIT)
        if not isinstance(value, str) or len(value) > limit or any("\ud800" <= each <= "\udfff" for each in value):
            raise self._refusal(f"text of at most {limit} characters")
        return value

    def _number(self, value: Any) -> int | float:
        if self.type == "seed" and value is None:
            low = int(self.low or 0)
            high = int(self.high if self.high is not None else SEED_MAX)
            return low + secrets.randbelow(max(low, min(high, SEED_DRAWN_MAX)) - low + 1)
        whole = self.type != "float"
        accepted = self._range("a whole number" if whole else "a number")
        if type(value) not in ((int,) if whole else (int, float)):
            raise self._refusal(accepted)
        low, high = (0, SEED_MAX) if self.type == "seed" else (-INT_LIMIT, INT_LIMIT)
        if not math.isfinite(value) or not (self.low if self.low is not None else low) <= value:
            raise self._refusal(accepted)
        if not value <= (self.high if self.high is not None else high):
            raise self._refusal(accepted)
        return int(value) if whole else float(value)

    def _file(self, value: Any) -> str:
        parts = value.split("/") if isinstance(value, str) else []
        printable = isinstance(value, str) and 1 <= len(value) <= FILE_LIMIT and value.isprintable()
        if not printable or "\\" in value or ":" in value or any(part.strip(". ") == "" for part in parts):
            raise self._refusal("the name of a file on the ComfyUI, as its upload returned it")
        return str(value)

    def _choice(self, value: Any) -> Any:
        if self.type == "model" and not self.choices:
            if isinstance(value, str) and 1 <= len(value) <= FILE_LIMIT and value.isprintable():
                return value
            raise self._refusal("the name of a model file")
        for choice in self.choices:
            # 1 and True are equal, and are not the same to a node.
            if choice == value and type(choice) is type(value):
                return choice
        raise self._refusal("one of " + ", ".join(str(choice) for choice in self.choices))

    def _range(self, what: str) -> str:
        low, high = self.low, self.high
        if self.type == "seed":
            low, high = low if low is not None else 0, high if high is not None else SEED_MAX
        if low is not None and high is not None:
            return f"{what} of {low} to {high}"
        return what if low is None and high is None else f"{what} {f'from {low}' if high is None else f'up to {high}'}"

    def _refusal(self, accepted: str) -> InvalidParameter:
        place = self.places[0]
        return InvalidParameter(
            f"The parameter {self.name} ({place}) must be {accepted}",
            parameter=self.name,
            node=place.node,
            input=place.input,
            accepted=accepted,
        )

    def to_json(self) -> dict[str, Any]:
        """As in a template's document."""
        first, *others = self.places
        document: dict[str, Any] = {"node": first.node, "input": first.input}
        if others:
            document["also"] = [{"node": place.node, "input": place.input} for place in others]
        document["type"] = self.type
        if self.default is not None:
            document["default"] = self.default
        if self.low is not None:
            document["min"] = self.low
        if self.high is not None:
            document["max"] = self.high
        if self.multiple != 1:
            document["multiple"] = self.multiple
        if self.choices:
            document["choices"] = list(self.choices)
        if self.about:
            document["about"] = self.about
        return document

    @classmethod
    def from_json(cls, template: str, name: str, value: Any) -> Parameter:
        """The parameter of a document; raises InvalidTemplate, which names template, parameter, node and input."""
        if not isinstance(value, dict):
            message = f"The parameter {name} of {template} must be an object"
            raise InvalidTemplate(message, template=template, parameter=name)
        where = {"template": template, "parameter": name, "node": value.get("node"), "input": value.get("input")}

        def refuse(what: str) -> InvalidTemplate:
            return InvalidTemplate(f"The parameter {name} of {template} {what}", **where)

        unknown = sorted(set(value) - _KEYS)
        if unknown:
            raise refuse(f"has the unknown keys {', '.join(map(ascii, unknown))}; there are {', '.join(sorted(_KEYS))}")
        kind = value.get("type")
        if kind not in TYPES:
            raise refuse(f"must have a type of {', '.join(TYPES)}")
        also = value.get("also", [])
        if not isinstance(also, list):
            raise refuse("has an also that is no list of places")
        places = tuple(_place(each, refuse) for each in [{key: value.get(key) for key in ("node", "input")}, *also])
        if len(set(places)) != len(places):
            raise refuse("names a place twice")
        low, high = (_bound(kind, key, value.get(key), refuse) for key in ("min", "max"))
        if low is not None and high is not None and low > high:
            raise refuse("has a min above its max")
        multiple = value.get("multiple", 1)
        if type(multiple) is not int or not 1 <= multiple <= 256 or (multiple != 1 and kind != "image"):
            raise refuse("has a multiple that is no whole number of 1 to 256, or is no image")
        if kind == "image" and high is not None and high < multiple:
            raise refuse("has a max below its multiple")
        choices = value.get("choices", [])
        if not isinstance(choices, list) or not all(type(each) in (str, int, float) for each in choices):
            raise refuse("has choices that are no list of texts and numbers")
        if (kind == "choice" and not choices) or (choices and kind not in ("choice", "model")):
            raise refuse("must have choices when it is a choice, may when it is a model, and must not otherwise")
        try:
            about = clean_text(value.get("about", ""), "about", LABEL_LIMIT * 5)
            parameter = cls(name, kind, places, None, low, high, tuple(choices), about, multiple)
            default = value.get("default")
            return parameter if default is None else replace(parameter, default=parameter.check(default))
        except InvalidInput as error:
            raise refuse(f"is not accepted: {error.message}") from error


def _place(value: Any, refuse: Any) -> Place:
    if isinstance(value, Mapping) and set(value) == {"node", "input"}:
        node, entry = value["node"], value["input"]
        if isinstance(node, str) and isinstance(entry, str) and node and entry:
            return Place(node, entry)
    raise refuse("must say node and input, both as text")


def _bound(kind: str, key: str, value: Any, refuse: Any) -> int | float | None:
    if value is None:
        return None
    if kind not in _BOUNDED:
        raise refuse(f"is a {kind} and has no {key}")
    if kind in ("text", "image") and key == "min":
        raise refuse("has no min; the max of a text is in characters, that of an image in pixels of a side")
    whole = kind != "float"
    if type(value) not in ((int,) if whole else (int, float)) or not math.isfinite(value) or abs(value) > INT_LIMIT:
        raise refuse(f"has a {key} that is no number of its type")
    if kind in ("seed", "text", "image") and not (kind == "image") <= value <= SEED_MAX:
        raise refuse(f"has a {key} out of range")
    return value
