"""The routes of buses: list, look, publish one image, delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import numpy as np
from aiohttp import web

from ..bus.record import BusHead, BusMeta
from ..errors import BusNotFound
from .answer import IMMUTABLE
from .call import Call
from .route import DIGEST, SIZE, Field, Route


async def list_buses(call: Call) -> web.Response:
    """Lists the newest version of every bus, last published first."""
    heads = await call.run(call.store.buses.heads)
    return await call.answer(
        {"buses": [head.to_json() for head in heads], "unavailable": await call.run(call.store.unavailable)}, large=True
    )


async def get_bus(call: Call) -> web.Response:
    """Shows one version of a bus."""
    return await call.answer((await _head(call)).to_json())


async def list_versions(call: Call) -> web.Response:
    """Lists the kept versions of a bus, newest first."""
    heads = await call.run(call.store.buses.versions, call.path["name"])
    return await call.answer({"versions": [head.to_json() for head in heads]})


async def put_bus(call: Call) -> web.Response:
    """Publishes the image as a new version of the bus."""
    picture = await call.image()
    meta = BusMeta(
        instance=call.caller.name or call.store.settings.instance,
        workflow=call.query["workflow"],
        label=call.query["label"],
    )

    def publish() -> BusHead:
        pixels, mask = picture.pixels, None
        if call.query["alpha"] == "mask" and pixels.shape[2] == 4:
            mask = ((255 - pixels[..., 3]).astype(np.float32) / np.float32(255))[None]
            pixels = pixels[..., :3]
        image = (pixels.astype(np.float32) / np.float32(255))[None]
        return call.store.buses.publish(call.path["name"], image, mask, meta=meta)

    return await call.answer((await call.compute(publish)).to_json())


async def delete_bus(call: Call) -> web.Response:
    """Deletes the bus, or one version of it."""
    await call.run(call.store.buses.delete, call.path["name"], call.query["version"])
    return await call.answer({"deleted": call.path["name"], "version": call.query["version"]})


async def get_image(call: Call) -> web.StreamResponse:
    """One image of a version, as PNG."""
    buses, frame = call.store.buses, call.query["frame"]

    async def of(head: BusHead) -> web.StreamResponse:
        tag = f"{head.digest}-{frame}"
        return await call.answer_image(
            tag, lambda: buses.frame(head.name, frame, head.version), _kept(call, head.digest)
        )

    return await _of_one_version(call, of)


async def get_mask(call: Call) -> web.StreamResponse:
    """One mask of a version, as grey PNG; 404 when none was published with it."""
    buses, frame = call.store.buses, call.query["frame"]

    async def of(head: BusHead) -> web.StreamResponse:
        if not head.mask:
            raise BusNotFound(f"No mask was published with version {head.version} of {head.name}", name=head.name)
        return await call.answer_image(
            f"{head.digest}-mask-{frame}",
            lambda: buses.mask_frame(head.name, frame, head.version),
            _kept(call, head.digest),
        )

    return await _of_one_version(call, of)


async def get_thumbnail(call: Call) -> web.StreamResponse:
    """A small WebP of one image of a version."""
    buses, frame = call.store.buses, call.query["frame"]

    async def of(head: BusHead) -> web.StreamResponse:
        return await call.answer_thumbnail(
            f"{head.digest}-{frame}",
            call.query["size"],
            lambda: buses.frame(head.name, frame, head.version),
            _kept(call, head.digest),
        )

    return await _of_one_version(call, of)


async def _of_one_version(call: Call, answer: Callable[[BusHead], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """The answer for the version asked for, its tag and its bytes of the same one.

    When it was replaced and dropped between the two steps, the newest one is tried again.
    """
    try:
        return await answer(await _head(call))
    except BusNotFound:
        return await answer(await _head(call))


async def _head(call: Call) -> BusHead:
    return await call.run(call.store.buses.head, call.path["name"], call.query["version"])


def _kept(call: Call, digest: str) -> dict[str, str] | None:
    """Headers that let the asker keep it, when the address names this very content."""
    return IMMUTABLE if call.query["digest"] == digest else None


_PATH = "/gatebus/buses/{name}"
_VERSION = Field("version", "int", "A version; -1 is the one before the newest. Default: the newest.", low=-(10**9))
_FRAME = Field("frame", "int", "From 0.", default=0, high=999_999)

ROUTES = [
    Route("GET", "/gatebus/buses", list_buses, answer={"buses": [BusHead], "unavailable": str}),
    Route("GET", _PATH, get_bus, query=(_VERSION,), answer=BusHead),
    Route("GET", f"{_PATH}/versions", list_versions, answer={"versions": [BusHead]}),
    Route(
        "PUT",
        _PATH,
        put_bus,
        role="decide",
        body="image",
        query=(
            Field("label", "text", "A label for people.", default=""),
            Field("workflow", "text", "Where it comes from.", default=""),
            Field(
                "alpha",
                "text",
                "What an alpha channel is: keep (a part of the image) or mask (transparent where painted).",
                default="keep",
                choices=("keep", "mask"),
            ),
        ),
        answer=BusHead,
    ),
    Route(
        "DELETE",
        _PATH,
        delete_bus,
        role="admin",
        query=(_VERSION,),
        answer={"deleted": str, "version": (int, None)},
    ),
    Route("GET", f"{_PATH}/image", get_image, query=(_FRAME, _VERSION, DIGEST), answer="image/png"),
    Route("GET", f"{_PATH}/mask", get_mask, query=(_FRAME, _VERSION, DIGEST), answer="image/png"),
    Route("GET", f"{_PATH}/thumbnail", get_thumbnail, query=(SIZE, _FRAME, _VERSION, DIGEST), answer="image/webp"),
]
