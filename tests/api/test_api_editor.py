"""ComfyUI's mask editor over HTTP: the picture that it opens, and the mask that comes back from the file it saved."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

from gates.api import TABLE, Folders, mount, routes
from gates.api.editor import ROUTES
from gates.codec import encode_png
from gates.guard import RANKS

SAVED = "clipspace-painted-masked-1700000000001.png"
FOUR = [f"clipspace-{layer}-1700000000001.png" for layer in ("mask", "paint", "painted", "painted-masked")]


@dataclass
class Desk:
    """A host that has ComfyUI's directories, and what its editor does in them."""

    host: Any
    input: Path
    temporary: Path

    def save(self, opened: str, change: Callable[[Any], None], names: list[str] = FOUR, folder: str = "") -> None:
        """Paints on the opened picture and uploads it as the editor does: all layers in the input directory."""
        with Image.open(self.temporary / opened) as picture:
            pixels = np.array(picture)
        change(pixels)
        (self.input / folder).mkdir(exist_ok=True)
        for name in names:
            Image.fromarray(pixels).save(self.input / folder / name)

    def files(self) -> set[str]:
        return {path.name for folder in (self.input, self.temporary) for path in folder.rglob("*") if path.is_file()}


def nothing(_pixels: Any) -> None:
    """Saves without painting."""


def paint_left(pixels: Any) -> None:
    pixels[:, :3, 3] = 0


@pytest.fixture
async def desk(local: Any, tmp_path: Path) -> AsyncIterator[Desk]:
    folders = [tmp_path / "comfy-input", tmp_path / "comfy-temp"]
    folders[0].mkdir()
    app = web.Application()
    api = mount(app, lambda: local.store, tmp_path / "state", Folders(lambda: folders[0], lambda: folders[1]))
    client: TestClient[Any, Any] = TestClient(TestServer(app))
    await client.start_server()
    yield Desk(replace(local, api=api, client=client), *folders)
    await client.close()


def mask_of(png: bytes) -> Any:
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "L"
        return np.array(image)


async def add_slot(desk: Desk, png: bytes) -> dict[str, str]:
    added = await desk.host.send("POST", "/gatebus/pools/faces/slots", png)
    return {"pool": "faces", "slot": added["added"][0]}


async def test_what_was_painted_in_the_editor_is_the_gate_s_mask(desk: Desk) -> None:
    gate = desk.host.open_gate(width=9, height=7).gate
    opened = await desk.host.post("/gatebus/editor/start", {"gate": gate.id})
    assert (opened["type"], opened["subfolder"], opened["width"], opened["height"]) == ("temp", "", 9, 7)
    with Image.open(desk.temporary / opened["filename"]) as picture:
        assert (picture.mode, picture.size, picture.getextrema()[3]) == ("RGBA", (9, 7), (255, 255))
    desk.save(opened["filename"], paint_left)
    body = {"gate": gate.id, "opened": opened["filename"], "filename": SAVED}
    answer = await desk.host.post("/gatebus/editor/finish", body)
    assert answer["mask"]
    mask = mask_of(desk.host.store.gates.mask(gate.id))
    assert mask.shape == (7, 9)
    assert (mask[:, :3] == 255).all()
    assert (mask[:, 3:] == 0).all()


async def test_the_image_under_the_mask_and_every_grey_survive_the_round_trip(desk: Desk) -> None:
    place = await add_slot(desk, encode_png(np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)))
    before = desk.host.store.pools.image(place["pool"], place["slot"])
    greys = np.arange(256, dtype=np.uint8).reshape(16, 16)
    desk.host.store.pools.set_mask(place["pool"], place["slot"], encode_png(greys))
    for _ in range(3):
        opened = await desk.host.post("/gatebus/editor/start", place)
        with Image.open(desk.temporary / opened["filename"]) as picture, Image.open(io.BytesIO(before)) as image:
            assert np.array_equal(np.array(picture)[..., :3], np.array(image))
        desk.save(opened["filename"], nothing)
        await desk.host.post("/gatebus/editor/finish", {**place, "opened": opened["filename"], "filename": SAVED})
        assert np.array_equal(mask_of(desk.host.store.pools.mask(place["pool"], place["slot"])), greys)


