"""8-bit PNG, written and read at the speed of a copy (numpy; isal where it is installed).

``stored`` rows are not deflated: the IDAT chunk is a row of stored deflate blocks, each holding
as many whole rows as fit. Every viewer opens it, and because its geometry follows from the
image's size alone, it can be written and read in pieces (:class:`StoredPng`). ``fast`` and
``small`` are filter "up" and deflate. Pillow reads whatever others wrote.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import InvalidImage
from .pixels import Pixels, round_into, to_floats, to_pixels

fast_zlib: ModuleType
try:
    from isal import isal_zlib as fast_zlib
    from isal.isal_zlib import adler32 as adler32
    from isal.isal_zlib import crc32 as crc32
except ImportError:
    fast_zlib = zlib
    from zlib import adler32 as adler32
    from zlib import crc32 as crc32

Bytes = bytes | bytearray | memoryview

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = {1: 0, 3: 2, 4: 6}
"""PNG colour type by number of channels: grey, RGB, RGBA."""

_HEAD = 43
"""Bytes before the first deflate block: signature 8, IHDR 25, IDAT's length and type 8, zlib header 2."""
_TAIL = 20
"""Bytes behind the last block: Adler-32 4, IDAT's CRC 4, IEND 12."""
_IEND = b"\0\0\0\0IEND\xaeB`\x82"
_ZLIB_HEAD = b"\x78\x01"
_BLOCK_LIMIT = 65535
"""Bytes in a stored deflate block (RFC 1951)."""
_IDAT_LIMIT = 2**31 - 1
_PIECE = 1024 * 1024 - 64
"""Bytes in a piece, at most: a value of exactly 1 MiB would waste a quarter in Redis' allocator."""

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for a file that it can't read."""


@dataclass(frozen=True)
class Piece:
    """A run of rows of a stored PNG and the bytes of the file that hold it; the pieces joined are the file."""

    first: int
    rows: int
    offset: int
    length: int


