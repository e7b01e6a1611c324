"""Zips from outside: what is not accepted leaves a clear error and nothing behind, on the disk and in Redis."""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RedisServer
from PIL import Image

from gates.connection import Connection
from gates.errors import Conflict, GatebusError, InvalidImage, InvalidInput, InvalidName, TooLarge
from gates.keys import Keys
from gates.pictures import read_image, read_mask
from gates.png import encode_png
from gates.pool.disk import DiskPools
from gates.pool.redis import RedisPools
from gates.settings import Settings

SETTINGS = Settings(
    max_slots=5, max_archive_bytes=3_000_000, max_image_bytes=1_000_000, max_pixels=100_000, store_url="redis://x"
)


def png(size: tuple[int, int] = (4, 6), value: int = 9) -> bytes:
    return encode_png(np.full((*size, 3), value, np.uint8))


def mask(size: tuple[int, int] = (4, 6)) -> bytes:
    return encode_png(np.full((*size, 1), 255, np.uint8))


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], packed: bool = True) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return file.getvalue()


def document(*slots: dict[str, Any], **fields: Any) -> tuple[str, bytes]:
    return "manifest.json", json.dumps({"active": 0, "next_seq": 1, **fields, "slots": list(slots)}).encode()


def special(name: str, kind: int, data: bytes = b"/etc/passwd") -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    return info, data


