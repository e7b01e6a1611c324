"""A pool as a zip: written as it streams, read with suspicion.

Nothing that a zip says of itself is trusted: names are confined, bytes are counted while they
are unpacked, and every image is verified and encoded anew.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import IO, Any

from ..errors import InvalidImage, InvalidInput, SlotNotFound, TooLarge
from ..names import LABEL_LIMIT, clean_text
from ..pictures import read_image, read_mask
from ..png import encode_png
from ..settings import Settings
from .checked import digest, now
from .document import MAX_DOCUMENT_BYTES, read_document, write_document
from .edits import check_room
from .folder import MANIFEST
from .manifest import Manifest, Slot, file_name

ENTRY_BYTES = 1024
"""Bytes of the zip's own directory that an entry may take; it is read at once, before anything is checked."""

LITTER = ("Thumbs.db", "desktop.ini")

_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    UnicodeError,
    ValueError,
    OSError,
)


def write_zip(
    manifest: Manifest, image: Callable[[str], bytes], mask: Callable[[str], bytes | None], target: IO[bytes]
) -> None:
    """Writes the pool's images, masks and manifest; a slot that is removed meanwhile is left out."""
    slots = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for slot in manifest.slots:
            try:
                pixels, painted = image(slot.file), mask(slot.file)
            except SlotNotFound:
                continue
            archive.writestr(slot.file, pixels)
            if painted is not None and slot.mask:
                archive.writestr(slot.mask, painted)
                slots.append(replace(slot, mask_digest=digest(painted)))
            else:
                slots.append(replace(slot, mask="", mask_digest=""))
        archive.writestr(MANIFEST, write_document(replace(manifest, slots=tuple(slots))))


class Archive:
    """A zip that was opened; :attr:`manifest` tells what :meth:`pictures` will give."""

    def __init__(self, archive: zipfile.ZipFile, settings: Settings, pool_id: str) -> None:
        self._zip = archive
        self._settings = settings
        self._unpacked = 0
        self._entries = _entries(archive)
        self._base = ""
        document = min((name for name in self._entries if PurePosixPath(name).name == MANIFEST), key=len, default="")
        if document:
            self._base = document[: -len(MANIFEST)]
            manifest = read_document(pool_id, self._read(document, MAX_DOCUMENT_BYTES))
        else:
            manifest = _plain(pool_id, list(self._entries))
        check_room(pool_id, len(manifest.slots), settings.max_slots)
        self._sources = {slot.file: self._base + slot.file for slot in manifest.slots}
        if not document:
            self._sources = dict(zip(manifest.files, self._entries, strict=True))
        self.manifest = replace(manifest, rev=0)
        """What is in the zip, without digests."""

    def pictures(self) -> Iterator[tuple[Slot, bytes, bytes | None]]:
        """Each slot with its digests, its image and its mask as PNG, verified and encoded anew."""
        settings = self._settings
        for slot in self.manifest.slots:
            source = self._sources[slot.file]
            try:
                picture = read_image(self._read(source, settings.max_image_bytes), settings)
                image = encode_png(picture.pixels, settings.compression)
                mask = None
                if slot.mask:
                    source = self._base + slot.mask
                    painted = self._read(source, settings.max_image_bytes)
                    mask = encode_png(read_mask(painted, settings, picture.width, picture.height), settings.compression)
            except (InvalidImage, TooLarge) as error:
                raise type(error)(f"{source!a} in the zip: {error.message}", **error.details) from error
            mask_digest = digest(mask) if mask is not None else ""
            yield replace(slot, digest=digest(image), mask_digest=mask_digest), image, mask

    def _read(self, name: str, limit: int) -> bytes:
        if name not in self._entries:
            raise InvalidInput(f"The zip's manifest names {name!a}, which is not in the zip", file=name)
        data = bytearray()
        with _broken_is_invalid(), self._zip.open(self._entries[name]) as file:
            while block := file.read(256 * 1024):
                data += block
                self._unpacked += len(block)
                if len(data) > limit:
                    raise TooLarge(f"{name!a} in the zip has more than {limit} bytes", limit=limit)
                if self._unpacked > self._settings.max_archive_bytes:
                    raise _archive_too_large(self._settings)
        return bytes(data)


@contextmanager
def open_archive(source: IO[bytes], settings: Settings, pool_id: str) -> Iterator[Archive]:
    """The zip, to be read inside the block; raises InvalidInput for what is no zip of images, TooLarge beyond limits.

    ``source`` must be seekable.
    """
    source.seek(0, 2)
    if source.tell() > settings.max_archive_bytes:
        raise _archive_too_large(settings)
    bounded: Any = _Bounded(source, (2 * settings.max_slots + 64) * ENTRY_BYTES)
    with _broken_is_invalid():
        archive = zipfile.ZipFile(bounded)
    with archive:
        yield Archive(archive, settings, pool_id)


@contextmanager
def _broken_is_invalid() -> Iterator[None]:
    try:
        yield
    except (InvalidInput, TooLarge):
        raise
    except _BROKEN as error:
        raise InvalidInput(f"This is no zip that can be read: {error}") from error


class _Bounded:
    """A file of which one read takes at most ``limit`` bytes: a zip's directory is read in one."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._limit = limit
        self.seek = file.seek
        self.tell = file.tell

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size > self._limit:
            raise TooLarge(f"The zip's directory has {size} bytes; at most {self._limit} are accepted")
        return self._file.read(min(size, self._limit) if size >= 0 else self._limit)


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files by name; raises InvalidInput for one that is not confined, or is no plain file."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in info.orig_filename:
            raise InvalidInput(f"{name[:80]!a} in the zip leads out of the pool", file=name[:80])
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InvalidInput(f"{name[:80]!a} in the zip is a link or device; only files are accepted", file=name[:80])
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InvalidInput(f"{name[:80]!a} in the zip is encrypted or packed in an unknown way", file=name[:80])
        if name in entries:
            raise InvalidInput(f"{name[:80]!a} is in the zip twice", file=name[:80])
        # What macOS and Windows leave beside the files of a folder.
        litter = path.parts[:1] == ("__MACOSX",) or path.name.startswith(".") or path.name in LITTER
        if not info.is_dir() and not litter:
            entries[name] = info
    return entries


def _plain(pool_id: str, names: list[str]) -> Manifest:
    if not names:
        raise InvalidInput("The zip holds no images")
    slots = tuple(
        Slot(file_name(number), label=_label(PurePosixPath(name).name), added=now())
        for number, name in enumerate(names, 1)
    )
    return Manifest(pool_id, active=slots[0].file, slots=slots, next_seq=len(slots) + 1)


def _label(name: str) -> str:
    return clean_text(name.encode("utf-8", "replace").decode()[:LABEL_LIMIT], "label")


def _archive_too_large(settings: Settings) -> TooLarge:
    limit = settings.max_archive_bytes
    return TooLarge(f"The zip has more than {limit} bytes, packed or unpacked", limit=limit)
