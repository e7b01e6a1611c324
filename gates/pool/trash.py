"""What a pool keeps of removed slots: for how long, and in which form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..names import check_slot_file
from .checked import now
from .manifest import Removed, Slot, mask_name

ENTRIES = 1000
"""Removed slots that are kept beyond the first day."""

DAY = 86_400_000
"""Milliseconds for which every removal can be undone, however many slots it took."""

TIME = 30 * DAY
"""Milliseconds after which a removed slot is gone for good."""


def write_removed(removed: Removed) -> dict[str, Any]:
    """The entry as it is stored."""
    return {**removed.slot.to_json(), "left": removed.left, "at": removed.at}


def read_removed(entry: Mapping[str, Any]) -> Removed:
    """The entry of :func:`write_removed`; raises KeyError, TypeError or ValueError for what is none."""
    fields = {key: value for key, value in entry.items() if key not in ("left", "at")}
    slot = Slot(**fields)
    check_slot_file(slot.file)
    if slot.mask not in ("", mask_name(slot.file)):
        raise ValueError(slot.mask)
    return Removed(slot, str(entry["left"]), int(entry["at"]))


def write_trash(entries: Mapping[str, Removed]) -> bytes:
    """The trash's list as ``trash.json``."""
    return json.dumps([write_removed(entry) for entry in entries.values()], ensure_ascii=False).encode()


def read_trash(data: bytes) -> dict[str, Removed]:
    """The list of ``trash.json`` by file; what can't be read is left out (its files are still found by name)."""
    entries = {}
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    for entry in document if isinstance(document, list) else ():
        try:
            removed = read_removed(entry)
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        entries[removed.slot.file] = removed
    return entries


def outdated(entries: Mapping[str, Removed]) -> set[str]:
    """The removed slots that need not be kept any longer."""
    moment = now()
    youngest_first = sorted((moment - removed.at, file) for file, removed in entries.items())
    return {file for index, (age, file) in enumerate(youngest_first) if age > TIME or (index >= ENTRIES and age > DAY)}
