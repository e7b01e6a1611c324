"""The broker's page: the files of ``web/``, served as they lie there."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Scripts, styles and images of this server alone; never inside a frame."""


def web_folder() -> Path:
    """The folder that holds ``page/`` and ``comfyui/``: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent
    return next(folder for folder in (here / "web", here.parent / "web") if (folder / "page").is_dir())


def mount_page(app: web.Application) -> None:
    """Puts the page at ``/`` and its files below ``/web``."""
    folder = web_folder()

    async def index(_: web.Request) -> web.FileResponse:
        return web.FileResponse(folder / "page" / "index.html", headers=PAGE_HEADERS)

    app.router.add_get("/", index)
    app.router.add_static("/web", folder)
