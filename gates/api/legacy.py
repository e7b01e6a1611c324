"""The routes of the pack that came before, in their wire format, for workflows and scripts that use them.

They name slots by index, so two editors at a time may mean different slots; ``slots.py`` names
them by file. An index that is not there changes nothing, as it always was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from ..codec import read_image
from ..errors import InvalidInput, PoolNotFound
from ..pool.manifest import Manifest
from .call import Call
from .route import FILES_JSON_LIMIT, Field, Route, Run, Shape
from .slots import add_picture, slot_size


async def list_pool(call: Call) -> web.Response:
    """The pool in the old format; an unknown pool is an empty one."""

    def read() -> dict[str, Any]:
        return _to_json(_manifest(call, call.query["pool_id"]))

    return await call.answer(await call.run(read), large=True)


async def add_image(call: Call) -> web.Response:
    """Adds the uploaded image to the pool."""
    fields = await call.fields()
    if not fields["image"]:
        raise InvalidInput("The form has no image", what="image")
    picture = await call.compute(read_image, fields["image"], call.store.settings)
    manifest, _ = await call.compute(add_picture, call, picture, fields["pool_id"])
    return await call.answer(_to_json(manifest), large=True)


async def set_mask(call: Call) -> web.Response:
    """Sets the mask of a slot to the uploaded one."""
    fields = await call.fields()
    if not fields["mask"]:
        raise InvalidInput("The form has no mask", what="mask")

    def edit(pool_id: str, file: str) -> Manifest:
        png = call.encode_mask(fields["mask"], *slot_size(call, pool_id, file))
        return call.store.pools.set_mask(pool_id, file, png)

    return await _edit_slot(call, fields, edit)


async def remove_slot(call: Call) -> web.Response:
    """Removes a slot."""
    return await _edit_slot(call, await call.fields(), lambda pool_id, file: call.store.pools.remove(pool_id, [file]))


async def set_label(call: Call) -> web.Response:
    """Sets a slot's label."""
    fields = await call.fields()
    return await _edit_slot(call, fields, lambda pool_id, file: call.store.pools.label(pool_id, file, fields["label"]))


async def set_active(call: Call) -> web.Response:
    """Makes a slot the active one; an index beyond the ends is the slot at that end."""
    fields = await call.fields()
    return await _edit_slot(call, fields, call.store.pools.activate, clamp=True)


async def reorder(call: Call) -> web.Response:
    """Sets the order by the slots' old indexes; what is no permutation changes nothing."""
    fields = await call.fields()

    def edit() -> dict[str, Any]:
        manifest = _manifest(call, fields["pool_id"])
        if manifest.slots and sorted(fields["order"]) == list(range(len(manifest.slots))):
            files = [manifest.slots[index].file for index in fields["order"]]
            manifest = call.store.pools.reorder(fields["pool_id"], files, manifest.rev)
        return _to_json(manifest)

    return await call.answer(await call.run(edit), large=True)


async def list_buses(call: Call) -> web.Response:
    """The names of the buses."""
    heads = await call.run(call.store.buses.heads)
    return await call.answer({"ids": sorted(head.name for head in heads)})


async def _edit_slot(
    call: Call, fields: dict[str, Any], edit: Callable[[str, str], Manifest], clamp: bool = False
) -> web.Response:
    """The pool after ``edit`` of the slot at ``fields["index"]``; unchanged when there is none."""

    def step() -> dict[str, Any]:
        manifest, index = _manifest(call, fields["pool_id"]), fields["index"]
        if clamp:
            index = max(0, min(index, len(manifest.slots) - 1))
        if 0 <= index < len(manifest.slots):
            manifest = edit(fields["pool_id"], manifest.slots[index].file)
        return _to_json(manifest)

    return await call.answer(await call.compute(step), large=True)


_OLD_POOL = {
    "active": int,
    "slots": [{"image": str, "mask": (str, None), "label": str, "added": int}],
    "next_seq": int,
}


def _manifest(call: Call, pool_id: str) -> Manifest:
    try:
        return call.store.pools.get(pool_id)
    except PoolNotFound:
        return Manifest(pool_id)


def _to_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest in the old format: the active slot by its index."""
    files = [slot.file for slot in manifest.slots]
    return {
        "active": files.index(manifest.active) if manifest.active in files else 0,
        "slots": [
            {"image": slot.file, "mask": slot.mask or None, "label": slot.label, "added": slot.added}
            for slot in manifest.slots
        ],
        "next_seq": manifest.next_seq,
    }


def _route(method: str, path: str, run: Run, body: str, *fields: Field, answer: Shape = _OLD_POOL) -> Route:
    role = "view" if method == "GET" else "decide"
    query, taken = (fields, ()) if method == "GET" else ((), fields)
    return Route(method, path, run, role, body, query, taken, body_limit=FILES_JSON_LIMIT, lenient=True, answer=answer)


_POOL_ID = Field("pool_id", "name", "The pool's id.", default="default")
_POOL_ID_REQUIRED = Field("pool_id", "name", "The pool's id.", required=True)
_INDEX = Field("index", "int", "The slot's place, from 0.", required=True, low=-(2**31))
_INDEX_OR_FIRST = Field("index", "int", "The slot's place, from 0.", default=0, low=-(2**31))
_LABEL = Field("label", "text", "A label for people.", required=True)
_ORDER = Field("order", "ints", "The old indexes in their new order.", required=True)
_IMAGE = Field("image", "bytes", "The image's file.", required=True)
_MASK = Field("mask", "bytes", "The mask's file.", required=True)

ROUTES = [
    _route("GET", "/grid_pool/list", list_pool, "", _POOL_ID),
    _route("POST", "/grid_pool/add", add_image, "form", _POOL_ID, _IMAGE),
    _route("POST", "/grid_pool/set_mask", set_mask, "form", _POOL_ID, _INDEX_OR_FIRST, _MASK),
    _route("POST", "/grid_pool/remove", remove_slot, "json", _POOL_ID_REQUIRED, _INDEX),
    _route("POST", "/grid_pool/active", set_active, "json", _POOL_ID_REQUIRED, _INDEX),
    _route("POST", "/grid_pool/label", set_label, "json", _POOL_ID_REQUIRED, _INDEX, _LABEL),
    _route("POST", "/grid_pool/reorder", reorder, "json", _POOL_ID_REQUIRED, _ORDER),
    _route("GET", "/datasete_gate/bus/list", list_buses, "", answer={"ids": [str]}),
]
