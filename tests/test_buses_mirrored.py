"""The mirrored buses through a Redis that goes away and comes back: nothing is lost, nothing old passes for new."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from bus_world import flat, noise, rounded
from PIL import Image
from redis_server import RedisServer

from gates.bus.disk import DiskBuses
from gates.bus.mirrored import MirroredBuses
from gates.bus.record import BusMeta, BusStore
from gates.bus.redis import RedisBuses
from gates.connection import Connection
from gates.errors import BusNotFound, StoreUnavailable
from gates.events import LocalEvents
from gates.keys import Keys
from gates.pixels import to_pixels
from gates.settings import Settings


class Machine:
    """One machine: its disk and its mirrored buses."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.settings = Settings(store_url=server.url)
        self.folder = folder
        self.events = LocalEvents()
        self.redis = RedisBuses(Connection(self.settings), Keys(), self.settings, self.events)
        self.disk = DiskBuses(folder, self.settings)
        self.buses = MirroredBuses(self.redis, self.disk, self.settings)


@pytest.fixture
def one(own_redis: RedisServer, tmp_path: Path) -> Machine:
    return Machine(own_redis, tmp_path / "one")


@pytest.fixture
def two(own_redis: RedisServer, tmp_path: Path) -> Machine:
    return Machine(own_redis, tmp_path / "two")


def value_of(buses: BusStore, version: int | None = None) -> int:
    return int(to_pixels(buses.load("cp1", version).image).max())


def values(buses: BusStore) -> list[int]:
    """Newest first."""
    return [value_of(buses, head.version) for head in buses.versions("cp1")]


def test_with_redis_nothing_is_written_to_the_disk(one, two):
    one.buses.publish("cp1", *flat(1))
    assert value_of(two.buses) == 1
    assert not (one.folder / "cp1").exists()


@pytest.mark.parametrize("format", ["png", "exact"])
def test_a_publish_without_redis_is_loaded_here_and_there_when_it_is_back(own_redis, one, two, format):
    image, mask = noise(2, 30, 40, 3), noise(2, 30, 40, seed=1)
    own_redis.kill()
    head = one.buses.publish("cp1", image, mask, format=format, meta=BusMeta("studio", "portrait", "take 3"))
    expected = image if format == "exact" else rounded(image)
    assert (one.buses.load("cp1").image == expected).all()
    assert one.buses.heads() == [head] == one.buses.versions("cp1")
    assert one.buses.frame("cp1", 1, head.version) == one.buses.frame("cp1", 1)
    with pytest.raises(StoreUnavailable):
        two.buses.load("cp1")
    own_redis.start()
    one.buses.heads()
    content = two.buses.load("cp1")
    assert (content.image == expected).all()
    assert content.head.meta == head.meta
    assert (content.head.digest, content.head.published) == (head.digest, head.published)
    assert [entry.name for entry in two.buses.heads()] == ["cp1"]
    assert one.disk.pending() == []


def test_catching_up_needs_no_call_and_raises_while_redis_is_away(own_redis, one, two):
    one.buses.catch_up()
    own_redis.kill()
    one.buses.publish("cp1", *flat(1))
    with pytest.raises(StoreUnavailable):
        one.buses.catch_up()
    own_redis.start()
    one.buses.catch_up()
    assert value_of(two.buses) == 1


def test_several_are_published_in_their_order(own_redis, one, two):
    one.buses.publish("cp1", *flat(1))
    own_redis.kill()
    for value in (2, 3, 4):
        one.buses.publish("cp1", *flat(value))
    own_redis.start()
    one.buses.publish("cp1", *flat(5))
    assert values(two.buses) == [5, 4, 3, 2, 1]


def test_what_redis_got_later_stays_the_newest_and_both_are_kept(own_redis, one, two):
    one.buses.publish("cp1", *flat(1))
    own_redis.kill()
    one.buses.publish("cp1", *flat(2))
    own_redis.start()
    two.buses.publish("cp1", *flat(3))
    one.buses.catch_up()
    for machine in (one, two):
        assert value_of(machine.buses) == 3
        assert values(machine.buses) == [3, 2, 1]
        assert value_of(machine.buses, -1) == 2


def test_pending_versions_outlive_the_process_and_any_number_of_later_ones(own_redis, one, tmp_path):
    one.settings = Settings(store_url=own_redis.url, bus_versions=2)
    own_redis.kill()
    disk = DiskBuses(one.folder, one.settings)
    away = MirroredBuses(one.redis, disk, one.settings)
    for value in (1, 2, 3, 4):
        away.publish("cp1", *flat(value))
    assert [number for _, number in disk.pending()] == [1, 2, 3, 4]
    own_redis.start()
    later = Machine(own_redis, one.folder)
    assert value_of(later.buses) == 4
    assert values(later.buses) == [4, 3, 2, 1]


