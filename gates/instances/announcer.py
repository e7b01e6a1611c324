"""The thread of a ComfyUI process that announces it, renews the lease, and withdraws it at the end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from ..errors import GatebusError, StoreUnavailable
from ..store import Store
from .record import Instance

LOOK = 1.0
"""Seconds between two looks at the queue; a change is announced at once."""

BUSY_RENEWAL = 2.0
"""Seconds between two announcements while a prompt runs, so that its node and progress are seen to move."""

log = logging.getLogger(__name__)


class Announcer:
    """Announces what ``look`` tells. Its thread alone looks and speaks to the store."""

    def __init__(self, store_of: Callable[[], Store], look: Callable[[], Instance]) -> None:
        """``store_of`` opens the store or gives the open one; ``look`` is cheap. What raises is tried again."""
        self._store_of = store_of
        self._look = look
        self._closed = threading.Event()
        self._ahead = 0
        """Milliseconds by which the store's clock is ahead of this machine's."""
        self._said = ""
        self._began = time.time()
        self._since: dict[str, int] = {}
        """Prompt id -> when it was first seen to run, by the store's clock."""
        self._thread = threading.Thread(target=self._run, name="gatebus-announcer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Withdraws the instance, and ends the thread; waits a few seconds at most."""
        self._closed.set()
        self._thread.join(5)

    def _run(self) -> None:
        announced, face, due = False, "", 0.0
        while not self._closed.is_set():
            try:
                store = self._store_of()
                own = self._timed(self._look())
                if own.face != face or time.monotonic() >= due:
                    # A busy one's progress moves, an idle one only lives.
                    renewal = store.settings.lease / 3
                    due = time.monotonic() + (min(renewal, BUSY_RENEWAL) if own.running else renewal)
                    shown = store.instances.announce(own)
                    self._ahead = shown.seen - int(time.time() * 1000)
                    announced, face = True, own.face
                    # Who lives tells of who is gone.
                    store.instances.records()
                self._said = ""
            except StoreUnavailable as error:
                log.debug("gatebus: %s", error)
                face = ""
            except GatebusError as error:
                self._say(error.message)
            except Exception:
                log.exception("gatebus: this instance could not be announced; it is tried again")
                self._closed.wait(10)
            self._closed.wait(LOOK)
        if announced:
            self._withdraw()

    def _withdraw(self) -> None:
        try:
            self._store_of().instances.withdraw()
        except StoreUnavailable as error:
            log.debug("gatebus: not withdrawn, so the lease runs out: %s", error)

    def _timed(self, own: Instance) -> Instance:
        """With the times that only who looks again and again knows."""
        now = int(time.time() * 1000) + self._ahead
        self._since = {each.prompt_id: self._since.get(each.prompt_id, now) for each in own.running}
        running = tuple(replace(each, started=self._since[each.prompt_id]) for each in own.running)
        return replace(own, running=running, started=int(self._began * 1000) + self._ahead)

    def _say(self, message: str) -> None:
        if message != self._said:
            log.warning("gatebus: this instance is not shown to others: %s", message)
        self._said = message
