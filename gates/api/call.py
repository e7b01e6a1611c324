"""One HTTP exchange as a route sees it: what was asked, checked, by whom, and how to answer."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from ..codec import Picture, encode_png, read_image, read_mask
from ..errors import InvalidInput
from ..guard import Caller
from ..store import Store
from ..thumbnails import Thumbnails
from .answer import answer_image, answer_json, as_json, has_already, not_modified, takes_gzip
from .intake import parse_form, parse_json
from .route import PATH_CHECKS, Route, check_fields

if TYPE_CHECKING:
    from .mount import Api

T = TypeVar("T")

FORM_OVERHEAD = 64 * 1024
"""Bytes of a form besides its image."""


class Call:
    """A call that has passed the guard. Path and query are checked; the body is read when it is asked for."""

    def __init__(
        self, api: Api, store: Store, thumbnails: Thumbnails, route: Route, http: web.Request, caller: Caller
    ) -> None:
        """Raises InvalidInput or InvalidName for what the route does not accept."""
        self.api = api
        self.store = store
        self.thumbnails = thumbnails
        self.http = http
        self.caller = caller
        self._route = route
        self.path = {name: PATH_CHECKS[name](value) for name, value in http.match_info.items()}
        query: dict[str, Any] = {}
        for name, value in http.query.items():
            if name in query:
                raise InvalidInput(f"{name[:80]!a} stands in the query twice", what=name[:80])
            query[name] = value
        self.query = check_fields(route.query, query, text=True, lenient=route.lenient)

    @property
    def where(self) -> str:
        """Which way the call came, as a decision tells it."""
        return f"{self.caller.remote or 'no address'} via {self.store.settings.instance}"

    # -- work off the event loop ----------------------------------------------------------
    async def run(self, step: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """The step's result, from a thread: a round trip to the store, a file."""
        return await self._in(self.api.steps, step, arguments, options)

    async def compute(self, step: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """The step's result, from one of the few threads for what takes CPU and memory: decoding, encoding."""
        return await self._in(self.api.images, step, arguments, options)

    async def _in(self, executor: Any, step: Callable[..., T], arguments: Any, options: Any) -> T:
        bound = functools.partial(step, *arguments, **options)
        return await asyncio.get_running_loop().run_in_executor(executor, bound)

    # -- what came in ---------------------------------------------------------------------
    async def fields(self) -> dict[str, Any]:
        """The checked fields of the JSON body or the form."""
        route = self._route
        if route.body == "form":
            limit = self.store.settings.max_image_bytes + FORM_OVERHEAD
            body = await self.api.intake.read(self.http, limit, "form")
            parts = parse_form(self.http.headers.get("Content-Type", ""), body)
            raw = {field.name for field in route.fields if field.kind == "bytes"}
            given: dict[str, Any] = {
                name: part if name in raw else part[:FORM_OVERHEAD].decode("utf-8", "replace")
                for name, part in parts.items()
            }
        else:
            # A call without fields may leave the body away.
            given = parse_json(await self.api.intake.read(self.http, route.body_limit, "JSON body") or b"{}")
        return check_fields(route.fields, given, text=route.lenient, lenient=route.lenient)

    async def image(self) -> Picture:
        """The image of the body, verified."""
        settings = self.store.settings
        body = await self.api.intake.read(self.http, settings.max_image_bytes, "image")
        return await self.compute(read_image, body, settings)

    async def mask_png(self, width: int, height: int) -> bytes:
        """The mask of the body, verified to be of that size, as an 8-bit grey PNG."""
        body = await self.api.intake.read(self.http, self.store.settings.max_image_bytes, "mask")
        return await self.compute(self.encode_mask, body, width, height)

    def encode_mask(self, data: bytes, width: int, height: int) -> bytes:
        """Mask bytes from outside as an 8-bit grey PNG of that size."""
        return self.encode(read_mask(data, self.store.settings, width, height))

    def encode(self, pixels: NDArray[np.uint8]) -> bytes:
        """The pixels as PNG, in the compression that the settings name."""
        return encode_png(pixels, self.store.settings.compression)

    # -- what goes out --------------------------------------------------------------------
    async def answer(self, value: Any, large: bool = False) -> web.Response:
        """The value as JSON; a GET can be answered by 304. ``large`` (a list) is written in a thread."""
        if large:
            return await self.answer_list(lambda: as_json(value))
        held = None if self._route.changes else self.http.headers.get("If-None-Match", "")
        return answer_json(as_json(value), held)

    async def answer_list(self, make: Callable[[], bytes]) -> web.Response:
        """The JSON that ``make`` gives, packed when the asker takes it; a GET can be answered by 304.

        All of it is done in threads of its own kind: many long lists hold up each other, but no decision.
        """
        held = None if self._route.changes else self.http.headers.get("If-None-Match", "")
        packed = takes_gzip(self.http)
        return await self._in(self.api.lists, lambda: answer_json(make(), held, packed), (), {})

    async def answer_image(
        self, tag: str, load: Callable[[], bytes], extra: dict[str, str] | None = None
    ) -> web.Response:
        """The image that ``load`` gives (in a thread), or 304 without loading it when the asker has ``tag``."""
        if has_already(self.http, tag):
            return not_modified(tag, extra)
        return answer_image(await self.run(load), tag, extra)

    async def answer_thumbnail(
        self, key: str, size: int, load: Callable[[], bytes], extra: dict[str, str] | None = None
    ) -> web.Response:
        """The small WebP of the content that ``key`` identifies; ``load`` gives the image when none is cached."""
        tag = f"{key}-{size}"
        if has_already(self.http, tag):
            return not_modified(tag, extra)
        # Shielded: others may wait for the same rendering when this asker goes away.
        data = await asyncio.shield(asyncio.wrap_future(self.thumbnails.ask(key, size, load)))
        return answer_image(data, tag, extra)
