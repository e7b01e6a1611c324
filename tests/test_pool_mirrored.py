"""Pools while Redis is away, comes back, comes back empty or set back: nothing is dropped, both sides are kept."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RedisServer

from gates.connection import Connection
from gates.errors import Conflict, PoolNotFound, SlotNotFound, StoreUnavailable, TooLarge
from gates.events import RedisEvents
from gates.keys import Keys
from gates.listener import Listener
from gates.png import encode_png
from gates.pool.disk import DiskPools
from gates.pool.edits import Edit
from gates.pool.journal import Entry, Journal
from gates.pool.manifest import Manifest, Slot
from gates.pool.mirrored import MirroredPools
from gates.pool.redis import RedisPools
from gates.settings import Settings


def png(value: int) -> bytes:
    pixels = np.zeros((3, 4, 3), np.uint8)
    pixels[...] = (value % 256, value // 256, 7)
    return encode_png(pixels)


def mask(value: int) -> bytes:
    return encode_png(np.full((3, 4, 1), value, np.uint8))


def name(number: int) -> str:
    return f"img_{number:04d}.png"


class Machine:
    """One machine with its disk, on a Redis that may go away; ``restart`` is the process's, ``cut`` its cable's."""

    def __init__(self, folder: Path, server: RedisServer, **options: Any) -> None:
        self.folder = folder
        self.server = server
        self.settings = Settings(store_url=server.url, tick=60.0, **options)
        self.start()

    def start(self) -> None:
        self.connection = Connection(self.settings)
        listener = Listener(self.connection)
        events = RedisEvents(self.connection, Keys(), listener)
        self.redis = RedisPools(self.connection, Keys(), self.settings, events)
        self.disk = DiskPools(self.folder, self.settings)
        self.pools = MirroredPools(self.redis, self.disk)
        self.listener = listener

    def stop(self) -> None:
        self.pools.close()
        self.listener.close()
        self.connection.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def cut(self) -> None:
        """This machine alone does not reach Redis any more."""
        self.stop()
        real, self.settings = self.settings, replace(self.settings, store_url="redis://127.0.0.1:1/0")
        self.start()
        self.settings = real

    def mend(self) -> None:
        self.restart()
        self.pools.catch_up()

    def shown(self, pool_id: str = "p") -> Manifest:
        """The manifest, when Redis and, soon, the disk show the same."""
        manifest: Manifest = self.pools.get(pool_id)
        assert self.pools.settle(20)
        assert self.redis.get(pool_id) == manifest
        assert self.disk.get(pool_id) == manifest
        for slot in manifest.slots:
            assert self.disk.image(pool_id, slot.file) == self.redis.image(pool_id, slot.file)
            assert self.disk.mask(pool_id, slot.file) == self.redis.mask(pool_id, slot.file)
            assert (self.redis.mask(pool_id, slot.file) is not None) == bool(slot.mask)
        assert Journal(self.folder / ".journal").is_empty(pool_id)
        assert not list(self.folder.glob(".journal/*.refused"))
        return manifest


@pytest.fixture
def machine(tmp_path: Path, redis_server: RedisServer) -> Iterator[Machine]:
    machine = Machine(tmp_path / "one", redis_server)
    yield machine
    machine.stop()


@pytest.fixture
def other(tmp_path: Path, redis_server: RedisServer) -> Iterator[Machine]:
    other = Machine(tmp_path / "two", redis_server)
    yield other
    other.stop()


@pytest.fixture
def mortal(tmp_path: Path, own_redis: RedisServer) -> Iterator[Machine]:
    """A machine whose Redis may be killed."""
    machine = Machine(tmp_path / "one", own_redis)
    yield machine
    machine.stop()


def fill(machine: Machine, count: int = 3) -> None:
    machine.pools.add("p", [(png(number), f"label {number}") for number in range(1, count + 1)])
    machine.pools.set_mask("p", name(1), mask(1))
    assert machine.pools.settle(20)


def labels(manifest: Manifest) -> list[str]:
    return [slot.label for slot in manifest.slots]


def images(pools: Any, manifest: Manifest) -> set[bytes]:
    return {pools.image(manifest.pool_id, slot.file) for slot in manifest.slots}


# -- away and back ------------------------------------------------------------------------


def test_the_disk_follows_redis(machine: Machine) -> None:
    fill(machine)
    machine.pools.remove("p", [name(2)])
    machine.pools.set_mask("p", name(1), None)
    machine.pools.rename("p", "Name")
    assert machine.shown().files == (name(1), name(3))
    machine.pools.restore("p", [name(2)])
    machine.shown()


def test_the_disk_follows_what_another_machine_did_when_it_is_looked_at(machine: Machine, other: Machine) -> None:
    fill(machine)
    other.pools.label("p", name(1), "theirs")
    other.pools.add("p", [(png(9), "theirs too")])
    assert labels(machine.shown()) == ["theirs", "label 2", "label 3", "theirs too"]


def test_every_edit_works_while_redis_is_away_and_is_in_redis_when_it_is_back(mortal: Machine) -> None:
    fill(mortal, 5)
    mortal.server.kill()
    pools = mortal.pools
    pools.add("p", [(png(6), "six"), (png(7), "seven")], before=name(2))
    pools.label("p", name(1), "one")
    pools.label("p", name(6), "six!")
    pools.set_mask("p", name(1), None)
    pools.set_mask("p", name(6), mask(6))
    pools.set_mask("p", name(2), mask(2))
    pools.set_mask("p", name(2), mask(22))
    pools.remove("p", [name(3), name(4)])
    pools.restore("p", [name(4)])
    pools.move("p", [name(5)], name(1))
    pools.activate("p", name(7))
    pools.reorder("p", list(pools.get("p").files[::-1]))
    pools.rename("p", "Away")
    away = pools.get("p")
    assert pools.image("p", name(6)) == png(6)
    assert pools.mask("p", name(2)) == mask(22)
    mortal.server.start()
    pools.catch_up()
    back = mortal.shown()
    assert (back.slots, back.active, back.name, back.next_seq) == (away.slots, away.active, away.name, away.next_seq)
    # What was removed away can be restored here, although Redis never had it in its own trash.
    assert pools.restore("p", [name(3)]).slot(name(3)).label == "label 3"


def test_what_was_just_changed_in_redis_is_not_shown_as_it_was_before(mortal: Machine) -> None:
    """Redis dies before the disk has followed."""
    fill(mortal)
    mortal.pools.label("p", name(1), "just now")
    mortal.pools.remove("p", [name(2)])
    mortal.pools.move("p", [name(3)], name(1))
    mortal.pools.add("p", [(png(9), "only in Redis")])
    mortal.server.kill()
    assert labels(mortal.pools.get("p")) == ["label 3", "just now"]
    mortal.pools.label("p", name(1), "and then this")
    mortal.server.start()
    mortal.pools.catch_up()
    assert labels(mortal.shown()) == ["label 3", "and then this", "only in Redis"]


def test_edits_are_brought_to_redis_by_the_next_edit_as_well(machine: Machine, other: Machine) -> None:
    fill(machine)
    other.pools.get("p")
    other.pools.settle()
    other.cut()
    other.pools.label("p", name(1), "made away")
    other.restart()
    assert other.pools.label("p", name(2), "made here").slot(name(1)).label == "made away"
    assert labels(other.shown()) == ["made away", "made here", "label 3"]


def test_it_catches_up_by_itself_within_a_tick(tmp_path: Path, own_redis: RedisServer) -> None:
    machine = Machine(tmp_path, own_redis)
    machine.settings = replace(machine.settings, tick=0.1)
    machine.restart()
    fill(machine)
    own_redis.kill()
    machine.pools.label("p", name(1), "away")
    own_redis.start()
    until(lambda: machine.redis.get("p").slot(name(1)).label == "away")
    machine.stop()


def test_redis_is_killed_and_restarted_under_edits_and_none_is_lost(tmp_path: Path, own_redis: RedisServer) -> None:
    """Four threads edit for ten kills; every edit that was acknowledged is there at the end, once."""
    machine = Machine(tmp_path, own_redis)
    machine.settings = replace(machine.settings, tick=0.1)
    machine.restart()
    fill(machine, 4)
    stop = threading.Event()
    failures: list[BaseException] = []
    added: list[str] = []
    last: dict[int, str] = {}

    def work(number: int) -> None:
        count = 0
        try:
            while not stop.is_set():
                count += 1
                label = f"{number}-{count}"
                machine.pools.add("p", [(png(1000 * number + count), label)])
                added.append(label)
                machine.pools.label("p", name(number), label)
                last[number] = label
                time.sleep(0.01)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        time.sleep(0.15)
        own_redis.kill()
        time.sleep(0.1)
        own_redis.start()
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    machine.pools.catch_up()
    manifest = machine.shown()
    assert sorted(labels(manifest)[4:]) == sorted(added)
    assert [manifest.slot(name(number)).label for number in range(1, 5)] == [last[number] for number in range(1, 5)]
    machine.stop()


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


# -- both sides edited --------------------------------------------------------------------


@pytest.fixture
def apart(machine: Machine, other: Machine) -> tuple[Machine, Machine]:
    """Two machines that both have the pool; the second has lost Redis."""
    fill(machine)
    other.shown()
    other.cut()
    return machine, other


def test_a_name_that_was_given_twice_becomes_two_slots(apart: tuple[Machine, Machine]) -> None:
    here, away = apart
    here.pools.add("p", [(png(50), "here"), (png(51), "here too")])
    manifest = away.pools.add("p", [(png(60), "away"), (png(61), "away too")])
    assert manifest.files[3:] == (name(4), name(5))
    away.pools.label("p", name(5), "away, edited")
    away.pools.set_mask("p", name(4), mask(4))
    away.pools.move("p", [name(5)], name(1))
    away.mend()
    both = away.shown()
    assert labels(both) == ["away, edited", "label 1", "label 2", "label 3", "here", "here too", "away"]
    assert images(away.pools, both) == {png(n) for n in (1, 2, 3, 50, 51, 60, 61)}
    assert away.pools.mask("p", both.files[-1]) == mask(4)
    assert here.shown() == both


def test_the_same_image_twice_keeps_its_two_labels(apart: tuple[Machine, Machine]) -> None:
    here, away = apart
    here.pools.add("p", [(png(50), "x"), (png(51), "y")])
    away.pools.add("p", [(png(60), ""), (png(60), "")])
    away.pools.label("p", name(5), "second")
    away.pools.label("p", name(4), "first")
    away.mend()
    assert labels(away.shown())[5:] == ["first", "second"]


def test_an_edit_beats_a_removal(apart: tuple[Machine, Machine]) -> None:
    here, away = apart
    here.pools.remove("p", [name(1), name(2)])
    here.pools.label("p", name(3), "edited here")
    away.pools.label("p", name(1), "edited away")
    away.pools.remove("p", [name(3)])
    away.pools.activate("p", name(2))
    away.mend()
    both = away.shown()
    assert labels(both) == ["edited away", "edited here"]
    assert away.pools.mask("p", name(1)) == mask(1)


def test_a_slot_removed_on_both_sides_is_gone(apart: tuple[Machine, Machine]) -> None:
    here, away = apart
    here.pools.remove("p", [name(2)])
    away.pools.remove("p", [name(2), name(3)])
    away.mend()
    assert away.shown().files == (name(1),)


def test_two_labels_of_one_slot_are_both_kept(apart: tuple[Machine, Machine]) -> None:
    here, away = apart
    here.pools.label("p", name(1), "here")
    away.pools.label("p", name(1), "away")
    away.pools.label("p", name(1), "away again")
    away.pools.label("p", name(2), "only away")
    away.mend()
    both = away.shown()
    assert labels(both) == ["here", "away again", "only away", "label 3"]
    assert away.pools.image("p", both.files[1]) == png(1)
    assert away.pools.mask("p", both.files[1]) == mask(1)


def test_two_masks_of_one_slot_are_both_kept(apart: tuple[Machine, Machine]) -> None:
    here, away = apart
    here.pools.set_mask("p", name(2), mask(10))
    here.pools.set_mask("p", name(1), mask(11))
    away.pools.set_mask("p", name(2), mask(20))
    away.pools.set_mask("p", name(1), None)
    away.mend()
    both = away.shown()
    assert [away.pools.mask("p", file) for file in both.files] == [mask(11), mask(10), mask(20), None]
    assert images(away.pools, both) == {png(1), png(2), png(3)}


def test_the_same_edit_on_both_sides_is_one(apart: tuple[Machine, Machine]) -> None:
    for machine in apart:
        machine.pools.label("p", name(1), "same")
        machine.pools.set_mask("p", name(2), mask(2))
    apart[1].mend()
    assert labels(apart[1].shown()) == ["same", "label 2", "label 3"]


def test_orders_of_both_sides_are_woven(apart: tuple[Machine, Machine]) -> None:
    here, away = apart
    here.pools.add("p", [(png(9), "new")], before=name(2))
    away.pools.reorder("p", [name(3), name(2), name(1)])
    away.mend()
    assert labels(away.shown()) == ["label 3", "label 2", "label 1", "new"]


def test_an_edit_made_away_while_the_disk_follows_is_not_written_over(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes on one disk: one has lost Redis, and edits while the other brings the disk after Redis."""
    fill(machine)
    cut = Machine(machine.folder, machine.server)
    cut.cut()
    real = RedisPools.image

    def slow(self: RedisPools, pool_id: str, file: str) -> bytes:
        monkeypatch.undo()
        cut.pools.label("p", name(1), "made meanwhile")
        return real(self, pool_id, file)

    monkeypatch.setattr(RedisPools, "image", slow)
    machine.pools.add("p", [(png(9), "new")])
    assert machine.pools.settle(20)
    assert cut.pools.get("p").slot(name(1)).label == "made meanwhile"
    machine.pools.catch_up()
    assert labels(machine.shown()) == ["made meanwhile", "label 2", "label 3", "new"]
    cut.stop()


