"""Buses over HTTP: publish one image, look at any version, delete."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gates import codec
from gates.bus.record import BusMeta


def batch(frames: int = 2, height: int = 6, width: int = 8, channels: int = 3, seed: int = 0) -> Any:
    return np.random.default_rng(seed).random((frames, height, width, channels), np.float32)


async def test_an_uploaded_image_is_the_newest_version(host: Any) -> None:
    pixels = (batch(1)[0] * 255).astype(np.uint8)
    head = await host.send("PUT", "/gatebus/buses/cp1?label=first&workflow=faces", codec.encode_png(pixels))
    assert (head["name"], head["version"], head["frames"], head["width"], head["height"]) == ("cp1", 1, 1, 8, 6)
    assert head["meta"] == {"instance": "studio", "workflow": "faces", "label": "first"}
    answer = await host.get("/gatebus/buses/cp1/image")
    assert answer.content_type == "image/png"
    assert np.array_equal(codec.decode_png(await answer.read()), pixels)
    content = host.store.buses.load("cp1")
    assert np.array_equal(np.rint(content.image[0] * 255).astype(np.uint8), pixels)
    assert content.mask is None


@pytest.mark.parametrize(("kind", "content_type"), [("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
async def test_jpeg_and_webp_become_png(local: Any, image: Any, kind: str, content_type: str) -> None:
    await local.send("PUT", "/gatebus/buses/cp1", image(kind=kind), content_type=content_type)
    stored = Image.open(io.BytesIO(await (await local.get("/gatebus/buses/cp1/image")).read()))
    assert (stored.format, stored.size) == ("PNG", (8, 6))


async def test_every_frame_and_mask_of_every_version_can_be_read(host: Any) -> None:
    for seed in (1, 2):
        mask = np.zeros((2, 6, 8), np.float32)
        mask[:, seed] = 1
        host.store.buses.publish("cp1", batch(seed=seed), mask, meta=BusMeta(label=str(seed)))
    for version, seed in (("", 2), ("&version=-1", 1), ("&version=1", 1), ("&version=2", 2)):
        for frame in range(2):
            image = await (await host.get(f"/gatebus/buses/cp1/image?frame={frame}{version}")).read()
            mask = await (await host.get(f"/gatebus/buses/cp1/mask?frame={frame}{version}")).read()
            assert np.array_equal(codec.decode_png(image), np.rint(batch(seed=seed)[frame] * 255).astype(np.uint8))
            painted = codec.decode_png(mask)[..., 0]
            assert painted[seed].min() == 255
            assert painted.sum() == 255 * 8
    versions = (await host.json("/gatebus/buses/cp1/versions"))["versions"]
    assert [(head["version"], head["meta"]["label"]) for head in versions] == [(2, "2"), (1, "1")]
    assert (await host.json("/gatebus/buses/cp1?version=1"))["meta"]["label"] == "1"


async def test_the_list_begins_with_the_last_published(host: Any, eventually: Any) -> None:
    host.store.buses.publish("old", batch(), None)
    first = host.store.buses.head("old").published

    async def later() -> bool:
        return bool(host.store.buses.publish("new", batch(), None).published > first)

    await eventually(later)
    listed = await host.json("/gatebus/buses")
    assert [head["name"] for head in listed["buses"]] == ["new", "old"]
    assert listed["unavailable"] == ""


async def test_what_is_not_there_is_not_found(host: Any) -> None:
    host.store.buses.publish("cp1", batch(), None)
    for path in ("no", "no/image", "no/mask", "no/versions", "no/thumbnail", "cp1?version=7", "cp1/image?version=-3"):
        assert (await host.json(f"/gatebus/buses/{path}", 404))["error"]["type"] == "bus_not_found", path
    assert (await host.json("/gatebus/buses/cp1/mask", 404))["error"]["type"] == "bus_not_found"
    assert (await host.get("/gatebus/buses/cp1/image?frame=2")).status in (400, 404)
    assert (await host.delete("/gatebus/buses/no", 404))["error"]["type"] == "bus_not_found"


async def test_a_bus_or_one_version_is_deleted(host: Any) -> None:
    for seed in range(3):
        host.store.buses.publish("cp1", batch(seed=seed), None)
    await host.delete("/gatebus/buses/cp1?version=2")
    assert [head["version"] for head in (await host.json("/gatebus/buses/cp1/versions"))["versions"]] == [3, 1]
    await host.delete("/gatebus/buses/cp1")
    assert (await host.json("/gatebus/buses"))["buses"] == []


async def test_bytes_are_sent_again_only_when_they_changed(host: Any) -> None:
    head = host.store.buses.publish("cp1", batch(), None)
    for path in ("image", "thumbnail"):
        first = await host.get(f"/gatebus/buses/cp1/{path}")
        held = {"If-None-Match": first.headers["ETag"]}
        assert (await host.get(f"/gatebus/buses/cp1/{path}", headers=held)).status == 304
        assert first.headers["Cache-Control"] == "private, no-cache"
        named = await host.get(f"/gatebus/buses/cp1/{path}?digest={head.digest}")
        assert "immutable" in named.headers["Cache-Control"]
        wrong = await host.get(f"/gatebus/buses/cp1/{path}?digest={'0' * 64}")
        assert "immutable" not in wrong.headers["Cache-Control"]
    held = {"If-None-Match": (await host.get("/gatebus/buses/cp1/image")).headers["ETag"]}
    host.store.buses.publish("cp1", batch(seed=5), None)
    assert (await host.get("/gatebus/buses/cp1/image", headers=held)).status == 200


async def test_an_exact_batch_is_shown_as_png(host: Any) -> None:
    host.store.buses.publish("cp1", batch(), None, format="exact")
    answer = await host.get("/gatebus/buses/cp1/image?frame=1")
    assert np.array_equal(codec.decode_png(await answer.read()), np.rint(batch()[1] * 255).astype(np.uint8))


async def test_a_name_of_any_script_works(host: Any, image: Any) -> None:
    await host.send("PUT", "/gatebus/buses/gesichter-été-顔", image())
    assert (await host.json("/gatebus/buses/gesichter-été-顔"))["name"] == "gesichter-été-顔"
