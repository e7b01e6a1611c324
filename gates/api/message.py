"""What an event stream sends: bytes that every open stream shares, also in their packed form."""

from __future__ import annotations

import struct
from functools import cached_property

from ..deflate import GZIP_HEAD, LAST_BLOCK, crc32, deflate_block


class Message:
    """Bytes of the stream; packed once, whoever sends them."""

    def __init__(self, plain: bytes) -> None:
        self.plain = plain

    @cached_property
    def packed(self) -> bytes:
        """As a part of a deflate stream that refers to no other part."""
        return deflate_block(self.plain)


class GzipStream:
    """The gzip form of a stream of messages, each of which the receiver can unpack as soon as it is there."""

    def __init__(self) -> None:
        self.head = GZIP_HEAD
        self._crc = 0
        self._size = 0

    def wrap(self, message: Message) -> bytes:
        """The bytes to send for the message."""
        self._crc = crc32(message.plain, self._crc)
        self._size += len(message.plain)
        return message.packed

    def end(self) -> bytes:
        """What ends the stream."""
        return LAST_BLOCK + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)
