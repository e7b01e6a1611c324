"""Tasks end although they swallow a cancel."""

from __future__ import annotations

import asyncio

from broker.cancelling import cancelled


async def test_tasks_end_that_swallow_cancels_that_fail_and_that_have_ended() -> None:
    swallowed = 0

    async def swallows() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 3:
                    raise

    async def fails() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("in its end")

    async def ends() -> None:
        return

    tasks = [asyncio.create_task(each()) for each in (swallows, fails, ends)]
    await asyncio.sleep(0)
    await asyncio.wait_for(cancelled(tasks, patience=0.01), 20)
    assert [task.cancelled() for task in tasks] == [True, False, False]
    assert swallowed == 4
    await cancelled([])