@dataclass(frozen=True)
class StoredPng:
    """A PNG whose rows are stored, not deflated: where everything lies follows from the size alone."""

    height: int
    width: int
    channels: int
    """1, 3 or 4."""

    @property
    def row(self) -> int:
        """Bytes of a row with its filter byte."""
        return 1 + self.width * self.channels

    @property
    def per_block(self) -> int:
        """Rows in every deflate block but the last; 0 when a row does not fit (from 21845 RGB pixels on)."""
        return _BLOCK_LIMIT // self.row

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return _HEAD + -(-self.height // self.per_block) * 5 + self.height * self.row + _TAIL

    @property
    def possible(self) -> bool:
        """Whether an image of this size can be written so."""
        return self.per_block > 0 and self.size < _IDAT_LIMIT

    @property
    def head(self) -> bytes:
        """The file's bytes before the first block."""
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, COLOURS[self.channels], 0, 0, 0)
        idat = self.size - _HEAD - _TAIL + len(_ZLIB_HEAD) + 4
        return SIGNATURE + _chunk(b"IHDR", header) + struct.pack(">I4s", idat, b"IDAT") + _ZLIB_HEAD

    def pieces(self) -> list[Piece]:
        """The file in pieces of whole blocks, about 1 MiB and never more."""
        block = 5 + self.per_block * self.row
        step = self.per_block * max(1, (_PIECE - _HEAD - _TAIL) // block)
        pieces = []
        offset = 0
        for first in range(0, self.height, step):
            rows = min(step, self.height - first)
            length = -(-rows // self.per_block) * 5 + rows * self.row
            length += (_HEAD if first == 0 else 0) + (_TAIL if first + rows == self.height else 0)
            pieces.append(Piece(first, rows, offset, length))
            offset += length
        return pieces

    def write(self, frame: NDArray[Any], file: Pixels | None = None) -> Iterator[memoryview]:
        """The pieces of ``frame`` [H, W, C] as a PNG; floats of 0..1, or uint8.

        They are written into ``file`` (``size`` bytes) when it is given. Otherwise they share one
        buffer, which stays in the cache: a piece is valid until the next one is asked for.
        """
        rows = frame.reshape(self.height, self.width * self.channels)
        pieces = self.pieces()
        shared = np.empty(max(piece.length for piece in pieces) if file is None else 0, np.uint8)
        crc, adler = crc32(b"IDAT" + _ZLIB_HEAD), 1
        for piece in pieces:
            data = shared[: piece.length] if file is None else file[piece.offset : piece.offset + piece.length]
            last = piece is pieces[-1]
            body = data[_HEAD if piece is pieces[0] else 0 : -_TAIL if last else None]
            if piece is pieces[0]:
                data[:_HEAD] = np.frombuffer(self.head, np.uint8)
            done = piece.first
            for headers, lines in self._blocks(body, piece.rows):
                blocks, per_block, _ = lines.shape
                length = per_block * self.row
                headers[...] = np.frombuffer(struct.pack("<BHH", 0, length, length ^ 0xFFFF), np.uint8)
                lines[:, :, 0] = 0
                source = rows[done : done + blocks * per_block]
                round_into(source.reshape(blocks, per_block, self.row - 1), lines[:, :, 1:])
                done += blocks * per_block
                for block in lines:
                    adler = adler32(block, adler)
            if last:
                headers[-1, 0] = 1  # BFINAL
            crc = crc32(body, crc)
            if last:
                crc = crc32(struct.pack(">I", adler), crc)
                data[-_TAIL:] = np.frombuffer(struct.pack(">II", adler, crc) + _IEND, np.uint8)
            yield data.data

    def read(self, pieces: Iterable[Bytes], out: NDArray[Any]) -> None:
        """Reads the file's pieces, in order, into ``out`` [H, W, C]: uint8, or float32 of 0..1.

        Raises InvalidImage when they are not this file or its checksum does not fit; ``out`` is
        then undefined.
        """
        rows = out.reshape(self.height, self.width * self.channels)
        crc = crc32(b"IDAT" + _ZLIB_HEAD)
        done = 0
        for piece, data in zip(self.pieces(), pieces, strict=True):
            if len(data) != piece.length or (piece.first == 0 and bytes(data[:_HEAD]) != self.head):
                raise InvalidImage("The PNG is not the one that was stored: its length or header differs")
            body = np.frombuffer(data, np.uint8)[_HEAD if piece.first == 0 else 0 :]
            last = piece.first + piece.rows == self.height
            crc = crc32(body[: 4 - _TAIL] if last else body, crc)
            if last and bytes(body[4 - _TAIL :]) != struct.pack(">I", crc) + _IEND:
                raise InvalidImage("The PNG is damaged: its checksum does not fit")
            for _, lines in self._blocks(body[:-_TAIL] if last else body, piece.rows):
                blocks, per_block, _ = lines.shape
                target = rows[done : done + blocks * per_block].reshape(blocks, per_block, self.row - 1)
                if out.dtype == np.uint8:
                    target[...] = lines[:, :, 1:]
                else:
                    to_floats(lines[:, :, 1:], target)
                done += blocks * per_block

    def split(self, file: Bytes) -> Iterator[Bytes]:
        """The whole file's bytes as its pieces, without a copy."""
        view = memoryview(file)
        return (view[piece.offset : piece.offset + piece.length] for piece in self.pieces())

    def matches(self, file: Bytes) -> bool:
        """Whether the file is of this size and kind, as far as its length and first bytes tell."""
        return self.possible and len(file) == self.size and bytes(file[:_HEAD]) == self.head

    def _blocks(self, body: Pixels, rows: int) -> list[tuple[Pixels, Pixels]]:
        """(headers [blocks, 5], lines [blocks, rows per block, row]) of the full blocks, then of the last, as views."""
        full, rest = divmod(rows, self.per_block)
        cut = full * (5 + self.per_block * self.row)
        views = []
        for part, blocks, lines in ((body[:cut], full, self.per_block), (body[cut:], 1, rest)):
            if blocks and lines:
                table = part.reshape(blocks, 5 + lines * self.row)
                views.append((table[:, :5], table[:, 5:].reshape(blocks, lines, self.row)))
        return views


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
    header = struct.pack(">IIBBBBB", width, height, 8, COLOURS[channels], 0, 0, 0)
    data = _deflate(lines, compression)
    idats = [data[i : i + _IDAT_LIMIT] for i in range(0, len(data), _IDAT_LIMIT)]
    chunks = [_chunk(b"IHDR", header), *(_chunk(b"IDAT", idat) for idat in idats), _IEND]
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
    stored = StoredPng(*shape)
    if stored.matches(data):
        pixels = np.empty(shape, np.uint8)
        stored.read(stored.split(data), pixels)
        return pixels
    lines = _inflate(data, shape)
    return _read_with_pillow(data) if lines is None else _unfilter(lines).reshape(shape)


def read_png(data: Bytes, out: NDArray[Any]) -> None:
    """Reads a PNG from the store into ``out`` [H, W, C]: uint8, or float32 of 0..1.

    Raises InvalidImage when it is no readable PNG or of another size or number of channels.
    """
    stored = StoredPng(*out.shape)
    if stored.matches(data):
        stored.read(stored.split(data), out)
        return
    pixels = decode_png(data)
    if pixels.shape != out.shape:
        raise InvalidImage(f"The PNG is {list(pixels.shape)} (height, width, channels), not {list(out.shape)}")
    if out.dtype == np.uint8:
        out[...] = pixels
    else:
        to_floats(pixels, out)


def to_eight_bits(image: Image.Image) -> Image.Image:
    """The image in mode L, RGB or RGBA: a palette resolved, 16 bits rounded, CMYK converted, transparency kept."""
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255.
        wide = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((np.minimum(wide, 65535) * 255 + 32767) // 65535).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBa", "RGBA"):
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _chunk(kind: bytes, data: Bytes) -> bytes:
    return b"".join([struct.pack(">I", len(data)), kind, data, struct.pack(">I", crc32(data, crc32(kind)))])


def _deflate(lines: Pixels, compression: str) -> bytes:
    if compression == "fast" and fast_zlib is not zlib:
        return bytes(fast_zlib.compress(lines.data, 1))
    if compression == "fast":
        packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    else:
        packer = zlib.compressobj(6 if compression == "small" else 0)
    return packer.compress(lines.data) + packer.flush()


def _plain_shape(data: Bytes) -> tuple[int, int, int] | None:
    """(height, width, channels) of a PNG that begins as ours do: 8 bits, no interlace, IDAT right behind the header."""
    if len(data) < _HEAD + _TAIL or bytes(data[:16]) != SIGNATURE + b"\0\0\0\rIHDR" or bytes(data[37:41]) != b"IDAT":
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
    if len(idat) != length or bytes(rest[:16]) != struct.pack(">I", crc32(idat, crc32(b"IDAT"))) + _IEND:
        return None
    size = height * (1 + width * channels)
    try:
        unpacker = fast_zlib.decompressobj()
        rows = unpacker.decompress(idat, size + 1)
    except fast_zlib.error:
        return None
    if len(rows) != size or not unpacker.eof:
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
