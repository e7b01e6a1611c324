"""Parts to and from Redis, on a connection borrowed from the client's pool.

redis-py has no call for a value that does not exist as a whole, and looks after its connection
at every call. Here a part is written piece by piece into the socket while it is made, and read
piece by piece into the place where it is wanted: each is in the cache then, and the socket's
timeout holds for a piece, not for a value of any size.
"""

from __future__ import annotations

import socket
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from redis.cluster import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from .. import codec
from ..errors import TooLarge

MAX_PART = 512 * 1024 * 1024
"""Bytes of one value, by Redis' default ``proto-max-bulk-len``."""

UNANSWERED = 16
"""Parts that are sent before the first one's answer is awaited."""

T = TypeVar("T", bytes, int)


def send_parts(client: Any, parts: Iterable[tuple[str, codec.Stream]], expire: int) -> None:
    """Sets every (key, part), to expire after ``expire`` ms. On an error some of them are there."""
    if isinstance(client, RedisCluster):
        # Its calls find the node and follow a slot that moves; a part exists as a whole then.
        for key, stream in parts:
            client.set(key, b"".join([bytes(piece) for piece in stream.pieces]), px=expire)
        return
    with _borrowed(client) as connection:
        unanswered = 0
        for key, stream in parts:
            connection.send_packed_command(_set(key, stream, expire))
            unanswered += 1
            if unanswered == UNANSWERED:
                connection.read_response()
                unanswered -= 1
        for _ in range(unanswered):
            connection.read_response()


def read_pieces(client: Any, pieces: Sequence[tuple[str, int, memoryview]]) -> Generator[int, None, None]:
    """Reads every (key, offset, view), in order, into the view; yields how many bytes there were, 0 for no key."""
    if isinstance(client, RedisCluster):
        for key, offset, view in pieces:
            yield _put(client.getrange(key, offset, offset + len(view) - 1), view)
        return
    with _borrowed(client) as connection:
        for key, offset, view in pieces:
            connection.send_command("GETRANGE", key, offset, offset + len(view) - 1)
            yield _receive(connection, view)


@contextmanager
def _borrowed(client: Any) -> Iterator[Any]:
    pool = client.connection_pool
    try:
        connection = pool.get_connection()
    except TypeError:  # redis-py before 5.3 wants to know the command
        connection = pool.get_connection("SET")
    try:
        yield connection
    except BaseException:
        # What was half sent, or not read, must not become part of somebody else's command.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def _set(key: str, stream: codec.Stream, expire: int) -> Iterator[codec.Part]:
    """The command SET key part PX expire, as the protocol writes it, in pieces."""
    if stream.size > MAX_PART:
        raise TooLarge(f"An image of {stream.size} bytes is too large for one value in Redis; use the exact format")
    name, time = key.encode(), b"%d" % expire
    yield b"*5\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n" % (len(name), name, stream.size)
    yield from stream.pieces
    yield b"\r\n$2\r\nPX\r\n$%d\r\n%s\r\n" % (len(time), time)


def _receive(connection: Any, view: memoryview) -> int:
    """Receives one bulk reply straight into the view; a parser would copy it three times on the way."""
    source = getattr(connection, "_sock", None)
    if not isinstance(source, socket.socket):
        return _put(connection.read_response(), view)
    line = b""
    while not line.endswith(b"\r\n"):
        line += _some(source.recv(1))
    if line[:1] == b"-":
        raise ResponseError(line[1:-2].decode("utf-8", "replace"))
    length = int(line[1:-2]) if line[:1] == b"$" else -1
    if not 0 <= length <= len(view):
        raise RedisConnectionError(f"GETRANGE was answered by {line[:20]!r}")
    done = 0
    while done < length:
        done += _some(source.recv_into(view[done:length]))
    for _ in b"\r\n":
        _some(source.recv(1))
    return length


def _some(received: T) -> T:
    if not received:
        raise RedisConnectionError("Redis closed the connection")
    return received


def _put(data: Any, view: memoryview) -> int:
    view[: len(data)] = data
    return len(data)
