"""What comes in: bodies, counted while they stream, whatever Content-Length says or leaves out.

aiohttp's own ``request.post()`` and multipart reader are not used: their limits were got round
more than once (a part with ``Content-Transfer-Encoding: base64`` is one way), and people have
any version of it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import ClientError, web

from ..errors import InvalidInput, TooBusy, TooLarge
from ..settings import MIB

STALL = 60.0
"""Seconds without a byte after which a sender is given up."""

IN_FLIGHT_LIMIT = 1024 * MIB
"""Bytes of bodies that this process holds in memory at a time."""

MAX_PARTS = 16
"""Parts of a form."""

PART_HEAD_LIMIT = 4096
"""Bytes of a part's headers."""

_BOUNDARY = re.compile(r'boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_DISPOSITION = re.compile(r'form-data((?:;\s*[a-z*]+=(?:"[^"\r\n]*"|[^\s;"]+))+)', re.IGNORECASE)
_NAME = re.compile(r';\s*name=(?:"([^"\r\n]*)"|([^\s;"]+))', re.IGNORECASE)


class Intake:
    """Reads bodies for one API and knows how many bytes are held for all of them."""

    def __init__(self, limit: int = IN_FLIGHT_LIMIT) -> None:
        self._limit = limit
        self._held = 0

    async def read(self, http: web.Request, limit: int, what: str) -> bytes:
        """The whole body; raises TooLarge beyond ``limit`` bytes, TooBusy when all bodies together are too much."""
        chunks: list[bytes] = []
        held = 0
        try:
            async for chunk in _chunks(http, limit, what):
                if self._held + len(chunk) > self._limit:
                    raise TooBusy("Too many uploads at a time; try again in a moment", limit=self._limit)
                self._held += len(chunk)
                held += len(chunk)
                chunks.append(chunk)
            return b"".join(chunks)
        finally:
            self._held -= held


async def spool(http: web.Request, limit: int, what: str, write: Callable[[bytes], Awaitable[object]]) -> None:
    """Hands the body to ``write`` in pieces of about 1 MiB; raises TooLarge beyond ``limit`` bytes."""
    pending = bytearray()
    async for chunk in _chunks(http, limit, what):
        pending += chunk
        if len(pending) >= MIB:
            await write(bytes(pending))
            pending.clear()
    await write(bytes(pending))


async def _chunks(http: web.Request, limit: int, what: str) -> AsyncIterator[bytes]:
    too_large = TooLarge(f"The {what} is larger than {limit} bytes", what=what, limit=limit)
    if http.content_length is not None and http.content_length > limit:
        raise too_large
    total = 0
    while True:
        try:
            chunk = await asyncio.wait_for(http.content.readany(), STALL)
        except asyncio.TimeoutError:
            raise InvalidInput(f"No byte of the {what} came for {STALL:g} seconds", what=what) from None
        except (ClientError, ConnectionError) as error:
            raise InvalidInput(f"The {what} broke off before its end", what=what) from error
        if not chunk:
            return
        total += len(chunk)
        if total > limit:
            raise too_large
        yield chunk


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; raises InvalidInput for anything else (NaN and nesting without end included)."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    try:
        value = json.loads(body.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise InvalidInput(f"The body is no JSON: {reason}") from None
    if not isinstance(value, dict):
        raise InvalidInput("The body must be a JSON object")
    return value


def parse_form(content_type: str, body: bytes) -> dict[str, bytes]:
    """The parts of a multipart/form-data body by their names.

    Strict: RFC 7578 as browsers write it, each name once, no transfer encoding, no nesting.
    Raises InvalidInput.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise InvalidInput("The form has no boundary")
    delimiter = b"\r\n--" + (found[1] or found[2]).encode("utf-8", "replace")
    # The first delimiter has no line before it.
    if not body.startswith(delimiter[2:]):
        raise InvalidInput("The form does not begin with its boundary")
    parts: dict[str, bytes] = {}
    place = len(delimiter) - 2
    while body[place : place + 2] == b"\r\n":
        end = body.find(delimiter, place)
        if end < 0:
            raise InvalidInput("The form is cut short")
        name, content = _parse_part(body, place + 2, end)
        if name in parts or len(parts) == MAX_PARTS:
            raise InvalidInput(f"The form has a part twice, or more than {MAX_PARTS}")
        parts[name] = content
        place = end + len(delimiter)
    if body[place : place + 2] != b"--":
        raise InvalidInput("The form is malformed at a boundary")
    return parts


def _parse_part(body: bytes, start: int, end: int) -> tuple[str, bytes]:
    head_end = body.find(b"\r\n\r\n", start, min(end, start + PART_HEAD_LIMIT))
    if head_end < 0:
        raise InvalidInput(f"A part of the form has no headers, or more than {PART_HEAD_LIMIT} bytes of them")
    headers: dict[str, str] = {}
    for line in body[start:head_end].decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or name in headers:
            raise InvalidInput("A part of the form has a malformed or repeated header")
        headers[name] = value.strip()
    if "content-transfer-encoding" in headers or "content-encoding" in headers:
        raise InvalidInput("A part of the form is encoded; send the bytes as they are")
    if headers.get("content-type", "").lower().startswith("multipart/"):
        raise InvalidInput("A form within a form is not accepted")
    disposition = _DISPOSITION.fullmatch(headers.get("content-disposition", ""))
    named = _NAME.search(disposition[1]) if disposition else None
    if named is None:
        raise InvalidInput("A part of the form has no name")
    return named[1] if named[1] is not None else named[2], body[head_end + 4 : end]
