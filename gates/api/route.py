"""What a route is: declared once, then mounted, checked and described from the declaration."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from ..errors import InvalidInput, TooLarge
from ..names import (
    LABEL_LIMIT,
    check_digest,
    check_gate_id,
    check_instance_id,
    check_int,
    check_job_id,
    check_name,
    check_number,
    check_slot_file,
)
from ..thumbnails import DEFAULT_SIZE, SIZES

if TYPE_CHECKING:
    from .call import Call

JSON_LIMIT = 64 * 1024
"""Bytes of a JSON body."""

FILES_JSON_LIMIT = 1024 * 1024
"""Bytes of a JSON body that lists a pool's slots; 20,000 names need 400 kB."""

PATH_CHECKS: Mapping[str, Callable[[str], str]] = {
    "gate_id": check_gate_id,
    "instance_id": check_instance_id,
    "name": lambda text: check_name(text, "bus name"),
    "pool_id": lambda text: check_name(text, "pool id"),
    "file": check_slot_file,
    "job_id": check_job_id,
    "digest": check_digest,
    "number": check_number,
}
"""Variable part of a path -> its check."""

_MISSING = object()


@dataclass(frozen=True)
class Field:
    """One value that a route takes, in the query, in the JSON body or as part of a form."""

    name: str
    kind: str
    """``int``, ``text``, ``flag``, ``name``, ``file``, ``files`` and ``gates`` (lists without repeats, of slots'
    files or of gates' ids), ``ints``, ``digest`` (SHA-256 in hex), ``bytes`` (an uploaded file, in forms only),
    ``object`` or ``objects`` (a JSON object, a list of them; what they hold is checked by who takes them)."""
    about: str
    required: bool = False
    default: Any = None
    low: int = 0
    high: int = 2**31 - 1
    limit: int = LABEL_LIMIT
    """Characters of a text."""
    pattern: str = ""
    """What a whole text must match, "" for anything; plain enough for every reader of JSON Schema."""
    choices: tuple[str | int, ...] = ()
    nullable: bool = False

    def check(self, value: Any) -> Any:
        """The value when it is what is declared; raises InvalidInput, InvalidName or TooLarge."""
        if value is None and self.nullable:
            return None
        if self.kind == "int":
            return self._chosen(self._whole(value))
        if self.kind == "bytes":
            return value
        if self.kind == "name":
            return check_name(value, self.name)
        if self.kind == "file":
            return check_slot_file(value)
        if self.kind == "files":
            files = [check_slot_file(entry) for entry in self._list(value)]
            if not files or len(set(files)) != len(files):
                raise InvalidInput(f"{self.name} must name at least one file, and each one once", what=self.name)
            return files
        if self.kind == "gates":
            ids = [check_gate_id(entry) for entry in self._list(value)]
            if not 1 <= len(set(ids)) == len(ids) <= self.high:
                raise InvalidInput(f"{self.name} must name 1 to {self.high} gates, and each one once", what=self.name)
            return ids
        if self.kind == "ints":
            return [self._whole(entry) for entry in self._list(value)]
        if self.kind == "object":
            if not isinstance(value, dict):
                raise InvalidInput(f"{self.name} must be an object", what=self.name)
            return value
        if self.kind == "objects":
            if not all(isinstance(entry, dict) for entry in self._list(value)) or len(value) > self.high:
                raise InvalidInput(f"{self.name} must be a list of at most {self.high} objects", what=self.name)
            return value
        if self.kind == "flag":
            if type(value) is not bool:
                raise InvalidInput(f"{self.name} must be true or false", what=self.name)
            return value
        if self.kind == "digest" and not (isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value)):
            raise InvalidInput(f"{self.name} must be a SHA-256 in lowercase hex", what=self.name)
        return self._chosen(self._text(value))

    def parse(self, text: str) -> Any:
        """The value of a text from the query or a form; raises as :meth:`check`."""
        if self.kind == "int":
            # Only plain ASCII digits: int() would also take "１", " 1" and "1_0".
            return self.check(int(text) if re.fullmatch(r"-?[0-9]{1,15}", text) else text)
        if self.kind == "flag":
            return self.check({"1": True, "true": True, "0": False, "false": False}.get(text, text))
        return self.check(text)

    def _whole(self, value: Any) -> int:
        # JSON knows one kind of number: some write 2.0 where others write 2.
        whole = int(value) if type(value) is float and value.is_integer() else value
        return check_int(whole, self.name, self.low, self.high)

    def _chosen(self, value: Any) -> Any:
        if self.choices and value not in self.choices:
            accepted = ", ".join(map(str, self.choices))
            raise InvalidInput(f"{self.name} must be one of {accepted}", what=self.name, accepted=list(self.choices))
        return value

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise InvalidInput(f"{self.name} must be text", what=self.name)
        if len(value) > self.limit:
            raise TooLarge(f"{self.name} has {len(value)} characters; at most {self.limit}", limit=self.limit)
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise InvalidInput(f"{self.name} holds a NUL or half of a surrogate pair", what=self.name)
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise InvalidInput(f"{self.name} must be of the form {self.pattern}", what=self.name)
        return value

    def _list(self, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise InvalidInput(f"{self.name} must be a list", what=self.name)
        return value


def check_fields(
    fields: tuple[Field, ...], given: Mapping[str, Any], text: bool = False, lenient: bool = False
) -> dict[str, Any]:
    """Every declared field's value or default. ``text``: the values are text from a query or form.

    Raises InvalidInput for one that is missing and, unless ``lenient``, for one that is not
    declared: it is a misspelt one.
    """
    known = {each.name for each in fields}
    for name in given:
        if name not in known and not lenient:
            accepted = ", ".join(sorted(known)) or "none"
            raise InvalidInput(f"The field {name[:80]!a} is not accepted here; accepted: {accepted}", what=name[:80])
    values = {}
    for each in fields:
        value = given.get(each.name, _MISSING)
        if value is _MISSING:
            if each.required:
                raise InvalidInput(f"The field {each.name} is missing: {each.about}", what=each.name)
            values[each.name] = each.default
        else:
            values[each.name] = each.parse(value) if text and isinstance(value, str) else each.check(value)
    return values


DIGEST = Field(
    "digest", "digest", "The content's digest as last seen: the answer may then be kept for ever.", default=""
)
GATE_ID = "[0-9a-f]{32}"
DECISION_ID = "[A-Za-z0-9_:-]{1,64}"
"""Patterns of ids in queries and bodies."""

SIZE = Field("size", "int", "Longest side in pixels.", default=DEFAULT_SIZE, choices=SIZES)

Shape = Any
"""What an answer holds: a dataclass, ``str``, ``int``, ``float`` or ``bool``, ``[shape]`` for a list of them,
``{name: shape}`` for an object (``name?`` for what may be missing), a tuple of shapes for one or the other,
``Any``; or, of a whole answer, a media type such as ``"image/png"``, or several with commas between."""

Run = Callable[["Call"], Awaitable[web.StreamResponse]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Route:
    """One entry of the route table."""

    method: str
    path: str
    """With its variable parts in braces, as aiohttp writes them."""
    run: Run
    """Answers a checked call; the first line of its docstring says what the route does."""
    answer: Shape = field(kw_only=True)
    """What it answers with when all is well."""
    role: str = "view"
    """The least role that may use it: view, decide or admin."""
    body: str = ""
    """What it takes: "" (nothing), ``json``, ``image``, ``archive`` or ``form``."""
    query: tuple[Field, ...] = ()
    fields: tuple[Field, ...] = ()
    """Of the JSON body or the form."""
    body_limit: int = JSON_LIMIT
    """Bytes of a JSON body."""
    lenient: bool = False
    """Whether fields that are not declared are passed over, and numbers may be text: for the kept routes."""
    handler: Handler = field(repr=False, default=None)  # type: ignore[assignment]
    """What a server mounts: the run behind the guard and the translation of errors. Set by ``routes()``."""

    @property
    def about(self) -> str:
        """What it does, in one line."""
        return (self.run.__doc__ or "").partition("\n")[0]

    @property
    def changes(self) -> bool:
        """Whether it changes anything; a GET never does."""
        return self.method != "GET"
