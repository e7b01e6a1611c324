"""The routes that lend ComfyUI's own mask editor a picture, and take the mask that it saved.

The editor knows files only: it opens one of ComfyUI's directories and uploads what was painted
into the input directory. So *start* writes a picture whose alpha is 255 - mask into the
temporary directory, and *finish* takes the mask from the uploaded file's alpha, stores it, and
removes what this editing left behind. Mounted under ComfyUI only: who mounts them gives the
directories.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from ..codec import decode_png, read_image
from ..errors import GateClosed, GateNotFound, InvalidImage, InvalidInput, NotFound, TooLarge
from ..gate.record import ENDED, Gate
from ..names import check_gate_id
from ..pixels import to_pixels
from .call import Call
from .pools import EDITED, answer_edit
from .route import Field, Route

KEPT = 24 * 3600.0
"""Seconds after which the picture of an editing that nobody finished is removed."""

CLOCK_SLACK = 5.0
"""Seconds by which the clocks of two file systems may differ."""

PREFIX = "gatebus-edit-"

# The name may carry a number in brackets: ComfyUI adds one when the name is taken.
_SAVED = re.compile(r"clipspace-(?:mask|paint|painted|painted-masked)-([0-9]{1,16})( \([0-9]{1,4}\))?\.png")
_OPENED = re.compile(rf"{PREFIX}[0-9a-f]{{32}}\.png")


@dataclass(frozen=True)
class Folders:
    """ComfyUI's directories, asked for at each use: its command line and other nodes may change them."""

    input: Callable[[], Path]
    temporary: Callable[[], Path]


async def start(call: Call) -> web.Response:
    """Makes the picture that ComfyUI's mask editor opens: the image of a gate or slot, its alpha 255 - mask."""
    fields = await call.fields()
    _check_place(fields)
    folders = _folders(call)
    pixels = await call.compute(_picture, call, fields)

    def write() -> str:
        folder = folders.temporary()
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        return _write_new(folder, call.encode(pixels))

    name = await call.compute(write)
    return await call.answer(
        {
            "filename": name,
            "subfolder": "",
            "type": "temp",
            "width": pixels.shape[1],
            "height": pixels.shape[0],
        }
    )


async def finish(call: Call) -> web.Response:
    """Stores the mask that ComfyUI's mask editor saved, and removes the files of this editing."""
    fields = await call.fields()
    _check_place(fields)
    saved = _SAVED.fullmatch(fields["filename"])
    if saved is None:
        raise InvalidInput("filename must be one that the mask editor made: clipspace-...-<digits>.png")
    if not _OPENED.fullmatch(fields["opened"]):
        raise InvalidInput(f"opened must be the filename that start answered: {PREFIX}<32 hex digits>.png")
    opened = _folders(call).temporary() / fields["opened"]
    folder = _folders(call).input() / fields["subfolder"]

    def take() -> NDArray[np.uint8]:
        size, begun = _begun(opened)
        return _read_alpha(call, folder / saved[0], size, begun)

    mask = await call.compute(take)
    png = await call.compute(call.encode, mask) if mask.any() else None
    answer = await _store(call, fields, png)
    await call.run(_clean_up, folder, opened, saved[1])
    return answer


async def _store(call: Call, fields: dict[str, Any], png: bytes | None) -> web.Response:
    """Sets the mask, or clears it: erasing everything leaves no mask."""
    if fields["gate"]:
        return await call.answer((await call.run(call.store.gates.set_mask, fields["gate"], png)).to_json())
    manifest = await call.run(call.store.pools.set_mask, fields["pool"], fields["slot"], png)
    return await answer_edit(call, manifest, [fields["slot"]])


def _folders(call: Call) -> Folders:
    folders = call.api.folders
    if folders is None:
        raise NotFound("This server has no mask editor of ComfyUI's")
    return folders


def _picture(call: Call, fields: dict[str, Any]) -> NDArray[np.uint8]:
    """[H, W, 4] of the gate's first image, or the slot's, with its mask; blocks."""
    if fields["gate"]:
        image, mask = _gate_picture(call, fields["gate"])
    else:
        data = call.store.pools.image(fields["pool"], fields["slot"])
        image = read_image(data, call.store.settings).pixels
        slot = call.store.pools.get(fields["pool"]).slot(fields["slot"])
        mask = call.store.pools.mask(fields["pool"], fields["slot"]) if slot.mask else None
    picture = np.full((*image.shape[:2], 4), 255, np.uint8)
    picture[..., :3] = image[..., :3]
    if mask is not None:
        painted = decode_png(mask)[..., 0]
        if painted.shape != image.shape[:2]:
            raise InvalidImage("The mask that is stored is not of the image's size; clear it first")
        picture[..., 3] = 255 - painted
    return picture


