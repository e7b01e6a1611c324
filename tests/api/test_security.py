"""What the API refuses: other sites' pages, other hosts, wrong tokens."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
from dataclasses import replace
from typing import Any

import pytest

from gates.api import TABLE
from gates.guard import CONTENT_TYPES
from gates.setting_values import Token
from gates.settings import Settings

SECRET = {role: f"marker-secret-{role}-0123456789abcdef" for role in ("view", "decide", "admin", "instance")}
TOKENS = tuple(Token(role, f"{role}-bot", hashlib.sha256(text.encode()).hexdigest()) for role, text in SECRET.items())
SAMPLE = {"gate_id": "0" * 32, "instance_id": "0" * 32, "name": "cp1", "pool_id": "p1", "file": "img_0001.png"}


def sample_path(path: str) -> str:
    return path.format(**SAMPLE)


async def ask(host: Any, route: Any, **headers: str) -> Any:
    """Sends a call of the route with an empty body of its type."""
    kind = {"Content-Type": CONTENT_TYPES[route.body][0]} if route.body else {}
    return await host.client.request(route.method, sample_path(route.path), headers={**kind, **headers}, data=b"")


async def raw(host: Any, request: bytes) -> bytes:
    """The answer to bytes sent as they are."""
    reader, writer = await asyncio.open_connection("127.0.0.1", host.client.port)
    writer.write(request)
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


def every_route() -> Any:
    return pytest.mark.parametrize("route", TABLE, ids=[f"{route.method} {route.path}" for route in TABLE])


# -- hosts ----------------------------------------------------------------------------------
@every_route()
async def test_every_route_refuses_another_host(local: Any, route: Any) -> None:
    """DNS rebinding: a name of the attacker's that leads to this machine."""
    answer = await ask(local, route, Host="evil.test")
    assert (answer.status, (await answer.json())["error"]["type"]) == (421, "wrong_host")


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1",
        "127.0.0.1:8188",
        "[::1]:8188",
        "192.168.1.20:8188",
        "localhost",
        "LOCALHOST:1",
        "localhost.",
        socket.gethostname(),
        socket.gethostname().split(".")[0] + ".local:8188",
        "gates.example.com",
        "other.example.com:8443",
    ],
)
async def test_own_names_addresses_and_allowed_hosts_are_answered(host_at: Any, name: str) -> None:
    host = await host_at(replace(Settings(), allowed_hosts=("gates.example.com", "other.example.com:8443")))
    assert (await host.get("/gatebus/status", headers={"Host": name})).status == 200


@pytest.mark.parametrize(
    "name",
    [
        "evil.test",
        "evil.test:8188",
        "localhost.evil.test",
        "127.0.0.1.evil.test",
        "127.0.0.1@evil.test",
        "evil.test#localhost",
        "2130706433",
        "0x7f.1",
        "127.1",
        "localhost:99999999",
        "localhost:",
        "",
        "::1",
        "other.example.com:8444",
        "a" * 300,
        "локалхост",
    ],
)
async def test_other_hosts_are_refused(host_at: Any, name: str) -> None:
    host = await host_at(replace(Settings(), allowed_hosts=("gates.example.com", "other.example.com:8443")))
    answer = await raw(host, f"GET /gatebus/status HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    assert answer.split(b" ", 2)[1] in (b"421", b"400")
    assert b"version" not in answer


async def test_a_missing_or_second_host_is_refused(local: Any) -> None:
    for lines in ("", "Host: localhost\r\nHost: evil.test\r\n"):
        answer = await raw(local, f"GET /gatebus/status HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode())
        assert answer.split(b" ", 2)[1] in (b"421", b"400")


# -- pages of other sites -------------------------------------------------------------------
@every_route()
async def test_every_route_refuses_another_site_s_page(local: Any, route: Any) -> None:
    own = f"http://{local.client.host}:{local.client.port}"
    for headers in (
        {"Origin": "null"},
        {"Origin": "http://evil.test"},
        {"Origin": f"http://{local.client.host}:1"},
        {"Origin": own.replace("http", "file")},
        {"Origin": own + ".evil.test"},
        {"Origin": own.replace("//", "//evil@")},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": own + "0"},
        {"Sec-Fetch-Site": "cross-site", "Origin": own},
    ):
        answer = await ask(local, route, **headers)
        assert (answer.status, (await answer.json())["error"]["type"]) == (403, "forbidden"), headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Host": "localhost", "Origin": "http://localhost"}, 200),
        ({"Host": "localhost", "Origin": "http://localhost:80"}, 200),
        ({"Host": "localhost", "Origin": "https://localhost"}, 200),
        ({"Host": "localhost:443", "Origin": "https://localhost"}, 200),
        ({"Host": "localhost:443", "Origin": "http://localhost"}, 403),
        ({"Host": "[::1]:8188", "Origin": "http://[::1]:8188"}, 200),
        ({"Host": "127.0.0.1:8188", "Origin": "http://localhost:8188"}, 403),
        ({"Host": "127.0.0.1:8188", "Origin": "https://gates.example.com"}, 200),
        ({"Host": "127.0.0.1:8188", "Origin": "https://gates.example.com", "Sec-Fetch-Site": "same-site"}, 200),
        ({"Host": "127.0.0.1:8188", "Origin": "https://evil.example.com"}, 403),
    ],
)
async def test_the_own_page_is_known_by_its_origin(host_at: Any, headers: dict[str, str], status: int) -> None:
    host = await host_at(replace(Settings(), allowed_hosts=("gates.example.com",)))
    assert (await host.get("/gatebus/status", headers=headers)).status == status


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "text/html",
        "application/jsonp",
    ],
)
async def test_what_a_form_can_send_changes_nothing(local: Any, content_type: str) -> None:
    waiter = local.open_gate()
    before = local.tree()
    for method, path, data in [
        ("POST", f"/gatebus/gates/{waiter.gate.id}/route", b'{"route": 1}'),
        ("POST", f"/gatebus/gates/{waiter.gate.id}/cancel", b"{}"),
        ("POST", "/gatebus/pools/p1/slots", b"\x89PNG"),
        ("POST", "/gatebus/pools/p1/rebuild", b"{}"),
        ("POST", "/grid_pool/remove", b'{"pool_id": "p1", "index": 0}'),
    ]:
        sent = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(data)}\r\n"
        kind = f"Content-Type: {content_type}\r\n" if content_type else ""
        answer = await raw(local, f"{sent}{kind}\r\n".encode() + data)
        assert answer.split(b" ", 2)[1] == b"400", answer
    assert waiter.gate.status == "waiting"
    assert local.tree() == before


