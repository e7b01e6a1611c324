"""One pool's folder: its manifest, images, masks and trash. Knows no locks; ``disk.py`` holds them.

::

    manifest.json       the manifest (document.py); manifest.json.bak is the one before
    img_0001.png        an image, and img_0001.mask.png its mask when it has one
    trash/              what was removed, with trash.json: which slot it was, and where
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from ..errors import InvalidInput, InvalidName, StoreUnavailable
from ..filelock import sync_folder, write_atomically
from ..names import check_slot_file
from .checked import digest, now
from .document import read_document, write_document
from .edits import Edit, rebuild, removed
from .manifest import Manifest, Removed, Slot, file_number, mask_name, no_slot
from .trash import outdated, read_trash, write_trash

MANIFEST = "manifest.json"
BACKUP = "manifest.json.bak"
TRASH = "trash"
TRASH_LIST = "trash/trash.json"


Stamp = tuple[int, int, int]
"""Inode, time of change and size of a manifest's file."""

log = logging.getLogger(__name__)


class PoolFolder:
    """The files of one pool."""

    def __init__(self, path: Path, pool_id: str) -> None:
        self.path = path
        self.pool_id = pool_id

    def exists(self) -> bool:
        """Whether there is a pool: a manifest, or images to make one of."""
        return (self.path / MANIFEST).is_file() or (self.path / BACKUP).is_file() or bool(self._image_files())

    # -- the manifest -----------------------------------------------------------------------
    def stamp(self) -> Stamp | None:
        """Changes whenever the manifest is replaced; None when there is none."""
        try:
            status = os.stat(self.path / MANIFEST, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def read(self, name: str = MANIFEST) -> Manifest | None:
        """The manifest as it is written; None when it is missing or not to be read."""
        try:
            return read_document(self.pool_id, self._read_bytes(self.path / name))
        except (FileNotFoundError, InvalidInput):
            return None

    def write(self, manifest: Manifest, keep: bool = True) -> None:
        """Replaces the manifest in one step; with ``keep`` the one before becomes the backup."""
        if keep and (self.path / MANIFEST).exists():
            self._keep_as_backup()
        write_atomically(self.path / MANIFEST, write_document(manifest))

    def _keep_as_backup(self) -> None:
        temporary = self.path / f".{BACKUP}.tmp"
        with suppress(FileNotFoundError):
            temporary.unlink()
        try:
            try:
                os.link(self.path / MANIFEST, temporary)
            except OSError:
                # Not every file system has hard links (FAT, some network shares).
                shutil.copyfile(self.path / MANIFEST, temporary)
            os.replace(temporary, self.path / BACKUP)
            # When both are the same file already, replacing does nothing at all.
            temporary.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(self.path / BACKUP, error) from error

    def next_seq(self) -> int:
        """The first number behind those of all files, also in the trash."""
        files = [path.name for folder in (self.path, self.path / TRASH) for path in _entries(folder)]
        return max((file_number(file) + 1 for file in files if is_slot_file(file)), default=1)

    def found(self) -> list[Slot]:
        """The slots that the files tell of: every image, with its mask, digests and time of change."""
        return [self._slot_of(path) for path in self._image_files()]

    def _slot_of(self, path: Path) -> Slot:
        image = self._read_bytes(path)
        try:
            mask = digest(self._read_bytes(path.with_name(mask_name(path.name))))
        except FileNotFoundError:
            mask = ""
        return Slot(
            path.name,
            mask=mask_name(path.name) if mask else "",
            added=int(path.stat().st_mtime * 1000),
            digest=digest(image),
            mask_digest=mask,
        )

    def completed(self, manifest: Manifest) -> Manifest:
        """The manifest of another writer with its digests; a slot without an image is dropped."""
        slots = []
        for slot in manifest.slots:
            if not _is_regular(self.path / slot.file):
                log.warning("gatebus: the pool %s has no image %s any more", self.pool_id, slot.file)
                continue
            found = self._slot_of(self.path / slot.file)
            if not slot.mask:
                found = replace(found, mask="", mask_digest="")
            slots.append(replace(found, label=slot.label, added=slot.added or found.added))
        return rebuild(replace(manifest, slots=tuple(slots)), slots)

    def _image_files(self) -> list[Path]:
        return [path for path in _entries(self.path) if is_slot_file(path.name) and _is_regular(path)]

    # -- images and masks -------------------------------------------------------------------
    def read_file(self, name: str, trash: bool = False) -> bytes | None:
        """An image or mask, None when it is not there (nor, on demand, in the trash)."""
        for folder in (self.path, self.path / TRASH) if trash else (self.path,):
            with suppress(FileNotFoundError):
                return self._read_bytes(folder / name)
        return None

    def put(self, name: str, data: bytes, undo: ExitStack | None = None) -> None:
        """Writes a new image or mask; ``undo`` deletes it. A file of an add that died is overwritten."""
        if undo is not None:
            undo.callback((self.path / name).unlink, missing_ok=True)
        write_atomically(self.path / name, data)

    def put_slot(self, slot: Slot, image: bytes, mask: bytes | None) -> Slot:
        """Writes a whole slot; the slot as it is then."""
        self.put(slot.file, image)
        if mask is None:
            return replace(slot, digest=digest(image), mask="", mask_digest="")
        self.put(mask_name(slot.file), mask)
        return replace(slot, digest=digest(image), mask=mask_name(slot.file), mask_digest=digest(mask))

    def discard(self, names: Iterable[str]) -> None:
        """Moves files to the trash, those that are there."""
        self._rename_all((self.path / name, self.path / TRASH / name) for name in names)

    def _rename_all(self, pairs: Iterable[tuple[Path, Path]]) -> None:
        for source, target in pairs:
            with suppress(FileNotFoundError):
                self._rename(source, target)

    def _rename(self, source: Path, target: Path) -> None:
        try:
            target.parent.mkdir(exist_ok=True)
            os.replace(source, target)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise unwritable(target, error) from error

    def _read_bytes(self, path: Path) -> bytes:
        # Neither the pool's folder nor what is in it may lead elsewhere: a symbolic link is no file of ours.
        here = os.path.normcase(os.path.join(os.path.realpath(self.path.parent), self.path.name))
        if os.path.normcase(os.path.realpath(path.parent)) not in (here, os.path.join(here, TRASH)):
            raise InvalidName(f"The pool {self.pool_id} leads out of the folder of pools", pool_id=self.pool_id)
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0))
            with os.fdopen(descriptor, "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(path) from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise FileNotFoundError(path) from error
            raise StoreUnavailable(f"{path} can't be read: {error.strerror or error}", path=str(path)) from error

    # -- one edit -----------------------------------------------------------------------------
    def stage(self, edit: Edit, before: Manifest, data: Sequence[bytes], undo: ExitStack) -> None:
        """Writes the bytes of an edit that the manifest does not tell of yet; ``undo`` takes them back."""
        if edit.kind == "add":
            if not self.path.is_dir():
                self._make(self.path)
                undo.callback(remove_empty, self.path)
            for slot, image in zip(edit.slots, data, strict=True):
                self.put(slot.file, image, undo)
        elif edit.kind == "set_mask" and edit.text:
            mask = mask_name(edit.files[0])
            # The mask that it replaces waits in the trash, in case that the manifest can't be written.
            if (self.path / mask).exists():
                self.discard([mask])
                undo.callback(self._rename_all, [(self.path / TRASH / mask, self.path / mask)])
            self.put(mask, data[0], undo)
        elif edit.kind == "restore":
            for file in edit.files:
                if self.read_file(file, trash=True) is None:
                    raise no_slot(self.pool_id, file, "with an image in its trash")
            undo.callback(self.discard, _files(edit))
            self._rename_all((self.path / TRASH / name, self.path / name) for name in _files(edit))
        elif edit.kind == "remove":
            gone = {entry.slot.file: entry for entry in removed(before, edit.files, now())}
            self._write_trash({**self.trash(), **gone})

    def settle(self, edit: Edit) -> None:
        """Moves what the edit has left behind, now that the manifest tells of it."""
        if edit.kind == "remove":
            self.discard(_files(edit))
            self._prune()
        elif edit.kind == "set_mask" and not edit.text:
            self.discard([mask_name(edit.files[0])])
        elif edit.kind == "restore":
            self._write_trash({file: entry for file, entry in self.trash().items() if file not in edit.files})
        self.sync()

    def follow(self, manifest: Manifest) -> None:
        """Takes over a manifest all of whose files are there; slots that it does not have go to the trash."""
        old = self.read() or Manifest(self.pool_id)
        kept = set(manifest.files)
        gone = Edit("remove", "", files=tuple(file for file in old.files if file not in kept))
        if gone.files:
            self.stage(gone, old, [], ExitStack())
        self.write(manifest)
        self.discard([mask_name(slot.file) for slot in manifest.slots if not slot.mask])
        self.settle(gone)
        trash = self.trash()
        if trash.keys() & kept:
            self._write_trash({file: entry for file, entry in trash.items() if file not in kept})

    def trash(self) -> dict[str, Removed]:
        """The removed slots by file; one whose entry is lost is known by its file alone."""
        entries = read_trash(self.read_file(TRASH_LIST) or b"[]")
        for path in _entries(self.path / TRASH):
            if is_slot_file(path.name) and path.name not in entries and _is_regular(path):
                slot = self._slot_of(path)
                entries[path.name] = Removed(slot, left="", at=slot.added)
        return entries

    def _write_trash(self, entries: Mapping[str, Removed]) -> None:
        self._make(self.path / TRASH)
        write_atomically(self.path / TRASH_LIST, write_trash(entries))

    def _prune(self) -> None:
        entries = self.trash()
        dropped = outdated(entries)
        if dropped:
            self._write_trash({file: entry for file, entry in entries.items() if file not in dropped})
        for file in dropped:
            for name in (file, mask_name(file)):
                (self.path / TRASH / name).unlink(missing_ok=True)

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error

    def sync(self) -> None:
        """Puts renames on the disk."""
        for folder in (self.path, self.path / TRASH):
            if folder.is_dir():
                sync_folder(folder)


def is_complete(manifest: Manifest) -> bool:
    """Whether every digest is there; other writers of the layout keep none."""
    return all(slot.digest and bool(slot.mask) == bool(slot.mask_digest) for slot in manifest.slots)


def remove_empty(folder: Path) -> None:
    """Removes the folder if it is there and empty."""
    with suppress(OSError):
        folder.rmdir()


def unwritable(path: Path, error: OSError) -> StoreUnavailable:
    """The error for a disk that is full, read-only or gone."""
    return StoreUnavailable(f"{path} can't be written: {error.strerror or error}", path=str(path))


def _files(edit: Edit) -> list[str]:
    return [name for file in edit.files for name in (file, mask_name(file))]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_slot_file(name: str) -> bool:
    """Whether a slot may have that name."""
    try:
        check_slot_file(name)
    except InvalidName:
        return False
    return True


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False
