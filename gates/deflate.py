"""Deflate and its checksums: by isal where it is installed (several times faster), else by zlib."""

from __future__ import annotations

import zlib
from types import ModuleType

fast_zlib: ModuleType
try:
    from isal import isal_zlib as fast_zlib
    from isal.isal_zlib import adler32 as adler32
    from isal.isal_zlib import crc32 as crc32
except ImportError:
    fast_zlib = zlib
    from zlib import adler32 as adler32
    from zlib import crc32 as crc32


def deflate(data: memoryview, compression: str) -> bytes:
    """``data`` as a zlib stream: ``stored`` (level 0), ``fast`` (1) or ``small`` (6)."""
    if compression == "fast" and fast_zlib is not zlib:
        return bytes(fast_zlib.compress(data, 1))
    if compression == "fast":
        packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    else:
        packer = zlib.compressobj(6 if compression == "small" else 0)
    return packer.compress(data) + packer.flush()


def inflate(data: bytes | bytearray | memoryview, size: int) -> bytes | None:
    """The zlib stream's content, when it is sound and of exactly that size; never more is unpacked."""
    unpacker = fast_zlib.decompressobj()
    try:
        content = bytes(unpacker.decompress(data, size + 1))
    except fast_zlib.error:
        return None
    return content if len(content) == size and unpacker.eof else None


def gzipped(data: bytes) -> bytes:
    """``data`` as a gzip file, by the fastest level."""
    packer = fast_zlib.compressobj(1, fast_zlib.DEFLATED, 31)
    return bytes(packer.compress(data) + packer.flush())


def deflate_block(data: bytes) -> bytes:
    """``data`` as raw deflate blocks that end on a byte and refer to nothing before them.

    So blocks that were made apart may follow each other in one stream; :data:`LAST_BLOCK` ends it.
    """
    packer = fast_zlib.compressobj(1, fast_zlib.DEFLATED, -15)
    return bytes(packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))


LAST_BLOCK = b"\x03\x00"
"""An empty last block."""

GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""The head of a gzip file; behind its deflate stream follow CRC-32 and length, four bytes each, little-endian."""
