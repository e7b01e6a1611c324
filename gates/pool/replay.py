"""Edits that were made on the disk, made again in Redis, where others have edited meanwhile.

A slot is the same one when its image is (``digest``), whatever its name is there. Both sides are
kept: an image whose name was taken gets a new one, an edit beats a removal, and where both have
changed the same label or mask the disk's version becomes a slot of its own beside the other.
Every edit carries its id and is not applied twice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import Conflict, NotFound, SlotNotFound, StoreUnavailable
from .checked import digest, operation_id
from .edits import Edit
from .folder import PoolFolder
from .journal import Entry
from .manifest import Manifest, Slot, mask_name
from .redis import Picture, RedisPools
from .reunion import woven

TRIES = 100
"""How often an edit is planned anew because somebody else edited the pool meanwhile."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Look:
    """A pool in Redis at one moment."""

    manifest: Manifest
    slots: dict[str, Slot]
    trash: dict[str, Slot]
    """Of the slots that the entry is about, those that are removed in Redis."""


class Replay:
    """The replay of one pool's entries, in their order; remembers which name a slot has in Redis."""

    def __init__(self, redis: RedisPools, folder: PoolFolder) -> None:
        self._redis = redis
        self._folder = folder
        self._pool_id = folder.pool_id
        self._names: dict[str, str] = {}

    def apply(self, entry: Entry) -> None:
        """Makes the edit in Redis, or finds it made; may be repeated.

        Raises StoreUnavailable when Redis is away, TooLarge when the pool is full there, NotFound
        when the bytes that it needs are gone.
        """
        for _ in range(TRIES):
            try:
                look = self._look(entry)
                names = self._redis.result(self._pool_id, entry.edit.id)
                if names is not None:
                    self._learn(entry.slots, names, look)
                    return
                if self._step(entry, look):
                    return
            except (Conflict, SlotNotFound) as error:
                log.debug("gatebus: the pool %s was edited meanwhile: %s", self._pool_id, error)
        raise StoreUnavailable(f"The pool {self._pool_id} is edited too fast to replay its journal")

    def _look(self, entry: Entry) -> Look:
        manifest = self._redis.get(self._pool_id)
        files = {name for slot in entry.slots for name in (slot.file, self._name(slot.file))}
        trash = self._redis.removed(self._pool_id, sorted(files))
        slots = {slot.file: slot for slot in manifest.slots}
        return Look(manifest, slots, {file: removed.slot for file, removed in trash.items()})

    def _step(self, entry: Entry, look: Look) -> bool:
        """One edit in Redis; False when it only prepared the one of the entry."""
        edit, found = entry.edit, {slot.file: self._find(slot, look) for slot in entry.slots}
        there = [name for name in found.values() if name in look.slots]
        before = self._name(edit.before) if edit.before else None
        before = before if before in look.slots else None
        if edit.kind == "add":
            self._add(replace(edit, before=before), entry.slots, look)
        elif edit.kind == "rename":
            self._redis.edit(self._pool_id, edit)
        elif edit.kind == "reorder":
            files = woven(look.manifest.files, [self._name(file) for file in edit.files])
            self._redis.edit(self._pool_id, replace(edit, files=files, rev=look.manifest.rev))
        elif edit.kind == "remove":
            # What was edited meanwhile stays.
            same = [
                slot for slot in entry.slots if _is_unchanged(_bases(entry, slot), look.slots.get(found[slot.file]))
            ]
            self._edit(edit, [found[slot.file] for slot in same], look)
        elif edit.kind == "move":
            self._edit(replace(edit, before=before), there, look)
        elif edit.kind == "activate":
            self._edit(edit, there, look)
        elif edit.kind in ("restore", "label", "set_mask"):
            lost = [slot for slot in entry.slots if found[slot.file] not in look.slots]
            if lost:
                self._bring_back(entry, lost, found, look)
                return False
            if edit.kind != "restore":
                slot = entry.slots[0]
                self._change(edit, _bases(entry, slot), look.slots[found[slot.file]], look)
        return True

    def _edit(self, edit: Edit, files: Sequence[str], look: Look, data: Sequence[bytes] = ()) -> None:
        """The edit, unless there is nothing left to do or the pool is not any more what was looked at."""
        if files:
            edit = replace(edit, files=tuple(files), rev=look.manifest.rev)
            self._redis.edit(self._pool_id, edit, data)

    def _add(self, edit: Edit, slots: Sequence[Slot], look: Look) -> None:
        known = {slot.file for slot in slots for there in (look.slots, look.trash) if _is_in(there, slot.file, slot)}
        self._put(edit, [slot for slot in slots if slot.file not in known], look)

    def _put(self, edit: Edit, slots: Sequence[Slot], look: Look) -> None:
        pictures = [picture for slot in slots if (picture := self._picture(slot)) is not None]
        if not pictures:
            return
        slots = tuple(slot for slot, _, _ in pictures)
        self._redis.put(self._pool_id, replace(edit, kind="add", slots=slots, files=(), rev=None), pictures)
        names = self._redis.result(self._pool_id, edit.id) or []
        self._names.update((slot.file, name) for slot, name in zip(slots, names, strict=False))

    def _bring_back(self, entry: Entry, lost: Sequence[Slot], found: dict[str, str], look: Look) -> None:
        """An edit beats a removal and needs its slot: from the trash in Redis, else from the disk."""
        removed = [found[slot.file] for slot in lost if found[slot.file]]
        if removed:
            self._edit(Edit("restore", operation_id()), removed, look)
            return
        slot = lost[0]
        if self._picture(slot) is None:
            raise _lost(self._pool_id, slot)
        left = dict(zip((slot.file for slot in entry.slots), entry.lefts, strict=False)).get(slot.file)
        before = self._right_of(self._name(left), look) if left is not None else None
        self._put(Edit("add", operation_id(), before=before), [slot], look)

    def _right_of(self, file: str, look: Look) -> str | None:
        """The slot right of the file, the first one for "", None at the end."""
        files = look.manifest.files
        at = files.index(file) + 1 if file in look.slots else len(files) if file else 0
        return files[at] if at < len(files) else None

    def _change(self, edit: Edit, bases: Sequence[Slot], current: Slot, look: Look) -> None:
        """Sets label or mask; where both sides have changed it, the disk's version becomes a slot of its own."""
        data: list[bytes] = []
        base = bases[0]
        if edit.kind == "label":
            mine, theirs = edit.text, current.label
            known = [slot.label for slot in bases]
        else:
            mask = self._folder.read_file(mask_name(base.file), trash=True) if edit.text else None
            if edit.text and mask is None:
                return  # cleared later on the disk; that entry follows
            data = [mask] if mask is not None else []
            mine, theirs = digest(mask) if mask is not None else "", current.mask_digest
            known = [slot.mask_digest for slot in bases]
        if theirs == mine:
            return
        if theirs in known:
            self._edit(replace(edit, text=mine), [current.file], look, data)
        elif mine:
            self._copy(edit, base, current, look)

    def _copy(self, edit: Edit, base: Slot, current: Slot, look: Look) -> None:
        version = replace(base, label=edit.text) if edit.kind == "label" else replace(base, mask=mask_name(base.file))
        picture = self._picture(version)
        if picture is None:
            raise _lost(self._pool_id, base)
        mask_digest = digest(picture[2]) if picture[2] is not None else ""
        for slot in look.slots.values():
            if (slot.digest, slot.label, slot.mask_digest) == (base.digest, version.label, mask_digest):
                self._names[base.file] = slot.file
                return
        self._put(replace(edit, before=self._right_of(current.file, look)), [version], look)

    def _picture(self, slot: Slot) -> Picture | None:
        """The slot with its bytes on the disk; None when they are not there any more."""
        image = self._folder.read_file(slot.file, trash=True)
        if image is None or digest(image) != slot.digest:
            log.warning("gatebus: the image %s of the pool %s is not on the disk any more", slot.file, self._pool_id)
            return None
        return slot, image, self._folder.read_file(mask_name(slot.file), trash=True) if slot.mask else None

    def _find(self, slot: Slot, look: Look) -> str:
        """The slot's name in Redis, "" when it is neither there nor in the trash there."""
        for name in (self._name(slot.file), slot.file):
            if _is_in(look.slots, name, slot) or _is_in(look.trash, name, slot):
                return name
        return next((there.file for there in look.slots.values() if there.digest == slot.digest), "")

    def _name(self, file: str) -> str:
        return self._names.get(file, file)

    def _learn(self, slots: Sequence[Slot], names: Sequence[str], look: Look) -> None:
        """Takes up again which slot got which name, by their images."""
        left = list(slots)
        removed = self._redis.removed(self._pool_id, list(names))
        for name in names:
            there = look.slots.get(name) or (removed[name].slot if name in removed else None)
            slot = next((slot for slot in left if there is not None and slot.digest == there.digest), None)
            if slot is not None:
                left.remove(slot)
                self._names[slot.file] = name


def _is_in(slots: dict[str, Slot], name: str, slot: Slot) -> bool:
    return name in slots and slots[name].digest == slot.digest


def _bases(entry: Entry, slot: Slot) -> list[Slot]:
    """The slot as it was before the edit: on the disk, and as its editor knew it from Redis."""
    return [slot, *(seen for seen in entry.seen if seen.file == slot.file and seen.digest == slot.digest)]


def _is_unchanged(bases: Sequence[Slot], there: Slot | None) -> bool:
    return there is not None and any(
        (slot.label, slot.mask_digest) == (there.label, there.mask_digest) for slot in bases
    )


def _lost(pool_id: str, slot: Slot) -> NotFound:
    return NotFound(f"The image {slot.file} of the pool {pool_id} is neither in Redis nor on the disk", pool_id=pool_id)
