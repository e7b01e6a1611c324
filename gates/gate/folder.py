"""Gates on the disk, where there is no Redis: a folder a gate, so that what waits or is parked outlives the process.

::

    gates/ID/record.json        the record; a folder without one was never finished, and goes at the next start
    gates/ID/preview.jpg
    gates/ID/image_00000.png    a part of the whole image each, or image.tensor with all of them (exact format)
    gates/ID/mask_TOKEN.png     the painted mask that the record names
    gates/ID/continuation       what it takes to run on from here
    gates/broken/               folders that could not be read, for people to look at

A file is never changed, only replaced as a whole or removed, so that copies may be hard links. Knows
no locks: a folder of gates belongs to one process at a time (:func:`own_folder`), and the files of a
gate to who holds that gate's lock.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .. import codec
from ..errors import GatebusError, GateNotFound, InvalidName, StoreUnavailable
from ..filelock import sync_folder
from ..instance import Identity, hold
from ..names import check_gate_id
from .fields import from_fields, to_fields
from .record import ENDED, LIVE, Gate

RECORD = "record.json"
PREVIEW = "preview.jpg"
TENSOR = "image.tensor"
CONTINUATION = "continuation"
BROKEN = "broken"

log = logging.getLogger(__name__)

_FOLDER = re.compile(r"gates-([1-9][0-9]{0,5})")
_BINARY = getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def own_folder(state_dir: Path, identity: Identity) -> Path:
    """The folder of this process's gates, to which those are brought that processes left which run no more.

    The first process of a state folder has ``gates``, one that runs beside it ``gates-1`` and so on,
    as their identities go; whoever holds the identity holds the folder.
    """
    own = _path(state_dir, identity.number)
    for entry in sorted(state_dir.iterdir()):
        match = _FOLDER.fullmatch(entry.name)
        if match is None or int(match[1]) <= identity.number or entry.is_symlink():
            continue
        lock = hold(state_dir, int(match[1]))
        if lock is None:
            continue
        try:
            _bring(entry, own)
        except OSError as error:
            log.warning("gatebus: the gates in %s can't be brought to %s: %s", entry, own, error)
        finally:
            lock.close()
    return own


def _path(state_dir: Path, number: int) -> Path:
    return state_dir / (f"gates-{number}" if number else "gates")


def _bring(source: Path, target: Path) -> None:
    target.mkdir(mode=0o700, exist_ok=True)
    for entry in sorted(source.iterdir()):
        if not (target / entry.name).exists():
            entry.rename(target / entry.name)
    sync_folder(target)
    with suppress(OSError):
        source.rmdir()


class GateFolders:
    """Reads and writes them. What can't be written raises StoreUnavailable, what is not there GateNotFound."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # -- writing --------------------------------------------------------------------------
    # Each is on the disk when it returns, whatever happens to the machine.
    def put_record(self, gate: Gate) -> None:
        """Writes the record; what it names must be there."""
        data = json.dumps(to_fields(gate), ensure_ascii=False, indent=0).encode("utf-8", "surrogatepass")
        self._put(gate.id, RECORD, [data])

    def put_preview(self, gate_id: str, jpeg: bytes) -> None:
        """Writes the preview."""
        self._put(gate_id, PREVIEW, [jpeg])

    def put_mask(self, gate_id: str, token: str, png: bytes) -> None:
        """Writes the painted mask of that token."""
        self._put(gate_id, _mask(token), [png])

    def put_continuation(self, gate_id: str, data: bytes) -> None:
        """Writes what it takes to run on from here."""
        self._put(gate_id, CONTINUATION, [data])

    def put_image(self, gate_id: str, image: codec.Encoded) -> None:
        """Writes the whole image's parts; nothing of them stays when that fails."""
        try:
            if image.layout.format == "exact":
                self._put(gate_id, TENSOR, image.parts)
                return
            for number, part in enumerate(image.parts):
                self._put(gate_id, _frame(number), [part], sync=number + 1 == len(image.parts))
        except BaseException:
            self._drop(gate_id, lambda name: name.startswith("image"))
            raise

    def share(self, source: Gate, target_id: str) -> None:
        """Gives the new gate the preview, mask, image and continuation of the other one; raises GateNotFound."""
        named = [PREVIEW, CONTINUATION, *_image_files(source), *([_mask(source.mask)] if source.mask else [])]
        target = self._made(target_id)
        with _available(target):
            for name in named:
                path = self._folder(source.id) / name
                (target / name).unlink(missing_ok=True)
                try:
                    os.link(path, target / name)
                except FileNotFoundError:
                    raise _not_stored(source.id, _what(name)) from None
                except OSError:
                    # A file system without hard links.
                    shutil.copyfile(path, target / name)
                    _sync(target / name)
        sync_folder(target)

    # -- reading --------------------------------------------------------------------------
    def preview(self, gate_id: str) -> bytes:
        """The preview."""
        return self._get(gate_id, PREVIEW)

    def mask(self, gate_id: str, token: str) -> bytes:
        """The mask of that token, as PNG."""
        return self._get(gate_id, _mask(token))

    def continuation(self, gate_id: str) -> bytes:
        """What it takes to run on from here."""
        return self._get(gate_id, CONTINUATION)

    def part(self, gate: Gate, part: int) -> bytes:
        """One part of the whole image."""
        layout = gate.layout
        if layout is None or not 0 <= part < layout.parts:
            raise _not_stored(gate.id, "image")
        if layout.format == "png":
            return self._get(gate.id, _frame(part))
        return self._get(gate.id, TENSOR, part * codec.CHUNK, codec.CHUNK)

    def load(self) -> list[Gate]:
        """The records of all gates that are there, by the time they opened; what is broken is set aside.

        What a process left half written when it died is removed. Raises StoreUnavailable when the
        folder itself can't be read.
        """
        with _available(self.root):
            names = sorted(entry.name for entry in os.scandir(self.root)) if self.root.is_dir() else []
        gates = []
        for name in names:
            try:
                check_gate_id(name)
            except InvalidName:
                continue
            try:
                gate = self._load(name)
            except (GatebusError, ValueError, KeyError, TypeError, OSError, RecursionError) as error:
                self._set_aside(name, error)
                continue
            if gate is not None:
                gates.append(gate)
        return sorted(gates, key=lambda gate: (gate.opened, gate.id))

    # -- removing -------------------------------------------------------------------------
    # Never raises: what could not be removed is removed at the next start, or the time after.
    def drop_mask(self, gate_id: str, token: str) -> None:
        """Removes a mask that no record names any more."""
        if token:
            self._drop(gate_id, lambda name: name == _mask(token))

    def drop_bytes(self, gate_id: str) -> None:
        """Removes the whole image and the continuation; record, preview and mask stay."""
        self._drop(gate_id, lambda name: name.startswith("image") or name == CONTINUATION)

    def remove(self, gate_id: str) -> None:
        """Removes everything of the gate, the record first: what is left without one is not taken for a gate."""
        folder = self._folder(gate_id)
        with suppress(OSError):
            (folder / RECORD).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    # -- inside ---------------------------------------------------------------------------
    def _folder(self, gate_id: str) -> Path:
        return self.root / check_gate_id(gate_id)

    def _made(self, gate_id: str) -> Path:
        folder = self._folder(gate_id)
        with _available(folder):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                return folder
        sync_folder(self.root)
        return folder

    def _put(self, gate_id: str, name: str, pieces: Sequence[codec.Part], sync: bool = True) -> None:
        folder = self._made(gate_id)
        temporary = folder / f".{secrets.token_hex(8)}.tmp"
        with _available(folder / name):
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
                with os.fdopen(os.open(temporary, flags, 0o600), "wb", buffering=0) as file:
                    for piece in pieces:
                        _write_all(file.fileno(), piece)
                    os.fsync(file.fileno())
                os.replace(temporary, folder / name)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise
        if sync:
            sync_folder(folder)

    def _get(self, gate_id: str, name: str, start: int = 0, length: int = -1) -> bytes:
        path = self._folder(gate_id) / name
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | _BINARY | _NO_LINK), "rb") as file:
                file.seek(start)
                return file.read(length)
        except FileNotFoundError:
            raise _not_stored(gate_id, _what(name)) from None
        except OSError as error:
            raise StoreUnavailable(f"{path} can't be read: {error.strerror or error}", path=str(path)) from error

    def _drop(self, gate_id: str, chosen: Callable[[str], bool]) -> None:
        folder = self._folder(gate_id)
        with suppress(OSError):
            for entry in list(os.scandir(folder)):
                if chosen(entry.name):
                    with suppress(OSError):
                        os.unlink(entry.path)

    def _load(self, gate_id: str) -> Gate | None:
        folder = self._folder(gate_id)
        if folder.is_symlink() or not folder.is_dir():
            raise InvalidName("it is no folder")
        self._drop(gate_id, lambda name: name.startswith(".") and name.endswith(".tmp"))
        if not (folder / RECORD).exists():
            self.remove(gate_id)
            return None
        row = json.loads(self._get(gate_id, RECORD))
        if not isinstance(row, dict) or not all(isinstance(value, str) for value in row.values()):
            raise ValueError("the record is no object of texts")
        if row.get("id") != gate_id or row.get("status") not in (*LIVE, *ENDED):
            raise ValueError("the record is not that of a gate of this id")
        gate = from_fields(gate_id, row)
        if gate.status not in ENDED:
            self._check_files(gate)
        return gate

    def _check_files(self, gate: Gate) -> None:
        """Raises when a file is missing or short that a gate which lives still needs."""
        folder = self._folder(gate.id)
        sizes = sum(os.stat(folder / name).st_size for name in _image_files(gate))
        if gate.layout is not None and sizes != gate.layout.size:
            raise ValueError(f"its image has {sizes} bytes, not {gate.layout.size}")
        if gate.mask:
            os.stat(folder / _mask(gate.mask))
        if gate.kept and not os.stat(folder / CONTINUATION).st_size:
            raise ValueError("its continuation is empty")

    def _set_aside(self, name: str, error: Exception) -> None:
        aside = self.root / BROKEN / f"{name}-{secrets.token_hex(4)}"
        try:
            aside.parent.mkdir(mode=0o700, exist_ok=True)
            os.rename(self.root / name, aside)
        except OSError as reason:
            log.error("gatebus: the gate in %s can't be read (%s), nor set aside: %s", self.root / name, error, reason)
        else:
            log.error("gatebus: a gate can't be read (%s); its folder is now %s", error, aside)


@contextmanager
def _available(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, StoreUnavailable):
            raise
        raise StoreUnavailable(f"{path} can't be written: {error.strerror or error}", path=str(path)) from error


def _write_all(descriptor: int, piece: codec.Part) -> None:
    view = memoryview(piece).cast("B")
    while view:
        view = view[os.write(descriptor, view) :]


def _sync(path: Path) -> None:
    with open(path, "ab") as file:
        os.fsync(file.fileno())


def _frame(number: int) -> str:
    return f"image_{number:05}.png"


def _mask(token: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{1,64}", token):
        raise InvalidName("A mask's token is hex digits", what="mask token")
    return f"mask_{token}.png"


def _image_files(gate: Gate) -> list[str]:
    if gate.layout is None:
        return []
    return [_frame(part) for part in range(gate.layout.parts)] if gate.layout.format == "png" else [TENSOR]


def _what(name: str) -> str:
    return name.partition("_")[0].partition(".")[0]


def _not_stored(gate_id: str, what: str) -> GateNotFound:
    return GateNotFound(f"The {what} of that gate is not stored (any more)", gate=gate_id)
