"""Reading a bus, the same wherever it is stored: find the version, then read the parts that it names.

Parts never change, and stay for a grace when their version goes; a reader that still comes too
late looks again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

from .. import codec
from ..errors import BusNotFound
from ..names import check_name
from .planes import PartMissing, ReadSpans, read_part, read_plane
from .record import BusContent, BusHead
from .version import Version

TRIES = 8
"""Looks at a bus that changes at every look."""

T = TypeVar("T")


class BusReader(ABC):
    """The reading half of a BusStore."""

    @abstractmethod
    def _available(self) -> AbstractContextManager[None]:
        """Turns what says "the store is away" into StoreUnavailable."""

    @abstractmethod
    def _find(self, name: str, version: int | None) -> Version:
        """The version; raises BusNotFound."""

    @abstractmethod
    def _reader(self, version: Version, plane: str) -> ReadSpans:
        """Reads the parts of a plane."""

    def load(self, name: str, version: int | None = None) -> BusContent:
        """See BusStore."""

        def content(found: Version) -> BusContent:
            planes = {plane: read_plane(layout, self._reader(found, plane)) for plane, layout in found.layouts.items()}
            return BusContent(found.head, planes["image"], planes["mask"][..., 0] if "mask" in planes else None)

        return self._read(name, version, content)

    def head(self, name: str, version: int | None = None) -> BusHead:
        """See BusStore."""
        return self._read(name, version, lambda found: found.head)

    def frame(self, name: str, frame: int, version: int | None = None) -> bytes:
        """See BusStore."""
        return self._frame(name, "image", frame, version)

    def mask_frame(self, name: str, frame: int, version: int | None = None) -> bytes:
        """See BusStore."""
        return self._frame(name, "mask", frame, version)

    def _frame(self, name: str, plane: str, frame: int, version: int | None) -> bytes:
        def png(found: Version) -> bytes:
            layout = found.layout(plane)
            if not 0 <= frame < layout.frames:
                raise BusNotFound(f"Bus {name} has {layout.frames} frames; there is no frame {frame}", name=name)
            return codec.frame_png(layout, partial(read_part, read=self._reader(found, plane)), frame)

        return self._read(name, version, png)

    def _read(self, name: str, version: int | None, read: Callable[[Version], T]) -> T:
        """What ``read`` makes of the version; looks again when its parts went meanwhile."""
        name = check_name(name, "bus name")
        with self._available():
            for _ in range(TRIES):
                try:
                    return read(self._find(name, version))
                except PartMissing:
                    continue
        raise BusNotFound(f"The bytes of bus {name} are gone", name=name)


def no_version(name: str, version: int | None) -> BusNotFound:
    """The error for a version that is not there."""
    which = "Nothing was published to" if version is None else f"There is no version {version} of"
    return BusNotFound(f"{which} bus {name}", name=name)
