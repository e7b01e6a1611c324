"""Bringing one pool on the disk and the pool of that id in Redis together, both ways.

:meth:`Mirror.reconcile` brings to Redis what only the disk has: edits of the journal, a pool that
Redis never had, or one that it has lost. :meth:`Mirror.reflect` then brings the disk to what
Redis has.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from ..errors import Conflict, NotFound, PoolNotFound, TooLarge
from ..filelock import locked
from .checked import digest, operation_id
from .disk import LOCKS, DiskPools
from .edits import Edit, rebuild
from .journal import Entry, Journal
from .manifest import Manifest, Removed, Slot, mask_name
from .redis import Picture, RedisPools
from .redis_steps import BATCH_BYTES, Head
from .replay import Replay
from .reunion import Relation, differences, relation

CHUNK = 5000
"""Entries that are replayed before they are forgotten; Redis remembers more operation ids than that."""

TURN = 60.0
"""Seconds for which a process waits while another one reconciles the same pool."""

TRIES = 10
"""How often a pool that is edited meanwhile is read again for the disk."""

log = logging.getLogger(__name__)


class Mirror:
    """The pools below one folder as the mirror of those in Redis."""

    def __init__(self, redis: RedisPools, disk: DiskPools) -> None:
        self._redis = redis
        self._disk = disk
        self.journal = Journal(disk.folder / ".journal")

    def sync(self, pool_id: str) -> None:
        """Both ways; raises StoreUnavailable when Redis is away or the disk can't be written."""
        self.reconcile(pool_id)
        self.reflect(pool_id)

    # -- to Redis ---------------------------------------------------------------------------
    def is_reconciled(self, pool_id: str) -> bool:
        """Whether Redis has all that the disk has, as their revisions tell."""
        mirror = self.manifest(pool_id)
        ahead = mirror is None or relation(mirror, self._redis.head(pool_id)) is Relation.AHEAD
        return ahead and self.journal.is_empty(pool_id)

    def reconcile(self, pool_id: str) -> None:
        """Brings to Redis what only the disk has; one process at a time does it for a pool."""
        if self.is_reconciled(pool_id):
            return
        with locked(self._disk.folder / LOCKS / f"{pool_id}.replay", TURN):
            while not self.is_reconciled(pool_id):
                with self._disk.locked(pool_id):
                    entries = self.journal.read(pool_id)[:CHUNK]
                    mirror = self._under_lock(pool_id)
                settled = self._bring(pool_id, entries, mirror)
                with self._disk.locked(pool_id):
                    self.journal.drop(pool_id, settled)
                self.reflect(pool_id, merged=mirror)

    def _bring(self, pool_id: str, entries: list[Entry], mirror: Manifest | None) -> int:
        """Brings the entries or the whole mirror to Redis; how many entries are settled by that."""
        deletions = [index for index, entry in enumerate(entries) if entry.edit.kind == "delete"]
        if deletions:
            # What stands before it was done to a pool that is gone.
            self._delete(pool_id, entries[deletions[-1]].edit)
            return deletions[-1] + 1
        head = self._redis.head(pool_id)
        now = relation(mirror or Manifest(pool_id, origin=f"{head.born}:0" if head.born else ""), head)
        replay = Replay(self._redis, self._disk.open(pool_id))
        if now is Relation.DELETED and not entries:
            self._disk.delete(pool_id)
        elif head.rev is None:
            # An edit beats the deletion. The manifest has every entry in it.
            if mirror is not None and not self._push(mirror, entries):
                return 0
        elif now is Relation.AHEAD:
            self._replay(pool_id, replay, entries)
        elif mirror is not None:
            self._merge(replay, mirror, newer=now is Relation.BEHIND)
            if now is Relation.BEHIND:
                self._replay(pool_id, replay, [entry for entry in entries if entry.edit.kind == "remove"])
        return len(entries)

    def _replay(self, pool_id: str, replay: Replay, entries: list[Entry]) -> None:
        for entry in entries:
            mirror = self.manifest(pool_id)
            if entry.edit.kind == "push":
                if mirror is not None:
                    self._merge(replay, mirror, newer=False)
                continue
            try:
                replay.apply(entry)
            except (TooLarge, NotFound) as error:
                log.error("gatebus: an edit of the pool %s is put aside: %s", pool_id, error)
                self.journal.refuse(pool_id, entry)

    def _merge(self, replay: Replay, mirror: Manifest, newer: bool) -> None:
        there = self._redis.get(mirror.pool_id)
        removed = self._redis.removed(mirror.pool_id, mirror.files)
        gone = {slot.file for slot in mirror.slots if _was(slot, removed)}
        for entry in differences(mirror, there, gone, newer):
            replay.apply(entry)

    def _push(self, mirror: Manifest, entries: list[Entry]) -> bool:
        """Makes the pool in Redis what the mirror is; False when somebody else has just made it."""
        folder = self._disk.open(mirror.pool_id)
        slots = tuple(slot for slot in mirror.slots if (folder.path / slot.file).is_file())

        def pictures() -> Iterator[Picture]:
            for slot in slots:
                yield slot, folder.read_file(slot.file) or b"", folder.read_file(slot.mask) if slot.mask else None

        options = {"name": mirror.name, "active": mirror.active, "next_seq": mirror.next_seq}
        if mirror.origin:
            options["origin"] = mirror.origin
        applied = [entry.edit.id for entry in entries]
        edit = Edit("add", operation_id(), slots=slots)
        try:
            self._redis.put(mirror.pool_id, edit, pictures(), new=True, edits=applied, **options)
        except Conflict:
            return False
        return True

    def _delete(self, pool_id: str, edit: Edit) -> None:
        head = self._redis.head(pool_id)
        if head.rev is None:
            return
        if edit.text == f"{head.born}:{head.rev}":
            try:
                self._redis.delete(pool_id, rev=head.rev)
                return
            except Conflict as error:
                log.debug("gatebus: %s", error)
        log.warning("gatebus: the pool %s was edited after it was deleted here; it stays", pool_id)

    # -- to the disk ------------------------------------------------------------------------
    def reflect(self, pool_id: str, merged: Manifest | None = None) -> None:
        """Brings the disk to what Redis has, unless the disk has something that Redis has not.

        ``merged`` is a mirror that Redis has just been given all of.
        """
        for _ in range(TRIES):
            try:
                there, head = self._redis.get(pool_id), self._redis.head(pool_id)
            except PoolNotFound:
                return
            mirror = self.manifest(pool_id)
            if mirror is not None and mirror.origin == there.origin:
                return
            if f"{head.born}:{head.rev}" != there.origin:
                continue
            if mirror is not None and mirror != merged and relation(mirror, head) is not Relation.AHEAD:
                return
            try:
                if mirror is None:
                    self._make(there)
                    return
                if all(self._write(pool_id, mirror, files) for files in self._missing(there, mirror)):
                    self._write(pool_id, mirror, {}, there)
                return
            except (NotFound, Conflict) as error:
                log.debug("gatebus: the pool %s was edited meanwhile: %s", pool_id, error)

    def recall(self, known: Manifest) -> None:
        """Brings the disk to what this process knows of Redis, which does not answer any more: all but the bytes.

        So nobody edits on the disk what they have just changed in Redis, and sees it as it was before.
        """
        with self._disk.locked(known.pool_id):
            mirror = self._under_lock(known.pool_id)
            if mirror is None or not self.journal.is_empty(known.pool_id):
                return
            if relation(known, _head(mirror)) is not Relation.BEHIND:
                return
            here = {slot.file: slot for slot in mirror.slots}
            slots = tuple(
                replace(here[slot.file], label=slot.label)
                for slot in known.slots
                if slot.file in here and here[slot.file].digest == slot.digest
            )
            # It still shows the older revision: reflect() will bring the bytes.
            self._disk.open(known.pool_id).follow(replace(rebuild(known, slots), rev=known.rev, origin=mirror.origin))

    def _make(self, there: Manifest) -> None:
        with self._disk.making(there.pool_id) as folder:
            for files in self._missing(there, None):
                for name, data in files.items():
                    folder.put(name, data)
            folder.write(there)

    def _write(self, pool_id: str, mirror: Manifest, files: dict[str, bytes], there: Manifest | None = None) -> bool:
        """Writes files and manifest, when the mirror is still the same and has no entries; whether it was."""
        folder = self._disk.open(pool_id)
        with self._disk.locked(pool_id):
            if not self.journal.is_empty(pool_id) or self._under_lock(pool_id) != mirror:
                return False
            for name, data in files.items():
                folder.put(name, data)
            if there is not None:
                folder.follow(there)
        return True

    def _missing(self, there: Manifest, mirror: Manifest | None) -> Iterator[dict[str, bytes]]:
        """The images and masks that the disk has not, in batches; raises NotFound when Redis has them no more."""
        here = {slot.file: slot for slot in mirror.slots} if mirror is not None else {}
        batch: dict[str, bytes] = {}
        size = 0
        for slot in there.slots:
            old = here.get(slot.file, Slot(slot.file))
            if old.digest != slot.digest:
                batch[slot.file] = _intact(self._redis.image(there.pool_id, slot.file), slot.digest)
                size += len(batch[slot.file])
            if slot.mask and (old.mask_digest, old.digest) != (slot.mask_digest, slot.digest):
                mask = self._redis.mask(there.pool_id, slot.file)
                batch[mask_name(slot.file)] = _intact(mask, slot.mask_digest)
                size += len(batch[mask_name(slot.file)])
            if size >= BATCH_BYTES:
                yield batch
                batch, size = {}, 0
        yield batch

    def _under_lock(self, pool_id: str) -> Manifest | None:
        try:
            return self._disk.current(self._disk.open(pool_id))
        except PoolNotFound:
            return None

    def manifest(self, pool_id: str) -> Manifest | None:
        """The manifest on the disk, None when there is no such pool."""
        try:
            return self._disk.get(pool_id)
        except PoolNotFound:
            return None


def _head(mirror: Manifest) -> Head:
    born, _, rev = mirror.origin.partition(":")
    return Head(int(rev or 0), born, "", ())


def _was(slot: Slot, removed: dict[str, Removed]) -> bool:
    return slot.file in removed and removed[slot.file].slot.digest == slot.digest


def _intact(data: bytes | None, expected: str) -> bytes:
    if data is None or digest(data) != expected:
        raise NotFound("A file of a pool was replaced while it was read")
    return data
