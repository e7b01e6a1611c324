"""The broker over real sockets, with its Redis there, away and back."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer

from broker.app import check_host, is_loopback, make_app
from gates.errors import InvalidSetting
from gates.setting_values import Token
from gates.settings import Settings
from tests.service.processes import LIMIT, Broker, Command, Gatebus, Studio, refused, until


def test_the_broker_lists_and_routes_what_another_process_asks(studio: Studio, start: Callable[..., Command]) -> None:
    waiter = studio.open_gate("over http")
    command = start("--url", studio.url, "serve", "--port", "0")
    broker = Broker(command.line(r"http://127\.0\.0\.1:[0-9]+")[0])
    assert [gate["title"] for gate in broker.ask("/gatebus/gates")[1]["gates"]] == ["over http"]
    assert broker.ask("/healthz") == (200, {"status": "ok"})
    with urllib.request.urlopen(broker.url + "/") as answer:
        assert answer.headers["Content-Type"].startswith("text/html")
        assert b"web/page/page.mjs" in answer.read()
    status, gate = broker.ask(f"/gatebus/gates/{waiter.gate.id}/route", {"route": 2})
    assert (status, gate["decision"]["route"]) == (200, 2)
    assert waiter.wait(LIMIT) is not None
    assert broker.ask(f"/gatebus/gates/{waiter.gate.id}/route", {"route": 1})[0] == 409
    assert command.end() == 0


def test_open_event_streams_do_not_hold_up_the_brokers_end(studio: Studio, start: Callable[..., Command]) -> None:
    command = start("--url", studio.url, "serve", "--port", "0")
    url = command.line(r"http://\S+")[0]
    with urllib.request.urlopen(f"{url}/gatebus/events", timeout=LIMIT) as stream:
        assert stream.readline().strip()
        began = time.monotonic()
        assert command.end() == 0
        assert time.monotonic() - began < LIMIT
        while stream.readline():
            pass


def test_the_broker_stays_up_while_redis_is_away_and_says_why(
    own_redis: RedisServer, start: Callable[..., Command]
) -> None:
    command = start("--url", own_redis.url, "serve", "--port", "0", GATEBUS_TICK="0.2")
    broker = Broker(command.line(r"http://\S+")[0])
    until(lambda: broker.ask("/healthz")[0] == 200, "health")
    own_redis.kill()
    until(lambda: broker.ask("/healthz")[0] == 503, "503 at /healthz")
    _, health = broker.ask("/healthz")
    assert health["status"] == "store_unavailable"
    assert "does not answer" in health["reason"]
    status, error = broker.ask("/gatebus/gates/" + "0" * 32)
    assert (status, error["error"]["type"]) == (503, "store_unavailable")
    listed, gates = broker.ask("/gatebus/gates")
    assert (listed, gates["gates"]) == (200, [])
    assert "does not answer" in gates["unavailable"]
    own_redis.start()
    until(lambda: broker.ask("/healthz")[0] == 200, "health again")
    assert broker.ask("/gatebus/gates")[1]["unavailable"] == ""
    assert command.process.poll() is None


def test_a_broker_may_start_before_its_redis(own_redis: RedisServer, start: Callable[..., Command]) -> None:
    own_redis.kill()
    command = start("--url", own_redis.url, "serve", "--port", "0", GATEBUS_TICK="0.2")
    broker = Broker(command.line(r"http://\S+")[0])
    until(lambda: broker.ask("/healthz")[0] == 503, "503 at /healthz")
    own_redis.start()
    until(lambda: broker.ask("/healthz")[0] == 200, "health")


def test_with_tokens_the_api_asks_for_one_and_health_gives_no_reason_away(
    own_redis: RedisServer, start: Callable[..., Command]
) -> None:
    # SHA-256 of "open sesame".
    token = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb"
    command = start(
        "--url", own_redis.url, "serve", "--port", "0", GATEBUS_TOKENS=f"decide:anna:{token}", GATEBUS_TICK="0.2"
    )
    broker = Broker(command.line(r"http://\S+")[0])
    assert broker.ask("/gatebus/gates")[0] == 401
    assert broker.ask("/gatebus/gates", Authorization="Bearer open sesame")[0] == 200
    own_redis.kill()
    until(lambda: broker.ask("/healthz")[0] == 503, "503 at /healthz")
    assert broker.ask("/healthz")[1]["reason"] == ""


def test_other_machines_are_let_in_with_tokens_or_when_it_is_meant(gatebus: Gatebus) -> None:
    assert "GATEBUS_TOKENS" in refused(gatebus("serve", "--host", "0.0.0.0"), 2)
    with pytest.raises(InvalidSetting):
        check_host("192.168.1.20", Settings())
    check_host("192.168.1.20", Settings(), allow_open=True)
    check_host("192.168.1.20", replace(Settings(), tokens=(Token("view", "anna", "0" * 64),)))
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        check_host(host, Settings())
    for host in ("0.0.0.0", "::", "example.org", "127.0.0.1.example.org", ""):
        assert not is_loopback(host)


def test_a_port_in_use_is_one_line(gatebus: Gatebus, redis_server: RedisServer) -> None:
    assert "in use" in refused(gatebus("serve", "--port", str(redis_server.port)), 4)
    refused(gatebus("serve", "--host", "127.0.0.256", "--port", "0", "--allow-open"), 2)


async def test_nothing_but_the_declared_routes_is_answered(studio: Studio, tmp_path: Path) -> None:
    from aiohttp.test_utils import TestClient, TestServer

    client: TestClient[Any, Any] = TestClient(TestServer(make_app(studio.store, tmp_path)))
    async with client:
        assert (await client.get("/")).status == 200
        assert (await client.get("/gatebus/status")).status == 200
        for path in ("/static", "/gatebus", "/../README.md", "/%2e%2e/README.md"):
            assert (await client.get(path)).status == 404
        assert (await client.post("/healthz")).status == 405
