"""Buses in Redis, with the disk for as long as Redis is away.

While Redis is away a publish goes to the disk and is marked as pending. When Redis is back, at
the next call or the next :meth:`MirroredBuses.catch_up`, it is published there: as the newest
version, unless Redis has one that was published later; both are kept then, the pending one
behind it.

Numbers on the disk go on where those of Redis stopped, so that a number means one version, here
and there. From the disk a reader gets only what is newer than all that this process has seen in
Redis, or the same: an old image never passes for the newest.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import BusNotFound, GatebusError, StoreUnavailable
from ..filelock import locked
from ..names import check_name
from ..settings import Settings
from .disk import DiskBuses
from .record import NO_META, BusContent, BusHead, BusMeta, BusStore
from .redis import RedisBuses
from .version import Draft, check_draft

LOCK = ".catch-up.lock"

log = logging.getLogger(__name__)

T = TypeVar("T")


class MirroredBuses:
    """See BusStore. ``disk`` is to have no events of its own: those of Redis tell when it is back."""

    def __init__(self, redis: RedisBuses, disk: DiskBuses, settings: Settings) -> None:
        self._redis = redis
        self._disk = disk
        self._settings = settings
        # The newest version of each bus that this process has seen in Redis.
        self._seen: dict[str, BusHead] = {}
        # True also at the start: an earlier process may have left something pending.
        self._pending = True
        self._catching_up = threading.Lock()

    def publish(
        self,
        name: str,
        image: NDArray[np.floating[Any]],
        mask: NDArray[np.floating[Any]] | None,
        *,
        format: str = "png",
        meta: BusMeta = NO_META,
    ) -> BusHead:
        """See BusStore; raises StoreUnavailable only when neither Redis nor the disk takes it."""
        name = check_name(name, "bus name")
        draft = check_draft(image, mask, format, meta, self._settings)
        try:
            self.catch_up()
            return self._saw(self._redis.store(name, draft))
        except StoreUnavailable as error:
            seen = self._seen.get(name)
            head = self._disk.store(name, draft, pending=True, after=seen.version if seen else 0)
            self._pending = True
            log.warning("gatebus: bus %s is published on this machine until Redis is back: %s", name, error)
            return head

    def catch_up(self) -> None:
        """Publishes to Redis what is pending on the disk; raises StoreUnavailable when Redis is (still) away.

        Cheap when nothing is pending. One process at a time does it; the others go on meanwhile.
        """
        if not self._pending or not self._catching_up.acquire(blocking=False):
            return
        try:
            self._redis.ping()
            self._publish_pending()
        finally:
            self._catching_up.release()

    def load(self, name: str, version: int | None = None) -> BusContent:
        """See BusStore."""
        return self._read(name, version, lambda store: store.load(name, version))

    def head(self, name: str, version: int | None = None) -> BusHead:
        """See BusStore."""
        return self._read(name, version, lambda store: store.head(name, version))

    def frame(self, name: str, frame: int, version: int | None = None) -> bytes:
        """See BusStore."""
        return self._read(name, version, lambda store: store.frame(name, frame, version))

    def mask_frame(self, name: str, frame: int, version: int | None = None) -> bytes:
        """See BusStore."""
        return self._read(name, version, lambda store: store.mask_frame(name, frame, version))

    def heads(self) -> list[BusHead]:
        """See BusStore. Buses that only the disk has are among them."""
        try:
            self.catch_up()
            heads = [self._saw(head) for head in self._redis.heads()]
        except StoreUnavailable:
            return [head for head in self._disk.heads() if self._is_newest(head)]
        names = {head.name for head in heads}
        try:
            heads += [head for head in self._disk.heads() if head.name not in names]
        except StoreUnavailable as error:
            log.warning("gatebus: only the buses in Redis are listed: %s", error)
        return sorted(heads, key=lambda head: head.published, reverse=True)

    def versions(self, name: str) -> list[BusHead]:
        """See BusStore."""
        return self._read(name, None, lambda store: store.versions(name))

    def delete(self, name: str, version: int | None = None) -> None:
        """See BusStore; needs Redis, so that nothing comes back with it."""
        name = check_name(name, "bus name")
        self.catch_up()
        if not self._is_in_redis(name):
            self._disk.delete(name, version)
            return
        digest = self._redis.head(name, version).digest
        self._redis.delete(name, version)
        if name in self._seen:
            self._seen[name] = replace(self._seen[name], digest="")
        # What was published while Redis was away is on both.
        with suppress(BusNotFound):
            for head in self._disk.versions(name):
                if version is None or head.digest == digest:
                    self._disk.delete(name, head.version)

    # -- reading ------------------------------------------------------------------------------
    def _read(self, name: str, version: int | None, read: Callable[[BusStore], T]) -> T:
        name = check_name(name, "bus name")
        try:
            self.catch_up()
            try:
                return self._noted(version, read(self._redis))
            except BusNotFound:
                if self._is_in_redis(name):
                    raise
                return read(self._disk)
        except StoreUnavailable as away:
            try:
                head = self._disk.head(name, version)
                if self._is_newer(head) or (version is None and self._is_newest(head)):
                    return read(self._disk)
            except BusNotFound:
                log.debug("gatebus: bus %s is not on the disk either", name)
            raise away from None

    def _is_in_redis(self, name: str) -> bool:
        try:
            self._saw(self._redis.head(name))
        except BusNotFound:
            return False
        return True

    def _is_newer(self, head: BusHead) -> bool:
        """Whether a version on the disk is newer than all that was seen in Redis."""
        seen = self._seen.get(head.name)
        return seen is None or head.version > seen.version

    def _is_newest(self, head: BusHead) -> bool:
        """Whether the disk's newest version is newer than, or the same as, the newest seen in Redis."""
        return self._is_newer(head) or head.digest == self._seen[head.name].digest

    def _noted(self, version: int | None, result: T) -> T:
        if version is None and isinstance(result, (BusContent, BusHead)):
            self._saw(result.head if isinstance(result, BusContent) else result)
        return result

    def _saw(self, head: BusHead) -> BusHead:
        if self._is_newer(head):
            self._seen[head.name] = head
        return head

    # -- catching up --------------------------------------------------------------------------
    def _publish_pending(self) -> None:
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self._disk.root / LOCK, timeout=0))
                # Cleared before looking: a publish that goes to the disk meanwhile sets it again.
                self._pending = False
                pending = self._disk.pending()
            except StoreUnavailable as error:
                self._pending = True
                log.debug("gatebus: another process catches up, or the disk is away: %s", error)
                return
            try:
                for name, number in pending:
                    self._publish_one(name, number)
            except StoreUnavailable:
                self._pending = True
                raise

    def _publish_one(self, name: str, number: int) -> None:
        try:
            content = self._disk.load(name, number)
        except GatebusError as error:
            log.warning("gatebus: version %d of bus %s stays on this machine: %s", number, name, error)
            return
        try:
            if not self._is_there(content.head):
                self._saw(self._redis.store(name, Draft.of(content), content.head.published))
                log.info("gatebus: version %d of bus %s, published while Redis was away, is there now", number, name)
        except StoreUnavailable:
            raise
        except GatebusError as error:
            log.warning("gatebus: version %d of bus %s is not for Redis: %s", number, name, error)
            return
        self._disk.settle(name, number)

    def _is_there(self, pending: BusHead) -> bool:
        """Whether Redis has it already: then only the answer to an earlier publish was lost."""
        try:
            standing = self._redis.versions(pending.name)
        except BusNotFound:
            return False
        return standing[0].digest == pending.digest or any(
            (head.digest, head.published) == (pending.digest, pending.published) for head in standing
        )