async def test_the_kept_forms_need_proof_of_the_own_page_from_a_browser(local: Any, image: Any) -> None:
    own = f"http://{local.client.host}:{local.client.port}"
    body = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + image() + b"\r\n--x--\r\n"

    async def add(**headers: str) -> int:
        headers = {"Content-Type": "multipart/form-data; boundary=x", **headers}
        return (await local.client.post("/grid_pool/add", data=body, headers=headers)).status

    for marks in (
        {"Referer": "http://evil.test/"},
        {"Cookie": "a=b"},
        {"Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-CH-UA": "browser"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert await add(**marks) == 403, marks
    assert (await local.json("/gatebus/pools"))["pools"] == []
    assert await add() == 200
    assert await add(Origin=own, Cookie="a=b", Referer=own) == 200
    assert await add(**{"Sec-Fetch-Site": "same-origin", "Referer": own}) == 200


async def test_another_site_gets_no_permission_by_preflight(local: Any) -> None:
    asked = {"Origin": "http://evil.test", "Access-Control-Request-Method": "POST"}
    answer = await local.client.options(f"/gatebus/gates/{'0' * 32}/route", headers=asked)
    assert not any(name.lower().startswith("access-control") for name in answer.headers)
    assert answer.status in (403, 405)


# -- tokens ---------------------------------------------------------------------------------
@every_route()
async def test_every_route_needs_a_token_of_its_role(host_at: Any, route: Any) -> None:
    host = await host_at(replace(Settings(), tokens=TOKENS))
    ranks = ["view", "decide", "admin"]
    missing = await ask(host, route)
    assert (missing.status, missing.headers["WWW-Authenticate"]) == (401, 'Bearer realm="gatebus"')
    for role in [*ranks, "instance"]:
        answer = await ask(host, route, Authorization=f"Bearer {SECRET[role]}")
        allowed = role in ranks and ranks.index(role) >= ranks.index(route.role)
        assert (answer.status != 403) == allowed, (role, answer.status)
        assert answer.status not in (401, 500)
        answer.close()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic " + SECRET["admin"],
        SECRET["admin"],
        "Bearer " + SECRET["admin"] + "x",
        "Bearer " + SECRET["admin"].upper(),
        "Bearer tökén",
        "Bearer \udcff\udcfe",
        "Bearer " + "x" * 7000,
        "Bearer " + hashlib.sha256(SECRET["admin"].encode()).hexdigest(),
    ],
)
async def test_a_wrong_token_is_refused(host_at: Any, header: str) -> None:
    host = await host_at(replace(Settings(), tokens=TOKENS))
    sent = f"GET /gatebus/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: {header}\r\n\r\n"
    answer = await raw(host, sent.encode("utf-8", "surrogateescape"))
    assert answer.split(b" ", 2)[1] == b"401", answer[:200]


async def test_a_token_of_a_megabyte_is_refused(host_at: Any) -> None:
    host = await host_at(replace(Settings(), tokens=TOKENS))
    sent = b"GET /gatebus/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + b"x" * 1_000_000 + b"\r\n\r\n"
    try:
        answer = await raw(host, sent)
    except ConnectionError:
        answer = b"HTTP/1.1 400 "
    assert answer.split(b" ", 2)[1] in (b"400", b"401", b"431")
    assert (await host.get("/gatebus/status", headers={"Authorization": f"Bearer {SECRET['view']}"})).status == 200


async def test_who_decided_is_the_token_s_name_whatever_the_body_says(host_at: Any) -> None:
    host = await host_at(replace(Settings(), tokens=TOKENS))
    gate_id = host.open_gate().gate.id
    answer = await host.client.post(
        f"/gatebus/gates/{gate_id}/route",
        json={"route": 1, "by": "the boss"},
        headers={"Authorization": f"Bearer {SECRET['decide']}"},
    )
    assert (await answer.json())["decision"]["by"] == "decide-bot"


async def test_no_secret_is_ever_logged_or_answered(host_at: Any, caplog: Any, monkeypatch: Any) -> None:
    caplog.set_level(logging.DEBUG)
    host = await host_at(replace(Settings(), tokens=TOKENS))
    monkeypatch.setattr(host.store.gates, "records", lambda live=True: 1 / 0)
    told = ""
    for header in (f"Bearer {SECRET['view']}", f"Bearer {SECRET['view']}wrong", f"Basic {SECRET['admin']}"):
        for path in ("/gatebus/gates", "/gatebus/status", "/gatebus/pools/no", "/gatebus/gates/no"):
            answer = await host.get(path, headers={"Authorization": header})
            told += await answer.text() + str(answer.headers)
    assert "ZeroDivisionError" in caplog.text
    for secret in (*SECRET.values(), *(token.sha256 for token in TOKENS)):
        assert secret not in caplog.text
        assert secret not in told
