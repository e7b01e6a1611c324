"""The routes of a pool's slots: add, remove, order, activate, label, mask, and their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from aiohttp import web

from ..codec import Picture, read_image
from ..errors import SlotNotFound
from ..png import SIGNATURE
from ..pool.manifest import Manifest, Slot, file_number
from .answer import IMMUTABLE, has_already, not_modified
from .call import Call
from .pools import BRIEF, EDITED, answer_edit
from .route import DIGEST, FILES_JSON_LIMIT, SIZE, Field, Route, Run


async def add_slot(call: Call) -> web.Response:
    """Adds the image as a new slot, at the end or before another; makes the pool when it is new."""
    picture = await call.image()
    pool_id, label, before = call.path["pool_id"], call.query["label"], call.query["before"]
    manifest, file = await call.compute(add_picture, call, picture, pool_id, label, before)
    added = [file] if file else []
    return await answer_edit(call, manifest, added, added=added)


def add_picture(
    call: Call, picture: Picture, pool_id: str, label: str = "", before: str | None = None
) -> tuple[Manifest, str]:
    """Encodes the picture and adds it; returns the pool and the new slot's file, "" when it is gone again. Blocks."""
    png = call.encode(picture.pixels)
    manifest = call.store.pools.add(pool_id, [(png, label)], before)
    # Others may have added slots in between: it is the newest one with this very image.
    digest = _digest(png)
    return manifest, max((slot.file for slot in manifest.slots if slot.digest == digest), key=file_number, default="")


async def remove_slots(call: Call) -> web.Response:
    """Removes slots, all or none; they can be restored."""
    files = (await call.fields())["files"]
    return await answer_edit(call, await call.run(call.store.pools.remove, call.path["pool_id"], files))


async def restore_slots(call: Call) -> web.Response:
    """Brings removed slots back, with mask and label."""
    files = (await call.fields())["files"]
    return await answer_edit(call, await call.run(call.store.pools.restore, call.path["pool_id"], files), files)


async def move_slots(call: Call) -> web.Response:
    """Moves slots, in the given order, before another slot or to the end."""
    fields = await call.fields()
    manifest = await call.run(call.store.pools.move, call.path["pool_id"], fields["files"], fields["before"])
    return await answer_edit(call, manifest, fields["files"])


async def reorder_slots(call: Call) -> web.Response:
    """Sets the whole order; 409 when the pool has other slots by now, or another rev than given."""
    fields = await call.fields()
    manifest = await call.run(call.store.pools.reorder, call.path["pool_id"], fields["files"], fields["rev"])
    return await answer_edit(call, manifest)


async def activate_slot(call: Call) -> web.Response:
    """Makes the slot the one that the pool outputs."""
    file = (await call.fields())["file"]
    return await answer_edit(call, await call.run(call.store.pools.activate, call.path["pool_id"], file), [file])


async def patch_slot(call: Call) -> web.Response:
    """Sets the slot's label."""
    label = (await call.fields())["label"]
    manifest = await call.run(call.store.pools.label, call.path["pool_id"], call.path["file"], label)
    return await answer_edit(call, manifest, [call.path["file"]])


async def put_mask(call: Call) -> web.Response:
    """Sets the slot's mask: an image of the slot's size, white (or transparent) where painted."""
    pool_id, file = call.path["pool_id"], call.path["file"]
    width, height = await call.run(slot_size, call, pool_id, file)
    png = await call.mask_png(width, height)
    return await answer_edit(call, await call.run(call.store.pools.set_mask, pool_id, file, png), [file])


async def delete_mask(call: Call) -> web.Response:
    """Clears the slot's mask."""
    manifest = await call.run(call.store.pools.set_mask, call.path["pool_id"], call.path["file"], None)
    return await answer_edit(call, manifest, [call.path["file"]])


async def get_image(call: Call) -> web.StreamResponse:
    """The slot's image."""
    return await _answer_bytes(call, lambda slot: slot.digest, lambda: _image(call))


async def get_mask(call: Call) -> web.StreamResponse:
    """The slot's mask, as grey PNG; 404 when it has none."""

    def load() -> bytes:
        png = call.store.pools.mask(call.path["pool_id"], call.path["file"])
        if png is None:
            raise SlotNotFound("The slot has no mask", file=call.path["file"])
        return png

    return await _answer_bytes(call, lambda slot: slot.mask_digest, load)


