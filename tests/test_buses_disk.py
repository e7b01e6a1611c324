"""Buses on the disk: the kept layout, files that are damaged, writers that die, disks that are full."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bus_world import flat, noise, rounded
from PIL import Image

from gates.bus.disk import DiskBuses
from gates.errors import BusNotFound, GatebusError, InvalidImage, StoreUnavailable
from gates.pixels import to_pixels
from gates.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "gate_bus"


@pytest.fixture
def buses(root: Path) -> DiskBuses:
    return DiskBuses(root, Settings())


def open_again(root: Path, **settings: Any) -> DiskBuses:
    return DiskBuses(root, Settings(**settings))


def value_of(buses: DiskBuses, version: int | None = None) -> int:
    return int(to_pixels(buses.load("cp1", version).image).max())


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


# -- the layout -----------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["png", "exact"])
def test_the_newest_first_frame_lies_where_people_look(root, buses, format):
    image, mask = noise(3, 20, 30, 3), noise(3, 20, 30, seed=1)
    buses.publish("cp1", *flat(1))
    buses.publish("cp1", image, mask, format=format)
    assert (pixels(root / "cp1" / "image.png") == to_pixels(image[0])).all()
    assert (pixels(root / "cp1" / "mask.png") == to_pixels(mask[0])).all()
    buses.publish("cp1", image, None, format=format)
    assert not (root / "cp1" / "mask.png").exists()
    buses.delete("cp1")
    left = sorted(path.name for path in (root / "cp1").iterdir() if not path.name.startswith(".lock"))
    assert left == ["head.json", "versions"]


def put_by_hand(root: Path, mask: bool = True) -> np.ndarray:
    folder = root / "cp1"
    folder.mkdir(parents=True)
    picture = np.random.default_rng(9).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(picture).save(folder / "image.png")
    if mask:
        Image.fromarray(picture[..., 0]).save(folder / "mask.png")
    return picture


@pytest.mark.parametrize("mask", [True, False])
def test_a_picture_put_there_by_hand_is_version_one_of_one_frame(root, buses, mask):
    picture = put_by_hand(root, mask)
    before = (root / "cp1" / "image.png").read_bytes()
    content = buses.load("cp1")
    assert (content.head.version, content.head.frames, content.head.mask) == (1, 1, mask)
    assert (to_pixels(content.image[0]) == picture).all()
    if mask:
        assert (to_pixels(content.mask[0]) == picture[..., 0]).all()
    assert buses.heads() == [content.head] == buses.versions("cp1")
    assert (root / "cp1" / "image.png").read_bytes() == before, "it may carry a workflow"


def test_a_publish_keeps_the_picture_put_there_by_hand_as_the_version_before(root, buses):
    picture = put_by_hand(root)
    assert buses.publish("cp1", *flat(3)).version == 2
    assert (to_pixels(buses.load("cp1", -1).image[0]) == picture).all()


def test_what_is_no_bus_in_the_folder_is_left_alone(root, buses):
    (root / ".hidden").mkdir(parents=True)
    (root / "bad name").mkdir()
    (root / "file").write_text("x")
    (root / "empty").mkdir()
    broken = root / "broken"
    broken.mkdir()
    (broken / "image.png").write_bytes(b"no picture")
    buses.publish("cp1", *flat(1))
    assert [head.name for head in buses.heads()] == ["cp1"]
    with pytest.raises(InvalidImage):
        buses.load("broken")
    with pytest.raises(BusNotFound):
        buses.load("empty")
    assert list((root / "empty").iterdir()) == []


def test_a_picture_by_hand_that_breaks_the_limits_is_refused(root):
    put_by_hand(root)
    with pytest.raises(GatebusError, match="pixels"):
        open_again(root, max_pixels=500).load("cp1")


# -- damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        None,
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"counter": 3, "kept": [["x", 1]], "dropped": []}',
        b'{"counter": 3, "kept": [[1, 2, 3]], "dropped": []}',
        b'{"counter": "3", "kept": [], "dropped": []}',
    ],
)
def test_a_missing_or_corrupt_head_is_made_anew_of_the_versions(root, buses, damage):
    for value in (1, 2, 3):
        buses.publish("cp1", *flat(value))
    head = root / "cp1" / "head.json"
    if damage is None:
        head.unlink()
    else:
        head.write_bytes(damage)
    again = open_again(root)
    assert [head.version for head in again.versions("cp1")] == [3, 2, 1]
    assert value_of(again) == 3
    assert again.publish("cp1", *flat(4)).version == 4
    assert json.loads(head.read_text())["counter"] == 4


def test_a_corrupt_version_is_told_and_the_others_stay(root, buses):
    for value in (1, 2):
        buses.publish("cp1", *flat(value))
    (root / "cp1" / "versions" / "2" / "version.json").write_text('{"version": 2}')
    with pytest.raises(GatebusError, match="not readable"):
        buses.load("cp1")
    assert value_of(buses, 1) == 1
    assert [head.version for head in buses.versions("cp1")] == [1]
    assert buses.publish("cp1", *flat(3)).version == 3
    (root / "cp1" / "head.json").unlink()
    assert [head.version for head in open_again(root).versions("cp1")] == [3, 1]


@pytest.mark.parametrize("format", ["png", "exact"])
def test_a_damaged_file_is_refused(root, buses, format):
    buses.publish("cp1", noise(1, 300, 300, 3), None, format=format)
    (file,) = (root / "cp1" / "versions" / "1").glob("image*")
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(InvalidImage):
        buses.load("cp1")


def test_a_version_whose_folder_is_gone_is_not_found(root, buses):
    buses.publish("cp1", *flat(1))
    for file in (root / "cp1" / "versions" / "1").iterdir():
        file.unlink()
    with pytest.raises(BusNotFound):
        buses.load("cp1")


# -- faults ---------------------------------------------------------------------------------

ENDLESS = """
import sys
import numpy as np
from pathlib import Path
from gates.bus.disk import DiskBuses
from gates.bus.record import BusMeta
from gates.settings import Settings
buses = DiskBuses(Path(sys.argv[1]), Settings(bus_versions=2, version_grace=1.0))
value = int(sys.argv[2])
while True:
    value = value % 255 + 1
    image = np.full((3, 200, 200, 3), value / 255, np.float32)
    print(buses.publish("cp1", image, image[..., 0], meta=BusMeta(label=str(value))).version, flush=True)
