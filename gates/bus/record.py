"""What a bus holds, and what every bus store promises.

A bus is a named place with the latest passed image batch, mask and metadata, and its last
versions. A version number grows by one at every publish of that name and is never reused.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidName
from ..names import check_name

FORMATS = ("png", "exact")
"""``png``: one 8-bit PNG a frame, which every viewer opens. ``exact``: the identical tensor."""


@dataclass(frozen=True)
class BusMeta:
    """Where a version comes from; free text, cleaned before it is stored."""

    instance: str = ""
    workflow: str = ""
    label: str = ""


NO_META = BusMeta()


@dataclass(frozen=True)
class BusHead:
    """One version of a bus, without its bytes."""

    name: str
    version: int
    """From 1."""
    format: str
    """``png`` or ``exact``."""
    frames: int
    height: int
    width: int
    channels: int
    """1, 3 or 4."""
    mask: bool
    """Whether a mask was published with it."""
    digest: str
    """SHA-256 (hex) over the layouts and every part's checksum: the content's identity for
    caches. Not a signature: it tells changes, not forgeries."""
    published: int
    """Milliseconds since the epoch, by the store's clock."""
    size: int
    """Bytes stored."""
    meta: BusMeta = NO_META

    def to_json(self) -> dict[str, Any]:
        """The head as the HTTP API shows it."""
        return asdict(self)


@dataclass(frozen=True)
class BusContent:
    """One version of a bus with its arrays."""

    head: BusHead
    image: NDArray[np.floating[Any]]
    """[frames, height, width, channels]; float32 of 0 to 1 for ``png``, the published dtype for ``exact``."""
    mask: NDArray[np.float32] | None
    """[frames, height, width], 0 to 1, or None when none was published."""


def parse_bus_reference(reference: str) -> tuple[str, int | None]:
    """``cp1`` -> ("cp1", None), ``cp1@-1`` -> ("cp1", -1), ``cp1@12`` -> ("cp1", 12).

    None is the newest; a negative number counts back from the newest (-1 is the one before).
    Raises InvalidName.
    """
    name, at, version = reference.partition("@")
    if at and not re.fullmatch(r"-?[1-9][0-9]{0,8}", version):
        raise InvalidName(f"{reference[:80]!a}: a version is @12, or @-1 for the one before the newest")
    return check_name(name, "bus name"), int(version) if at else None


class BusStore(Protocol):
    """Publishes and loads whole versions; a reader sees the old or the new one, never a mixture.

    ``name`` is checked by the store (InvalidName). ``version`` is as parse_bus_reference gives
    it. What is not there raises BusNotFound, a store that is away StoreUnavailable.
    """

    def publish(
        self,
        name: str,
        image: NDArray[np.floating[Any]],
        mask: NDArray[np.floating[Any]] | None,
        *,
        format: str = "png",
        meta: BusMeta = NO_META,
    ) -> BusHead:
        """Makes the batch [B, H, W, C] and its mask [B, H, W] the newest version, in one step."""
        ...

    def load(self, name: str, version: int | None = None) -> BusContent:
        """The version with its arrays."""
        ...

    def head(self, name: str, version: int | None = None) -> BusHead:
        """The version without its arrays."""
        ...

    def frame(self, name: str, frame: int, version: int | None = None) -> bytes:
        """Image ``frame`` (from 0) of the version as an 8-bit PNG."""
        ...

    def mask_frame(self, name: str, frame: int, version: int | None = None) -> bytes:
        """Mask ``frame`` (from 0) of the version as an 8-bit grey PNG; raises BusNotFound when it has none."""
        ...

    def heads(self) -> list[BusHead]:
        """The newest version of every bus, last published first."""
        ...

    def versions(self, name: str) -> list[BusHead]:
        """The kept versions, newest first."""
        ...

    def delete(self, name: str, version: int | None = None) -> None:
        """Removes the whole bus, or one version of it; raises BusNotFound when it is not there."""
        ...