def test_a_pool_deleted_on_one_side_is_gone_when_the_other_did_nothing(apart: tuple[Machine, Machine]) -> None:
    _, away = apart
    away.pools.delete("p")
    away.mend()
    for machine in apart:
        with pytest.raises(PoolNotFound):
            machine.pools.get("p")
        assert machine.pools.infos() == []
        assert not machine.disk.exists("p")


def test_an_edit_beats_the_deletion_of_a_pool_made_away(apart: tuple[Machine, Machine]) -> None:
    here, away = apart
    away.pools.delete("p")
    here.pools.label("p", name(1), "edited")
    away.mend()
    assert labels(away.shown()) == ["edited", "label 2", "label 3"]


def test_an_edit_made_away_beats_the_deletion_of_a_pool(apart: tuple[Machine, Machine]) -> None:
    here, away = apart
    here.pools.delete("p")
    away.pools.label("p", name(1), "edited")
    away.mend()
    assert labels(away.shown()) == ["edited", "label 2", "label 3"]
    assert here.shown() == away.shown()


def test_a_pool_deleted_and_made_again_away_replaces_the_old_one(apart: tuple[Machine, Machine]) -> None:
    here, away = apart
    away.pools.delete("p")
    away.pools.add("p", [(png(70), "new")])
    away.mend()
    assert labels(away.shown()) == ["new"]
    assert labels(here.shown()) == ["new"]


