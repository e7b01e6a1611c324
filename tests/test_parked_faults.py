"""Parked gates while Redis is killed, full and away: each decision goes on once, whatever happens in between."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pytest
from gate_world import eventually
from redis_server import RedisServer

from gates import codec
from gates.connection import Connection
from gates.decisions.file import FileLog
from gates.decisions.redis import RedisLog
from gates.errors import GateClosed, StoreUnavailable
from gates.gate.record import Gate, make_decision
from gates.gate.redis import RedisGates
from gates.gate.redis_waiting import RedisWaiting
from gates.keys import Keys
from gates.listener import Listener
from gates.settings import Settings

KILLS = 6
LIVES = 8
IMAGE = codec.encode(np.zeros((1, 4, 4, 3), dtype=np.float32), "exact")

Opener = Callable[[str], RedisGates]
T = TypeVar("T")


@pytest.fixture
def processes(own_redis: RedisServer) -> Iterator[Opener]:
    """Opens stores on one Redis that the test may kill; each is one process of the farm."""
    closers: list[Callable[[], None]] = []

    def open_store(owner: str) -> RedisGates:
        connection = Connection(replace(Settings(), store_url=own_redis.url, tick=0.3, lease=3.0, max_gates=1000))
        listener = Listener(connection)
        away = FileLog(own_redis.folder / f"{len(closers)}.jsonl")
        gates = RedisGates(connection, Keys(), listener, owner, away)
        closers.extend([gates.close, listener.close, connection.close])
        return gates

    yield open_store
    own_redis.thaw()
    for close in closers:
        close()


def patiently(step: Callable[[], T], seconds: float = 60) -> T:
    """Repeats the step while the store is away, as every caller of a repeatable step may."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return step()
        except StoreUnavailable:
            assert time.monotonic() < deadline, "the store did not come back"
            time.sleep(0.02)


def ready(store: RedisGates, prompt: str, number: int = 0) -> RedisWaiting:
    waiter = store.open(Gate(id=uuid.uuid4().hex, prompt_id=prompt, list_index=number, batch=1), b"\xff\xd8preview")
    waiter.store_image(IMAGE)
    waiter.store_continuation(b"how")
    eventually(lambda: waiter.ready, 60)
    return waiter


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kills_between_all_steps_leave_each_group_carried_out_once(own_redis: RedisServer, processes: Opener) -> None:
    parking, deciding, running = processes("a:1"), processes("b:1"), processes("c:1")
    done, leads, failures = threading.Event(), list[str](), list[str]()

    def life() -> None:
        while not done.is_set():
            prompt = uuid.uuid4().hex
            waiters = [ready(parking, prompt, number) for number in range(2)]
            ids = [waiter.gate.id for waiter in waiters]
            leads.append(ids[0])
            assert patiently(lambda: parking.park(waiters))  # noqa: B023
            decisions = {}
            for gate_id in random.sample(ids, 2):
                first = make_decision("route", 1)
                patiently(lambda: deciding.decide(gate_id, first))  # noqa: B023
                if random.random() < 0.3 and not patiently(lambda: deciding.get(ids[0])).run:  # noqa: B023
                    patiently(lambda: deciding.take_back(gate_id, first.id))  # noqa: B023
                    first = make_decision("route", 2)
                    patiently(lambda: deciding.decide(gate_id, first))  # noqa: B023
                decisions[gate_id] = first
            patiently(lambda: parking.prompts_ended({prompt: ""}))  # noqa: B023
            # Whose answer was lost has it, but does not know: it is due again in a moment.
            while patiently(lambda: running.claim_run(ids[0], "submitter", 50)) is None:  # noqa: B023
                time.sleep(0.02)
            second = uuid.uuid4().hex
            for gate_id, decision in decisions.items():
                waiter = patiently(lambda: running.resume(gate_id, decision.id, second))  # noqa: B023
                assert patiently(waiter.apply).route == decision.route
            patiently(lambda: running.prompts_ended({second: ""}))  # noqa: B023

    def lives() -> None:
        try:
            life()
        except Exception as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=lives) for _ in range(LIVES)]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        time.sleep(random.uniform(0.5, 1.0))
        own_redis.kill()
        time.sleep(random.uniform(0.0, 0.3))
        own_redis.start()
    done.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "stuck"
    assert failures == []
    assert len(leads) > LIVES
    gates = [running.get(lead) for lead in leads]
    assert {(gate.status, gate.run, gate.undecided) for gate in gates} == {("applied", "done", 0)}
    assert len({gate.run_seq for gate in gates}) == len(gates)
    log = Counter((entry.gate, entry.kind) for entry in all_entries(own_redis))
    ids = {gate_id for gate in gates for gate_id in gate.members.split()}
    assert {log[gate_id, "end"] for gate_id in ids} == {1}
    assert all(log[gate_id, "route"] - log[gate_id, "take-back"] == 1 for gate_id in ids)
    assert running.due_runs() == running.records() == []
    assert running.counts() == {"waiting": 0, "orphaned": 0, "parked": 0}
    client = own_redis.client()
    assert client.hgetall(Keys().prompts) == {}
    assert client.zcard(Keys().runs) == 0


