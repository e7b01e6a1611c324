"""A pool's manifest, and what every pool store promises.

A slot is named by its file (``img_0001.png``); a name is never used again, also after a
removal, because ``next_seq`` only grows. The edits are pure functions in ``edits.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

from ..errors import PoolNotFound, SlotNotFound, TooLarge

LAST_NUMBER = 999_999_999
"""The last number in a slot's name."""


@dataclass(frozen=True)
class Slot:
    """One image of a pool."""

    file: str
    """``img_0001.png``"""
    label: str = ""
    mask: str = ""
    """The mask's file (``img_0001.mask.png``), "" when there is none."""
    added: int = 0
    """Milliseconds since the epoch."""
    digest: str = ""
    """SHA-256 (hex) of the image's PNG; the slot's identity for caches."""
    mask_digest: str = ""

    def to_json(self) -> dict[str, Any]:
        """The slot as the HTTP API shows it, and as it is stored."""
        return {
            "file": self.file,
            "label": self.label,
            "mask": self.mask,
            "added": self.added,
            "digest": self.digest,
            "mask_digest": self.mask_digest,
        }


@dataclass(frozen=True)
class Removed:
    """A slot in the trash."""

    slot: Slot
    left: str
    """The file that was its left neighbour, "" at the start."""
    at: int = 0
    """When it was removed, in milliseconds since the epoch."""


@dataclass(frozen=True)
class Manifest:
    """A pool's document."""

    pool_id: str
    name: str = ""
    """For people; "" shows the id."""
    active: str = ""
    """The active slot's file, "" in an empty pool."""
    slots: tuple[Slot, ...] = ()
    """In the order of the grid."""
    next_seq: int = 1
    rev: int = 0
    origin: str = field(default="", compare=False)
    """``BORN:REV``: the incarnation and revision in Redis that this is, or on the disk that it mirrors; "" for none."""

    @property
    def files(self) -> tuple[str, ...]:
        """The slots' files, in their order."""
        return tuple(slot.file for slot in self.slots)

    def index(self, file: str) -> int:
        """The slot's place, from 0; raises SlotNotFound."""
        for index, slot in enumerate(self.slots):
            if slot.file == file:
                return index
        raise no_slot(self.pool_id, file)

    def slot(self, file: str) -> Slot:
        """The slot of that file; raises SlotNotFound."""
        return self.slots[self.index(file)]

    def to_json(self) -> dict[str, Any]:
        """The manifest as the HTTP API shows it."""
        return {
            "pool_id": self.pool_id,
            "name": self.name,
            "active": self.active,
            "slots": [slot.to_json() for slot in self.slots],
            "next_seq": self.next_seq,
            "rev": self.rev,
        }


def no_slot(pool_id: str, file: str, where: str = "") -> SlotNotFound:
    """The error for a file that the pool has no slot of."""
    return SlotNotFound(f"The pool {pool_id} has no slot {file} {where}".rstrip(), pool_id=pool_id, file=file)


def no_pool(pool_id: str) -> PoolNotFound:
    """The error for an id that no pool has."""
    return PoolNotFound(f"There is no pool {pool_id}", pool_id=pool_id)


def file_name(number: int) -> str:
    """``img_0001.png`` for 1; raises TooLarge when the pool has used up all 999,999,999 names."""
    if number > LAST_NUMBER:
        raise TooLarge("The pool has used up all names for slots; make a new one", limit=LAST_NUMBER)
    return f"img_{number:04d}.png"


def file_number(file: str) -> int:
    """1 for ``img_0001.png``."""
    return int(file[4:-4])


def mask_name(file: str) -> str:
    """``img_0001.mask.png`` for ``img_0001.png``."""
    return file[:-4] + ".mask.png"


@dataclass(frozen=True)
class PoolInfo:
    """A pool in a list."""

    pool_id: str
    name: str
    count: int
    rev: int
    active: str


class PoolStore(Protocol):
    """Pools of images with their masks and labels; thread-safe and safe between processes.

    Ids are checked (InvalidName). PNG bytes come in verified and re-encoded (``codec.py``).
    Every edit is one step: a reader sees the manifest before or after it, and every file that
    it names is there. Edits return the new manifest. Raises PoolNotFound, SlotNotFound,
    Conflict, TooLarge (``max_slots``), StoreUnavailable.
    """

    def infos(self) -> list[PoolInfo]:
        """Every pool, by name."""
        ...

    def get(self, pool_id: str) -> Manifest:
        """The pool's manifest; a missing or corrupt one is rebuilt from the files."""
        ...

    def image(self, pool_id: str, file: str) -> bytes:
        """The slot's image as PNG."""
        ...

    def mask(self, pool_id: str, file: str) -> bytes | None:
        """The slot's mask as 8-bit grey PNG (white = painted), None when there is none."""
        ...

    def add(self, pool_id: str, images: Sequence[tuple[bytes, str]], before: str | None = None) -> Manifest:
        """Adds PNG images with their labels, all or none, at the end or before a slot; makes the pool when it is new.

        The first image of an empty pool becomes active.
        """
        ...

    def remove(self, pool_id: str, files: Sequence[str]) -> Manifest:
        """Removes the slots, all or none; their bytes stay in the trash, for :meth:`restore`.

        When the active one goes, its right neighbour becomes active, else its left one.
        """
        ...

    def restore(self, pool_id: str, files: Sequence[str]) -> Manifest:
        """Undoes a removal: the slots come back with mask and label, at their old place when it can be told."""
        ...

    def move(self, pool_id: str, files: Sequence[str], before: str | None) -> Manifest:
        """Moves the slots, in the given order, before a slot, or to the end."""
        ...

    def reorder(self, pool_id: str, files: Sequence[str], rev: int | None = None) -> Manifest:
        """Sets the whole order; raises Conflict when ``files`` is not the same set or ``rev`` has moved on."""
        ...

    def activate(self, pool_id: str, file: str) -> Manifest:
        """Makes the slot the one that the pool outputs."""
        ...

    def label(self, pool_id: str, file: str, label: str) -> Manifest:
        """Sets the slot's label."""
        ...

    def set_mask(self, pool_id: str, file: str, png: bytes | None) -> Manifest:
        """Sets the slot's mask (8-bit grey PNG of the image's size), or clears it."""
        ...

    def rename(self, pool_id: str, name: str) -> Manifest:
        """Sets the name for people; the id stays."""
        ...

    def duplicate(self, pool_id: str, new_id: str, name: str = "") -> Manifest:
        """Copies the pool under a new id; raises Conflict when that exists. A node detaches by taking such a copy."""
        ...

    def delete(self, pool_id: str) -> None:
        """Removes the pool and its files."""
        ...

    def rebuild(self, pool_id: str) -> Manifest:
        """Makes the manifest anew from the files, keeping what the old one still tells of them."""
        ...

    def export_zip(self, pool_id: str, target: IO[bytes]) -> None:
        """Writes the pool as a zip: ``manifest.json`` and the files."""
        ...

    def import_zip(self, source: IO[bytes], pool_id: str, name: str = "") -> Manifest:
        """Makes a new pool of a zip, all or nothing: names confined, counts and bytes bounded, images verified.

        A zip of plain images without a manifest is accepted (labels: the file names).
        Raises Conflict when the pool exists, InvalidInput or InvalidImage for what is not accepted.
        """
        ...
