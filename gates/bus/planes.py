"""A version's parts read in pieces, from wherever they are stored.

One large value costs what memory pages cost: a server that answers 48 MB at once allocates them
first. So a part is asked for in pieces of about 1 MiB, each decoded into the result while it is
in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

from numpy.typing import NDArray

from .. import codec
from ..errors import InvalidImage
from ..png import read_png
from ..stored_png import StoredPng

Span = tuple[int, int, memoryview]
"""(part, offset, where to put it): a piece of a part, as long as the view."""

ReadSpans = Callable[[Sequence[Span]], Generator[int, None, None]]
"""Reads every span, in order; yields how many bytes there were: fewer at the part's end, 0 when it is not there."""


class PartMissing(LookupError):
    """A part is not there (any more)."""


def read_plane(layout: codec.Layout, read: ReadSpans) -> NDArray[Any]:
    """The decoded batch [B, H, W, C]; raises PartMissing, InvalidImage."""
    batch = codec.empty_batch(layout)
    stored = StoredPng(layout.height, layout.width, layout.channels)
    if layout.format == "exact":
        _read_exact(codec.as_bytes(batch).data, read)
    elif not (stored.possible and layout.size == layout.frames * stored.size and _read_stored(stored, batch, read)):
        for number, frame in enumerate(batch):
            read_png(read_part(number, read), frame)
    return batch


def read_part(part: int, read: ReadSpans) -> bytes:
    """The part as a whole; raises PartMissing."""
    buffer = memoryview(bytearray(codec.CHUNK))
    pieces: list[bytes] = []
    while not pieces or len(pieces[-1]) == codec.CHUNK:
        pieces += (bytes(buffer[:length]) for length in read([(part, len(pieces) * codec.CHUNK, buffer)]))
    if not pieces[0]:
        raise PartMissing(f"part {part}")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _read_exact(target: memoryview, read: ReadSpans) -> None:
    starts = range(0, len(target), codec.CHUNK)
    spans = [(part, 0, target[start : start + codec.CHUNK]) for part, start in enumerate(starts)]
    for _ in _whole(spans, read):
        continue


def _read_stored(stored: StoredPng, batch: NDArray[Any], read: ReadSpans) -> bool:
    # All pieces pass through one buffer, which stays in the cache.
    places = stored.pieces()
    buffer = memoryview(bytearray(max(place.length for place in places)))
    spans = [(frame, place.offset, buffer[: place.length]) for frame in range(len(batch)) for place in places]
    with closing(_whole(spans, read)) as pieces:
        try:
            for frame in batch:
                stored.read(islice(pieces, len(places)), frame)
        except InvalidImage:
            # Damaged, or a deflated file of just this length: reading it whole tells.
            return False
    return True


def _whole(spans: Sequence[Span], read: ReadSpans) -> Generator[memoryview, None, None]:
    """Every span's view, when it is full."""
    with closing(read(spans)) as lengths:
        for (part, _, view), length in zip(spans, lengths, strict=True):
            if not length:
                raise PartMissing(f"part {part}")
            if length != len(view):
                raise InvalidImage(f"Part {part} is cut short: {length} bytes instead of {len(view)}")
            yield view
