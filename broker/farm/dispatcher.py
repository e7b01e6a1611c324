"""One broker's part of the farm: claims jobs for instances, carries them, and takes over those of brokers that died.

Any number of brokers run side by side on one store: who claims, adopts or ends a job is decided
there, so they need not know of each other.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gates.errors import Conflict, NotFound, StoreUnavailable
from gates.store import Store

from ..cancelling import cancelled
from ..comfyui.client import ComfyClient
from ..comfyui.connection import Limits as ClientLimits
from ..comfyui.errors import ComfyError
from ..jobs.record import Job, Offer, Place, Reason, Stray
from ..jobs.store import JobStore
from .carrier import Carrier
from .choosing import can_run, choose
from .roster import Roster

TICK = 1.0
"""Seconds between two looks at the queue when nothing wakes the broker."""

PAUSE = 0.1
"""Seconds between two looks at least, however much happens in the store."""

THREADS = 8
"""For round trips to the store; those of the service stay free."""

LOOKED_AT = 500
"""Waiting jobs that are looked at for places; those behind them wait for those before them."""

EXPLAINED = 50
"""Waiting jobs, first in turn, that are told why no instance takes them."""

OFFERS = 20
"""Offers in one claim."""

STRAYS_EVERY = 5.0
"""Seconds between two looks for copies at instances that went away."""

TOUCH_EVERY = 3600.0
"""Seconds between two times that the bytes of live jobs are kept for longer."""

CLIENT_AWAY = 4.0
"""Seconds for which a client follows an instance that does not answer, before the job is seen as unknown."""

log = logging.getLogger(__name__)


def default_client(url: str, lease: float, token: str = "") -> ComfyClient:
    """A client whose patience fits a lease of so many seconds: what it sends, it sends while the lease holds."""
    patience = min(10.0, lease / 3)
    return ComfyClient(url, token, limits=ClientLimits(connect=5.0, timeout=30.0, patience=patience), away=CLIENT_AWAY)


class Dispatcher:
    """Runs on the event loop of :meth:`run`, until that is cancelled."""

    def __init__(
        self,
        store: Store,
        jobs: JobStore,
        *,
        lease: float = 15.0,
        listed: Sequence[str] = (),
        limit: int = 2,
        folder: Path | None = None,
        client_of: Callable[[str], ComfyClient] | None = None,
    ) -> None:
        """``lease``: that of the job store, in seconds. ``limit``: jobs of an instance at a time, of all brokers.

        ``listed``: URLs of instances besides those that announce themselves. ``folder``: where jobs that
        ask for a folder have their outputs.
        """
        self.broker = f"{store.settings.instance}:{uuid.uuid4().hex[:8]}"
        self._store = store
        self._jobs = jobs
        self._lease = lease
        self._limit = limit
        self._folder = folder
        self._pool = ThreadPoolExecutor(THREADS, "gatebus-farm")
        self._roster = Roster(
            store, listed, limit, client_of or (lambda url: default_client(url, lease)), self._blocking
        )
        self._carried: dict[str, tuple[Carrier, asyncio.Task[None]]] = {}
        self._told: dict[str, tuple[Reason, ...]] = {}
        self._woken = asyncio.Event()
        self._looked_at = self._strays_at = self._touched_at = float("-inf")

    @property
    def carried(self) -> int:
        """Jobs that this broker carries now."""
        return len(self._carried)

    def can_run(self, job: Job) -> bool:
        """Whether an instance of the farm has what the job needs, busy or paused as it may be; from any thread."""
        return can_run(job, self._roster.candidates({}))

    async def run(self) -> None:
        """Works until it is cancelled; jobs under way are then left to other brokers, or to this one's successor."""
        async with self._wakeable():
            renewing = asyncio.create_task(self._renew_again_and_again())
            try:
                while True:
                    self._woken.clear()
                    try:
                        await self._look()
                    except StoreUnavailable as error:
                        log.debug("gatebus: %s", error)
                    except Exception:
                        # It must go on: the next look tries again.
                        log.exception("gatebus: a look at the jobs failed")
                    await asyncio.sleep(PAUSE)
                    try:
                        await asyncio.wait_for(self._woken.wait(), TICK)
                    except asyncio.TimeoutError:
                        continue
            finally:
                tasks = [renewing, *(task for _, task in self._carried.values())]
                await cancelled(tasks)
                await self._roster.close()
                self._pool.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def _wakeable(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._woken.set)

        unsubscribe = self._store.events.subscribe(wake)
        try:
            yield
        finally:
            unsubscribe()

    async def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at >= TICK:
            self._looked_at = now
            await self._roster.look()
            for over in await self._blocking(self._jobs.overdue):
                mine = await self._blocking(self._jobs.adopt, self.broker, over)
                if mine is not None:
                    log.info("gatebus: job %s is taken over from %s", mine.id, over.broker)
                    self._carry(mine)
        await self._place()
        if self._carried:
            # Tells of cancels at once.
            await self._renew()
        if now - self._strays_at > STRAYS_EVERY:
            self._strays_at = now
            for stray in await self._blocking(self._jobs.strays):
                await self._seek(stray)
        if now - self._touched_at > TOUCH_EVERY:
            self._touched_at = now
            await self._blocking(self._touch)

    # -- placing --------------------------------------------------------------------------
    async def _place(self) -> None:
        """Claims what fits into free places, in the jobs' turn."""
        waiting = await self._blocking(self._jobs.queued, LOOKED_AT)
        self._told = {job.id: self._told[job.id] for job in waiting if job.id in self._told}
        now = await self._blocking(self._store.gates.clock)
        places: dict[str, Place] = await self._blocking(self._jobs.places)
        offers: list[Offer] = []
        for number, job in enumerate(waiting):
            if job.after > now:
                continue
            chosen, reasons = choose(job, self._roster.candidates(places))
            if chosen is not None:
                offers.append(Offer(job.id, chosen.id, self._limit, chosen.name, chosen.url, reasons))
                held = places.get(chosen.id, Place())
                places[chosen.id] = replace(held, held=held.held + 1)
            elif number < EXPLAINED and self._told.get(job.id, job.reasons) != reasons:
                self._told[job.id] = reasons
                await self._blocking(self._jobs.explain, job, reasons)
        while offers:
            claimed: Job | None = await self._blocking(self._jobs.claim, self.broker, offers[:OFFERS])
            if claimed is None:
                # Others were faster, or paused an instance; the next look sees how it is now.
                offers = offers[OFFERS:]
                continue
            self._carry(claimed)
            offers = offers[[offer.job for offer in offers].index(claimed.id) + 1 :]

    # -- carrying -------------------------------------------------------------------------
    def _carry(self, job: Job) -> None:
        before = self._carried.pop(job.id, None)
        if before is not None:
            # Our own lease had run out, and we took the job over from ourselves.
            before[1].cancel()
        carrier = Carrier(self._jobs, self._blocking, self._roster, job, self._folder, self._lease)
        task = asyncio.create_task(self._carried_through(carrier))
        self._carried[job.id] = (carrier, task)

    async def _carried_through(self, carrier: Carrier) -> None:
        job_id = carrier.job.id
        try:
            await carrier.run()
        except (Conflict, NotFound) as error:
            log.warning("gatebus: job %s is left: %s", job_id, error)
            await self._withdraw(carrier.job)
        except Exception:
            # The lease runs out, and the job is taken over, by this broker too.
            log.exception("gatebus: job %s could not be carried on; it is taken over in a moment", job_id)
        finally:
            held = self._carried.get(job_id)
            if held is not None and held[0] is carrier:
                del self._carried[job_id]
            self._woken.set()

    async def _withdraw(self, job: Job) -> None:
        """Sees that no copy runs of a job that went on elsewhere under another id."""
        if not job.prompt_id:
            return
        try:
            shown: Job | None = await self._blocking(self._jobs.get, job.id)
        except NotFound:
            shown = None
        except StoreUnavailable as error:
            log.debug("gatebus: %s", error)
            return
        if shown is not None and shown.prompt_id == job.prompt_id:
            return
        try:
            await self._roster.client(job.instance, job.url).cancel(job.prompt_id)
        except ComfyError as error:
            log.warning("gatebus: a copy of job %s may run at %s: %s", job.id, job.instance_name, error)

    async def _renew_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 4)
            try:
                if self._carried:
                    await self._renew()
            except StoreUnavailable as error:
                log.debug("gatebus: %s", error)
            except Exception:
                log.exception("gatebus: the leases of jobs could not be renewed; it is tried again")

    async def _renew(self) -> None:
        carried = [(carrier, task, carrier.job) for carrier, task in list(self._carried.values())]
        began = time.monotonic()
        told = await self._blocking(self._jobs.renew, [job for _, _, job in carried])
        for (carrier, task, job), renewal in zip(carried, told, strict=True):
            held = self._carried.get(job.id)
            if held is None or held[0] is not carrier:
                continue
            if renewal.code == "OK":
                carrier.renewed = began
                carrier.told(renewal)
            elif not task.done():
                # What it would still write is refused anyway; but it must not send any more.
                shown = await self._state_of(job)
                if shown is None or (shown.broker, shown.fence) != (job.broker, job.fence):
                    log.warning("gatebus: job %s is another broker's by now", job.id)
                    del self._carried[job.id]
                    task.cancel()
                    await self._withdraw(carrier.job)

    async def _state_of(self, job: Job) -> Job | None:
        try:
            shown: Job = await self._blocking(self._jobs.get, job.id)
        except NotFound:
            return None
        return shown

    # -- copies that may still run --------------------------------------------------------
    async def _seek(self, stray: Stray) -> None:
        """Cancels a copy at an instance that answers again; one that ran to its end is noted."""
        member = self._roster.members.get(stray.instance)
        if member is not None and (member.breaker.left or (member.unusable and member.announced)):
            return
        client = self._roster.client(stray.instance, stray.url)
        try:
            found = await asyncio.wait_for(client.find(stray.prompt_id), STRAYS_EVERY)
            if found.state in ("queued", "running"):
                await client.cancel(stray.prompt_id)
                return
        except (ComfyError, asyncio.TimeoutError) as error:
            log.debug("gatebus: %s", error)
            return
        finished = found.outcome is not None and found.outcome.state == "done"
        if await self._blocking(self._jobs.settle, stray, finished) and finished:
            log.warning("gatebus: job %s ran to its end twice: also as %s", stray.job, stray.prompt_id)

    def _touch(self) -> None:
        """Keeps the bytes of live jobs for longer; in a thread."""
        cursor = ""
        while True:
            page, cursor = self._jobs.page(200, cursor, "live")
            for job in page:
                self._jobs.touch_blobs([job.prompt, *(each.digest for each in job.inputs)])
            if not cursor:
                return

    async def _blocking(self, step: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, step, *arguments)
