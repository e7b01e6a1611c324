"""What ComfyUI loads of this project, and how it comes into its ``custom_nodes``: as a link or as a copy.

In a checkout it lies where ComfyUI wants it, and a link is enough. The wheel brings the same
files (``comfyui_pack/`` beside this module holds those of the root), and they are copied.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gates
from gates.errors import Conflict, InvalidInput

from .page import web_folder

NAME = "gatebus"
"""The entry in ``custom_nodes``."""

MARK = ".gatebus.json"
"""In a copy: its version, and the SHA-256 of each of its files; by it a copy is known as ours, and as untouched."""

ROOT_FILES = ("__init__.py", "pyproject.toml", "requirements.txt", "LICENSE")
ROOT_FOLDERS = ("locales", "example_workflows")

_SIGN = Path("gates", "nodes", "image_gate.py")


class Pack:
    """The files of this installation."""

    def __init__(self) -> None:
        here = Path(__file__).resolve().parent
        self.checkout = here.parent if (here.parent / "web" / "page").is_dir() else None
        """The checkout's folder, None when the package was installed from a wheel."""
        self._root = self.checkout or here / "comfyui_pack"

    @property
    def requirements(self) -> Path:
        """The file of what ComfyUI's Python needs besides its own packages."""
        return self._root / "requirements.txt"

    def files(self) -> Iterator[tuple[str, Path]]:
        """(path below the pack's folder, where it lies here) of every file."""
        for name in ROOT_FILES:
            yield name, self._root / name
        folders = {name: self._root / name for name in ROOT_FOLDERS}
        folders["gates"] = Path(gates.__file__).resolve().parent
        folders["web"] = web_folder()
        for name, folder in folders.items():
            for path in sorted(folder.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    yield f"{name}/{path.relative_to(folder).as_posix()}", path

    def link(self, place: Path) -> bool:
        """Makes ``place`` a link to the checkout; False when it is one already, or the checkout itself.

        Raises Conflict when something that is not ours lies there, InvalidInput without a checkout.
        """
        if self.checkout is None:
            raise InvalidInput("This installation is no checkout: there is nothing to link to, only files to copy")
        if os.path.lexists(place) and place.resolve() == self.checkout:
            return False
        old = _set_aside(place)
        try:
            _link(self.checkout, place)
        except BaseException:
            _put_back(old, place)
            raise
        _remove(old)
        return True

    def copy(self, place: Path) -> bool:
        """Makes ``place`` a copy, whole or not at all; False when it is one of this very content already.

        Raises Conflict when something that is not ours lies there, or a copy that somebody changed.
        """
        if self.checkout is not None and place.resolve() == self.checkout and not is_link(place):
            return False
        mark = {"version": gates.__version__, "files": {name: _digest(path) for name, path in self.files()}}
        if not is_link(place) and _mark(place) == mark and not changed(place):
            return False
        # ComfyUI passes over what ends so.
        made = place.with_name(f".{NAME}-{secrets.token_hex(4)}.disabled")
        try:
            for name, source in self.files():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, made / name)
            (made / MARK).write_text(json.dumps(mark, indent=1), encoding="utf-8")
            old = _set_aside(place)
            try:
                os.rename(made, place)
            except BaseException:
                _put_back(old, place)
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
        _remove(old)
        return True


def is_pack(folder: Path) -> bool:
    """Whether that is this pack, in whatever version and however it came there."""
    return (folder / _SIGN).is_file() and (folder / "__init__.py").is_file()


def version_of(folder: Path) -> str:
    """The version of the pack in that folder, "" when it does not tell."""
    try:
        text = (folder / "gates" / "__init__.py").read_text(encoding="utf-8")
    except OSError:
        return ""
    return text.partition('__version__ = "')[2].partition('"')[0]


def is_link(place: Path) -> bool:
    """Whether it is a symbolic link or a junction."""
    if place.is_symlink():
        return True
    try:
        return sys.platform == "win32" and bool(os.readlink(place))
    except OSError:
        return False


def changed(place: Path) -> list[str]:
    """The files of our copy that somebody changed, added or took away; what Python makes of them does not count."""
    files: dict[str, str] = _mark(place).get("files", {})
    there = {path.relative_to(place).as_posix(): path for path in place.rglob("*") if path.is_file()}
    there = {name: path for name, path in there.items() if name != MARK and "__pycache__" not in path.parts}
    return sorted(name for name in {*there, *files} if name not in there or _digest(there[name]) != files.get(name))


def _mark(place: Path) -> dict[str, Any]:
    try:
        mark = json.loads((place / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return mark if isinstance(mark, dict) and isinstance(mark.get("files"), dict) else {}


def _set_aside(place: Path) -> Path | None:
    """Moves what is ours out of the way; returns where to, None when there is nothing. Raises Conflict."""
    if not os.path.lexists(place):
        return None
    if is_link(place):
        if not is_pack(place):
            raise Conflict(f"{place} is a link to {os.readlink(place)}, which is not this pack; take it away first")
    elif not _mark(place):
        raise Conflict(f"{place} was not put there by `gatebus install`, so it stays as it is; take it away first")
    else:
        files = changed(place)
        if files:
            raise Conflict(f"In {place} these files were changed: {', '.join(files[:5])}; take them away first")
    aside = place.with_name(f".{NAME}-{secrets.token_hex(4)}.old.disabled")
    os.rename(place, aside)
    return aside


def _put_back(aside: Path | None, place: Path) -> None:
    if aside is not None:
        os.rename(aside, place)


def _remove(aside: Path | None) -> None:
    if aside is None:
        return
    if aside.is_symlink():
        aside.unlink()
    elif is_link(aside):
        # A junction goes like an empty folder; what it leads to stays.
        aside.rmdir()
    else:
        shutil.rmtree(aside)


def _link(target: Path, place: Path) -> None:
    try:
        place.symlink_to(target, target_is_directory=True)
    except OSError:
        if sys.platform != "win32":
            raise
        # Symbolic links need a right there that few accounts have; junctions need none.
        import _winapi

        _winapi.CreateJunction(str(target), str(place))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