async def get_thumbnail(call: Call) -> web.StreamResponse:
    """A small WebP of the slot's image."""
    size, named = call.query["size"], call.query["digest"]

    def load(digest: str) -> bytes:
        data = _image(call)
        # A rendition must never be kept under another image's digest.
        if _digest(data) != digest:
            raise _OtherImageError
        return data

    if named:
        # The address names the content: when its rendition is cached, the pool needs no look.
        try:
            return await call.answer_thumbnail(named, size, lambda: load(named), IMMUTABLE)
        except _OtherImageError:
            pass
    slot = await call.run(_slot, call)
    if slot.digest:
        try:
            return await call.answer_thumbnail(slot.digest, size, lambda: load(slot.digest))
        except _OtherImageError:
            pass
    data = await call.run(_image, call)
    return await call.answer_thumbnail(_digest(data), size, lambda: data)


class _OtherImageError(Exception):
    """The slot's image is not the one of the digest."""


async def _answer_bytes(call: Call, digest_of: Callable[[Slot], str], load: Callable[[], bytes]) -> web.StreamResponse:
    """The bytes, tagged by their digest."""
    named = call.query["digest"]
    if named and has_already(call.http, named):
        return not_modified(named, IMMUTABLE)
    tag = digest_of(await call.run(_slot, call))
    if tag and has_already(call.http, tag):
        return not_modified(tag)
    data = await call.run(load)
    # Of these very bytes: the slot may have been replaced since the manifest was read.
    tag = await call.run(_digest, data)
    return await call.answer_image(tag, lambda: data, IMMUTABLE if tag == named else None)


def slot_size(call: Call, pool_id: str, file: str) -> tuple[int, int]:
    """(width, height) of the slot's image; blocks."""
    data = call.store.pools.image(pool_id, file)
    if data[:8] == SIGNATURE:
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    picture = read_image(data, call.store.settings)
    return picture.width, picture.height


def _slot(call: Call) -> Slot:
    return call.store.pools.get(call.path["pool_id"]).slot(call.path["file"])


def _image(call: Call) -> bytes:
    return call.store.pools.image(call.path["pool_id"], call.path["file"])


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


_POOL = "/gatebus/pools/{pool_id}"
_SLOTS = _POOL + "/slots"
_SLOT = _SLOTS + "/{file}"
_FILES = Field("files", "files", "The slots' files, e.g. img_0001.png.", required=True)
_BEFORE = Field("before", "file", "The slot before which they are to stand. Default: at the end.", nullable=True)
_REV = Field("rev", "int", "The pool's rev that the order was made from.", nullable=True)


def _edit(method: str, path: str, run: Run, *fields: Field) -> Route:
    return Route(
        method,
        path,
        run,
        role="decide",
        body="json",
        body_limit=FILES_JSON_LIMIT,
        fields=fields,
        query=(BRIEF,),
        answer=EDITED,
    )


ROUTES = [
    Route(
        "POST",
        _SLOTS,
        add_slot,
        role="decide",
        body="image",
        query=(
            Field("label", "text", "A label for people.", default=""),
            Field("before", "file", "The slot before which it is to stand. Default: at the end."),
            BRIEF,
        ),
        answer=EDITED,
    ),
    _edit("POST", f"{_SLOTS}/remove", remove_slots, _FILES),
    _edit("POST", f"{_SLOTS}/restore", restore_slots, _FILES),
    _edit("POST", f"{_SLOTS}/move", move_slots, _FILES, _BEFORE),
    _edit("POST", f"{_POOL}/reorder", reorder_slots, _FILES, _REV),
    _edit("POST", f"{_POOL}/activate", activate_slot, Field("file", "file", "The slot.", required=True)),
    _edit("PATCH", _SLOT, patch_slot, Field("label", "text", "A label for people.", required=True)),
    Route("GET", f"{_SLOT}/image", get_image, query=(DIGEST,), answer="image/*"),
    Route("GET", f"{_SLOT}/mask", get_mask, query=(DIGEST,), answer="image/png"),
    Route("PUT", f"{_SLOT}/mask", put_mask, role="decide", body="image", query=(BRIEF,), answer=EDITED),
    Route("DELETE", f"{_SLOT}/mask", delete_mask, role="decide", query=(BRIEF,), answer=EDITED),
    Route("GET", f"{_SLOT}/thumbnail", get_thumbnail, query=(SIZE, DIGEST), answer="image/webp"),
]
