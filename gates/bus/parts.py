"""Parts sent to Redis while they are made.

A part is written piece by piece into the socket, on a connection borrowed from the client's pool:
redis-py has no call for a value that does not exist as a whole. So a piece is sent while it is in
the cache, and the socket's timeout holds for a piece, not for a value of any size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from redis.cluster import RedisCluster

from .. import codec
from ..errors import TooLarge

MAX_PART = 512 * 1024 * 1024
"""Bytes of one value, by Redis' default ``proto-max-bulk-len``."""

UNANSWERED = 16
"""Parts in flight before an answer is awaited."""


def send_parts(client: Any, parts: Iterable[tuple[str, codec.Stream]], expire: int) -> None:
    """Sets every (key, part), to expire after ``expire`` ms. On an error some of them are there."""
    if isinstance(client, RedisCluster):
        # Its calls find the node and follow a slot that moves; the value exists as a whole then.
        for key, stream in parts:
            client.set(key, b"".join(stream.pieces), px=expire)
        return
    single = client.client()
    connection = single.connection
    try:
        unanswered = 0
        for key, stream in parts:
            connection.send_packed_command(_set(key, stream, expire))
            unanswered += 1
            if unanswered == UNANSWERED:
                connection.read_response()
                unanswered -= 1
        for _ in range(unanswered):
            connection.read_response()
    except BaseException:
        # What was half sent, or not read, must not become part of somebody else's command.
        connection.disconnect()
        raise
    finally:
        single.close()


def _set(key: str, stream: codec.Stream, expire: int) -> Iterator[codec.Part]:
    """The command SET key part PX expire, as the protocol writes it, in pieces."""
    if stream.size > MAX_PART:
        raise TooLarge(f"An image of {stream.size} bytes is too large for one value in Redis; use the exact format")
    name, time = key.encode(), b"%d" % expire
    yield b"*5\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n" % (len(name), name, stream.size)
    yield from stream.pieces
    yield b"\r\n$2\r\nPX\r\n$%d\r\n%s\r\n" % (len(time), time)
