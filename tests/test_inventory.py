"""The live gates as a process last read them: always what Redis has, and only what changed is read."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from redis_server import RedisServer as Redis

from gates.connection import Connection
from gates.errors import StoreUnavailable
from gates.events import RedisEvents
from gates.gate.fields import to_fields
from gates.gate.inventory import Inventory
from gates.gate.record import Gate, Waiter, make_decision
from gates.gate.redis_steps import GateSteps
from gates.keys import Keys
from gates.listener import Listener
from gates.settings import Settings
from gates.store import Store, open_store

SETTINGS = replace(Settings(), tick=0.5, lease=5.0, max_gates=20_000)


class Farm:
    """A store that opens gates, and an inventory on a connection of its own, as a broker has it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.keys = Keys(settings.namespace)
        self.connection = Connection(settings)
        self.listener = Listener(self.connection)
        self.inventory = Inventory(
            self.connection, self.keys, RedisEvents(self.connection, self.keys, self.listener).cursor
        )
        self.steps = GateSteps(self.connection, self.keys)
        self.store: Store = open_store(settings, folder / "input", folder / "state")

    def open(self, **values: object) -> Waiter:
        return self.store.gates.open(Gate(id=uuid.uuid4().hex, **values), b"\xff\xd8preview")  # type: ignore[arg-type]

    def truth(self) -> list[Gate]:
        """Every live gate, each read anew."""
        return sorted(self.steps.listed(self.keys.gates), key=lambda gate: (gate.opened, gate.id))

    def reads(self) -> int:
        """Records that were read from Redis so far."""
        return int(self.connection.control.info("commandstats").get("cmdstat_hgetall", {"calls": 0})["calls"])

    def now(self) -> int:
        seconds, micros = self.connection.control.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def write(self, lease: int) -> str:
        """A gate of an owner that does nothing more, with a lease of so many milliseconds; its id."""
        gate = Gate(id=uuid.uuid4().hex, rev=1, owner="gone:1", opened=self.now())
        pipe = self.connection.control.pipeline()
        pipe.hset(self.keys.gate(gate.id), mapping=to_fields(gate))
        pipe.zadd(self.keys.gates, {gate.id: gate.opened})
        pipe.zadd(self.keys.leases, {gate.id: gate.opened + lease})
        pipe.xadd(self.keys.events, {"type": "gate", "id": gate.id, "data": "{}"})
        pipe.execute()
        return gate.id

    def close(self) -> None:
        self.store.close()
        self.listener.close()
        self.connection.close()


At = Callable[..., Farm]


@pytest.fixture
def farm_at(tmp_path: Path) -> Iterator[At]:
    farms: list[Farm] = []

    def make(url: str, settings: Settings = SETTINGS) -> Farm:
        farms.append(Farm(replace(settings, store_url=url), tmp_path / str(len(farms))))
        return farms[-1]

    yield make
    for farm in farms:
        farm.close()


@pytest.fixture
def farm(redis_server: Redis, farm_at: At) -> Farm:
    return farm_at(redis_server.url)


def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)


def test_each_look_shows_what_redis_has_whatever_happened_since_the_last(farm: Farm) -> None:
    dice = random.Random(11)
    waiters: list[Waiter] = []
    for _ in range(60):
        for _ in range(dice.randrange(4)):
            step = dice.choice(("open", "open", "decide", "apply", "close", "mask"))
            if step == "open" or not waiters:
                waiters.append(farm.open(title=str(dice.random())))
                continue
            waiter = dice.choice(waiters)
            if step == "decide" and waiter.decision is None:
                farm.store.gates.decide(waiter.gate.id, make_decision("route", dice.choice((1, 2))))
            elif step == "mask" and waiter.decision is None:
                farm.store.gates.set_mask(waiter.gate.id, b"png" if dice.random() < 0.5 else None)
            elif step == "apply" and waiter.decision is not None:
                waiter.apply()
                waiters.remove(waiter)
            elif step == "close":
                gate_id = waiter.gate.id
                waiter.close("error")
                waiters.remove(waiter)
                eventually(lambda gate_id=gate_id: farm.steps.get(gate_id).ended)
        assert farm.inventory.look() == farm.truth()
    assert farm.truth(), "something is left to compare"


def test_a_look_reads_the_gates_that_changed_and_no_others(farm: Farm) -> None:
    ids = [farm.open().gate.id for _ in range(200)]
    farm.inventory.look()
    before = farm.reads()
    farm.inventory.look()
    assert farm.reads() == before
    for gate_id in ids[:3]:
        farm.store.gates.set_mask(gate_id, b"png")
        farm.store.gates.set_mask(gate_id, None)
    changed = farm.reads()
    assert [gate.rev for gate in farm.inventory.look() if gate.id in ids[:3]] == [3, 3, 3]
    assert farm.reads() - changed == 3


