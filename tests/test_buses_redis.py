"""Buses in a real Redis: what redis-cli shows, and what stands after a fault at every step."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterable
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from bus_world import World, flat, noise, rounded, until
from PIL import Image
from redis_server import RedisServer

from gates import codec
from gates.bus import redis as bus_redis
from gates.bus.redis import RedisBuses
from gates.connection import Connection
from gates.errors import BusNotFound, GatebusError, InvalidImage, StoreUnavailable, TooLarge
from gates.events import LocalEvents
from gates.keys import Keys
from gates.pixels import to_pixels
from gates.settings import Settings

KEYS = Keys()


def open_buses(server: RedisServer, **settings: Any) -> RedisBuses:
    chosen = Settings(store_url=server.url, **settings)
    return RedisBuses(Connection(chosen), KEYS, chosen, LocalEvents())


@pytest.fixture
def buses(redis_server: RedisServer) -> RedisBuses:
    return open_buses(redis_server)


@pytest.fixture
def client(redis_server: RedisServer) -> redis.Redis:
    return redis_server.client(decode_responses=True)


def value_of(buses: RedisBuses, version: int | None = None) -> int:
    return int(to_pixels(buses.load("cp1", version).image).max())


# -- what is stored -------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["stored", "small"])
def test_redis_cli_pulls_a_picture_that_opens(redis_server, compression):
    cli = shutil.which("redis-cli")
    if cli is None:
        pytest.skip("no redis-cli")
    image, mask = noise(2, 30, 40, 3), noise(2, 30, 40, seed=1)
    open_buses(redis_server, compression=compression).publish("cp1", image, mask)
    for plane, expected in (("image", image[0]), ("mask", mask[0])):
        ask = [cli, "-p", str(redis_server.port), "--raw"]
        key = subprocess.run([*ask, "HGET", "gatebus:bus:{cp1}", plane], capture_output=True, check=True).stdout
        file = subprocess.run([*ask, "GET", key.decode().strip()], capture_output=True, check=True).stdout
        assert (np.asarray(Image.open(BytesIO(file))) == to_pixels(expected)).all()


def test_the_head_is_text_that_a_person_can_read(buses, client):
    head = buses.publish("cp1", *flat(9, frames=2))
    fields = client.hgetall("gatebus:bus:{cp1}")
    assert fields == client.hgetall("gatebus:bus:{cp1}:1")
    assert (fields["version"], fields["frames"], fields["width"], fields["format"]) == ("1", "2", "8", "png")
    assert (fields["digest"], fields["published"]) == (head.digest, str(head.published))
    assert fields["image"] == "gatebus:bus:{cp1}:1:image:0"
    assert fields["mask"] == "gatebus:bus:{cp1}:1:mask:0"
    buses.publish("cp1", flat(9)[0], None)
    assert client.hget("gatebus:bus:{cp1}", "mask") == ""


def test_what_is_live_never_expires_and_what_is_dropped_does(redis_server, client):
    buses = open_buses(redis_server, bus_versions=2, version_grace=100.0)
    for value in (1, 2, 3):
        buses.publish("cp1", *flat(value))
    for key in client.scan_iter("gatebus:bus:{cp1}*"):
        dropped = key.startswith("gatebus:bus:{cp1}:1")
        assert (0 < client.pttl(key) <= 100_000) if dropped else client.pttl(key) == -1, key


def test_deleting_leaves_only_the_counter_and_that_expires(buses, client):
    for value in (1, 2):
        buses.publish("cp1", *flat(value))
    buses.delete("cp1")
    assert client.keys("gatebus*") == [KEYS.bus_counter("cp1")]
    assert client.ttl(KEYS.bus_counter("cp1")) > 0
    buses.publish("cp1", *flat(3))
    assert client.ttl(KEYS.bus_counter("cp1")) == -1


def test_a_head_that_somebody_broke_is_told_and_harms_no_other(buses, client):
    buses.publish("cp1", *flat(1))
    client.hset(KEYS.bus("cp1"), "width", "wide")
    with pytest.raises(GatebusError, match="not readable"):
        buses.load("cp1")
    buses.publish("cp1", *flat(2))
    assert value_of(buses) == 2


def test_bytes_that_somebody_broke_are_refused(buses, client):
    buses.publish("cp1", noise(1, 40, 40, 3), None)
    raw = redis.Redis(connection_pool=client.connection_pool)
    raw.setrange(KEYS.bus_part("cp1", 1, "image", 0), 2000, b"broken")
    with pytest.raises(InvalidImage):
        buses.load("cp1")


def test_a_part_that_somebody_replaced_by_another_picture_is_read(buses, redis_server):
    """Of the same size in pixels: an editor saves it in its own way."""
    buses.publish("cp1", noise(1, 40, 40, 3), None)
    target = BytesIO()
    Image.fromarray(np.full((40, 40, 3), 77, np.uint8)).save(target, "PNG")
    redis_server.client().set(KEYS.bus_part("cp1", 1, "image", 0), target.getvalue())
    assert value_of(buses) == 77


def test_an_image_too_large_for_one_value_is_refused_before_it_is_sent(buses, monkeypatch):
    monkeypatch.setattr("gates.bus.parts.MAX_PART", 1000)
    with pytest.raises(TooLarge, match="exact"):
        buses.publish("cp1", noise(1, 40, 40, 3), None)
    buses.publish("cp1", noise(1, 2, 2, 3), None)
    assert buses.head("cp1").height == 2


# -- the list -------------------------------------------------------------------------------


def test_the_list_is_healed_when_a_bus_is_gone(buses, client):
    for name in ("a", "b"):
        buses.publish(name, *flat(1))
    client.delete(KEYS.bus("a"))
    assert [head.name for head in buses.heads()] == ["b"]
    assert client.zrange(KEYS.buses, 0, -1) == ["b"]


def test_a_bus_that_the_list_misses_loads_and_is_listed_again_after_a_publish(buses, client):
    buses.publish("cp1", *flat(1))
    client.delete(KEYS.buses)
    assert value_of(buses) == 1
    buses.publish("cp1", *flat(2))
    assert [head.name for head in buses.heads()] == ["cp1"]


# -- faults ---------------------------------------------------------------------------------


def faulty(monkeypatch: pytest.MonkeyPatch, sent: int, fault: Any) -> None:
    """Lets ``fault`` happen after ``sent`` parts of a publish are in Redis."""
    send = bus_redis.send_parts

    def send_with_fault(client: Any, parts: Iterable[Any], expire: int) -> None:
        iterator = iter(parts)
        send(client, islice(iterator, sent), expire)
        fault()
        send(client, iterator, expire)

    monkeypatch.setattr(bus_redis, "send_parts", send_with_fault)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["png", "exact"])
def test_a_redis_killed_in_the_middle_of_a_publish_keeps_the_old_head(own_redis, monkeypatch, format):
    buses = open_buses(own_redis)
    for turn in range(1, 6):
        image = noise(3, 600, 500, 3, seed=turn)
        head = buses.publish("cp1", image, None, format=format)
        with monkeypatch.context() as patch:
            faulty(patch, 2, own_redis.kill)
            with pytest.raises(StoreUnavailable):
                buses.publish("cp1", noise(3, 600, 500, 3, seed=-turn % 99), None, format=format)
        own_redis.start()
        content = buses.load("cp1")
        assert content.head == head
        assert (content.image == (image if format == "exact" else rounded(image))).all()
        assert len(buses.versions("cp1")) == min(turn, 5)
        orphans = list(own_redis.client().scan_iter(f"*}}:{head.version + 1}:*"))
        assert orphans
        assert all(own_redis.client().pttl(key) > 0 for key in orphans)


def test_a_part_that_is_lost_before_the_last_step_keeps_the_old_head(buses, client, monkeypatch):
    buses.publish("cp1", *flat(1))
    with monkeypatch.context() as patch:
        faulty(patch, 1, lambda: client.delete(KEYS.bus_part("cp1", 2, "image", 0)))
        with pytest.raises(StoreUnavailable, match="lost"):
            buses.publish("cp1", *flat(2))
    assert value_of(buses) == 1
    assert client.pttl(KEYS.bus_part("cp1", 2, "mask", 0)) > 0
    assert buses.publish("cp1", *flat(3)).version == 3


def test_an_error_while_parts_are_made_breaks_no_connection(redis_server, monkeypatch):
    chosen = Settings(store_url=redis_server.url)
    connection = Connection(chosen)
    buses = RedisBuses(connection, KEYS, chosen, LocalEvents())
    buses.publish("cp1", *flat(1))
    for _ in range(5):
        with monkeypatch.context() as patch:
            faulty(patch, 1, lambda: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                buses.publish("cp1", *flat(2))

    def broken() -> Iterable[bytes]:
        yield b"begun"
        raise ZeroDivisionError

    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            bus_redis.send_parts(connection.blobs, [("k", codec.Stream(10, broken()))], 1000)
        assert value_of(buses) == 1
    assert connection.blobs.get("k") is None


def test_a_reader_that_comes_too_late_looks_again(buses, client, monkeypatch):
    buses.publish("cp1", *flat(1))
    find = buses._find
    looks: list[int] = []

    def find_then_lose(name: str, version: int | None) -> Any:
        found = find(name, version)
        looks.append(found.head.version)
        if len(looks) == 1:
            buses.publish("cp1", *flat(2))
            client.delete(KEYS.bus_part("cp1", 1, "mask", 0))
        return found

    monkeypatch.setattr(buses, "_find", find_then_lose)
    content = buses.load("cp1")
    assert looks == [1, 2]
    assert content.head.version == 2
    assert (to_pixels(content.image) == 2).all()
    assert (to_pixels(content.mask) == 2).all()


def test_a_bus_whose_bytes_are_gone_is_not_found(buses, client):
    buses.publish("cp1", *flat(1))
    client.delete(KEYS.bus_part("cp1", 1, "image", 0))
    with pytest.raises(BusNotFound, match="gone"):
        buses.load("cp1")


def test_a_clock_that_was_set_back_does_not_make_the_newest_an_old_one(buses, client):
    buses.publish("cp1", *flat(1))
    ahead = int(time.time() * 1000) + 3_600_000
    client.hset(KEYS.bus("cp1"), "published", ahead)
    client.zadd(KEYS.bus_versions("cp1"), {"1": ahead})
    for value in (2, 3):
        buses.publish("cp1", *flat(value))
        assert value_of(buses) == value
    assert [head.version for head in buses.versions("cp1")] == [3, 2, 1]


def test_a_full_redis_refuses_and_keeps_the_old_head(own_redis):
    buses = open_buses(own_redis)
    buses.publish("cp1", *flat(1))
    client = own_redis.client()
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 2_000_000)
    with pytest.raises(StoreUnavailable):
        buses.publish("cp1", noise(8, 600, 600, 3), None)
    assert value_of(buses) == 1
    client.config_set("maxmemory", 0)
    buses.publish("cp1", *flat(2))
    assert value_of(buses) == 2


def test_a_frozen_redis_is_away_and_then_back(own_redis):
    buses = open_buses(own_redis)
    buses.publish("cp1", *flat(1))
    own_redis.freeze()
    for step in (lambda: buses.publish("cp1", *flat(2)), lambda: buses.load("cp1"), buses.heads):
        with pytest.raises(StoreUnavailable):
            step()
    own_redis.thaw()
    buses.publish("cp1", *flat(3))
    assert value_of(buses) == 3


def test_a_flushed_redis_starts_anew(buses, client):
    buses.publish("cp1", *flat(1))
    client.flushall()
    assert buses.heads() == []
    with pytest.raises(BusNotFound):
        buses.load("cp1")
    buses.publish("cp1", *flat(2))
    assert value_of(buses) == 2


@pytest.mark.slow
def test_forty_publishes_by_eight_threads_leave_the_kept_versions_and_no_other_live_key(redis_server, client):
    buses = open_buses(redis_server, bus_versions=3, version_grace=1.0)
    numbers: list[int] = []

    def publish(first: int) -> None:
        numbers.extend(buses.publish("cp1", *flat(first + step)).version for step in range(5))

    threads = [threading.Thread(target=publish, args=(10 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 41))
    buses.publish("cp1", *flat(255))
    kept = [head.version for head in buses.versions("cp1")]
    assert kept[0] == 41
    assert len(kept) == 3

    def left() -> set[int]:
        return {int(key.split(":")[3]) for key in client.scan_iter("gatebus:bus:{cp1}:*:image:*")}

    until(lambda: left() == set(kept))


def test_the_world_of_the_contract_is_the_real_one(redis_server, tmp_path: Path):
    """The suite in test_buses.py would hold nothing if its stores did not share their state."""
    world = World("redis", tmp_path, redis_server.url)
    world.open().publish("cp1", *flat(5))
    assert value_of(open_buses(redis_server)) == 5
