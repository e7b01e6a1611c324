"""Small renditions: small enough for a grid of hundreds, made once, kept by content, never the wrong one."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gates import codec
from gates.errors import InvalidImage, InvalidInput
from gates.settings import Settings
from gates.thumbnails import SIZES, Thumbnails, render

SETTINGS = Settings()
KEY = "ab" * 32


def photo(size: int, seed: int = 0) -> Any:
    """Something like a photograph: soft shapes, edges, and grain."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(coarse).astype(np.int16) + rng.normal(0, 12, (size, size, 3)).astype(np.int16)
    pixels[size // 3 : size // 2, size // 4 : size // 2] //= 2
    return np.clip(pixels, 0, 255).astype(np.uint8)


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "WEBP"
    return picture


@pytest.fixture
def thumbnails(tmp_path: Path) -> Iterator[Thumbnails]:
    made = Thumbnails(SETTINGS, tmp_path / "thumbnails")
    yield made
    made.close()


@pytest.mark.parametrize("size", SIZES)
def test_the_longest_side_is_the_size_and_the_shape_is_kept(size: int) -> None:
    wide = opened(render(codec.encode_png(photo(1024)[:512]), size, SETTINGS))
    assert wide.size == (size, size // 2)
    small = opened(render(codec.encode_png(photo(1024)[:20, :10]), size, SETTINGS))
    assert small.size == (10, 20)


def test_the_picture_is_the_same_one() -> None:
    pixels = photo(1024)
    small = np.asarray(opened(render(codec.encode_png(pixels), 256, SETTINGS)).convert("RGB")).astype(int)
    shrunk = np.asarray(Image.fromarray(pixels).resize((256, 256), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(small - shrunk).mean() < 6


def test_transparency_is_kept() -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:32] = 255
    small = opened(render(codec.encode_png(pixels), 64, SETTINGS))
    alpha = np.asarray(small.convert("RGBA"))[..., 3]
    assert (alpha[:30].min(), alpha[34:].max()) == (255, 0)


def test_grey_and_files_of_other_formats_work(image: Any) -> None:
    assert opened(render(codec.encode_png(np.full((9, 9), 128, np.uint8)), 64, SETTINGS)).size == (9, 9)
    for kind in ("JPEG", "WEBP"):
        assert opened(render(image(20, 10, kind=kind), 64, SETTINGS)).size == (20, 10)


def test_two_hundred_images_draw_with_three_megabytes() -> None:
    total = sum(len(render(codec.encode_png(photo(1024, seed)), 256, SETTINGS)) + 600 for seed in range(10)) * 20
    assert total <= 3_000_000


@pytest.mark.parametrize("channels", [3, 4])
def test_even_noise_stays_within_the_budget(channels: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, channels), np.uint8)
    assert len(render(codec.encode_png(noise), 256, SETTINGS)) <= 14_400


def test_other_sizes_are_refused(thumbnails: Thumbnails) -> None:
    for size in (0, 1, 255, 257, 1024, -256):
        with pytest.raises(InvalidInput):
            thumbnails.ask(KEY, size, lambda: b"")
    with pytest.raises(ValueError, match="content key"):
        thumbnails.ask("../../etc/passwd", 256, lambda: b"")


def test_many_askers_share_one_rendering(thumbnails: Thumbnails) -> None:
    png, loads, go = codec.encode_png(photo(128)), [], threading.Event()

    def load() -> bytes:
        loads.append(1)
        go.wait(10)
        return png

    asked = [thumbnails.ask(KEY, 128, load) for _ in range(50)]
    go.set()
    assert len({future.result(10) for future in asked}) == 1
    assert thumbnails.ask(KEY, 128, load).result(10) == asked[0].result()
    assert len(loads) == 1


def test_a_rendition_outlives_the_process(thumbnails: Thumbnails, tmp_path: Path) -> None:
    first = thumbnails.ask(KEY, 64, lambda: codec.encode_png(photo(128))).result(10)
    again = Thumbnails(SETTINGS, tmp_path / "thumbnails")
    assert again.ask(KEY, 64, lambda: pytest.fail("it is on the disk")).result(10) == first
    again.close()


def test_a_cut_file_is_made_again(thumbnails: Thumbnails, tmp_path: Path) -> None:
    first = thumbnails.ask(KEY, 64, lambda: codec.encode_png(photo(128))).result(10)
    (file,) = tmp_path.rglob("*.webp")
    file.write_bytes(first[: len(first) // 2])
    again = Thumbnails(SETTINGS, tmp_path / "thumbnails")
    assert again.ask(KEY, 64, lambda: codec.encode_png(photo(128))).result(10) == first
    assert file.read_bytes() == first
    again.close()


def test_a_failure_is_told_to_all_and_not_kept(thumbnails: Thumbnails) -> None:
    for _ in range(2):
        with pytest.raises(InvalidImage):
            thumbnails.ask(KEY, 64, lambda: b"no image").result(10)
    assert thumbnails.ask(KEY, 64, lambda: codec.encode_png(photo(64))).result(10)


def test_memory_and_disk_stay_within_their_limits(tmp_path: Path) -> None:
    png = codec.encode_png(photo(256))
    one = len(render(png, 256, SETTINGS))
    small = Thumbnails(SETTINGS, tmp_path / "t", memory_limit=3 * one, disk_limit=10 * one)
    for number in range(40):
        small.ask(f"{number:064x}", 256, lambda: png).result(10)
        assert small._held <= 3 * one
        assert sum(file.stat().st_size for file in tmp_path.rglob("*.webp")) <= 11 * one
    assert len(small._memory) == 3
    assert small.ask(f"{39:064x}", 256, lambda: pytest.fail("the newest is kept")).result(10)
    small.close()


def test_a_folder_that_cannot_be_written_costs_only_the_cache(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "file").write_bytes(b"")
    made = Thumbnails(SETTINGS, tmp_path / "file" / "thumbnails")
    for number in range(3):
        assert made.ask(f"{number:064x}", 64, lambda: codec.encode_png(photo(64))).result(10)
    assert caplog.text.count("can't be kept") == 1
    made.close()


async def test_a_grid_over_http_is_drawn_with_three_megabytes(local: Any) -> None:
    photos = [codec.encode_png(photo(1024, seed)) for seed in range(8)]
    await asyncio.get_running_loop().run_in_executor(
        None, local.store.pools.add, "p1", [(photos[number % 8], "") for number in range(40)]
    )
    slots = (await local.json("/gatebus/pools/p1"))["slots"]
    answers = await asyncio.gather(*(local.get(f"/gatebus/pools/p1/slots/{s['file']}/thumbnail") for s in slots))
    received = sum([len(await answer.read()) + len(str(answer.headers)) for answer in answers])
    assert {answer.content_type for answer in answers} == {"image/webp"}
    assert received * 200 / 40 <= 3_000_000


async def test_an_asker_that_goes_away_takes_nobody_s_rendering(local: Any, image: Any, monkeypatch: Any) -> None:
    await local.send("POST", "/gatebus/pools/p1/slots", image())
    go, real = threading.Event(), local.store.pools.image

    def slow(pool_id: str, file: str) -> bytes:
        go.wait(10)
        return bytes(real(pool_id, file))

    monkeypatch.setattr(local.store.pools, "image", slow)
    path = "/gatebus/pools/p1/slots/img_0001.png/thumbnail"
    leaving, staying = (asyncio.ensure_future(local.get(path)) for _ in range(2))
    await asyncio.sleep(0.1)
    leaving.cancel()
    await asyncio.sleep(0.05)
    go.set()
    assert (await staying).status == 200


async def test_a_size_that_is_not_offered_is_refused(local: Any, image: Any) -> None:
    await local.send("POST", "/gatebus/pools/p1/slots", image())
    path = "/gatebus/pools/p1/slots/img_0001.png/thumbnail"
    for size in ("100", "0", "-1", "1e2", "256.0", "99999999999"):
        assert (await local.json(f"{path}?size={size}", 400))["error"]["type"] == "invalid_input"
    for size in SIZES:
        assert (await local.get(f"{path}?size={size}")).status == 200
