"""The decision log: an entry for each thing that happened, none missing, none twice, whatever is killed meanwhile."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gate_world import IMAGE, PREVIEW, SETTINGS, Shop, eventually, gate, shared, shop
from redis_server import RedisServer

from gates import codec
from gates.decisions.file import FileLog
from gates.decisions.record import DecisionLog, Entry, image_digest
from gates.decisions.rows import Filter, Rows
from gates.errors import AlreadyDecided, GateNotFound, StoreUnavailable
from gates.gate.record import Gate, make_decision
from gates.keys import Keys
from gates.settings import Settings
from gates.store import Store, open_store

__all__ = ["shared", "shop"]

KILLS = 5
GATES = 40
DECIDERS = 4


def entries(log: DecisionLog) -> list[Entry]:
    found: list[Entry] = []
    while more := log.read(found[-1].id if found else "", 100):
        found += more
    return found


def kinds(log: DecisionLog) -> list[str]:
    return [entry.kind for entry in entries(log)]


def patiently(call: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except (StoreUnavailable, GateNotFound):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_each_thing_that_happens_to_a_gate_is_one_entry(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(routes=3, title="t", labels=("", "redo", ""), width=4, height=6, batch=2), PREVIEW)
    image = codec.encode(IMAGE, "png")
    waiter.store_image(image)
    first, second = make_decision("route", 1), make_decision("route", 2, by="ann", text="x", where="here")
    store.decide(waiter.gate.id, first)
    store.take_back(waiter.gate.id, first.id, by="ann", where="there")
    store.decide(waiter.gate.id, second)
    waiter.wait(10)
    waiter.apply()
    one, back, two, end = entries(shop.decisions)
    assert (one.kind, one.decision, one.route, one.gate) == ("route", first.id, 1, waiter.gate.id)
    assert (back.kind, back.decision, back.by, back.where) == ("take-back", first.id, "ann", "there")
    assert (two.label, two.by, two.text, two.where, two.title) == ("redo", "ann", "x", "here", "t")
    assert (two.width, two.height, two.batch, two.instance) == (4, 6, 2, "studio")
    assert two.at == store.get(waiter.gate.id).decision.at  # type: ignore[union-attr]
    assert two.opened == waiter.gate.opened
    assert (end.kind, end.decision, end.outcome) == ("end", second.id, "applied")
    assert two.digest == end.digest == image_digest(image)


def test_a_repeat_a_late_one_and_a_refused_one_are_no_entries(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(), PREVIEW)
    decision = make_decision("route", 1)
    for _ in range(3):
        store.decide(waiter.gate.id, decision)
    store.decide(waiter.gate.id, make_decision("route", 1, by="another who says the same"))
    with pytest.raises(AlreadyDecided):
        store.decide(waiter.gate.id, make_decision("route", 2))
    waiter.wait(10)
    for _ in range(3):
        waiter.apply()
    waiter.close("again")
    store.decide(waiter.gate.id, decision)
    assert kinds(shop.decisions) == ["route", "end"]


def test_ends_without_a_person_are_logged_with_what_ended_them(shop: Shop) -> None:
    store = shop.store()
    stopped, cancelled, late, expired = (
        store.open(gate(timeout_route=route), PREVIEW, timeout=timeout)
        for route, timeout in ((0, 0), (0, 0), (2, 0.1), (0, 0.1))
    )
    stopped.close("interrupted")
    store.decide(cancelled.gate.id, make_decision("cancel", by="ann"))
    for waiter in (cancelled, late, expired):
        assert waiter.wait(10) is not None
        waiter.apply()
    eventually(lambda: len(entries(shop.decisions)) == 7)
    told = {(entry.gate, entry.kind): entry for entry in entries(shop.decisions)}
    assert told[stopped.gate.id, "end"].outcome == "interrupted"
    assert told[stopped.gate.id, "end"].decision == ""
    assert told[cancelled.gate.id, "cancel"].by == "ann"
    assert (told[late.gate.id, "route"].by, told[late.gate.id, "route"].where) == ("deadline", "studio")
    assert told[expired.gate.id, "expire"].by == "deadline"


def test_a_page_is_the_same_log_forwards_and_backwards(shop: Shop) -> None:
    store = shop.store()
    for number in range(30):
        waiter = store.open(gate(title=str(number)), PREVIEW)
        store.decide(waiter.gate.id, make_decision("route", 1))
        waiter.wait(10)
        waiter.apply()
    forwards = entries(shop.decisions)
    assert len(forwards) == 60
    backwards: list[Entry] = []
    while more := shop.decisions.read(backwards[-1].id if backwards else "", 7, newest=True):
        backwards += more
    assert backwards == forwards[::-1]
    for newest in (True, False):
        rows = Rows(shop.decisions, store.get, newest=newest)
        whole = [row for chunk, _ in rows.chunks(size=7) for row in chunk]
        assert [row.title for row in whole] == [str(n) for n in range(30)][:: -1 if newest else 1]
        assert {row.outcome for row in whole} == {"applied"}
        middle = forwards[31]
        since = replace(rows, filter=Filter(since=int(middle.id.split("-")[0])))
        assert {row.gate for chunk, _ in since.chunks() for row in chunk} == {
            entry.gate
            for entry in forwards
            if entry.kind == "route" and entry.id.split("-")[0] >= middle.id.split("-")[0]
        }


def test_the_log_of_lost_data_begins_with_what_stands(shared: Shop) -> None:
    owner = shared.store("one")
    waiter = owner.open(gate(title="again"), PREVIEW)
    owner.decide(waiter.gate.id, make_decision("route", 2, by="ann"))
    owner._owned._redis.connection.control.flushall()  # type: ignore[attr-defined]
    eventually(lambda: kinds(shared.decisions) == ["route"])
    waiter.apply()
    assert [(entry.kind, entry.by) for entry in entries(shared.decisions)] == [("route", "ann"), ("end", "")]


# -- how much is kept ---------------------------------------------------------------------


def test_the_newest_entries_are_kept(shop: Shop) -> None:
    settings = replace(SETTINGS, decision_log=100)
    store = shop.store(settings=settings)
    if isinstance(shop.decisions, FileLog):
        shop.decisions._kept = 100
    for number in range(400):
        waiter = store.open(gate(title=str(number)), PREVIEW)
        waiter.close("error")
        eventually(lambda gate_id=waiter.gate.id: store.get(gate_id).status == "cancelled")
    left = entries(shop.decisions)
    # A stream is trimmed by whole nodes of 100 entries at most.
    assert 100 <= len(left) <= 250
    assert left[-1].gate == waiter.gate.id


@pytest.mark.redis
def test_what_an_entry_takes_in_redis_is_what_is_documented(redis_server: RedisServer, tmp_path: Path) -> None:
    store = open_store(replace(SETTINGS, store_url=redis_server.url), tmp_path / "disk", tmp_path / "state")
    for number in range(200):
        waiter = store.gates.open(
            gate(title="Pick the best portrait", workflow="portraits.json", workflow_id=uuid.uuid4().hex,
                 prompt_id=uuid.uuid4().hex, node_id="12", labels=("keep", "redo"), width=1024, height=1024, batch=1),
            PREVIEW,
        )  # fmt: skip
        waiter.store_image(codec.encode(IMAGE, "png"))
        store.gates.decide(
            waiter.gate.id, make_decision("route", 1 + number % 2, by="ann", where="10.0.0.17 via broker")
        )
        waiter.wait(10)
        waiter.apply()
    client = redis_server.client()
    assert client.xlen(Keys().decisions) == 400
    each = client.memory_usage(Keys().decisions, samples=0) / 400
    print(f"{each:.0f} bytes an entry")
    store.close()
    assert 200 < each < 420


# -- the file -----------------------------------------------------------------------------


def test_a_torn_line_is_cut_off_and_the_log_goes_on(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "log.jsonl")
    log.append(Entry(kind="route", gate="a"))
    with log.path.open("ab") as file:
        file.write(b'{"kind":"route","gate":"torn')
    assert [entry.gate for entry in log.read("", 10)] == ["a"]
    assert [entry.gate for entry in log.read("", 10, newest=True)] == ["a"]
    FileLog(log.path).append(Entry(kind="route", gate="b"))
    log.append(Entry(kind="route", gate="c"))
    assert [entry.gate for entry in log.read("", 10)] == ["a", "b", "c"]
    assert [entry.gate for entry in log.read("", 10, newest=True)] == ["c", "b", "a"]
    assert len({entry.id for entry in log.read("", 10)}) == 3


def test_a_long_log_is_read_from_anywhere(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "log.jsonl")
    for number in range(600):
        log.append(Entry(kind="route", gate=str(number), text="x" * (number % 700)), durable=False)
    whole = log.read("", 1000)
    assert len(whole) == 600
    assert log.read("", 1000, newest=True) == whole[::-1]
    for place in (0, 1, 17, 299, 598, 599):
        assert log.read(whole[place].id, 5) == whole[place + 1 : place + 6]
        assert log.read(whole[place].id, 5, newest=True) == whole[:place][::-1][:5]
    between = f"{whole[-1].id.split('-')[0]}-99999"
    assert (log.read(between, 5), log.read(between, 1, newest=True)) == ([], [whole[-1]])
    assert log.read("1-0", 3) == whole[:3]


def test_processes_that_share_a_state_folder_share_the_log(tmp_path: Path) -> None:
    logs = [FileLog(tmp_path / "log.jsonl", kept=100) for _ in range(4)]

    def write(log: FileLog, number: int) -> None:
        for count in range(20):
            log.append(Entry(kind="route", gate=f"{number}.{count}"), durable=False)

    threads = [threading.Thread(target=write, args=(log, number)) for number, log in enumerate(logs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = logs[0].read("", 1000)
    assert Counter(entry.gate for entry in found) == Counter(f"{n}.{c}" for n in range(4) for c in range(20))
    assert [entry.id for entry in found] == sorted(
        {entry.id for entry in found}, key=lambda id: [*map(int, id.split("-"))]
    )


def test_a_decision_that_can_not_be_logged_is_not_made(tmp_path: Path) -> None:
    store = open_store(replace(SETTINGS), tmp_path / "disk", tmp_path / "state")
    waiter = store.gates.open(gate(), PREVIEW)
    path = tmp_path / "state" / "decisions.jsonl"
    path.mkdir()
    with pytest.raises(StoreUnavailable, match=r"decisions\.jsonl"):
        store.gates.decide(waiter.gate.id, make_decision("route", 1))
    assert waiter.decision is None
    path.rmdir()
    store.gates.decide(waiter.gate.id, make_decision("route", 1))
    assert kinds(store.decisions) == ["route"]
    store.close()


# -- while Redis is away ------------------------------------------------------------------


def test_what_was_decided_while_redis_was_away_is_brought_to_the_log_once(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    settings = replace(Settings(), store_url=own_redis.url, tick=0.2, lease=1.0)
    own_redis.kill()
    store = open_store(settings, tmp_path / "disk", tmp_path / "state")
    decided, applied = (store.gates.open(gate(title=title), PREVIEW) for title in ("decided", "applied"))
    for waiter in (decided, applied):
        store.gates.decide(waiter.gate.id, make_decision("route", 1, by="ann"))
    applied.apply()
    lines = (tmp_path / "state" / "decisions-away.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["route", "route", "end"]
    own_redis.start()
    eventually(lambda: len(patiently(lambda: entries(store.decisions))) == 3, 20)
    assert not (tmp_path / "state" / "decisions-away.jsonl").exists()
    # As if the answer had been lost: the same lines once more.
    (tmp_path / "state" / "decisions-away.jsonl").write_text("".join(line + "\n" for line in lines))
    eventually(lambda: not (tmp_path / "state" / "decisions-away.jsonl").exists())
    patiently(decided.apply)
    assert Counter((entry.title, entry.kind) for entry in entries(store.decisions)) == {
        ("decided", "route"): 1, ("applied", "route"): 1, ("", "end"): 2,
    }  # fmt: skip
    store.close()


@pytest.mark.slow
def test_decisions_that_many_race_for_over_a_redis_that_is_killed_are_an_entry_each(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    def opened(name: str) -> Store:
        settings = replace(Settings(), store_url=own_redis.url, tick=0.3, lease=5.0)
        return open_store(settings, tmp_path / name / "disk", tmp_path / name / "state")

    owner, deciders = opened("owner"), [opened(f"decider-{number}") for number in range(DECIDERS)]
    failures: list[str] = []
    applied: dict[str, str] = {}

    def decide(store: Store, gate_id: str) -> None:
        decision = make_decision("route", random.randint(1, 10))
        time.sleep(random.random() * 0.3)
        try:
            patiently(lambda: store.gates.decide(gate_id, decision))
        except AlreadyDecided:
            return
        except Exception as error:
            failures.append(repr(error))

    def run(number: int) -> None:
        try:
            waiter = owner.gates.open(Gate(id=uuid.uuid4().hex, routes=10, title=str(number)), PREVIEW)
            threads = [threading.Thread(target=decide, args=(store, waiter.gate.id)) for store in deciders]
            for thread in threads:
                thread.start()
            assert waiter.wait(60) is not None
            applied[waiter.gate.id] = patiently(waiter.apply).id
            for thread in threads:
                thread.join(60)
        except BaseException as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(GATES)]
    killed = threading.Event()

    def kill() -> None:
        for _ in range(KILLS):
            time.sleep(0.25)
            own_redis.kill()
            time.sleep(0.1)
            own_redis.start()
        killed.set()

    killer = threading.Thread(target=kill)
    killer.start()
    for thread in threads:
        time.sleep(0.03)
        thread.start()
    for thread in [*threads, killer]:
        thread.join(90)
    assert failures == []
    assert len(applied) == GATES
    eventually(lambda: len(patiently(lambda: entries(owner.decisions))) >= 2 * GATES, 20)
    found = entries(owner.decisions)
    assert Counter(entry.gate for entry in found if entry.kind == "route") == Counter(applied.keys())
    assert {entry.gate: entry.decision for entry in found if entry.kind == "route"} == applied
    assert {entry.gate: entry.decision for entry in found if entry.kind == "end"} == applied
    assert len(found) == 2 * GATES
    for store in (owner, *deciders):
        store.close()


# -- kept images --------------------------------------------------------------------------


def image_ttls(client: Any, gate_id: str) -> list[int]:
    return [client.ttl(key) for key in client.keys("*") if gate_id in str(key) and ":image:" in str(key)]


@pytest.mark.parametrize(("keep_images", "keep_decided", "low", "high"), [(120, 600, 100, 120), (600, 120, 100, 120)])
def test_images_of_ended_gates_are_kept_for_the_time_that_is_set_but_not_longer_than_the_record(
    redis_server: RedisServer, tmp_path: Path, keep_images: float, keep_decided: float, low: int, high: int
) -> None:
    settings = replace(SETTINGS, store_url=redis_server.url, keep_images=keep_images, keep_decided=keep_decided)
    store = open_store(settings, tmp_path / "disk", tmp_path / "state")
    before, after = (store.gates.open(gate(width=4, height=6, batch=2), PREVIEW) for _ in range(2))
    before.store_image(codec.encode(IMAGE, "png"))
    for waiter in (before, after):
        store.gates.decide(waiter.gate.id, make_decision("route", 1))
        waiter.wait(10)
        waiter.apply()
    after.store_image(codec.encode(IMAGE, "png"))
    client = redis_server.client(decode_responses=True)
    for waiter in (before, after):
        eventually(lambda gate_id=waiter.gate.id: client.ttl(Keys().gate(gate_id)) > 0)
        eventually(lambda gate_id=waiter.gate.id: all(low < ttl <= high for ttl in image_ttls(client, gate_id)))
        assert len(image_ttls(client, waiter.gate.id)) == 2
        assert store.gates.frame(waiter.gate.id, 1)
    eventually(lambda: client.zcard(Keys().leaving) == 0)
    store.close()


def test_without_kept_images_none_stay(redis_server: RedisServer, tmp_path: Path) -> None:
    settings = replace(SETTINGS, store_url=redis_server.url, keep_images=0.0)
    store = open_store(settings, tmp_path / "disk", tmp_path / "state")
    waiter = store.gates.open(gate(width=4, height=6, batch=2), PREVIEW)
    waiter.store_image(codec.encode(IMAGE, "png"))
    store.gates.decide(waiter.gate.id, make_decision("route", 1))
    waiter.wait(10)
    waiter.apply()
    client = redis_server.client(decode_responses=True)
    eventually(lambda: image_ttls(client, waiter.gate.id) == [])
    with pytest.raises(GateNotFound, match="any more"):
        store.gates.frame(waiter.gate.id, 0)
    store.close()


def test_bytes_that_a_killed_process_left_are_given_their_expiry_by_another(shared: Shop) -> None:
    owner, other = shared.store("one"), shared.store("two")
    waiter = owner.open(gate(), PREVIEW)
    waiter.store_image(codec.encode(IMAGE, "png"))
    client = owner._owned._redis.connection.control  # type: ignore[attr-defined]
    eventually(lambda: set(image_ttls(client, waiter.gate.id)) == {-1})
    owner.decide(waiter.gate.id, make_decision("route", 1))
    waiter.wait(10)
    # Killed between the acknowledgement and what follows it.
    owner._owned.keeping.close()  # type: ignore[attr-defined]
    owner._owned._sweeper.sweep = lambda own: None  # type: ignore[attr-defined]
    waiter.apply()
    assert other.get(waiter.gate.id).status == "applied"
    eventually(lambda: all(ttl > 0 for ttl in image_ttls(client, waiter.gate.id)))
    eventually(lambda: client.ttl(Keys().gate(waiter.gate.id)) > 0)
    assert client.zcard(Keys().leaving) == 0
