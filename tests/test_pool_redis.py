"""Pools in Redis: what an edit costs and tells, adds that die, operations that are repeated, lost hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import redis
from conftest import RedisServer

from gates.connection import Connection
from gates.errors import Conflict, InvalidImage, PoolNotFound, SlotNotFound, StoreUnavailable
from gates.events import LocalEvents
from gates.keys import Keys
from gates.png import encode_png
from gates.pool.edits import Edit
from gates.pool.manifest import Manifest, Slot
from gates.pool.redis import RedisPools
from gates.settings import Settings

KEYS = Keys()


def png(value: int) -> bytes:
    return encode_png(np.full((3, 4, 3), value % 256, np.uint8))


def mask(value: int) -> bytes:
    return encode_png(np.full((3, 4, 1), value, np.uint8))


def name(number: int) -> str:
    return f"img_{number:04d}.png"


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    client = redis_server.client(decode_responses=True)
    yield client
    client.close()


@pytest.fixture
def events() -> LocalEvents:
    return LocalEvents()


@pytest.fixture
def pools(redis_server: RedisServer, events: LocalEvents) -> Iterator[RedisPools]:
    settings = Settings(store_url=redis_server.url)
    connection = Connection(settings)
    yield RedisPools(connection, KEYS, settings, events)
    connection.close()


def fill(pools: RedisPools, count: int = 3) -> Manifest:
    manifest = pools.add("p", [(png(number), f"label {number}") for number in range(1, count + 1)])
    return pools.set_mask("p", manifest.files[0], mask(1))


def test_redis_cli_shows_a_pool_as_documented(pools: RedisPools, client: redis.Redis) -> None:
    fill(pools)
    pools.rename("p", "Cats")
    head = client.hgetall("gatebus:pool:{p}")
    assert (head["name"], head["active"], head["next_seq"], head["rev"]) == ("Cats", name(1), "4", "3")
    slot = json.loads(client.hget("gatebus:pool:{p}:slots", name(1)))
    assert (slot["label"], slot["mask"]) == ("label 1", "img_0001.mask.png")
    assert client.zrange("gatebus:pool:{p}:order", 0, -1) == [name(1), name(2), name(3)]
    assert client.hgetall("{gatebus}:pools") == {"p": "Cats"}
    assert sorted(client.hkeys("gatebus:pool:{p}:files")) == sorted([name(1), name(2), name(3), "img_0001.mask.png"])


def test_every_key_of_a_pool_is_in_one_slot_of_a_cluster_and_live_keys_never_expire(
    pools: RedisPools, client: redis.Redis
) -> None:
    fill(pools)
    pools.remove("p", [name(2)])
    keys = client.keys("*")
    assert {key for key in keys if "{p}" not in key} == {"{gatebus}:pools"}
    assert all(client.ttl(key) == -1 for key in keys)
    pools.delete("p")
    left = client.keys("*")
    assert sorted(left) == ["gatebus:pool:{p}", "gatebus:pool:{p}:edits", "gatebus:pool:{p}:edits:ids"]
    assert all(client.ttl(key) > 0 for key in left)
    fill(pools)
    assert all(client.ttl(key) == -1 for key in client.keys("*"))


def test_an_edit_is_told_on_the_pool_s_channel_and_in_the_events(
    pools: RedisPools, client: redis.Redis, events: LocalEvents
) -> None:
    pubsub = client.pubsub()
    pubsub.subscribe("gatebus:pool:{p}")
    assert pubsub.get_message(timeout=5)["type"] == "subscribe"
    cursor = events.cursor()
    fill(pools)
    pools.delete("p")
    heard = [pubsub.get_message(timeout=5)["data"] for _ in range(3)]
    assert heard == ["1", "2", "deleted"]
    told = events.since(cursor)
    assert told is not None
    assert [event.data for event in told] == [{"rev": 1}, {"rev": 2}, {"deleted": True}]
    pubsub.close()


ONE_EDIT: dict[str, Callable[[RedisPools, Sequence[str]], Manifest]] = {
    "label": lambda pools, files: pools.label("p", files[5], "x"),
    "activate": lambda pools, files: pools.activate("p", files[5]),
    "set_mask": lambda pools, files: pools.set_mask("p", files[5], mask(1)),
    "move": lambda pools, files: pools.move("p", [files[5]], files[9]),
    "remove": lambda pools, files: pools.remove("p", [files[5]]),
    "add": lambda pools, files: pools.add("p", [(b"image", "")], before=files[7]),
}


@pytest.mark.parametrize("edit", list(ONE_EDIT))
def test_an_edit_costs_the_same_in_a_large_pool(pools: RedisPools, client: redis.Redis, edit: str) -> None:
    """At 2,000 slots as at 20: the commands, those inside the script included, and the bytes that go out."""
    costs = []
    for count in (20, 20, 2000):  # the first time loads the scripts
        files = pools.add("p", [(b"image", "")] * count).files
        pools.activate("p", files[count // 2])
        before = client.info("stats"), client.info("commandstats")
        manifest = ONE_EDIT[edit](pools, files)
        after = client.info("stats"), client.info("commandstats")
        assert len(manifest.slots) == count + {"remove": -1, "add": 1}.get(edit, 0)
        calls = sum(stats["calls"] for stats in after[1].values()) - sum(stats["calls"] for stats in before[1].values())
        costs.append((calls, after[0]["total_net_output_bytes"] - before[0]["total_net_output_bytes"]))
        pools.delete("p")
    small, large = costs[1:]
    assert large[0] == small[0] < 60
    # The answers to INFO itself vary by a few digits.
    assert abs(large[1] - small[1]) < 2000


def test_an_operation_is_applied_once_however_often_it_is_repeated(pools: RedisPools) -> None:
    fill(pools)
    edits = [
        (Edit("add", "one", slots=(Slot("", label="new"), Slot("", label="twin"))), [png(8), png(8)]),
        (Edit("remove", "two", files=(name(2),)), []),
        (Edit("restore", "three", files=(name(2),)), []),
        (Edit("move", "four", files=(name(3),), before=name(1)), []),
        (Edit("label", "five", files=(name(1),), text="x"), []),
    ]
    for edit, data in edits:
        after = pools.edit("p", edit, data)
        assert pools.edit("p", edit, data) == after
    assert pools.get("p") == after
    for edit, data in edits:
        assert pools.edit("p", edit, data) == after
    assert pools.result("p", "one") == [name(4), name(5)]
    assert (pools.result("p", "two"), pools.result("p", "unknown")) == ([], None)


def test_operation_ids_are_remembered_in_bounds(pools: RedisPools, client: redis.Redis) -> None:
    fill(pools)
    pipeline = client.pipeline()
    for number in range(10_000):
        pipeline.hset(KEYS.pool_edits("p"), f"old{number}", "")
        pipeline.rpush(KEYS.pool_edit_ids("p"), f"old{number}")
    pipeline.execute()
    pools.edit("p", Edit("label", "last", files=(name(1),), text="x"))
    assert client.llen(KEYS.pool_edit_ids("p")) <= 10_002
    for number in range(5):
        pools.edit("p", Edit("label", f"more{number}", files=(name(1),), text="x"))
    assert client.llen(KEYS.pool_edit_ids("p")) == client.hlen(KEYS.pool_edits("p")) <= 10_002
    assert pools.result("p", "more0") == []


@pytest.mark.parametrize("dies", ["before the bytes", "between the bytes", "before the slots"])
def test_an_add_that_fails_leaves_no_bytes(pools: RedisPools, client: redis.Redis, dies: str) -> None:
    before = fill(pools)
    files = sorted(client.hkeys(KEYS.pool_files("p")))

    def pictures() -> Iterator[tuple[Slot, bytes, bytes | None]]:
        for number in range(3):
            if dies == "between the bytes" and number == 2:
                raise InvalidImage("no image")
            yield Slot(""), png(number), mask(number)

    if dies == "before the bytes":
        with pytest.raises(SlotNotFound):
            pools.add("p", [(png(9), "")], before=name(9))
    elif dies == "between the bytes":
        with pytest.raises(InvalidImage):
            pools.put("p", Edit("add", "x", slots=(Slot(""),) * 3), pictures())
    else:
        edit = Edit("add", "x", slots=(Slot(""),) * 3, rev=before.rev)
        moved = ((slot, image, painted) for slot, image, painted in pictures() if pools.label("p", name(1), "moved"))
        with pytest.raises(Conflict):
            pools.put("p", edit, moved)
    assert sorted(client.hkeys(KEYS.pool_files("p"))) == files
    assert client.zcard(KEYS.pool_reserved("p")) == 0
    assert pools.get("p").files == before.files


def test_an_add_whose_process_died_is_cleaned_up_by_the_next_rebuild(pools: RedisPools, client: redis.Redis) -> None:
    fill(pools)
    answer = pools._steps.run("RESERVE", "p", "dead", None, json.dumps({"limit": 100}), "", "")
    pools._steps.write_files("p", {answer.names[0]: png(8), answer.names[0][:-4] + ".mask.png": mask(8)})
    # It may be under way still: its bytes stay, and are no slots.
    assert len(pools.rebuild("p").slots) == 3
    assert client.hexists(KEYS.pool_files("p"), answer.names[0])
    an_hour = 3_600_001
    for file in answer.names:
        client.zincrby(KEYS.pool_reserved("p"), -an_hour, file)
    assert len(pools.rebuild("p").slots) == 3
    assert sorted(client.hkeys(KEYS.pool_files("p"))) == sorted([name(1), name(2), name(3), "img_0001.mask.png"])
    # Whoever comes back now is told, and adds nothing.
    with pytest.raises(StoreUnavailable):
        pools._steps.run("ADD", "p", "dead", None, json.dumps({"limit": 100, "born": "x"}), answer.names[0], "{}")
    assert pools.add("p", [(png(9), "")]).files[-1] == name(6)


def test_a_first_add_that_died_leaves_no_pool(pools: RedisPools, client: redis.Redis) -> None:
    answer = pools._steps.run("RESERVE", "p", "dead", None, json.dumps({"limit": 100}), "")
    pools._steps.write_files("p", {answer.names[0]: png(8)})
    with pytest.raises(PoolNotFound):
        pools.get("p")
    with pytest.raises(PoolNotFound):
        pools.rebuild("p")
    assert pools.infos() == []
    assert all(client.ttl(key) > 0 for key in client.keys("*"))
    assert pools.add("p", [(png(1), "")]).files == (name(2),)
    assert all(client.ttl(key) == -1 for key in client.keys("*"))


@pytest.mark.parametrize("lost", ["hash", "order", "a rank", "active"])
def test_a_pool_that_lost_a_part_is_rebuilt(pools: RedisPools, client: redis.Redis, lost: str) -> None:
    fill(pools)
    before = pools.remove("p", [name(3)])
    if lost == "hash":
        client.delete(KEYS.pool("p"))
    elif lost == "order":
        client.delete(KEYS.pool_order("p"))
    elif lost == "a rank":
        client.zrem(KEYS.pool_order("p"), name(1))
    else:
        client.hset(KEYS.pool("p"), "active", name(9))
    if lost != "hash":
        client.hincrby(KEYS.pool("p"), "rev", 1)  # whoever did that, was no store: nothing is in anybody's memory
    manifest = pools.get("p")
    assert sorted(manifest.slots, key=lambda slot: slot.file) == list(before.slots)
    assert manifest.active in manifest.files
    assert pools.mask("p", name(1)) == mask(1)
    assert pools.add("p", [(png(9), "")]).files[-1] not in (name(1), name(2), name(3))


def test_slots_that_are_lost_come_back_from_the_files(pools: RedisPools, client: redis.Redis) -> None:
    fill(pools)
    client.hdel(KEYS.pool_slots("p"), name(1), name(2))
    client.zrem(KEYS.pool_order("p"), name(1), name(2))
    manifest = pools.rebuild("p")
    assert manifest.files == (name(3), name(1), name(2))
    assert manifest.slot(name(1)).mask_digest == sha256(mask(1))
    assert manifest.slot(name(1)).digest == sha256(png(1))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_two_that_add_at_once_never_get_the_same_name(pools: RedisPools) -> None:
    first = pools._steps.run("RESERVE", "p", "a", None, json.dumps({"limit": 100}), "", "img_0007.png")
    second = pools._steps.run("RESERVE", "p", "b", None, json.dumps({"limit": 100}), "img_0007.png", "img_0001.png", "")
    assert first.names == (name(1), name(7))
    assert second.names == (name(8), name(9), name(10))


def test_a_manifest_of_another_incarnation_is_not_taken_from_memory(pools: RedisPools, client: redis.Redis) -> None:
    """The data set is lost and the pool made anew: the same id and revision, another pool."""
    fill(pools)
    client.flushall()
    with pytest.raises(PoolNotFound):
        pools.get("p")
    other = RedisPools(pools._connection, KEYS, pools.settings)
    other.add("p", [(png(7), "another")])
    other.label("p", name(1), "another one")
    assert [slot.label for slot in pools.get("p").slots] == ["another one"]


def test_two_namespaces_share_a_redis_and_nothing_else(pools: RedisPools) -> None:
    fill(pools)
    other = RedisPools(pools._connection, Keys("other"), pools.settings)
    assert other.infos() == []
    other.add("p", [(png(7), "theirs")])
    assert len(pools.get("p").slots) == 3


def test_a_redis_that_is_away_is_said_so(own_redis: RedisServer) -> None:
    settings = Settings(store_url=own_redis.url)
    pools = RedisPools(Connection(settings), KEYS, settings)
    fill(pools)
    own_redis.kill()
    calls: list[Any] = [
        pools.infos,
        lambda: pools.get("p"),
        lambda: pools.image("p", name(1)),
        lambda: pools.add("p", [(png(1), "")]),
        lambda: pools.label("p", name(1), "x"),
        lambda: pools.delete("p"),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            call()
    own_redis.start()
    assert len(pools.get("p").slots) == 3


def test_a_full_redis_refuses_edits_whole(own_redis: RedisServer) -> None:
    settings = replace(Settings(), store_url=own_redis.url)
    pools = RedisPools(Connection(settings), KEYS, settings)
    before = fill(pools)
    client = own_redis.client()
    client.config_set("maxmemory", 1)
    for edit in (
        lambda: pools.add("p", [(png(1), "")]),
        lambda: pools.label("p", name(1), "x"),
        lambda: pools.set_mask("p", name(1), mask(2)),
        lambda: pools.rename("p", "x"),
    ):
        with pytest.raises(StoreUnavailable):
            edit()
    client.config_set("maxmemory", 0)
    assert RedisPools(Connection(settings), KEYS, settings).get("p") == before
    assert pools.mask("p", name(1)) == mask(1)
