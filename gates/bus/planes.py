"""A version's parts read in pieces, from wherever they are stored.

One large value costs what memory pages cost: a server that answers 48 MB at once allocates them
first. So a part is asked for in pieces of about 1 MiB, each decoded into the result while it is
in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import codec
from ..errors import InvalidImage
from ..png import StoredPng, read_png

ReadPart = Callable[[int, int, int], bytes]
"""(part, offset, length) -> the bytes there, shorter at the part's end; empty, or PartMissing, when it is not there."""


class PartMissing(LookupError):
    """A part is not there (any more)."""


def read_plane(layout: codec.Layout, read: ReadPart) -> NDArray[Any]:
    """The decoded batch [B, H, W, C]; raises PartMissing, InvalidImage."""
    batch = codec.empty_batch(layout)
    if layout.format == "png":
        stored = StoredPng(layout.height, layout.width, layout.channels)
        in_pieces = stored.possible and layout.size == layout.frames * stored.size
        for number, frame in enumerate(batch):
            if in_pieces:
                stored.read(_pieces(number, stored, read), frame)
            else:
                read_png(read_part(number, read), frame)
        return batch
    flat = codec.as_bytes(batch)
    for part in range(layout.parts):
        target = flat[part * codec.CHUNK : (part + 1) * codec.CHUNK]
        data = _present(part, read(part, 0, len(target)))
        if len(data) != len(target):
            raise InvalidImage(f"Part {part} has {len(data)} bytes instead of {len(target)}")
        target[...] = np.frombuffer(data, np.uint8)
    return batch


def read_part(part: int, read: ReadPart) -> bytes:
    """The part as a whole; raises PartMissing."""
    pieces = [_present(part, read(part, 0, codec.CHUNK))]
    while len(pieces[-1]) == codec.CHUNK:
        pieces.append(read(part, len(pieces) * codec.CHUNK, codec.CHUNK))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _pieces(part: int, stored: StoredPng, read: ReadPart) -> Iterator[bytes]:
    return (_present(part, read(part, piece.offset, piece.length)) for piece in stored.pieces())


def _present(part: int, data: bytes) -> bytes:
    if not data:
        raise PartMissing(f"part {part}")
    return data
