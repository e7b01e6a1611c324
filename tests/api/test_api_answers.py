"""What answers tell and what they leave untouched; names that are ways out of a folder, a key or a header."""

from __future__ import annotations

from typing import Any

import pytest
from yarl import URL

from gates.api import TABLE
from gates.errors import StoreUnavailable
from gates.guard import CONTENT_TYPES

SAMPLE = {"gate_id": "0" * 32, "instance_id": "0" * 32, "name": "cp1", "pool_id": "p1", "file": "img_0001.png"}


async def test_an_unforeseen_failure_tells_nothing_of_the_inside(local: Any, monkeypatch: Any, caplog: Any) -> None:
    def fail(live: bool = True) -> None:
        raise RuntimeError("/home/me/secret/place")

    monkeypatch.setattr(local.store.gates, "records", fail)
    failed = await local.json("/gatebus/gates", 500)
    assert failed["error"]["type"] == "error"
    assert "secret" not in str(failed)
    assert "Traceback" in caplog.text


async def test_an_away_store_is_an_answer_not_a_failure(local: Any, monkeypatch: Any) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("Redis at redis://host does not answer")

    for store, method in [("gates", "get"), ("buses", "heads"), ("pools", "infos")]:
        monkeypatch.setattr(getattr(local.store, store), method, away)
    for path in (f"gates/{'0' * 32}", "buses", "pools"):
        assert (await local.json(f"/gatebus/{path}", 503))["error"]["type"] == "store_unavailable"


@pytest.mark.parametrize(
    "path",
    [
        "gates/{gate}/preview",
        "gates/{gate}/image",
        "pools/p1/slots/img_0001.png/image",
        "pools/p1/slots/img_0001.png/thumbnail",
        "pools/p1/export",
        "status",
        "gates",
        "no/such",
    ],
)
async def test_nothing_that_is_answered_can_run_as_a_page(local: Any, image: Any, path: str) -> None:
    gate_id = local.open_gate().gate.id
    await local.send("POST", "/gatebus/pools/p1/slots", image())
    answer = await local.get(f"/gatebus/{path.format(gate=gate_id)}")
    if path == "no/such":
        assert answer.status == 404
        return
    assert answer.status == 200
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"].startswith("private")
    assert answer.content_type in ("image/jpeg", "image/png", "image/webp", "application/json", "application/zip")


async def test_a_get_changes_nothing(local: Any, image: Any) -> None:
    waiter = local.open_gate()
    await local.send("POST", "/gatebus/pools/p1/slots", image())
    await local.send("PUT", "/gatebus/buses/cp1", image())
    before, cursor = stored(local), local.store.events.cursor()
    paths = {**SAMPLE, "gate_id": waiter.gate.id}
    for route in TABLE:
        if route.method == "GET" and route.path != "/gatebus/events":
            answer = await local.get(route.path.format(**paths))
            assert answer.status in (200, 404), route.path
    assert waiter.gate.status == "waiting"
    assert local.store.events.cursor() == cursor
    assert stored(local) == before


def stored(host: Any) -> dict[str, bytes]:
    """What is on the disk besides the cache of thumbnails."""
    return {path: data for path, data in host.tree().items() if "thumbnails" not in path}


# -- names ----------------------------------------------------------------------------------
EVIL_NAMES = [
    "..", ".", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%2f..%2fetc", "..%5c..%5cwindows", "a%2fb", "a%5cb",
    "%00", "a%00b", "%0a", "a%0d%0aX-Evil:%201", "con", "CON.txt", "nul", "com1", "lpt%c2%b9", ".hidden", "a.", "a..b",
    "%7bgatebus%7d", "a%7d:x", "a*", "a%3f", "%e2%80%ae", "%ef%bc%8e%ef%bc%8e%2f", "a" * 65, "%ff%fe", "~", "c:",
    "%252e%252e", "a%20b", "%24%28id%29", "%3cscript%3e", "manifest.json%2f..", "%cc%81a",
]  # fmt: skip


@pytest.mark.parametrize("name", EVIL_NAMES)
async def test_a_name_that_is_a_way_out_is_refused_everywhere(local: Any, image: Any, name: str) -> None:
    (local.folder.parent / "outside.png").write_bytes(b"mine")
    around = {path: path.stat().st_mtime_ns for path in local.folder.parent.rglob("*")}
    for route in TABLE:
        if "{" not in route.path:
            continue
        for variable in SAMPLE:
            if f"{{{variable}}}" not in route.path:
                continue
            path = route.path.format(**{**SAMPLE, variable: name})
            kind = {"Content-Type": CONTENT_TYPES[route.body][0]} if route.body else {}
            data = {"image": image(), "json": b'{"files": ["img_0001.png"], "route": 1}'}.get(route.body, b"")
            url = URL(f"http://127.0.0.1:{local.client.port}{path}", encoded=True)
            answer = await local.client.session.request(route.method, url, headers=kind, data=data)
            assert answer.status in (400, 404, 405), (route.method, path, answer.status)
            assert "X-Evil" not in answer.headers
    url = URL(f"http://127.0.0.1:{local.client.port}/grid_pool/list?pool_id={name}", encoded=True)
    assert (await local.client.session.get(url)).status == 400
    assert {path: path.stat().st_mtime_ns for path in local.folder.parent.rglob("*")} == around
