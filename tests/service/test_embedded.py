"""A redis-server of our own, and ``gatebus up``."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from redis_server import RedisServer, free_port

from broker import embedded
from broker.embedded import EmbeddedRedis
from gates.errors import Conflict, NotFound, StoreUnavailable
from gates.store import open_store
from tests.service.processes import LIMIT, QUICK, Broker, Command, Gatebus, Studio, refused, until


def test_the_embedded_redis_writes_everything_to_disk_and_evicts_nothing(
    tmp_path: Path, needs_redis_server: None
) -> None:
    folder = tmp_path / "with a space"
    with EmbeddedRedis(folder) as server, redis.Redis.from_url(server.url) as client:
        wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
        assert {name: client.config_get(name)[name] for name in wanted} == wanted
        assert client.config_get("bind")["bind"] == "127.0.0.1"
        assert Path(client.config_get("dir")["dir"]).samefile(folder)
        client.set("kept", "yes")
    with EmbeddedRedis(folder) as server, redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"yes"
    assert folder.stat().st_mode & 0o077 == 0


def test_a_folder_and_a_port_serve_one_redis_at_a_time(tmp_path: Path, needs_redis_server: None) -> None:
    with EmbeddedRedis(tmp_path / "one") as server:
        with pytest.raises(Conflict, match="still running"), EmbeddedRedis(tmp_path / "one"):
            pass
        with pytest.raises(Conflict, match="in use"), EmbeddedRedis(tmp_path / "two", server.port):
            pass
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
    with EmbeddedRedis(tmp_path / "one"):
        pass


def test_a_machine_without_a_redis_server_is_told_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gatebus: Gatebus
) -> None:
    monkeypatch.setattr(embedded, "find_redis_server", lambda: None)
    with pytest.raises(NotFound, match="apt-get install redis-server"), EmbeddedRedis(tmp_path):
        pass
    monkeypatch.delenv("GATEBUS_STORE_URL")
    assert "apt-get install redis-server" in refused(gatebus("up", "--port", "0"), 3)


def test_a_redis_server_that_does_not_start_says_why(tmp_path: Path, needs_redis_server: None) -> None:
    folder = tmp_path / "spoilt"
    with EmbeddedRedis(folder) as server, redis.Redis.from_url(server.url) as client:
        client.set("a", "b")
    for file in folder.rglob("*.aof"):
        file.write_bytes(b"this is no append-only file")
    with pytest.raises(StoreUnavailable, match=r"redis\.log"), EmbeddedRedis(folder):
        pass


def test_a_free_port_is_the_first_of_a_range_that_nobody_has(redis_server: RedisServer) -> None:
    taken = redis_server.port
    assert embedded.free_port(taken, taken + 1) in {taken + 1} | set(range(1024, 65536)) - {taken}
    assert embedded.free_port() > 0


def test_up_says_what_to_set_and_keeps_a_waiting_gate_over_its_own_end(
    tmp_path: Path, start: Callable[..., Command], needs_redis_server: None
) -> None:
    data = str(tmp_path / "data")
    port = str(free_port())
    command = start("up", "--port", "0", "--redis-port", port, "--data", data)
    url = command.line(r"GATEBUS_STORE_URL=(\S+)")[1]
    assert url == f"redis://127.0.0.1:{port}/0"
    command.line(r"^\+ .*redis-server .*--appendfsync always")
    broker = Broker(command.line(r"http://127\.0\.0\.1:[0-9]+")[0])

    second = start("up", "--port", "0", "--data", data)
    assert second.process.wait(LIMIT) == 4
    assert "still running" in second.lines[-1]

    store = open_store(replace(QUICK, store_url=url), tmp_path / "disk", tmp_path / "state")
    try:
        gate_id = Studio(store, url).open_gate("over a restart").gate.id
        assert broker.ask(f"/gatebus/gates/{gate_id}")[1]["status"] == "waiting"
        assert command.end() == 0
        with pytest.raises(redis.ConnectionError), redis.Redis.from_url(url) as client:
            client.ping()
        command = start("up", "--port", "0", "--redis-port", port, "--data", data)
        broker = Broker(command.line(r"http://127\.0\.0\.1:[0-9]+")[0])
        _, gate = broker.ask(f"/gatebus/gates/{gate_id}")
        assert (gate["title"], gate["recovered"]) == ("over a restart", False)
        assert broker.ask(f"/gatebus/gates/{gate_id}/route", {"route": 1})[0] == 200
    finally:
        store.close()


def test_up_refuses_a_store_that_is_set_already(gatebus: Gatebus) -> None:
    assert "gatebus serve" in refused(gatebus("up"), 2)


@pytest.mark.slow
def test_a_redis_left_behind_by_a_killed_up_is_not_written_to_by_a_second_one(
    tmp_path: Path, start: Callable[..., Command], needs_redis_server: None
) -> None:
    arguments = ("up", "--port", "0", "--redis-port", str(free_port()), "--data", str(tmp_path / "data"))
    command = start(*arguments)
    url = command.line(r"GATEBUS_STORE_URL=(\S+)")[1]
    assert command.end(signal.SIGKILL) == -signal.SIGKILL
    with redis.Redis.from_url(url) as client:
        pid = client.info("server")["process_id"]
        try:
            second = start(*arguments)
            assert second.process.wait(LIMIT) == 4
            assert "still running" in second.lines[-1]
        finally:
            os.kill(pid, signal.SIGTERM)
    until(lambda: start(*arguments).line(r"http://|still running")[0] == "http://", "a start after its end")
