"""The decision log as a file of JSON lines: without Redis the log itself, with it what waits for Redis.

Every process of one state folder may write to it: an append holds a lock between processes and is
one write. A line that a crash left half written tells of nothing that anybody saw, and is cut off.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from ..errors import StoreUnavailable
from ..filelock import locked, sync_folder, write_atomically
from .record import Entry, order

BLOCK = 64 * 1024
"""Bytes read at a time."""

TRIM_AT = 1.25
"""The file is cut to the entries that are kept when it has so many times as much."""

log = logging.getLogger(__name__)


class FileLog:
    """See :class:`record.DecisionLog` and :class:`record.LogWriter`; keeps the newest ``kept`` entries, 0: all."""

    def __init__(self, path: Path, kept: int = 0) -> None:
        self.path = path
        self._kept = kept
        self._lock_path = path.with_name(path.name + ".lock")
        self._inode = self._size = -1
        """The file after this process's last append; another file or size is another process's doing."""
        self._named = -1
        """The file whose name this process has put on the disk."""
        self._last = (0, 0)
        self._entries = 0

    # -- writing --------------------------------------------------------------------------
    def append(self, entry: Entry, durable: bool = True) -> None:
        """See :class:`record.LogWriter`."""
        with locked(self._lock_path):
            try:
                self._append(entry, durable)
            except OSError as error:
                self._inode = -1
                raise StoreUnavailable(
                    f"{self.path} can't be written: {error.strerror or error}", path=str(self.path)
                ) from error

    def drain(self, take: Callable[[Entry, str], None]) -> None:
        """Hands every entry to ``take``, with its line, and removes the file when all are taken.

        Raises what ``take`` raises; all are then handed over once more the next time.
        """
        if not self.path.exists():
            return
        with locked(self._lock_path):
            for line, _ in self._forward(0):
                take(_parse(line), line.decode())
            self.path.unlink(missing_ok=True)
            self._inode = -1

    def _append(self, entry: Entry, durable: bool) -> None:
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        try:
            size = self._look_at_end(file)
            now = time.time_ns() // 1_000_000
            self._last = max((now, 0), (self._last[0], self._last[1] + 1))
            written = replace(entry, id=f"{self._last[0]}-{self._last[1]}")
            line = json.dumps(written.to_json(), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            os.lseek(file, size, os.SEEK_SET)
            try:
                if os.write(file, line) < len(line):
                    raise OSError(28, "No space left on device")
                if durable:
                    os.fsync(file)
            except OSError:
                os.ftruncate(file, size)
                raise
        finally:
            os.close(file)
        if durable and self._named != self._inode:
            sync_folder(self.path.parent)
            self._named = self._inode
        self._size = size + len(line)
        self._entries += 1
        if self._kept and self._entries > TRIM_AT * self._kept:
            self._trim()

    def _look_at_end(self, file: int) -> int:
        """Learns what others wrote, cuts off a torn line, and returns the size."""
        state = os.fstat(file)
        if (state.st_ino, state.st_size) == (self._inode, self._size):
            return self._size
        if state.st_ino != self._inode or state.st_size < self._size:
            self._size, self._entries, self._last = 0, 0, (0, 0)
        last = b""
        for line, end in self._forward(self._size):
            last, self._entries, self._size = line, self._entries + 1, end
        if last:
            self._last = order(_parse(last).id)
        if state.st_size != self._size:
            log.warning("gatebus: the last line of %s was not written to its end; it is cut off", self.path)
            os.ftruncate(file, self._size)
        self._inode = state.st_ino
        return self._size

    def _trim(self) -> None:
        kept: list[bytes] = []
        for line in self._backward():
            kept.append(line + b"\n")
            if len(kept) == self._kept:
                break
        try:
            write_atomically(self.path, b"".join(reversed(kept)))
        except StoreUnavailable as error:
            log.warning("gatebus: the decision log could not be cut: %s", error.message)
        self._inode = -1

    # -- reading --------------------------------------------------------------------------
    def read(self, start: str, count: int, newest: bool = False) -> list[Entry]:
        """See :class:`record.DecisionLog`."""
        bound = order(start) if start else None
        entries: list[Entry] = []
        for line in self._backward(bound) if newest else (line for line, _ in self._forward(0, bound)):
            entry = _parse(line)
            # The one of that id itself is not behind it.
            if bound is None or newest or order(entry.id) > bound:
                entries.append(entry)
            if len(entries) == count:
                break
        return entries

    def _forward(self, start: int, behind: tuple[int, int] | None = None) -> Iterator[tuple[bytes, int]]:
        """(line, where it ends) of every whole line from that offset on, or from about the entry of that place."""
        try:
            with self.path.open("rb") as file:
                if behind is not None:
                    start = _bisect(file, behind)
                file.seek(start)
                for line in file:
                    start += len(line)
                    if line.endswith(b"\n"):
                        yield line, start
        except FileNotFoundError:
            return

    def _backward(self, before: tuple[int, int] | None = None) -> Iterator[bytes]:
        """Every whole line without its end, the last one first, or from the one before that place on."""
        try:
            with self.path.open("rb") as file:
                end = file.seek(0, os.SEEK_END) if before is None else _bisect(file, before)
                yield from _lines_backward(file, end)
        except FileNotFoundError:
            return


def _lines_backward(file: IO[bytes], end: int) -> Iterator[bytes]:
    rest, first = b"", True
    while end > 0:
        start = max(0, end - BLOCK)
        file.seek(start)
        lines = (file.read(end - start) + rest).split(b"\n")
        rest, end = lines[0], start
        for line in reversed(lines[1:]):
            # What follows the last line's end is nothing, or torn.
            if not first:
                yield line
            first = False
    if rest and not first:
        yield rest


def _bisect(file: IO[bytes], place: tuple[int, int]) -> int:
    """An offset at which a line begins, such that all lines before it are of earlier places."""
    low, high = 0, file.seek(0, os.SEEK_END)
    while high - low > BLOCK:
        middle = (low + high) // 2
        file.seek(middle)
        middle += len(file.readline())
        line = file.readline()
        if not line.endswith(b"\n"):
            high = (low + high) // 2
        elif order(_parse(line).id) < place:
            low = middle
        else:
            high = (low + high) // 2
    file.seek(low)
    while (line := file.readline()).endswith(b"\n") and order(_parse(line).id) < place:
        low += len(line)
    return low


def _parse(line: bytes) -> Entry:
    return Entry.from_fields(json.loads(line))
