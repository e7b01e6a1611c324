"""``gatebus bus``: publish, list versions, delete."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from redis_server import RedisServer

from tests.service.processes import ROOT, Gatebus, Studio, image_file, refused


def head_of(studio: Studio, name: str) -> object:
    return json.loads(json.dumps(studio.store.buses.head(name).to_json()))


def test_an_image_is_published_with_its_mask_and_comes_back_alike(
    studio: Studio, gatebus: Gatebus, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    mask = image_file(tmp_path / "mask.png", colour=200)
    answer = gatebus("bus", "put", "cp1", str(tmp_path / "image.png"), "--mask", str(mask), "--label", "keeper")
    assert (answer.code, answer.out, answer.err) == (0, "cp1@1: 8 x 6, with a mask\n", "")
    head = studio.store.buses.head("cp1")
    assert (head.mask, head.meta.label) == (True, "keeper")
    assert gatebus("bus", "get", "cp1", str(tmp_path / "back.png")).code == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "back.png")), pixels)
    assert gatebus("bus", "get", "cp1", str(tmp_path / "back.png"), "--mask").code == 0
    assert set(np.asarray(Image.open(tmp_path / "back.png")).flat) == {200}


def test_an_image_comes_from_stdin(studio: Studio, redis_server: RedisServer, tmp_path: Path) -> None:
    data = image_file(tmp_path / "image.jpg", mode="RGB", colour=(9, 9, 9)).read_bytes()
    call = [sys.executable, "-m", "broker", "--url", redis_server.url, "bus", "put", "cp1", "-", "--json"]
    answer = subprocess.run(call, cwd=ROOT, input=data, capture_output=True, check=True)
    assert json.loads(answer.stdout) == head_of(studio, "cp1")


def test_what_is_no_image_or_no_name_publishes_nothing(studio: Studio, gatebus: Gatebus, tmp_path: Path) -> None:
    good = str(image_file(tmp_path / "good.png"))
    small = str(image_file(tmp_path / "small.png", (4, 4)))
    text = tmp_path / "text.png"
    text.write_text("no image")
    refused(gatebus("bus", "put", "cp1", str(text)), 2)
    refused(gatebus("bus", "put", "a/b", good), 2)
    assert "4 x 4" in refused(gatebus("bus", "put", "cp1", good, "--mask", small), 2)
    refused(gatebus("bus", "put", "cp1", good, "--label", "x" * 201), 2)
    assert gatebus("bus", "put", "cp1", str(tmp_path / "nothing.png")).code == 2
    assert studio.store.buses.heads() == []


def test_versions_are_listed_newest_first(studio: Studio, gatebus: Gatebus, tmp_path: Path) -> None:
    for label in ("one", "two", "three"):
        assert gatebus("bus", "put", "cp1", str(image_file(tmp_path / "i.png")), "--label", label).code == 0
    lines = gatebus("bus", "versions", "cp1").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["3", "2", "1"]
    assert lines[1].endswith("three")
    shown = json.loads(gatebus("bus", "versions", "cp1", "--json").out)
    assert [head["version"] for head in shown] == [3, 2, 1]
    assert shown[0] == head_of(studio, "cp1")
    refused(gatebus("bus", "versions", "nothing"), 3)


def test_a_bus_is_deleted_only_after_a_yes(
    studio: Studio, gatebus: Gatebus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        gatebus("bus", "put", "cp1", str(image_file(tmp_path / "i.png")))
    for said in ("n\n", ""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(said))
        answer = gatebus("bus", "rm", "cp1")
        assert answer.code == 1
        assert "3 versions" in answer.err
    assert len(studio.store.buses.versions("cp1")) == 3
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    answer = gatebus("bus", "rm", "cp1@-1")
    assert (answer.code, answer.out) == (0, "Deleted cp1@2\n")
    assert [head.version for head in studio.store.buses.versions("cp1")] == [3, 1]
    assert json.loads(gatebus("bus", "rm", "cp1@3", "--yes", "--json").out) == {"deleted": "cp1", "version": 3}
    assert json.loads(gatebus("bus", "rm", "cp1", "--yes", "--json").out) == {"deleted": "cp1", "version": None}
    refused(gatebus("bus", "rm", "cp1", "--yes"), 3)
    assert studio.store.buses.heads() == []


def test_get_tells_as_json_what_it_wrote(studio: Studio, gatebus: Gatebus, tmp_path: Path) -> None:
    gatebus("bus", "put", "cp1", str(image_file(tmp_path / "i.png")))
    target = tmp_path / "cp1.png"
    told = json.loads(gatebus("bus", "get", "cp1", str(target), "--json").out)
    assert told == {"file": str(target), "bytes": target.stat().st_size, "frame": 0, "bus": head_of(studio, "cp1")}
    refused(gatebus("bus", "get", "cp1", "-", "--json"), 2)


def test_without_a_store_url_buses_lie_on_this_machines_disk(
    gatebus: Gatebus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GATEBUS_STORE_URL")
    monkeypatch.setenv("GATEBUS_DISK_DIR", str(tmp_path / "input"))
    assert gatebus("bus", "put", "cp1", str(image_file(tmp_path / "i.png"))).out == "cp1@1: 8 x 6\n"
    assert re.search(r"^cp1 +1 ", gatebus("buses").out, re.MULTILINE)
    assert os.listdir(tmp_path / "input" / "gate_bus") != []
