"""``gatebus doctor``: it says what is wrong and how to mend it, tells no secret, and changes nothing."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis as redis_module
from redis_server import RedisServer, free_port

from broker.access import Access
from broker.doctor import machine, rights
from broker.doctor import redis as redis_side
from broker.pack import Pack
from gates.settings import Settings
from gates.store import open_store
from tests.service.processes import LIMIT, QUICK, ROOT, Command, Gatebus, Studio

SECRET = "s3cr3t-word"


def look(gatebus: Gatebus, *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    """(exit code, check -> finding); of several with one check the worst."""
    answer = gatebus(*arguments[:2], "doctor", "--json", *arguments[2:]) if arguments[:1] == ("--url",) else None
    answer = answer or gatebus("doctor", "--json", *arguments)
    assert SECRET not in answer.out + answer.err
    told = json.loads(answer.out)
    assert set(told) == {"ok", "version", "findings"}
    assert answer.code == (0 if told["ok"] else 1)
    found: dict[str, dict[str, str]] = {}
    for finding in told["findings"]:
        assert set(finding) == {"state", "check", "text", "mend"}
        assert bool(finding["mend"]) == (finding["state"] != "ok")
        found[finding["check"]] = max(
            finding, found.get(finding["check"], finding), key=lambda f: ("ok", "warning", "wrong").index(f["state"])
        )
    return answer.code, found


def test_a_redis_that_is_as_it_should_be_is_ok(own_redis: RedisServer, gatebus: Gatebus) -> None:
    code, found = look(gatebus, "--url", own_redis.url)
    assert code == 0
    states = {check: found[check]["state"] for check in found if check.startswith("redis")}
    checks = ("redis", "redis.version", "redis.persistence", "redis.memory", "redis.clock", "redis.rights")
    assert states == dict.fromkeys(checks, "ok")
    client = own_redis.client()
    assert client.dbsize() == 0
    assert client.xlen("{gatebus}:events") == 0


def test_it_is_printed_a_line_each_with_how_to_mend_it(redis_server: RedisServer, gatebus: Gatebus) -> None:
    answer = gatebus("doctor")
    assert answer.code == 0
    assert re.search(r"^ok +redis\.version +\d", answer.out, re.MULTILINE)
    assert re.search(r"^warning +redis\.persistence .*\n +mend: CONFIG SET appendonly yes", answer.out, re.MULTILINE)


def test_what_is_wrong_with_a_redis_is_named(own_redis: RedisServer, gatebus: Gatebus) -> None:
    client = own_redis.client()
    client.config_set("maxmemory", "200mb")
    client.config_set("maxmemory-policy", "allkeys-lru")
    code, found = look(gatebus, "--url", own_redis.url)
    assert code == 1
    assert "noeviction" in found["redis.memory"]["mend"]
    client.config_set("maxmemory-policy", "noeviction")
    client.set("ballast", b"x" * 2_000_000)
    for limit in ("4mb", "1mb"):
        client.config_set("maxmemory", limit)
        code, found = look(gatebus, "--url", own_redis.url)
        assert (code, found["redis.memory"]["state"], found["redis.rights"]["state"]) == (0, "warning", "ok")
    client.config_set("maxmemory", "0")
    client.config_set("appendonly", "no")
    assert look(gatebus, "--url", own_redis.url)[1]["redis.persistence"]["state"] == "warning"
    client.replicaof("127.0.0.1", 1)
    code, found = look(gatebus, "--url", own_redis.url)
    assert (code, found["redis.role"]["state"]) == (1, "wrong")


def test_a_redis_that_is_away_or_refuses_is_said_without_its_password(own_redis: RedisServer, gatebus: Gatebus) -> None:
    code, found = look(gatebus, "--url", f"redis://:{SECRET}@127.0.0.1:{free_port()}/0")
    assert (code, found["redis"]["state"]) == (1, "wrong")
    client = own_redis.client()
    client.config_set("requirepass", "right")
    url = own_redis.url.replace("redis://", f"redis://:{SECRET}@")
    code, found = look(gatebus, "--url", url)
    assert (code, "refuses user or password" in found["redis"]["text"]) == (1, True)
    own_redis.freeze()
    code, found = look(gatebus, "--url", url)
    assert (code, found["redis"]["state"]) == (1, "wrong")


# -- rights -------------------------------------------------------------------------------


@pytest.fixture
def account(own_redis: RedisServer) -> Callable[..., str]:
    """Makes an account with these rules; returns its store URL."""

    def make(*rules: str) -> str:
        client = own_redis.client()
        client.execute_command("ACL", "SETUSER", "bob", "reset", "on", f">{SECRET}", *rules)
        return own_redis.url.replace("redis://", f"redis://bob:{SECRET}@")

    return make


def test_every_command_that_is_used_is_tried() -> None:
    texts = [
        path.read_text(encoding="utf-8")
        for folder in ("gates", "broker")
        for path in (ROOT / folder).rglob("*.py")
        if not {"doctor", "demo", "client"} & set(path.relative_to(ROOT).parts)
    ]
    tried = {command[0] for command in (*rights.COMMANDS, *rights.BESIDES)}
    in_scripts = {
        name.upper() for text in texts for name in re.findall(r"redis\.p?call\(\s*['\"]([A-Za-z]+)['\"]", text)
    }
    assert len(in_scripts) > 25
    assert in_scripts - tried == set()
    client = redis_module.Redis()
    called = {
        name.upper()
        for text in texts
        for name in re.findall(r"\b(?:control|blobs|pipe|pipeline|client)\.([a-z]+)\(", text)
        if callable(getattr(client, name, None))
    }
    # Of redis-py itself, not of the server; SUBSCRIBE is tried by check().
    assert called - tried - {"CLOSE", "PIPELINE", "PUBSUB", "LOCK", "INFO"} == set()


def test_the_rules_that_are_recommended_are_enough_for_everything(
    account: Callable[..., str], gatebus: Gatebus, tmp_path: Path
) -> None:
    url = account(*rights.needed("gatebus").split(), "+multi", "+discard")
    code, found = look(gatebus, "--url", url)
    assert (code, found["redis.rights"]["state"]) == (0, "ok")
    url = account(*rights.needed("gatebus").split())
    assert look(gatebus, "--url", url)[1]["redis.rights"]["state"] == "warning"
    store = open_store(replace(QUICK, store_url=url), tmp_path / "disk", tmp_path / "state")
    try:
        studio = Studio(store, url)
        waiter = studio.open_gate()
        assert gatebus("--url", url, "route", waiter.gate.id, "1").code == 0
        assert waiter.wait(LIMIT) is not None
        waiter.apply()
        store.buses.publish("cp1", np.zeros((1, 6, 8, 3), np.float32), None)
        assert [head.version for head in store.buses.versions("cp1")] == [1]
        assert store.pools.add("faces", []).pool_id == "faces"
        assert store.unavailable() == ""
    finally:
        store.close()


def test_a_right_that_is_missing_is_named(account: Callable[..., str], gatebus: Gatebus) -> None:
    rules = [*rights.needed("gatebus").split(), "+multi", "+discard"]
    without = [rule for rule in rules if rule != "+script|load"]
    code, found = look(gatebus, "--url", account(*without, "-hset", "-xadd"))
    assert code == 1
    for name in ("HSET", "XADD", "SCRIPT LOAD"):
        assert name in found["redis.rights"]["text"]
    assert "ZADD" not in found["redis.rights"]["text"]
    other_keys = [rule for rule in rules if not rule.startswith("~")]
    _, found = look(gatebus, "--url", account(*other_keys, "~other:*"))
    assert "GET on these keys" in found["redis.rights"]["text"]
    no_channels = [rule for rule in rules if not rule.startswith("&")]
    _, found = look(gatebus, "--url", account(*no_channels))
    assert "SUBSCRIBE {gatebus}:gates" in found["redis.rights"]["text"]
    _, found = look(gatebus, "--url", account(*rules, "-info", "-time"))
    assert {found["redis.info"]["state"], found["redis.clock"]["state"]} == {"warning"}


# -- settings and folders -----------------------------------------------------------------


def test_settings_are_told_with_their_source_and_without_secrets(
    gatebus: Gatebus, own_home: Path, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = own_home / ".local" / "share" / "gatebus" / "settings.json"
    file.parent.mkdir(parents=True)
    content = {
        "max_gates": 7,
        "notify": [f"json+https://example.org/{SECRET}"],
        "tokens": [f"view:anna:{'0' * 64}"],
        "store_url": f"redis://:{SECRET}@127.0.0.1:1/0",
    }
    file.write_text(json.dumps(content))
    file.chmod(0o644)
    monkeypatch.setenv("GATEBUS_STORE_URL", own_redis.url)
    monkeypatch.setenv("GATEBUS_TICK", "1")
    _, found = look(gatebus)
    assert found["setting.max_gates"]["text"] == f"7 (from {file})"
    assert found["setting.tick"]["text"] == "1.0 (from GATEBUS_TICK)"
    assert found["setting.tokens"]["text"] == f"view:anna (from {file})"
    assert found["setting.store_url"]["text"] == f"{own_redis.url} (from GATEBUS_STORE_URL)"
    assert "0" * 64 not in json.dumps(found)
    assert found["tokens"]["state"] == "warning"
    assert "chmod 600" in found["settings.file"]["mend"]
    assert "setting.lease" not in found
    assert look(gatebus, "--url", own_redis.url)[1]["setting.store_url"]["text"].endswith("(from --url)")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"notify": [f"json+https://example.org/{SECRET}"]}, True),
        ({"notify_secret": "s" * 16}, True),
        ({"tokens": [f"view:anna:{'0' * 64}"]}, True),
        ({"store_url": f"redis://:{SECRET}@127.0.0.1:1/0"}, True),
        ({"store_url": f"redis://127.0.0.1:1/0?password={SECRET}"}, True),
        ({"store_url": "redis://127.0.0.1:1/0", "notify": [], "trusted_proxies": ["10.0.0.0/8"]}, False),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_file_that_others_may_read_is_a_warning_when_it_holds_any_secret(
    own_home: Path, content: dict[str, object], told: bool
) -> None:
    file = own_home / ".local" / "share" / "gatebus" / "settings.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    file.chmod(0o644)
    _, found = machine.settings_of(Access())
    shown = {finding.check: finding.text for finding in found}
    assert ("settings.file" in shown) == told
    assert SECRET not in str(shown)
    if "trusted_proxies" in content:
        assert "10.0.0.0/8" in shown["setting.trusted_proxies"]
    file.chmod(0o600)
    assert "settings.file" not in {finding.check for finding in machine.settings_of(Access())[1]}


def test_no_value_of_a_setting_that_may_be_secret_is_shown() -> None:
    settings = Settings(store_url=f"redis://u:{SECRET}@h:1/0", notify_secret=SECRET, notify=(SECRET,))
    for name, value in vars(settings).items():
        assert SECRET not in machine.shown_value(name, value, settings), name


def test_a_wrong_setting_is_named_and_the_rest_is_still_looked_at(
    gatebus: Gatebus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEBUS_TICKS", SECRET)
    code, found = look(gatebus)
    assert code == 1
    assert "GATEBUS_TICKS is no setting" in found["settings"]["text"]
    assert "broker" in found


def test_a_folder_that_can_not_be_written_is_wrong(
    gatebus: Gatebus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEBUS_DISK_DIR", str(tmp_path / "not yet" / "there"))
    _, found = look(gatebus)
    assert "made when it is needed" in found["folder.disk"]["text"]
    assert not (tmp_path / "not yet").exists()
    file = tmp_path / "file"
    file.write_text("no folder")
    monkeypatch.setenv("GATEBUS_DISK_DIR", str(file))
    assert look(gatebus)[1]["folder.disk"]["state"] == "wrong"
    monkeypatch.setattr(machine, "LITTLE", 2**60)
    monkeypatch.setenv("GATEBUS_DISK_DIR", str(tmp_path))
    assert look(gatebus)[1]["folder.disk"]["state"] == "warning"


# -- the broker ---------------------------------------------------------------------------


class Stranger(BaseHTTPRequestHandler):
    """Answers as no broker does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>another program</html>")

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def stranger() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_broker_that_runs_is_told_of(
    own_redis: RedisServer, gatebus: Gatebus, start: Callable[..., Command], stranger: str
) -> None:
    command = start("--url", own_redis.url, "serve", "--port", "0", GATEBUS_TICK="0.3")
    url = command.line(r"http://\S+")[0]
    _, found = look(gatebus, "--url", own_redis.url, "--broker", url)
    assert found["broker"]["state"] == "ok"
    assert "version" in found["broker"]["text"]
    code, found = look(gatebus, "--broker", f"http://127.0.0.1:{free_port()}")
    assert (code, found["broker"]["state"]) == (1, "wrong")
    assert look(gatebus, "--broker", stranger)[1]["broker"]["state"] == "warning"
    guarded = start("--url", own_redis.url, "serve", "--port", "0", GATEBUS_TOKENS=f"view:anna:{'0' * 64}")
    url = guarded.line(r"http://\S+")[0]
    assert "asks for a token" in look(gatebus, "--broker", url)[1]["broker"]["text"]


