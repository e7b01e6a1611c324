"""Arrays to bytes and back: 8-bit PNG frames and the exact format (numpy and Pillow, no torch).

These are the bytes of the store, which gatebus itself wrote. Bytes from outside come in by
``pictures.py`` (:func:`read_image`, :func:`read_mask`, offered here too), which has bounds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .deflate import crc32
from .errors import InvalidImage, InvalidInput
from .names import check_int
from .pictures import Picture, read_image, read_mask
from .pixels import to_pixels
from .png import decode_png, encode_png, pack_png, read_png
from .stored_png import COLOURS, StoredPng

__all__ = [
    "Encoded",
    "Layout",
    "Part",
    "Picture",
    "decode",
    "decode_png",
    "encode",
    "encode_png",
    "frame_png",
    "preview_jpeg",
    "read_image",
    "read_mask",
]

Part = bytes | bytearray | memoryview

CHUNK = 1024 * 1024 - 64
"""Bytes of a part of the exact format. One of exactly 1 MiB would waste a quarter in Redis' allocator."""

PNG_END = 20
"""Bytes at a PNG's end: the Adler-32 of its rows and the CRC-32 of their chunk, 8 bytes, then IEND."""

JPEG_QUALITY = 85
EXACT_DTYPES = ("uint8", "float16", "float32", "float64")


