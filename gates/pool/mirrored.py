"""Pools in Redis with their mirror on the disk, which serves for as long as Redis is away.

With Redis, Redis is the truth; a thread brings the disk after it. Without, edits go to the disk
and to the journal (``journal.py``), and are made again in Redis when it is back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import IO, TypeVar

from ..errors import PoolNotFound, SlotNotFound, StoreUnavailable
from .archive import write_zip
from .checked import CheckedEdits, check_pool_id, operation_id
from .disk import DiskPools
from .edits import Edit
from .follower import Follower, is_of_disk
from .journal import Entry
from .manifest import Manifest, PoolInfo, Removed
from .mirror import Mirror
from .redis import RedisPools
from .replay import Replay
from .reunion import Relation, relation

T = TypeVar("T")

log = logging.getLogger(__name__)


class MirroredPools(CheckedEdits):
    """See :class:`~.manifest.PoolStore`; StoreUnavailable only when Redis is away and the disk can't help.

    Events come from ``redis`` and, while that is away, from ``disk``.
    """

    def __init__(self, redis: RedisPools, disk: DiskPools) -> None:
        self._redis = redis
        self._disk = disk
        self._mirror = Mirror(redis, disk)
        self._journal = self._mirror.journal
        self._follower = Follower(self._bring, self.catch_up, redis.settings.tick)
        # The data set in which every mirror was last looked for; None before the first time.
        self._epoch: str | None = None
        # Pools of which Redis has all that the disk has.
        self._ready: set[str] = set()
        # Pool -> the revision in Redis that the disk shows.
        self._shown: dict[str, str] = {}
        self._catching_up = threading.Lock()

    # -- reading ----------------------------------------------------------------------------
    def infos(self) -> list[PoolInfo]:
        """See :class:`~.manifest.PoolStore`; those that only the disk has are in it."""
        if not self._follower.away:
            try:
                infos = self._redis.infos()
                known = {info.pool_id for info in infos}
                infos += [
                    info for info in self._disk.infos() if info.pool_id not in known and self._lives(info.pool_id)
                ]
                return sorted(infos, key=lambda info: (info.name or info.pool_id, info.pool_id))
            except StoreUnavailable as error:
                self._follower.lose(error)
        return self._disk.infos()

    def _lives(self, pool_id: str) -> bool:
        """Whether a pool that Redis does not list is more than the mirror of a deleted one."""
        mirror = self._mirror.manifest(pool_id)
        gone = mirror is None or relation(mirror, self._redis.head(pool_id)) is Relation.DELETED
        return not gone or not self._journal.is_empty(pool_id)

    def get(self, pool_id: str) -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        manifest = self._read(pool_id, lambda store: store.get(pool_id))
        self._follow(manifest)
        return manifest

    def image(self, pool_id: str, file: str) -> bytes:
        """See :class:`~.manifest.PoolStore`."""
        return self._read(pool_id, lambda store: store.image(pool_id, file))

    def mask(self, pool_id: str, file: str) -> bytes | None:
        """See :class:`~.manifest.PoolStore`."""
        return self._read(pool_id, lambda store: store.mask(pool_id, file))

    def export_zip(self, pool_id: str, target: IO[bytes]) -> None:
        """See :class:`~.manifest.PoolStore`."""
        manifest = self.get(pool_id)
        write_zip(manifest, lambda file: self.image(pool_id, file), lambda file: self.mask(pool_id, file), target)

    def _read(self, pool_id: str, call: Callable[[RedisPools | DiskPools], T]) -> T:
        pool_id = check_pool_id(pool_id)
        if not self._follower.away:
            try:
                return self._in_redis(pool_id, lambda: call(self._redis))
            except StoreUnavailable as error:
                self._follower.lose(error)
        return self._on_disk(pool_id, lambda: call(self._disk))

    # -- edits ------------------------------------------------------------------------------
    def edit(self, pool_id: str, edit: Edit, data: Sequence[bytes] = ()) -> Manifest:
        """See :class:`~.checked.CheckedEdits`; made on the disk, with the same operation id, while Redis is away."""
        if not self._follower.away:
            try:
                manifest = self._in_redis(pool_id, lambda: self._edit_in_redis(pool_id, edit, data))
                self._follow(manifest)
                return manifest
            except StoreUnavailable as error:
                self._follower.lose(error)
        return self._on_disk(pool_id, lambda: self._disk.edit(pool_id, edit, data, record=self._record))

    def _edit_in_redis(self, pool_id: str, edit: Edit, data: Sequence[bytes]) -> Manifest:
        try:
            return self._redis.edit(pool_id, edit, data)
        except SlotNotFound:
            if edit.kind != "restore":
                raise
            # The disk keeps removed slots longer, and those of before Redis was there.
            folder = self._disk.open(pool_id)
            trash, live = folder.trash(), self._redis.get(pool_id).files
            if any(file not in trash or file in live for file in edit.files):
                raise
            Replay(self._redis, folder).apply(_restoring(edit, trash))
            return self._redis.get(pool_id)

    def _record(self, before: Manifest, edit: Edit, trash: Mapping[str, Removed]) -> Callable[[], None]:
        if edit.kind == "delete":
            return self._journal.append(before.pool_id, Entry(replace(edit, text=before.origin)))
        if edit.kind == "restore":
            return self._journal.append(before.pool_id, _restoring(edit, trash))
        if edit.kind == "add":
            return self._journal.append(before.pool_id, Entry(edit, edit.slots))
        slots = {slot.file: slot for slot in before.slots}
        about = () if edit.kind == "reorder" else tuple(slots[file] for file in edit.files)
        known = self._redis.known(before.pool_id)
        there = {slot.file: slot for slot in known.slots} if known is not None else {}
        seen = [there[slot.file] for slot in about if there.get(slot.file, slot) != slot]
        return self._journal.append(before.pool_id, Entry(edit, about, seen=tuple(seen)))

    # -- whole pools ------------------------------------------------------------------------
    def duplicate(self, pool_id: str, new_id: str, name: str = "") -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        pool_id, new_id = check_pool_id(pool_id), check_pool_id(new_id)
        return self._make(
            new_id,
            lambda: self._in_redis(pool_id, lambda: self._redis.duplicate(pool_id, new_id, name)),
            lambda: self._disk.duplicate(pool_id, new_id, name),
        )

    def import_zip(self, source: IO[bytes], pool_id: str, name: str = "") -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        pool_id = check_pool_id(pool_id)
        return self._make(
            pool_id,
            lambda: self._redis.import_zip(source, pool_id, name),
            lambda: self._disk.import_zip(source, pool_id, name),
        )

    def rebuild(self, pool_id: str) -> Manifest:
        """See :class:`~.manifest.PoolStore`; images that a person put into the folder come in as well."""
        pool_id = check_pool_id(pool_id)

        def in_redis() -> Manifest:
            if self._mirror.manifest(pool_id) is not None:
                self._mirror.sync(pool_id)
                self._rebuild_on_disk(pool_id)
                self._mirror.reconcile(pool_id)
            return self._redis.rebuild(pool_id)

        return self._make(
            pool_id, lambda: self._in_redis(pool_id, in_redis), lambda: self._rebuild_on_disk(pool_id), push=False
        )

    def _rebuild_on_disk(self, pool_id: str) -> Manifest:
        manifest = self._disk.rebuild(pool_id)
        self._push(pool_id)
        return manifest

    def _make(
        self, pool_id: str, in_redis: Callable[[], Manifest], on_disk: Callable[[], Manifest], push: bool = True
    ) -> Manifest:
        if not self._follower.away:
            try:
                self._prepare(pool_id)
                manifest = in_redis()
                self._follow(manifest)
                return manifest
            except StoreUnavailable as error:
                self._follower.lose(error)
        manifest = self._on_disk(pool_id, on_disk)
        if push:
            self._push(pool_id)
        return manifest

    def _push(self, pool_id: str) -> None:
        with self._disk.locked(pool_id):
            self._journal.append(pool_id, Entry(Edit("push", operation_id())))

    def delete(self, pool_id: str) -> None:
        """See :class:`~.manifest.PoolStore`."""
        pool_id = check_pool_id(pool_id)
        if not self._follower.away:
            try:
                self._in_redis(pool_id, lambda: self._redis.delete(pool_id))
                self._ready.discard(pool_id)
                self._prepare(pool_id)  # its mirror goes like that of any pool that was deleted in Redis
                return
            except StoreUnavailable as error:
                self._follower.lose(error)
        self._on_disk(pool_id, lambda: self._disk.delete(pool_id, record=self._record))

    # -- Redis or the disk ------------------------------------------------------------------
    def _in_redis(self, pool_id: str, call: Callable[[], T]) -> T:
        self._prepare(pool_id)
        try:
            return call()
        except PoolNotFound:
            if not self._disk.exists(pool_id):
                raise
            # Redis has lost it: it comes back from the disk. Or it was deleted: then its mirror goes.
            self._mirror.reconcile(pool_id)
            return call()

    def _prepare(self, pool_id: str) -> None:
        """Brings to Redis what only the disk has of the pool, before anything is done to it there."""
        if pool_id in self._ready and self._journal.is_empty(pool_id):
            return
        try:
            self._mirror.reconcile(pool_id)
            self._ready.add(pool_id)
        except StoreUnavailable as error:
            if not is_of_disk(error):
                raise
            log.warning("gatebus: the mirror of the pool %s can't be used now: %s", pool_id, error)

    def _on_disk(self, pool_id: str, call: Callable[[], T]) -> T:
        known = self._redis.known(pool_id)
        if known is not None and self._shown.get(pool_id) != known.origin:
            try:
                self._mirror.recall(known)
            except StoreUnavailable as error:
                log.warning("gatebus: the pool %s is shown as the disk has it: %s", pool_id, error)
            self._shown[pool_id] = known.origin
        try:
            return call()
        except PoolNotFound as error:
            raise StoreUnavailable(
                f"Redis is away, and this machine has no copy of the pool {pool_id}", pool_id=pool_id
            ) from error

    def catch_up(self) -> None:
        """Brings to Redis what was done without it; raises StoreUnavailable when it is (still) away.

        Cheap when there is nothing to do. The first time, after an absence and when Redis has
        another data set than before, every mirror is compared with it.
        """
        with self._catching_up:
            epoch = self._redis.epoch()
            pool_ids = set(self._journal.pool_ids())
            if self._follower.away or epoch != self._epoch:
                self._ready.clear()
                self._shown.clear()
                pool_ids.update(pool_id for pool_id in self._disk.ids() if self._was_mirror(pool_id))
            for pool_id in sorted(pool_ids):
                self._follower.mark(pool_id)
                self._mirror.reconcile(pool_id)
            self._epoch = epoch
            self._follower.find()

    def _was_mirror(self, pool_id: str) -> bool:
        mirror = self._mirror.manifest(pool_id)
        return mirror is not None and mirror.origin != ""

    # -- the disk follows -------------------------------------------------------------------
    def _follow(self, manifest: Manifest) -> None:
        if manifest.origin and self._shown.get(manifest.pool_id) != manifest.origin:
            self._follower.mark(manifest.pool_id)

    def _bring(self, pool_id: str) -> None:
        self._mirror.sync(pool_id)
        mirror = self._mirror.manifest(pool_id)
        self._shown[pool_id] = mirror.origin if mirror is not None else ""

    def settle(self, timeout: float = 10.0) -> bool:
        """Waits until the disk shows what was done here; False when that takes longer than ``timeout`` seconds."""
        return self._follower.settle(timeout)

    def close(self) -> None:
        """Ends the thread; what the disk lacks then follows at the next start."""
        self._follower.close()


def _restoring(edit: Edit, trash: Mapping[str, Removed]) -> Entry:
    entries = [trash[file] for file in edit.files]
    return Entry(edit, tuple(entry.slot for entry in entries), tuple(entry.left for entry in entries))
