"""Shapes of answers and fields as JSON Schema (draft 2020-12, as OpenAPI 3.1 uses it)."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types
import typing
from typing import Any, Union

from gates.api.route import Field, Shape
from gates.names import NAME_LIMIT

GATE_ID = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
# Letters of any script have no pattern that every reader of JSON Schema knows.
NAME = {"type": "string", "minLength": 1, "maxLength": NAME_LIMIT, "format": "gatebus-name"}
"""What ``gates.names.check_name`` accepts."""
SLOT_FILE = {"type": "string", "pattern": r"^img_[0-9]{4,9}\.png$"}

PATH_SCHEMAS = {
    **{"gate_id": GATE_ID, "name": NAME, "pool_id": NAME, "file": SLOT_FILE, "instance_id": GATE_ID},
    **{"job_id": GATE_ID, "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
    "number": {"type": "string", "pattern": "^(0|[1-9][0-9]{0,3})$"},
}
"""Variable part of a path -> its schema; what is not here is a name."""

_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", None: "null", types.NoneType: "null"}


class Schemas:
    """The components of one document: each dataclass is described once and referred to."""

    def __init__(self) -> None:
        self.components: dict[str, dict[str, Any]] = {}

    def of(self, shape: Shape) -> dict[str, Any]:
        """The schema of a shape (``gates.api.route.Shape``) or of a dataclass's annotation."""
        if shape is Any:
            return {}
        if isinstance(shape, dict):
            return self._object(shape)
        if isinstance(shape, list):
            return {"type": "array", "items": self.of(shape[0])}
        if isinstance(shape, tuple):
            return {"anyOf": [self.of(each) for each in shape]}
        if shape in _SIMPLE:
            return {"type": _SIMPLE[shape]}
        if dataclasses.is_dataclass(shape):
            return self._reference(typing.cast(type, shape))
        origin: Any = typing.get_origin(shape)
        arguments = typing.get_args(shape)
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.of(each) for each in arguments]}
        if origin in (tuple, list):
            return {"type": "array", "items": self.of(arguments[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        raise TypeError(f"No schema for {shape!r}")

    def _object(self, shape: dict[str, Shape]) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {name.removesuffix("?"): self.of(each) for name, each in shape.items()},
            "required": [name for name in shape if not name.endswith("?")],
            "additionalProperties": False,
        }

    def _reference(self, of: type) -> dict[str, Any]:
        if of.__name__ not in self.components:
            self.components[of.__name__] = {}
            hints, about = typing.get_type_hints(of), _attribute_docs(of)
            shape = self._object({name: hints[name] for name in (each.name for each in dataclasses.fields(of))})
            for name, text in about.items():
                if name in shape["properties"] and "$ref" not in shape["properties"][name]:
                    shape["properties"][name]["description"] = text
            self.components[of.__name__] = {"description": inspect.getdoc(of) or "", **shape}
        return {"$ref": f"#/components/schemas/{of.__name__}"}


def field_schema(field: Field) -> dict[str, Any]:
    """The schema of a declared field, with its default."""
    schema = _kind_schema(field)
    if field.nullable:
        schema = {"anyOf": [schema, {"type": "null"}]}
    schema["description"] = field.about
    if field.default not in (None, ""):
        schema["default"] = field.default
    return schema


def _kind_schema(field: Field) -> dict[str, Any]:
    whole = {"type": "integer", "minimum": field.low, "maximum": field.high}
    if field.choices:
        return {"type": "integer" if field.kind == "int" else "string", "enum": list(field.choices)}
    simple: dict[str, dict[str, Any]] = {
        "int": whole,
        "ints": {"type": "array", "items": whole},
        "flag": {"type": "boolean"},
        "name": dict(NAME),
        "file": dict(SLOT_FILE),
        "files": {"type": "array", "items": SLOT_FILE, "minItems": 1, "uniqueItems": True},
        "gates": {"type": "array", "items": GATE_ID, "minItems": 1, "maxItems": field.high, "uniqueItems": True},
        "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "object": {"type": "object"},
        "objects": {"type": "array", "items": {"type": "object"}, "maxItems": field.high},
        "bytes": {"type": "string", "minLength": 1, "contentMediaType": "application/octet-stream"},
        # NUL is refused: it ends the text for too many readers.
        "text": {"type": "string", "maxLength": field.limit, "pattern": r"^[^\u0000]*$"},
    }
    schema = simple[field.kind]
    if field.pattern:
        schema["pattern"] = f"^(?:{field.pattern})$"
    return schema


def _attribute_docs(of: type) -> dict[str, str]:
    """Attribute -> the text that stands below it in the class, as documentation tools read it."""
    found: dict[str, str] = {}
    for base in reversed([each for each in of.__mro__ if dataclasses.is_dataclass(each)]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        statements = typing.cast(ast.ClassDef, definition).body
        for statement, following in itertools.pairwise(statements):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
                and isinstance(following.value.value, str)
            ):
                found[statement.target.id] = inspect.cleandoc(following.value.value)
    return found