def test_a_deleted_pool_does_not_come_back_from_another_machine_s_mirror(machine: Machine, other: Machine) -> None:
    fill(machine)
    other.shown()
    machine.pools.delete("p")
    machine.pools.add("p", [(png(80), "new one")])
    other.restart()
    other.pools.catch_up()
    assert labels(other.shown()) == ["new one"]
    assert labels(machine.shown()) == ["new one"]


def test_what_redis_will_never_take_is_put_aside_and_not_dropped(tmp_path: Path, own_redis: RedisServer) -> None:
    machine = Machine(tmp_path / "one", own_redis, max_slots=4)
    other = Machine(tmp_path / "two", own_redis, max_slots=4)
    fill(machine)
    other.shown()
    other.cut()
    machine.pools.add("p", [(png(50), "here")])
    other.pools.add("p", [(png(60), "away")])
    with pytest.raises(TooLarge):
        other.pools.add("p", [(png(61), "too many here too")])
    other.mend()
    other.pools.settle()
    assert labels(other.redis.get("p")) == ["label 1", "label 2", "label 3", "here"]
    assert (other.folder / ".journal" / "p.refused").is_file()
    machine.stop()
    other.stop()


# -- a step whose outcome is not known ------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("kind", ["add", "label", "remove", "set_mask"])
def test_an_edit_whose_answer_was_lost_is_made_once(
    mortal: Machine, monkeypatch: pytest.MonkeyPatch, kind: str, moment: str
) -> None:
    """Redis dies right before or right after it has made the edit: the caller can't tell, and need not."""
    fill(mortal)
    # Another one, so that this process's store learns nothing of the answer.
    unheard = RedisPools(mortal.connection, Keys(), mortal.settings)

    def torn(pool_id: str, edit: Edit, data: Any = ()) -> Manifest:
        if moment == "after":
            unheard.edit(pool_id, edit, data)
        mortal.server.kill()
        raise StoreUnavailable("the answer was lost")

    monkeypatch.setattr(mortal.redis, "edit", torn)
    edits: dict[str, Callable[[], Manifest]] = {
        "add": lambda: mortal.pools.add("p", [(png(9), "new"), (png(9), "twin")]),
        "label": lambda: mortal.pools.label("p", name(1), "new"),
        "remove": lambda: mortal.pools.remove("p", [name(2)]),
        "set_mask": lambda: mortal.pools.set_mask("p", name(2), mask(2)),
    }
    away = edits[kind]()
    monkeypatch.undo()
    mortal.pools.label("p", name(3), "then this")
    mortal.server.start()
    mortal.pools.catch_up()
    back = mortal.shown()
    expected = [slot if slot.file != name(3) else replace(slot, label="then this") for slot in away.slots]
    assert list(back.slots) == expected
    assert back.rev == mortal.redis.get("p").rev


