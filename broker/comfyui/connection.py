"""HTTP to one ComfyUI: address, credentials, limits, and repeats where repeating is harmless."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
from yarl import URL

from gates.errors import GatebusError, InvalidInput

from .errors import AnswerTooLarge, ComfyRefused, ComfyUnexpected, ComfyUnreachable

MIB = 1024 * 1024

PAUSE = 0.25
"""Seconds before the first repeat; doubled up to MAX_PAUSE, each a random part of it (full jitter)."""

MAX_PAUSE = 5.0

PASSING = frozenset({429, 502, 503, 504})
"""Statuses of a proxy or a server that will answer in a while."""

MIN_RATE = 16 * 1024
"""Bytes a second that a body must come with, measured from its first byte, after ``timeout`` seconds."""


@dataclass(frozen=True)
class Limits:
    """How long and how much of a ComfyUI's answers is waited for and read."""

    connect: float = 10.0
    """Seconds for a connection."""
    timeout: float = 60.0
    """Seconds for an answer to begin, for each part of it, and for a whole JSON answer twice as much."""
    patience: float = 20.0
    """Seconds for which what is harmless to repeat is repeated while the ComfyUI does not answer."""
    json_bytes: int = 128 * MIB
    """Of one JSON answer; ``/queue`` repeats the graph of every prompt in it."""
    file_bytes: int = 512 * MIB
    """Of one download."""
    message_bytes: int = 16 * MIB
    """Of one message of the stream; a larger one ends the connection, which is made anew."""
    pixels: int = 256 * 1000 * 1000
    """Of one downloaded image."""


