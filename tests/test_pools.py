"""One contract for every pool store: the disk, fakeredis, a real Redis, and Redis mirrored on the disk."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import fakeredis
import numpy as np
import pytest

from gates.connection import Connection
from gates.errors import Conflict, InvalidInput, InvalidName, PoolNotFound, SlotNotFound, TooLarge
from gates.events import LocalEvents
from gates.keys import Keys
from gates.pictures import read_image
from gates.png import encode_png
from gates.pool.disk import DiskPools
from gates.pool.manifest import Manifest
from gates.pool.mirrored import MirroredPools
from gates.pool.redis import RedisPools
from gates.settings import Settings

BAD_IDS = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "a\\b",
    "/etc",
    "a\x00b",
    "a\nb",
    "con",
    "COM1.txt",
    "{x}",
    "a" * 65,
    ".hidden",
]


def png(value: int = 0, size: tuple[int, int] = (3, 4)) -> bytes:
    """A small image that differs by ``value``."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[...] = (value % 256, value // 256 % 256, 7)
    return encode_png(pixels)


def mask(value: int = 255, size: tuple[int, int] = (3, 4)) -> bytes:
    return encode_png(np.full((*size, 1), value, np.uint8))


@dataclass
class Pools:
    """A store, and one more on the same state, as another process has it."""

    store: Any
    other: Any
    settings: Settings

    def pool(self, count: int, pool_id: str = "p") -> Manifest:
        return self.store.add(pool_id, [(png(i), f"label {i}") for i in range(1, count + 1)])


SETTINGS = Settings(max_slots=50)


def disk(request: pytest.FixtureRequest) -> Iterator[Pools]:
    folder = request.getfixturevalue("tmp_path") / "grid_pool"
    yield Pools(DiskPools(folder, SETTINGS, LocalEvents()), DiskPools(folder, SETTINGS), SETTINGS)


def connected(connection: Connection, other: Connection) -> Iterator[Pools]:
    keys = Keys()
    stores = (RedisPools(link, keys, SETTINGS, LocalEvents()) for link in (connection, other))
    yield Pools(*stores, SETTINGS)
    connection.close()
    other.close()


def fake_redis(request: pytest.FixtureRequest) -> Iterator[Pools]:
    server = fakeredis.FakeServer()

    def link() -> Connection:
        control = fakeredis.FakeRedis(server=server, decode_responses=True)
        return Connection(SETTINGS, control, fakeredis.FakeRedis(server=server))

    yield from connected(link(), link())


def real_redis(request: pytest.FixtureRequest) -> Iterator[Pools]:
    settings = replace(SETTINGS, store_url=request.getfixturevalue("redis_server").url)
    yield from connected(Connection(settings), Connection(settings))


def mirrored(request: pytest.FixtureRequest) -> Iterator[Pools]:
    """Two machines: each has a disk of its own."""
    folder, url = request.getfixturevalue("tmp_path"), request.getfixturevalue("redis_server").url
    settings = replace(SETTINGS, store_url=url)
    links = [Connection(settings), Connection(settings)]
    stores = [
        MirroredPools(RedisPools(link, Keys(), settings), DiskPools(folder / str(number), settings))
        for number, link in enumerate(links)
    ]
    yield Pools(*stores, settings)
    for store, link in zip(stores, links, strict=True):
        store.close()
        link.close()


KINDS: dict[str, Callable[[pytest.FixtureRequest], Iterator[Pools]]] = {
    "disk": disk,
    "fakeredis": fake_redis,
    "redis": real_redis,
    "mirrored": mirrored,
}


@pytest.fixture(params=list(KINDS))
def pools(request: pytest.FixtureRequest) -> Iterator[Pools]:
    yield from KINDS[request.param](request)


def files(manifest: Manifest) -> list[str]:
    return [slot.file for slot in manifest.slots]


def numbers(manifest: Manifest) -> list[int]:
    return [int(file[4:-4]) for file in files(manifest)]


def name(number: int) -> str:
    return f"img_{number:04d}.png"


