"""The route table and how a server gets it: every route behind the guard, every error as JSON.

ComfyUI's application takes no middleware of ours, so each handler carries both itself.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from aiohttp import web

from ..errors import GatebusError, StoreUnavailable
from ..guard import Caller, Guard
from ..store import Store
from ..thumbnails import Thumbnails
from . import (
    batches,
    buses,
    decisions,
    editor,
    gate_list,
    gates,
    instances,
    legacy,
    pools,
    runs,
    slots,
    status,
    streams,
)
from .answer import answer_error, exchange_key
from .call import Call
from .intake import Intake
from .route import Handler, Route

STEP_THREADS = 8
"""Threads for round trips to the store."""

LIST_THREADS = 2
"""Threads that read and write long lists."""

IMAGE_THREADS = 2
"""Threads that decode and encode; each may hold a whole image of ``max_pixels``."""

TABLE: tuple[Route, ...] = tuple(
    route
    for module in (gate_list, gates, batches, runs, decisions, buses, pools, slots, instances, streams, status, legacy)
    for route in module.ROUTES
)
"""Every route that each server has, not yet bound to a store."""

CALLER = exchange_key("gatebus_caller", Caller)
"""Where an exchange keeps its Caller, for a server that logs who asked."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """The store with what its settings bring about."""

    store: Store
    guard: Guard
    thumbnails: Thumbnails


class Api:
    """The HTTP API of one store: its threads, caches and open streams."""

    def __init__(
        self,
        store_of: Callable[[], Store],
        state_dir: Path | None = None,
        folders: editor.Folders | None = None,
        guard: Guard | None = None,
        further: Sequence[Route] = (),
    ) -> None:
        """``store_of`` opens the store, or gives the open one; it is called with the first use, in a thread.

        ``state_dir`` holds the cache of thumbnails and what an import or export needs for the
        moment; None keeps the one in memory and the other in the system's temporary folder.
        ``folders`` are ComfyUI's directories, where it is ComfyUI that serves: with them come
        the routes of its mask editor. ``guard``: the server's own, by default one of the
        store's settings. ``further``: routes that only this server has.
        """
        self._store_of = store_of
        self._guard = guard
        self._state_dir = state_dir
        self.folders = folders
        self._opened: Opened | None = None
        self._opening = threading.Lock()
        self.steps = ThreadPoolExecutor(STEP_THREADS, "gatebus-api")
        self.lists = ThreadPoolExecutor(LIST_THREADS, "gatebus-lists")
        self.images = ThreadPoolExecutor(IMAGE_THREADS, "gatebus-images")
        self.intake = Intake()
        self.streams = streams.Streams()
        table = (*TABLE, *further) if folders is None else (*TABLE, *further, *editor.ROUTES)
        self.routes = [replace(route, handler=self._handler(route)) for route in table]

    @property
    def temporary(self) -> Path:
        """The folder for files that are gone after the call."""
        if self._state_dir is None:
            return Path(tempfile.gettempdir())
        self._state_dir.mkdir(parents=True, exist_ok=True)
        return self._state_dir

    async def shut_down(self, _app: web.Application | None = None) -> None:
        """Ends the open streams, so that a server that stops has nothing to wait for."""
        self.streams.close()

    async def close(self, _app: web.Application | None = None) -> None:
        """Ends the threads; calls that run are finished."""
        self.streams.close()
        self.streams.release()
        for executor in (self.steps, self.lists, self.images):
            executor.shutdown(wait=False, cancel_futures=True)
        if self._opened is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._opened.thumbnails.close)

    def _handler(self, route: Route) -> Handler:
        async def handle(http: web.Request) -> web.StreamResponse:
            answer = await self._answer(route, http)
            if not http.content.at_eof():
                # Older aiohttp (3.9) stops reading a connection whose last body was not taken to its end.
                answer.force_close()
            return answer

        return handle

    async def _answer(self, route: Route, http: web.Request) -> web.StreamResponse:
        try:
            opened = self._opened or await self._open()
            caller = opened.guard.check(
                http.headers, route.role, route.body, route.changes, remote=http.remote, secure=http.secure
            )
            http[CALLER] = caller
            return await route.run(Call(self, opened.store, opened.thumbnails, route, http, caller))
        except GatebusError as error:
            return answer_error(error)
        except (web.HTTPException, ConnectionResetError):
            raise
        except Exception:
            log.exception("gatebus: %s %s failed", route.method, route.path)
            return answer_error(GatebusError("This failed in a way that was not foreseen; the log tells more"))

    async def _open(self) -> Opened:
        return await asyncio.get_running_loop().run_in_executor(self.steps, self._open_once)

    def _open_once(self) -> Opened:
        with self._opening:
            if self._opened is None:
                try:
                    store = self._store_of()
                except GatebusError as error:
                    # No settings, no guard: whoever asks is told nothing but where to look.
                    log.error("gatebus: the store can't be opened: %s", error.message)
                    raise StoreUnavailable("The store can't be opened; the log of this server tells why") from error
                folder = store.settings.state_dir or self._state_dir
                thumbnails = Thumbnails(store.settings, folder / "thumbnails" if folder else None)
                self._opened = Opened(store, self._guard or Guard(store.settings), thumbnails)
            return self._opened


def mount(
    server: web.Application | web.RouteTableDef,
    store_of: Callable[[], Store],
    state_dir: Path | None = None,
    folders: editor.Folders | None = None,
    guard: Guard | None = None,
    further: Sequence[Route] = (),
) -> Api:
    """Puts every route on an aiohttp application, or on the route table that ComfyUI mounts (also under /api).

    With an application the streams and threads end with it; with a table the caller may call
    :meth:`Api.shut_down` and :meth:`Api.close`.
    """
    api = Api(store_of, state_dir, folders, guard, further)
    if isinstance(server, web.Application):
        server.add_routes([web.route(route.method, route.path, route.handler) for route in api.routes])
        server.on_shutdown.append(api.shut_down)
        server.on_cleanup.append(api.close)
    else:
        for route in api.routes:
            server.route(route.method, route.path)(route.handler)
    return api


def routes(store_of: Callable[[], Store], state_dir: Path | None = None) -> list[Route]:
    """Every route with its handler; for a server that mounts them itself."""
    return Api(store_of, state_dir).routes
