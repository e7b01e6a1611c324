"""Arrays to bytes and back: 8-bit PNG frames and the exact format (numpy and Pillow, no torch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

Part = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Layout:
    """What a reader must know to decode the parts of a batch."""

    format: str
    """``png``: part I is frame I as a PNG. ``exact``: the parts joined are the tensor's bytes."""
    frames: int
    height: int
    width: int
    channels: int
    """1, 3 or 4; a mask has 1."""
    dtype: str
    """``uint8`` for ``png``; for ``exact`` the dtype that decoding returns."""
    parts: int
    size: int
    """Bytes of all parts."""

    def to_json(self) -> dict[str, Any]:
        """As stored in a head or record."""
        return asdict(self)


@dataclass(frozen=True)
class Encoded:
    """A batch as its layout and the parts to store, each part one value of the store."""

    layout: Layout
    parts: Sequence[Part]