def agree(pools: Pools, pool_id: str = "p") -> Manifest:
    """The manifest, when both stores see the same and every file that it names is there."""
    manifest = pools.store.get(pool_id)
    assert pools.other.get(pool_id) == manifest
    for slot in manifest.slots:
        assert pools.other.image(pool_id, slot.file)
        assert (pools.other.mask(pool_id, slot.file) is not None) == bool(slot.mask) == bool(slot.mask_digest)
    assert (manifest.active in files(manifest)) if manifest.slots else manifest.active == ""
    return manifest


# -- add ----------------------------------------------------------------------------------


def test_the_first_image_makes_the_pool_and_is_active(pools: Pools) -> None:
    manifest = pools.store.add("p", [(png(1), "one")])
    assert (manifest.pool_id, manifest.active, manifest.next_seq, manifest.rev) == ("p", name(1), 2, 1)
    slot = manifest.slots[0]
    assert (slot.file, slot.label, slot.mask, len(slot.digest)) == (name(1), "one", "", 64)
    assert agree(pools) == manifest
    assert pools.other.image("p", name(1)) == png(1)
    assert pools.other.mask("p", name(1)) is None


def test_many_images_are_added_in_their_order_and_in_one_revision(pools: Pools) -> None:
    pools.pool(2)
    manifest = pools.other.add("p", [(png(i), str(i)) for i in range(10, 40)])
    assert numbers(manifest) == list(range(1, 33))
    assert [slot.label for slot in manifest.slots[2:]] == [str(i) for i in range(10, 40)]
    assert (manifest.rev, manifest.active) == (2, name(1))
    assert agree(pools) == manifest
    assert pools.store.image("p", name(20)) == png(27)


def test_an_image_is_added_before_a_slot(pools: Pools) -> None:
    pools.pool(3)
    assert numbers(pools.store.add("p", [(png(8), ""), (png(9), "")], before=name(2))) == [1, 4, 5, 2, 3]
    assert numbers(pools.store.add("p", [(png(7), "")], before=name(1))) == [6, 1, 4, 5, 2, 3]
    assert numbers(agree(pools)) == [6, 1, 4, 5, 2, 3]


def test_an_add_before_an_unknown_slot_changes_nothing(pools: Pools) -> None:
    before = pools.pool(2)
    with pytest.raises(SlotNotFound):
        pools.store.add("p", [(png(9), "")], before=name(7))
    assert agree(pools) == before
    with pytest.raises(SlotNotFound):
        pools.store.add("new", [(png(9), "")], before=name(1))
    with pytest.raises(PoolNotFound):
        pools.store.get("new")


def test_a_hundred_images_can_be_squeezed_in_at_the_same_place(pools: Pools) -> None:
    pools.pool(2)
    for _ in range(45):
        manifest = pools.store.add("p", [(png(1), "")], before=name(2))
    assert numbers(manifest) == [1, *range(3, 48), 2]
    for _ in range(100):
        manifest = pools.store.move("p", [files(manifest)[1]], before=name(2))
        assert pools.other.get("p") == manifest
    assert sorted(numbers(agree(pools))) == list(range(1, 48))


def test_more_slots_than_the_limit_are_refused_and_nothing_is_added(pools: Pools) -> None:
    before = pools.pool(49)
    with pytest.raises(TooLarge):
        pools.store.add("p", [(png(1), ""), (png(2), "")])
    assert agree(pools) == before
    assert len(pools.store.add("p", [(png(1), "")]).slots) == 50
    with pytest.raises(TooLarge):
        pools.store.add("q", [(png(1), "")] * 51)
    with pytest.raises(PoolNotFound):
        pools.other.get("q")


def test_an_add_of_no_images_makes_an_empty_pool(pools: Pools) -> None:
    manifest = pools.store.add("p", [])
    assert (manifest.slots, manifest.active) == ((), "")
    assert [info.pool_id for info in pools.other.infos()] == ["p"]


# -- remove and restore -------------------------------------------------------------------


