"""A gate's record as the fields of its Redis hash, and back; text only, so that redis-cli reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields

from ..codec import Layout
from .record import Decision, Gate

_INTS = {f.name for f in fields(Gate) if f.type == "int"}
_TEXTS = {f.name for f in fields(Gate) if f.type == "str"}


def to_fields(gate: Gate) -> dict[str, str]:
    """Every field of the record, the decision's with it when there is one."""
    row = {name: str(getattr(gate, name)) for name in sorted(_INTS | _TEXTS)}
    row["labels"] = json.dumps(list(gate.labels), ensure_ascii=False)
    row["recovered"] = str(int(gate.recovered))
    row["layout"] = layout_field(gate.layout)
    if gate.decision is not None:
        row.update((f"decision_{f.name}", str(getattr(gate.decision, f.name))) for f in fields(Decision))
    return row


def layout_field(layout: Layout | None) -> str:
    """The field ``layout``, "" for None."""
    return json.dumps(layout.to_json()) if layout is not None else ""


def from_fields(gate_id: str, row: Mapping[str, str], orphaned: bool = False) -> Gate:
    """The record of a hash; ``orphaned`` when its lease is over. Unknown fields are of a newer version and ignored."""
    values: dict[str, object] = {name: int(row[name]) for name in _INTS if name in row}
    values.update((name, row[name]) for name in _TEXTS if name in row)
    values["id"] = gate_id
    values["labels"] = tuple(json.loads(row.get("labels") or "[]"))
    values["recovered"] = row.get("recovered") == "1"
    values["layout"] = Layout.from_json(json.loads(row["layout"])) if row.get("layout") else None
    if row.get("decision_id"):
        values["decision"] = Decision(
            id=row["decision_id"],
            kind=row["decision_kind"],
            route=int(row.get("decision_route") or 0),
            by=row.get("decision_by", ""),
            where=row.get("decision_where", ""),
            text=row.get("decision_text", ""),
            mask=row.get("decision_mask", ""),
            at=int(row.get("decision_at") or 0),
            chosen=row.get("decision_chosen", ""),
        )
    if orphaned and values.get("status") == "waiting":
        values["status"] = "orphaned"
    return Gate(**values)  # type: ignore[arg-type]
