"""How a broker listens: sub-paths, TLS, proxies, sizes, and callers that are slow or too many."""

from __future__ import annotations

import asyncio
import http.client
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from broker import server
from broker.app import check_prefix, make_app
from broker.server import Listening
from gates.errors import InvalidInput, InvalidSetting
from tests.service.processes import LIMIT, Broker, Command, Gatebus, Studio, refused


def fetch(url: str, context: ssl.SSLContext | None = None, **headers: str) -> tuple[int, bytes]:
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    opener = urllib.request.build_opener(Stay, urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=LIMIT) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Location", "").encode() or error.read()


# -- sub-paths ------------------------------------------------------------------------------
def test_everything_lies_below_the_prefix(studio: Studio, start: Callable[..., Command]) -> None:
    command = start("--url", studio.url, "serve", "--port", "0", "--prefix", "/a/gatebus-farm/")
    url = command.line(r"http://\S+")[0]
    assert url.endswith("/a/gatebus-farm")
    root = url.removesuffix("/a/gatebus-farm")
    assert fetch(url) == (307, b"gatebus-farm/")
    assert fetch(url + "?a=1") == (307, b"gatebus-farm/?a=1")
    waiter = studio.open_gate()
    for path in ("/", "/web/page/page.mjs", "/gatebus/gates", "/healthz", "/metrics"):
        assert fetch(url + path)[0] == 200, path
        assert fetch(root + path)[0] == 404, path
    status, gate = Broker(url).ask(f"/gatebus/gates/{waiter.gate.id}/route", {"route": 1})
    assert (status, gate["decision"]["route"]) == (200, 1)
    figures = fetch(url + "/metrics")[1].decode()
    assert 'gatebus_exchanges_total{method="POST",route="/gatebus/gates/{gate_id}/route",status="200"} 1.0' in figures
    assert command.end() == 0


@pytest.mark.parametrize("prefix", ["gatebus", "/a b", "//a", "/../a", "/a/{b}", "/a?b", "/a/./b"])
def test_what_is_no_sub_path_is_refused(prefix: str, gatebus: Gatebus) -> None:
    with pytest.raises(InvalidInput):
        check_prefix(prefix)
    assert "prefix" in refused(gatebus("serve", "--port", "0", "--prefix", prefix), 2)


def test_a_slash_is_no_prefix() -> None:
    assert [check_prefix(prefix) for prefix in ("", "/", "/a/", "/a/b_c-1.2~")] == ["", "", "/a", "/a/b_c-1.2~"]


# -- proxies --------------------------------------------------------------------------------
def test_behind_a_trusted_proxy_the_log_names_the_client(studio: Studio, start: Callable[..., Command]) -> None:
    command = start("--url", studio.url, "serve", "--port", "0", GATEBUS_TRUSTED_PROXIES="127.0.0.0/8")
    url = command.line(r"http://\S+")[0]
    assert fetch(f"{url}/gatebus/gates", **{"X-Forwarded-For": "203.0.113.9"})[0] == 200
    command.line(r"exchange .*remote=203\.0\.113\.9")
    assert fetch(f"{url}/gatebus/gates", **{"X-Forwarded-Host": "evil.example"})[0] == 421


# -- TLS ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


def test_tls_with_a_certificate_of_ones_own(
    studio: Studio, start: Callable[..., Command], certificate: tuple[Path, Path]
) -> None:
    cert, key = map(str, certificate)
    command = start("--url", studio.url, "serve", "--port", "0", "--tls-cert", cert, "--tls-key", key)
    url = command.line(r"https://\S+")[0]
    trusting = ssl.create_default_context(cafile=cert)
    assert fetch(f"{url}/healthz", trusting) == (200, b'{"status":"ok"}')
    origin = {"Origin": url, "Sec-Fetch-Site": "same-origin"}
    assert fetch(f"{url}/gatebus/gates", trusting, **origin)[0] == 200
    assert fetch(f"{url}/gatebus/gates", trusting, Origin=url.replace("https", "http"))[0] == 403
    with pytest.raises(urllib.error.URLError):
        fetch(f"{url}/healthz", ssl.create_default_context())
    with pytest.raises((urllib.error.URLError, http.client.HTTPException, OSError)):
        fetch(url.replace("https", "http") + "/healthz")
    assert command.end() == 0


