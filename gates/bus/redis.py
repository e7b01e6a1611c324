"""Buses in Redis: bytes first under keys of their own version, then one step that names them.

A reader takes the head, then the parts that it names. A publish that fails before its last step
leaves the old head, and parts that expire.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..connection import Connection
from ..errors import Conflict, StoreUnavailable
from ..events import Events
from ..keys import Keys
from ..names import check_name
from ..settings import Settings
from . import scripts
from .parts import read_pieces, send_parts
from .planes import ReadSpans
from .reading import TRIES, BusReader, no_version
from .record import NO_META, BusHead, BusMeta
from .version import Draft, DraftParts, Version, check_draft, nth

UNNAMED = 600_000
"""Milliseconds that a part lives which no head names yet: the longest publish."""


class RedisBuses(BusReader):
    """The buses that everyone shares; see BusStore."""

    def __init__(self, connection: Connection, keys: Keys, settings: Settings, events: Events) -> None:
        self._connection = connection
        self._keys = keys
        self._settings = settings
        self._events = events
        self._reserve = connection.script(scripts.RESERVE)
        self._commit = connection.script(scripts.COMMIT)
        self._delete_version = connection.script(scripts.DELETE_VERSION)
        self._delete_bus = connection.script(scripts.DELETE_BUS)
        self._forget = connection.script(scripts.FORGET)

    def publish(
        self,
        name: str,
        image: NDArray[np.floating[Any]],
        mask: NDArray[np.floating[Any]] | None,
        *,
        format: str = "png",
        meta: BusMeta = NO_META,
    ) -> BusHead:
        """See BusStore. Of two publishes at once the later number becomes the head, whichever ends first."""
        name = check_name(name, "bus name")
        return self.store(name, check_draft(image, mask, format, meta, self._settings))

    def store(self, name: str, draft: Draft, published: int = 0) -> BusHead:
        """Publishes a checked draft; with a time of the past (ms) it goes behind versions that are newer."""
        with self._connection.available():
            counter, head = self._keys.bus_counter(name), self._keys.bus(name)
            number, ms = (int(text) for text in self._reserve(keys=[counter, head], args=[published or ""]))
            parts = DraftParts(draft, self._settings.compression)
            keyed = ((self._keys.bus_part(name, number, plane, part), stream) for plane, part, stream in parts)
            send_parts(self._connection.blobs, keyed, UNNAMED)
            version = parts.version(name, number, ms)
            self._name_parts(version)
            self._connection.control.zadd(self._keys.buses, {name: ms}, gt=True)
            self._events.append("bus", name, version=number, published=ms)
        return version.head

    def ping(self) -> None:
        """Raises StoreUnavailable when Redis does not answer."""
        self._connection.ping()

    def heads(self) -> list[BusHead]:
        """See BusStore. The index is healed: a bus that is gone leaves it."""
        with self._connection.available():
            rows = self._connection.control.zrevrange(self._keys.buses, 0, -1, withscores=True)
            pipe = self._connection.control.pipeline(transaction=False)
            for name, _ in rows:
                pipe.hgetall(self._keys.bus(name))
            heads = []
            for (name, score), fields in zip(rows, pipe.execute() if rows else [], strict=True):
                if fields:
                    heads.append(Version.from_fields(name, fields).head)
                else:
                    self._forget(keys=[self._keys.buses], args=[name, f"{score:.0f}"])
        return sorted(heads, key=lambda head: head.published, reverse=True)

    def versions(self, name: str) -> list[BusHead]:
        """See BusStore."""
        name = check_name(name, "bus name")
        with self._connection.available():
            kept = self._kept(name)
            found = [version.head for version in self._versions(name, kept) if version]
        if not found:
            raise no_version(name, None)
        return found[::-1]

    def delete(self, name: str, version: int | None = None) -> None:
        """See BusStore."""
        name = check_name(name, "bus name")
        with self._connection.available():
            for _ in range(TRIES):
                kept = self._kept(name)
                number = nth(kept, version)
                if number not in kept:
                    raise no_version(name, version)
                if self._delete_all(name, kept) if version is None else self._delete_one(name, kept, number):
                    break
            else:
                raise Conflict(f"Bus {name} is being published to; delete it again", name=name)
            if not self._connection.control.exists(self._keys.bus(name)):
                self._connection.control.zrem(self._keys.buses, name)
            self._events.append("bus", name, version=0 if version is None else number, deleted=True)

    # -- publishing -----------------------------------------------------------------------
    def _name_parts(self, version: Version) -> None:
        name, number = version.head.name, version.head.version
        parts = self._keys_of(version)
        fields = version.to_fields(lambda plane: self._keys.bus_part(name, number, plane, 0))
        kept = self._kept(name)
        surplus = kept[: max(0, len(kept) + 1 - self._settings.bus_versions)]
        going = [(old, self._all_keys(name, [old])) for old in surplus]
        done = self._commit(
            keys=[self._keys.bus(name), self._keys.bus_versions(name), *parts]
            + [key for _, keys in going for key in keys],
            args=[number, version.head.published, self._settings.bus_versions]
            + [int(self._settings.version_grace * 1000), len(parts) - 1, 2 * len(fields)]
            + [item for pair in fields.items() for item in pair]
            + [item for old, keys in going for item in (old, len(keys))],
        )
        if not done:
            raise StoreUnavailable(f"The bytes of bus {name} were lost before they were named; publish again")

    # -- reading --------------------------------------------------------------------------
    def _available(self) -> AbstractContextManager[None]:
        return self._connection.available()

    def _find(self, name: str, version: int | None) -> Version:
        if version is None:
            fields = self._connection.control.hgetall(self._keys.bus(name))
        else:
            kept = self._kept(name)
            number = nth(kept, version) if kept else None
            fields = self._connection.control.hgetall(self._keys.bus_version(name, number)) if number else {}
        if not fields:
            raise no_version(name, version)
        return Version.from_fields(name, fields)

    def _kept(self, name: str) -> list[int]:
        """The numbers of the kept versions, oldest first."""
        rows = self._connection.control.zrange(self._keys.bus_versions(name), 0, -1, withscores=True)
        return [number for _, number in sorted((score, int(member)) for member, score in rows)]

    def _versions(self, name: str, numbers: list[int]) -> list[Version | None]:
        """Their heads and layouts; None for one that is gone."""
        if not numbers:
            return []
        pipe = self._connection.control.pipeline(transaction=False)
        for number in numbers:
            pipe.hgetall(self._keys.bus_version(name, number))
        return [Version.from_fields(name, fields) if fields else None for fields in pipe.execute()]

    def _reader(self, version: Version, plane: str) -> ReadSpans:
        key = self._part_keys(version, plane)
        blobs = self._connection.blobs
        return lambda spans: read_pieces(blobs, [(key(part), offset, view) for part, offset, view in spans])

    # -- keys -----------------------------------------------------------------------------
    def _part_keys(self, version: Version, plane: str) -> Callable[[int], str]:
        return lambda part: self._keys.bus_part(version.head.name, version.head.version, plane, part)

    def _keys_of(self, version: Version) -> list[str]:
        """The version's hash and its parts."""
        keys = [self._keys.bus_version(version.head.name, version.head.version)]
        for plane, layout in version.layouts.items():
            keys += map(self._part_keys(version, plane), range(layout.parts))
        return keys

    def _all_keys(self, name: str, numbers: list[int]) -> list[str]:
        return [key for version in self._versions(name, numbers) if version for key in self._keys_of(version)]

    # -- deleting -------------------------------------------------------------------------
    def _delete_all(self, name: str, kept: list[int]) -> bool:
        own = [self._keys.bus(name), self._keys.bus_versions(name), self._keys.bus_counter(name)]
        keep = int(self._settings.keep_decided * 1000)
        return bool(self._delete_bus(keys=own + self._all_keys(name, kept), args=[keep, *kept]))

    def _delete_one(self, name: str, kept: list[int], number: int) -> bool:
        others = [other for other in kept if other != number]
        heir = others[-1] if others else ""
        own = [self._keys.bus(name), self._keys.bus_versions(name), self._keys.bus_version(name, int(heir or number))]
        return bool(self._delete_version(keys=own + self._all_keys(name, [number]), args=[number, heir]))