def test_a_gate_whose_owner_is_gone_is_shown_as_orphan_before_anybody_marked_it(farm_at: At, own_redis: Redis) -> None:
    farm = farm_at(own_redis.url, replace(SETTINGS, tick=60.0, lease=60.0))
    gate_id = farm.write(lease=400)
    assert [gate.status for gate in farm.inventory.look()] == ["waiting"]
    eventually(lambda: [gate.status for gate in farm.inventory.look()] == ["orphaned"])
    # Its owner is back, and nobody has noticed that it was gone: no event tells of it.
    farm.connection.control.zadd(farm.keys.leases, {gate_id: farm.now() + 60_000})
    assert [gate.status for gate in farm.inventory.look()] == ["waiting"]


@pytest.mark.parametrize("loss", ["trimmed", "lost in a failover", "flushed", "no events at all"])
def test_what_events_can_not_tell_any_more_is_read_again(farm: Farm, loss: str) -> None:
    gate_id = farm.write(lease=60_000)
    farm.write(lease=60_000)
    assert len(farm.inventory.look()) == 2
    control, keys = farm.connection.control, farm.keys
    control.hset(keys.gate(gate_id), mapping={"title": "changed", "rev": "2"})
    if loss == "trimmed":
        for _ in range(3):
            farm.store.events.append("bus", "cp1")
        control.xtrim(keys.events, 1, approximate=False)
    elif loss == "lost in a failover":
        (last, _), *_ = control.xrevrange(keys.events, count=1)
        control.xdel(keys.events, last)
    elif loss == "flushed":
        control.flushall()
    else:
        control.delete(keys.events)
    assert farm.inventory.look() == farm.truth()
    assert len(farm.truth()) == (0 if loss == "flushed" else 2)
    other = farm.write(lease=60_000)
    assert other in [gate.id for gate in farm.inventory.look()]


def test_while_redis_is_away_nothing_old_is_shown_and_afterwards_what_is(farm_at: At, own_redis: Redis) -> None:
    farm = farm_at(own_redis.url)
    first = farm.write(lease=60_000)
    assert [gate.id for gate in farm.inventory.look()] == [first]
    own_redis.kill()
    with pytest.raises(StoreUnavailable):
        farm.inventory.look()
    with pytest.raises(StoreUnavailable):
        farm.inventory.some([first])
    own_redis.start()
    second = farm.write(lease=60_000)
    eventually(lambda: {gate.id for gate in farm.inventory.look()} == {first, second})
    assert farm.inventory.look() == farm.truth()


def test_who_looks_after_a_change_sees_it_also_while_many_look(farm: Farm) -> None:
    done = threading.Event()
    wrong: list[str] = []
    opened: list[str] = []
    ended: list[str] = []

    def look() -> None:
        while not done.is_set():
            # What had ended before the look may not be there; what had opened and not ended, must.
            gone, there = set(ended), set(opened)
            seen = {gate.id for gate in farm.inventory.look()}
            still = there - set(opened_and_ending)
            wrong.extend(f"ended, but shown: {gate_id}" for gate_id in seen & gone)
            wrong.extend(f"open, but not shown: {gate_id}" for gate_id in still - seen)

    opened_and_ending: list[str] = []
    readers = [threading.Thread(target=look) for _ in range(4)]
    for reader in readers:
        reader.start()
    waiters = []
    for number in range(250):
        waiters.append(farm.open())
        opened.append(waiters[-1].gate.id)
        if number % 3 == 0:
            waiter = waiters.pop(0)
            opened_and_ending.append(waiter.gate.id)
            farm.store.gates.decide(waiter.gate.id, make_decision("route", 1))
            waiter.apply()
            ended.append(waiter.gate.id)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert farm.inventory.look() == farm.truth()


def test_gates_are_given_by_their_ids_in_that_order_also_such_as_have_ended(farm: Farm) -> None:
    waiters = [farm.open() for _ in range(3)]
    ids = [waiter.gate.id for waiter in waiters]
    farm.store.gates.decide(ids[1], make_decision("route", 2))
    waiters[1].apply()
    some = farm.inventory.some([ids[2], "0" * 32, ids[1], ids[0]])
    assert [(gate.id, gate.status) for gate in some] == [(ids[2], "waiting"), (ids[1], "applied"), (ids[0], "waiting")]


@pytest.mark.slow
def test_one_process_keeps_ten_thousand_gates_alive_and_hears_of_decisions_meanwhile(farm: Farm) -> None:
    with ThreadPoolExecutor(4) as threads:
        waiters = list(threads.map(lambda _: farm.open(), range(10_000)))
    decider = GateSteps(farm.connection, farm.keys)
    for waiter in waiters[:: len(waiters) // 50]:
        decider.decide(waiter.gate.id, make_decision("route", 1))
        assert waiter.wait(20) is not None
    # Every lease was renewed several times by now, in slices: none ran out.
    started = time.monotonic()
    eventually(lambda: time.monotonic() - started > 3 * SETTINGS.lease)
    assert {gate.status for gate in farm.inventory.look()} == {"waiting", "decided"}
    assert len(farm.truth()) == 10_000