"""


@pytest.mark.slow
def test_writers_that_are_killed_leave_a_whole_version_not_older_than_the_acknowledged(root):
    buses = open_again(root, bus_versions=2, version_grace=1.0)
    rng = np.random.default_rng(0)
    for turn in range(12):
        command = [sys.executable, "-c", ENDLESS, str(root), str(turn * 20)]
        writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(rng.integers(1, 12))]
        time.sleep(rng.random() * 0.02)  # so that the kill meets another place each time
        writer.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in writer.communicate()[0].split() if line.isdigit()]
        content = buses.load("cp1")
        assert content.head.version >= acknowledged[-1]
        value = int(content.head.meta.label)
        assert (to_pixels(content.image) == value).all()
        assert (to_pixels(content.mask) == value).all()
        assert buses.publish("cp1", *flat(7)).version > content.head.version
        assert (pixels(root / "cp1" / "image.png") == 7).all()


def test_what_a_dead_writer_left_behind_is_swept(root, buses):
    buses.publish("cp1", *flat(1))
    versions = root / "cp1" / "versions"
    for name in (".dead.tmp", ".alive.tmp", "9"):
        (versions / name).mkdir()
    os.utime(versions / ".dead.tmp", (1, 1))
    assert buses.publish("cp1", *flat(2)).version == 10, "a number of which there is a folder is not used again"
    assert sorted(path.name for path in versions.iterdir()) == [".alive.tmp", "1", "10"]


@pytest.mark.parametrize("fails", ["fsync", "rename", "replace"])
def test_a_full_disk_keeps_the_old_version_and_leaves_nothing_behind(root, buses, monkeypatch, fails):
    image = noise(2, 40, 40, 3)
    head = buses.publish("cp1", image, None)
    before = sorted(root.rglob("*"))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, fails, full)
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="No space"):
                buses.publish("cp1", *flat(2))
            content = buses.load("cp1")
            assert content.head == head
            assert (content.image == rounded(image)).all()
    assert sorted(path for path in root.rglob("*") if "/2" not in str(path)) == before
    assert buses.publish("cp1", *flat(3)).version > 1
    assert len(list((root / "cp1" / "versions").iterdir())) == 2


def test_a_folder_that_is_a_file_is_unavailable(root):
    root.parent.mkdir(exist_ok=True)
    root.write_text("in the way")
    buses = DiskBuses(root, Settings())
    with pytest.raises(StoreUnavailable):
        buses.publish("cp1", *flat(1))


def test_a_version_on_the_disk_stays_as_it_is_when_image_png_is_painted_over(root, buses):
    buses.publish("cp1", *flat(5))
    with open(root / "cp1" / "image.png", "r+b") as file:
        file.write(b"painted over")
    assert value_of(buses) == 5
