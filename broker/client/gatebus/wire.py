"""A server, spoken to over HTTP: one call, its errors, and what is harmless repeated for a while."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TypeVar

import httpx

from gates import __version__
from gates.errors import GatebusError, InvalidInput, StoreUnavailable, TooBusy

from .answers import Unreachable, error_of, value_of

Self = TypeVar("Self", bound="Wire")

PAUSE = 0.2
"""Seconds before the first repeat; doubled up to MAX_PAUSE."""

MAX_PAUSE = 2.0


class Wire:
    """The connections to one server; thread-safe."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8787",
        token: str = "",
        *,
        timeout: float = 30.0,
        patience: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """``transport`` is httpx's seam, e.g. for a unix socket; default: the network."""
        if not url.startswith(("http://", "https://")):
            raise InvalidInput(f"The address {url[:200]!a} must begin with http:// or https://")
        headers = {"User-Agent": f"gatebus/{__version__}", **({"Authorization": f"Bearer {token}"} if token else {})}
        # A base URL that ends with a slash keeps its path: a server below a sub-path.
        self._http = httpx.Client(
            base_url=f"{url.rstrip('/')}/gatebus/", headers=headers, timeout=timeout, transport=transport
        )
        self.url = url.rstrip("/")
        self.patience = patience

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        return value_of(self._read(path, query))

    def _read(self, path: str, query: Mapping[str, Any] | None = None) -> httpx.Response:
        given = {name: value for name, value in (query or {}).items() if value != ""}
        return self._call("GET", path, repeat=True, params=given)

    def _call(self, method: str, path: str, *, repeat: bool = False, **options: Any) -> httpx.Response:
        """The answer when all went well; ``repeat``: the same call twice does what it does once."""
        end, pause = time.monotonic() + self.patience, PAUSE
        while True:
            error: GatebusError | None
            try:
                response = self._http.request(method, path, **options)
                error = error_of(response)
                again = repeat and isinstance(error, StoreUnavailable | TooBusy | Unreachable)
            except httpx.HTTPError as failure:
                error = unreachable(self.url, failure)
                error.__cause__ = failure
                # Nothing was sent over a connection that was never made.
                again = repeat or isinstance(failure, httpx.ConnectError | httpx.ConnectTimeout)
            if error is None:
                return response
            if not again or time.monotonic() + pause > end:
                raise error
            time.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE)


def raise_refusal(response: httpx.Response) -> None:
    """Raises the error that the answer is, if it is one; its body must have been read."""
    error = error_of(response)
    if error is not None:
        raise error


def unreachable(url: str, error: httpx.HTTPError) -> Unreachable:
    """The error for what happened on the way to that server and back."""
    return Unreachable(f"{url} does not answer: {error or type(error).__name__}")