def test_a_removed_slot_is_gone_and_its_name_is_never_used_again(pools: Pools) -> None:
    pools.pool(3)
    assert numbers(pools.store.remove("p", [name(3)])) == [1, 2]
    for read in (pools.other.image, pools.other.mask):
        with pytest.raises(SlotNotFound):
            read("p", name(3))
    assert numbers(pools.store.add("p", [(png(9), "")])) == [1, 2, 4]
    agree(pools)


@pytest.mark.parametrize(
    ("active", "gone", "then"),
    [(2, [2], 3), (4, [4], 3), (2, [2, 3], 4), (4, [3, 4], 2), (3, [1, 2, 3, 4], 0), (1, [2], 1), (2, [2, 3, 4], 1)],
)
def test_when_the_active_slot_goes_its_right_neighbour_is_active_else_its_left(
    pools: Pools, active: int, gone: list[int], then: int
) -> None:
    pools.pool(4)
    pools.store.activate("p", name(active))
    manifest = pools.store.remove("p", [name(number) for number in gone])
    assert manifest.active == (name(then) if then else "")
    assert agree(pools) == manifest


def test_a_removal_is_all_or_nothing(pools: Pools) -> None:
    before = pools.pool(3)
    with pytest.raises(SlotNotFound):
        pools.store.remove("p", [name(1), name(9)])
    with pytest.raises(InvalidInput):
        pools.store.remove("p", [name(1), name(1)])
    with pytest.raises(InvalidInput):
        pools.store.remove("p", [])
    assert agree(pools) == before


def test_undo_brings_a_slot_back_with_mask_and_label_at_its_old_place(pools: Pools) -> None:
    pools.pool(4)
    before = pools.store.set_mask("p", name(2), mask(9))
    pools.store.remove("p", [name(2)])
    after = pools.other.restore("p", [name(2)])
    assert after.slots == before.slots
    assert pools.store.image("p", name(2)) == png(2)
    assert pools.store.mask("p", name(2)) == mask(9)
    assert agree(pools) == after


@pytest.mark.parametrize("order", [[2, 3, 4], [4, 3, 2], [3, 2, 4], [4, 2, 3]])
def test_undo_finds_the_old_places_in_any_order(pools: Pools, order: list[int]) -> None:
    pools.pool(5)
    pools.store.remove("p", [name(3), name(4)])
    pools.store.remove("p", [name(2)])
    for number in order:
        pools.store.restore("p", [name(number)])
    assert numbers(agree(pools)) == [1, 2, 3, 4, 5]


def test_undo_finds_the_old_place_after_other_edits(pools: Pools) -> None:
    pools.pool(3)
    pools.store.remove("p", [name(1)])
    pools.store.move("p", [name(3)], before=name(2))
    pools.store.add("p", [(png(9), "")])
    assert numbers(pools.store.restore("p", [name(1)])) == [1, 3, 2, 4]
    pools.store.remove("p", [name(2)])
    pools.store.remove("p", [name(3)])
    assert numbers(pools.store.restore("p", [name(2), name(3)])) == [1, 3, 2, 4]


def test_undo_in_an_emptied_pool_makes_a_slot_active(pools: Pools) -> None:
    pools.pool(2)
    pools.store.remove("p", [name(1), name(2)])
    manifest = pools.store.restore("p", [name(2)])
    assert (numbers(manifest), manifest.active) == ([2], name(2))
    assert agree(pools) == manifest


def test_what_is_not_in_the_trash_can_not_be_restored(pools: Pools) -> None:
    pools.pool(2)
    for number in (1, 9):
        with pytest.raises(SlotNotFound):
            pools.store.restore("p", [name(number)])
    pools.store.remove("p", [name(1)])
    before = pools.store.get("p")
    with pytest.raises(SlotNotFound):
        pools.store.restore("p", [name(1), name(2)])
    assert agree(pools) == before
    pools.store.restore("p", [name(1)])
    with pytest.raises(SlotNotFound):
        pools.store.restore("p", [name(1)])


