"""Gates while Redis is killed, frozen and away: nothing lost, nothing twice, nothing wrong, nothing stuck."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from redis_server import RedisServer

from gates.connection import Connection
from gates.decisions.file import FileLog
from gates.errors import AlreadyDecided, GateNotFound, StoreUnavailable
from gates.gate.record import Decision, Gate, make_decision
from gates.gate.redis import RedisGates
from gates.gate.redis_steps import GateSteps
from gates.keys import Keys
from gates.listener import Listener
from gates.settings import Settings

PREVIEW = b"\xff\xd8preview"
KILLS = 20
GATES = 40
DECIDERS = 3

Opener = Callable[..., RedisGates]


@pytest.fixture
def processes(own_redis: RedisServer) -> Iterator[Opener]:
    """Opens stores on one Redis that the test may kill; each is one process of the farm."""
    closers: list[Callable[[], None]] = []

    def open_store(owner: str, deaf: bool = False, **settings: object) -> RedisGates:
        given: dict[str, Any] = {"tick": 0.5, "lease": 5.0, **settings}
        chosen = replace(Settings(), store_url=own_redis.url, **given)
        connection = Connection(chosen)
        listener = Listener(connection)
        # A deaf one has a listener that has ended.
        heard = Listener(connection) if deaf else listener
        gates = RedisGates(connection, Keys(), heard, owner, FileLog(own_redis.folder / f"{owner}.jsonl"))
        if deaf:
            heard.close()
        closers.extend([gates.close, listener.close, connection.close])
        return gates

    yield open_store
    own_redis.thaw()
    for close in closers:
        close()


def gate(**fields: object) -> Gate:
    return Gate(id=uuid.uuid4().hex, **fields)  # type: ignore[arg-type]


def eventually(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_kills_under_forty_gates_and_three_deciders_each_lose_double_and_stop_nothing(
    own_redis: RedisServer, processes: Opener
) -> None:
    owner, others = processes("owner"), [processes(f"decider-{number}") for number in range(DECIDERS)]
    done = threading.Event()
    applied: dict[str, list[tuple[str, int]]] = defaultdict(list)
    answered: dict[str, list[tuple[str, int]]] = defaultdict(list)
    failures: list[str] = []

    def wait_on_gates() -> None:
        while not done.is_set():
            waiter = owner.open(gate(routes=10), PREVIEW)
            deciders = [threading.Thread(target=decide, args=(store, waiter.gate.id)) for store in others]
            for decider in deciders:
                decider.start()
            if waiter.wait(60) is None:
                failures.append(f"stuck: {waiter.gate}")
                return
            decision = patiently(waiter.apply)
            applied[waiter.gate.id].append((decision.id, decision.route))
            for decider in deciders:
                decider.join(60)
                if decider.is_alive():
                    failures.append("a decider is stuck")

    def decide(store: RedisGates, gate_id: str) -> None:
        decision = make_decision("route", random.randint(1, 10))
        time.sleep(random.random() * 0.2)
        try:
            # A gate that opened while Redis was dead is not there for others before it is announced.
            standing = patiently(lambda: store.decide(gate_id, decision), also=GateNotFound).decision
            assert standing is not None
            answered[gate_id].append((standing.id, standing.route))
        except AlreadyDecided as error:
            answered[gate_id].append((error.details["decision"]["id"], error.details["decision"]["route"]))
        except Exception as error:
            failures.append(repr(error))

    waiters = [threading.Thread(target=wait_on_gates) for _ in range(GATES)]
    for waiter in waiters:
        waiter.start()
    for _ in range(KILLS):
        time.sleep(random.uniform(0.2, 0.8))
        own_redis.kill()
        time.sleep(random.uniform(0.0, 0.3))
        own_redis.start()
    time.sleep(0.5)
    done.set()
    for waiter in waiters:
        waiter.join(120)
    stuck = [waiter for waiter in waiters if waiter.is_alive()]
    wrong = {
        gate_id: (answered[gate_id], applied[gate_id])
        for gate_id in answered
        if set(answered[gate_id]) != set(applied[gate_id])
    }
    doubled = {gate_id: rows for gate_id, rows in applied.items() if len(rows) != 1}
    answers = sum(len(rows) for rows in answered.values())
    print(f"{KILLS} kills, {len(applied)} gates, {answers} answers, {len(wrong)} wrong or lost, {len(doubled)} doubled")
    assert (failures, stuck, wrong, doubled) == ([], [], {}, {})
    assert answers == DECIDERS * len(applied)
    assert len(applied) >= GATES
    assert owner.records() == []


T = TypeVar("T")


def patiently(step: Callable[[], T], seconds: float = 60, also: type[Exception] = StoreUnavailable) -> T:
    """Repeats the step while the store is away, as every caller of a repeatable step may."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return step()
        except (StoreUnavailable, also):
            assert time.monotonic() < deadline, "the store did not come back"
            time.sleep(0.05)


