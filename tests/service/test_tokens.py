"""Tokens: made and revoked by command, kept as hashes, and taken up by a broker that runs."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from redis_server import RedisServer

from broker.tokens import Followed, TokenFile
from gates.errors import Conflict, InvalidInput, InvalidSetting, NotFound
from gates.guard import Guard
from gates.settings import Settings
from tests.service.processes import ROOT, Broker, Command, Gatebus, refused, until


@pytest.fixture
def settings_file(own_home: Path) -> Path:
    return own_home / ".local" / "share" / "gatebus" / "settings.json"


def test_a_token_is_shown_once_and_kept_as_its_hash_for_the_owner_alone(gatebus: Gatebus, settings_file: Path) -> None:
    settings_file.parent.mkdir(parents=True)
    settings_file.write_text(json.dumps({"namespace": "farm"}))
    made = json.loads(gatebus("token", "create", "--role", "decide", "--name", "anna", "--json").out)
    text = settings_file.read_text()
    assert made["token"] not in text
    assert json.loads(text) == {"namespace": "farm", "tokens": [f"decide:anna:{made['sha256']}"]}
    assert stat.S_IMODE(settings_file.stat().st_mode) == 0o600
    shown = gatebus("token", "create", "--name", "ben", "--role", "view").out
    assert "gb_" in shown
    assert json.loads(settings_file.read_text())["tokens"][1] in shown
    listed = gatebus("token", "list").out
    assert "gb_" not in listed
    assert [line.split()[:2] for line in listed.splitlines()[1:]] == [["anna", "decide"], ["ben", "view"]]


def test_a_name_is_of_one_token_and_a_wrong_one_changes_nothing(gatebus: Gatebus, settings_file: Path) -> None:
    gatebus("token", "create", "--name", "anna")
    before = settings_file.read_bytes()
    assert "revoke it first" in refused(gatebus("token", "create", "--name", "anna", "--role", "admin"), 4)
    refused(gatebus("token", "create", "--name", "a:b"), 2)
    refused(gatebus("token", "revoke", "nobody"), 3)
    assert settings_file.read_bytes() == before
    revoked = gatebus("token", "revoke", "anna")
    assert revoked.code == 0
    assert "No token is left" in revoked.err
    assert json.loads(settings_file.read_text())["tokens"] == []


def test_a_settings_file_that_is_no_json_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    for content in ("{", "[]", '{"tokens": ["decide:anna:short"]}', '{"tokens": 5}'):
        path.write_text(content)
        with pytest.raises(InvalidSetting):
            TokenFile(path).create("view", "anna")
        assert path.read_text() == content
    with pytest.raises(InvalidInput):
        TokenFile(path).create("king", "anna")


def test_processes_that_make_tokens_at_the_same_time_lose_none(own_home: Path, settings_file: Path) -> None:
    code = (
        "import sys; from broker.cli import cli\n"
        "for n in range(5): cli(['token', 'create', '--name', f'{sys.argv[1]}-{n}'], standalone_mode=False)"
    )
    makers = [
        subprocess.Popen([sys.executable, "-c", code, str(number)], cwd=ROOT, stdout=subprocess.DEVNULL)
        for number in range(4)
    ]
    assert [maker.wait(60) for maker in makers] == [0] * 4
    names = {token.name for token in TokenFile(settings_file).tokens()}
    assert names == {f"{maker}-{number}" for maker in range(4) for number in range(5)}


def test_the_variable_goes_before_the_file_and_that_is_said(
    gatebus: Gatebus, settings_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEBUS_TOKENS", "view:wall:" + "0" * 64)
    made = gatebus("token", "create", "--name", "anna")
    assert "GATEBUS_TOKENS is set" in made.err
    listed = gatebus("token", "list", "--json")
    assert [token["name"] for token in json.loads(listed.out)] == ["wall"]


def test_a_running_broker_takes_up_what_is_made_and_revoked(
    redis_server: RedisServer, gatebus: Gatebus, start: Callable[..., Command]
) -> None:
    command = start("--url", redis_server.url, "serve", "--port", "0")
    broker = Broker(command.line(r"http://\S+")[0])
    assert broker.ask("/gatebus/gates")[0] == 200
    first = json.loads(gatebus("token", "create", "--name", "anna", "--role", "view", "--json").out)["token"]
    until(lambda: broker.ask("/gatebus/gates")[0] == 401, "a token is asked for")
    assert broker.ask("/gatebus/gates", Authorization=f"Bearer {first}")[0] == 200
    route = f"/gatebus/gates/{'0' * 32}/route"
    assert broker.ask(route, {"route": 1}, Authorization=f"Bearer {first}")[0] == 403
    second = json.loads(gatebus("token", "create", "--name", "ben", "--json").out)["token"]
    until(lambda: broker.ask(route, {"route": 1}, Authorization=f"Bearer {second}")[0] == 404, "ben is let in")
    gatebus("token", "revoke", "anna")
    until(lambda: broker.ask("/gatebus/gates", Authorization=f"Bearer {first}")[0] == 401, "anna is refused")
    assert broker.ask("/gatebus/gates", Authorization=f"Bearer {second}")[0] == 200
    # The last one gone does not open the broker to everyone.
    gatebus("token", "revoke", "ben")
    until(lambda: broker.ask("/gatebus/gates", Authorization=f"Bearer {second}")[0] == 401, "ben is refused")
    assert broker.ask("/gatebus/gates")[0] == 401
    assert first not in "\n".join(command.lines)


def test_a_broker_whose_tokens_are_of_the_environment_keeps_to_them(
    redis_server: RedisServer, gatebus: Gatebus, start: Callable[..., Command], own_home: Path
) -> None:
    command = start("--url", redis_server.url, "serve", "--port", "0", GATEBUS_TOKENS="view:wall:" + "0" * 64)
    other = start("--url", redis_server.url, "serve", "--port", "0")
    broker, follower = (Broker(each.line(r"http://\S+")[0]) for each in (command, other))
    made = json.loads(gatebus("token", "create", "--name", "anna", "--json").out)["token"]
    until(lambda: follower.ask("/gatebus/gates")[0] == 401, "the other one follows the file")
    assert follower.ask("/gatebus/gates", Authorization=f"Bearer {made}")[0] == 200
    assert broker.ask("/gatebus/gates", Authorization=f"Bearer {made}")[0] == 401


def test_a_file_that_breaks_while_it_is_followed_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = TokenFile(tmp_path / "settings.json")
    file.create("view", "anna")
    guard = Guard(Settings())
    followed = Followed(guard, file.tokens, ())
    followed.look()
    assert guard.asks
    whole = file.path.read_bytes()
    file.path.write_text("{")
    for _ in range(3):
        followed.look()
    assert guard.asks
    assert len([record for record in caplog.records if "stay as they were" in record.message]) == 1
    file.path.write_bytes(whole)
    with pytest.raises(NotFound):
        file.revoke("ben")
    with pytest.raises(Conflict):
        file.create("admin", "anna")


def test_the_file_is_never_readable_by_others_not_even_while_it_is_written(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        file = TokenFile(tmp_path / "sub" / "settings.json")
        file.create("view", "anna")
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)
