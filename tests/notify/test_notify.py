"""Who is told of what, when, and how often: over real sockets and a real Redis."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
import redis
from redis_server import RedisServer

from broker.notify.claims import Claims
from gates.connection import Connection
from gates.errors import InvalidSetting
from gates.gate.record import Gate, make_decision
from gates.keys import Keys
from gates.settings import Settings
from gates.store import open_store
from tests.notify.conftest import SECRET, Telling, started
from tests.notify.hooks import Hooks
from tests.service.processes import Gatebus as GatebusCommand
from tests.service.processes import Studio, refused, until
from tests.test_topologies import Servers

PAGE = "https://gates.example.org/"


def test_a_gate_that_opens_is_told_once_with_link_and_picture(
    studio: Studio, telling: Telling, hooks: Hooks, redis_server: RedisServer
) -> None:
    notifications = started(
        telling, hooks, redis_server, "/ok", f"discord+{hooks.url}/discord/1/t", public_url=PAGE, notify_every=0.3
    )
    waiter = studio.open_gate("portrait")
    until(lambda: len(hooks.arrived) == 2, "two messages")
    (told,) = hooks.at("/ok")
    assert told.json["title"] == "A gate waits: portrait"
    assert told.json["url"] == f"{PAGE}#/gates/{waiter.gate.id}"
    (at_discord,) = hooks.at("/discord")
    assert at_discord.parts["files[0]"][1].startswith(b"\xff\xd8")
    until(lambda: notifications.waiting == 0, "done")  # type: ignore[attr-defined]
    # Painting and looking are changes too, of a gate that was told of.
    studio.store.gates.set_mask(waiter.gate.id, None)
    second = studio.open_gate("second")
    until(lambda: second.gate.id in hooks.told(), "the second message")
    assert hooks.told() == [waiter.gate.id, second.gate.id]
    until(lambda: notifications.counts["gates"] == 4, "counts")  # type: ignore[attr-defined]
    assert notifications.counts == Counter(sent=4, gates=4, retried=0, dropped=0, overflowed=0)  # type: ignore[attr-defined]


def test_a_gate_that_is_decided_at_once_is_not_told(
    studio: Studio, telling: Telling, hooks: Hooks, redis_server: RedisServer
) -> None:
    started(telling, hooks, redis_server, notify_every=2.0)
    decided = studio.open_gate("quick")
    studio.store.gates.decide(decided.gate.id, make_decision("route", 1))
    waits = studio.open_gate("slow")
    until(lambda: hooks.told(), "a message")
    assert hooks.told() == [waits.gate.id]


def test_a_thousand_gates_in_a_moment_are_a_handful_of_messages(
    studio: Studio, telling: Telling, hooks: Hooks, redis_server: RedisServer
) -> None:
    notifications = started(telling, hooks, redis_server, notify_every=2.0)
    opened = []
    for number in range(999):
        opened.append(studio.open_gate(gate_id=f"{number:032x}", workflow=f"flow {number % 3}").gate.id)
    until(lambda: len(hooks.told()) == 999, "all told")
    assert sorted(hooks.told()) == opened
    assert len(hooks.arrived) <= 12
    first = hooks.arrived[0].json
    assert first["title"] == f"{first['count']} gates wait"
    assert first["text"].startswith("workflow flow ")
    assert notifications.counts["sent"] == len(hooks.arrived)  # type: ignore[attr-defined]


def test_a_new_broker_tells_nothing_old_and_a_restarted_one_only_what_nobody_told(
    studio: Studio, telling: Telling, hooks: Hooks, redis_server: RedisServer
) -> None:
    studio.open_gate("before anybody was to be told")
    first = started(telling, hooks, redis_server)
    told = studio.open_gate("told")
    until(lambda: hooks.told() == [told.gate.id], "the message")
    until(lambda: first.waiting == 0, "done")  # type: ignore[attr-defined]
    first.close()  # type: ignore[attr-defined]
    while_away = studio.open_gate("while no broker ran")
    decided = studio.open_gate("decided meanwhile")
    studio.store.gates.decide(decided.gate.id, make_decision("route", 1))
    telling()
    until(lambda: while_away.gate.id in hooks.told(), "the message about what opened meanwhile")
    third = telling()
    after = studio.open_gate("after")
    until(lambda: after.gate.id in hooks.told(), "the last message")
    until(lambda: third.waiting == 0, "done")
    assert hooks.told() == [told.gate.id, while_away.gate.id, after.gate.id]


def test_brokers_side_by_side_tell_each_gate_once_and_share_the_turn(
    studio: Studio, telling: Telling, hooks: Hooks, redis_server: RedisServer
) -> None:
    brokers = [started(telling, hooks, redis_server, "/ok", "/other", notify_every=0.5) for _ in range(3)]
    began = time.monotonic()
    opened = []
    for number in range(120):
        opened.append(studio.open_gate(gate_id=f"{number:032x}").gate.id)
        time.sleep(0.02)
    until(lambda: len(hooks.told()) >= 120 and len(hooks.told("/other")) >= 120, "all told")
    until(lambda: not any(broker.waiting for broker in brokers), "nothing left")  # type: ignore[attr-defined]
    passed = time.monotonic() - began
    for path in ("/ok", "/other"):
        assert sorted(hooks.told(path)) == opened
        # One message in half a second, whoever sends it.
        assert len(hooks.at(path)) <= passed / 0.5 + 2


def test_a_gate_that_waits_long_loses_its_process_or_ends_by_its_deadline_is_told_too(
    telling: Telling, hooks: Hooks, redis_server: RedisServer, tmp_path: Path
) -> None:
    settings = Settings(store_url=redis_server.url, tick=0.2, lease=1.0, instance="studio")
    store = open_store(settings, tmp_path / "disk", tmp_path / "state")
    studio = Studio(store, redis_server.url)
    events = ("opened", "waiting", "orphaned", "deadline")
    started(telling, hooks, redis_server, notify_events=events, notify_after=1.5)
    long = studio.open_gate("long")
    preview = store.gates.preview(long.gate.id)
    late = store.gates.open(Gate(id="d" * 32, routes=2, timeout_route=2), preview, timeout=1.2)
    until(lambda: hooks.told(event="waiting"), "a second message")
    assert hooks.told(event="waiting") == [long.gate.id]
    until(lambda: hooks.told(event="deadline"), "the deadline")
    (ended,) = [g for a in hooks.arrived for g in a.json["gates"] if g["event"] == "deadline"]
    assert (ended["id"], ended["decision"]) == (late.gate.id, {"kind": "route", "route": 2})
    # The owner is gone without a word: its lease runs out, and whoever sweeps marks the gate.
    store.gates._owned._closed.set()  # type: ignore[attr-defined]
    until(lambda: hooks.told(event="orphaned"), "the orphan")
    assert set(hooks.told(event="orphaned")) <= {long.gate.id, late.gate.id}
    store.close()


def test_a_gate_that_parks_is_told_of_once_and_a_run_that_fails_with_its_error(
    studio: Studio, telling: Telling, hooks: Hooks, redis_server: RedisServer
) -> None:
    started(telling, hooks, redis_server, notify_events=("opened", "failed"))
    parked = studio.kept_gate("cover")
    until(lambda: hooks.told() == [parked.gate.id], "that it opened")
    assert studio.store.gates.park([parked])
    studio.store.gates.prompts_ended({parked.gate.prompt_id: ""})
    studio.store.gates.decide(parked.gate.id, make_decision("route", 1))
    studio.run(parked.gate.id, "KSampler: no memory")
    until(lambda: hooks.told(event="failed"), "that its run failed")
    # Made again, it was opened by nobody; that one goes well.
    fresh = studio.store.gates.again(parked.gate.id, make_decision("route", 1))
    studio.run(fresh.id)
    last = studio.open_gate("last")
    until(lambda: last.gate.id in hooks.told(), "the last one")
    assert hooks.told(event="opened") == [parked.gate.id, last.gate.id]
    (failed,) = [g for arrived in hooks.arrived for g in arrived.json["gates"] if g["event"] == "failed"]
    assert (failed["id"], failed["run_error"]) == (parked.gate.id, "KSampler: no memory")
    (told,) = [arrived.json for arrived in hooks.arrived if "failed" in {g["event"] for g in arrived.json["gates"]}]
    assert told["title"] == "What ran on from a gate has failed: cover"
    assert told["text"].startswith("KSampler: no memory")


def test_on_a_cluster_people_are_told_too(telling: Telling, hooks: Hooks, servers: Servers, tmp_path: Path) -> None:
    port = servers.start("--cluster-enabled", "yes", "--save", "")
    client = redis.Redis(port=port)
    client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
    until(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"), "a cluster")
    url = f"redis+cluster://127.0.0.1:{port}"
    store = open_store(Settings(store_url=url, tick=0.2, lease=1.0), tmp_path / "disk", tmp_path / "state")
    studio = Studio(store, url)
    brokers = [telling(store_url=url, notify_events=("opened", "waiting"), notify_after=1.0) for _ in range(2)]
    until(lambda: client.get(Keys().notify_cursor), "a cursor")
    opened = sorted(studio.open_gate().gate.id for _ in range(50))
    for event in ("opened", "waiting"):
        until(lambda event=event: len(hooks.told(event=event)) >= 50, event)
        assert sorted(hooks.told(event=event)) == opened
    until(lambda: not any(broker.waiting for broker in brokers), "nothing left")
    assert len(hooks.told()) == 50
    store.close()
    client.close()


def test_a_claim_is_one_brokers_until_its_lease_is_over_or_it_is_done(redis_server: RedisServer) -> None:
    settings = Settings(store_url=redis_server.url)
    connections = [Connection(settings) for _ in range(2)]
    one, two = (Claims(connection, Keys(), lease=0.5) for connection in connections)
    things = [("opened", f"{number:032x}") for number in range(3)]
    assert one.claim("t", things) == [True, True, True]
    assert one.claim("t", things) == [True, True, True]
    assert two.claim("t", things) == [False, False, False]
    assert two.told("t", things) == [False, False, False]
    assert one.told("t", things) == [None, None, None]
    one.done("t", things[:1])
    one.renew("t", things[1:2])
    assert two.told("t", things) == [True, False, False]
    until(lambda: two.told("t", things) == [True, None, None], "the end of the leases")
    assert two.claim("t", things) == [False, True, True]
    assert one.take_turn("t", 60) == 0
    assert 0 < two.take_turn("t", 60) <= 60
    two.release_turn("t")
    assert two.take_turn("t", 60) > 0
    one.release_turn("t")
    assert two.take_turn("t", 60) == 0
    for connection in connections:
        connection.close()


def test_notifications_need_a_store_that_others_share(tmp_path: Path) -> None:
    from aiohttp import web

    from broker.notify.notifications import NOTIFICATIONS, mount_notifications

    store = open_store(Settings(notify=("https://ntfy.sh/t",)), tmp_path, tmp_path)
    with pytest.raises(InvalidSetting, match="GATEBUS_STORE_URL"):
        mount_notifications(web.Application(), store, print)
    store.close()
    store = open_store(Settings(), tmp_path, tmp_path)
    app = web.Application()
    mount_notifications(app, store, print)
    assert NOTIFICATIONS not in app
    store.close()


# -- gatebus notify test ------------------------------------------------------------------


def test_the_command_sends_a_sample_to_each_target_and_says_what_it_answered(
    gatebus: GatebusCommand, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEBUS_NOTIFY_SECRET", SECRET)
    monkeypatch.setenv("GATEBUS_NOTIFY", f"json+{hooks.url}/ok,discord+{hooks.url}/ok/1/t")
    answer = gatebus("notify", "test")
    assert answer.code == 0, answer
    assert answer.out.count("accepted") == 2
    assert "200 OK" in answer.out
    assert hooks.at("/ok/1/t")[0].parts["files[0]"][1].startswith(b"\xff\xd8")
    monkeypatch.setenv("GATEBUS_NOTIFY", f"json+{hooks.url}/ok,json+{hooks.url}/gone/sesame?key=open+sesame")
    answer = gatebus("notify", "test")
    assert answer.code == 1
    assert "refused" in answer.out
    assert "404 Not Found there is no" in answer.out
    assert "sesame" not in answer.out + answer.err
    shown = gatebus("notify", "test", "--json")
    assert shown.code == 1
    assert '"accepted": true' in shown.out
    assert "sesame" not in shown.out


def test_the_command_without_targets_is_one_line(gatebus: GatebusCommand) -> None:
    assert "GATEBUS_NOTIFY" in refused(gatebus("notify", "test"), 2)
