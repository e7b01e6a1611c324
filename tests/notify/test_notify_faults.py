"""What goes wrong while people are told: brokers that die, targets that hang, a Redis that goes away or forgets."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from redis_server import RedisServer

from gates.gate.record import make_decision
from gates.keys import Keys
from gates.settings import Settings
from gates.store import open_store
from tests.notify.conftest import SECRET, Telling, started
from tests.notify.hooks import Hooks
from tests.service.processes import LIMIT, Command, Studio, until

PAGE = "https://gates.example.org/"


def test_a_broker_that_is_killed_while_it_tells_is_followed_by_another(
    studio: Studio, telling: Telling, hooks: Hooks, redis_server: RedisServer, start: Callable[..., Command],
    tmp_path: Path,
) -> None:  # fmt: skip
    def broker(path: str) -> Command:
        command = start(
            "--url", redis_server.url, "serve", "--port", "0", GATEBUS_NOTIFY=f"json+{hooks.url}{path}",
            GATEBUS_NOTIFY_SECRET=SECRET, GATEBUS_NOTIFY_EVERY="0.5", HOME=str(tmp_path / path.strip("/")),
        )  # fmt: skip
        command.line(r"http://\S+")
        return command

    # The one target; it hangs until it is told to answer.
    one, two = broker("/hang"), broker("/hang")
    until(lambda: redis_server.client().get(Keys().notify_cursor), "a cursor")
    opened = sorted(studio.open_gate(f"gate {number}").gate.id for number in range(20))
    until(lambda: hooks.arrived, "the first try")
    claims = [redis_server.client().get(key) for key in redis_server.client().scan_iter("*:notify:*:opened:*")]
    assert len(claims) >= 1
    assert b"done" not in claims
    # Kill the one that tells: its own client holds the turn; the hook sees which one by its connection.
    tellers = {command: _connected(command.process.pid, hooks) for command in (one, two)}
    teller = next(command for command, connected in tellers.items() if connected)
    teller.process.kill()
    teller.process.wait(LIMIT)
    first = set(hooks.told("/hang"))
    hooks.arrived.clear()
    hooks.free.set()

    def all_told() -> bool:
        return set(hooks.told("/hang")) >= set(opened)

    end = time.monotonic() + 90
    while not all_told():
        assert time.monotonic() < end, (len(hooks.told("/hang")), [c.lines for c in (one, two)])
        time.sleep(0.1)
    assert first <= set(hooks.told("/hang"))
    assert Counter(hooks.told("/hang")).most_common(1)[0][1] == 1


def _connected(pid: int, hooks: Hooks) -> bool:
    """Whether the process holds a connection to the hooks."""
    port = hooks.server.server_address[1]
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if int(columns[2].split(":")[1], 16) == port and columns[3] == "01":
            inodes.add(columns[9])
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            link = str(entry.readlink())
        except FileNotFoundError:
            continue
        if link.startswith("socket:[") and link[8:-1] in inodes:
            return True
    return False


def test_decisions_are_as_fast_while_a_target_hangs(
    studio: Studio, telling: Telling, hooks: Hooks, redis_server: RedisServer
) -> None:
    def median() -> float:
        taken = []
        for _ in range(60):
            gate_id = studio.open_gate().gate.id
            began = time.perf_counter()
            studio.store.gates.decide(gate_id, make_decision("route", 1))
            taken.append(time.perf_counter() - began)
        return statistics.median(taken)

    alone = median()
    started(telling, hooks, redis_server, "/hang", "/trickle", "/flaky", "/big", notify_every=0.3)
    studio.open_gate("hung")
    until(lambda: hooks.at("/hang") and hooks.at("/trickle"), "targets that hang")
    beside = median()
    assert beside < 5 * alone + 0.005, (alone, beside)


def test_a_target_that_hangs_holds_up_no_other_and_no_end(
    studio: Studio, telling: Telling, hooks: Hooks, redis_server: RedisServer
) -> None:
    notifications = started(telling, hooks, redis_server, "/hang", "/ok")
    gates = [studio.open_gate("first").gate.id]
    until(lambda: hooks.at("/hang"), "a target that hangs")
    until(lambda: hooks.told() == gates, "the other target")
    gates.append(studio.open_gate("second").gate.id)
    until(lambda: hooks.told() == gates, "the other target again")
    began = time.monotonic()
    notifications.close()  # type: ignore[attr-defined]
    assert not notifications._thread.is_alive()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 10


def test_a_message_that_no_try_brings_is_dropped_once_for_all_brokers(
    studio: Studio, telling: Telling, hooks: Hooks, redis_server: RedisServer
) -> None:
    brokers = [started(telling, hooks, redis_server, "/gone", lease=1.0) for _ in range(2)]
    studio.open_gate("nobody hears")
    until(lambda: sum(broker.counts["dropped"] for broker in brokers) == 1, "a drop")  # type: ignore[attr-defined]
    until(lambda: not any(broker.waiting for broker in brokers), "nothing left")  # type: ignore[attr-defined]
    assert len(hooks.arrived) == 1


def test_what_opens_while_redis_is_away_is_told_when_it_is_back(
    own_redis: RedisServer, telling: Telling, hooks: Hooks, tmp_path: Path
) -> None:
    settings = Settings(store_url=own_redis.url, tick=0.2, lease=1.0, instance="studio")
    store = open_store(settings, tmp_path / "disk", tmp_path / "state")
    studio = Studio(store, own_redis.url)
    started(telling, hooks, own_redis, store_url=own_redis.url)
    before = studio.open_gate("before")
    until(lambda: hooks.told() == [before.gate.id], "the first message")
    until(lambda: b"done" in [own_redis.client().get(k) for k in own_redis.client().scan_iter("*:opened:*")], "done")
    own_redis.kill()
    during = studio.open_gate("during")
    time.sleep(0.5)
    own_redis.start()
    until(lambda: during.gate.id in hooks.told(), "the message about what opened meanwhile")
    after = studio.open_gate("after")
    until(lambda: after.gate.id in hooks.told(), "the last message")
    assert hooks.told() == [before.gate.id, during.gate.id, after.gate.id]
    store.close()


def test_a_store_that_lost_its_data_has_nothing_told_again(
    studio: Studio, telling: Telling, hooks: Hooks, redis_server: RedisServer
) -> None:
    notifications = started(telling, hooks, redis_server)
    told = studio.open_gate("told")
    until(lambda: hooks.told() == [told.gate.id], "the first message")
    until(lambda: notifications.waiting == 0, "done")  # type: ignore[attr-defined]
    redis_server.client().flushall()
    until(lambda: redis_server.client().exists(Keys().gate(told.gate.id)), "the gate announced again")
    after = studio.open_gate("after")
    until(lambda: after.gate.id in hooks.told(), "the next message")
    assert hooks.told() == [told.gate.id, after.gate.id]
