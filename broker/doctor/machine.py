"""This machine: its settings and where they come from, its folders, and the broker that may run on it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx

from gates import __version__
from gates.errors import InvalidSetting
from gates.settings import PREFIX, Settings

from ..access import Access
from ..commands.table import size
from .finding import Finding, ok, warning, wrong

LITTLE = 2 * 1024**3
"""Bytes of a disk that should be left: it mirrors the pools in use."""

ALMOST_NONE = 100 * 1024**2

PATIENCE = 5.0
"""Seconds for a broker to answer."""

SECRET = frozenset(each.name for each in fields(Settings) if not each.repr)
"""Settings that nobody may see; of the store's URL and the tokens a part may be seen."""


def settings_of(access: Access, url_given: bool = False) -> tuple[Settings | None, list[Finding]]:
    """The settings, None when they are refused, and what there is to say of them; ``url_given``: by ``--url``."""
    try:
        settings = access.settings
    except InvalidSetting as error:
        return None, [wrong("settings", error.message, "correct or remove it; README.md lists every setting")]
    in_file = json.loads(access.file.read_text(encoding="utf-8")) if access.file.is_file() else {}
    found = []
    for each in fields(Settings):
        variable = PREFIX + each.name.upper()
        if each.name == "store_url" and url_given:
            source = "--url"
        else:
            source = variable if variable in os.environ else str(access.file) if each.name in in_file else ""
        if source:
            shown = shown_value(each.name, getattr(settings, each.name), settings)
            found.append(ok(f"setting.{each.name}", f"{shown} (from {source})"))
    if not found:
        found.append(ok("settings", f"all have their defaults (no {PREFIX}… variable, nothing in {access.file})"))
    found += _permissions(access.file, in_file)
    return settings, found


def shown_value(name: str, value: Any, settings: Settings) -> str:
    """The setting for people, without what is secret in it."""
    if name == "store_url":
        return settings.safe_url or "empty: this machine only"
    if name == "tokens":
        return ", ".join(f"{token.role}:{token.name}" for token in settings.tokens) or "none"
    if name in SECRET:
        return f"{len(value)} entries, not shown" if isinstance(value, tuple) else "set, not shown"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _permissions(file: Path, content: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether others may read a file of settings that holds a secret."""
    if sys.platform != "win32" and file.is_file() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        url = str(content.get("store_url", ""))
        secret = "@" in url or "password=" in url or any(content.get(name) for name in ("tokens", *SECRET))
        if secret:
            yield warning(
                "settings.file", f"others on this machine may read the secrets in {file}", f"chmod 600 '{file}'"
            )


def tokens(settings: Settings) -> Finding:
    """Who may use the HTTP API."""
    if not settings.tokens:
        return ok("tokens", "none: whoever reaches the API may do everything, so it listens on this machine only")
    named = ", ".join(f"{token.name} ({token.role})" for token in settings.tokens)
    if not any(token.role in ("decide", "admin") for token in settings.tokens):
        return warning("tokens", f"{named}: nobody may decide", "gatebus token create --role decide --name NAME")
    return ok("tokens", named)


def folders(access: Access, settings: Settings) -> Iterator[Finding]:
    """The folders that are written to."""
    names: Mapping[str, Path] = {"disk": settings.disk_dir or access.folder, "state": access.folder}
    for name, folder in names.items():
        if name == "state" and folder == names["disk"]:
            continue
        yield _folder(f"folder.{name}", folder)


def _folder(check: str, folder: Path) -> Finding:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    shown = f"{folder}" if there == folder else f"{folder} (is made when it is needed)"
    try:
        # A file that has no name, or loses it at once: os.access() does not know read-only mounts.
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        return wrong(
            check, f"{shown} can't be written: {error.strerror or error}", "give this account the right to write there"
        )
    if free < LITTLE:
        kind = wrong if free < ALMOST_NONE else warning
        return kind(
            check, f"{shown}: only {size(free)} are left", "free space, or set GATEBUS_DISK_DIR to another disk"
        )
    return ok(check, f"{shown}, {size(free)} free")


def broker(url: str, expected: bool, token: str = "") -> Finding:
    """The broker at the address; ``expected``: somebody says that there is one."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        # Straight to it: a proxy of the environment is for the world outside.
        with httpx.Client(timeout=PATIENCE, trust_env=False, headers=headers) as http:
            answer = http.get(f"{url.rstrip('/')}/gatebus/status")
    except httpx.HTTPError as error:
        text = f"nothing answers on {url}"
        if expected:
            return wrong("broker", text, "gatebus serve, or gatebus up; is the address right?")
        if isinstance(error, httpx.ConnectError):
            return ok("broker", f"{text}: none runs here, and its port is free")
        return warning("broker", f"{text}, but something holds the port", "gatebus serve --port N takes another one")
    except httpx.InvalidURL as error:
        return wrong("broker", f"{url} is no address: {error}", "http://127.0.0.1:8787")
    try:
        told = answer.json()
    except ValueError:
        told = {}
    if answer.status_code == 401 and told.get("error", {}).get("type") == "unauthorized":
        return ok("broker", f"{url} answers, and asks for a token")
    if "version" not in told or "store" not in told:
        text = f"something else answers on {url} ({answer.status_code})"
        return warning("broker", text, "start the broker on another port: gatebus serve --port N")
    shown = f"{url} answers: version {told['version']}, store {told['store']}"
    if told.get("unavailable"):
        return wrong("broker", f"{shown}: {told['unavailable']}", "see what is said of redis, above")
    if told["version"] != __version__:
        return warning("broker", f"{shown}; this command is {__version__}", "update both to the same version")
    return ok("broker", shown)
