"""What a broker logs and counts of each exchange, and how it answers what no route takes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families
from redis_server import RedisServer

from broker import logs
from broker.app import make_app
from broker.exchanges import Running, framed
from broker.metrics import METRICS, Metrics
from gates.guard import Guard
from gates.setting_values import Token
from gates.settings import Settings
from gates.store import open_store
from tests.service.processes import QUICK, ROOT, Broker, Command, Studio, until

Client = TestClient[Any, Any]

# The SHA-256 of "open sesame".
ANNA = Token("view", "anna", "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb")
BEN = Token("view", "ben", hashlib.sha256(b"of ben").hexdigest())
SIGNED = {"Authorization": "Bearer open sesame"}


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[[web.Application], Awaitable[Client]]]:
    opened: list[Client] = []

    async def make(app: web.Application) -> Client:
        client: Client = TestClient(TestServer(app))
        await client.start_server()
        opened.append(client)
        return client

    yield make
    for client in opened:
        await client.close()


def figures(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """(name, sorted labels) -> value"""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def one(text: str, name: str, **labels: str) -> float | None:
    return figures(text).get((name, tuple(sorted(labels.items()))))


# -- the log --------------------------------------------------------------------------------
def test_an_exchange_is_one_line_of_json_without_what_the_caller_sent(
    redis_server: RedisServer, start: Callable[..., Command]
) -> None:
    command = start(
        *("--url", redis_server.url, "serve", "--port", "0", "--log-format", "json"),
        GATEBUS_TOKENS=f"{ANNA.role}:{ANNA.name}:{ANNA.sha256}",
    )
    broker = Broker(command.line(r"http://[^\"\s]+:[0-9]+")[0])
    broker.ask("/gatebus/gates?workflow=very-private", Authorization="Bearer open sesame")
    broker.ask("/gatebus/gates?workflow=very-private", Authorization="Bearer wrong-secret")
    broker.ask("/nothing/very-private")
    until(lambda: len([line for line in command.lines if '"exchange"' in line]) == 3, "three lines")
    command.end()
    until(lambda: any("stopped" in line for line in command.lines), "the last line")
    text = "\n".join(command.lines)
    for secret in ("very-private", "sesame", "wrong-secret"):
        assert secret not in text
    lines = [json.loads(line) for line in command.lines if line.startswith("{")]
    assert [line["message"] for line in lines] == ["started", *["exchange"] * 3, "stopping", "stopped"]
    assert all(line["time"].endswith("Z") and line["level"] == "info" for line in lines)
    first, second, third = lines[1:4]
    assert (first["method"], first["route"], first["status"]) == ("GET", "/gatebus/gates", 200)
    assert (first["who"], first["remote"]) == ("anna", "127.0.0.1")
    assert 0 <= first["ms"] < 30_000
    assert (second["status"], second["who"]) == (401, "")
    assert (third["route"], third["status"]) == ("(none)", 404)


def test_the_level_warning_leaves_exchanges_out(redis_server: RedisServer, start: Callable[..., Command]) -> None:
    command = start("--url", redis_server.url, "serve", "--port", "0", "--log-level", "warning")
    broker = Broker(command.line(r"http://\S+")[0])
    broker.ask("/gatebus/gates")
    assert command.end() == 0
    assert not [line for line in command.lines if "exchange" in line]


@pytest.mark.parametrize("kind", logs.FORMATS)
def test_an_error_is_logged_with_its_traceback_and_its_fields(kind: str) -> None:
    formatter = logs.JsonLines() if kind == "json" else logs.TextLines()
    try:
        raise ValueError("no such\nthing")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("broker", logging.ERROR, __file__, 1, "it %s", ("failed\nINFO forged",), info)
    record.fields = {"route": "/a", "reason": 'two "words"'}
    text = formatter.format(record)
    if kind == "json":
        line = json.loads(text)
        assert "\n" not in text
        assert (line["message"], line["route"]) == ("it failed\nINFO forged", "/a")
        assert "ValueError: no such" in line["error"]
    else:
        first, *others = text.splitlines()
        assert first.endswith(r'it failed\nINFO forged route=/a reason="two \"words\""')
        assert others[0].startswith("Traceback")


async def test_a_failure_that_nobody_foresaw_is_500_without_its_reason(
    client_of: Callable[..., Awaitable[Client]], caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: web.Request) -> web.Response:
        raise RuntimeError("the secret reason")

    metrics = Metrics()
    app = web.Application(middlewares=[framed(Guard(Settings()), metrics, Running())])
    app.router.add_get("/fail", fail)
    answer = await (await client_of(app)).get("/fail")
    assert answer.status == 500
    assert "secret" not in await answer.text()
    assert any(record.exc_info for record in caplog.records)
    text = metrics.render(0, None, {}).decode()
    assert one(text, "gatebus_exchanges_total", route="/fail", method="GET", status="500") == 1


async def test_what_no_route_takes_is_an_error_as_json(
    client_of: Callable[..., Awaitable[Client]], studio: Studio, tmp_path: Path
) -> None:
    client = await client_of(make_app(studio.store, tmp_path))
    answer = await client.get("/gatebus/nothing")
    assert (answer.status, (await answer.json())["error"]["type"]) == (404, "not_found")
    answer = await client.delete("/gatebus/gates")
    assert (answer.status, (await answer.json())["error"]["type"]) == (405, "method_not_allowed")
    assert "GET" in answer.headers["Allow"]


# -- the figures ----------------------------------------------------------------------------
async def test_metrics_tell_exchanges_decisions_streams_gates_and_the_store(
    client_of: Callable[..., Awaitable[Client]], studio: Studio, tmp_path: Path
) -> None:
    app = make_app(studio.store, tmp_path)
    client = await client_of(app)
    first, second, _ = (studio.open_gate() for _ in range(3))
    for gate_id, body in ((first.gate.id, {"route": 2}), (second.gate.id, {"route": 1})):
        assert (await client.post(f"/gatebus/gates/{gate_id}/route", json=body)).status == 200
    assert (await client.post(f"/gatebus/gates/{first.gate.id}/route", json={"route": 1})).status == 409
    stream = await client.get("/gatebus/events")
    await stream.content.readline()
    app[METRICS].notified("slack", sent=True)
    app[METRICS].notified("slack", sent=False)
    answer = await client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    text = await answer.text()
    stream.close()
    route = "/gatebus/gates/{gate_id}/route"
    assert one(text, "gatebus_exchanges_total", route=route, method="POST", status="200") == 2
    assert one(text, "gatebus_exchanges_total", route=route, method="POST", status="409") == 1
    assert one(text, "gatebus_exchange_seconds_count", route=route, method="POST") == 3
    assert one(text, "gatebus_decisions_total", kind="image", route="2") == 1
    assert one(text, "gatebus_decisions_total", kind="image", route="1") == 1
    assert one(text, "gatebus_streams") == 1
    assert one(text, "gatebus_gates", status="waiting") == 3
    assert one(text, "gatebus_gates", status="orphaned") == 0
    assert one(text, "gatebus_store_up") == 1
    assert one(text, "gatebus_notifications_total", target="slack", outcome="failed") == 1
    assert one(text, "process_resident_memory_bytes") or not Path("/proc").exists()
    # No label comes from a caller: a scan of addresses makes no new figures.
    for path in ("/a", "/b", "/gatebus/buses/x", "/gatebus/buses/y"):
        await client.get(path)
    names = figures(await (await client.get("/metrics")).text())
    labels = {dict(labels)["route"] for name, labels in names if name == "gatebus_exchanges_total"}
    assert labels - {"/gatebus/events"} == {route, "/metrics", "(none)", "/gatebus/buses/{name}"}


async def test_metrics_tell_what_is_parked_and_which_runs_go_on(
    client_of: Callable[..., Awaitable[Client]], studio: Studio, tmp_path: Path
) -> None:
    client = await client_of(make_app(studio.store, tmp_path))
    going, begun, _ = (studio.park_gate().gate.id for _ in range(3))
    studio.open_gate()
    for gate_id in (going, begun):
        assert (await client.post(f"/gatebus/gates/{gate_id}/route", json={"route": 1})).status == 200
    assert studio.store.gates.claim_run(begun, "broker:1", 60_000)
    text = await (await client.get("/metrics")).text()
    assert one(text, "gatebus_gates", status="parked") == 1
    assert one(text, "gatebus_gates", status="waiting") == 1
    runs = [one(text, "gatebus_runs", state=state) for state in ("pending", "submitting", "submitted", "running")]
    assert runs == [1, 1, 0, 0]


async def test_with_tokens_metrics_want_the_role_view(
    client_of: Callable[..., Awaitable[Client]], tmp_path: Path
) -> None:
    store = open_store(
        replace(QUICK, tokens=(ANNA, replace(ANNA, role="instance", sha256="0" * 64))), tmp_path, tmp_path
    )
    client = await client_of(make_app(store, tmp_path))
    assert (await client.get("/metrics")).status == 401
    assert (await client.get("/metrics", headers=SIGNED)).status == 200
    assert (await client.get("/metrics", headers={**SIGNED, "Host": "evil.example"})).status == 421
    store.close()


def test_metrics_go_on_while_redis_is_away(own_redis: RedisServer, start: Callable[..., Command]) -> None:
    from urllib.request import urlopen

    command = start("--url", own_redis.url, "serve", "--port", "0", GATEBUS_TICK="0.2")
    url = command.line(r"http://\S+")[0] + "/metrics"

    def up() -> float | None:
        with urlopen(url, timeout=30) as answer:
            return one(answer.read().decode(), "gatebus_store_up")

    until(lambda: up() == 1, "the store up")
    own_redis.kill()
    until(lambda: up() == 0, "the store down")
    with urlopen(url, timeout=30) as answer:
        assert one(answer.read().decode(), "gatebus_gates", status="waiting") is None
    command.line("the store is away")
    own_redis.start()
    until(lambda: up() == 1, "the store up again")
    command.line("the store is back")


ORPHAN = """
import sys, time
from dataclasses import replace
from pathlib import Path
from gates.gate.record import Gate
from gates.store import open_store
from tests.service.processes import QUICK
store = open_store(replace(QUICK, store_url=sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[2]))
store.gates.open(Gate(id="f" * 32, width=8, height=6, batch=1), b"")
print("open", flush=True)
time.sleep(60)
"""


def test_gates_whose_process_died_are_counted_apart(studio: Studio, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN, studio.url, str(tmp_path / "gone")], cwd=ROOT, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == b"open"
        studio.open_gate()
        assert studio.store.gates.counts() == {"waiting": 2, "orphaned": 0, "parked": 0}
        other.kill()
    until(lambda: studio.store.gates.counts() == {"waiting": 1, "orphaned": 1, "parked": 0}, "an orphan")


async def test_without_redis_the_gates_of_the_process_are_counted(
    client_of: Callable[..., Awaitable[Client]], tmp_path: Path
) -> None:
    store = open_store(QUICK, tmp_path, tmp_path)
    Studio(store, "").open_gate()
    text = await (await (await client_of(make_app(store, tmp_path))).get("/metrics")).text()
    assert one(text, "gatebus_gates", status="waiting") == 1
    assert one(text, "gatebus_store_up") == 1
    store.close()


async def test_one_caller_has_half_of_the_streams_at_most(
    client_of: Callable[..., Awaitable[Client]], studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gates.api.streams.CALLER_STREAMS", 3)
    store = replace(studio.store, settings=replace(studio.store.settings, tokens=(ANNA, BEN)))
    client = await client_of(make_app(store, tmp_path))
    followed = [await client.get("/gatebus/events", headers=SIGNED) for _ in range(4)]
    assert [answer.status for answer in followed] == [200, 200, 200, 429]
    assert int(followed[3].headers["Retry-After"]) > 0
    other = await client.get("/gatebus/events", headers={"Authorization": "Bearer of ben"})
    assert other.status == 200
    followed[0].close()
    for _ in range(200):
        answer = await client.get("/gatebus/events", headers=SIGNED)
        if answer.status == 200:
            break
        await asyncio.sleep(0.05)
    assert answer.status == 200
    for each in (*followed, other, answer):
        each.close()


async def test_no_answer_tells_the_versions_of_what_serves_it(
    client_of: Callable[..., Awaitable[Client]], studio: Studio, tmp_path: Path
) -> None:
    client = await client_of(make_app(studio.store, tmp_path))
    for path in ("/", "/gatebus/gates", "/nothing", "/healthz"):
        assert (await client.get(path)).headers["Server"] == "gatebus"