def test_an_answer_that_was_lost_makes_no_second_version(own_redis, one, two, monkeypatch):
    def lost(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(one.events, "append", lost)
        one.buses.publish("cp1", *flat(1))
    assert one.disk.pending() == [("cp1", 1)]
    one.buses.catch_up()
    assert values(two.buses) == [1]
    assert one.disk.pending() == []


def test_an_old_image_on_the_disk_never_passes_for_the_newest(own_redis, one, two):
    own_redis.kill()
    one.buses.publish("cp1", *flat(1))
    own_redis.start()
    one.buses.catch_up()
    two.buses.publish("cp1", *flat(2))
    assert value_of(one.buses) == 2
    own_redis.kill()
    calls = [lambda: one.buses.load("cp1"), lambda: one.buses.load("cp1", 1), lambda: one.buses.frame("cp1", 0)]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            call()
    assert one.buses.heads() == []
    assert one.buses.publish("cp1", *flat(3)).version == 3, "numbers go on where those of Redis stopped"
    assert value_of(one.buses) == value_of(one.buses, 3) == 3
    with pytest.raises(StoreUnavailable):
        one.buses.load("cp1", -1)


def test_the_same_image_on_the_disk_serves_when_redis_goes_away_again(own_redis, one):
    own_redis.kill()
    one.buses.publish("cp1", *flat(1))
    own_redis.start()
    assert value_of(one.buses) == 1
    own_redis.kill()
    assert value_of(one.buses) == 1


def test_a_bus_that_only_the_disk_has_is_found_while_redis_is_there(one, two):
    (one.folder / "cp1").mkdir(parents=True)
    Image.new("RGB", (4, 4), (9, 9, 9)).save(one.folder / "cp1" / "image.png")
    assert value_of(one.buses) == value_of(one.buses, 1) == 9
    assert [head.name for head in one.buses.heads()] == ["cp1"]
    with pytest.raises(BusNotFound):
        one.buses.mask_frame("cp1", 0)
    one.buses.delete("cp1")
    with pytest.raises(BusNotFound):
        one.buses.load("cp1")
    assert one.buses.heads() == []


def test_the_disk_does_not_stand_in_for_what_redis_knows_is_not_there(one):
    (one.folder / "cp1").mkdir(parents=True)
    for name in ("image", "mask"):
        Image.new("L", (4, 4), 9).save(one.folder / "cp1" / f"{name}.png")
    one.buses.publish("cp1", flat(1)[0], None)
    with pytest.raises(BusNotFound):
        one.buses.mask_frame("cp1", 0)
    with pytest.raises(BusNotFound):
        one.buses.load("cp1", 7)


def test_deleting_needs_redis_and_removes_both(own_redis, one, two):
    own_redis.kill()
    one.buses.publish("cp1", *flat(1))
    with pytest.raises(StoreUnavailable):
        one.buses.delete("cp1")
    own_redis.start()
    two.buses.publish("cp1", *flat(2))
    one.buses.delete("cp1")
    for call in (lambda: one.buses.load("cp1"), lambda: two.buses.load("cp1"), lambda: one.disk.load("cp1")):
        with pytest.raises(BusNotFound):
            call()
    own_redis.kill()
    with pytest.raises(StoreUnavailable):
        one.buses.load("cp1")


def test_a_deleted_version_does_not_come_back_from_the_disk(own_redis, one):
    own_redis.kill()
    for value in (1, 2):
        one.buses.publish("cp1", *flat(value))
    own_redis.start()
    newest = one.buses.head("cp1").version
    one.buses.delete("cp1", newest)
    assert value_of(one.buses) == 1
    own_redis.kill()
    with pytest.raises(StoreUnavailable):
        one.buses.load("cp1", newest)


@pytest.mark.slow
def test_processes_that_share_a_disk_publish_each_pending_version_once(own_redis, one):
    machines = [one, *(Machine(own_redis, one.folder) for _ in range(5))]
    for turn in range(4):
        own_redis.kill()
        for machine in machines[:3]:
            machine.buses.publish(f"bus{turn}", *flat(turn))
        own_redis.start()
        for machine in machines:
            machine.buses._pending = True
        threads = [threading.Thread(target=machine.buses.catch_up) for machine in machines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        one.buses.catch_up()
        assert one.disk.pending() == []
        # The three have the same content, so the newest of them in Redis stands for all.
        assert len(one.redis.versions(f"bus{turn}")) == 1


def test_a_pending_version_that_can_not_be_read_blocks_no_other(own_redis, one, two):
    own_redis.kill()
    one.buses.publish("broken", *flat(1))
    one.buses.publish("cp1", *flat(2))
    for file in (one.folder / "broken" / "versions" / "1").glob("image*"):
        file.write_bytes(b"broken")
    own_redis.start()
    one.buses.catch_up()
    assert value_of(two.buses) == 2
    assert one.disk.pending() == [("broken", 1)]
    one.buses.publish("cp1", *flat(3))


def test_a_pending_version_that_redis_can_not_take_blocks_no_other(own_redis, one, two, monkeypatch):
    own_redis.kill()
    one.buses.publish("large", noise(1, 60, 60, 3), None)
    one.buses.publish("cp1", *flat(2))
    own_redis.start()
    monkeypatch.setattr("gates.bus.parts.MAX_PART", 5000)
    one.buses.catch_up()
    assert value_of(two.buses) == 2
    assert one.disk.pending() == [("large", 1)]
    assert one.buses.load("large").head.height == 60


def test_a_disk_that_can_not_be_used_does_not_keep_redis_from_working(own_redis, tmp_path):
    (tmp_path / "one").write_text("in the way")
    machine = Machine(own_redis, tmp_path / "one")
    machine.buses.publish("cp1", *flat(1))
    assert value_of(machine.buses) == 1
    assert [head.name for head in machine.buses.heads()] == ["cp1"]
    own_redis.kill()
    with pytest.raises(StoreUnavailable):
        machine.buses.publish("cp1", *flat(2))