def test_a_replay_that_breaks_off_and_starts_again_makes_everything_once(
    apart: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, away = apart
    here.pools.add("p", [(png(50), "here")])
    here.pools.label("p", name(2), "here")
    for number in range(5):
        away.pools.add("p", [(png(60), f"away {number}")])
        away.pools.label("p", name(4 + number), f"edited {number}")
    away.pools.label("p", name(2), "away")
    away.pools.remove("p", [name(3), name(5)])
    away.restart()
    for steps in range(1, 20):
        left = steps
        real = RedisPools.edit
        real_put = RedisPools.put

        def dies(call: Any) -> Any:
            def step(self: RedisPools, *arguments: Any, **options: Any) -> Manifest:
                nonlocal left
                left -= 1
                if left <= 0:
                    raise StoreUnavailable("died")
                return call(self, *arguments, **options)

            return step

        monkeypatch.setattr(RedisPools, "edit", dies(real))
        monkeypatch.setattr(RedisPools, "put", dies(real_put))
        try:
            away.pools.catch_up()
        except StoreUnavailable:
            pass
        monkeypatch.undo()
        away.restart()
    away.pools.catch_up()
    assert labels(away.shown()) == ["label 1", "here", "away", "here", "edited 0", "edited 2", "edited 3", "edited 4"]


# -- a lost data set ------------------------------------------------------------------------


def test_pools_come_back_from_the_disk_when_redis_comes_back_empty(machine: Machine, other: Machine) -> None:
    fill(machine)
    machine.pools.activate("p", name(3))
    machine.pools.rename("p", "Name")
    machine.pools.duplicate("p", "q")
    before, copy = machine.shown(), machine.shown("q")
    machine.server.client().flushall()
    machine.pools.catch_up()
    for pool_id, old in (("p", before), ("q", copy)):
        back = machine.shown(pool_id)
        assert (back.slots, back.active, back.name, back.next_seq) == (old.slots, old.active, old.name, old.next_seq)
        assert other.pools.get(pool_id) == back
    assert [info.pool_id for info in other.pools.infos()] == ["p", "q"]


@pytest.mark.parametrize("call", ["get", "image", "label", "add"])
def test_a_lost_pool_comes_back_at_the_first_access(machine: Machine, call: str) -> None:
    fill(machine)
    machine.server.client().flushall()
    calls: dict[str, Callable[[], Any]] = {
        "get": lambda: machine.pools.get("p"),
        "image": lambda: machine.pools.image("p", name(1)),
        "label": lambda: machine.pools.label("p", name(1), "label 1"),
        "add": lambda: machine.pools.add("p", []),
    }
    calls[call]()
    assert machine.pools.settle(20)
    assert labels(machine.shown()) == ["label 1", "label 2", "label 3"]


def test_an_add_to_a_lost_pool_that_nobody_has_missed_yet_loses_nothing(machine: Machine) -> None:
    fill(machine)
    machine.server.client().flushall()
    machine.pools.add("p", [(png(9), "after")])
    assert machine.pools.settle(20)
    assert sorted(labels(machine.shown())) == ["after", "label 1", "label 2", "label 3"]


def fail(*_: Any) -> None:
    raise RuntimeError("the process died")


def test_edits_away_and_a_lost_data_set_are_both_survived(
    machine: Machine, other: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(machine)
    other.shown()
    other.cut()
    other.pools.label("p", name(1), "once")
    other.pools.label("p", name(1), "twice")
    other.pools.add("p", [(png(9), "away")])
    other.pools.remove("p", [name(2)])
    machine.server.client().flushall()
    # It dies between bringing the pool to Redis and forgetting the journal.
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(Journal, "drop", fail)
        other.mend()
    other.mend()
    assert labels(other.shown()) == ["twice", "label 3", "away"]
    machine.pools.catch_up()
    assert labels(machine.shown()) == ["twice", "label 3", "away"]


def test_the_newer_of_two_mirrors_wins_after_a_loss(machine: Machine, other: Machine) -> None:
    fill(machine)
    other.shown()
    machine.pools.label("p", name(1), "newer")
    machine.pools.add("p", [(png(9), "newest")])
    machine.pools.move("p", [name(3)], name(1))
    newest = machine.shown()
    machine.server.client().flushall()
    other.pools.catch_up()  # the one that has not seen the last edits is the first
    assert labels(other.redis.get("p")) == ["label 1", "label 2", "label 3"]
    machine.pools.catch_up()
    assert machine.shown().slots == newest.slots
    assert other.shown().slots == newest.slots


def test_last_edits_that_redis_lost_come_back_from_the_disk(machine: Machine) -> None:
    """As after a restart from an older snapshot."""
    fill(machine)
    client = machine.server.client()
    old = {key: client.dump(key) for key in client.keys("gatebus:pool:*")}
    machine.pools.label("p", name(1), "later")
    machine.pools.add("p", [(png(9), "last")])
    newest = machine.shown()
    for key, value in old.items():
        client.restore(key, 0, value, replace=True)
    machine.restart()
    machine.pools.catch_up()
    assert machine.shown().slots == newest.slots


# -- pools of before Redis -------------------------------------------------------------------


def test_a_pool_made_before_redis_was_configured_is_seen_and_brought_at_the_first_access(
    machine: Machine, other: Machine
) -> None:
    alone = DiskPools(machine.folder, machine.settings)
    alone.add("old", [(png(1), "a"), (png(2), "b")])
    alone.set_mask("old", name(2), mask(2))
    alone.activate("old", name(2))
    before = alone.remove("old", [name(1)])
    assert [(info.pool_id, info.count) for info in machine.pools.infos()] == [("old", 1)]
    assert other.pools.infos() == []
    assert machine.pools.get("old").slots == before.slots
    assert other.pools.get("old").slots == before.slots
    assert other.pools.mask("old", name(2)) == mask(2)
    machine.shown("old")
    # The undo of a removal of before Redis works still.
    assert labels(machine.pools.restore("old", [name(1)])) == ["a", "b"]


def test_two_machines_with_different_pools_of_one_id_keep_both(machine: Machine, other: Machine) -> None:
    for number, one in enumerate((machine, other)):
        alone = DiskPools(one.folder, one.settings)
        alone.add("p", [(png(1), f"same image, label {number}"), (png(10 + number), f"own {number}")])
        alone.set_mask("p", name(1), mask(7))
    machine.pools.get("p")
    both = other.pools.get("p")
    assert sorted(labels(both)) == ["own 0", "own 1", "same image, label 0", "same image, label 1"]
    assert other.shown() == machine.shown()


def test_whole_pools_are_made_away_and_are_in_redis_later(machine: Machine, other: Machine) -> None:
    fill(machine)
    archive = io.BytesIO()
    machine.pools.export_zip("p", archive)
    other.shown()
    other.cut()
    other.pools.duplicate("p", "copy")
    other.pools.label("copy", name(1), "copied")
    other.pools.import_zip(archive, "packed", "Packed")
    other.pools.add("fresh", [(png(5), "fresh")])
    other.mend()
    assert sorted(info.pool_id for info in machine.pools.infos()) == ["copy", "fresh", "p", "packed"]
    assert labels(machine.pools.get("copy")) == ["copied", "label 2", "label 3"]
    assert machine.pools.mask("packed", name(1)) == mask(1)
    with pytest.raises(Conflict):
        machine.pools.duplicate("p", "fresh")


def test_a_pool_that_only_redis_has_is_not_shown_as_missing_while_redis_is_away(
    machine: Machine, other: Machine
) -> None:
    fill(machine)
    other.cut()
    with pytest.raises(StoreUnavailable):
        other.pools.get("p")
    with pytest.raises(StoreUnavailable):
        other.pools.label("p", name(1), "x")
    other.pools.add("p", [(png(60), "blind")])
    other.mend()
    assert labels(other.shown()) == ["label 1", "label 2", "label 3", "blind"]


def test_rebuilding_takes_in_images_that_a_person_put_into_the_folder(machine: Machine) -> None:
    fill(machine)
    (machine.folder / "p" / "img_0042.png").write_bytes(png(42))
    assert machine.pools.rebuild("p").files == (name(1), name(2), name(3), name(42))
    assert machine.shown().next_seq == 43


def test_a_disk_that_can_not_be_written_does_not_keep_redis_from_working(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(machine)

    def full(*_: Any) -> None:
        raise StoreUnavailable("no space left", path="x")

    monkeypatch.setattr("gates.pool.folder.write_atomically", full)
    assert machine.pools.label("p", name(1), "kept").slot(name(1)).label == "kept"
    machine.pools.add("p", [(png(9), "kept too")])
    monkeypatch.undo()
    machine.pools.get("p")
    machine.restart()
    assert labels(machine.shown()) == ["kept", "label 2", "label 3", "kept too"]


# -- the journal ---------------------------------------------------------------------------


def entry(number: int) -> Entry:
    return Entry(Edit("label", f"id{number}", files=(name(number),), text="ñ猫"), (Slot(name(number), added=5),))


def test_a_journal_gives_back_what_was_put_in(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert (journal.is_empty("p"), journal.read("p"), journal.pool_ids()) == (True, [], [])
    for number in range(1, 4):
        journal.append("p", entry(number))
    assert journal.read("p") == [entry(1), entry(2), entry(3)]
    assert journal.pool_ids() == ["p"]
    take_back = journal.append("p", entry(4))
    take_back()
    journal.drop("p", 2)
    assert journal.read("p") == [entry(3)]
    journal.drop("p", 1)
    assert (journal.is_empty("p"), journal.pool_ids()) == (True, [])
    journal.append("p", entry(1))()
    assert journal.is_empty("p")


def test_a_last_entry_that_was_written_by_half_is_ignored_and_hides_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append("p", entry(1))
    whole = (tmp_path / "p.journal").read_bytes()
    journal.append("p", entry(2))
    data = (tmp_path / "p.journal").read_bytes()
    for end in range(len(whole), len(data)):
        for tail in (b"", bytes(len(data) - end)):
            (tmp_path / "p.journal").write_bytes(data[:end] + tail)
            assert journal.read("p") == [entry(1)]
            journal.append("p", entry(3))
            assert journal.read("p") == [entry(1), entry(3)]
            # What was written by half is cut off, not skipped.
            assert len((tmp_path / "p.journal").read_bytes()) == len(data)


def test_an_entry_that_was_damaged_is_not_taken_for_another(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append("p", entry(1))
    data = bytearray((tmp_path / "p.journal").read_bytes())
    data[data.index("ñ猫".encode()) + 1] ^= 1
    (tmp_path / "p.journal").write_bytes(data)
    assert journal.read("p") == []


def test_an_edit_that_can_not_be_written_down_is_not_made(mortal: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(mortal)
    before = mortal.shown()
    mortal.server.kill()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gates.pool.journal.os.fsync", full)
    for edit in (
        lambda: mortal.pools.label("p", name(1), "x"),
        lambda: mortal.pools.add("p", [(png(9), "x")]),
        lambda: mortal.pools.set_mask("p", name(1), mask(9)),
        lambda: mortal.pools.delete("p"),
    ):
        with pytest.raises(StoreUnavailable):
            edit()
    monkeypatch.undo()
    assert mortal.pools.get("p") == before
    assert mortal.pools.mask("p", name(1)) == mask(1)
    with pytest.raises(SlotNotFound):
        mortal.pools.image("p", name(4))
    mortal.server.start()
    mortal.pools.catch_up()
    assert mortal.shown() == before
