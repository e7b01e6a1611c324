"""``gatebus up``: its Redis comes back, what it prints is right, and the page opens for a person only."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from broker import addresses
from broker.commands import serving
from broker.embedded import EmbeddedRedis, free_port
from broker.keeper import Keeper
from broker.server import Listening
from gates.errors import StoreUnavailable
from tests.service.processes import ROOT, Broker, Command, until

pytestmark = pytest.mark.usefixtures("needs_redis_server")


def client_of(url: str) -> Any:
    return redis.Redis.from_url(url, socket_timeout=5)


def test_a_redis_that_dies_is_started_again_with_its_data(start: Callable[..., Command], tmp_path: Path) -> None:
    command = start("up", "--port", "0", "--redis-port", str(free_port()), "--data", str(tmp_path / "data"))
    url = command.line(r"GATEBUS_STORE_URL=(\S+)")[1]
    broker = Broker(command.line(r"answers on (http://\S+)")[1])
    client = client_of(url)
    client.set("kept", "1")
    for number in range(2):
        pid = client.info("server")["process_id"]
        os.kill(pid, signal.SIGKILL)
        command.line("Redis ended by itself \\(signal 9\\)")
        until(
            lambda number=number: len([line for line in command.lines if "Redis runs again" in line]) > number, "back"
        )
        until(lambda: broker.ask("/healthz")[0] == 200, "health")
        assert client.get("kept") == b"1"
        assert client.info("server")["process_id"] != pid
    assert command.end() in (0, 128 + signal.SIGTERM)
    until(lambda: not _answers(url), "its Redis ends with it")


def _answers(url: str) -> bool:
    try:
        client_of(url).ping()
    except redis.RedisError:
        return False
    return True


def test_a_redis_that_can_not_start_is_tried_again_with_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    server = EmbeddedRedis(tmp_path / "data")
    starts: list[int] = []
    whole = EmbeddedRedis.start

    def start(self: EmbeddedRedis) -> None:
        starts.append(1)
        if 1 < len(starts) < 4:
            raise StoreUnavailable("the disk is full")
        whole(self)

    monkeypatch.setattr(EmbeddedRedis, "start", start)
    monkeypatch.setattr("broker.keeper.FIRST_PAUSE", 0.1)
    with Keeper(server, said.append):
        client_of(server.url).set("kept", "1")
        os.kill(client_of(server.url).info("server")["process_id"], signal.SIGKILL)
        until(lambda: "Redis runs again" in said, "it runs again")
        assert client_of(server.url).get("kept") == b"1"
    full = [text for text in said if "the disk is full" in text]
    assert [text.partition(":")[0] for text in full] == [
        "Redis did not start; next try in 0.2 s",
        "Redis did not start; next try in 0.4 s",
    ]
    assert len(starts) == 4


def test_a_shared_redis_asks_for_its_password_and_keeps_it(start: Callable[..., Command], tmp_path: Path) -> None:
    data, port = tmp_path / "data", str(free_port())
    seen = []
    for _ in range(2):
        command = start("up", "--share", "--port", "0", "--redis-port", port, "--data", str(data), GATEBUS_TICK="0.3")
        url = command.line(r"GATEBUS_STORE_URL=(redis://:\S+@127\.0\.0\.1:\S+)")[1]
        Broker(command.line(r"answers on (http://\S+)")[1]).ask("/gatebus/gates")
        seen.append(url)
        password = url.split(":")[2].partition("@")[0]
        assert client_of(url).ping()
        with pytest.raises(redis.AuthenticationError):
            client_of(f"redis://127.0.0.1:{port}/0").ping()
        words = Path(f"/proc/{client_of(url).info('server')['process_id']}/cmdline")
        assert not words.exists() or password.encode() not in words.read_bytes()
        assert password not in command.lines[0]
        for host in addresses.own_addresses()[:1]:
            if ":" not in host:
                assert client_of(command.line(rf"GATEBUS_STORE_URL=(redis://:\S+@{re.escape(host)}:\S+)")[1]).ping()
        command.end()
        until(lambda url=url: not _answers(url), "its Redis ends with it")
    assert seen[0] == seen[1]
    assert stat.S_IMODE((data / "password.conf").stat().st_mode) == 0o600


def test_what_listens_everywhere_is_told_by_the_addresses_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "own_addresses", lambda: ["192.168.1.5", "fd00::5"])
    assert addresses.reached_at("127.0.0.1") == addresses.reached_at("localhost") == addresses.reached_at("::1") == []
    assert addresses.reached_at("0.0.0.0") == ["192.168.1.5"]
    assert addresses.reached_at("::") == ["192.168.1.5", "fd00::5"]
    assert addresses.reached_at("10.1.2.3") == ["10.1.2.3"]
    listening = Listening("::", 8787, "/farm")
    assert serving._urls_for_others("https://[::]:8787/farm", listening) == [
        "https://192.168.1.5:8787/farm",
        "https://[fd00::5]:8787/farm",
    ]
    assert serving._urls_for_others("http://127.0.0.1:8787", Listening()) == []
    assert serving._url_here("http://0.0.0.0:8787/farm", Listening("0.0.0.0")) == "http://127.0.0.1:8787/farm/"
    assert serving._url_here("http://127.0.0.1:8787", Listening()) == "http://127.0.0.1:8787/"


@pytest.mark.parametrize(("tty", "display", "opened"), [(True, ":0", True), (True, "", False), (False, ":0", False)])
def test_a_browser_is_opened_for_who_sits_at_a_screen(
    tty: bool, display: str, opened: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.sys, "platform", "linux")
    monkeypatch.setattr(serving.sys.stdout, "isatty", lambda: tty, raising=False)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert serving._has_browser() is opened


@pytest.mark.skipif(sys.platform == "win32", reason="pty is of Unix")
@pytest.mark.parametrize("options", [(), ("--no-open",)])
def test_up_opens_the_page_in_a_terminal_with_a_display(options: tuple[str, ...], tmp_path: Path) -> None:
    import pty

    mark = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s" "$1" > {mark}\n')
    browser.chmod(0o755)
    master, slave = pty.openpty()
    port = free_port()
    command = [sys.executable, "-m", "broker", "up", *options, "--port", str(port)]
    command += ["--redis-port", str(free_port()), "--data", str(tmp_path / "data")]
    environ = {**os.environ, "DISPLAY": ":99", "BROWSER": f"{browser} %s"}
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    try:
        broker = Broker(f"http://127.0.0.1:{port}")

        def healthy() -> bool:
            try:
                return broker.ask("/healthz")[0] == 200
            except OSError:
                return False

        until(healthy, "health")
        if options:
            time.sleep(1)
            assert not mark.exists()
        else:
            until(lambda: mark.exists() and mark.read_text(), "the browser")
            assert mark.read_text() == f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(30)
        os.close(master)
