"""A job's record as the text fields of a hash or row, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from .record import Attempt, Failure, Input, Job, Output, Reason

_INTS = {f.name for f in fields(Job) if f.type == "int"}
_TEXTS = {f.name for f in fields(Job) if f.type == "str"}
_NAMES = ("nodes", "models", "avoid")
_LISTS: dict[str, Any] = {"inputs": Input, "reasons": Reason, "attempts": Attempt, "outputs": Output}


def to_fields(job: Job) -> dict[str, str]:
    """Every field of the record as text."""
    row = {name: str(getattr(job, name)) for name in sorted(_INTS | _TEXTS)}
    row["gates"] = str(int(job.gates))
    row["progress"] = f"{job.progress:.4f}"
    row.update((name, as_text(getattr(job, name))) for name in (*_NAMES, *_LISTS))
    row["error"] = failure_text(job.error)
    return row


def from_fields(row: Mapping[str, str]) -> Job:
    """The record. Unknown fields are of a newer version and ignored, missing ones of an older and empty."""
    values: dict[str, Any] = {name: int(row[name]) for name in _INTS if name in row}
    values.update((name, row[name]) for name in _TEXTS if name in row)
    values["gates"] = row.get("gates") == "1"
    values["progress"] = float(row.get("progress") or 0)
    for name in _NAMES:
        values[name] = tuple(json.loads(row.get(name) or "[]"))
    for name, kind in _LISTS.items():
        values[name] = tuple(_record(kind, entry) for entry in json.loads(row.get(name) or "[]"))
    values["error"] = _record(Failure, json.loads(row["error"])) if row.get("error") else None
    return Job(**values)


def as_text(entries: Sequence[Any]) -> str:
    """A list of records or names as JSON."""
    return json.dumps([entry if isinstance(entry, str) else asdict(entry) for entry in entries], ensure_ascii=False)


def failure_text(error: Failure | None) -> str:
    """The field ``error``, "" for None."""
    return json.dumps(asdict(error), ensure_ascii=False) if error is not None else ""


def _record(kind: Any, entry: Mapping[str, Any]) -> Any:
    known = {f.name for f in fields(kind)}
    return kind(**{name: value for name, value in entry.items() if name in known})
