"""The edits of a pool: pure functions on its manifest, and an edit as data.

Every function takes a manifest and returns a new one with ``rev`` one higher; a file that is
not there raises SlotNotFound. The Lua scripts (``scripts.py``) do the same in Redis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import Conflict, InvalidInput, TooLarge
from .manifest import Manifest, Removed, Slot, file_name, file_number, mask_name, no_slot


@dataclass(frozen=True)
class Edit:
    """One edit of one pool, the same for the disk, for Redis and in the journal."""

    kind: str
    """``add``, ``remove``, ``restore``, ``move``, ``reorder``, ``activate``, ``label``, ``set_mask`` or ``rename``."""
    id: str
    """The operation's own id, fresh; a store that has applied it does not apply it again."""
    files: tuple[str, ...] = ()
    """The slots that it is about."""
    slots: tuple[Slot, ...] = ()
    """``add``: the new slots; their file is "" until the store has named them."""
    before: str | None = None
    """``add``, ``move``: the slot to stand before, None for the end."""
    text: str = ""
    """``label``, ``rename``: the new text. ``set_mask``: the digest of the new mask, "" to clear it."""
    rev: int | None = None
    """When given, Conflict unless the manifest still has it."""

    def to_json(self) -> dict[str, Any]:
        """As the journal keeps it."""
        return {
            "kind": self.kind,
            "id": self.id,
            "files": list(self.files),
            "slots": [slot.to_json() for slot in self.slots],
            "before": self.before,
            "text": self.text,
            "rev": self.rev,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Edit:
        """The edit of :meth:`to_json`."""
        slots = tuple(Slot(**slot) for slot in data["slots"])
        return cls(**{**data, "files": tuple(data["files"]), "slots": slots})


def named(manifest: Manifest, edit: Edit) -> Edit:
    """The ``add`` with the pool's next file names for its slots."""
    names = (file_name(number) for number in range(manifest.next_seq, manifest.next_seq + len(edit.slots)))
    return replace(edit, slots=tuple(replace(slot, file=file) for slot, file in zip(edit.slots, names, strict=True)))


def applied(manifest: Manifest, edit: Edit, trash: Mapping[str, Removed]) -> Manifest:
    """The manifest after the edit; ``trash`` holds what a ``restore`` takes out."""
    check_rev(manifest, edit.rev)
    if edit.kind == "add":
        return add(manifest, edit.slots, edit.before)
    if edit.kind == "remove":
        return remove(manifest, edit.files)
    if edit.kind == "restore":
        return restore(manifest, edit.files, trash)
    if edit.kind == "move":
        return move(manifest, edit.files, edit.before)
    if edit.kind == "reorder":
        return reorder(manifest, edit.files)
    if edit.kind == "activate":
        return activate(manifest, edit.files[0])
    if edit.kind == "label":
        return label(manifest, edit.files[0], edit.text)
    if edit.kind == "set_mask":
        return set_mask(manifest, edit.files[0], edit.text)
    if edit.kind == "rename":
        return rename(manifest, edit.text)
    raise InvalidInput(f"No edit is of the kind {edit.kind!r}")


def check_room(pool_id: str, count: int, limit: int) -> None:
    """Raises TooLarge when ``count`` slots are more than the limit."""
    if count > limit:
        raise TooLarge(f"The pool {pool_id} would have {count} slots; at most {limit} are accepted", limit=limit)


def add(manifest: Manifest, slots: Sequence[Slot], before: str | None = None) -> Manifest:
    """The slots added at the end, or before a slot; the first one of an empty pool becomes active."""
    present = set(manifest.files)
    for slot in slots:
        if slot.file in present:
            raise Conflict(f"The pool {manifest.pool_id} has a slot {slot.file} already", file=slot.file)
        present.add(slot.file)
    at = len(manifest.slots) if before is None else manifest.index(before)
    following = max([manifest.next_seq, *(file_number(slot.file) + 1 for slot in slots)])
    return _changed(manifest, (*manifest.slots[:at], *slots, *manifest.slots[at:]), next_seq=following)


def removed(manifest: Manifest, files: Sequence[str], at: int) -> list[Removed]:
    """What the trash keeps of slots that go at the time ``at`` (ms)."""
    present = _by_file(manifest, files)
    lefts = dict(zip(manifest.files, ("", *manifest.files), strict=False))
    return [Removed(present[file], lefts[file], at) for file in files]


def remove(manifest: Manifest, files: Sequence[str]) -> Manifest:
    """Without the slots; when the active one goes, its right neighbour becomes active, else its left one."""
    gone = set(_by_file(manifest, files))
    kept = tuple(slot for slot in manifest.slots if slot.file not in gone)
    active = manifest.active
    if active in gone:
        at = manifest.index(active)
        right = [slot.file for slot in manifest.slots[at:] if slot.file not in gone]
        left = [slot.file for slot in manifest.slots[:at] if slot.file not in gone]
        active = (right[:1] or left[-1:] or [""])[0]
    return _changed(manifest, kept, active=active)


def restore(manifest: Manifest, files: Sequence[str], trash: Mapping[str, Removed]) -> Manifest:
    """With the slots of the trash again, each right of what was its left neighbour.

    Where that one is in the trash as well, its own left neighbour stands for it; where it is
    gone for good, the slot comes to the end.
    """
    order = list(manifest.files)
    slots = {slot.file: slot for slot in manifest.slots}
    for file in _distinct(files):
        if file not in trash or file in slots:
            raise no_slot(manifest.pool_id, file, "in its trash")
        left = trash[file].left
        while left in trash and left not in slots:
            left = trash[left].left
        order.insert(order.index(left) + 1 if left in slots else len(order) if left else 0, file)
        slots[file] = trash[file].slot
    return _changed(manifest, tuple(slots[file] for file in order))


def move(manifest: Manifest, files: Sequence[str], before: str | None) -> Manifest:
    """The slots, in the given order, before a slot (the next one that stays, when it moves itself) or at the end."""
    moving = _by_file(manifest, files)
    if before is not None:
        at = manifest.index(before)
        before = next((slot.file for slot in manifest.slots[at:] if slot.file not in moving), None)
    staying = [slot for slot in manifest.slots if slot.file not in moving]
    at = next((index for index, slot in enumerate(staying) if slot.file == before), len(staying))
    return _changed(manifest, (*staying[:at], *moving.values(), *staying[at:]))


def reorder(manifest: Manifest, files: Sequence[str], rev: int | None = None) -> Manifest:
    """The slots in the order of ``files``; raises Conflict when they are not the same set or ``rev`` has moved on."""
    check_rev(manifest, rev)
    slots = {slot.file: slot for slot in manifest.slots}
    if len(files) != len(slots) or set(files) != set(slots):
        raise not_same_slots(manifest.pool_id)
    return _changed(manifest, tuple(slots[file] for file in files))


def check_rev(manifest: Manifest, rev: int | None) -> None:
    """Raises Conflict when ``rev`` is given and is not the manifest's."""
    if rev is not None and rev != manifest.rev:
        raise moved_on(manifest.pool_id, manifest.rev)


def moved_on(pool_id: str, rev: int) -> Conflict:
    """The error for an edit that was made on an older manifest."""
    return Conflict(f"The pool {pool_id} has moved on to revision {rev}; look again", pool_id=pool_id, rev=rev)


def not_same_slots(pool_id: str) -> Conflict:
    """The error for an order that does not name each slot once."""
    return Conflict(f"The order must name each slot of the pool {pool_id} once; look again", pool_id=pool_id)


def activate(manifest: Manifest, file: str) -> Manifest:
    """The slot is the one that the pool outputs."""
    return _changed(manifest, manifest.slots, active=manifest.slot(file).file)


def label(manifest: Manifest, file: str, label: str) -> Manifest:
    """The slot with that label."""
    return _with_slot(manifest, replace(manifest.slot(file), label=label))


def set_mask(manifest: Manifest, file: str, digest: str) -> Manifest:
    """The slot with a mask of that digest, or without a mask for ""."""
    mask = mask_name(file) if digest else ""
    return _with_slot(manifest, replace(manifest.slot(file), mask=mask, mask_digest=digest))


def rename(manifest: Manifest, name: str) -> Manifest:
    """The pool under that name; the id stays."""
    return replace(manifest, name=name, rev=manifest.rev + 1)


def rebuild(manifest: Manifest, found: Sequence[Slot]) -> Manifest:
    """What the files tell: the slots of ``found``, with order, label and time of the manifest where it has them."""
    by_file = {slot.file: slot for slot in found}
    known = tuple(
        replace(by_file[slot.file], label=slot.label, added=slot.added or by_file[slot.file].added)
        for slot in manifest.slots
        if slot.file in by_file
    )
    rest = sorted(by_file.keys() - set(manifest.files), key=file_number)
    following = max([manifest.next_seq, *(file_number(file) + 1 for file in by_file)])
    return _changed(manifest, (*known, *(by_file[file] for file in rest)), next_seq=following)


def _changed(
    manifest: Manifest, slots: tuple[Slot, ...], active: str | None = None, next_seq: int | None = None
) -> Manifest:
    wanted = manifest.active if active is None else active
    if all(slot.file != wanted for slot in slots):
        wanted = slots[0].file if slots else ""
    following = manifest.next_seq if next_seq is None else next_seq
    return replace(manifest, slots=slots, active=wanted, next_seq=following, rev=manifest.rev + 1)


def _with_slot(manifest: Manifest, slot: Slot) -> Manifest:
    at = manifest.index(slot.file)
    return _changed(manifest, (*manifest.slots[:at], slot, *manifest.slots[at + 1 :]))


def _by_file(manifest: Manifest, files: Sequence[str]) -> dict[str, Slot]:
    """The named slots, in the order of ``files``."""
    present = {slot.file: slot for slot in manifest.slots}
    for file in _distinct(files):
        if file not in present:
            raise no_slot(manifest.pool_id, file)
    return {file: present[file] for file in files}


def _distinct(files: Sequence[str]) -> Sequence[str]:
    if len(set(files)) != len(files):
        raise InvalidInput("A slot is named twice")
    return files
