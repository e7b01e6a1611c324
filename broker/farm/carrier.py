"""Carries one job: sends it to its instance, follows it, fetches what it made, and ends it or gives it back.

It may be handed a job at any point of its way, since the broker before may have been killed at
any point: a job with a prompt id is looked for on its instance before anything is sent.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from gates.errors import BlobNotFound, Conflict, GatebusError, InvalidInput, StoreUnavailable

from ..cancelling import cancelled
from ..comfyui.client import ComfyClient
from ..comfyui.errors import ComfyError, ComfyUnreachable, OutOfMemory, PromptFailed, PromptInvalid
from ..comfyui.outcome import Outcome
from ..comfyui.progress import Progress
from ..jobs.record import Failure, Job, Renewal
from ..jobs.store import JobStore
from .heeding import answered, heed, is_refused
from .needs import CONTINUED, GATE_NODES
from .results import Blocking, fetched, prepared
from .roster import Roster

MAX_ATTEMPTS = 5
"""Times that a prompt is sent before its job is given up."""

REPORT = 0.5
"""Seconds between two notes of progress."""

AGAIN = 1.0
"""Seconds before what failed is tried again."""

REFUSED_FOR = 2.0
"""Seconds for which an instance's port must be closed before its process counts as ended."""

GONE_AFTER = 60.0
"""Seconds without an answer after which an instance that does not announce itself counts as gone."""

FETCH_FOR = 30.0
"""Seconds for which it is tried to fetch the results of a prompt that is done."""

AT_GATE = "it waits at a gate for a person, and keeps its place meanwhile"
"""Noted of a job whose prompt holds there."""

log = logging.getLogger(__name__)

T = TypeVar("T")