async def test_nothing_is_left_behind_and_nothing_else_is_touched(desk: Desk) -> None:
    others = ["clipspace-mask-17.png", "clipspace-painted-masked-17000000000011.png", "holiday.png"]
    for name in others:
        (desk.input / name).write_bytes(b"other")
    place = await add_slot(desk, encode_png(np.zeros((6, 8, 3), np.uint8)))
    image = desk.host.store.pools.image(place["pool"], place["slot"])
    opened = (await desk.host.post("/gatebus/editor/start", place))["filename"]
    desk.save(opened, paint_left)
    await desk.host.post("/gatebus/editor/finish", {**place, "opened": opened, "filename": SAVED})
    assert desk.files() == set(others)
    assert desk.host.store.pools.image(place["pool"], place["slot"]) == image


async def test_the_older_editor_saves_one_file_in_a_folder_of_its_own(desk: Desk) -> None:
    gate = desk.host.open_gate().gate
    opened = (await desk.host.post("/gatebus/editor/start", {"gate": gate.id}))["filename"]
    desk.save(opened, paint_left, ["clipspace-mask-4711.png"], "clipspace")
    body = {"gate": gate.id, "opened": opened, "filename": "clipspace-mask-4711.png", "subfolder": "clipspace"}
    await desk.host.post("/gatebus/editor/finish", body)
    assert mask_of(desk.host.store.gates.mask(gate.id))[:, :3].all()
    assert desk.files() == set()


async def test_erasing_everything_clears_the_mask_and_never_takes_the_picture_for_it(desk: Desk) -> None:
    gate = desk.host.open_gate().gate
    desk.host.store.gates.set_mask(gate.id, encode_png(np.full((6, 8), 255, np.uint8)))
    opened = (await desk.host.post("/gatebus/editor/start", {"gate": gate.id}))["filename"]

    def erase(pixels: Any) -> None:
        assert (pixels[..., 3] == 0).all()
        pixels[..., 3] = 255

    desk.save(opened, erase)
    answer = await desk.host.post("/gatebus/editor/finish", {"gate": gate.id, "opened": opened, "filename": SAVED})
    assert answer["mask"] == ""
    assert desk.host.store.gates.mask(gate.id) is None


async def test_a_gate_whose_image_is_still_on_its_way_is_edited_on_its_preview(desk: Desk) -> None:
    gate = desk.host.open_gate(width=40, height=30, stored=False).gate
    opened = await desk.host.post("/gatebus/editor/start", {"gate": gate.id})
    assert (opened["width"], opened["height"]) == (40, 30)
    with Image.open(desk.temporary / opened["filename"]) as picture:
        assert picture.size == (40, 30)


async def test_an_editing_is_finished_once(desk: Desk) -> None:
    gate = desk.host.open_gate().gate
    opened = (await desk.host.post("/gatebus/editor/start", {"gate": gate.id}))["filename"]
    desk.save(opened, paint_left)
    body = {"gate": gate.id, "opened": opened, "filename": SAVED}
    await desk.host.post("/gatebus/editor/finish", body)
    assert (await desk.host.post("/gatebus/editor/finish", body, 404))["error"]["type"] == "not_found"


async def test_a_file_that_is_older_than_the_editing_is_neither_read_nor_removed(desk: Desk) -> None:
    gate = desk.host.open_gate().gate
    opened = (await desk.host.post("/gatebus/editor/start", {"gate": gate.id}))["filename"]
    desk.save(opened, paint_left)
    for name in FOUR:
        os.utime(desk.input / name, (time.time() - 60, time.time() - 60))
    body = {"gate": gate.id, "opened": opened, "filename": SAVED}
    assert (await desk.host.post("/gatebus/editor/finish", body, 404))["error"]["type"] == "not_found"
    assert desk.files() == {*FOUR, opened}
    assert desk.host.store.gates.mask(gate.id) is None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"filename": "../secret/clipspace-mask-1.png"}, 400),
        ({"filename": "clipspace-mask-1.png/../../x.png"}, 400),
        ({"filename": "holiday.png"}, 400),
        ({"filename": "clipspace-mask-1.png\n"}, 400),
        ({"filename": "clipspace-mask-１.png"}, 400),
        ({"subfolder": ".."}, 400),
        ({"subfolder": "/etc"}, 400),
        ({"opened": "../gatebus-edit-" + "0" * 32 + ".png"}, 400),
        ({"opened": SAVED}, 400),
        ({"opened": "gatebus-edit-" + "0" * 32 + ".png"}, 404),
        ({"filename": "clipspace-mask-99.png"}, 404),
        ({"gate": "0" * 32}, 404),
        ({"gate": "x"}, 400),
        ({"more": 1}, 400),
    ],
)
async def test_any_other_file_or_place_is_refused_and_nothing_changes(
    desk: Desk, change: dict[str, Any], status: int
) -> None:
    (desk.input.parent / "secret").mkdir()
    (desk.input.parent / "secret" / "clipspace-mask-1.png").write_bytes(encode_png(np.zeros((6, 8, 4), np.uint8)))
    (desk.input / "holiday.png").write_bytes(encode_png(np.zeros((6, 8, 4), np.uint8)))
    gate = desk.host.open_gate().gate
    opened = (await desk.host.post("/gatebus/editor/start", {"gate": gate.id}))["filename"]
    desk.save(opened, paint_left)
    before = desk.files()
    body = {"gate": gate.id, "opened": opened, "filename": SAVED, **change}
    await desk.host.post("/gatebus/editor/finish", body, status)
    assert desk.files() == before
    assert desk.host.store.gates.mask(gate.id) is None


