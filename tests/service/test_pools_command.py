"""``gatebus pool``: fill, show, export, import, delete."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from redis_server import RedisServer

from broker.commands.pools import natural
from tests.service.processes import ROOT, Gatebus, Studio, image_file, refused


def labels(studio: Studio, pool_id: str = "faces") -> list[str]:
    return [slot.label for slot in studio.store.pools.get(pool_id).slots]


def test_images_are_added_in_the_order_in_which_people_count(studio: Studio, gatebus: Gatebus, tmp_path: Path) -> None:
    for name in ("img10.png", "img9.jpg", "Img2.webp", "a.png"):
        image_file(tmp_path / name, mode="RGB", colour=(1, 2, 3))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    (tmp_path / "sub").mkdir()
    image_file(tmp_path / "sub" / "below.png")
    answer = gatebus("pool", "add", "faces", str(tmp_path))
    assert (answer.code, answer.out, answer.err) == (0, "faces: 4 added, 4 images now\n", "")
    assert labels(studio) == ["a", "Img2", "img9", "img10"]
    assert gatebus("pool", "add", "faces", str(tmp_path / "sub"), "--label", "given").code == 0
    assert labels(studio)[4:] == ["given"]
    assert gatebus("pool", "add", "deep", str(tmp_path), "--recursive").code == 0
    assert "below" in labels(studio, "deep")


def test_the_natural_order() -> None:
    names = ["img2", "IMG10", "img1", "1", "10", "9", "a-1", "ä2", "ä10", "img"]
    assert sorted(names, key=natural) == ["1", "9", "10", "a-1", "img", "img1", "img2", "IMG10", "ä2", "ä10"]


def test_a_file_that_is_no_image_does_not_hold_up_the_others(studio: Studio, gatebus: Gatebus, tmp_path: Path) -> None:
    good = [str(image_file(tmp_path / f"{number}.png")) for number in (1, 3)]
    bad = tmp_path / "2.png"
    bad.write_bytes(Path(good[0]).read_bytes()[:-20])
    answer = gatebus("pool", "add", "faces", str(tmp_path))
    assert answer.code == 2
    assert answer.out == "faces: 2 added, 2 images now\n"
    assert f"{bad}: " in answer.err
    assert "1 of 3 files were not added" in answer.err
    assert labels(studio) == ["1", "3"]
    told = json.loads(gatebus("pool", "add", "more", str(tmp_path), "--json").out)
    assert told["pool_id"] == "more"
    assert told["count"] == 2
    assert told["added"] == [
        {"path": good[0], "file": "img_0001.png"},
        {"path": good[1], "file": "img_0002.png"},
    ]
    assert [each["path"] for each in told["refused"]] == [str(bad)]


def test_nothing_to_add_and_what_is_not_there_is_refused(studio: Studio, gatebus: Gatebus, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(gatebus("pool", "add", "faces", str(tmp_path / "empty")), 2)
    refused(gatebus("pool", "add", "faces", str(tmp_path / "nothing.png")), 2)
    refused(gatebus("pool", "add", "a/b", str(image_file(tmp_path / "i.png"))), 2)
    answer = gatebus("pool", "add", "faces", str(image_file(tmp_path / "i.png")), str(tmp_path / "../" / "gone.png"))
    refused(answer, 2)
    assert studio.store.pools.infos() == []


def test_a_pool_is_shown(studio: Studio, gatebus: Gatebus, tmp_path: Path) -> None:
    for name in ("one", "two"):
        gatebus("pool", "add", "faces", str(image_file(tmp_path / f"{name}.png")))
    head, *rows = gatebus("pool", "show", "faces").out.splitlines()
    assert head == "faces: 2 images"
    assert re.search(r"^0 \* +img_0001.png +no +.*one$", rows[1])
    assert re.search(r"^1 +img_0002.png +no +.*two$", rows[2])
    shown = json.loads(gatebus("pool", "show", "faces", "--json").out)
    assert shown == json.loads(json.dumps(studio.store.pools.get("faces").to_json()))
    refused(gatebus("pool", "show", "nobody"), 3)


def test_a_pool_travels_as_a_zip(studio: Studio, gatebus: Gatebus, tmp_path: Path) -> None:
    for number in range(3):
        gatebus("pool", "add", "faces", str(image_file(tmp_path / f"{number}.png", mode="RGB", colour=(number, 0, 0))))
    studio.store.pools.rename("faces", "Gesichter")
    target = tmp_path / "out" / "faces.zip"
    assert "no folder" in refused(gatebus("pool", "export", "faces", str(target)), 2)
    target.parent.mkdir()
    told = json.loads(gatebus("pool", "export", "faces", str(target), "--json").out)
    assert told == {"pool_id": "faces", "file": str(target), "bytes": target.stat().st_size, "count": 3}
    assert os.listdir(target.parent) == ["faces.zip"]
    refused(gatebus("pool", "export", "nobody", str(tmp_path / "nobody.zip")), 3)

    refused(gatebus("pool", "import", str(target)), 4)
    assert gatebus("pool", "import", str(target), "--id", "copy").out == "copy: 3 images\n"
    copy = studio.store.pools.get("copy")
    assert (copy.name, labels(studio, "copy")) == ("Gesichter", ["0", "1", "2"])
    imported = json.loads(gatebus("pool", "import", str(target), "--id", "named", "--name", "N", "--json").out)
    assert imported == json.loads(json.dumps(studio.store.pools.get("named").to_json()))
    assert imported["name"] == "N"


def test_an_export_that_fails_leaves_the_old_file(studio: Studio, gatebus: Gatebus, tmp_path: Path) -> None:
    gatebus("pool", "add", "faces", str(image_file(tmp_path / "i.png")))
    target = tmp_path / "out" / "faces.zip"
    target.parent.mkdir()
    target.write_text("as it was")
    studio.store.pools.delete("faces")
    refused(gatebus("pool", "export", "faces", str(target)), 3)
    assert target.read_text() == "as it was"
    assert os.listdir(target.parent) == ["faces.zip"]


def test_a_zip_that_is_refused_makes_no_pool(studio: Studio, gatebus: Gatebus, tmp_path: Path) -> None:
    broken, evil = tmp_path / "broken.zip", tmp_path / "evil.zip"
    broken.write_text("no zip")
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("../out.png", b"x")
    for file in (broken, evil):
        refused(gatebus("pool", "import", str(file)), 2)
    refused(gatebus("pool", "import", str(broken), "--id", "a/b"), 2)
    assert studio.store.pools.infos() == []


def test_a_pool_is_deleted_only_after_a_yes(
    studio: Studio, gatebus: Gatebus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gatebus("pool", "add", "faces", str(image_file(tmp_path / "i.png")))
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    answer = gatebus("pool", "rm", "faces")
    assert answer.code == 1
    assert "1 image)" in answer.err
    assert labels(studio) == ["i"]
    assert json.loads(gatebus("pool", "rm", "faces", "--yes", "--json").out) == {"deleted": "faces"}
    refused(gatebus("pool", "rm", "faces", "--yes"), 3)


def test_a_bar_is_drawn_for_a_person_and_on_stderr_alone(
    redis_server: RedisServer, own_home: Path, tmp_path: Path
) -> None:
    files = [str(image_file(tmp_path / f"{number}.png")) for number in range(5)]
    call = [sys.executable, "-m", "broker", "--url", redis_server.url, "pool"]
    master, slave = pty.openpty()
    try:
        for arguments in (
            ["add", "faces", *files],
            ["export", "faces", str(tmp_path / "faces.zip")],
            ["import", str(tmp_path / "faces.zip"), "--id", "copy"],
        ):
            out = subprocess.run(
                [*call, *arguments, "--json"], cwd=ROOT, stdout=subprocess.PIPE, stderr=slave, check=True
            )
            shown = os.read(master, 65536).decode()
            assert "100%" in shown
            assert "#" in shown
            json.loads(out.stdout)
    finally:
        os.close(master)
        os.close(slave)
    quiet = subprocess.run([*call, "add", "faces", *files], cwd=ROOT, capture_output=True, text=True, check=True)
    assert quiet.stderr == ""


def test_images_of_another_mode_keep_what_they_show(studio: Studio, gatebus: Gatebus, tmp_path: Path) -> None:
    Image.new("P", (8, 6), 3).save(tmp_path / "palette.png")
    Image.new("RGBA", (8, 6), (1, 2, 3, 4)).save(tmp_path / "alpha.png")
    assert gatebus("pool", "add", "faces", str(tmp_path)).code == 0
    png = studio.store.pools.image("faces", "img_0001.png")
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "RGBA"
        assert image.getpixel((0, 0)) == (1, 2, 3, 4)
