"""The routes of instances: which ComfyUI processes there are, and what they do."""

from __future__ import annotations

from aiohttp import web

from ..instances.record import Instance
from .call import Call
from .route import Route


async def list_instances(call: Call) -> web.Response:
    """Lists the ComfyUI processes that announce themselves, with their queues, and those gone for less than a day."""
    found = await call.run(call.store.instances.records)
    return await call.answer({"instances": [each.to_json() for each in found]}, large=True)


async def get_instance(call: Call) -> web.Response:
    """Shows one instance."""
    found = await call.run(call.store.instances.get, call.path["instance_id"])
    return await call.answer(found.to_json())


ROUTES = [
    Route("GET", "/gatebus/instances", list_instances, answer={"instances": [Instance]}),
    Route("GET", "/gatebus/instances/{instance_id}", get_instance, answer=Instance),
]