def test_a_restored_slot_can_be_removed_and_restored_again(pools: Pools) -> None:
    before = pools.pool(3)
    for _ in range(3):
        pools.store.remove("p", [name(2)])
        assert pools.other.restore("p", [name(2)]).slots == before.slots
    pools.store.label("p", name(2), "new")
    pools.store.remove("p", [name(2)])
    assert pools.store.restore("p", [name(2)]).slot(name(2)).label == "new"


def test_a_restore_beyond_the_limit_is_refused(pools: Pools) -> None:
    pools.pool(50)
    pools.store.remove("p", [name(1)])
    before = pools.store.add("p", [(png(1), "")])
    with pytest.raises(TooLarge):
        pools.store.restore("p", [name(1)])
    assert agree(pools) == before


# -- order --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moved", "before", "then"),
    [
        ([1], None, [2, 3, 4, 5, 1]),
        ([5], 1, [5, 1, 2, 3, 4]),
        ([4, 2], 3, [1, 4, 2, 3, 5]),
        ([2, 3], 2, [1, 2, 3, 4, 5]),
        ([3, 2], 2, [1, 3, 2, 4, 5]),
        ([4, 5], 5, [1, 2, 3, 4, 5]),
        ([5, 1], 1, [5, 1, 2, 3, 4]),
        ([1, 2, 3, 4, 5], None, [1, 2, 3, 4, 5]),
        ([5, 4, 3, 2, 1], 3, [5, 4, 3, 2, 1]),
    ],
)
def test_slots_move_before_a_slot_or_to_the_end(
    pools: Pools, moved: list[int], before: int | None, then: list[int]
) -> None:
    pools.pool(5)
    target = name(before) if before else None
    manifest = pools.store.move("p", [name(number) for number in moved], target)
    assert (numbers(manifest), manifest.active, manifest.rev) == (then, name(1), 2)
    assert agree(pools) == manifest


def test_a_move_of_or_to_an_unknown_slot_is_refused(pools: Pools) -> None:
    before = pools.pool(3)
    with pytest.raises(SlotNotFound):
        pools.store.move("p", [name(1), name(8)], None)
    with pytest.raises(SlotNotFound):
        pools.store.move("p", [name(1)], name(8))
    with pytest.raises(InvalidInput):
        pools.store.move("p", [name(1), name(1)], None)
    assert agree(pools) == before


def test_the_whole_order_is_set_at_once(pools: Pools) -> None:
    manifest = pools.pool(4)
    order = [name(number) for number in (3, 1, 4, 2)]
    manifest = pools.store.reorder("p", order, rev=manifest.rev)
    assert numbers(manifest) == [3, 1, 4, 2]
    assert agree(pools) == manifest
    assert numbers(pools.other.reorder("p", order[::-1])) == [2, 4, 1, 3]
    assert numbers(pools.store.move("p", [name(3)], name(4))) == [2, 3, 4, 1]


def test_an_order_made_on_an_older_manifest_is_refused(pools: Pools) -> None:
    old = pools.pool(3)
    before = pools.other.label("p", name(1), "changed")
    with pytest.raises(Conflict):
        pools.store.reorder("p", [name(3), name(2), name(1)], rev=old.rev)
    assert agree(pools) == before


@pytest.mark.parametrize("order", [[1, 2], [1, 2, 3, 4], [1, 2, 2], [1, 2, 9], [1, 1, 2, 3]])
def test_an_order_of_other_slots_is_refused(pools: Pools, order: list[int]) -> None:
    before = pools.pool(3)
    with pytest.raises(Conflict):
        pools.store.reorder("p", [name(number) for number in order])
    assert agree(pools) == before


# -- active, label, mask, name -------------------------------------------------------------


def test_a_slot_is_activated(pools: Pools) -> None:
    pools.pool(3)
    assert pools.store.activate("p", name(3)).active == name(3)
    assert agree(pools).active == name(3)
    assert pools.other.infos()[0].active == name(3)
    with pytest.raises(SlotNotFound):
        pools.store.activate("p", name(4))


