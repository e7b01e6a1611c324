"""One bus's folder. Knows no locks; ``disk.py`` holds them.

::

    head.json            which versions are kept (the truth), replaced in one step
    versions/12/         a version: version.json, image_00000.png ... or image.tensor, mask ...; never changed
    versions/12/pending  a mark: published while Redis was away, and not there yet
    image.png, mask.png  the first frame of the newest version, for people

A folder that has only image.png, and perhaps mask.png, is a bus that was put there by hand; it
becomes version 1 when it is first looked at.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from .. import codec
from ..errors import GatebusError, InvalidInput
from ..filelock import sync_folder, write_atomically
from ..names import check_int
from ..pixels import to_floats
from ..settings import Settings
from .planes import PartMissing, ReadSpans, Span, read_part
from .record import NO_META
from .version import DraftParts, Version, check_draft

HEAD = "head.json"
VERSION = "version.json"
PENDING = "pending"
LEFTOVER = 3600
"""Seconds after which an unfinished version is one whose writer died."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Index:
    """What head.json says."""

    counter: int = 0
    """The last version number given out."""
    kept: tuple[tuple[int, int], ...] = ()
    """(published ms, number), oldest first."""
    dropped: tuple[tuple[int, int], ...] = ()
    """(until ms, number): versions that are not listed any more, and stay until then for those who read them."""

    @property
    def numbers(self) -> list[int]:
        """The kept versions, oldest first."""
        return [number for _, number in self.kept]


