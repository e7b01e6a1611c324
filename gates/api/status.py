"""The route that tells what this process is and what it accepts."""

from __future__ import annotations

from aiohttp import web

from .. import __version__
from .call import Call
from .route import Route
from .streams import MAX_STREAMS

LIMITS = (
    "max_gates",
    "max_image_bytes",
    "max_pixels",
    "max_frames",
    "max_slots",
    "max_archive_bytes",
    "bus_versions",
)
"""Settings that a caller may want to know before it sends something."""


async def get_status(call: Call) -> web.Response:
    """The version, the instance, the kind of store, why it is away if it is, and the limits."""
    settings = call.store.settings
    return await call.answer(
        {
            "version": __version__,
            "instance": settings.instance,
            "store": settings.store_url.partition(":")[0] or "local",
            "unavailable": await call.run(call.store.unavailable),
            "role": call.caller.role,
            "streams": {"open": len(call.api.streams), "limit": MAX_STREAMS},
            "limits": {name: getattr(settings, name) for name in LIMITS},
        }
    )


ROUTES = [
    Route(
        "GET",
        "/gatebus/status",
        get_status,
        answer={
            "version": str,
            "instance": str,
            "store": str,
            "unavailable": str,
            "role": str,
            "streams": {"open": int, "limit": int},
            "limits": dict.fromkeys(LIMITS, int),
        },
    )
]