def test_a_label_is_set_and_cleaned(pools: Pools) -> None:
    pools.pool(2)
    text = 'ñ 猫 "\\/ <b>\u202e\x07 {"a": 1}\n2'
    manifest = pools.store.label("p", name(2), text)
    assert manifest.slot(name(2)).label == 'ñ 猫 "\\/ <b> {"a": 1}\n2'
    assert agree(pools) == manifest
    with pytest.raises(TooLarge):
        pools.store.label("p", name(2), "x" * 201)
    with pytest.raises(InvalidInput):
        pools.store.label("p", name(2), "\ud800")
    with pytest.raises(SlotNotFound):
        pools.store.label("p", name(9), "x")
    assert agree(pools) == manifest
    assert pools.store.label("p", name(2), "").slot(name(2)).label == ""


def test_a_mask_is_set_replaced_and_cleared(pools: Pools) -> None:
    pools.pool(2)
    first = pools.store.set_mask("p", name(1), mask(1))
    assert first.slot(name(1)).mask == "img_0001.mask.png"
    assert pools.other.mask("p", name(1)) == mask(1)
    second = pools.other.set_mask("p", name(1), mask(2))
    assert second.slot(name(1)).mask_digest != first.slot(name(1)).mask_digest
    assert pools.store.mask("p", name(1)) == mask(2)
    assert agree(pools) == second
    cleared = pools.store.set_mask("p", name(1), None)
    assert (cleared.slot(name(1)).mask, cleared.slot(name(1)).mask_digest) == ("", "")
    assert pools.other.mask("p", name(1)) is None
    assert agree(pools) == cleared
    with pytest.raises(SlotNotFound):
        pools.store.set_mask("p", name(9), mask())


def test_a_pool_is_renamed_and_keeps_its_id(pools: Pools) -> None:
    pools.pool(1)
    assert pools.store.rename("p", "Katzen 猫").name == "Katzen 猫"
    assert agree(pools).name == "Katzen 猫"
    assert [(info.pool_id, info.name, info.count) for info in pools.other.infos()] == [("p", "Katzen 猫", 1)]


def test_every_edit_is_one_revision(pools: Pools) -> None:
    edits: list[Callable[[Any], Manifest]] = [
        lambda store: store.add("p", [(png(1), ""), (png(2), "")]),
        lambda store: store.label("p", name(1), "a"),
        lambda store: store.set_mask("p", name(1), mask()),
        lambda store: store.activate("p", name(2)),
        lambda store: store.move("p", [name(1)], None),
        lambda store: store.reorder("p", [name(1), name(2)]),
        lambda store: store.remove("p", [name(1)]),
        lambda store: store.restore("p", [name(1)]),
        lambda store: store.rename("p", "x"),
    ]
    assert [edit(pools.store).rev for edit in edits] == list(range(1, 10))
    assert agree(pools).rev == 9


# -- pools --------------------------------------------------------------------------------


def test_pools_are_listed_by_name(pools: Pools) -> None:
    assert pools.store.infos() == []
    for pool_id in ("c", "a", "b"):
        pools.pool(2, pool_id)
    pools.store.rename("a", "zebra")
    assert [(info.pool_id, info.count) for info in pools.other.infos()] == [("b", 2), ("c", 2), ("a", 2)]


def test_a_duplicate_is_a_pool_of_its_own(pools: Pools) -> None:
    pools.pool(3)
    pools.store.set_mask("p", name(2), mask(5))
    pools.store.activate("p", name(2))
    source = pools.store.remove("p", [name(1)])
    copy = pools.store.duplicate("p", "q", "Copy")
    assert (copy.pool_id, copy.name, copy.rev, len(copy.slots)) == ("q", "Copy", 1, 2)
    assert [(slot.label, slot.digest, slot.mask_digest) for slot in copy.slots] == [
        (slot.label, slot.digest, slot.mask_digest) for slot in source.slots
    ]
    assert files(copy).index(copy.active) == files(source).index(source.active)
    assert agree(pools, "q") == copy
    pools.store.label("q", files(copy)[0], "only here")
    pools.store.delete("q")
    assert agree(pools) == source


