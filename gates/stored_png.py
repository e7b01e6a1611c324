"""A PNG whose rows are stored, not deflated: written and read in pieces, at the speed of a copy.

The IDAT chunk is a row of stored deflate blocks (RFC 1951), each holding as many whole rows as
fit. Every viewer opens it, and where everything lies follows from the image's size alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .deflate import adler32, crc32
from .errors import InvalidImage
from .pixels import Pixels, round_into, to_floats

Bytes = bytes | bytearray | memoryview

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = {1: 0, 3: 2, 4: 6}
"""PNG colour type by number of channels: grey, RGB, RGBA."""
IEND = b"\0\0\0\0IEND\xaeB`\x82"
IDAT_LIMIT = 2**31 - 1
"""Bytes in a chunk."""

_HEAD = 43
"""Bytes before the first deflate block: signature 8, IHDR 25, IDAT's length and type 8, zlib header 2."""
_TAIL = 20
"""Bytes behind the last block: Adler-32 4, IDAT's CRC 4, IEND 12."""
_ZLIB_HEAD = b"\x78\x01"
_BLOCK_LIMIT = 65535
"""Bytes in a stored deflate block."""
_PIECE = 1024 * 1024 - 64
"""Bytes in a piece, at most: a value of exactly 1 MiB would waste a quarter in Redis' allocator."""


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
        return self.per_block > 0 and self.size < IDAT_LIMIT

    @property
    def head(self) -> bytes:
        """The file's bytes before the first block."""
        idat = self.size - _HEAD - _TAIL + len(_ZLIB_HEAD) + 4
        return (
            SIGNATURE + ihdr(self.height, self.width, self.channels) + struct.pack(">I4s", idat, b"IDAT") + _ZLIB_HEAD
        )

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
                headers[...] = _block_header(length)
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
                data[-_TAIL:] = np.frombuffer(struct.pack(">II", adler, crc) + IEND, np.uint8)
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
            if last and bytes(body[4 - _TAIL :]) != struct.pack(">I", crc) + IEND:
                raise InvalidImage("The PNG is damaged: its checksum does not fit")
            for headers, lines in self._blocks(body[:-_TAIL] if last else body, piece.rows):
                blocks, per_block, _ = lines.shape
                length = per_block * self.row
                expected = np.tile(_block_header(length), (blocks, 1))
                expected[-1, 0] = last and done + blocks * per_block == self.height
                if lines[:, :, 0].any() or (headers != expected).any():
                    raise InvalidImage("The PNG's rows are not stored as they are")
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


def ihdr(height: int, width: int, channels: int) -> bytes:
    """The header chunk: 8 bits a channel, not interlaced."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, COLOURS[channels], 0, 0, 0))


def chunk(kind: bytes, data: Bytes) -> bytes:
    """A PNG chunk: length, type, data, CRC-32."""
    return b"".join([struct.pack(">I", len(data)), kind, data, struct.pack(">I", crc32(data, crc32(kind)))])


def _block_header(length: int) -> Pixels:
    """A stored deflate block's header, not that of the final one."""
    return np.frombuffer(struct.pack("<BHH", 0, length, length ^ 0xFFFF), np.uint8)