def test_a_port_that_is_held_and_silent_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PATIENCE", 0.5)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen(1)
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        assert machine.broker(url, expected=False).state == "warning"
        assert machine.broker(url, expected=True).state == "wrong"


# -- a ComfyUI ----------------------------------------------------------------------------


@pytest.fixture
def comfy(tmp_path: Path) -> Path:
    folder = tmp_path / "ComfyUI"
    (folder / "custom_nodes").mkdir(parents=True)
    (folder / "comfyui_version.py").write_text('__version__ = "0.3.64"\n')
    return folder


def test_a_comfyui_without_with_and_with_two_of_the_pack(
    gatebus: Gatebus, comfy: Path, redis_server: RedisServer
) -> None:
    options = ("--comfyui", str(comfy), "--python", sys.executable)
    code, found = look(gatebus, *options)
    assert code == 1
    assert found["comfyui"]["state"] == "ok"
    assert "gatebus install" in found["comfyui.pack"]["mend"]
    assert found["comfyui.settings"]["state"] == "warning"
    store = ("--store-url", redis_server.url)
    assert gatebus("install", str(comfy), "--python", sys.executable, *store).code == 0
    code, found = look(gatebus, *options)
    assert code == 0
    assert {found[check]["state"] for check in found if check.startswith("comfyui")} == {"ok"}
    assert "redis " in found["comfyui.python"]["text"]
    Pack().copy(comfy / "custom_nodes" / "second")
    assert "more than once" in look(gatebus, *options)[1]["comfyui.pack"]["text"]


