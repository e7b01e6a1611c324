"""The routes of whole pools: list, make, rename, delete, duplicate, rebuild, export, import."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from aiohttp import web

from ..errors import Conflict, PoolNotFound
from ..pool.manifest import Manifest, PoolInfo, Slot
from .answer import SAFE_HEADERS
from .call import Call
from .intake import spool
from .route import Field, Route

EXPORT_CHUNK = 256 * 1024

POOL = {"pool_id": str, "name": str, "active": str, "slots": [Slot], "next_seq": int, "rev": int}
"""A manifest as JSON."""

EDITED = (
    {**POOL, "added?": [str]},
    {"pool_id": str, "name": str, "active": str, "count": int, "rev": int, "slots": [Slot], "added?": [str]},
)
"""What an edit answers with, in full and in brief."""

BRIEF = Field(
    "brief", "flag", "Answer with the pool's numbers and the touched slots instead of all slots.", default=False
)


async def list_pools(call: Call) -> web.Response:
    """Lists every pool by name."""
    infos = await call.run(call.store.pools.infos)
    return await call.answer(
        {"pools": [asdict(info) for info in infos], "unavailable": await call.run(call.store.unavailable)}, large=True
    )


async def get_pool(call: Call) -> web.Response:
    """Shows a pool with all its slots."""

    def get() -> Manifest:
        try:
            return call.store.pools.get(call.path["pool_id"])
        except PoolNotFound:
            if call.query["or_empty"]:
                return Manifest(call.path["pool_id"])
            raise

    return await call.answer((await call.run(get)).to_json(), large=True)


async def put_pool(call: Call) -> web.Response:
    """Makes the pool when it is new; sets its name when one is given."""
    name = (await call.fields())["name"]

    def put() -> Manifest:
        pools, pool_id = call.store.pools, call.path["pool_id"]
        try:
            manifest = pools.get(pool_id)
        except PoolNotFound:
            manifest = pools.add(pool_id, [])
        return manifest if name is None else pools.rename(pool_id, name)

    return await answer_edit(call, await call.run(put))


async def delete_pool(call: Call) -> web.Response:
    """Deletes the pool and its images."""
    await call.run(call.store.pools.delete, call.path["pool_id"])
    return await call.answer({"deleted": call.path["pool_id"]})


async def duplicate_pool(call: Call) -> web.Response:
    """Copies the pool under a new id."""
    fields = await call.fields()
    manifest = await call.run(call.store.pools.duplicate, call.path["pool_id"], fields["new_id"], fields["name"])
    return await answer_edit(call, manifest)


async def rebuild_pool(call: Call) -> web.Response:
    """Makes the pool's manifest anew from its files."""
    await call.fields()
    return await answer_edit(call, await call.run(call.store.pools.rebuild, call.path["pool_id"]))


async def export_pool(call: Call) -> web.StreamResponse:
    """The pool as a zip: its manifest and its files."""
    pool_id = call.path["pool_id"]
    # By way of a file, so that an error is still answered as one, the length is known, and a slow
    # asker holds neither a thread nor the pool.
    with tempfile.TemporaryFile(dir=call.api.temporary) as file:
        await call.run(call.store.pools.export_zip, pool_id, file)
        length = await call.run(file.tell)
        await call.run(file.seek, 0)
        response = web.StreamResponse(headers=SAFE_HEADERS)
        response.content_type = "application/zip"
        response.content_length = length
        response.headers["Content-Disposition"] = (
            f"attachment; filename=\"pool.zip\"; filename*=UTF-8''{quote(pool_id)}.zip"
        )
        await response.prepare(call.http)
        try:
            while chunk := await call.run(file.read, EXPORT_CHUNK):
                await response.write(chunk)
            await response.write_eof()
        except OSError as error:
            # It has begun: an error's JSON would be taken for bytes of the zip.
            if call.http.transport is not None:
                call.http.transport.abort()
            raise ConnectionResetError("the zip could not be sent to its end") from error
        return response


async def import_pool(call: Call) -> web.Response:
    """Makes a new pool of a zip: an export, or plain images."""
    pool_id, limit = call.path["pool_id"], call.store.settings.max_archive_bytes
    try:
        await call.run(call.store.pools.get, pool_id)
    except PoolNotFound:
        pass
    else:
        raise Conflict(f"There is a pool {pool_id} already", pool=pool_id)
    with tempfile.TemporaryFile(dir=call.api.temporary) as file:

        async def write(chunk: bytes) -> None:
            await call.run(file.write, chunk)

        await spool(call.http, limit, "zip", write)
        await call.run(file.seek, 0)
        manifest = await call.compute(call.store.pools.import_zip, file, pool_id, call.query["name"])
    return await answer_edit(call, manifest)


async def answer_edit(call: Call, manifest: Manifest, touched: Sequence[str] = (), **more: Any) -> web.Response:
    """The pool after an edit; a brief answer holds only the touched slots, whatever the pool's size."""
    if not call.query.get("brief"):
        return await call.answer({**manifest.to_json(), **more}, large=True)
    return await call.answer(
        {
            "pool_id": manifest.pool_id,
            "name": manifest.name,
            "active": manifest.active,
            "count": len(manifest.slots),
            "rev": manifest.rev,
            "slots": [manifest.slot(file).to_json() for file in touched],
            **more,
        }
    )


_PATH = "/gatebus/pools/{pool_id}"
_NAME = Field("name", "text", "A name for people.")
_OR_EMPTY = Field(
    "or_empty", "flag", "Show a pool that nobody has filled yet as an empty one, of rev 0; not as 404.", default=False
)

ROUTES = [
    Route("GET", "/gatebus/pools", list_pools, answer={"pools": [PoolInfo], "unavailable": str}),
    Route("GET", _PATH, get_pool, query=(_OR_EMPTY,), answer=POOL),
    Route("PUT", _PATH, put_pool, role="decide", body="json", fields=(_NAME,), query=(BRIEF,), answer=EDITED),
    Route("DELETE", _PATH, delete_pool, role="admin", answer={"deleted": str}),
    Route(
        "POST",
        f"{_PATH}/duplicate",
        duplicate_pool,
        role="decide",
        body="json",
        fields=(
            Field("new_id", "name", "The copy's id.", required=True),
            Field("name", "text", "A name for people.", default=""),
        ),
        query=(BRIEF,),
        answer=EDITED,
    ),
    Route("POST", f"{_PATH}/rebuild", rebuild_pool, role="decide", body="json", query=(BRIEF,), answer=EDITED),
    Route("GET", f"{_PATH}/export", export_pool, answer="application/zip"),
    Route(
        "POST",
        f"{_PATH}/import",
        import_pool,
        role="admin",
        body="archive",
        query=(Field("name", "text", "A name for people.", default=""), BRIEF),
        answer=EDITED,
    ),
]
