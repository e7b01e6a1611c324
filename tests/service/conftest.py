"""A Redis with a process that opens gates on it, the ``gatebus`` command in this process, and in its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis_server import RedisServer

from broker import cli
from gates.store import open_store
from tests.service.processes import QUICK, Answer, Command, Gatebus, Studio


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The account's folder: nothing of a developer's, and nothing left behind."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def needs_redis_server(shared_redis: RedisServer) -> None:
    """For tests that start one themselves."""


@pytest.fixture
def studio(redis_server: RedisServer, tmp_path: Path) -> Iterator[Studio]:
    store = open_store(replace(QUICK, store_url=redis_server.url), tmp_path / "disk", tmp_path / "state")
    yield Studio(store, redis_server.url)
    store.close()


@pytest.fixture
def gatebus(redis_server: RedisServer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Gatebus:
    """Runs a command on the Redis."""
    monkeypatch.setenv("GATEBUS_STORE_URL", redis_server.url)

    def run(*arguments: str) -> Answer:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.cli(list(arguments), prog_name="gatebus")
        out, err = capfd.readouterr()
        return Answer(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture
def start() -> Iterator[Callable[..., Command]]:
    """Starts commands; all are ended after the test."""
    started: list[Command] = []

    def run(*arguments: str, **environ: str) -> Command:
        started.append(Command(arguments, environ))
        return started[-1]

    yield run
    for command in started:
        if command.process.poll() is None:
            command.end()