def _gate_picture(call: Call, gate_id: str) -> tuple[NDArray[np.uint8], bytes | None]:
    gate = call.store.gates.get(gate_id)
    if gate.status in ENDED or gate.decision is not None:
        raise GateClosed("This gate is decided; its mask can't be changed any more", gate=gate_id)
    if not gate.width or not gate.height:
        raise InvalidInput("This gate shows no image, so it takes no mask", gate=gate_id)
    try:
        image = to_pixels(decode_png(call.store.gates.frame(gate_id, 0)))
    except GateNotFound:
        # The whole image follows in the background; the preview shows where to paint until then.
        image = _preview(call, gate_id, gate.width, gate.height)
    return image, call.store.gates.mask(gate_id) if gate.mask else None


def _preview(call: Call, gate_id: str, width: int, height: int) -> NDArray[np.uint8]:
    """The preview, enlarged by repeating pixels to the gate's own size."""
    pixels = read_image(call.store.gates.preview(gate_id), call.store.settings).pixels
    rows = np.arange(height) * pixels.shape[0] // height
    columns = np.arange(width) * pixels.shape[1] // width
    return pixels[rows[:, None], columns[None, :]]


def _check_place(fields: dict[str, Any]) -> None:
    """Raises InvalidInput unless one thing is named: a gate, or a slot of a pool."""
    named = [name for name in ("gate", "pool", "slot") if fields[name]]
    if named not in (["gate"], ["pool", "slot"]):
        raise InvalidInput("Name what is edited: either gate, or pool and slot")
    if fields["gate"]:
        check_gate_id(fields["gate"])


def _write_new(folder: Path, data: bytes) -> str:
    name = f"{PREFIX}{uuid.uuid4().hex}.png"
    path = folder / name
    try:
        with path.open("xb") as file:
            file.write(data)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return name


def _sweep(folder: Path) -> None:
    """Removes the pictures of editings that were cancelled long ago."""
    for path in folder.glob(f"{PREFIX}*.png"):
        # Another sweep may be at the same file.
        with suppress(FileNotFoundError):
            if _OPENED.fullmatch(path.name) and path.stat().st_mtime < time.time() - KEPT:
                path.unlink()


def _begun(opened: Path) -> tuple[tuple[int, int], float]:
    """((width, height), when it began) of an editing; raises NotFound when it is over."""
    try:
        with opened.open("rb") as file:
            head = file.read(24)
            begun = os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        raise NotFound("This editing is over already; open the editor again") from None
    return (int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")), begun


def _read_alpha(call: Call, path: Path, size: tuple[int, int], begun: float) -> NDArray[np.uint8]:
    """The mask [H, W], 255 - alpha of the file; one without alpha was not painted on.

    Not ``read_mask``: it would take the luminance of a picture that is opaque everywhere. Only a
    file that is newer than the editing is taken: names repeat, and older ones belong to others.
    """
    limit = call.store.settings.max_image_bytes
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if path.is_symlink() or status.st_mtime < begun - CLOCK_SLACK:
                raise NotFound("The mask editor saved no file of this name in this editing", filename=path.name)
            if status.st_size > limit:
                raise TooLarge(f"The saved file has {status.st_size} bytes; at most {limit} are accepted", limit=limit)
            data = file.read(limit + 1)
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound("The mask editor saved no file of this name", filename=path.name) from None
    pixels = read_image(data, call.store.settings).pixels
    if (pixels.shape[1], pixels.shape[0]) != size:
        raise InvalidImage(
            f"The saved file is {pixels.shape[1]} x {pixels.shape[0]}; the image is {size[0]} x {size[1]}",
            width=size[0],
            height=size[1],
        )
    return 255 - pixels[..., 3] if pixels.shape[2] == 4 else np.zeros(pixels.shape[:2], np.uint8)


def _clean_up(folder: Path, opened: Path, number: str) -> None:
    """Removes the up to four uploads of this save, and the picture that was opened."""
    with suppress(FileNotFoundError):
        begun = opened.stat().st_mtime
        for path in folder.glob(f"clipspace-*-{number}*.png"):
            saved = _SAVED.fullmatch(path.name)
            with suppress(FileNotFoundError):
                if saved and saved[1] == number and path.stat().st_mtime >= begun - CLOCK_SLACK:
                    path.unlink()
        opened.unlink()


_PLACE = (
    Field("gate", "text", "The gate's id.", default=""),
    Field("pool", "name", "The pool's id, with slot.", nullable=True),
    Field("slot", "file", "The slot's file, with pool.", nullable=True),
)

ROUTES = [
    Route(
        "POST",
        "/gatebus/editor/start",
        start,
        role="decide",
        body="json",
        fields=_PLACE,
        answer={"filename": str, "subfolder": str, "type": str, "width": int, "height": int},
    ),
    Route(
        "POST",
        "/gatebus/editor/finish",
        finish,
        role="decide",
        body="json",
        fields=(
            *_PLACE,
            Field("opened", "text", "The filename that start answered.", required=True),
            Field("filename", "text", "The file that the editor saved.", required=True),
            Field(
                "subfolder",
                "text",
                "Its folder in the input directory.",
                default="",
                choices=("", "clipspace"),
            ),
        ),
        answer=(Gate, *EDITED),
    ),
]
