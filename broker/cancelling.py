"""Ending asyncio tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

PATIENCE = 1.0
"""Seconds after which a task that is still there is cancelled once more; longer than its own end takes."""


async def cancelled(tasks: Collection[asyncio.Task[Any]], patience: float = PATIENCE) -> None:
    """Cancels the tasks until all have ended; what they raise is not raised.

    One cancel is not enough: before Python 3.12 ``asyncio.wait_for`` swallows one that comes in the
    moment of its result, and a timeout takes one for its own.
    """
    while alive := [task for task in tasks if not task.done()]:
        for task in alive:
            task.cancel()
        await asyncio.wait(alive, timeout=patience)
    # Looked at, so that asyncio does not complain of an exception that nobody has seen.
    await asyncio.gather(*tasks, return_exceptions=True)
