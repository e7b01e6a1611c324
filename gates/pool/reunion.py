"""How a pool on the disk and the pool of that id in Redis belong together; pure functions.

The mirror on the disk notes which incarnation and revision of the Redis pool it shows
(``Manifest.origin``), a Redis pool that was made from a mirror notes which (``Head.origin``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from enum import Enum

from .checked import operation_id
from .edits import Edit
from .journal import Entry
from .manifest import Manifest, Slot
from .redis_steps import Head


class Relation(Enum):
    """What Redis is to the mirror."""

    AHEAD = "ahead"
    """It shows all that the mirror shows, and maybe more."""
    BEHIND = "behind"
    """It is of the same incarnation, but was set back: a restart lost its last edits."""
    MISSING = "missing"
    """There is no pool: it was never there, or the data set is lost."""
    DELETED = "deleted"
    """The pool that the mirror shows was deleted; another one may have its id by now."""
    UNRELATED = "unrelated"
    """Another pool that happens to have this id."""


def relation(mirror: Manifest, head: Head) -> Relation:
    """What the pool in Redis is to the mirror."""
    born, _, rev = mirror.origin.partition(":")
    if born in head.dead:
        return Relation.DELETED
    if head.rev is None:
        return Relation.MISSING
    from_born, _, from_rev = head.origin.partition(":")
    if born and born == head.born:
        return Relation.AHEAD if head.rev >= int(rev) else Relation.BEHIND
    if born and born == from_born:
        return Relation.AHEAD if int(from_rev) >= int(rev) else Relation.BEHIND
    return Relation.UNRELATED


def differences(mirror: Manifest, there: Manifest, removed: Collection[str], newer: bool) -> list[Entry]:
    """The edits that bring to Redis what only the mirror has.

    ``removed`` are the mirror's slots that were removed in Redis: they stay so. With ``newer``
    the mirror's labels, masks, order, name and active slot win; otherwise both are kept.
    """
    by_name = {slot.file: slot for slot in there.slots}
    pairs = [
        (slot, by_name[slot.file])
        for slot in mirror.slots
        if slot.file in by_name and by_name[slot.file].digest == slot.digest
    ]
    paired = {slot.file for slot, _ in pairs}
    twins = Counter(slot.digest for slot in there.slots if slot.file not in paired)
    missing = []
    for slot in mirror.slots:
        if slot.file in paired or slot.file in removed:
            continue
        if twins[slot.digest]:
            twins[slot.digest] -= 1
        else:
            missing.append(slot)
    entries = [Entry(Edit("add", operation_id(), slots=tuple(missing)), tuple(missing))] if missing else []
    for mine, theirs in pairs:
        entries += _changes(mine, theirs, newer)
    if newer:
        if mirror.name != there.name:
            entries.append(Entry(Edit("rename", operation_id(), text=mirror.name)))
        if [file for file in there.files if file in paired] != [file for file in mirror.files if file in paired]:
            entries.append(Entry(Edit("reorder", operation_id(), files=mirror.files)))
        active = [slot for slot in mirror.slots if slot.file == mirror.active != there.active]
        if active:
            entries.append(Entry(Edit("activate", operation_id(), files=(mirror.active,)), tuple(active)))
    return entries


def _changes(mine: Slot, theirs: Slot, newer: bool) -> list[Entry]:
    """Label and mask of one slot. A base that Redis does not have any more makes the replay keep both."""
    entries = []
    if mine.label != theirs.label and (newer or mine.label):
        base = theirs if newer or not theirs.label else mine
        entries.append(Entry(Edit("label", operation_id(), files=(mine.file,), text=mine.label), (base,)))
    if mine.mask_digest != theirs.mask_digest and (newer or mine.mask):
        base = theirs if newer or not theirs.mask else mine
        entries.append(Entry(Edit("set_mask", operation_id(), files=(mine.file,), text=mine.mask_digest), (base,)))
    return entries


def woven(files: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The files in the order of ``wanted``; one that is not in it stays right of its left neighbour."""
    order = set(wanted) & set(files)
    beside: dict[str, list[str]] = defaultdict(list)
    anchor = ""
    for file in files:
        anchor = file if file in order else anchor
        if file not in order:
            beside[anchor].append(file)
    woven = list(beside[""])
    for file in dict.fromkeys(wanted):
        if file in order:
            woven += [file, *beside[file]]
    return tuple(woven)