class BusFolder:
    """The files of one bus."""

    def __init__(self, path: Path, name: str, settings: Settings) -> None:
        self.path = path
        self.name = name
        self._settings = settings
        self._versions = path / "versions"

    # -- the index --------------------------------------------------------------------------
    def index(self) -> Index:
        """What is kept; made anew from the versions when head.json is missing or corrupt."""
        try:
            return _index_from_json(json.loads((self.path / HEAD).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return self._rebuilt()
        except (ValueError, InvalidInput) as error:
            log.warning(
                "gatebus: %s is not readable (%s); the bus is rebuilt from its versions", self.path / HEAD, error
            )
            return self._rebuilt()

    def write_index(self, index: Index) -> None:
        """Makes ``index`` the truth."""
        text = json.dumps({"counter": index.counter, "kept": index.kept, "dropped": index.dropped})
        write_atomically(self.path / HEAD, text.encode())

    def _rebuilt(self) -> Index:
        found = []
        numbers = self._numbers()
        for number in numbers:
            with suppress(PartMissing, GatebusError):
                found.append((self.version(number).head.published, number))
        return Index(max(numbers, default=0), tuple(sorted(found)))

    def _numbers(self) -> list[int]:
        """The versions that have a folder, kept or not."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return sorted(int(name) for name in os.listdir(self._versions) if name.isascii() and name.isdigit())
        return []

    # -- versions ---------------------------------------------------------------------------
    def version(self, number: int) -> Version:
        """The version; raises PartMissing when it is gone, GatebusError when it is corrupt."""
        try:
            fields = json.loads((self._versions / str(number) / VERSION).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise PartMissing(str(number)) from error
        except ValueError as error:
            raise GatebusError(f"Version {number} of bus {self.name} is corrupt: {error}") from error
        return Version.from_fields(self.name, fields if isinstance(fields, dict) else {})

    def reader(self, version: Version, plane: str) -> ReadSpans:
        """Reads the parts of a plane; raises PartMissing when the version is gone."""
        folder = self._versions / str(version.head.version)

        def read(spans: Sequence[Span]) -> Generator[int, None, None]:
            for part, offset, view in spans:
                within = part * codec.CHUNK if version.head.format == "exact" else 0
                try:
                    with open(folder / _file(version.head.format, plane, part), "rb") as file:
                        file.seek(within + offset)
                        yield file.readinto(view)
                except FileNotFoundError as error:
                    raise PartMissing(str(folder)) from error

        return read

    def write_parts(self, parts: DraftParts, format: str) -> Path:
        """Writes the parts into a fresh folder that nobody sees yet, and onto the disk; returns the folder."""
        folder = self._versions / f".{secrets.token_hex(8)}.tmp"
        folder.mkdir(parents=True)
        try:
            written = set()
            for plane, part, stream in parts:
                file_name = _file(format, plane, part)
                written.add(file_name)
                with open(folder / file_name, "ab") as file:
                    for piece in stream.pieces:
                        file.write(piece)
            for file_name in written:
                with open(folder / file_name, "ab") as file:
                    os.fsync(file.fileno())
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder

    def add(self, folder: Path, version: Version, index: Index, *, pending: bool = False, show: bool = True) -> None:
        """Makes the folder of :meth:`write_parts` the version, in one step; the index then names it."""
        number = version.head.version
        try:
            fields = version.to_fields(lambda plane: _file(version.head.format, plane, 0))
            write_atomically(folder / VERSION, json.dumps(fields).encode())
            if pending:
                write_atomically(folder / PENDING, b"")
            os.rename(folder, self._versions / str(number))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        sync_folder(self._versions)
        kept = tuple(sorted((*index.kept, (version.head.published, number))))
        self.change(replace(index, counter=number, kept=kept), show=show)

    def change(self, index: Index, *, show: bool = True) -> None:
        """Makes ``index`` the truth, less the versions that are too many; the files then follow it."""
        now = milliseconds()
        surplus = len(index.kept) - self._settings.bus_versions
        going = [number for number in index.numbers[: max(0, surplus)] if not self.is_pending(number)]
        kept = tuple(entry for entry in index.kept if entry[1] not in going)
        until = now + int(self._settings.version_grace * 1000)
        dropped = tuple(entry for entry in index.dropped if entry[0] > now) + tuple((until, old) for old in going)
        if not kept:
            # First: a picture that is still there without a version would count as put there by hand.
            self._show(None)
        self.write_index(Index(index.counter, kept, dropped))
        if kept and show:
            self._show(kept[-1][1])
        self._sweep({number for _, number in kept + dropped})

    def next_number(self, index: Index, after: int = 0) -> int:
        """A number that no version had, above ``after``."""
        return max(index.counter, after, *self._numbers(), 0) + 1

    def is_pending(self, number: int) -> bool:
        """Whether the version waits for Redis to come back."""
        return (self._versions / str(number) / PENDING).is_file()

    def settle(self, number: int) -> None:
        """The version is in Redis now."""
        (self._versions / str(number) / PENDING).unlink(missing_ok=True)

    # -- pictures -----------------------------------------------------------------------------
    def by_hand(self) -> bool:
        """Whether there is a picture to make a version of, when there is no version."""
        return (self.path / "image.png").is_file()

    def adopt(self, index: Index) -> None:
        """Makes the picture that was put there by hand a version; raises InvalidImage, TooLarge."""
        image, mask = self.path / "image.png", self.path / "mask.png"
        picture = codec.read_image(image.read_bytes(), self._settings)
        painted = None
        if mask.is_file():
            painted = codec.read_mask(mask.read_bytes(), self._settings, picture.width, picture.height)
        draft = check_draft(
            picture.pixels[None], None if painted is None else to_floats(painted)[None], "png", NO_META, self._settings
        )
        parts = DraftParts(draft, self._settings.compression)
        folder = self.write_parts(parts, "png")
        published = int(image.stat().st_mtime * 1000)
        # The picture itself stays as it is: it may carry a workflow.
        self.add(folder, parts.version(self.name, self.next_number(index), published), index, show=False)

    def _show(self, number: int | None) -> None:
        """Puts the first frame of the version where people look for it."""
        try:
            newest = self.version(number) if number else None
        except GatebusError as error:
            log.warning("gatebus: image.png of bus %s is out of date: %s", self.name, error)
            return
        for plane in ("image", "mask"):
            path = self.path / f"{plane}.png"
            if newest is None or plane not in newest.layouts:
                path.unlink(missing_ok=True)
                continue
            read = self.reader(newest, plane)
            write_atomically(path, codec.frame_png(newest.layouts[plane], partial(read_part, read=read), 0))

    def _sweep(self, named: set[int]) -> None:
        """Removes versions that the index does not name, and what writers that died left behind."""
        for entry in os.scandir(self._versions) if self._versions.is_dir() else ():
            unfinished = entry.name.endswith(".tmp") and entry.stat().st_mtime < time.time() - LEFTOVER
            if unfinished or (entry.name.isascii() and entry.name.isdigit() and int(entry.name) not in named):
                # A reader on Windows may hold a file open; the next sweep takes the rest.
                shutil.rmtree(entry.path, ignore_errors=True)


def milliseconds() -> int:
    """Now, since the epoch."""
    return time.time_ns() // 1_000_000


def _file(format: str, plane: str, part: int) -> str:
    return f"{plane}_{part:05}.png" if format == "png" else f"{plane}.tensor"


def _index_from_json(value: Any) -> Index:
    """The checked index; raises InvalidInput."""
    if not isinstance(value, dict) or set(value) != {"counter", "kept", "dropped"}:
        raise InvalidInput("it has not the fields counter, kept and dropped")
    entries = []
    for name in ("kept", "dropped"):
        rows = value[name]
        if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 2 for row in rows):
            raise InvalidInput(f"{name} is no list of pairs")
        entries.append(tuple((check_int(ms, name, 0, 2**53), check_int(number, name, 1, 2**53)) for ms, number in rows))
    return Index(check_int(value["counter"], "counter", 0, 2**53), *entries)
