"""Pools on the disk: one folder a pool, safe between threads and processes.

Every edit holds the pool's lock, writes bytes first and then the manifest by atomic replace.
Reading takes no lock.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from ..errors import Conflict, GatebusError, InvalidName, StoreUnavailable
from ..events import Events
from ..filelock import TURN, locked, sync_folder
from ..names import check_slot_file, clean_text
from ..settings import Settings
from .archive import open_archive, write_zip
from .checked import CheckedEdits, check_pool_id, operation_id
from .edits import Edit, applied, check_room, named, rebuild
from .folder import BACKUP, PoolFolder, Stamp, is_complete, remove_empty, unwritable
from .manifest import Manifest, PoolInfo, Removed, no_pool, no_slot

LOCKS = ".locks"
CACHED_POOLS = 64
LITTER_AGE = 86_400
"""Seconds after which a half-made or half-deleted pool of a process that died is removed."""

log = logging.getLogger(__name__)

Recorder = Callable[[Manifest, Edit, Mapping[str, Removed]], Callable[[], None]]
"""Called before an edit takes effect with the manifest and trash before it; returns what takes the record back."""


class DiskPools(CheckedEdits):
    """The pools below one folder, ``<disk_dir>/grid_pool``."""

    def __init__(self, folder: Path, settings: Settings, events: Events | None = None) -> None:
        self.folder = folder
        self.settings = settings
        self._events = events
        self._cache: dict[str, tuple[Stamp, Manifest]] = {}
        self._guard = threading.Lock()

    # -- reading ----------------------------------------------------------------------------
    def infos(self) -> list[PoolInfo]:
        """See :class:`~.manifest.PoolStore`."""
        infos = []
        for pool_id in self.ids():
            try:
                manifest = self.get(pool_id)
            except GatebusError as error:
                log.warning("gatebus: the pool %s is left out of the list: %s", pool_id, error)
                continue
            infos.append(PoolInfo(pool_id, manifest.name, len(manifest.slots), manifest.rev, manifest.active))
        return sorted(infos, key=lambda info: (info.name or info.pool_id, info.pool_id))

    def ids(self) -> list[str]:
        """The ids of all pools."""
        try:
            names = sorted(os.listdir(self.folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [name for name in names if _is_pool_id(name) and self.open(name).exists()]

    def get(self, pool_id: str) -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        folder = self.open(check_pool_id(pool_id))
        manifest = self._look(folder)
        if manifest is not None:
            return manifest
        if not folder.exists():
            raise no_pool(pool_id)
        with self.locked(folder.pool_id):
            return self.current(folder)

    def _look(self, folder: PoolFolder) -> Manifest | None:
        """The manifest, when it can be taken as it is; parsed only when the file is another one than last time."""
        stamp = folder.stamp()
        with self._guard:
            cached = self._cache.get(folder.pool_id)
        if cached is not None and cached[0] == stamp:
            return cached[1]
        manifest = folder.read() if stamp is not None else None
        if stamp is None or manifest is None or not is_complete(manifest):
            return None
        self._remember(stamp, manifest)
        return manifest

    def _remember(self, stamp: Stamp, manifest: Manifest) -> None:
        with self._guard:
            while len(self._cache) >= CACHED_POOLS:
                del self._cache[next(iter(self._cache))]
            self._cache[manifest.pool_id] = (stamp, manifest)

    def image(self, pool_id: str, file: str) -> bytes:
        """See :class:`~.manifest.PoolStore`."""
        slot = self.get(pool_id).slot(check_slot_file(file))
        # A removal that has just been made, or is being undone, has the file in the trash.
        data = self.open(check_pool_id(pool_id)).read_file(slot.file, trash=True)
        if data is None:
            raise no_slot(pool_id, file, "with an image on the disk")
        return data

    def mask(self, pool_id: str, file: str) -> bytes | None:
        """See :class:`~.manifest.PoolStore`."""
        slot = self.get(pool_id).slot(check_slot_file(file))
        return self.open(check_pool_id(pool_id)).read_file(slot.mask, trash=True) if slot.mask else None

    def exists(self, pool_id: str) -> bool:
        """Whether there is such a pool."""
        return self.open(check_pool_id(pool_id)).exists()

    def open(self, pool_id: str) -> PoolFolder:
        """The pool's folder, whether it is there or not."""
        return PoolFolder(self.folder / pool_id, pool_id)

    # -- edits ------------------------------------------------------------------------------
    def edit(self, pool_id: str, edit: Edit, data: Sequence[bytes] = (), record: Recorder | None = None) -> Manifest:
        """See :class:`~.checked.CheckedEdits`; ``record`` is called under the pool's lock."""
        folder = self.open(pool_id)
        if edit.kind != "add" and not folder.exists():
            raise no_pool(pool_id)
        with self.locked(pool_id), ExitStack() as undo:
            before = self.current(folder, new=edit.kind == "add")
            if edit.kind == "add":
                edit = named(before, edit)
            trash = folder.trash() if edit.kind == "restore" else {}
            after = applied(before, edit, trash)
            if len(after.slots) > len(before.slots):
                check_room(pool_id, len(after.slots), self.settings.max_slots)
            folder.stage(edit, before, data, undo)
            if record is not None:
                undo.callback(record(before, edit, trash))
            folder.write(after)
            undo.pop_all()
            stamp = folder.stamp()
            if stamp is not None:
                self._remember(stamp, after)
            try:
                folder.settle(edit)
            except (StoreUnavailable, OSError) as error:
                # The edit is made; a file that can't be moved now does no harm where it is.
                log.warning("gatebus: after an edit of the pool %s: %s", pool_id, error)
        self._tell(pool_id, rev=after.rev)
        return after

    def current(self, folder: PoolFolder, new: bool = False) -> Manifest:
        """The manifest, completed or rebuilt when need be; to be called under the pool's lock, unlike :meth:`get`."""
        manifest = self._look(folder)
        if manifest is not None:
            return manifest
        foreign = folder.read()
        if foreign is not None:
            manifest = folder.completed(foreign)
        elif folder.exists():
            manifest = self._rebuilt(folder)
        elif new:
            return Manifest(folder.pool_id)
        else:
            raise no_pool(folder.pool_id)
        folder.write(manifest, keep=foreign is not None)
        return manifest

    def _rebuilt(self, folder: PoolFolder) -> Manifest:
        old = folder.read()
        if old is None:
            old = folder.read(BACKUP) or Manifest(folder.pool_id)
            # The lost manifest was one revision further; this one must be told from it.
            old = replace(old, rev=old.rev + 1)
            log.warning("gatebus: the manifest of the pool %s is missing or corrupt; it is rebuilt", folder.pool_id)
        return rebuild(replace(old, next_seq=max(old.next_seq, folder.next_seq())), folder.found())

    def rebuild(self, pool_id: str) -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        folder = self.open(check_pool_id(pool_id))
        if not folder.exists():
            raise no_pool(pool_id)
        with self.locked(folder.pool_id):
            if not folder.exists():
                raise no_pool(pool_id)
            manifest = self._rebuilt(folder)
            folder.write(manifest, keep=folder.read() is not None)
        self._tell(pool_id, rev=manifest.rev)
        return manifest

    # -- whole pools ------------------------------------------------------------------------
    def duplicate(self, pool_id: str, new_id: str, name: str = "") -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        source = self.get(pool_id)
        name = clean_text(name, "name")
        with self.making(check_pool_id(new_id)) as folder:
            slots = []
            for slot in source.slots:
                # Read as any reader does: the source may be edited meanwhile.
                image = self.open(source.pool_id).read_file(slot.file, trash=True)
                mask = self.open(source.pool_id).read_file(slot.mask, trash=True) if slot.mask else None
                if image is not None:
                    slots.append(folder.put_slot(slot, image, mask))
            manifest = rebuild(replace(source, pool_id=folder.pool_id, name=name, rev=0, origin=""), slots)
            folder.write(manifest)
        self._tell(folder.pool_id, rev=manifest.rev)
        return manifest

    def delete(self, pool_id: str, record: Recorder | None = None) -> None:
        """See :class:`~.manifest.PoolStore`; ``record`` is called under the pool's lock."""
        folder = self.open(check_pool_id(pool_id))
        if not folder.exists():
            raise no_pool(pool_id)
        gone = self.folder / f".gone-{secrets.token_hex(8)}"
        with self.locked(folder.pool_id), ExitStack() as undo:
            if record is not None:
                undo.callback(record(self.current(folder), Edit("delete", operation_id()), {}))
            try:
                os.rename(folder.path, gone)
            except FileNotFoundError as error:
                raise no_pool(pool_id) from error
            except OSError as error:
                raise unwritable(folder.path, error) from error
            undo.pop_all()
        _remove_tree(gone)
        self._tell(folder.pool_id, deleted=True)

    def export_zip(self, pool_id: str, target: IO[bytes]) -> None:
        """See :class:`~.manifest.PoolStore`."""
        manifest = self.get(pool_id)
        write_zip(manifest, lambda file: self.image(pool_id, file), lambda file: self.mask(pool_id, file), target)

    def import_zip(self, source: IO[bytes], pool_id: str, name: str = "") -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        pool_id, name = check_pool_id(pool_id), clean_text(name, "name")
        with open_archive(source, self.settings, pool_id) as archive, self.making(pool_id) as folder:
            slots = [folder.put_slot(slot, image, mask) for slot, image, mask in archive.pictures()]
            manifest = replace(archive.manifest, name=name or archive.manifest.name, slots=tuple(slots), rev=1)
            folder.write(manifest)
        self._tell(pool_id, rev=manifest.rev)
        return manifest

    @contextmanager
    def making(self, pool_id: str) -> Iterator[PoolFolder]:
        """A folder to fill: becomes the pool when the block ends well, else goes; Conflict when there is one."""
        self._refuse_existing(pool_id)
        self._sweep()
        folder = PoolFolder(self.folder / f".new-{secrets.token_hex(8)}", pool_id)
        try:
            folder.path.mkdir(parents=True)
        except OSError as error:
            raise unwritable(folder.path, error) from error
        try:
            yield folder
            folder.sync()
            with self.locked(pool_id):
                self._refuse_existing(pool_id)
                try:
                    remove_empty(self.folder / pool_id)
                    os.rename(folder.path, self.folder / pool_id)
                    sync_folder(self.folder)
                except OSError as error:
                    raise unwritable(self.folder / pool_id, error) from error
        except BaseException:
            _remove_tree(folder.path)
            remove_empty(self.folder)
            raise

    def _refuse_existing(self, pool_id: str) -> None:
        if self.open(pool_id).exists():
            raise Conflict(f"There is a pool {pool_id} already", pool_id=pool_id)

    # -- around edits -----------------------------------------------------------------------
    @contextmanager
    def locked(self, pool_id: str) -> Iterator[None]:
        """Holds the pool, whether it is there or not."""
        lock = self.folder / LOCKS / f"{pool_id}.lock"
        with locked(lock):
            try:
                yield
            finally:
                if not self.open(pool_id).path.is_dir():
                    # Windows keeps a file that is open; the next pool of that id uses it.
                    with suppress(OSError):
                        lock.with_name(lock.name + TURN).unlink()
                        lock.unlink()

    def _tell(self, pool_id: str, **data: object) -> None:
        if self._events is None:
            return
        try:
            self._events.append("pool", pool_id, **data)
        except StoreUnavailable as error:
            log.debug("gatebus: nobody was told of the edit of the pool %s: %s", pool_id, error)

    def _sweep(self) -> None:
        for pattern in (".new-*", ".gone-*"):
            for path in self.folder.glob(pattern):
                with suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > LITTER_AGE:
                        _remove_tree(path)


def _is_pool_id(name: str) -> bool:
    try:
        return check_pool_id(name) == name
    except InvalidName:
        return False


def _remove_tree(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
