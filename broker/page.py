"""The broker's page: the files of ``web/``, served as they lie there.

Every file is asked for anew (``no-cache`` with an ETag), so that an update of the package shows
at once. What is no file of a known kind inside the folder is not there: no listing, no way out.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""Scripts, styles and images of this server alone; never inside a frame."""

TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
"""Suffix -> type of what is served; the system's own table of types is not asked, it lacks .mjs in places."""

_TEXT = ("text/", "application/json", "image/svg+xml")


@dataclass(frozen=True)
class _Held:
    """A file as it was read, until its time or size is another."""

    stamp: tuple[int, int]
    data: bytes
    tag: str


class Files:
    """Serves the files of one folder; they are small and kept in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._held: dict[Path, _Held] = {}

    async def answer(self, http: web.Request, path: str) -> web.StreamResponse:
        """The file at that path below the folder, 304 when the asker has it; raises HTTPNotFound."""
        held = await asyncio.get_running_loop().run_in_executor(None, self._read, path)
        if held is None:
            raise web.HTTPNotFound
        kind = TYPES[Path(path).suffix]
        headers = {**PAGE_HEADERS, "ETag": f'"{held.tag}"'}
        given = http.headers.get("If-None-Match", "").split(",")
        if any(entry.strip().removeprefix("W/") == f'"{held.tag}"' for entry in given):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = f"{kind}; charset=utf-8" if kind.startswith(_TEXT) else kind
        return web.Response(body=held.data, headers=headers)

    def _read(self, path: str) -> _Held | None:
        parts = path.split("/")
        # Hidden files, "..", drives and device names of Windows have one of these.
        if any(not part or part.startswith(".") or "\\" in part or ":" in part or "\0" in part for part in parts):
            return None
        file = self._folder.joinpath(*parts)
        try:
            # As it is on the disk: a link that leads out of the folder leads to another place.
            if file.suffix not in TYPES or not file.resolve().is_relative_to(self._folder) or not file.is_file():
                return None
            state = file.stat()
            held = self._held.get(file)
            if held is None or held.stamp != (state.st_mtime_ns, state.st_size):
                data = file.read_bytes()
                tag = hashlib.blake2b(data, digest_size=16).hexdigest()
                held = self._held[file] = _Held((state.st_mtime_ns, state.st_size), data, tag)
        except (OSError, ValueError):
            return None
        return held


def web_folder() -> Path:
    """The folder that holds ``page/`` and ``comfyui/``: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent
    return next(folder for folder in (here / "web", here.parent / "web") if (folder / "page").is_dir())


def mount_page(app: web.Application, folder: Path | None = None) -> None:
    """Puts the page at ``/`` and its files below ``/web``; ``folder`` by default :func:`web_folder`."""
    files = Files(folder or web_folder())

    async def index(http: web.Request) -> web.StreamResponse:
        return await files.answer(http, "page/index.html")

    async def file(http: web.Request) -> web.StreamResponse:
        return await files.answer(http, http.match_info["path"])

    app.router.add_get("/", index)
    app.router.add_get("/web/{path:.+}", file)