class Lost(Exception):
    """The prompt can't be running any more, or its instance is gone."""

    def __init__(self, why: str, stray: bool, avoid: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.stray = stray
        self.avoid = avoid


class Carrier:
    """One job of this broker; :meth:`run` ends when the job does, is given back, or is another broker's."""

    def __init__(
        self, jobs: JobStore, blocking: Blocking, roster: Roster, job: Job, folder: Path | None, lease: float
    ) -> None:
        """``folder``: where jobs that ask for it have their outputs. ``lease`` in seconds."""
        self.job = job
        self.renewed = time.monotonic()
        """When the lease was last known to be renewed; monotonic seconds."""
        self._jobs = jobs
        self._blocking = blocking
        self._roster = roster
        self._folder = folder
        self._lease = lease
        self._cancel = asyncio.Event()
        self._drain = asyncio.Event()
        self._at_gate = job.note == AT_GATE
        self._seen: tuple[str, float, str, str] = (job.state, job.progress, job.node, job.note)
        self._noted = self._seen

    def told(self, renewal: Renewal) -> None:
        """Takes in what a renewal of the lease told."""
        if renewal.cancelling:
            self._cancel.set()
        if renewal.place == "draining":
            self._drain.set()

    async def run(self) -> None:
        """Carries the job; raises Conflict (Fenced, JobEnded) and JobNotFound when it is not ours any more."""
        if self.job.cancelling:
            self._cancel.set()
        client = self._roster.client(self.job.instance, self.job.url)
        try:
            if not self.job.prompt_id:
                # One after another, so that they stand in that instance's queue in their turn.
                async with self._roster.sending(self.job.instance):
                    sent = await self._send(client)
                if not sent:
                    return
            outcome = await self._follow(client)
            await self._end(client, outcome)
        except Lost as lost:
            await self._back(lost.why, avoid=lost.avoid, stray=lost.stray)

    # -- sending --------------------------------------------------------------------------
    async def _send(self, client: ComfyClient) -> bool:
        """Whether there is something to follow now."""
        if self._cancel.is_set():
            await self._finish("cancelled")
            return False
        try:
            document = await prepared(self._jobs, self._blocking, client, self.job)
        except ComfyError as error:
            self._roster.failed(self.job.instance, error.message)
            await self._back(f"its inputs could not be sent: {error.message}", delay=AGAIN)
            return False
        except StoreUnavailable as error:
            await self._back(error.message, delay=AGAIN)
            return False
        except (BlobNotFound, InvalidInput, GatebusError) as error:
            await self._finish("failed", error=Failure("input", error.message))
            return False
        prompt_id = str(uuid.uuid4())

        async def record(_: str) -> None:
            self.job = await self._sure(self._jobs.send, self.job, prompt_id)
            self.renewed = time.monotonic()

        if time.monotonic() - self.renewed > self._lease / 3:
            # Too long ago to send anything: another broker may take the job over meanwhile.
            await self._back("its broker was held up", delay=0)
            return False
        try:
            submission = await client.submit(
                document["prompt"], prompt_id=prompt_id, before=record, extra_data=document.get("extra_data")
            )
        except PromptInvalid as error:
            place = error.problems[0] if error.problems else None
            node, kind = (place.node_id, place.class_type) if place else ("", "")
            await self._finish("failed", error=Failure("validation", error.message, node, kind))
            return False
        except ComfyUnreachable as error:
            self._roster.failed(self.job.instance, error.message)
            if error.details.get("unsent"):
                await self._back(f"it does not answer: {error.message}", avoid=True)
                return False
            return True
        except ComfyError as error:
            self._roster.failed(self.job.instance, error.message)
            await self._back(error.message, avoid=True)
            return False
        except Conflict:
            # A cancel came before it was sent.
            if not self._cancel.is_set() and not (await self._sure(self._jobs.get, self.job.id)).cancelling:
                raise
            await self._finish("cancelled")
            return False
        self._dropped = "; ".join(map(str, submission.dropped[:3]))
        return True

    _dropped = ""
    """Why outputs of the prompt were left out."""

    # -- following ------------------------------------------------------------------------
    async def _follow(self, client: ComfyClient) -> Outcome:
        """How the prompt ended; raises Lost when it can't be running any more, or its instance is gone."""
        reporting = asyncio.create_task(self._report())
        away = refused = 0.0
        try:
            while True:
                try:
                    # What the client heard before an outage is no sign of life; a look is.
                    found = await answered(client.find(self.job.prompt_id))
                    away = 0.0
                    if found.state in ("queued", "running"):
                        self._see("running" if found.state == "running" else "submitted", self._seen[1], self._seen[2])
                    return await self._waited(client)
                except ComfyError as error:
                    now = time.monotonic()
                    away = away or now
                    refused = (refused or now) if is_refused(error) else 0.0
                    self._roster.failed(self.job.instance, error.message)
                    self._see("unknown", note=f"its instance does not answer: {error.message}")
                    if refused and now - refused >= REFUSED_FOR:
                        raise Lost("its instance has ended", stray=True) from error
                    gone = self._roster.is_gone(self.job.instance)
                    if gone or (now - away > GONE_AFTER and not self._roster.announces(self.job.instance)):
                        raise Lost("its instance is gone", stray=True) from error
                    await asyncio.sleep(AGAIN)
        finally:
            await cancelled([reporting])

    async def _waited(self, client: ComfyClient) -> Outcome:
        waiting = asyncio.create_task(client.wait(self.job.prompt_id, silence=None, on_progress=self._progress))
        beside = asyncio.create_task(self._stop(client)), asyncio.create_task(heed(client))
        try:
            await asyncio.wait({waiting, *beside}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                for ended in beside:
                    if ended.done():
                        ended.result()
            return await waiting
        finally:
            await cancelled([waiting, *beside])

    async def _stop(self, client: ComfyClient) -> None:
        """Cancels the prompt when that is wanted, and again until it has ended; takes back what waits when drained."""
        cancel, drain = asyncio.create_task(self._cancel.wait()), asyncio.create_task(self._drain.wait())
        try:
            await asyncio.wait({cancel, drain}, return_when=asyncio.FIRST_COMPLETED)
            if not self._cancel.is_set():
                if (await client.find(self.job.prompt_id)).state == "queued":
                    await client.cancel(self.job.prompt_id)
                await cancel
            while True:
                await client.cancel(self.job.prompt_id)
                await asyncio.sleep(AGAIN)
        finally:
            cancel.cancel()
            drain.cancel()

    def _progress(self, progress: Progress) -> None:
        if progress.state in ("queued", "running"):
            state = "running" if progress.state == "running" else "submitted"
            if progress.nodes:
                self._at_gate = progress.class_type in GATE_NODES
                self._see(state, progress.fraction, progress.node_id)
            else:
                # The broker before sent it, and ComfyUI tells nobody else of its progress.
                self._see(state, self._seen[1], self._seen[2])

    def _see(self, state: str, fraction: float = 0.0, node: str = "", note: str = "") -> None:
        held = self._at_gate and state == "running"
        self._seen = (state, fraction, node, note or (AT_GATE if held else ""))

    async def _report(self) -> None:
        """Notes what is seen, as often as it is worth it."""
        while True:
            if self._seen != self._noted:
                state, fraction, node, note = self._noted = self._seen
                try:
                    self.job = await self._blocking(self._jobs.progress, self.job, state, fraction, node, note)
                except GatebusError as error:
                    log.debug("gatebus: the progress of job %s is not noted: %s", self.job.id, error)
            await asyncio.sleep(REPORT)

    # -- the end --------------------------------------------------------------------------
    async def _end(self, client: ComfyClient, outcome: Outcome) -> None:
        if outcome.state == "done":
            await self._done(client, outcome)
        elif outcome.state == "lost":
            raise Lost("its instance was started anew, or somebody removed it there", stray=False)
        elif outcome.state == "cancelled":
            if self._cancel.is_set():
                await self._finish("cancelled")
            elif self._drain.is_set():
                raise Lost("its instance is drained", stray=False)
            else:
                await self._finish("cancelled", error=Failure("cancelled", "It was cancelled at its instance"))
        else:
            await self._failed(client, outcome)

    async def _done(self, client: ComfyClient, outcome: Outcome) -> None:
        deadline = time.monotonic() + FETCH_FOR
        while True:
            try:
                outputs = await fetched(self._jobs, self._blocking, client, self.job, outcome, self._folder)
                break
            except (ComfyUnreachable, StoreUnavailable) as error:
                if isinstance(error, ComfyUnreachable) and time.monotonic() > deadline:
                    why = f"it was done, but its results could not be fetched: {error.message}"
                    raise Lost(why, stray=True, avoid=True) from error
                await asyncio.sleep(AGAIN)
            except (GatebusError, OSError) as error:
                await self._finish("failed", error=Failure("output", str(error)))
                return
        self._roster.worked(self.job.instance)
        dropped = Failure("dropped", f"ComfyUI left outputs out: {self._dropped}") if self._dropped else None
        await self._finish("done", outputs, dropped)

    async def _failed(self, client: ComfyClient, outcome: Outcome) -> None:
        error = outcome.error
        # A run from a gate has failed at its gate by now; whoever wants it again says so there.
        again = self.job.attempt < MAX_ATTEMPTS and CONTINUED not in self.job.nodes
        if isinstance(error, OutOfMemory) and again:
            try:
                await client.free()
            except ComfyError as reason:
                log.debug("gatebus: %s", reason)
            await self._back(f"out of memory: {error.exception_message.strip()[:200]}", avoid=True)
            return
        if isinstance(error, PromptFailed):
            trace = "\n".join(error.traceback)[-8000:]
            failure = Failure("execution", error.message[:2000], error.node_id, error.class_type, trace)
        else:
            failure = Failure("execution", error.message[:2000] if error else "ComfyUI tells no reason")
        await self._finish("failed", error=failure)

    async def _back(self, why: str, *, avoid: bool = False, delay: float = 0.0, stray: bool = False) -> None:
        if self.job.attempt >= MAX_ATTEMPTS and not self._cancel.is_set():
            message = f"It was sent {self.job.attempt} times; at last: {why}"
            await self._finish("lost", error=Failure("lost", message))
            return
        self.job = await self._sure(self._jobs.requeue, self.job, why, avoid, delay, stray)

    async def _finish(self, state: str, outputs: Any = (), error: Failure | None = None) -> None:
        self.job = await self._sure(self._jobs.finish, self.job, state, outputs, error)

    async def _sure(self, step: Callable[..., T], *arguments: Any) -> T:
        """The step's answer, as soon as the store is there; every step may be repeated."""
        pause = 0.1
        while True:
            try:
                answer: T = await self._blocking(step, *arguments)
                return answer
            except StoreUnavailable as error:
                log.debug("gatebus: %s", error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, 2.0)
