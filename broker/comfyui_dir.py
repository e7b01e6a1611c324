"""A ComfyUI on this machine: its custom nodes, its Python, and the file of our settings in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from gates.errors import GatebusError, InvalidInput, NotFound
from gates.filelock import write_atomically
from gates.settings import PREFIX, Settings

from .access import SETTINGS_FILE
from .pack import is_pack

ANSWER_LIMIT = 60.0
"""Seconds for a Python to say which packages it has."""

_BIN = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
PYTHONS = (f".venv/{_BIN}", f"venv/{_BIN}", "../python_embeded/python.exe", "python_embeded/python.exe")
"""Where a ComfyUI has its Python: of itself, of the desktop application, of the portable build for Windows."""

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?:>=\s*([0-9.]+))?")

_VERSIONS = """
import importlib.metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


class ComfyDir:
    """The folder of a ComfyUI, or the base directory that it is started with."""

    def __init__(self, folder: Path) -> None:
        """Raises NotFound when it is none."""
        self.folder = folder.expanduser().absolute()
        self.custom_nodes = self.folder / "custom_nodes"
        if not self.custom_nodes.is_dir():
            raise NotFound(
                f"{self.folder} is no folder of a ComfyUI: it has no custom_nodes. With a --base-directory, name"
                " that one."
            )

    @property
    def settings_file(self) -> Path:
        """Where the pack in this ComfyUI reads its settings."""
        return self.folder / "user" / "__gatebus" / SETTINGS_FILE

    def settings(self) -> Settings:
        """The settings in the file alone; raises InvalidSetting."""
        return Settings.load(self.settings_file, {})

    def packs(self) -> list[Path]:
        """Every place among the custom nodes that holds this pack; more than one is one too many."""
        places = sorted(self.custom_nodes.iterdir())
        return [place for place in places if not place.name.endswith(".disabled") and is_pack(place)]

    def set_store_url(self, url: str) -> bool:
        """Writes the store URL into the settings file, beside what it has; False when it is there already.

        Raises InvalidSetting for a URL that is not accepted, or a file that has something wrong in it.
        """
        Settings.from_env({f"{PREFIX}STORE_URL": url})
        file = self.settings_file
        self.settings()
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if content.get("store_url") == url:
            return False
        file.parent.mkdir(parents=True, exist_ok=True)
        # It may hold a password.
        mask = os.umask(0o077)
        try:
            write_atomically(file, json.dumps({**content, "store_url": url}, indent=2, ensure_ascii=False).encode())
        finally:
            os.umask(mask)
        return True

    def check_store_url(self, url: str) -> None:
        """Raises what :meth:`set_store_url` would raise, and writes nothing."""
        Settings.from_env({f"{PREFIX}STORE_URL": url})
        self.settings()

    @cached_property
    def version(self) -> str:
        """ComfyUI's version, "" where the folder does not tell (a base directory)."""
        try:
            text = (self.folder / "comfyui_version.py").read_text(encoding="utf-8")
        except OSError:
            return ""
        return text.partition('__version__ = "')[2].partition('"')[0]

    def python(self) -> Path | None:
        """Its Python, where one lies in the folder; None when it is started with one from elsewhere."""
        return next((path for path in map(self.folder.joinpath, PYTHONS) if path.is_file()), None)


class Python:
    """An interpreter of somebody else, asked from outside."""

    def __init__(self, path: Path) -> None:
        """Raises NotFound when there is none."""
        self.path = path.expanduser().absolute()
        if not os.access(self.path, os.X_OK) or self.path.is_dir():
            raise NotFound(f"{self.path} is no Python that can be run")

    def versions(self, names: Sequence[str]) -> dict[str, str]:
        """Package -> version of those that it has; ``python`` is its own. Raises InvalidInput when it does not run."""
        try:
            # -I: neither this folder nor variables meant for us.
            answer = subprocess.run(
                [str(self.path), "-I", "-c", _VERSIONS, *names], capture_output=True, text=True, timeout=ANSWER_LIMIT
            )
            versions = json.loads(answer.stdout)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise InvalidInput(f"{self.path} does not run as a Python: {error}") from error
        return {str(name): str(version) for name, version in versions.items()}

    def lacks(self, requirements: Path) -> list[str]:
        """The lines of the file that what it has does not satisfy."""
        wanted = [line.strip() for line in requirements.read_text(encoding="utf-8").splitlines() if line.strip()]
        parsed = [(line, _REQUIREMENT.match(line)) for line in wanted]
        named = {match[1]: match[2] or "0" for _, match in parsed if match}
        versions = self.versions(sorted(named))
        return [line for line, match in parsed if match and not _at_least(versions.get(match[1]), named[match[1]])]

    def install(self, requirements: Path) -> None:
        """Installs the file's packages with its pip; pip writes to stderr. Raises GatebusError when it fails."""
        command = [str(self.path), "-m", "pip", "install", "--disable-pip-version-check", "-r", str(requirements)]
        if "pip" not in self.versions(["pip"]):
            # An environment that uv made has no pip of its own.
            command = ["uv", "pip", "install", "--python", str(self.path), "-r", str(requirements)]
        try:
            code = subprocess.run(command, stdout=sys.stderr, check=False).returncode
        except OSError as error:
            raise GatebusError(f"{self.path} has no pip, and there is no uv: {error}") from error
        if code != 0:
            raise GatebusError(f"The packages could not be installed: {' '.join(command)} failed with exit code {code}")


def _at_least(version: str | None, least: str) -> bool:
    return version is not None and _numbers(version) >= _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