def test_a_comfyui_on_another_store_too_old_or_without_python_is_said(gatebus: Gatebus, comfy: Path) -> None:
    file = comfy / "user" / "__gatebus" / "settings.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"store_url": f"redis://:{SECRET}@elsewhere:6379/0"}))
    (comfy / "comfyui_version.py").write_text('__version__ = "0.3.9"\n')
    _, found = look(gatebus, "--comfyui", str(comfy))
    assert "do not see each other" in found["comfyui.settings"]["text"]
    assert found["comfyui"]["state"] == "wrong"
    assert found["comfyui.python"]["state"] == "warning"
    file.write_text('{"stor_url": ""}')
    assert look(gatebus, "--comfyui", str(comfy))[1]["comfyui.settings"]["state"] == "wrong"
    assert look(gatebus, "--comfyui", str(comfy / "custom_nodes"))[1]["comfyui"]["state"] == "wrong"
    python = comfy / "python"
    python.write_text('#!/bin/sh\necho \'{"python": "3.11.7", "redis": "4.6.0"}\'\n')
    python.chmod(0o755)
    _, found = look(gatebus, "--comfyui", str(comfy), "--python", str(python))
    assert "msgpack>=1.0" in found["comfyui.packages"]["text"]
    assert os.fspath(python) in found["comfyui.packages"]["mend"]


def test_an_old_redis_and_clocks_apart_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, state in (("6.0.16", "wrong"), ("6.2.0", "ok"), ("8.2.1", "ok"), ("7.2.4-rc1", "ok")):
        assert redis_side._version({"redis_version": version}, "").state == state

    class Late:
        def time(self) -> tuple[int, int]:
            return 1, 0

    assert redis_side._clock(Late()).state == "warning"