class Disk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pools: Any = DiskPools(folder / "grid_pool", SETTINGS)

    def everything(self) -> dict[str, bytes]:
        """Every file and folder below the disk folder, but for the files that locks are held on."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes() if path.is_file() else b""
            for path in sorted(self.folder.rglob("*"))
            if ".locks" not in path.parts
        }


class Redis:
    def __init__(self, server: RedisServer) -> None:
        settings = replace(SETTINGS, store_url=server.url)
        self.client = server.client()
        self.pools: Any = RedisPools(Connection(settings), Keys(), settings)

    def everything(self) -> dict[bytes, bytes | None]:
        return {key: self.client.dump(key) for key in sorted(self.client.keys("*"))}


@pytest.fixture(params=["disk", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Disk | Redis:
    if request.param == "disk":
        return Disk(tmp_path)
    return Redis(request.getfixturevalue("redis_server"))


def overlong_directory() -> bytes:
    """A zip whose own directory, which is read in one, is larger than any of a pool."""
    entries = []
    for number in range(3):
        info = zipfile.ZipInfo(f"{number}.png")
        info.comment = bytes(60_000)
        entries.append((info, png()))
    return zipped(*entries)


def lying_size() -> bytes:
    """A zip that says of two million zeros that they are ten bytes."""
    data = bytearray(zipped(("a.png", bytes(2_000_000))))
    for head, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.find(head) + place
        data[at : at + 4] = (10).to_bytes(4, "little")
    return bytes(data)


def encrypted() -> bytes:
    data = bytearray(zipped(("a.png", png())))
    for head, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(head) + place] |= 1
    return bytes(data)


def huge_png() -> bytes:
    """A PNG of a few bytes that says it is 60,000 x 60,000."""
    parts = [b"IHDR" + (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])]
    parts += [b"IDAT" + zlib.compress(bytes(1000)), b"IEND"]
    chunks = ((len(part) - 4).to_bytes(4, "big") + part + zlib.crc32(part).to_bytes(4, "big") for part in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def saved(format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (1, 2, 3)).save(file, format, **options)
    return file.getvalue()


SLOT = {"image": "img_0001.png", "mask": None, "label": "x", "added": 1}
MASKED = {**SLOT, "mask": "img_0001.mask.png"}

REFUSED: dict[str, tuple[Callable[[], bytes], type[GatebusError]]] = {
    "no zip": (lambda: b"hello", InvalidInput),
    "nothing": (lambda: b"", InvalidInput),
    "an image": (png, InvalidInput),
    "an empty zip": (zipped, InvalidInput),
    "a cut zip": (lambda: zipped(("a.png", png()), ("b.png", png()))[:-30], InvalidInput),
    "damaged bytes": (
        lambda: zipped(("a.png", png()), packed=False).replace(b"IDAT", b"IDxT", 1),
        InvalidInput,
    ),
    "up": (lambda: zipped(("a.png", png()), ("../evil.png", png())), InvalidInput),
    "up in the middle": (lambda: zipped(("a/../../evil.png", png())), InvalidInput),
    "absolute": (lambda: zipped(("/tmp/evil.png", png())), InvalidInput),
    "a drive": (lambda: zipped(("C:evil.png", png())), InvalidInput),
    "backslashes": (lambda: zipped(("..\\evil.png", png())), InvalidInput),
    "a link": (lambda: zipped(("a.png", png()), special("b.png", stat.S_IFLNK)), InvalidInput),
    "a device": (lambda: zipped(special("b.png", stat.S_IFCHR)), InvalidInput),
    "a pipe": (lambda: zipped(special("b.png", stat.S_IFIFO)), InvalidInput),
    "the same name twice": (lambda: zipped(("a.png", png()), ("a.png", png(value=1))), InvalidInput),
    "encrypted": (encrypted, InvalidInput),
    "text among images": (lambda: zipped(("a.png", png()), ("b.txt", b"hello")), InvalidImage),
    "svg": (lambda: zipped(("a.svg", b"<svg onload='x'/>")), InvalidImage),
    "html as png": (lambda: zipped(("a.png", b"<html><script>alert(1)</script>")), InvalidImage),
    "gif": (lambda: zipped(("a.png", saved("GIF"))), InvalidImage),
    "a cut image": (lambda: zipped(("a.png", png((40, 60))[:-400])), InvalidImage),
    "a zip in a zip": (lambda: zipped(("a.png", zipped(("b.png", png())))), InvalidImage),
    "too many images": (lambda: zipped(*((f"{n}.png", png()) for n in range(6))), TooLarge),
    "too many slots": (
        lambda: zipped(document(*({**SLOT, "image": f"img_{n:04d}.png"} for n in range(6)))),
        TooLarge,
    ),
    "too many bytes": (lambda: zipped(("a.png", os.urandom(3_000_001))), TooLarge),
    "one image too large": (lambda: zipped(("a.png", bytes(1_000_001))), TooLarge),
    "a bomb of many": (
        lambda: zipped(*((f"{n}.png", png() + bytes(900_000)) for n in range(4))),
        TooLarge,
    ),
    "a bomb that lies": (lying_size, InvalidInput),
    "a bomb of pixels": (lambda: zipped(("a.png", huge_png())), TooLarge),
    "a directory too long": (overlong_directory, TooLarge),
    "a manifest that is none": (lambda: zipped(("manifest.json", b"[1]"), ("img_0001.png", png())), InvalidInput),
    "a manifest of a missing file": (lambda: zipped(document(SLOT)), InvalidInput),
    "a manifest of a missing mask": (lambda: zipped(document(MASKED), ("img_0001.png", png())), InvalidInput),
    "a manifest that leads out": (lambda: zipped(document({**SLOT, "image": "../x.png"})), InvalidInput),
    "a mask of another size": (
        lambda: zipped(document(MASKED), ("img_0001.png", png()), ("img_0001.mask.png", mask((5, 5)))),
        InvalidImage,
    ),
    "a broken second image": (
        lambda: zipped(
            document(SLOT, {**SLOT, "image": "img_0002.png"}), ("img_0001.png", png()), ("img_0002.png", b"x")
        ),
        InvalidImage,
    ),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", list(REFUSED))
def test_what_is_not_accepted_is_refused_and_leaves_nothing(store: Disk | Redis, case: str) -> None:
    make, error = REFUSED[case]
    store.pools.add("other", [(png(), "stays")])
    before = store.everything()
    with pytest.raises(error) as caught:
        store.pools.import_zip(io.BytesIO(make()), "p")
    assert str(caught.value)
    if case == "one image too large":
        assert "in the zip has more than 1000000 bytes" in str(caught.value)  # said before all of it is unpacked
    assert store.everything() == before
    # Nothing hinders the next one.
    assert len(store.pools.import_zip(io.BytesIO(zipped(("a.png", png()))), "p").slots) == 1


def test_an_import_over_a_pool_or_under_a_bad_id_changes_nothing(store: Disk | Redis) -> None:
    store.pools.add("p", [(png(), "")])
    before = store.everything()
    with pytest.raises(Conflict):
        store.pools.import_zip(io.BytesIO(zipped(("a.png", png()))), "p")
    with pytest.raises(InvalidName):
        store.pools.import_zip(io.BytesIO(zipped(("a.png", png()))), "../p")
    assert store.everything() == before


def test_a_zip_of_plain_images_becomes_a_pool_in_the_zip_s_order(store: Disk | Redis) -> None:
    data = zipped(
        ("holiday/", b""),
        ("holiday/beach 猫.jpg", saved("JPEG")),
        ("__MACOSX/holiday/._beach.jpg", b"junk"),
        ("holiday/.DS_Store", b"junk"),
        ("Thumbs.db", b"junk"),
        ("a.webp", saved("WEBP")),
        ("b.png", png()),
    )
    manifest = store.pools.import_zip(io.BytesIO(data), "p", "Holiday")
    assert [slot.label for slot in manifest.slots] == ["beach 猫.jpg", "a.webp", "b.png"]
    assert (manifest.name, manifest.active, manifest.next_seq) == ("Holiday", "img_0001.png", 4)
    for slot in manifest.slots:
        assert store.pools.image("p", slot.file).startswith(b"\x89PNG")
        assert read_image(store.pools.image("p", slot.file), SETTINGS).width == 6


def test_a_zipped_pool_folder_of_another_writer_becomes_a_pool(store: Disk | Redis) -> None:
    """The whole folder, packed with its name, as a file manager does it."""
    data = zipped(
        ("old/manifest.json", document(MASKED, {**SLOT, "image": "img_0004.png"}, active=1, next_seq=9)[1]),
        ("old/img_0001.png", png()),
        ("old/img_0001.mask.png", mask()),
        ("old/img_0004.png", png(value=4)),
        ("old/trash/img_0002.png", b"not looked at"),
        ("old/manifest.json.bak", b"not looked at"),
    )
    manifest = store.pools.import_zip(io.BytesIO(data), "p")
    assert manifest.files == ("img_0001.png", "img_0004.png")
    assert (manifest.active, manifest.next_seq, manifest.slots[0].added) == ("img_0004.png", 9, 1000)
    painted = store.pools.mask("p", "img_0001.png")
    assert read_mask(painted, SETTINGS, 6, 4).min() == 255


def test_an_imported_image_carries_nothing_but_its_pixels(store: Disk | Redis) -> None:
    exif = Image.Exif()
    exif[0x010E] = "secret description"
    exif[0x0112] = 6
    data = zipped(("a.jpg", saved("JPEG", exif=exif) + b"<script>polyglot</script>"))
    store.pools.import_zip(io.BytesIO(data), "p")
    image = store.pools.image("p", "img_0001.png")
    assert b"secret" not in image
    assert b"script" not in image
    # The orientation is applied, not kept.
    assert read_image(image, SETTINGS).pixels.shape == (6, 4, 3)


def test_an_exported_pool_opens_with_any_zip_program(store: Disk | Redis) -> None:
    store.pools.add("p", [(png(), "one"), (png(value=2), "two")])
    store.pools.set_mask("p", "img_0002.png", mask())
    file = io.BytesIO()
    store.pools.export_zip("p", file)
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["img_0001.png", "img_0002.png", "img_0002.mask.png", "manifest.json"]
        assert archive.read("img_0001.png") == png()
        assert [slot["label"] for slot in json.loads(archive.read("manifest.json"))["slots"]] == ["one", "two"]


def test_an_export_goes_to_a_target_that_can_not_seek(store: Disk | Redis) -> None:
    store.pools.add("p", [(png(), "one")])
    read, write = os.pipe()
    with os.fdopen(read, "rb") as source, os.fdopen(write, "wb") as target:
        store.pools.export_zip("p", target)
        target.close()
        data = io.BytesIO(source.read())
    assert store.pools.import_zip(data, "q").slots == store.pools.get("p").slots