def test_deadlines_that_pass_while_redis_is_away_are_tried_once_a_tick_and_kept_where_that_can_be(
    own_redis: RedisServer, processes: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: dict[str, int] = defaultdict(int)
    decide = GateSteps.decide

    def counted(steps: GateSteps, gate_id: str, decision: Decision) -> Gate:
        tried[gate_id] += 1
        return decide(steps, gate_id, decision)

    monkeypatch.setattr(GateSteps, "decide", counted)
    owner = processes("owner")
    known = [owner.open(gate(timeout_route=2), PREVIEW, timeout=1.0) for _ in range(2)]
    own_redis.kill()
    alone = owner.open(gate(timeout_route=1), PREVIEW, timeout=1.0)
    # It needs no Redis, whatever becomes of those before it.
    decision = alone.wait(10)
    assert decision is not None
    assert (decision.route, decision.by) == (1, "deadline")
    eventually(lambda: tried)
    began = time.monotonic()
    time.sleep(2)
    # A tick is at least 0.35 s.
    assert 1 <= sum(tried.values()) <= len(known) * ((time.monotonic() - began) / 0.35 + 2)
    assert all(waiter.decision is None for waiter in known)
    own_redis.start()
    assert [getattr(waiter.wait(10), "route", None) for waiter in known] == [2, 2]
    assert owner.decide(alone.gate.id, decision).decision == decision


def test_a_gate_opened_while_redis_is_dead_waits_here_and_is_announced_when_it_is_back(
    own_redis: RedisServer, processes: Opener
) -> None:
    owner = processes("owner")
    own_redis.kill()
    waiter = owner.open(gate(title="alone"), PREVIEW)
    assert [listed.title for listed in owner.records()] == ["alone"]
    own_redis.start()
    other = processes("other")
    eventually(lambda: [listed.title for listed in other.records()] == ["alone"])
    other.decide(waiter.gate.id, make_decision("route", 2))
    assert waiter.wait(10).route == 2  # type: ignore[union-attr]
    assert waiter.apply().route == 2


def test_a_gate_that_only_this_process_knows_is_decided_and_applied_while_redis_is_dead(
    own_redis: RedisServer, processes: Opener
) -> None:
    owner = processes("owner")
    own_redis.kill()
    waiter = owner.open(gate(), PREVIEW)
    owner.set_mask(waiter.gate.id, b"mask")
    owner.decide(waiter.gate.id, make_decision("route", 1))
    with pytest.raises(AlreadyDecided):
        owner.decide(waiter.gate.id, make_decision("route", 2))
    assert waiter.mask() == b"mask"
    assert waiter.apply().route == 1
    assert owner.records() == []


def test_a_gate_that_others_know_is_not_decided_behind_their_back(own_redis: RedisServer, processes: Opener) -> None:
    owner = processes("owner")
    waiter = owner.open(gate(), PREVIEW)
    own_redis.kill()
    with pytest.raises(StoreUnavailable):
        owner.decide(waiter.gate.id, make_decision("route", 1))
    assert waiter.decision is None
    assert [listed.id for listed in owner.records()] == [waiter.gate.id]
    assert owner.get(waiter.gate.id).status == "waiting"
    assert owner.preview(waiter.gate.id) == PREVIEW
    own_redis.start()
    eventually(lambda: patiently(lambda: owner.decide(waiter.gate.id, make_decision("route", 1))))
    assert waiter.wait(10) is not None


@pytest.mark.parametrize("fault", ["freeze", "kill"])
def test_a_stopped_prompt_leaves_its_gate_at_once_and_it_is_withdrawn_when_redis_is_back(
    own_redis: RedisServer, processes: Opener, fault: str
) -> None:
    owner = processes("owner")
    waiters = [owner.open(gate(), PREVIEW) for _ in range(5)]
    getattr(own_redis, fault)()
    for waiter in waiters:
        blocked = threading.Thread(target=waiter.close, args=("interrupted",))
        blocked.start()
        blocked.join(0.3)
        assert not blocked.is_alive()
    own_redis.thaw() if fault == "freeze" else own_redis.start()
    other = processes("other")
    eventually(lambda: not other.records())
    assert {other.get(waiter.gate.id).outcome for waiter in waiters} == {"interrupted"}


def test_a_frozen_redis_is_noticed_and_waiters_go_on_when_it_thaws(own_redis: RedisServer, processes: Opener) -> None:
    owner, other = processes("owner"), processes("other")
    waiter = owner.open(gate(), PREVIEW)
    own_redis.freeze()
    with pytest.raises(StoreUnavailable):
        other.decide(waiter.gate.id, make_decision("route", 1))
    own_redis.thaw()
    patiently(lambda: other.decide(waiter.gate.id, make_decision("route", 1)))
    assert waiter.wait(10) is not None
    assert waiter.apply().route == 1


def test_wake_ups_that_are_lost_are_found_by_the_next_look(own_redis: RedisServer, processes: Opener) -> None:
    owner, other = processes("owner", deaf=True), processes("other")
    waiters = [owner.open(gate(), PREVIEW) for _ in range(100)]
    for waiter in waiters:
        other.decide(waiter.gate.id, make_decision("route", 1))
    for waiter in waiters:
        assert waiter.wait(10) is not None


def test_a_data_set_that_just_was_lost_asks_the_decider_to_repeat(own_redis: RedisServer, processes: Opener) -> None:
    owner, other = processes("owner", tick=1.0), processes("other")
    waiter = owner.open(gate(), PREVIEW)
    client = own_redis.client()
    client.set(Keys().epoch, "first")
    eventually(lambda: other._owned._epoch == "first")
    client.flushall()
    client.set(Keys().epoch, "second")
    eventually(lambda: other._owned._epoch == "second")
    decided = patiently(lambda: other.decide(waiter.gate.id, make_decision("route", 1)))
    assert decided.recovered
    with pytest.raises(StoreUnavailable, match="announced again"):
        other.decide(uuid.uuid4().hex, make_decision("route", 1))
