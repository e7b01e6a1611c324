"""A ComfyUI on this machine: the pack in it, its settings, its Python and packages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gates import __version__
from gates.errors import GatebusError
from gates.settings import Settings

from ..comfyui_dir import ComfyDir, Python
from ..pack import Pack, is_link, version_of
from .finding import Finding, ok, warning, wrong

OLDEST = (0, 3, 60)

PACKAGES = ("comfyui-frontend-package", "torch", "numpy", "Pillow", "aiohttp", "redis", "hiredis", "msgpack", "isal")


def check(folder: Path, interpreter: Path | None, settings: Settings | None) -> Iterator[Finding]:
    """What there is to say of it; ``settings`` are the ones of this account, to compare with."""
    try:
        comfy = ComfyDir(folder)
    except GatebusError as error:
        yield wrong("comfyui", error.message, "name the folder that holds custom_nodes")
        return
    yield _version(comfy)
    yield _packs(comfy)
    yield _settings(comfy, settings)
    yield from _python(comfy, interpreter)


def _version(comfy: ComfyDir) -> Finding:
    if not comfy.version:
        return ok("comfyui", f"{comfy.folder} (a base directory, which does not tell the version)")
    numbers = tuple(int(part) for part in comfy.version.split(".") if part.isdecimal())
    if numbers < OLDEST:
        return wrong("comfyui", f"{comfy.folder}: version {comfy.version}", "update ComfyUI to 0.3.60 or later")
    return ok("comfyui", f"{comfy.folder}: version {comfy.version}")


def _packs(comfy: ComfyDir) -> Finding:
    places = comfy.packs()
    if not places:
        return wrong("comfyui.pack", f"the pack is not in {comfy.custom_nodes}", f"gatebus install '{comfy.folder}'")
    if len(places) > 1:
        names = ", ".join(place.name for place in places)
        return wrong("comfyui.pack", f"the pack is there more than once: {names}", "take all but one away")
    place, version = places[0], version_of(places[0])
    shown = f"{place}{f' -> {place.resolve()}' if is_link(place) else ''}: version {version or 'unknown'}"
    if version != __version__:
        mend = "update the older one; all that share a store should have the same version"
        return warning("comfyui.pack", f"{shown}; this command is {__version__}", mend)
    return ok("comfyui.pack", shown)


def _settings(comfy: ComfyDir, own: Settings | None) -> Finding:
    file = comfy.settings_file
    try:
        settings = comfy.settings()
    except GatebusError as error:
        return wrong("comfyui.settings", error.message, "correct or remove it; README.md lists every setting")
    if not file.is_file():
        text = f"there is no {file}; its settings are the variables that it is started with, and the defaults"
        if own is not None and own.store_url:
            return warning(
                "comfyui.settings",
                text,
                f"gatebus install '{comfy.folder}' --store-url URL, or start it with GATEBUS_STORE_URL",
            )
        return ok("comfyui.settings", text)
    shown = f"{file}: store {settings.safe_url or '(none: this machine only)'}"
    if own is not None and own.store_url and _target(settings) != _target(own):
        return warning(
            "comfyui.settings",
            f"{shown}; this command uses {own.safe_url}: they do not see each other's gates",
            f"gatebus install '{comfy.folder}' --store-url URL (a variable in ComfyUI's environment goes before it)",
        )
    return ok("comfyui.settings", shown)


def _target(settings: Settings) -> tuple[str, str]:
    return settings.safe_url, settings.namespace


def _python(comfy: ComfyDir, interpreter: Path | None) -> Iterator[Finding]:
    path = interpreter or comfy.python()
    if path is None:
        yield warning(
            "comfyui.python", "there is no Python in its folder, so its packages can't be told", "say --python PATH"
        )
        return
    try:
        python = Python(path)
        versions = python.versions(PACKAGES)
        missing = python.lacks(Pack().requirements)
    except GatebusError as error:
        yield wrong("comfyui.python", error.message, "say --python PATH")
        return
    yield ok(
        "comfyui.python", f"{python.path}: " + ", ".join(f"{name} {version}" for name, version in versions.items())
    )
    if missing:
        mend = f"'{python.path}' -m pip install {' '.join(repr(each) for each in missing)}"
        yield wrong("comfyui.packages", f"it lacks {', '.join(missing)}", mend)
    else:
        yield ok("comfyui.packages", "what the pack needs is there")