def all_entries(server: RedisServer) -> list[object]:
    connection = Connection(replace(Settings(), store_url=server.url))
    found = RedisLog(connection, Keys(), FileLog(server.folder / "none.jsonl")).read("", 100_000)
    connection.close()
    return list(found)


def test_a_full_redis_takes_decisions_about_parked_gates_and_what_carries_them_out(
    own_redis: RedisServer, processes: Opener
) -> None:
    store = processes("a:1")
    waiters = [ready(store, f"p{number}") for number in range(4)]
    for number, waiter in enumerate(waiters):
        assert store.park([waiter])
        store.prompts_ended({f"p{number}": ""})
    decided, cancelled, back, carried = (waiter.gate.id for waiter in waiters)
    first = store.decide(carried, make_decision("route", 1)).decision
    assert first is not None
    assert store.claim_run(carried, "submitter", 60_000)
    client = own_redis.client()
    client.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailable):
        store._redis.run("KEPT", carried)
    assert store.decide(decided, make_decision("route", 1)).run == "pending"
    assert store.decide(cancelled, make_decision("cancel")).status == "cancelled"
    wrong = store.decide(back, make_decision("route", 1)).decision
    assert wrong is not None
    assert store.take_back(back, wrong.id).status == "parked"
    assert store.resume(carried, first.id, "second").apply() == first
    assert store.get(carried).status == "applied"
    client.config_set("maxmemory", 0)
    assert [lead.id for lead in store.due_runs()] == [decided]


def test_the_bytes_of_what_was_opened_while_redis_was_away_follow_and_it_can_be_parked(
    own_redis: RedisServer, processes: Opener
) -> None:
    store = processes("a:1")
    own_redis.kill()
    waiter = store.open(Gate(id=uuid.uuid4().hex, batch=1, prompt_id="p"), b"\xff\xd8preview")
    waiter.store_image(IMAGE)
    waiter.store_continuation(b"how")
    assert not waiter.ready
    with pytest.raises(StoreUnavailable):
        store.park([waiter])
    own_redis.start()
    eventually(lambda: waiter.ready, 20)
    assert store.park([waiter])
    assert store.continuation(waiter.gate.id) == b"how"
    assert own_redis.client().pttl(Keys().gate_continuation(waiter.gate.id)) == -1


def test_a_data_set_that_was_lost_gets_the_continuation_again(own_redis: RedisServer, processes: Opener) -> None:
    store = processes("a:1")
    waiter = ready(store, "p")
    client = own_redis.client()
    client.flushall()
    eventually(lambda: client.exists(Keys().gate_continuation(waiter.gate.id)), 20)
    eventually(lambda: waiter.ready and store.get(waiter.gate.id).kept, 20)
    assert store.continuation(waiter.gate.id) == b"how"
    assert store.park([waiter])


def test_a_prompt_that_is_stopped_after_the_answer_to_its_park_was_lost_leaves_the_gate_parked(
    processes: Opener, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = processes("a:1"), processes("b:1")
    waiter = ready(store, "p")
    park = store._redis.park

    def unanswered(owner: str, gates: Sequence[Gate]) -> tuple[str, list[dict[str, str]]]:
        park(owner, gates)
        raise StoreUnavailable("the answer was lost")

    monkeypatch.setattr(store._redis, "park", unanswered)
    with pytest.raises(StoreUnavailable):
        store.park([waiter])
    waiter.close("interrupted")
    # Its owner looks at it, closes it, and lets its bytes go, if it does.
    time.sleep(1.5)
    assert other.get(waiter.gate.id).status == "parked"
    assert own_redis.client().zscore(Keys().leases, waiter.gate.id) is None
    assert own_redis.client().pttl(Keys().gate_continuation(waiter.gate.id)) == -1
    decision = other.decide(waiter.gate.id, make_decision("route", 1)).decision
    assert decision is not None
    # Of a prompt its own process tells.
    store.prompts_ended({"p": ""})
    assert other.claim_run(waiter.gate.id, "submitter", 1000) is not None
    assert other.resume(waiter.gate.id, decision.id, "second").apply() == decision
    other.prompts_ended({"second": ""})
    with pytest.raises(GateClosed):
        other.resume(waiter.gate.id, decision.id, "third")
