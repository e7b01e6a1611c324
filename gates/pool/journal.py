"""The edits that were made on the disk while Redis was away, until they are replayed.

One file a pool, beside the pools that it tells of: whoever shares the folder shares the journal,
so that the entries stand in the order of the edits, whichever process made them, and any process
can replay them. Appended under the pool's lock. An entry is its length and CRC-32 (4 bytes each,
big-endian) and a msgpack map.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from ..errors import StoreUnavailable
from ..filelock import sync_folder, write_atomically
from .edits import Edit
from .manifest import Slot

ENDING = ".journal"
REFUSED = ".refused"
_HEAD = struct.Struct(">II")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One edit, and the slots that it is about: as they were before it, or as an ``add`` made them.

    Besides the kinds of :class:`Edit` there are ``delete`` (``text``: the origin of the deleted
    mirror) and ``push`` (the pool was made or rebuilt on the disk).
    """

    edit: Edit
    slots: tuple[Slot, ...] = ()
    lefts: tuple[str, ...] = ()
    """``restore``: what was each slot's left neighbour when it was removed."""
    seen: tuple[Slot, ...] = ()
    """Those of the slots that who made the edit last saw otherwise in Redis than on the disk, which was behind."""


class Journal:
    """The journals of the pools below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pool_ids(self) -> list[str]:
        """The pools that have entries."""
        try:
            names = sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return []
        return [name[: -len(ENDING)] for name in names if name.endswith(ENDING) and name != ENDING]

    def is_empty(self, pool_id: str) -> bool:
        """Whether the pool has no entries."""
        return not self._path(pool_id).exists()

    def append(self, pool_id: str, entry: Entry, ending: str = ENDING) -> Callable[[], None]:
        """Adds an entry, on the disk when this returns; the answer takes it back, when nothing followed."""
        path = self._path(pool_id, ending)
        payload = msgpack.packb(
            {
                "edit": entry.edit.to_json(),
                "slots": [slot.to_json() for slot in entry.slots],
                "lefts": list(entry.lefts),
                "seen": [slot.to_json() for slot in entry.seen],
            }
        )
        try:
            new = not path.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b") as file:
                # What a process that died wrote by half would hide what follows.
                end = _good_end(file.read())
                file.truncate(end)
                file.seek(end)
                try:
                    file.write(_HEAD.pack(len(payload), zlib.crc32(payload)) + payload)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    # The caller is told that nothing was done; so nothing may be found later.
                    os.ftruncate(file.fileno(), end)
                    raise
            if new:
                sync_folder(self.folder)
        except OSError as error:
            raise StoreUnavailable(f"{path} can't be written: {error.strerror or error}", path=str(path)) from error
        return lambda: _cut(path, end)

    def read(self, pool_id: str) -> list[Entry]:
        """The entries, oldest first; one that was written by half at the end is none."""
        try:
            data = self._path(pool_id).read_bytes()
        except FileNotFoundError:
            return []
        return [entry for payload, _ in _frames(data) if (entry := _entry(pool_id, payload)) is not None]

    def drop(self, pool_id: str, count: int) -> None:
        """Forgets the ``count`` oldest entries; to be called under the pool's lock."""
        path = self._path(pool_id)
        with suppress(FileNotFoundError):
            data = path.read_bytes()
            ends = [end for payload, end in _frames(data) if _entry(pool_id, payload) is not None]
            if count >= len(ends):
                path.unlink()
            elif count:
                write_atomically(path, data[ends[count - 1] : _good_end(data)])

    def refuse(self, pool_id: str, entry: Entry) -> None:
        """Puts aside an entry that Redis will never take, for a person to look at."""
        self.append(pool_id, entry, REFUSED)

    def _path(self, pool_id: str, ending: str = ENDING) -> Path:
        return self.folder / f"{pool_id}{ending}"


def _frames(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Each whole payload and the place behind it."""
    at = 0
    while at + _HEAD.size <= len(data):
        length, checksum = _HEAD.unpack_from(data, at)
        end = at + _HEAD.size + length
        if length == 0 or end > len(data):
            return
        payload = data[at + _HEAD.size : end]
        if zlib.crc32(payload) != checksum:
            return
        yield payload, end
        at = end


def _good_end(data: bytes) -> int:
    return max((end for _, end in _frames(data)), default=0)


def _entry(pool_id: str, payload: bytes) -> Entry | None:
    try:
        fields: Any = msgpack.unpackb(payload)
        slots, seen = (tuple(Slot(**slot) for slot in fields[key]) for key in ("slots", "seen"))
        return Entry(Edit.from_json(fields["edit"]), slots, tuple(fields["lefts"]), seen)
    except (ValueError, TypeError, KeyError) as error:
        log.error("gatebus: an entry in the journal of the pool %s can't be read: %s", pool_id, type(error).__name__)
        return None


def _cut(path: Path, end: int) -> None:
    with suppress(FileNotFoundError):
        if end:
            os.truncate(path, end)
        else:
            path.unlink()
