"""Pools in Redis, shared by everyone who uses it: one script an edit, bytes beside it.

The scripts (``scripts.py``) are the truth; this process remembers the last manifest that it saw
of a pool and applies its own edit to it, so that an edit of a large pool moves a few bytes.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import IO, Any

from ..connection import Connection
from ..errors import InvalidInput, StoreUnavailable
from ..events import Events
from ..keys import Keys
from ..names import check_slot_file, clean_text
from ..settings import Settings
from .archive import open_archive, write_zip
from .checked import CheckedEdits, check_pool_id, digest, operation_id
from .edits import Edit, applied, rebuild
from .folder import is_slot_file
from .manifest import Manifest, PoolInfo, Removed, Slot, file_number, mask_name, no_pool, no_slot
from .redis_steps import BATCH_BYTES, Answer, Head, Steps, pool_exists, stored
from .trash import read_removed

CACHED_POOLS = 64

log = logging.getLogger(__name__)

Picture = tuple[Slot, bytes, bytes | None]
"""A slot with its image and its mask as PNG."""


class RedisPools(CheckedEdits):
    """The pools of one namespace."""

    def __init__(self, connection: Connection, keys: Keys, settings: Settings, events: Events | None = None) -> None:
        self.settings = settings
        self._connection = connection
        self._keys = keys
        self._events = events
        self._steps = Steps(connection, keys, settings)
        self._cache: dict[str, Manifest] = {}
        self._guard = threading.Lock()

    # -- reading ----------------------------------------------------------------------------
    def infos(self) -> list[PoolInfo]:
        """See :class:`~.manifest.PoolStore`."""
        with self._connection.available():
            ids = sorted(self._connection.control.hkeys(self._keys.pools))
            pipeline = self._connection.control.pipeline(transaction=False)
            for pool_id in ids:
                pipeline.hmget(self._keys.pool(pool_id), "name", "rev", "active")
                pipeline.zcard(self._keys.pool_order(pool_id))
            rows = pipeline.execute() if ids else []
        infos = [
            PoolInfo(pool_id, head[0] or "", count, int(head[1]), head[2] or "")
            for pool_id, head, count in zip(ids, rows[::2], rows[1::2], strict=True)
            if head[1] is not None
        ]
        return sorted(infos, key=lambda info: (info.name or info.pool_id, info.pool_id))

    def get(self, pool_id: str) -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        pool_id = check_pool_id(pool_id)
        head = self.head(pool_id)
        manifest = self.known(pool_id)
        if manifest is not None and manifest.origin == f"{head.born}:{head.rev}":
            return manifest
        return self._read(pool_id)

    def known(self, pool_id: str) -> Manifest | None:
        """The manifest as this process last saw it, without asking Redis."""
        with self._guard:
            return self._cache.get(pool_id)

    def _read(self, pool_id: str) -> Manifest:
        manifest, sound = self._steps.read(pool_id)
        if manifest.rev and sound:
            with self._guard:
                while len(self._cache) >= CACHED_POOLS:
                    del self._cache[next(iter(self._cache))]
                self._cache[pool_id] = manifest
            return manifest
        return self.rebuild(pool_id)

    def epoch(self) -> str:
        """Tells one data set from another (``Events``); raises StoreUnavailable when Redis is away."""
        with self._connection.available():
            return self._connection.control.get(self._keys.epoch) or ""

    def head(self, pool_id: str) -> Head:
        """The pool's hash, whether it exists or not."""
        return self._steps.head(pool_id)

    def image(self, pool_id: str, file: str) -> bytes:
        """See :class:`~.manifest.PoolStore`."""
        has_slot, data = self._file(pool_id, file, check_slot_file(file))
        if not has_slot or data is None:
            raise no_slot(pool_id, file, "with an image" if has_slot else "")
        return data

    def mask(self, pool_id: str, file: str) -> bytes | None:
        """See :class:`~.manifest.PoolStore`."""
        has_slot, data = self._file(pool_id, file, mask_name(check_slot_file(file)))
        if not has_slot:
            raise no_slot(pool_id, file)
        return data

    def _file(self, pool_id: str, file: str, name: str) -> tuple[bool, bytes | None]:
        pool_id = check_pool_id(pool_id)
        has_slot, data = self._steps.read_file(pool_id, file, name)
        if not has_slot and self.head(pool_id).rev is None:
            raise no_pool(pool_id)
        return has_slot, data

    def pictures(self, manifest: Manifest) -> Iterator[Picture]:
        """The slots with their bytes, also of one that is removed meanwhile; a mask is the newest."""
        for slot in manifest.slots:
            _, image = self._steps.read_file(manifest.pool_id, slot.file, slot.file)
            _, mask = self._steps.read_file(manifest.pool_id, slot.file, mask_name(slot.file))
            if image is None:
                raise no_slot(manifest.pool_id, slot.file, "with an image")
            yield slot, image, mask

    def removed(self, pool_id: str, files: Sequence[str]) -> dict[str, Removed]:
        """Those of the slots that are in the trash."""
        with self._connection.available():
            entries = self._connection.control.hmget(self._keys.pool_trash(pool_id), list(files)) if files else []
        return {file: read_removed(json.loads(entry)) for file, entry in zip(files, entries, strict=True) if entry}

    def result(self, pool_id: str, edit_id: str) -> list[str] | None:
        """The names that an applied ``add`` gave, in order ([] for other edits); None when it was not applied."""
        with self._connection.available():
            names = self._connection.control.hget(self._keys.pool_edits(pool_id), edit_id)
        return None if names is None else json.loads(names or "[]")

    # -- edits ------------------------------------------------------------------------------
    def edit(self, pool_id: str, edit: Edit, data: Sequence[bytes] = ()) -> Manifest:
        """See :class:`~.checked.CheckedEdits`; an operation id that was applied before is not applied again."""
        if edit.kind == "add":
            return self.put(pool_id, edit, ((slot, image, None) for slot, image in zip(edit.slots, data, strict=True)))
        arguments: list[Any] = list(edit.files)
        if edit.kind == "restore":
            arguments = [self.settings.max_slots, *edit.files]
        elif edit.kind == "move":
            arguments = [edit.before or "", *edit.files]
        elif edit.kind in ("label", "rename"):
            arguments = [*edit.files, edit.text]
        elif edit.kind == "set_mask":
            arguments = [*edit.files, edit.text, data[0] if edit.text else b""]
        elif edit.kind not in ("remove", "reorder", "activate"):
            raise InvalidInput(f"No edit is of the kind {edit.kind!r}")
        answer = self._steps.run(edit.kind.upper(), pool_id, edit.id, edit.rev, *arguments)
        if edit.kind == "rename":
            self._index(pool_id, edit.text)
        return self._after(pool_id, edit, answer)

    def put(self, pool_id: str, edit: Edit, pictures: Iterable[Picture], **options: Any) -> Manifest:
        """The ``add`` of slots that may wish for a name and may have masks; ``options`` are those of the script ADD.

        ``edit.slots`` tell how many and which names; what the slots hold comes with the pictures.
        """
        wanted = [slot.file for slot in edit.slots]
        limits = {"limit": self.settings.max_slots, "new": options.pop("new", False)}
        if edit.before is not None:
            limits["before"] = edit.before
        answer = self._steps.run("RESERVE", pool_id, edit.id, edit.rev, json.dumps(limits), *wanted)
        if answer.again:
            return self._read(pool_id)
        try:
            slots = list(self._write(pool_id, answer.names, pictures))
            if "active" in options:
                options["active"] = dict(zip(wanted, answer.names, strict=True)).get(options["active"], "")
            if self.head(pool_id).rev is None:
                # First the index: an entry without a pool is skipped, a pool without an entry is not found.
                self._index(pool_id, options.get("name", ""))
            given = json.dumps({**limits, "born": secrets.token_hex(8), **options})
            added = self._steps.run("ADD", pool_id, edit.id, edit.rev, given, *stored(slots))
        except BaseException:
            self._release(pool_id, answer.names)
            raise
        return self._after(pool_id, replace(edit, slots=tuple(slots)), added)

    def _write(self, pool_id: str, names: Sequence[str], pictures: Iterable[Picture]) -> Iterator[Slot]:
        batch: dict[str, bytes] = {}
        size = 0
        for name, (slot, image, mask) in zip(names, pictures, strict=True):
            batch[name] = image
            if mask is not None:
                batch[mask_name(name)] = mask
            size += len(image) + len(mask or b"")
            if size >= BATCH_BYTES:
                self._steps.write_files(pool_id, batch)
                batch, size = {}, 0
            painted = digest(mask) if mask is not None else ""
            yield replace(
                slot, file=name, digest=digest(image), mask=mask_name(name) if painted else "", mask_digest=painted
            )
        self._steps.write_files(pool_id, batch)

    def _release(self, pool_id: str, names: Sequence[str]) -> None:
        try:
            self._steps.release(pool_id, names)
        except StoreUnavailable as error:
            log.warning("gatebus: an add to the pool %s died; its bytes are freed in an hour: %s", pool_id, error)

    def _after(self, pool_id: str, edit: Edit, answer: Answer) -> Manifest:
        """The manifest after the edit: from what is remembered where that is the one before, else read."""
        if answer.again:
            return self._read(pool_id)
        self._tell(pool_id, rev=answer.rev)
        manifest = self.known(pool_id)
        before = f"{answer.origin.partition(':')[0]}:{answer.rev - 1}"
        if manifest is None or manifest.origin != before or edit.kind == "restore":
            return self._read(pool_id)
        manifest = replace(applied(manifest, replace(edit, rev=None), {}), origin=answer.origin)
        with self._guard:
            self._cache[pool_id] = manifest
        return manifest

    # -- whole pools ------------------------------------------------------------------------
    def duplicate(self, pool_id: str, new_id: str, name: str = "") -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        source, new_id = self.get(pool_id), check_pool_id(new_id)
        return self._make(replace(source, pool_id=new_id, name=clean_text(name, "name")), self.pictures(source))

    def import_zip(self, source: IO[bytes], pool_id: str, name: str = "") -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        pool_id, name = check_pool_id(pool_id), clean_text(name, "name")
        if self.head(pool_id).rev is not None:
            raise pool_exists(pool_id)
        with open_archive(source, self.settings, pool_id) as archive:
            manifest = replace(archive.manifest, name=name or archive.manifest.name)
            return self._make(manifest, archive.pictures())

    def export_zip(self, pool_id: str, target: IO[bytes]) -> None:
        """See :class:`~.manifest.PoolStore`."""
        manifest = self.get(pool_id)
        write_zip(manifest, lambda file: self.image(pool_id, file), lambda file: self.mask(pool_id, file), target)

    def _make(self, manifest: Manifest, pictures: Iterable[Picture]) -> Manifest:
        """A new pool that looks like the manifest; Conflict when there is one."""
        options = {"name": manifest.name, "active": manifest.active, "next_seq": manifest.next_seq}
        edit = Edit("add", operation_id(), slots=manifest.slots)
        return self.put(manifest.pool_id, edit, pictures, new=True, **options)

    def delete(self, pool_id: str, rev: int | None = None) -> None:
        """See :class:`~.manifest.PoolStore`; with ``rev``, Conflict unless the pool still has it."""
        pool_id = check_pool_id(pool_id)
        self._steps.run("DELETE", pool_id, operation_id(), rev)
        with self._connection.available():
            self._connection.control.hdel(self._keys.pools, pool_id)
        self._tell(pool_id, deleted=True)

    def rebuild(self, pool_id: str) -> Manifest:
        """See :class:`~.manifest.PoolStore`; frees the bytes of adds that died as well."""
        pool_id, edit_id = check_pool_id(pool_id), operation_id()
        old, _ = self._steps.read(pool_id)
        if not old.rev and not old.slots:
            raise no_pool(pool_id)
        self._steps.run("RESERVE", pool_id, edit_id, None, json.dumps({"limit": 2**53}))
        with self._connection.available():
            control, keys = self._connection.control, self._keys
            names = set(control.hkeys(keys.pool_files(pool_id)))
            spared = {*control.hkeys(keys.pool_trash(pool_id)), *control.zrange(keys.pool_reserved(pool_id), 0, -1)}
        images = {name for name in names if is_slot_file(name)} - spared
        found = [self._found(pool_id, file, old, names) for file in sorted(images, key=file_number)]
        following = max((file_number(file) + 1 for file in spared), default=1)
        manifest = rebuild(replace(old, next_seq=max(old.next_seq, following)), found)
        kept = {name for file in images | spared for name in (file, mask_name(file))}
        options = {
            "born": secrets.token_hex(8),
            "active": manifest.active,
            "next_seq": manifest.next_seq,
            "drop": sorted(names - kept),
        }
        self._index(pool_id, manifest.name)
        given = json.dumps(options)
        answer = self._steps.run("REBUILD", pool_id, edit_id, old.rev or None, given, *stored(manifest.slots))
        self._tell(pool_id, rev=answer.rev)
        return self._steps.read(pool_id)[0]

    def _found(self, pool_id: str, file: str, old: Manifest, names: set[str]) -> Slot:
        """What the files tell of a slot; bytes are read only where the manifest has lost their digest."""
        known = next((slot for slot in old.slots if slot.file == file), Slot(file))
        mask = mask_name(file) if mask_name(file) in names else ""
        image_digest, painted = known.digest, known.mask_digest if mask else ""
        if not image_digest:
            image_digest = digest(self._steps.read_file(pool_id, file, file)[1] or b"")
        if mask and not painted:
            painted = digest(self._steps.read_file(pool_id, file, mask)[1] or b"")
        return replace(known, digest=image_digest, mask=mask, mask_digest=painted)

    # -- around edits -----------------------------------------------------------------------
    def _index(self, pool_id: str, name: str) -> None:
        with self._connection.available():
            self._connection.control.hset(self._keys.pools, pool_id, name)

    def _tell(self, pool_id: str, **data: object) -> None:
        if self._events is None:
            return
        try:
            self._events.append("pool", pool_id, **data)
        except StoreUnavailable as error:
            # The edit is made; pages that miss it look again when Redis is back.
            log.warning("gatebus: nobody was told of the edit of the pool %s: %s", pool_id, error)
