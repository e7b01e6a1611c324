"""8-bit PNG, written and read whole.

``stored`` is a PNG without deflate (``stored_png.py``), ``fast`` and ``small`` are filter "up" and
deflate. Pillow reads whatever others wrote.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .deflate import crc32, deflate, inflate
from .errors import InvalidImage
from .pixels import Pixels, to_floats, to_pixels
from .stored_png import COLOURS, IDAT_LIMIT, IEND, Bytes, StoredPng, chunk, ihdr
from .stored_png import SIGNATURE as SIGNATURE

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for a file that it can't read."""


def pack_png(frame: NDArray[Any], compression: str = "stored") -> Pixels:
    """``frame`` [H, W, C] (C 1, 3 or 4; uint8, or floats of 0..1) as the bytes of a PNG.

    ``compression``: ``stored``, ``fast`` (deflate level 1) or ``small`` (level 6).
    """
    height, width, channels = frame.shape
    stored = StoredPng(height, width, channels)
    if compression == "stored" and stored.possible:
        file = np.empty(stored.size, np.uint8)
        for _ in stored.write(frame, file):
            continue
        return file
    lines = np.empty((height, 1 + width * channels), np.uint8)
    pixels = to_pixels(frame).reshape(height, -1)
    if compression == "stored":
        lines[:, 0], lines[:, 1:] = 0, pixels
    else:
        lines[:, 0], lines[0, 1:] = 2, pixels[0]
        np.subtract(pixels[1:], pixels[:-1], out=lines[1:, 1:])
    data = deflate(lines.data, compression)
    idats = [data[i : i + IDAT_LIMIT] for i in range(0, len(data), IDAT_LIMIT)]
    chunks = [ihdr(height, width, channels), *(chunk(b"IDAT", idat) for idat in idats), IEND]
    return np.frombuffer(b"".join([SIGNATURE, *chunks]), np.uint8)


def encode_png(pixels: NDArray[Any], compression: str = "stored") -> bytes:
    """``pixels`` [H, W] or [H, W, C] (C 1, 3 or 4; uint8, or floats of 0..1) as an 8-bit PNG; see :func:`pack_png`."""
    frame = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if frame.ndim != 3 or frame.shape[2] not in COLOURS or 0 in frame.shape:
        raise InvalidImage(f"A picture is [H, W] or [H, W, C] with 1, 3 or 4 channels, not {list(pixels.shape)}")
    return pack_png(frame, compression).tobytes()


def decode_png(data: Bytes) -> Pixels:
    """The pixels [H, W, C] of a PNG from the store; C is 1, 3 or 4.

    For bytes that gatebus wrote or verified: what comes from outside goes through
    ``codec.read_image``, which has bounds. Raises InvalidImage.
    """
    shape = _plain_shape(data)
    if shape is None:
        return _read_with_pillow(data)
    pixels = np.empty(shape, np.uint8)
    if _read_stored(data, pixels):
        return pixels
    lines = _inflate(data, shape)
    return _read_with_pillow(data) if lines is None else _unfilter(lines).reshape(shape)


def read_png(data: Bytes, out: NDArray[Any]) -> None:
    """Reads a PNG from the store into ``out`` [H, W, C]: uint8, or float32 of 0..1.

    Raises InvalidImage when it is no readable PNG or of another size or number of channels.
    """
    if _read_stored(data, out):
        return
    pixels = decode_png(data)
    if pixels.shape != out.shape:
        raise InvalidImage(f"The PNG is {list(pixels.shape)} (height, width, channels), not {list(out.shape)}")
    if out.dtype == np.uint8:
        out[...] = pixels
    else:
        to_floats(pixels, out)


def _read_stored(data: Bytes, out: NDArray[Any]) -> bool:
    """Whether the file is a stored PNG of that size, and then has been read."""
    stored = StoredPng(*out.shape)
    if not stored.matches(data):
        return False
    try:
        stored.read(stored.split(data), out)
    except InvalidImage:
        # Damaged, or a deflated file that happens to look alike: the slow ways tell.
        return False
    return True


def to_eight_bits(image: Image.Image) -> Image.Image:
    """The image in mode L, RGB or RGBA: a palette resolved, 16 bits rounded, CMYK converted, transparency kept."""
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255.
        wide = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((np.minimum(wide, 65535) * 255 + 32767) // 65535).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBa", "RGBA"):
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _plain_shape(data: Bytes) -> tuple[int, int, int] | None:
    """(height, width, channels) of a PNG that begins as ours do: 8 bits, no interlace, IDAT right behind the header."""
    if len(data) < 57 or bytes(data[:16]) != SIGNATURE + b"\0\0\0\rIHDR" or bytes(data[37:41]) != b"IDAT":
        return None
    width, height, depth, colour, *ways = struct.unpack(">IIBBBBB", data[16:29])
    channels = next((channels for channels, code in COLOURS.items() if code == colour), 0)
    if depth != 8 or ways != [0, 0, 0] or not channels or not width or not height:
        return None
    return height, width, channels


def _inflate(data: Bytes, shape: tuple[int, int, int]) -> Pixels | None:
    """The filtered rows [H, 1 + W * C], when the file has one sound IDAT of just these and a filter of ours."""
    height, width, channels = shape
    (length,) = struct.unpack(">I", data[33:37])
    idat, rest = data[41 : 41 + length], data[41 + length :]
    if len(idat) != length or bytes(rest[:16]) != struct.pack(">I", crc32(idat, crc32(b"IDAT"))) + IEND:
        return None
    size = height * (1 + width * channels)
    rows = inflate(idat, size)
    if rows is None:
        return None
    lines = np.frombuffer(rows, np.uint8).reshape(height, -1)
    return lines if lines[0, 0] in (0, 2) and (lines[:, 0] == lines[0, 0]).all() else None


def _unfilter(lines: Pixels) -> Pixels:
    if lines[0, 0] == 0:
        return np.ascontiguousarray(lines[:, 1:])
    pixels = np.empty((lines.shape[0], lines.shape[1] - 1), np.uint8)
    pixels[0] = lines[0, 1:]
    # A row at a time beats every form of cumulative sum: the row above is still in the cache.
    for above, line, target in zip(pixels[:-1], lines[1:, 1:], pixels[1:], strict=True):
        np.add(above, line, out=target)
    return pixels


def _read_with_pillow(data: Bytes) -> Pixels:
    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            pixels = np.asarray(to_eight_bits(image))
    except UNREADABLE as error:
        raise InvalidImage(f"The bytes are no readable PNG: {error}") from error
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
