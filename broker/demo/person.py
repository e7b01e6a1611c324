"""The demonstration's person: what a page or a script does over the broker's HTTP API (standard library only)."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from .processes import DemoError

TIMEOUT = 30.0
"""Seconds for an answer."""


class Person:
    """A client of one broker, used on one thread."""

    def __init__(self, url: str) -> None:
        self.url = url
        place = urlsplit(url)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=TIMEOUT)

    def get(self, path: str) -> Any:
        """The JSON of the answer; raises DemoError when it is an error."""
        return json.loads(self.get_bytes(path))

    def get_bytes(self, path: str) -> bytes:
        """The bytes of the answer; raises DemoError when it is an error."""
        status, answer = self._send("GET", path, b"", "")
        if status != 200:
            raise DemoError(f"GET {path} is answered (it got {status}: {answer[:300]!r})")
        return answer

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """(status, JSON of the answer); an error is an answer too."""
        status, answer = self._send("POST", path, json.dumps(body).encode(), "application/json")
        return status, json.loads(answer)

    def put_png(self, path: str, png: bytes) -> tuple[int, Any]:
        """As :meth:`post`, for an image."""
        status, answer = self._send("PUT", path, png, "image/png")
        return status, json.loads(answer)

    def _send(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        self._connection.request(method, path, body or None, {"Content-Type": kind} if kind else {})
        answer = self._connection.getresponse()
        return answer.status, answer.read()
