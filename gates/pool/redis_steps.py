"""Running the scripts of a pool: their keys, and their refusals as errors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..connection import Connection, pairs
from ..errors import Conflict, StoreUnavailable, TooLarge
from ..keys import Keys
from ..settings import Settings
from . import scripts, scripts_making
from .edits import check_room, moved_on, not_same_slots
from .manifest import Manifest, Slot, file_number, no_pool, no_slot

BATCH_BYTES = 16 * 1024 * 1024
"""Bytes that are sent in one pipeline, so that other clients get their turn."""


@dataclass(frozen=True)
class Head:
    """A pool's hash, or what is left of it after its deletion."""

    rev: int | None
    """None when there is no pool."""
    born: str
    """Its incarnation."""
    origin: str
    """``BORN:REV`` of the mirror that it was made from, "" otherwise."""
    dead: tuple[str, ...]
    """The incarnations of this id that were deleted."""


@dataclass(frozen=True)
class Answer:
    """What an applied step says."""

    rev: int
    origin: str
    """``BORN:REV``"""
    again: bool
    """Whether an operation of that id had been applied before."""
    names: tuple[str, ...] = ()
    """RESERVE: the names."""


class Steps:
    """The scripts on the pools of one namespace; raises StoreUnavailable when Redis is away."""

    def __init__(self, connection: Connection, keys: Keys, settings: Settings) -> None:
        self.connection = connection
        self.keys = keys
        self.settings = settings
        self._scripts = {
            name: connection.script(source)
            for module in (scripts, scripts_making)
            for name, source in vars(module).items()
            if name.isupper() and name != "PRELUDE"
        }

    def run(self, name: str, pool_id: str, edit_id: str, rev: int | None, *arguments: Any) -> Answer:
        """Runs one step; its refusal raises the error that ``edits.py`` would."""
        code, *rest = self._call(name, pool_id, edit_id, "" if rev is None else rev, *arguments)
        if code in ("done", "again"):
            return Answer(int(rest[0]), f"{rest[1]}:{rest[0]}", code == "again")
        if code == "reserved":
            return Answer(0, "", False, tuple(rest))
        if code == "missing":
            raise no_pool(pool_id)
        if code == "moved":
            raise moved_on(pool_id, int(rest[0]))
        if code == "no_slot":
            raise no_slot(pool_id, rest[0])
        if code == "not_same":
            raise not_same_slots(pool_id)
        if code == "exists":
            raise pool_exists(pool_id)
        if code == "full":
            check_room(pool_id, int(float(rest[0])), self.settings.max_slots)
        if code == "used_up":
            raise TooLarge(f"The pool {pool_id} has used up all names for slots; make a new one")
        raise StoreUnavailable(f"The add to the pool {pool_id} took too long; nothing was added", pool_id=pool_id)

    def read(self, pool_id: str) -> tuple[Manifest, bool]:
        """The manifest (of revision 0 when it is missing), and whether it is sound."""
        flat, stored, order = self._call("READ", pool_id, "", "")
        head = pairs(flat)
        # One document is parsed several times as fast as one a slot.
        slots = {fields["file"]: Slot(**fields) for fields in json.loads(f"[{','.join(stored)}]")}
        unranked = sorted(slots.keys() - set(order), key=file_number)
        manifest = Manifest(
            pool_id,
            name=head.get("name", ""),
            active=head.get("active", ""),
            slots=tuple(slots[file] for file in (*order, *unranked) if file in slots),
            next_seq=int(head.get("next_seq", 1)),
            rev=int(head.get("rev", 0)),
            origin=f"{head.get('born', '')}:{head.get('rev', 0)}",
        )
        sound = len(order) == len(slots) == len(manifest.slots) and (manifest.active in slots or not slots)
        return manifest, sound

    def release(self, pool_id: str, names: Sequence[str]) -> None:
        """Frees names that were reserved in vain, with their bytes; those that have become slots stay."""
        self._call("RELEASE", pool_id, "", "", *names)

    def head(self, pool_id: str) -> Head:
        """The pool's hash, whether it exists or not."""
        with self.connection.available():
            values = self.connection.control.hmget(self.keys.pool(pool_id), "rev", "born", "origin", "dead")
        rev, born, origin, dead = values
        return Head(int(rev) if rev is not None else None, born or "", origin or "", tuple((dead or "").split()))

    def write_files(self, pool_id: str, files: Mapping[str, bytes]) -> None:
        """Writes images and masks under names that are reserved."""
        with self.connection.available():
            pipeline = self.connection.blobs.pipeline(transaction=False)
            for name, data in files.items():
                pipeline.hset(self.keys.pool_files(pool_id), name, data)
            if files:
                pipeline.execute()

    def read_file(self, pool_id: str, file: str, name: str) -> tuple[bool, bytes | None]:
        """Whether the pool has the slot ``file``, and the bytes of ``name`` (its image or mask)."""
        with self.connection.available():
            pipeline = self.connection.blobs.pipeline(transaction=False)
            pipeline.hexists(self.keys.pool_slots(pool_id), file)
            pipeline.hget(self.keys.pool_files(pool_id), name)
            has_slot, data = pipeline.execute()
        return bool(has_slot), data or None

    def _call(self, name: str, pool_id: str, *arguments: Any) -> list[Any]:
        keys = self.keys
        names = [
            keys.pool(pool_id),
            keys.pool_slots(pool_id),
            keys.pool_order(pool_id),
            keys.pool_files(pool_id),
            keys.pool_trash(pool_id),
            keys.pool_trashed(pool_id),
            keys.pool_edits(pool_id),
            keys.pool_edit_ids(pool_id),
            keys.pool_reserved(pool_id),
        ]
        with self.connection.available():
            return self._scripts[name](keys=names, args=arguments)


def stored(slots: Sequence[Slot]) -> list[str]:
    """The slots as a script takes them: file, slot as JSON, ..."""
    return [part for slot in slots for part in (slot.file, json.dumps(slot.to_json(), ensure_ascii=False))]


def pool_exists(pool_id: str) -> Conflict:
    """The error for an id that a pool has already."""
    return Conflict(f"There is a pool {pool_id} already", pool_id=pool_id)