def test_a_duplicate_or_import_over_an_existing_pool_is_refused(pools: Pools) -> None:
    pools.pool(1)
    other = pools.pool(2, "q")
    archive = exported(pools.store, "p")
    with pytest.raises(Conflict):
        pools.store.duplicate("p", "q")
    with pytest.raises(Conflict):
        pools.store.import_zip(archive, "q")
    assert agree(pools, "q") == other


def test_a_deleted_pool_is_gone_and_can_be_made_again(pools: Pools) -> None:
    pools.pool(2)
    pools.store.set_mask("p", name(1), mask())
    pools.store.delete("p")
    assert pools.other.infos() == []
    for store in (pools.store, pools.other):
        with pytest.raises(PoolNotFound):
            store.get("p")
        with pytest.raises(PoolNotFound):
            store.image("p", name(1))
        with pytest.raises(PoolNotFound):
            store.delete("p")
    manifest = pools.store.add("p", [(png(9), "")])
    assert len(manifest.slots) == 1
    assert agree(pools) == manifest
    assert pools.other.mask("p", files(manifest)[0]) is None


def test_a_pool_that_is_made_again_at_once_has_nothing_of_the_deleted_one(pools: Pools) -> None:
    for round in range(3):
        pools.pool(3)
        pools.other.get("p")
        pools.store.delete("p")
        manifest = pools.other.add("p", [(png(100 + round), "new")])
        assert [slot.label for slot in manifest.slots] == ["new"]
        assert agree(pools) == manifest
        pools.other.delete("p")


def exported(store: Any, pool_id: str) -> io.BytesIO:
    archive = io.BytesIO()
    store.export_zip(pool_id, archive)
    archive.seek(0)
    return archive


def test_a_pool_goes_through_a_zip_and_comes_back_the_same(pools: Pools) -> None:
    pools.pool(4)
    pools.store.set_mask("p", name(2), mask(5))
    pools.store.move("p", [name(4)], name(1))
    pools.store.remove("p", [name(3)])
    pools.store.rename("p", "Name")
    source = pools.store.activate("p", name(2))
    copy = pools.other.import_zip(exported(pools.store, "p"), "q")
    assert (copy.name, copy.rev, copy.next_seq) == ("Name", 1, source.next_seq)
    assert (copy.slots, copy.active) == (source.slots, source.active)
    assert agree(pools, "q") == copy
    assert pools.store.image("q", name(4)) == png(4)
    assert pools.store.mask("q", name(2)) == mask(5)
    assert pools.store.import_zip(exported(pools.store, "q"), "r", "Other").name == "Other"


def test_rebuilding_a_sound_pool_changes_nothing_but_the_revision(pools: Pools) -> None:
    pools.pool(4)
    pools.store.set_mask("p", name(2), mask(5))
    pools.store.activate("p", name(3))
    pools.store.remove("p", [name(1)])
    before = pools.store.move("p", [name(4)], name(2))
    after = pools.store.rebuild("p")
    assert (after.slots, after.active, after.next_seq) == (before.slots, before.active, before.next_seq)
    assert after.rev == before.rev + 1
    assert agree(pools) == after
    assert numbers(pools.store.restore("p", [name(1)])) == [1, 4, 2, 3]


# -- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize("pool_id", BAD_IDS)
def test_a_bad_id_is_refused_everywhere(pools: Pools, pool_id: str) -> None:
    pools.pool(1)
    calls: list[Callable[[], Any]] = [
        lambda: pools.store.get(pool_id),
        lambda: pools.store.image(pool_id, name(1)),
        lambda: pools.store.mask(pool_id, name(1)),
        lambda: pools.store.add(pool_id, [(png(), "")]),
        lambda: pools.store.remove(pool_id, [name(1)]),
        lambda: pools.store.rename(pool_id, "x"),
        lambda: pools.store.duplicate("p", pool_id),
        lambda: pools.store.duplicate(pool_id, "q"),
        lambda: pools.store.delete(pool_id),
        lambda: pools.store.rebuild(pool_id),
        lambda: pools.store.export_zip(pool_id, io.BytesIO()),
        lambda: pools.store.import_zip(io.BytesIO(b""), pool_id),
    ]
    for call in calls:
        with pytest.raises(InvalidName):
            call()
    assert [info.pool_id for info in pools.other.infos()] == ["p"]


