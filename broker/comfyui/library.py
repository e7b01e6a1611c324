"""The workflow templates of this account: those that gatebus ships, and a folder of the user's own, which go first."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gates.errors import Conflict, GatebusError, StoreUnavailable
from gates.filelock import locked, write_atomically
from gates.names import check_name

from .refusals import InvalidTemplate, TemplateNotFound
from .workflows import MAX_BYTES, Template

SHIPPED = Path(__file__).parent / "templates"
KEPT = 10
"""Backups of one template that are kept by default."""

_STAMP = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True)
class Entry:
    """One template of a library, as a list shows it."""

    name: str
    path: Path
    shipped: bool
    """Whether it came with gatebus."""
    replaces: bool
    """Whether it stands in the place of a shipped one of the same name."""
    template: Template | None
    problem: str = ""
    """Why the file is no template; "" when it is one."""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "name": self.name,
            "about": self.template.about if self.template else "",
            "shipped": self.shipped,
            "replaces": self.replaces,
            "parameters": list(self.template.parameters) if self.template else [],
            "problem": self.problem,
        }


class WorkflowLibrary:
    """Templates by name; safe to use from several processes.

    ``folder``: the user's own templates; None for the shipped ones alone. ``backups``: where the
    former version of a template goes before it is overwritten or deleted (default: ``.backups`` in
    the folder); the newest ``keep`` of each stay. Names pass check_name, so no path leads out.
    """

    def __init__(
        self,
        folder: Path | None = None,
        backups: Path | None = None,
        keep: int = KEPT,
        shipped: Path = SHIPPED,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        """Opens nothing; the folders are made when something is saved."""
        self.folder = folder
        self.shipped = shipped
        self._backups = backups if backups is not None else (folder / ".backups" if folder else None)
        self._keep = max(1, keep)
        self._now = now

    def load(self, name: str) -> Template:
        """The template; raises TemplateNotFound, InvalidTemplate, InvalidName."""
        name = check_name(name, "template's name")
        for folder in (self.folder, self.shipped):
            path = _inside(folder, name) if folder else None
            if path is not None and path.is_file():
                return _read(path, name)
        there = ", ".join(entry.name for entry in self.entries()) or "none"
        raise TemplateNotFound(f"There is no template {name}; there are: {there}", template=name)

    def entries(self) -> list[Entry]:
        """Every template by name; a file that is none is listed with the reason."""
        entries: dict[str, Entry] = {}
        for folder in (self.shipped, self.folder):
            for path in sorted(folder.glob("*.json")) if folder is not None and folder.is_dir() else []:
                shipped = folder == self.shipped
                replaces = not shipped and path.stem in entries
                try:
                    entry = Entry(path.stem, path, shipped, replaces, _read(path, check_name(path.stem)))
                except GatebusError as error:
                    entry = Entry(path.stem, path, shipped, replaces, None, error.message)
                entries[path.stem] = entry
        return [entries[name] for name in sorted(entries)]

    def save(self, template: Template, overwrite: bool = False) -> Path:
        """Writes the template into the user's folder, whole or not at all; returns its path.

        Raises Conflict when there is one of that name (a shipped one too) and ``overwrite`` is not
        said; what is overwritten is backed up first.
        """
        folder = self._own("save")
        document = template.to_json()
        # What was built in Python passes the same checks as what is read.
        checked = Template.from_json(document, check_name(template.name, "template's name"))
        data = (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode()
        if len(data) > MAX_BYTES:
            raise InvalidTemplate(
                f"The template {checked.name} has {len(data)} bytes; at most {MAX_BYTES} are accepted"
            )
        _make(folder)
        with locked(folder / ".lock"):
            path = _inside(folder, checked.name)
            if not overwrite and (path.exists() or _inside(self.shipped, checked.name).exists()):
                raise Conflict(f"There is a template {checked.name} already", template=checked.name)
            self._back_up(path)
            write_atomically(path, data)
        return path

    def delete(self, name: str) -> None:
        """Deletes a template of the user's, after a backup; one that it replaced is there again.

        Raises TemplateNotFound, and Conflict for a shipped one.
        """
        name = check_name(name, "template's name")
        folder = self._own("delete")
        if folder.is_dir():
            with locked(folder / ".lock"):
                path = _inside(folder, name)
                if path.is_file():
                    self._back_up(path)
                    path.unlink()
                    return
        if _inside(self.shipped, name).is_file():
            raise Conflict(f"The template {name} came with gatebus and can't be deleted", template=name)
        raise TemplateNotFound(f"There is no template {name}", template=name)

    def backups(self, name: str) -> list[Path]:
        """The kept former versions of a template, oldest first."""
        name = check_name(name, "template's name")
        if self._backups is None or not self._backups.is_dir():
            return []
        form = re.compile(re.escape(name) + r"\.[0-9]{8}T[0-9]{6}\.[0-9]{6}Z(-[0-9]+)?\.json")
        return sorted(path for path in self._backups.iterdir() if form.fullmatch(path.name))

    def _own(self, what: str) -> Path:
        if self.folder is None:
            raise Conflict(f"This library has no folder of its own to {what} a template in")
        return self.folder

    def _back_up(self, path: Path) -> None:
        if self._backups is None or not path.is_file():
            return
        _make(self._backups)
        stamp = self._now().strftime(_STAMP)
        target = self._backups / f"{path.stem}.{stamp}.json"
        number = 1
        while target.exists():
            target = self._backups / f"{path.stem}.{stamp}-{number}.json"
            number += 1
        write_atomically(target, path.read_bytes())
        for old in self.backups(path.stem)[: -self._keep]:
            old.unlink(missing_ok=True)


def _inside(folder: Path, name: str) -> Path:
    """The template's file; a link that leads out of the folder is none of its templates."""
    path = folder / f"{name}.json"
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise InvalidTemplate(f"The file of the template {name} is a link that leads out of its folder", template=name)
    return path


def _read(path: Path, name: str) -> Template:
    try:
        _inside(path.parent, name)
        with open(path, "rb") as file:
            return Template.from_bytes(file.read(MAX_BYTES + 1), name)
    except OSError as error:
        raise StoreUnavailable(f"{path} can't be read: {error.strerror or error}", path=str(path)) from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"{folder} can't be made: {error.strerror or error}", path=str(folder)) from error
