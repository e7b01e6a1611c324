"""Buses on the disk, safe between threads and processes: a folder a bus, a folder a version."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GatebusError, InvalidName, StoreUnavailable
from ..events import Events
from ..filelock import locked
from ..names import check_name
from ..settings import Settings
from .folder import BusFolder, Index, milliseconds
from .planes import PartMissing, ReadSpans
from .reading import BusReader, no_version
from .record import NO_META, BusHead, BusMeta
from .version import Draft, DraftParts, Version, check_draft, nth

LOCK = ".lock"

log = logging.getLogger(__name__)


class DiskBuses(BusReader):
    """The buses in a folder; see BusStore. It can't be written or read: StoreUnavailable."""

    def __init__(self, folder: Path, settings: Settings, events: Events | None = None) -> None:
        self.root = folder
        self._settings = settings
        self._events = events

    def publish(
        self,
        name: str,
        image: NDArray[np.floating[Any]],
        mask: NDArray[np.floating[Any]] | None,
        *,
        format: str = "png",
        meta: BusMeta = NO_META,
    ) -> BusHead:
        """See BusStore. When it returns, the version is on the disk, whatever happens to the machine."""
        name = check_name(name, "bus name")
        return self.store(name, check_draft(image, mask, format, meta, self._settings))

    def store(self, name: str, draft: Draft, *, pending: bool = False, after: int = 0) -> BusHead:
        """Publishes a checked draft with a number above ``after``; ``pending`` marks it for :meth:`pending`."""
        folder = self._folder(name)
        with self._available():
            parts = DraftParts(draft, self._settings.compression)
            unseen = folder.write_parts(parts, draft.format)
            with locked(folder.path / LOCK):
                index = self._adopted(folder)
                published = max((milliseconds(), *(ms for ms, _ in index.kept)))
                version = parts.version(name, folder.next_number(index, after), published)
                folder.add(unseen, version, index, pending=pending)
        self._tell(name, version=version.head.version, published=published)
        return version.head

    def heads(self) -> list[BusHead]:
        """See BusStore. A folder that can't be read is left out, with a warning."""
        heads = []
        with self._available():
            for name in self._names():
                try:
                    heads.append(self.head(name))
                except GatebusError as error:
                    if not isinstance(error, LookupError):
                        log.warning("gatebus: bus %s is not listed: %s", name, error)
        return sorted(heads, key=lambda head: head.published, reverse=True)

    def versions(self, name: str) -> list[BusHead]:
        """See BusStore."""
        folder = self._folder(check_name(name, "bus name"))
        found = []
        with self._available():
            for number in self._index(folder).numbers:
                try:
                    found.append(folder.version(number).head)
                except PartMissing:
                    continue
                except GatebusError as error:
                    log.warning("gatebus: %s", error)
        if not found:
            raise no_version(name, None)
        return found[::-1]

    def delete(self, name: str, version: int | None = None) -> None:
        """See BusStore."""
        name = check_name(name, "bus name")
        folder = self._folder(name)
        with self._available():
            number = nth(self._index(folder).numbers, version)
            if number is None:
                raise no_version(name, version)
            with locked(folder.path / LOCK):
                index = folder.index()
                if number not in index.numbers:
                    raise no_version(name, version)
                if version is None:
                    folder.change(Index(index.counter))
                else:
                    folder.change(replace(index, kept=tuple(entry for entry in index.kept if entry[1] != number)))
        self._tell(name, version=0 if version is None else number, deleted=True)

    def pending(self) -> list[tuple[str, int]]:
        """(name, version) of what was published while Redis was away, in the order of its publishing."""
        found = []
        with self._available():
            for name in self._names():
                folder = self._folder(name)
                found += [(ms, name, number) for ms, number in folder.index().kept if folder.is_pending(number)]
        return [(name, number) for _, name, number in sorted(found)]

    def settle(self, name: str, number: int) -> None:
        """The version is in Redis now."""
        with self._available():
            self._folder(name).settle(number)

    # -- parts of the above -------------------------------------------------------------------
    def _folder(self, name: str) -> BusFolder:
        return BusFolder(self.root / name, name, self._settings)

    def _names(self) -> Iterator[str]:
        for path in sorted(self.root.iterdir()) if self.root.is_dir() else ():
            try:
                name = check_name(path.name)
            except InvalidName:
                continue
            if path.is_dir():
                yield name

    def _index(self, folder: BusFolder) -> Index:
        index = folder.index()
        if index.kept or not folder.by_hand():
            return index
        with locked(folder.path / LOCK):
            return self._adopted(folder)

    def _adopted(self, folder: BusFolder) -> Index:
        """The index, under the lock, after a picture that was put there by hand has become a version."""
        index = folder.index()
        if not index.kept and folder.by_hand():
            folder.adopt(index)
            return folder.index()
        return index

    def _find(self, name: str, version: int | None) -> Version:
        folder = self._folder(name)
        index = self._index(folder)
        number = nth(index.numbers, version)
        now = milliseconds()
        if number not in index.numbers and number not in [old for until, old in index.dropped if until > now]:
            raise no_version(name, version)
        return folder.version(number)

    def _reader(self, version: Version, plane: str) -> ReadSpans:
        return self._folder(version.head.name).reader(version, plane)

    def _available(self) -> AbstractContextManager[None]:
        return _disk(self.root)

    def _tell(self, name: str, **data: Any) -> None:
        if self._events is not None:
            self._events.append("bus", name, **data)


@contextmanager
def _disk(root: Path) -> Iterator[None]:
    try:
        yield
    except GatebusError:
        raise
    except OSError as error:
        raise StoreUnavailable(f"The folder {root} can't be used: {error.strerror or error}") from error