@pytest.mark.parametrize(
    "file", ["", "../img_0001.png", "img_0001.mask.png", "img_1.png", "manifest.json", "x", "img_0001.png\n"]
)
def test_a_bad_slot_name_is_refused_everywhere(pools: Pools, file: str) -> None:
    before = pools.pool(1)
    calls: list[Callable[[], Any]] = [
        lambda: pools.store.image("p", file),
        lambda: pools.store.mask("p", file),
        lambda: pools.store.add("p", [(png(), "")], before=file),
        lambda: pools.store.remove("p", [file]),
        lambda: pools.store.restore("p", [file]),
        lambda: pools.store.move("p", [file], None),
        lambda: pools.store.move("p", [name(1)], file),
        lambda: pools.store.reorder("p", [file]),
        lambda: pools.store.activate("p", file),
        lambda: pools.store.label("p", file, "x"),
        lambda: pools.store.set_mask("p", file, mask()),
    ]
    for call in calls:
        with pytest.raises(InvalidName):
            call()
    assert agree(pools) == before


def test_an_unknown_pool_is_not_found_and_not_made(pools: Pools) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: pools.store.get("p"),
        lambda: pools.store.image("p", name(1)),
        lambda: pools.store.mask("p", name(1)),
        lambda: pools.store.remove("p", [name(1)]),
        lambda: pools.store.restore("p", [name(1)]),
        lambda: pools.store.move("p", [name(1)], None),
        lambda: pools.store.reorder("p", []),
        lambda: pools.store.activate("p", name(1)),
        lambda: pools.store.label("p", name(1), ""),
        lambda: pools.store.set_mask("p", name(1), None),
        lambda: pools.store.rename("p", "x"),
        lambda: pools.store.duplicate("p", "q"),
        lambda: pools.store.delete("p"),
        lambda: pools.store.rebuild("p"),
        lambda: pools.store.export_zip("p", io.BytesIO()),
    ]
    for call in calls:
        with pytest.raises(PoolNotFound):
            call()
    assert pools.other.infos() == []


# -- many at once -------------------------------------------------------------------------


def test_of_edits_from_many_threads_none_is_lost(pools: Pools) -> None:
    pools.pool(8)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        store = pools.store if number % 2 else pools.other
        try:
            for round in range(5):
                store.add("p", [(png(number), f"{number}-{round}")])
                store.label("p", name(number), f"round {round}")
                store.set_mask("p", name(number), mask(round + 1))
                store.move("p", [name(number)], None)
                assert store.image("p", name(number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    manifest = agree(pools)
    assert manifest.rev == 1 + 8 * 5 * 4
    assert len(manifest.slots) == 8 + 40
    assert {slot.label for slot in manifest.slots} == {"round 4"} | {f"{n}-{r}" for n in range(1, 9) for r in range(5)}
    for number in range(1, 9):
        assert pools.store.mask("p", name(number)) == mask(5)


def test_a_reader_never_sees_a_slot_without_its_files(pools: Pools) -> None:
    pools.pool(5)
    stop = threading.Event()
    failures: list[BaseException] = []
    looks = 0

    def read() -> None:
        nonlocal looks
        try:
            while not stop.is_set():
                manifest = pools.other.get("p")
                for slot in manifest.slots:
                    try:
                        image = pools.other.image("p", slot.file)
                        pools.other.mask("p", slot.file)
                    except SlotNotFound:
                        assert pools.other.get("p").rev > manifest.rev
                        continue
                    assert read_image(image, SETTINGS).width == 4
                looks += 1
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for round in range(15):
        pools.store.remove("p", [name(2), name(3)])
        pools.store.add("p", [(png(round), "")])
        pools.store.restore("p", [name(3), name(2)])
        pools.store.set_mask("p", name(2), mask(round) if round % 3 else None)
    stop.set()
    reader.join()
    assert not failures
    assert looks > 0