def test_files_that_are_no_certificate_are_named(
    gatebus: Gatebus, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = map(str, certificate)
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    assert "wrong.pem" in refused(gatebus("serve", "--port", "0", "--tls-cert", str(wrong)), 2)
    assert "--tls-cert" in refused(gatebus("serve", "--port", "0", "--tls-key", key), 2)
    refused(gatebus("serve", "--port", "0", "--tls-cert", cert, "--tls-key", cert), 2)
    locked = tmp_path / "locked.pem"
    command = ["openssl", "pkcs8", "-topk8", "-in", key, "-out", str(locked), "-passout", "pass:abcd"]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(InvalidSetting, match="password"):
        Listening(tls_cert=certificate[0], tls_key=locked).context()


# -- sizes ----------------------------------------------------------------------------------
def test_heads_and_bodies_beyond_their_limits_are_refused_before_they_are_read(
    studio: Studio, start: Callable[..., Command]
) -> None:
    command = start("--url", studio.url, "serve", "--port", "0", GATEBUS_MAX_IMAGE_BYTES="2048")
    url = command.line(r"http://\S+")[0]
    assert fetch(f"{url}/gatebus/gates", **{"X-Long": "x" * 20_000})[0] == 400
    assert fetch(f"{url}/gatebus/gates?workflow={'x' * 70_000}")[0] == 400
    host, port = url.removeprefix("http://").split(":")

    def put(length: str, body: bytes, path: str = "/gatebus/buses/cp1", kind: str = "image/png") -> int:
        call = http.client.HTTPConnection(host, int(port), timeout=LIMIT)
        call.putrequest("PUT" if kind == "image/png" else "POST", path)
        call.putheader("Content-Type", kind)
        call.putheader("Transfer-Encoding" if length == "chunked" else "Content-Length", length)
        call.endheaders()
        try:
            call.send(body)
        except OSError:
            pass
        return call.getresponse().status

    assert put(str(2**40), b"") == 413
    assert put("4096", b"x" * 4096) == 413
    chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
    assert put("chunked", chunk * 4) == 413
    route = f"/gatebus/gates/{'0' * 32}/route"
    assert put("10000000", b"", route, "application/json") == 413
    assert Broker(url).ask("/healthz")[0] == 200


# -- the slow -------------------------------------------------------------------------------
async def test_a_connection_that_brings_no_whole_head_is_closed(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE_LIMIT", 0.5)
    running = asyncio.Event()
    urls: list[str] = []

    def started(url: str) -> None:
        urls.append(url)
        running.set()

    monkeypatch.setattr(server, "_on_signals", lambda stop: stops.append(stop))
    stops: list[Callable[[], object]] = []
    serving = asyncio.create_task(server.serve(studio.store, tmp_path, Listening(port=0), started))
    await asyncio.wait_for(running.wait(), LIMIT)
    port = int(urls[0].rpartition(":")[2])
    for sent in (b"", b"GET / HTTP/1.1\r\nHost: local", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        await asyncio.wait_for(reader.read(), LIMIT)
        writer.close()
    stops[0]()
    await asyncio.wait_for(serving, LIMIT)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no TCP_USER_TIMEOUT")
def test_a_reader_that_takes_nothing_is_given_up(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "UNREAD_LIMIT", 1.0)
    stops: list[Callable[[], object]] = []
    monkeypatch.setattr(server, "_on_signals", stops.append)
    urls: list[str] = []
    running = threading.Event()

    async def big(_: Any) -> Any:
        return web.Response(body=b"x" * 50_000_000)

    def make(*arguments: Any, **options: Any) -> Any:
        app = make_app(*arguments, **options)
        app.router.add_get("/big", big)
        return app

    monkeypatch.setattr(server, "make_app", make)
    loop = asyncio.new_event_loop()

    def run() -> None:
        def started(url: str) -> None:
            urls.append(url)
            running.set()

        loop.run_until_complete(server.serve(studio.store, tmp_path, Listening(port=0), started))

    thread = threading.Thread(target=run)
    thread.start()
    assert running.wait(LIMIT)
    with socket.create_connection(("127.0.0.1", int(urls[0].rpartition(":")[2]))) as reader:
        reader.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(4)
        # What lies in the buffers can still be read; then the connection is at its end, far from the whole.
        reader.settimeout(LIMIT)
        total = 0
        try:
            while data := reader.recv(1_000_000):
                total += len(data)
        except ConnectionError:
            pass
        assert total < 50_000_000
    loop.call_soon_threadsafe(stops[0])
    thread.join(LIMIT)
    loop.close()


# -- the many -------------------------------------------------------------------------------
async def test_decisions_beyond_the_rate_are_429_with_the_time_to_wait(studio: Studio, tmp_path: Path) -> None:
    store = replace(studio.store, settings=replace(studio.store.settings, rate_limit=5))
    gate_id = studio.open_gate().gate.id
    client: TestClient[Any, Any] = TestClient(TestServer(make_app(store, tmp_path)))
    async with client:
        answers = [await client.post(f"/gatebus/gates/{gate_id}/route", json={"route": 1}) for _ in range(30)]
        assert answers[0].status == 200
        limited = [answer for answer in answers if answer.status == 429]
        assert 10 <= len(limited) <= 20
        assert limited[0].headers["Retry-After"] == "1"
        assert (await limited[0].json())["error"]["type"] == "too_many"
        assert (await client.get(f"/gatebus/gates/{gate_id}")).status == 200


def test_by_default_two_hundred_decisions_a_second_pass(studio: Studio, start: Callable[..., Command]) -> None:
    command = start("--url", studio.url, "serve", "--port", "0", "--log-level", "warning")
    broker = Broker(command.line(r"http://\S+")[0])
    gate_id = studio.open_gate().gate.id

    def decide(_: int) -> int:
        return broker.ask(f"/gatebus/gates/{gate_id}/route", {"route": 1})[0]

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(decide, range(600))) == {200}
