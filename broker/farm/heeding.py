"""Whether an instance answers at all: a process that is frozen takes calls, and says nothing."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable
from typing import TypeVar

from ..comfyui.client import ComfyClient
from ..comfyui.errors import ComfyUnreachable

HEED = 2.0
"""Seconds between two looks while a job runs there."""

ANSWER = 5.0
"""Seconds in which it must answer one, or its jobs are unknown."""

T = TypeVar("T")


async def answered(look: Awaitable[T]) -> T:
    """What the look came to; raises ComfyUnreachable when no answer comes in time."""
    try:
        return await asyncio.wait_for(look, ANSWER)
    except asyncio.TimeoutError as error:
        raise ComfyUnreachable(f"no answer in {ANSWER:g} s") from error


async def heed(client: ComfyClient) -> None:
    """Looks until the instance does not answer; raises ComfyError then."""
    while True:
        await asyncio.sleep(HEED)
        await answered(client.queue())


def is_refused(error: BaseException) -> bool:
    """Whether nothing listens at that address: its process has ended."""
    cause = error.__cause__
    inner = getattr(cause, "os_error", cause)
    return getattr(inner, "errno", None) == errno.ECONNREFUSED