async def test_a_link_to_elsewhere_is_not_followed(desk: Desk) -> None:
    elsewhere = desk.input.parent / "elsewhere.png"
    gate = desk.host.open_gate().gate
    opened = (await desk.host.post("/gatebus/editor/start", {"gate": gate.id}))["filename"]
    elsewhere.write_bytes(encode_png(np.zeros((6, 8, 4), np.uint8)))
    (desk.input / SAVED).symlink_to(elsewhere)
    await desk.host.post("/gatebus/editor/finish", {"gate": gate.id, "opened": opened, "filename": SAVED}, 404)
    assert elsewhere.exists()
    assert desk.host.store.gates.mask(gate.id) is None


@pytest.mark.parametrize(("bad", "status"), [(b"no image", 422), (encode_png(np.zeros((7, 8, 4), np.uint8)), 422)])
async def test_a_saved_file_that_is_no_picture_of_the_size_is_refused(desk: Desk, bad: bytes, status: int) -> None:
    gate = desk.host.open_gate().gate
    opened = (await desk.host.post("/gatebus/editor/start", {"gate": gate.id}))["filename"]
    (desk.input / SAVED).write_bytes(bad)
    body = {"gate": gate.id, "opened": opened, "filename": SAVED}
    assert (await desk.host.post("/gatebus/editor/finish", body, status))["error"]["type"] == "invalid_image"
    assert desk.host.store.gates.mask(gate.id) is None


async def test_a_decided_gate_is_not_opened_and_takes_no_mask(desk: Desk) -> None:
    gate = desk.host.open_gate().gate
    opened = (await desk.host.post("/gatebus/editor/start", {"gate": gate.id}))["filename"]
    await desk.host.post(f"/gatebus/gates/{gate.id}/route", {"route": 1})
    assert (await desk.host.post("/gatebus/editor/start", {"gate": gate.id}, 409))["error"]["type"] == "gate_closed"
    desk.save(opened, paint_left)
    body = {"gate": gate.id, "opened": opened, "filename": SAVED}
    assert (await desk.host.post("/gatebus/editor/finish", body, 409))["error"]["type"] == "already_decided"


@pytest.mark.parametrize("body", [{}, {"pool": "faces"}, {"gate": "0" * 32, "pool": "faces", "slot": "img_0001.png"}])
async def test_one_thing_is_edited_at_a_time(desk: Desk, body: dict[str, str]) -> None:
    answer = await desk.host.post("/gatebus/editor/start", body, 400)
    assert "either gate, or pool and slot" in answer["error"]["message"]
    assert desk.files() == set()


async def test_pictures_that_were_never_finished_are_swept_away_after_a_day(desk: Desk) -> None:
    gate = desk.host.open_gate().gate
    names = [(await desk.host.post("/gatebus/editor/start", {"gate": gate.id}))["filename"] for _ in range(2)]
    long_ago = time.time() - 25 * 3600
    await asyncio.to_thread(os.utime, desk.temporary / names[0], (long_ago, long_ago))
    third = (await desk.host.post("/gatebus/editor/start", {"gate": gate.id}))["filename"]
    assert desk.files() == {names[1], third}


async def test_a_server_without_comfyui_s_directories_has_no_such_routes(local: Any) -> None:
    answer = await local.client.post("/gatebus/editor/start", json={"gate": "0" * 32})
    assert answer.status == 404
    paths = {route.path for route in routes(lambda: local.store)}
    assert paths == {route.path for route in TABLE}
    assert not paths & {route.path for route in ROUTES}


def test_the_routes_are_declared_in_full_and_need_more_than_looking() -> None:
    for route in ROUTES:
        assert route.about.endswith(".")
        assert RANKS[route.role] == RANKS["decide"]
        assert all(field.about for field in route.fields)