@dataclass(frozen=True)
class Layout:
    """What a reader must know to decode the parts of a batch."""

    format: str
    """``png``: part I is frame I as a PNG. ``exact``: the parts joined are the tensor's bytes, little-endian."""
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

    @classmethod
    def from_json(cls, value: Any) -> Layout:
        """The layout of a stored dict; raises InvalidInput when a field is missing, of a wrong type or out of range."""
        if not isinstance(value, dict) or set(value) != {field.name for field in fields(cls)}:
            raise InvalidInput(f"A layout has the fields {', '.join(field.name for field in fields(cls))}")
        layout = cls(**value)
        if layout.format not in ("png", "exact"):
            raise InvalidInput("A layout's format is png or exact")
        if layout.dtype not in (EXACT_DTYPES if layout.format == "exact" else ("uint8",)):
            raise InvalidInput(f"A layout's dtype is uint8 for png and one of {', '.join(EXACT_DTYPES)} for exact")
        if check_int(layout.channels, "channels", 1, 4) not in COLOURS:
            raise InvalidInput("A layout has 1, 3 or 4 channels")
        for field in ("frames", "height", "width"):
            check_int(getattr(layout, field), field, 1, 2**31)
        check_int(layout.size, "size", 1, 2**50)
        parts = layout.frames if layout.format == "png" else -(-layout.tensor_bytes // CHUNK)
        check_int(layout.parts, "parts", parts, parts)
        if layout.format == "exact":
            check_int(layout.size, "size", layout.tensor_bytes, layout.tensor_bytes)
        return layout

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(frames, height, width, channels)."""
        return self.frames, self.height, self.width, self.channels

    @property
    def tensor_bytes(self) -> int:
        """Bytes of the decoded array, in ``dtype``."""
        return self.frames * self.height * self.width * self.channels * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Encoded:
    """A batch as its layout and the parts to store, each part one value of the store."""

    layout: Layout
    parts: Sequence[Part]


@dataclass(frozen=True)
class Stream:
    """A part while it is made: its length, and its pieces, each valid until the next one is asked for."""

    size: int
    pieces: Iterable[Part]


def encode(image: NDArray[Any], format: str, compression: str = "stored") -> Encoded:
    """The batch [B, H, W, C] (C 1, 3 or 4) or mask [B, H, W] as parts; any float dtype, or uint8.

    ``png``: a frame a part, rounded half to even, clipped to 0..1, NaN as 0; ``compression`` as
    in ``png.py``. ``exact``: views of the array's own bytes, so it must not change until they are
    stored. Raises InvalidImage for another shape or dtype.
    """
    batch = as_batch(image)
    parts: list[Part]
    if format == "png":
        parts = [pack_png(frame, compression).data for frame in batch]
    else:
        parts = [part for stream in streams(batch, format) for part in stream.pieces]
    return Encoded(layout_of(batch, format, [len(part) for part in parts]), parts)


def streams(image: NDArray[Any], format: str, compression: str = "stored") -> Iterator[Stream]:
    """The parts of :func:`encode` one after the other, each in pieces of at most 1 MiB.

    A stored PNG is converted piece by piece while it is sent, so that it never exists as a whole.
    """
    batch = as_batch(image)
    if format == "png":
        stored = StoredPng(*batch.shape[1:])
        for frame in batch:
            if compression == "stored" and stored.possible:
                yield Stream(stored.size, stored.write(frame))
            else:
                file = pack_png(frame, compression).data
                yield Stream(len(file), (file[start : start + CHUNK] for start in range(0, len(file), CHUNK)))
    elif format == "exact":
        if batch.dtype.name not in EXACT_DTYPES:
            raise InvalidImage(f"The exact format takes {', '.join(EXACT_DTYPES)}, not {batch.dtype.name}")
        data = as_bytes(np.ascontiguousarray(batch, batch.dtype.newbyteorder("<"))).data
        for start in range(0, len(data), CHUNK):
            part = data[start : start + CHUNK]
            yield Stream(len(part), [part])
    else:
        raise InvalidInput(f"The format {format[:20]!a} is not accepted: png or exact", format=format[:20])


def layout_of(batch: NDArray[Any], format: str, sizes: Sequence[int]) -> Layout:
    """The layout of a batch [B, H, W, C] whose parts have these sizes."""
    dtype = "uint8" if format == "png" else batch.dtype.name
    frames, height, width, channels = batch.shape
    return Layout(format, frames, height, width, channels, dtype, len(sizes), sum(sizes))


def checksum(format: str, end: Part) -> bytes:
    """What tells a part from others; ``end`` is its last piece, of the exact format the part itself."""
    if format == "png":
        # The Adler-32 of the rows and the CRC-32 of their chunk.
        return bytes(end[-PNG_END : 8 - PNG_END])
    return struct.pack(">I", crc32(end))


def as_batch(image: NDArray[Any]) -> NDArray[Any]:
    """The array as [B, H, W, C]; raises InvalidImage when it is neither that nor [B, H, W] of floats or uint8."""
    batch = image[..., None] if image.ndim == 3 else image
    if batch.ndim != 4 or batch.shape[3] not in COLOURS or 0 in batch.shape:
        raise InvalidImage(
            f"An image batch is [B, H, W, C] with 1, 3 or 4 channels, a mask [B, H, W]; not {list(image.shape)}"
        )
    if batch.dtype != np.uint8 and batch.dtype.kind != "f":
        raise InvalidImage(f"An image batch holds floats of 0 to 1, or uint8, not {batch.dtype.name}")
    return batch


def decode(layout: Layout, parts: Sequence[Part]) -> NDArray[Any]:
    """The batch [B, H, W, C]: float32 of 0..1 for ``png``, the published dtype for ``exact``.

    Raises InvalidImage when the parts are not those of the layout.
    """
    if len(parts) != layout.parts:
        raise InvalidImage(f"The batch has {len(parts)} parts; its layout says {layout.parts}")
    if sum(len(part) for part in parts) != layout.size:
        raise InvalidImage("The parts are not as long as their layout says")
    batch = empty_batch(layout)
    if layout.format == "png":
        for frame, part in zip(batch, parts, strict=True):
            read_png(part, frame)
        return batch
    flat = as_bytes(batch)
    start = 0
    for part in parts:
        flat[start : start + len(part)] = np.frombuffer(part, np.uint8)
        start += len(part)
    return batch


def empty_batch(layout: Layout) -> NDArray[Any]:
    """A fresh array of the shape and dtype that decoding returns. numpy asks for huge pages; torch.empty does not."""
    dtype = np.dtype(np.float32) if layout.format == "png" else np.dtype(layout.dtype).newbyteorder("<")
    return np.empty(layout.shape, dtype)


def as_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The contiguous array's own bytes, as a view."""
    return array.reshape(-1).view(np.uint8)


def frame_png(layout: Layout, read_part: Callable[[int], Part], frame: int) -> bytes:
    """Frame ``frame`` (from 0) as an 8-bit PNG, from either format; reads only the parts that hold it.

    Raises InvalidInput when the batch has no such frame.
    """
    check_int(frame, "frame", 0, layout.frames - 1)
    if layout.format == "png":
        return bytes(read_part(frame))
    length = layout.tensor_bytes // layout.frames
    start, end = frame * length, (frame + 1) * length
    first = start // CHUNK
    data = b"".join(read_part(part) for part in range(first, -(-end // CHUNK)))
    own = data[start - first * CHUNK : end - first * CHUNK]
    if len(own) != length:
        raise InvalidImage("The parts are not as long as their layout says")
    dtype = np.dtype(layout.dtype).newbyteorder("<")
    return encode_png(np.frombuffer(own, dtype).reshape(layout.shape[1:]))


def preview_jpeg(image: NDArray[Any], limit: int = 1024) -> bytes:
    """Frame 0 of the batch as a JPEG whose longest side is at most ``limit``; alpha lies on grey."""
    frame = as_batch(image)[0]
    longest = max(frame.shape[:2])
    # Half of the reduction by leaving pixels out, the rest by averaging: a full average of a
    # 4096² frame reads 200 MB of floats.
    step = max(1, longest // (2 * limit))
    pixels = to_pixels(frame[::step, ::step])
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    factor = max(picture.size) // limit
    if factor > 1:
        picture = picture.reduce(factor)
    if max(picture.size) > limit:
        scale = limit / max(picture.size)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    if picture.mode == "RGBA":
        ground = Image.new("RGB", picture.size, (128, 128, 128))
        ground.paste(picture, mask=picture.getchannel("A"))
        picture = ground
    target = BytesIO()
    picture.save(target, "JPEG", quality=JPEG_QUALITY)
    return target.getvalue()
