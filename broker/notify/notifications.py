"""The notifications of one broker: a thread of their own, which nothing of the service waits for."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web

from gates.connection import Connection
from gates.errors import GatebusError, InvalidSetting, StoreUnavailable
from gates.keys import Keys
from gates.store import Store

from ..cancelling import cancelled
from .claims import LEASE, Claims, Notified
from .delivery import Delivery, Patience, make_session
from .follower import Follower
from .outbox import Outbox
from .picture import small_jpeg
from .target import Target, parse_targets

LOOK = 1.0
"""Seconds between two looks at the events, at least: what is told is gathered for longer anyway."""

STOP_LIMIT = 5.0
"""Seconds that the thread has to end."""

log = logging.getLogger(__name__)


class Notifications:
    """Tells the targets of the settings what happens in the store, until it is closed.

    What a target does (hang, fail, lead elsewhere) happens in this thread alone. What was not
    told when it ends is told by the next broker, see ``claims.py``.
    """

    def __init__(
        self,
        store: Store,
        patience: Patience | None = None,
        lease: float = LEASE,
        told: Callable[[str, bool], object] = lambda form, accepted: None,
    ) -> None:
        """``told`` is called after each message with the target's form, and whether it was accepted.

        Raises InvalidSetting when the settings of the notifications are wrong or do not fit together.
        """
        settings = store.settings
        self.targets: Sequence[Target] = parse_targets(settings.notify, settings.notify_secret)
        if not settings.store_url:
            raise InvalidSetting(
                "GATEBUS_NOTIFY needs GATEBUS_STORE_URL: the gates of other processes are told of", setting="notify"
            )
        self.counts: Counter[str] = Counter(sent=0, gates=0, retried=0, dropped=0, overflowed=0)
        """Messages sent, gates in them, further attempts, messages dropped, gates that found no place to wait."""
        self._store = store
        self._patience = patience or Patience()
        self._lease = lease
        self._told = told
        self._outboxes: list[Outbox] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gatebus-notify", daemon=True)

    @property
    def waiting(self) -> int:
        """Things to tell that are not told yet, over all targets."""
        return sum(map(len, self._outboxes))

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def close(self) -> None:
        """Ends; a message under way is given up and told by the next broker."""
        self._closed.set()
        loop, main = self._loop, self._main
        if loop is not None and main is not None:
            try:
                loop.call_soon_threadsafe(main.cancel)
            except RuntimeError as error:
                # The loop has ended by itself.
                log.debug("gatebus: %s", error)
        self._thread.join(STOP_LIMIT)

    def _run(self) -> None:
        try:
            asyncio.run(self._follow())
        except asyncio.CancelledError:
            pass
        except Exception:
            log.exception("gatebus: nobody is told of gates any more until the broker is started again")

    async def _follow(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        if self._closed.is_set():
            return
        settings = self._store.settings
        connection = Connection(settings)
        claims = Claims(connection, Keys(settings.namespace), self._lease)
        woken = asyncio.Event()
        loop = self._loop

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(woken.set)

        unsubscribe = self._store.events.subscribe(wake)
        # Threads of its own: those of the service stay free however slow a target or the store is.
        with ThreadPoolExecutor(4, "gatebus-notify") as pool:

            async def blocking(function: Callable[..., Any], *arguments: Any) -> Any:
                return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)

            follower = Follower(self._store, claims, self._add)
            async with make_session(self._patience) as session:
                delivery = Delivery(session, settings.notify_secret, self._patience, self.counts)
                self._outboxes = [
                    Outbox(
                        target, claims, delivery, follower.read, self._picture, blocking, self.counts, self._told,
                        settings.public_url, settings.notify_every,
                    )
                    for target in self.targets
                ]  # fmt: skip
                running = [asyncio.create_task(outbox.run()) for outbox in self._outboxes]
                try:
                    await self._look_again_and_again(follower, claims, woken, blocking)
                finally:
                    unsubscribe()
                    await cancelled(running)
        connection.close()

    async def _look_again_and_again(
        self, follower: Follower, claims: Claims, woken: asyncio.Event, blocking: Callable[..., Any]
    ) -> None:
        kept = ""
        while not self._closed.is_set():
            woken.clear()
            try:
                await blocking(follower.look)
                # What the look has just added is in the outboxes before this goes on: both came by the loop, in turn.
                open_ends = [outbox.cursor for outbox in self._outboxes if outbox.cursor]
                told = min(open_ends, key=_order, default=follower.cursor)
                if told != kept:
                    await blocking(claims.keep_cursor, told)
                    kept = told
            except StoreUnavailable as error:
                log.debug("gatebus: %s", error)
            except Exception:
                # The thread must live on: the next look tries again.
                log.exception("gatebus: what is to be told could not be read; trying again")
            await asyncio.sleep(LOOK)
            try:
                await asyncio.wait_for(woken.wait(), self._store.settings.tick)
            except asyncio.TimeoutError:
                continue

    def _add(self, notified: Notified, cursor: str) -> None:
        """From the thread that looks."""
        if self._loop is not None:
            for outbox in self._outboxes:
                self._loop.call_soon_threadsafe(outbox.add, notified, cursor)

    def _picture(self, gate_id: str) -> bytes | None:
        """A small JPEG of the gate; None when there is none: the message goes without."""
        try:
            return small_jpeg(self._store.gates.preview(gate_id), self._store.settings)
        except GatebusError as error:
            log.debug("gatebus: gate %s has no picture to send: %s", gate_id, error)
            return None


def _order(cursor: str) -> tuple[int, int]:
    milliseconds, _, sequence = cursor.partition(".")[2].partition("-")
    return int(milliseconds or 0), int(sequence or 0)


def mount_notifications(app: web.Application, store: Store, told: Callable[[str, bool], object]) -> None:
    """Has them run while the application does, when the settings name a target; raises InvalidSetting."""
    if not store.settings.notify:
        return
    notifications = app[NOTIFICATIONS] = Notifications(store, told=told)

    async def run(_: web.Application) -> AsyncIterator[None]:
        notifications.start()
        yield
        await asyncio.get_running_loop().run_in_executor(None, notifications.close)

    app.cleanup_ctx.append(run)


NOTIFICATIONS: web.AppKey[Notifications] = web.AppKey("notifications", Notifications)
"""Where the application keeps them, if it has any."""