class Connection:
    """One ComfyUI at ``url``, below a sub-path too; made on the event loop that uses it."""

    def __init__(
        self,
        url: str,
        token: str = "",
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | bool = True,
        limits: Limits | None = None,
    ) -> None:
        """``tls``: a context with a CA or a client certificate of one's own; False trusts any certificate."""
        try:
            address = URL(url)
        except ValueError as error:
            raise InvalidInput(f"{url[:200]!a} is no URL of a ComfyUI") from error
        if address.scheme not in ("http", "https") or not address.host or address.query_string or address.fragment:
            given = _shown(address) if address.host else ascii(url[:200])
            raise InvalidInput(f"The address of a ComfyUI is http(s)://HOST[:PORT][/PATH], not {given}")
        self.limits = limits or Limits()
        self._tls = tls
        self._base = address.with_path(address.path.rstrip("/") + "/")
        self.url = _shown(self._base).rstrip("/")
        self._headers = {"Accept-Encoding": "identity", **(headers or {})}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.url}>"

    async def close(self) -> None:
        """Closes every connection; what is under way fails."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def address(self, path: str) -> URL:
        """The URL of a path such as ``view`` or ``api/jobs/ID``, whose parts hold neither slashes nor dots alone."""
        parts = path.split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise InvalidInput(f"{path[:200]!a} is no path of a ComfyUI")
        return self._base.joinpath(*parts)

    async def socket(self, client_id: str, heartbeat: float) -> aiohttp.ClientWebSocketResponse:
        """The stream of that client id; raises ComfyUnreachable, ComfyRefused, ComfyUnexpected."""

        async def connect() -> aiohttp.ClientWebSocketResponse:
            # Newer ones of aiohttp have the kind of a text in the type, older ones are not generic.
            socket: Any = await self._http().ws_connect(
                self.address("ws"),
                params={"clientId": client_id},
                heartbeat=heartbeat,
                max_msg_size=self.limits.message_bytes,
                ssl=self._tls,
            )
            return cast("aiohttp.ClientWebSocketResponse", socket)

        try:
            return await asyncio.wait_for(connect(), self.limits.connect + self.limits.timeout)
        except aiohttp.WSServerHandshakeError as error:
            raise self._refused("ws", error.status) from error
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise self._failure("ws", error) from error

    async def json(self, method: str, path: str, *, repeat: bool = False, missing: Any = ..., **options: Any) -> Any:
        """The JSON of an answer, None when it has no body; 404 and 405 give ``missing``, when that is given."""

        async def read() -> Any:
            async with self.ask(method, path, **options) as answer:
                if answer.status in (404, 405) and missing is not ...:
                    return missing
                self.check(answer, path)
                body = await asyncio.wait_for(self.body(answer, self.limits.json_bytes), 2 * self.limits.timeout)
            try:
                return json.loads(body) if body.strip() else None
            except ValueError as error:
                raise ComfyUnexpected(f"{self.url}/{path} answers with something that is no JSON") from error

        return await (self.repeated(read) if repeat else read())

    @asynccontextmanager
    async def ask(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """One exchange, whatever its status is; raises ComfyUnreachable, also while the body is read."""
        try:
            async with self._http().request(
                method, self.address(path), allow_redirects=False, ssl=self._tls, **options
            ) as answer:
                yield answer
        except GatebusError:
            # Of who reads the answer; some are ConnectionErrors, too.
            raise
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise self._failure(path, error) from error

    def check(self, answer: aiohttp.ClientResponse, path: str) -> None:
        """Raises the error that the status is; 2xx is none."""
        if not 200 <= answer.status < 300:
            raise self._refused(path, answer.status, answer.headers)

    async def body(self, answer: aiohttp.ClientResponse, limit: int) -> bytes:
        """The whole body; raises AnswerTooLarge before more than ``limit`` bytes are held."""
        if (answer.content_length or 0) > limit:
            raise AnswerTooLarge(f"{self.url} sends {answer.content_length} bytes; at most {limit} are taken")
        data = bytearray()
        begun = time.monotonic()
        async for block in answer.content.iter_any():
            data += block
            if len(data) > limit:
                raise AnswerTooLarge(f"{self.url} sends more than {limit} bytes")
            if len(data) < (time.monotonic() - begun - self.limits.timeout) * MIN_RATE:
                raise ComfyUnreachable(f"{self.url} sends a body too slowly: {len(data)} bytes so far")
        return bytes(data)

    async def repeated(self, once: Any, patience: float | None = None) -> Any:
        """What ``once()`` returns, again and again while the ComfyUI is unreachable and ``patience`` lasts."""
        end = time.monotonic() + (self.limits.patience if patience is None else patience)
        pause = PAUSE
        while True:
            try:
                return await once()
            except ComfyUnreachable as error:
                wait = max(random.uniform(0, pause), float(error.details.get("retry_after") or 0))
                if error.details.get("final") or time.monotonic() + wait > end:
                    raise
            await asyncio.sleep(wait)
            pause = min(2 * pause, MAX_PAUSE)

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            # Of a WebSocket aiohttp follows redirects, with every header but Authorization.
            trace.on_request_redirect.append(_no_redirect)
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self.limits.connect, sock_read=self.limits.timeout
                ),
                connector=aiohttp.TCPConnector(limit=32),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[trace],
            )
        return self._session

    def _failure(self, path: str, error: Exception) -> ComfyUnreachable:
        # Nothing was sent over a connection that was never made.
        unsent = isinstance(error, aiohttp.ClientConnectorError)
        final = isinstance(error, aiohttp.ClientSSLError)
        told = "no answer in time" if isinstance(error, asyncio.TimeoutError) else str(error) or type(error).__name__
        return ComfyUnreachable(f"{self.url}/{path}: {told}", unsent=unsent, final=final)

    def _refused(self, path: str, status: int, headers: Mapping[str, str] | None = None) -> Exception:
        where = f"{self.url}/{path} answers {status}"
        if status in PASSING:
            after = (headers or {}).get("Retry-After", "")
            return ComfyUnreachable(where, status=status, retry_after=min(int(after), 3600) if after.isdecimal() else 0)
        if 300 <= status < 400:
            to = (headers or {}).get("Location", "elsewhere")[:200]
            return ComfyRefused(f"{where}: a redirect to {to}; give the address that it leads to", status=status)
        if status in (401, 403):
            return ComfyRefused(f"{where}: it wants another token", status=status)
        if status == 413:
            return ComfyRefused(f"{where}: the body is larger than it takes (--max-upload-size)", status=status)
        return ComfyUnexpected(f"{where}; is this the address of a ComfyUI?", status=status)


async def _no_redirect(_: aiohttp.ClientSession, __: SimpleNamespace, told: aiohttp.TraceRequestRedirectParams) -> None:
    told.response.close()
    raise aiohttp.WSServerHandshakeError(
        told.response.request_info, (), status=told.response.status, message="redirect", headers=told.response.headers
    )


def _shown(url: URL) -> str:
    return str(url.with_user(None).with_query(None))
