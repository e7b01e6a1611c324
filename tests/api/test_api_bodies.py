"""What the API is sent: bombs, fakes, cut and endless bodies, forms. Each a clear error, nothing written."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from gates.settings import MIB, Settings


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def flat_png(width: int, height: int, bits: int = 1, rows: int | None = None) -> bytes:
    """A PNG of one colour: a few kilobytes, whatever its size."""
    line = b"\0" + bytes((width * bits + 7) // 8)
    deflate = zlib.compressobj(9)
    data = b"".join(deflate.compress(line) for _ in range(height if rows is None else rows)) + deflate.flush()
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def small_png() -> bytes:
    target = io.BytesIO()
    Image.effect_noise((64, 64), 80).convert("RGB").save(target, "PNG")
    return target.getvalue()


def animated(kind: str) -> bytes:
    target = io.BytesIO()
    frames = [Image.new("RGB", (8, 6), (number, 0, 0)) for number in range(0, 250, 25)]
    frames[0].save(target, kind, save_all=True, append_images=frames[1:])
    return target.getvalue()


def with_text_bomb() -> bytes:
    data = small_png()
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(200 * MIB), 9))
    return data[:33] + bomb + data[33:]


PNG = small_png()
BAD = {
    "empty": b"",
    "one byte": b"\x89",
    "text": b"hello",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "html": b"<!doctype html><script>alert(1)</script>",
    "pickle": pickle.dumps({"a": 1}),
    "zip": b"PK\3\4" + bytes(100),
    "gif": animated("GIF"),
    "animated png": animated("PNG"),
    "animated webp": animated("WEBP"),
    "tiff": b"II*\0" + bytes(100),
    "half a png": PNG[: len(PNG) // 2],
    "a png without its end": PNG[:-12],
    "a png with a flipped bit": PNG[:200] + bytes([PNG[200] ^ 1]) + PNG[201:],
    "a png of no size": flat_png(8, 0),
    "12000 x 12000": flat_png(12_000, 12_000),
    "60000 x 60000": flat_png(60_000, 60_000, rows=1),
    "2 billion x 2 billion": flat_png(8, 8).replace(struct.pack(">II", 8, 8), struct.pack(">II", 2**31 - 1, 2**31 - 1)),
    "a text of 200 MB": with_text_bomb(),
}
UPLOADS = [
    ("PUT", "/gatebus/gates/{gate}/mask"),
    ("PUT", "/gatebus/buses/cp1"),
    ("POST", "/gatebus/pools/p1/slots"),
    ("PUT", "/gatebus/pools/p1/slots/img_0001.png/mask"),
]


@pytest.fixture
async def ready(local: Any, image: Any) -> Any:
    """A host with a gate and a pool of one slot, and what is on its disk."""
    gate = local.open_gate().gate.id
    await local.send("POST", "/gatebus/pools/p1/slots", image())
    return local, gate


@pytest.mark.parametrize("name", BAD)
async def test_what_is_no_image_is_refused_and_nothing_is_written(ready: Any, name: str) -> None:
    host, gate = ready
    before, gates = host.tree(), await host.json("/gatebus/gates")
    for method, path in UPLOADS:
        for content_type in ("image/png", "application/octet-stream"):
            kind = {"Content-Type": content_type}
            answer = await host.client.request(method, path.format(gate=gate), data=BAD[name], headers=kind)
            told = await answer.json()
            assert answer.status in (413, 422), (path, told)
            assert told["error"]["type"] in ("too_large", "invalid_image")
    boundary = form_body(("image", BAD[name]))
    answer = await host.client.post("/grid_pool/add", data=boundary, headers=FORM)
    assert answer.status in (400, 413, 422)
    assert host.tree() == before
    assert await host.json("/gatebus/gates") == gates


async def test_an_image_that_is_also_a_page_is_stored_without_the_page(local: Any) -> None:
    page = b"<html><script>alert(document.domain)</script></html>"
    fakes = [
        PNG + page,
        PNG[:33] + chunk(b"tEXt", b"Comment\0" + page) + PNG[33:],
        PNG[:33] + chunk(b"iCCP", b"icc\0\0" + zlib.compress(page)) + PNG[33:],
    ]
    for number, data in enumerate(fakes, 1):
        await local.send("POST", "/gatebus/pools/p1/slots", data)
        answer = await local.get(f"/gatebus/pools/p1/slots/img_{number:04}.png/image")
        stored = await answer.read()
        assert answer.content_type == "image/png"
        assert page not in stored
        assert zlib.compress(page) not in stored
        assert b"tEXt" not in stored


async def endless(total: int) -> AsyncIterator[bytes]:
    for _ in range(total // 65_536):
        yield bytes(65_536)


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_beyond_the_limit_is_cut_off(host_at: Any, chunked: bool) -> None:
    host = await host_at(replace(Settings(), max_image_bytes=MIB, max_archive_bytes=2 * MIB))
    gate = host.open_gate().gate.id
    before = host.tree()
    targets = [
        ("PUT", f"/gatebus/gates/{gate}/mask", "image/png"),
        ("PUT", "/gatebus/buses/cp1", "application/octet-stream"),
        ("POST", "/gatebus/pools/p1/slots", "image/webp"),
        ("POST", "/gatebus/pools/p1/import", "application/zip"),
        ("POST", f"/gatebus/gates/{gate}/route", "application/json"),
        ("POST", "/grid_pool/add", FORM["Content-Type"]),
        ("POST", "/grid_pool/label", "application/json"),
    ]
    for method, path, content_type in targets:
        data: Any = endless(4 * MIB) if chunked else bytes(4 * MIB)
        answer = await host.client.request(method, path, data=data, headers={"Content-Type": content_type})
        assert (answer.status, (await answer.json())["error"]["type"]) == (413, "too_large"), path
    assert host.tree() == before
    assert host.api.intake._held == 0


async def test_uploads_that_are_too_much_together_are_put_off(local: Any, image: Any) -> None:
    local.api.intake._limit = 100_000
    refused = await local.send("POST", "/gatebus/pools/p1/slots", bytes(200_000), status=503)
    assert refused["error"]["type"] == "too_busy"
    assert local.api.intake._held == 0
    await local.send("POST", "/gatebus/pools/p1/slots", image())


async def test_a_sender_that_stalls_is_given_up(local: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("gates.api.intake.STALL", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", local.client.port)
    writer.write(
        b"POST /gatebus/pools/p1/slots HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        b"Content-Length: 1000\r\n\r\nabc"
    )
    answer = await asyncio.wait_for(reader.readuntil(b"}}"), 10)
    assert b" 400 " in answer.split(b"\r\n")[0]
    assert b"No byte of the image came" in answer
    writer.close()


@pytest.mark.parametrize("tail", [b"", b"zz\r\n", b"-5\r\n", b"10\r\nabc"])
async def test_a_body_that_breaks_off_stores_nothing(local: Any, eventually: Any, tail: bytes) -> None:
    before = local.tree()
    _, writer = await asyncio.open_connection("127.0.0.1", local.client.port)
    writer.write(
        b"POST /gatebus/pools/p1/slots HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n" + tail
    )
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()

    async def released() -> bool:
        return local.api.intake._held == 0

    await eventually(released)
    assert (await local.json("/gatebus/pools"))["pools"] == []
    assert local.tree() == before


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity"])
async def test_an_encoded_body_is_refused(ready: Any, encoding: str) -> None:
    host, gate = ready
    body = gzip.compress(b'{"route": 1}')
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding, "Host": "localhost"}
    sent = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", host.client.port)
    writer.write(
        f"POST /gatebus/gates/{gate}/route HTTP/1.1\r\n{sent}Content-Length: {len(body)}\r\n\r\n".encode() + body
    )
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
    assert b" 400 " in answer
    assert (await host.json(f"/gatebus/gates/{gate}"))["status"] == "waiting"
    writer.close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"route"',
        b"1",
        b"\xff\xfe{}",
        b'\xef\xbb\xbf{"route": 1}',
        b'{"route": NaN}',
        b'{"route": Infinity}',
        b'{"route": 1.5}',
        b'{"route": true}',
        b'{"route": ' + b"9" * 5000 + b"}",
        b'{"route": 1, "text": "\\ud800"}',
        b'{"route": 1, "text": "\\u0000"}',
        b'{"route": 1, "text": "\xff"}',
        b'{"route": 1} {"route": 2}',
        b"[" * 30_000 + b"]" * 30_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"route": 1, "__proto__": {}}',
    ],
)
async def test_what_is_no_json_of_ours_is_refused(ready: Any, body: bytes) -> None:
    host, gate = ready
    refused = await host.send("POST", f"/gatebus/gates/{gate}/route", body, 400, "application/json")
    assert refused["error"]["type"] == "invalid_input"
    assert (await host.json(f"/gatebus/gates/{gate}"))["status"] == "waiting"


async def test_a_json_body_is_at_most_64_kb(ready: Any) -> None:
    host, gate = ready
    body = json.dumps({"by": "x", "decision_id": " " * 66_000}).encode()
    refused = await host.send("POST", f"/gatebus/gates/{gate}/cancel", body, 413, "application/json")
    assert refused["error"]["details"]["limit"] == 65_536


# -- the kept forms -------------------------------------------------------------------------
FORM = {"Content-Type": "multipart/form-data; boundary=XX"}


def form_body(*parts: tuple[str, bytes], head: str = "", end: bytes = b"--XX--\r\n") -> bytes:
    body = b""
    for name, data in parts:
        body += f'--XX\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n{head}\r\n'.encode()
        body += data + b"\r\n"
    return body + end


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (FORM, b""),
        (FORM, b"nonsense"),
        (FORM, form_body(("image", PNG), end=b"")),
        (FORM, form_body(("image", PNG), end=b"--XX")),
        (FORM, form_body(("image", PNG), ("image", PNG))),
        (FORM, form_body(*((f"n{number}", b"") for number in range(40)))),
        (FORM, form_body(("image", PNG), head="Content-Transfer-Encoding: base64\r\n")),
        (FORM, form_body(("image", PNG), head="content-transfer-encoding: binary\r\n")),
        (FORM, form_body(("image", PNG), head="Content-Encoding: gzip\r\n")),
        (FORM, form_body(("image", PNG), head="Content-Type: multipart/mixed; boundary=YY\r\n")),
        (FORM, form_body(("image", PNG), head="X: " + "y" * 5000 + "\r\n")),
        (FORM, form_body(("image", PNG), head="no colon\r\n")),
        (FORM, form_body(("pool_id", b"../../etc"), ("image", PNG))),
        (FORM, form_body(("pool_id", b"\xff\xfe"), ("image", PNG))),
        (FORM, b'--XX\r\nContent-Disposition: attachment; name="image"\r\n\r\n' + PNG + b"\r\n--XX--"),
        (FORM, b"--XX\r\nContent-Disposition: form-data\r\n\r\n" + PNG + b"\r\n--XX--"),
        (FORM, b"--XX\r\n\r\n" + PNG + b"\r\n--XX--"),
        ({"Content-Type": "multipart/form-data"}, form_body(("image", PNG))),
        ({"Content-Type": "multipart/form-data; boundary=" + "x" * 500}, form_body(("image", PNG))),
        ({"Content-Type": "multipart/mixed; boundary=XX"}, form_body(("image", PNG))),
    ],
)
async def test_a_form_that_is_not_plain_is_refused(local: Any, headers: dict[str, str], body: bytes) -> None:
    before = local.tree()
    answer = await local.client.post("/grid_pool/add", data=body, headers=headers)
    assert (answer.status, (await answer.json())["error"]["type"]) in [(400, "invalid_input"), (400, "invalid_name")]
    assert local.tree() == before


async def test_a_form_is_bounded_like_any_upload(host_at: Any) -> None:
    host = await host_at(replace(Settings(), max_image_bytes=100_000))
    body = form_body(("image", bytes(200_000)))
    answer = await host.client.post("/grid_pool/add", data=body, headers=FORM)
    assert answer.status == 413
    hidden = form_body(("image", b"QUJD" * 100_000), head="Content-Transfer-Encoding: base64\r\n")
    assert (await host.client.post("/grid_pool/add", data=hidden, headers=FORM)).status == 413


async def test_a_form_may_hold_the_boundary_s_beginning_in_its_bytes(local: Any, image: Any) -> None:
    data = image() + b"\r\n--X\r\n--\r\n"
    answer = await local.client.post("/grid_pool/add", data=form_body(("image", data)), headers=FORM)
    assert answer.status == 200


# -- archives -------------------------------------------------------------------------------
def zipped(*entries: tuple[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return target.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        zipped(("a.png", BAD["12000 x 12000"])),
        zipped(("a.png", PNG), ("b.png", b"no image")),
        zipped(("a.png", PNG), ("b.png", BAD["svg"])),
        zipped(("a.png", bytes(300 * MIB))),
        zipped(("a.png", PNG))[:-30],
        b"",
    ],
    ids=["bomb", "no image", "svg", "zeros", "cut", "empty"],
)
async def test_an_archive_with_something_bad_makes_no_pool(local: Any, data: bytes) -> None:
    before = local.tree()
    answer = await local.client.post("/gatebus/pools/p9/import", data=data, headers={"Content-Type": "application/zip"})
    assert answer.status in (400, 413, 422)
    assert (await local.json("/gatebus/pools"))["pools"] == []
    assert {path for path in local.tree() if ".lock" not in path} == set(before)
