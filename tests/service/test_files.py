"""The page's files: their types, their tags, and nothing else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from broker.page import TYPES, mount_page, web_folder

Client = TestClient[Any, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "web"
    (folder / "page" / "sub").mkdir(parents=True)
    (folder / "page" / "index.html").write_text("<!doctype html>")
    (folder / "page" / "a.mjs").write_text("export {};")
    (folder / "page" / "secret.py").write_text("secret")
    (folder / "page" / ".env").write_text("secret")
    (folder / "page" / ".hidden.mjs").write_text("secret")
    (folder / "page" / "no-suffix").write_text("secret")
    (tmp_path / "outside.mjs").write_text("secret")
    return folder


@pytest.fixture
async def client(folder: Path) -> AsyncIterator[Client]:
    app = web.Application()
    mount_page(app, folder)
    client: Client = TestClient(TestServer(app))
    await client.start_server()
    yield client
    await client.close()


async def test_files_have_their_types_and_a_strict_policy(client: Client) -> None:
    answer = await client.get("/web/page/a.mjs")
    assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
    index = await client.get("/")
    assert index.headers["Content-Type"] == "text/html; charset=utf-8"
    for each in (answer, index):
        assert each.headers["X-Content-Type-Options"] == "nosniff"
        assert each.headers["Cache-Control"] == "no-cache"
        policy = each.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


async def test_what_has_not_changed_is_304_and_an_update_shows_at_once(client: Client, folder: Path) -> None:
    first = await client.get("/web/page/a.mjs")
    tag = {"If-None-Match": first.headers["ETag"]}
    assert (await client.get("/web/page/a.mjs", headers=tag)).status == 304
    assert (
        await client.get("/web/page/a.mjs", headers={"If-None-Match": f'"x", W/{tag["If-None-Match"]}'})
    ).status == 304
    (folder / "page" / "a.mjs").write_text("export const updated = 1;")
    answer = await client.get("/web/page/a.mjs", headers=tag)
    assert (answer.status, await answer.text()) == (200, "export const updated = 1;")


@pytest.mark.parametrize(
    "path",
    [
        *("/web", "/web/", "/web/page", "/web/page/", "/web/page/sub/", "/web/nothing.mjs", "/web/page/a.mjs/"),
        *("/web/page/secret.py", "/web/page/.env", "/web/page/.hidden.mjs", "/web/page/no-suffix"),
        *("/web/../outside.mjs", "/web/page/../../outside.mjs", "/web/%2e%2e/outside.mjs", "/web/..%2foutside.mjs"),
        *("/web/page/..%5c..%5coutside.mjs", "/web//etc/passwd", "/web/%2fetc/passwd", "/web/C:/outside.mjs"),
        *("/web/page/a.mjs%00", "/web/page/a.mjs%00.css", "/web/page//a.mjs", "/web/./page/a.mjs"),
    ],
)
async def test_there_is_no_way_out_and_no_listing(client: Client, path: str) -> None:
    # By hand, because clients tidy up such paths before they send them.
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.split()[1] in (b"400", b"404"), answer
    assert b"secret" not in answer


async def test_links_that_lead_out_are_not_followed(client: Client, folder: Path) -> None:
    if not hasattr(os, "symlink"):
        pytest.skip("no symlinks here")
    (folder / "page" / "out.mjs").symlink_to(folder.parent / "outside.mjs")
    (folder / "page" / "up").symlink_to(folder.parent)
    (folder / "page" / "in.mjs").symlink_to(folder / "page" / "a.mjs")
    assert (await client.get("/web/page/out.mjs")).status == 404
    assert (await client.get("/web/page/up/outside.mjs")).status == 404
    assert (await client.get("/web/page/in.mjs")).status == 200


async def test_every_file_that_the_page_may_load_is_of_a_known_kind() -> None:
    files = [path for name in ("page", "comfyui/lib") for path in (web_folder() / name).rglob("*") if path.is_file()]
    assert files
    assert [path.name for path in files if path.suffix not in TYPES] == []
