"""Pools on the disk: other writers, lost manifests, full disks, links that lead out, and what the trash keeps."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gates.errors import GatebusError, InvalidName, PoolNotFound, SlotNotFound, StoreUnavailable
from gates.events import LocalEvents
from gates.filelock import locked, write_atomically
from gates.png import encode_png
from gates.pool import trash
from gates.pool.disk import DiskPools
from gates.pool.manifest import Manifest
from gates.settings import Settings


def png(value: int) -> bytes:
    return encode_png(np.full((3, 4, 3), value % 256, np.uint8))


def mask(value: int) -> bytes:
    return encode_png(np.full((3, 4, 1), value, np.uint8))


def name(number: int) -> str:
    return f"img_{number:04d}.png"


@pytest.fixture
def pools(tmp_path: Path) -> DiskPools:
    return DiskPools(tmp_path / "grid_pool", Settings())


def fill(pools: DiskPools, count: int = 3) -> Manifest:
    pools.add("p", [(png(number), f"label {number}") for number in range(1, count + 1)])
    return pools.set_mask("p", name(1), mask(1))


def tree(folder: Path) -> dict[str, bytes]:
    files = {path for path in folder.rglob("*") if path.is_file() and ".locks" not in path.parts}
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}


# -- the kept layout -------------------------------------------------------------------------


def foreign(pools: DiskPools, **fields: Any) -> Path:
    """A pool as the packs that share the layout write it."""
    folder = pools.folder / "0b7c9a1e-5d2f-4a57"
    folder.mkdir(parents=True)
    for number in (1, 2, 4):
        (folder / name(number)).write_bytes(png(number))
    (folder / "img_0002.mask.png").write_bytes(mask(2))
    slots = [
        {"image": name(4), "mask": None, "label": "", "added": 1718960004},
        {"image": name(1), "mask": None, "label": "first", "added": 1718960001},
        {"image": name(2), "mask": "img_0002.mask.png", "label": "second", "added": 1718960002},
    ]
    document = {"active": 2, "slots": slots, "next_seq": 5, **fields}
    (folder / "manifest.json").write_text(json.dumps(document, indent=2))
    return folder


def test_a_pool_of_another_writer_loads_unchanged(pools: DiskPools) -> None:
    folder = foreign(pools)
    manifest = pools.get(folder.name)
    assert manifest.files == (name(4), name(1), name(2))
    assert [slot.label for slot in manifest.slots] == ["", "first", "second"]
    assert [slot.mask for slot in manifest.slots] == ["", "", "img_0002.mask.png"]
    assert (manifest.active, manifest.next_seq) == (name(2), 5)
    assert all(len(slot.digest) == 64 for slot in manifest.slots)
    assert pools.image(folder.name, name(4)) == png(4)
    assert pools.mask(folder.name, name(2)) == mask(2)
    assert pools.add(folder.name, [(png(9), "")]).files[-1] == name(5)


def test_another_writer_reads_what_is_written(pools: DiskPools) -> None:
    folder = foreign(pools)
    pools.move(folder.name, [name(2)], None)
    pools.label(folder.name, name(1), "relabelled")
    document = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    slots = document["slots"]
    assert slots[document["active"]]["image"] == name(2)
    assert [(slot["image"], slot["mask"], slot["label"]) for slot in slots] == [
        (name(4), None, ""),
        (name(1), None, "relabelled"),
        (name(2), "img_0002.mask.png", "second"),
    ]
    assert document["next_seq"] == 5
    assert all((folder / slot["image"]).is_file() for slot in slots)


def test_what_another_writer_does_meanwhile_is_seen(pools: DiskPools) -> None:
    folder = foreign(pools)
    pools.get(folder.name)
    document = json.loads((folder / "manifest.json").read_text())
    (folder / name(5)).write_bytes(png(5))
    document["slots"].append({"image": name(5), "mask": None, "label": "theirs", "added": 1718960009})
    document["next_seq"] = 6
    (folder / "their.tmp").write_text(json.dumps(document))
    os.replace(folder / "their.tmp", folder / "manifest.json")
    manifest = pools.get(folder.name)
    assert manifest.slots[-1].label == "theirs"
    assert pools.label(folder.name, name(5), "ours").slots[-1].label == "ours"


# -- lost manifests --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "cut", "binary", "another document", "both missing", "both damaged"]
)
@pytest.mark.parametrize("first", ["get", "edit"])
def test_a_lost_manifest_is_rebuilt_from_the_files(pools: DiskPools, damage: str, first: str) -> None:
    fill(pools)
    pools.activate("p", name(2))
    pools.remove("p", [name(3)])
    before = pools.label("p", name(2), "last")
    path = pools.folder / "p" / "manifest.json"
    data = path.read_bytes()
    damaged = {"empty": b"", "cut": data[:-40], "binary": bytes(range(256)), "another document": b'{"a": 1}'}
    if damage in damaged:
        path.write_bytes(damaged[damage])
    else:
        path.unlink()
    if damage.startswith("both"):
        backup = path.with_name("manifest.json.bak")
        backup.unlink()
        if damage == "both damaged":
            backup.write_bytes(b"{")
    after = pools.get("p") if first == "get" else pools.activate("p", name(1))
    assert after.files == (name(1), name(2))
    assert pools.mask("p", name(1)) == mask(1)
    assert after.rev != before.rev
    if not damage.startswith("both"):
        # The backup is the manifest before the last edit.
        assert [slot.label for slot in after.slots] == ["label 1", "label 2"]
        assert after.next_seq == 4
        if first == "get":
            assert after.active == name(2)
    # Nothing that the trash holds is given out again.
    assert pools.add("p", [(png(9), "")]).files[-1] == name(4)
    assert pools.restore("p", [name(3)]).slot(name(3)).label == "label 3"


def test_many_readers_and_writers_meet_a_lost_manifest_and_agree(pools: DiskPools) -> None:
    fill(pools, 20)
    (pools.folder / "p" / "manifest.json").write_bytes(b"")
    seen: list[Manifest] = []
    threads = [
        threading.Thread(target=lambda: seen.append(DiskPools(pools.folder, pools.settings).get("p"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert all(manifest == seen[0] for manifest in seen)
    assert len(seen[0].slots) == 20


def test_a_slot_whose_image_was_deleted_by_hand_is_reported_and_goes_with_a_rebuild(pools: DiskPools) -> None:
    fill(pools)
    (pools.folder / "p" / name(2)).unlink()
    with pytest.raises(SlotNotFound):
        pools.image("p", name(2))
    (pools.folder / "p" / name(7)).write_bytes(png(7))
    manifest = pools.rebuild("p")
    assert manifest.files == (name(1), name(3), name(7))
    assert [slot.label for slot in manifest.slots] == ["label 1", "label 3", ""]
    assert manifest.next_seq == 8


def test_a_folder_without_images_and_manifest_is_no_pool(pools: DiskPools) -> None:
    (pools.folder / "empty").mkdir(parents=True)
    (pools.folder / "text").mkdir()
    (pools.folder / "text" / "notes.txt").write_text("x")
    (pools.folder / "file").write_text("x")
    assert pools.infos() == []
    before = tree(pools.folder)
    for pool_id in ("empty", "text", "file"):
        with pytest.raises(PoolNotFound):
            pools.get(pool_id)
        with pytest.raises(PoolNotFound):
            pools.label(pool_id, name(1), "x")
    assert tree(pools.folder) == before
    assert pools.add("empty", [(png(1), "")]).files == (name(1),)


def test_one_broken_pool_does_not_hide_the_others(pools: DiskPools, tmp_path: Path) -> None:
    fill(pools)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / name(1)).write_bytes(png(1))
    (pools.folder / "linked").symlink_to(outside)
    assert [info.pool_id for info in pools.infos()] == ["p"]


# -- links that lead out ----------------------------------------------------------------------


def test_a_pool_or_file_that_leads_out_of_the_folder_is_not_read(pools: DiskPools, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / name(1)).write_bytes(png(66))
    (secret / "manifest.json").write_text(json.dumps({"active": 0, "slots": [{"image": name(1)}]}))
    fill(pools)
    (pools.folder / "linked").symlink_to(secret)
    with pytest.raises(InvalidName):
        pools.get("linked")
    with pytest.raises(InvalidName):
        pools.label("linked", name(1), "x")
    (pools.folder / "p" / name(2)).unlink()
    (pools.folder / "p" / name(2)).symlink_to(secret / name(1))
    with pytest.raises(GatebusError):
        pools.image("p", name(2))
    assert pools.rebuild("p").files == (name(1), name(3))
    assert tree(secret) == {name(1): png(66), "manifest.json": (secret / "manifest.json").read_bytes()}


# -- a full disk ------------------------------------------------------------------------------


EDITS = {
    "add": lambda pools: pools.add("p", [(png(8), "x"), (png(9), "y")]),
    "a first add": lambda pools: pools.add("new", [(png(8), "x"), (png(9), "y")]),
    "remove": lambda pools: pools.remove("p", [name(1)]),
    "restore": lambda pools: pools.restore("p", [name(4)]),
    "label": lambda pools: pools.label("p", name(1), "x"),
    "set_mask": lambda pools: pools.set_mask("p", name(1), mask(200)),
    "a first mask": lambda pools: pools.set_mask("p", name(2), mask(200)),
    "clear": lambda pools: pools.set_mask("p", name(1), None),
    "duplicate": lambda pools: pools.duplicate("p", "q"),
    "rebuild": lambda pools: pools.rebuild("p"),
}


@pytest.mark.parametrize("edit", list(EDITS))
def test_an_edit_that_the_disk_can_not_take_changes_nothing(
    pools: DiskPools, monkeypatch: pytest.MonkeyPatch, edit: str
) -> None:
    """The disk becomes full at the first, second, third ... sync, until the edit succeeds."""
    fill(pools, 4)
    before = pools.remove("p", [name(4)])
    real = os.fsync
    messages: list[str] = []
    for allowed in range(20):
        left = allowed

        def full(descriptor: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(28, "No space left on device")
            real(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        try:
            EDITS[edit](pools)
        except StoreUnavailable as error:
            messages.append(str(error))
        else:
            monkeypatch.undo()
            break
        finally:
            monkeypatch.setattr(os, "fsync", real)
        fresh = DiskPools(pools.folder, pools.settings)
        manifest = fresh.get("p")
        assert manifest == before
        for slot in manifest.slots:
            assert fresh.image("p", slot.file) == png(
                int(slot.file[4:-4]) if slot.label.startswith("label") else 0
            ) or (slot.label in "xy")
            assert bool(slot.mask) == (fresh.mask("p", slot.file) is not None)
        assert not list(pools.folder.glob("**/.*.tmp"))
    assert messages
    assert all("No space left" in message for message in messages)


def test_an_atomic_write_leaves_the_old_content_and_no_litter_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    for step in ("fsync", "replace"):

        def fails(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, step, fails)
        with pytest.raises(StoreUnavailable):
            write_atomically(path, b"new")
        monkeypatch.undo()
        assert tree(tmp_path) == {"file": b"old"}
    with pytest.raises(StoreUnavailable):
        write_atomically(tmp_path / "no" / "folder", b"x")
    write_atomically(path, memoryview(b"new"))
    assert tree(tmp_path) == {"file": b"new"}


def test_a_lock_that_is_held_too_long_is_an_error_and_not_a_deadlock(pools: DiskPools) -> None:
    fill(pools)
    with (
        locked(pools.folder / ".locks" / "p.lock"),
        pytest.raises(StoreUnavailable),
        locked(pools.folder / ".locks" / "p.lock", timeout=0.05),
    ):
        raise AssertionError("held twice")
    with locked(pools.folder / ".locks" / "p.lock"):
        assert pools.image("p", name(1)) == png(1)  # a reader takes no lock
        assert pools.get("p").files


# -- trash, litter, events ---------------------------------------------------------------------


def test_the_trash_forgets_what_is_old_or_too_much_but_not_what_was_just_removed(
    pools: DiskPools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trash, "ENTRIES", 3)
    fill(pools, 10)
    pools.remove("p", [name(number) for number in range(1, 8)])
    assert len(pools.open("p").trash()) == 7
    path = pools.folder / "p" / "trash" / "trash.json"

    def age(days: dict[int, float]) -> None:
        entries = json.loads(path.read_bytes())
        for entry in entries:
            entry["at"] -= int(days.get(int(entry["file"][4:-4]), 0) * trash.DAY)
        path.write_text(json.dumps(entries))

    age({1: 31, 2: 29, 3: 5, 4: 4, 5: 3})
    pools.remove("p", [name(8)])
    # 1 is too old; of those older than a day no more than make up the three youngest are kept.
    assert sorted(pools.open("p").trash()) == [name(6), name(7), name(8)]
    assert not (pools.folder / "p" / "trash" / name(1)).exists()
    assert not (pools.folder / "p" / "trash" / "img_0001.mask.png").exists()
    assert pools.restore("p", [name(7)]).slot(name(7)).label == "label 7"
    with pytest.raises(SlotNotFound):
        pools.restore("p", [name(2)])


def test_a_removed_slot_comes_back_also_when_the_trash_s_list_is_lost(pools: DiskPools) -> None:
    fill(pools)
    pools.remove("p", [name(1)])
    (pools.folder / "p" / "trash" / "trash.json").write_bytes(b"[{")
    manifest = pools.restore("p", [name(1)])
    assert manifest.files == (name(1), name(2), name(3))
    assert (pools.image("p", name(1)), pools.mask("p", name(1))) == (png(1), mask(1))


def test_a_slot_whose_image_is_not_in_the_trash_any_more_is_not_restored(pools: DiskPools) -> None:
    fill(pools)
    before = pools.remove("p", [name(1), name(2)])
    (pools.folder / "p" / "trash" / name(2)).unlink()
    with pytest.raises(SlotNotFound):
        pools.restore("p", [name(1), name(2)])
    assert pools.get("p") == before
    assert pools.restore("p", [name(1)]).files == (name(1), name(3))
    assert pools.mask("p", name(1)) == mask(1)


def test_half_made_pools_of_processes_that_died_are_cleaned_up_after_a_day(pools: DiskPools) -> None:
    fill(pools)
    for litter, days in ((".new-0123", 2), (".gone-0123", 2), (".new-4567", 0)):
        (pools.folder / litter).mkdir()
        (pools.folder / litter / name(1)).write_bytes(png(1))
        then = (pools.folder / litter).stat().st_mtime - days * 86_400
        os.utime(pools.folder / litter, (then, then))
    assert [info.pool_id for info in pools.infos()] == ["p"]
    pools.duplicate("p", "q")
    assert sorted(os.listdir(pools.folder)) == [".locks", ".new-4567", "p", "q"]


def test_locks_of_pools_that_are_gone_leave_no_files(pools: DiskPools) -> None:
    fill(pools)
    pools.delete("p")
    with pytest.raises(SlotNotFound):
        pools.add("new", [(png(1), "")], before=name(1))
    assert os.listdir(pools.folder / ".locks") == []


def test_every_edit_is_told(tmp_path: Path) -> None:
    events = LocalEvents()
    pools = DiskPools(tmp_path, Settings(), events)
    cursor = events.cursor()
    fill(pools)
    pools.duplicate("p", "q")
    pools.delete("p")
    told = events.since(cursor)
    assert told is not None
    assert [(event.type, event.id, event.data) for event in told] == [
        ("pool", "p", {"rev": 1}),
        ("pool", "p", {"rev": 2}),
        ("pool", "q", {"rev": 1}),
        ("pool", "p", {"deleted": True}),
    ]
