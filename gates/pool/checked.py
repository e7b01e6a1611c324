"""The edits of ``PoolStore``, checked once and handed on as data: what every pool store is built on."""

from __future__ import annotations

import hashlib
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..errors import InvalidInput
from ..names import check_name, check_slot_file, clean_text
from .edits import Edit
from .manifest import Manifest, Slot


class CheckedEdits(ABC):
    """Makes an :class:`Edit` of each call; a store implements :meth:`edit`."""

    @abstractmethod
    def edit(self, pool_id: str, edit: Edit, data: Sequence[bytes] = ()) -> Manifest:
        """Applies the edit in one step and returns the new manifest.

        ``data`` holds the images of an ``add`` (one a slot) or the mask of a ``set_mask``.
        """

    def add(self, pool_id: str, images: Sequence[tuple[bytes, str]], before: str | None = None) -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        added = now()
        slots = tuple(
            Slot("", label=clean_text(label, "label"), added=added, digest=digest(image)) for image, label in images
        )
        before = check_slot_file(before) if before is not None else None
        return self._edit(
            pool_id, Edit("add", operation_id(), slots=slots, before=before), [image for image, _ in images]
        )

    def remove(self, pool_id: str, files: Sequence[str]) -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        return self._edit(pool_id, Edit("remove", operation_id(), files=_some(files)))

    def restore(self, pool_id: str, files: Sequence[str]) -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        return self._edit(pool_id, Edit("restore", operation_id(), files=_some(files)))

    def move(self, pool_id: str, files: Sequence[str], before: str | None) -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        before = check_slot_file(before) if before is not None else None
        return self._edit(pool_id, Edit("move", operation_id(), files=_some(files), before=before))

    def reorder(self, pool_id: str, files: Sequence[str], rev: int | None = None) -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        return self._edit(pool_id, Edit("reorder", operation_id(), files=_checked(files), rev=rev))

    def activate(self, pool_id: str, file: str) -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        return self._edit(pool_id, Edit("activate", operation_id(), files=_checked([file])))

    def label(self, pool_id: str, file: str, label: str) -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        return self._edit(
            pool_id, Edit("label", operation_id(), files=_checked([file]), text=clean_text(label, "label"))
        )

    def set_mask(self, pool_id: str, file: str, png: bytes | None) -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        text = digest(png) if png is not None else ""
        edit = Edit("set_mask", operation_id(), files=_checked([file]), text=text)
        return self._edit(pool_id, edit, [png] if png is not None else [])

    def rename(self, pool_id: str, name: str) -> Manifest:
        """See :class:`~.manifest.PoolStore`."""
        return self._edit(pool_id, Edit("rename", operation_id(), text=clean_text(name, "name")))

    def _edit(self, pool_id: str, edit: Edit, data: Sequence[bytes] = ()) -> Manifest:
        return self.edit(check_pool_id(pool_id), edit, data)


def check_pool_id(pool_id: object) -> str:
    """The id, when it is a name (``names.py``); raises InvalidName otherwise."""
    return check_name(pool_id, "pool id")


def digest(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def operation_id() -> str:
    """A fresh operation id, 32 hex digits."""
    return uuid.uuid4().hex


def now() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def _checked(files: Sequence[str]) -> tuple[str, ...]:
    if isinstance(files, str):
        raise InvalidInput("The slots must be a list of files")
    return tuple(check_slot_file(file) for file in files)


def _some(files: Sequence[str]) -> tuple[str, ...]:
    """The files, when there is one and none is named twice."""
    files = _checked(files)
    if not files or len(set(files)) != len(files):
        raise InvalidInput("Name at least one slot, and each one once")
    return files
