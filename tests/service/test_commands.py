"""The ``gatebus`` command on a real Redis: what it lists, decides, fetches and refuses."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from redis_server import RedisServer, free_port

from broker.cli import MODULES
from broker.commands import gates as gates_command
from gates import codec
from gates.bus.record import BusMeta
from gates.errors import StoreUnavailable
from gates.gate.listing import Wanted
from gates.gate.record import make_decision
from gates.settings import Settings
from gates.store import open_store
from tests.service.processes import LIMIT, QUICK, ROOT, Answer, Command, Gatebus, Studio, image_file, refused


def test_what_waits_is_listed_oldest_first(studio: Studio, gatebus: Gatebus) -> None:
    assert gatebus("gates") == Answer(0, "Nothing waits.\n", "")
    first = studio.open_gate("first", routes=3, labels=("keep", "", "reject"))
    second = studio.open_gate("second")
    answer = gatebus("gates")
    head, *rows = answer.out.splitlines()
    assert head.split() == ["ID", "STATUS", "AGE", "PIXELS", "ROUTES", "TITLE"]
    assert [row.split()[0] for row in rows] == [first.gate.id, second.gate.id]
    assert re.search(r"waiting +\d+ s +8 x 6 +1 keep, 2, 3 reject +first$", rows[0])
    assert re.search(r"8 x 6 +1 to 2 +second$", rows[1])


def test_json_is_what_the_http_api_gives(studio: Studio, gatebus: Gatebus) -> None:
    gate = studio.open_gate().gate
    assert json.loads(gatebus("gates", "--json").out) == [json.loads(json.dumps(gate.to_json()))]
    assert json.loads(gatebus("show", gate.id, "--json").out)["title"] == "portrait"
    assert re.search(r"^title +portrait$", gatebus("show", gate.id).out, re.MULTILINE)


def test_a_route_wakes_who_waits_and_says_who_decided(studio: Studio, gatebus: Gatebus) -> None:
    waiter = studio.open_gate(labels=("keep", "redo"))
    answer = gatebus("route", waiter.gate.id, "2", "--by", "anna", "--text", "more light")
    assert answer == Answer(0, f"{waiter.gate.id} takes route 2 (redo)\n", "")
    decision = waiter.wait(LIMIT)
    assert decision is not None
    assert (decision.kind, decision.route, decision.by, decision.text) == ("route", 2, "anna", "more light")


def test_the_first_decision_wins_and_a_repeat_is_no_error(studio: Studio, gatebus: Gatebus) -> None:
    gate_id = studio.open_gate().gate.id
    assert gatebus("route", gate_id, "1", "--by", "anna").code == 0
    assert gatebus("route", gate_id, "1", "--by", "ben").code == 0
    assert "decided already: route 1 by anna" in refused(gatebus("route", gate_id, "2"), 4)
    assert "decided already: route 1 by anna" in refused(gatebus("cancel", gate_id), 4)


def test_cancel_tells_the_waiter_to_stop(studio: Studio, gatebus: Gatebus) -> None:
    waiter = studio.open_gate()
    assert gatebus("cancel", waiter.gate.id, "--by", "anna").code == 0
    decision = waiter.wait(LIMIT)
    assert decision is not None
    assert (decision.kind, decision.by) == ("cancel", "anna")


def test_an_id_may_be_cut_short_while_it_is_the_only_one(studio: Studio, gatebus: Gatebus) -> None:
    one, two = "ab12" + "0" * 28, "ab12" + "1" * 28
    studio.open_gate("one", one)
    assert gatebus("show", "ab12").code == 0
    studio.open_gate("two", two)
    message = refused(gatebus("route", "ab12", "1"), 2)
    assert one in message
    assert two in message
    assert gatebus("route", "ab121", "1").code == 0
    assert studio.store.gates.get(one).decision is None


def test_what_is_not_there_or_not_accepted_has_its_exit_code(studio: Studio, gatebus: Gatebus) -> None:
    gate_id = studio.open_gate().gate.id
    refused(gatebus("show", "0" * 32), 3)
    refused(gatebus("route", "0" * 32, "1"), 3)
    refused(gatebus("cancel", "beef"), 3)
    refused(gatebus("show", "../../etc"), 2)
    assert "1 to 2" in refused(gatebus("route", gate_id, "3"), 2)
    refused(gatebus("route", gate_id, "0"), 2)
    refused(gatebus("bus", "get", "nothing", "x.png"), 3)
    refused(gatebus("bus", "get", "a/b", "x.png"), 2)
    assert gatebus("route", gate_id, "one").code == 2
    assert gatebus("rout", gate_id).code == 2
    assert studio.store.gates.get(gate_id).decision is None


def test_a_mask_goes_with_the_route(studio: Studio, gatebus: Gatebus, tmp_path: Path) -> None:
    waiter = studio.open_gate()
    assert gatebus("route", waiter.gate.id, "1", "--mask", str(image_file(tmp_path / "mask.png"))).code == 0
    waiter.wait(LIMIT)
    png = waiter.mask()
    assert png is not None
    assert codec.decode_png(png).min() == 255


def test_a_refused_mask_or_route_leaves_the_gate_as_it_was(studio: Studio, gatebus: Gatebus, tmp_path: Path) -> None:
    gate_id = studio.open_gate().gate.id
    good = str(image_file(tmp_path / "good.png"))
    small = str(image_file(tmp_path / "small.png", (4, 4)))
    text = tmp_path / "text.png"
    text.write_text("no image")
    assert "4 x 4" in refused(gatebus("route", gate_id, "1", "--mask", small), 2)
    refused(gatebus("route", gate_id, "1", "--mask", str(text)), 2)
    refused(gatebus("route", gate_id, "9", "--mask", good), 2)
    gate = studio.store.gates.get(gate_id)
    assert (gate.mask, gate.decision, gate.status) == ("", None, "waiting")
    assert gatebus("route", gate_id, "2").code == 0
    refused(gatebus("route", gate_id, "1", "--mask", good), 4)
    assert studio.store.gates.get(gate_id).mask == ""


def test_a_title_can_not_steer_the_terminal(studio: Studio, gatebus: Gatebus) -> None:
    gate_id = studio.open_gate("\x1b]0;owned\x07\nfake row\u202e").gate.id
    for answer in (gatebus("gates"), gatebus("show", gate_id)):
        assert not set(answer.out) & {"\x1b", "\x07", "\u202e"}
    assert len(gatebus("gates").out.splitlines()) == 2


# -- what is kept -------------------------------------------------------------------------


def test_a_bus_is_listed_and_fetched(studio: Studio, gatebus: Gatebus, tmp_path: Path) -> None:
    frames = [np.full((6, 8, 3), shade / 255, np.float32) for shade in (10, 20)]
    mask = np.ones((2, 6, 8), np.float32)
    studio.store.buses.publish("cp1", frames[0][None], None)
    studio.store.buses.publish("cp1", np.stack(frames), mask, meta=BusMeta(label="keep"))
    assert re.search(r"^cp1 +2 +2 x 8 x 6 +png +yes .* keep$", gatebus("buses").out, re.MULTILINE)
    assert [head["version"] for head in json.loads(gatebus("buses", "--json").out)] == [2]

    target = tmp_path / "cp1.png"
    for name, options, shade in (
        ("cp1", [], 10),
        ("cp1", ["--frame", "1"], 20),
        ("cp1@-1", [], 10),
        ("cp1", ["--mask"], 255),
    ):
        assert gatebus("bus", "get", name, str(target), *options).code == 0
        with Image.open(target) as image:
            assert image.size == (8, 6)
            assert set(np.asarray(image).flat) == {shade}
    refused(gatebus("bus", "get", "cp1", str(target), "--frame", "2"), 3)
    refused(gatebus("bus", "get", "cp1@9", str(target)), 3)
    refused(gatebus("bus", "get", "cp1@-1", str(target), "--mask"), 3)
    assert "can't be written" in refused(gatebus("bus", "get", "cp1", str(tmp_path / "no folder" / "x.png")), 2)


def test_a_bus_goes_to_stdout_as_bytes(studio: Studio, redis_server: RedisServer) -> None:
    studio.store.buses.publish("cp1", np.zeros((1, 6, 8, 3), np.float32), None)
    call = [sys.executable, "-m", "broker", "--url", redis_server.url, "bus", "get", "cp1", "-"]
    png = subprocess.run(call, cwd=ROOT, capture_output=True, check=True).stdout
    with Image.open(BytesIO(png)) as image:
        assert image.size == (8, 6)


def test_pools_are_listed(studio: Studio, gatebus: Gatebus) -> None:
    assert gatebus("pools").out == "No pool.\n"
    png = codec.encode_png(np.zeros((6, 8, 3), np.uint8))
    studio.store.pools.add("faces", [(png, "one"), (png, "two")])
    assert re.search(r"^faces +2 +img_0001.png$", gatebus("pools").out, re.MULTILINE)
    assert json.loads(gatebus("pools", "--json").out)[0]["count"] == 2


# -- the store is away, or none is named --------------------------------------------------


def test_a_store_that_is_away_is_one_line_and_exit_code_5(gatebus: Gatebus) -> None:
    away = f"redis://:secret@127.0.0.1:{free_port()}/0"
    for command in (
        ["gates"],
        ["show", "0" * 32],
        ["route", "0" * 32, "1"],
        ["buses"],
        ["pools"],
        ["gates", "--watch"],
    ):
        line = refused(gatebus("--url", away, *command), 5)
        assert "does not answer" in line
        assert "secret" not in line


def test_a_wrong_password_is_said_and_never_shown(own_redis: RedisServer, gatebus: Gatebus) -> None:
    client = own_redis.client()
    client.config_set("requirepass", "right")
    line = refused(gatebus("--url", own_redis.url.replace("redis://", "redis://:wrong@"), "gates"), 5)
    assert "password" in line.lower()
    assert "wrong@" not in line


def test_without_a_store_gates_can_not_be_seen_but_the_disk_can(
    gatebus: Gatebus, monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    monkeypatch.delenv("GATEBUS_STORE_URL")
    assert "GATEBUS_STORE_URL" in refused(gatebus("gates"), 2)
    folder = own_home / "input"
    folder.mkdir(parents=True)
    monkeypatch.setenv("GATEBUS_DISK_DIR", str(folder))
    store = open_store(replace(Settings(), disk_dir=folder), folder, own_home / "state")
    store.buses.publish("cp1", np.zeros((1, 6, 8, 3), np.float32), None)
    store.close()
    assert "cp1" in gatebus("buses").out


def test_a_wrong_setting_is_named_and_help_is_given_all_the_same(
    gatebus: Gatebus, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "GATEBUS_STORE_URL must be" in refused(gatebus("--url", "http://somewhere", "gates"), 2)
    monkeypatch.setenv("GATEBUS_LEASES", "3")
    assert "GATEBUS_LEASES is no setting" in refused(gatebus("gates"), 2)
    assert gatebus("gates", "--help").code == 0
    assert gatebus("--version").code == 0


def test_settings_are_read_from_the_accounts_file(
    studio: Studio, gatebus: Gatebus, monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    monkeypatch.delenv("GATEBUS_STORE_URL")
    folder = own_home / ".local" / "share" / "gatebus"
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps({"store_url": studio.url}))
    studio.open_gate("from the file")
    assert "from the file" in gatebus("gates").out


# -- following ----------------------------------------------------------------------------


def test_watch_prints_a_line_for_every_change(studio: Studio, start: Callable[..., Command]) -> None:
    before = studio.open_gate("before").gate.id
    command = start("--url", studio.url, "gates", "--watch")
    command.line(rf"{before}  waiting .* before$")
    after = studio.open_gate("after")
    command.line(rf"{after.gate.id}  waiting .* after$")
    call = [sys.executable, "-m", "broker", "--url", studio.url, "route", before, "1"]
    subprocess.run(call, cwd=ROOT, check=True, capture_output=True)
    command.line(rf"{before}  decided: route 1")
    after.close("interrupted")
    command.line(rf"{after.gate.id}  cancelled")
    assert command.end(signal.SIGINT) == 0


def test_watch_loses_no_change_that_it_could_not_read_at_first(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = studio.open_gate("read later").gate
    looks: list[Callable[[], object]] = []
    monkeypatch.setattr(gates_command, "follow", lambda store, look: looks.append(look))
    gates_command._watch(studio.store, Wanted(), False)
    (look,) = looks
    for name in ("records", "some"):
        # First what waits already, then what happened since.
        with monkeypatch.context() as away, pytest.raises(StoreUnavailable):
            away.setattr(studio.store.gates, name, unavailable)
            look()
        assert capsys.readouterr().out == ""
        look()
        assert gate.id in capsys.readouterr().out
        if name == "records":
            studio.store.gates.decide(gate.id, make_decision("route", 1))


def unavailable(*arguments: object, **options: object) -> None:
    raise StoreUnavailable("away")


def test_watch_as_json_is_one_object_a_line(studio: Studio, start: Callable[..., Command]) -> None:
    gate_id = studio.open_gate("as json").gate.id
    command = start("--url", studio.url, "gates", "--watch", "--json")
    found = json.loads(command.line(r"^\{.*\}$")[0])
    assert (found["id"], found["title"]) == (gate_id, "as json")


def test_watch_goes_on_over_an_outage(own_redis: RedisServer, tmp_path: Path, start: Callable[..., Command]) -> None:
    command = start("--url", own_redis.url, "gates", "--watch")
    store = open_store(replace(QUICK, store_url=own_redis.url), tmp_path / "disk", tmp_path / "state")
    studio = Studio(store, own_redis.url)
    try:
        studio.open_gate("before the outage")
        command.line("waiting .* before the outage")
        own_redis.kill()
        command.line("^gatebus: Redis .* does not answer")
        own_redis.start()
        studio.open_gate("after the outage")
        command.line("waiting .* after the outage")
    finally:
        store.close()


# -- loading ------------------------------------------------------------------------------


def test_every_command_is_found_by_its_name_and_loads_no_server() -> None:
    folder = Path(gates_command.__file__).parent
    modules = {path.stem: import_module(f"broker.commands.{path.stem}") for path in folder.glob("[a-z]*.py")}
    with_commands = {name: module for name, module in modules.items() if hasattr(module, "COMMANDS")}
    assert {
        name: tuple(command.name for command in module.COMMANDS) for name, module in with_commands.items()
    } == MODULES
    code = "import sys; from broker.cli import cli; cli.commands['route']; print('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "False\n"
