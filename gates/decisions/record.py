"""An entry of the decision log, and what every log promises.

A log only grows, at its end. Each entry is written in the same atomic step as what it tells of, so
that none is missing and none is there twice; a repeat of a decision is none. Kinds of entries::

    route, cancel, expire    a decision was made (``expire``, and a route by ``deadline``: by nobody)
    take-back                the decision of that id was taken back; the gate waits again
    end                      the gate ended: ``outcome`` says how, ``decision`` which one was carried out
    park                     a person parked an orphan
    image                    the gate's image became known only after it had ended
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from ..codec import Encoded
from ..gate.record import Decision, Gate

DECIDED = ("route", "cancel", "expire")
KINDS = (*DECIDED, "take-back", "park", "end", "image")
TAKEN_BACK = "taken back"
"""The outcome of a decision that was taken back."""


@dataclass(frozen=True)
class Entry:
    """One entry; an ``end``, ``take-back`` or ``image`` names gate and decision and repeats little else of them."""

    id: str = ""
    """Its place in the log, ``MILLISECONDS-NUMBER`` by the time of its writing: a cursor. "" until it is written."""
    kind: str = ""
    """One of KINDS."""
    at: int = 0
    """Milliseconds since the epoch, by the store's clock: when it happened."""
    gate: str = ""
    decision: str = ""
    """The decision's id, "" when there was none."""
    route: int = 0
    label: str = ""
    """The route's, at that time."""
    by: str = ""
    where: str = ""
    """Which way it came, as the server saw it; see :class:`Decision`."""
    text: str = ""
    mask: str = ""
    """The token of the painted mask that goes with the decision, "" for none."""
    outcome: str = ""
    """``applied``, ``nobody waited``, ``interrupted``, ``error``, ``shutdown``, ``taken back``; "" while it is open."""
    ended: int = 0
    """Milliseconds since the epoch: when the outcome was known; 0 before."""
    title: str = ""
    note: str = ""
    workflow: str = ""
    workflow_id: str = ""
    prompt_id: str = ""
    node_id: str = ""
    instance: str = ""
    opened: int = 0
    """Milliseconds since the epoch: how long the decision took is ``at - opened``."""
    width: int = 0
    height: int = 0
    batch: int = 0
    digest: str = ""
    """See :func:`image_digest`; "" when it was not known yet."""
    chosen: str = ""
    """The images of the batch that went on, as in :class:`Decision`; "" for all."""

    def to_json(self) -> dict[str, Any]:
        """The entry as the HTTP API shows it."""
        return dict(vars(self))

    @classmethod
    def from_fields(cls, row: Mapping[str, Any], id: str = "") -> Entry:
        """The entry of stored fields; unknown ones are of a newer version and ignored."""
        values: dict[str, Any] = {name: int(row[name] or 0) for name in _INTS if name in row}
        values.update((name, str(row[name])) for name in _TEXTS if name in row)
        return cls(**{**values, "id": id or values.get("id", "")})


_INTS = {field.name for field in fields(Entry) if field.type == "int"}
_TEXTS = {field.name for field in fields(Entry) if field.type == "str"}
OF_THE_GATE = ("title", "note", "workflow", "workflow_id", "prompt_id", "node_id", "instance", "opened", "width",
               "height", "batch", "digest")  # fmt: skip
"""What a decision's entry takes over from the gate's record."""


class DecisionLog(Protocol):
    """The log of a store; thread-safe. Raises StoreUnavailable while the store is away."""

    def read(self, start: str, count: int, newest: bool = False) -> list[Entry]:
        """At most ``count`` entries behind the one of that id, oldest first; with ``newest`` those before it,
        newest first. ``start`` need not exist; "" is the beginning, or with ``newest`` the end."""
        ...


class LogWriter(Protocol):
    """Takes entries of gates that this process alone knows."""

    def append(self, entry: Entry, durable: bool = True) -> None:
        """Writes the entry, on the disk when it returns if ``durable``; raises StoreUnavailable and has written none.

        An entry that is not durable is on the disk with the next one that is.
        """
        ...


def decision_entry(gate: Gate, decision: Decision) -> Entry:
    """The entry for the decision that the gate now has."""
    label = gate.labels[decision.route - 1] if 0 < decision.route <= len(gate.labels) else ""
    return Entry(
        kind=decision.kind,
        at=decision.at,
        gate=gate.id,
        decision=decision.id,
        route=decision.route,
        label=label,
        by=decision.by,
        where=decision.where,
        text=decision.text,
        mask=decision.mask,
        chosen=decision.chosen,
        **{name: getattr(gate, name) for name in OF_THE_GATE},
    )


def end_entry(gate: Gate) -> Entry:
    """The entry for a gate that has ended."""
    decision = gate.decision.id if gate.decision is not None else ""
    return Entry(
        kind="end",
        at=gate.ended,
        gate=gate.id,
        decision=decision,
        outcome=gate.outcome,
        ended=gate.ended,
        digest=gate.digest,
    )


def take_back_entry(gate: Gate, decision_id: str, by: str, where: str, at: int) -> Entry:
    """The entry for a decision that was taken back."""
    return Entry(kind="take-back", at=at, gate=gate.id, decision=decision_id, by=by, where=where)


def park_entry(gate: Gate, by: str, where: str, at: int) -> Entry:
    """The entry for an orphan that a person parked."""
    decision = gate.decision.id if gate.decision is not None else ""
    return Entry(kind="park", at=at, gate=gate.id, decision=decision, by=by, where=where)


def image_entry(gate: Gate) -> Entry:
    """The entry for the image of a gate that had ended before."""
    decision = gate.decision.id if gate.decision is not None else ""
    return Entry(kind="image", at=gate.ended, gate=gate.id, decision=decision, digest=gate.digest)


def image_digest(image: Encoded) -> str:
    """SHA-256 in hex of the image's parts, one after the other.

    Of a PNG of one frame that is the file's SHA-256, as ``sha256sum`` tells it and as a pool's slot
    has it; of a batch the frames' files follow each other; of the exact format it is the tensor's bytes.
    """
    digest = hashlib.sha256()
    for part in image.parts:
        digest.update(part)
    return digest.hexdigest()


def order(id: str) -> tuple[int, int]:
    """By which ids are compared."""
    milliseconds, _, number = id.partition("-")
    return int(milliseconds), int(number)
