"""What goes out: JSON, image bytes and errors, with the headers that every answer carries."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from ..deflate import gzipped
from ..errors import GatebusError, InvalidImage, TooMany, Unauthorized

SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
"""Nothing that we serve runs as a page, is guessed to be another type, or is shown on other sites."""

PACKED_FROM = 1400
"""Bytes from which an answer is worth packing: a shorter one is one packet in any case."""

IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}
"""For an address that names its content by digest."""

_IMAGE_TYPES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"))


def exchange_key(name: str, kind: type) -> Any:
    """The key under which an exchange keeps a value of that type."""
    # aiohttp 3.14 warns of keys that are plain text; the ones before have no others.
    typed = getattr(web, "RequestKey", None)
    return name if typed is None else typed(name, kind)


def as_json(value: Any) -> bytes:
    """The value as UTF-8 JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def answer_json(body: bytes, if_none_match: str | None = None, packed: bool = False) -> web.Response:
    """JSON as made by :func:`as_json`; 304 when the asker has the same already; ``packed`` when it takes gzip."""
    if if_none_match is None:
        return web.Response(body=body, content_type="application/json", headers=SAFE_HEADERS)
    packed = packed and len(body) >= PACKED_FROM
    # Other bytes, another tag: also that of the same list, packed.
    tag = hashlib.blake2b(body, digest_size=16).hexdigest() + ("-gzip" if packed else "")
    varies = {"Vary": "Accept-Encoding"} if len(body) >= PACKED_FROM else {}
    if _matches(if_none_match, tag):
        return not_modified(tag, varies)
    headers = {**SAFE_HEADERS, "ETag": f'"{tag}"', **varies}
    if packed:
        headers["Content-Encoding"] = "gzip"
        body = gzipped(body)
    return web.Response(body=body, content_type="application/json", headers=headers)


def answer_image(data: bytes, tag: str, extra: Mapping[str, str] | None = None) -> web.Response:
    """Image bytes, their type told by their own first bytes; raises InvalidImage when it is none that we serve."""
    headers = {**SAFE_HEADERS, "ETag": f'"{tag}"', "Content-Disposition": "inline", **(extra or {})}
    return web.Response(body=data, content_type=image_type(data), headers=headers)


def not_modified(tag: str, extra: Mapping[str, str] | None = None) -> web.Response:
    """304: what the asker holds is still right."""
    return web.Response(status=304, headers={**SAFE_HEADERS, "ETag": f'"{tag}"', **(extra or {})})


def takes_gzip(http: web.Request) -> bool:
    """Whether Accept-Encoding names gzip, and not as what the asker won't have."""
    for entry in http.headers.get("Accept-Encoding", "").lower().split(","):
        coding, _, quality = entry.replace(" ", "").partition(";q=")
        if coding in ("gzip", "x-gzip"):
            return not re.fullmatch(r"0(\.0*)?", quality)
    return False


def has_already(http: web.Request, tag: str) -> bool:
    """Whether If-None-Match names the tag."""
    return _matches(http.headers.get("If-None-Match", ""), tag)


def answer_error(error: GatebusError) -> web.Response:
    """The error's status and JSON."""
    headers = dict(SAFE_HEADERS)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="gatebus"'
    if isinstance(error, TooMany):
        headers["Retry-After"] = str(error.details["retry_after"])
    return web.Response(
        body=as_json(error.to_json()), status=error.status, content_type="application/json", headers=headers
    )


def image_type(data: bytes) -> str:
    """The content type of PNG, JPEG or WebP bytes; raises InvalidImage for anything else."""
    for signature, kind in _IMAGE_TYPES:
        if data.startswith(signature):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise InvalidImage("The stored bytes are no PNG, JPEG or WebP image")


def _matches(if_none_match: str, tag: str) -> bool:
    return any(entry.strip().removeprefix("W/") == f'"{tag}"' for entry in if_none_match.split(","))
