"""The truth about prompts: where each stands, asked of a ComfyUI's jobs, or of its queue and then its history."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Literal

from .connection import Connection
from .errors import ComfyUnexpected
from .outcome import Found, Outcome, Queue

FRESH = 0.25
"""Seconds for which a look at the queue serves everybody: a hundred waiting prompts ask once."""

ACTIVE: dict[str, Literal["running", "queued"]] = {"in_progress": "running", "pending": "queued"}


class Truth:
    """Looks at one ComfyUI. Cores before 0.6 or so have no ``/api/jobs``, which is found out by asking."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.has_jobs: bool | None = None
        """Whether the core serves ``/api/jobs``; None while it is to be asked, as after a restart."""
        self._look: asyncio.Future[Queue] | None = None
        self._begun = 0.0

    async def find(self, prompt_id: str, *, ending: bool = False, after: float = 0.0) -> Found:
        """Where the prompt stands.

        ``ending``: it is likely to have ended, so the history is asked first. ``after``: monotonic
        seconds; the queue is looked at no earlier. Raises ComfyUnreachable, ComfyRefused,
        ComfyUnexpected.
        """
        if ending and (ended := await self._ask(prompt_id)) is not None:
            return ended
        # In this order: what leaves the queue is in the history at the same moment.
        found = (await self.queue(after)).find(prompt_id)
        return found or await self._ask(prompt_id) or Found(prompt_id, "absent")

    async def _ask(self, prompt_id: str) -> Found | None:
        """Where the prompt stands when it has ended, of a core with jobs in any case; None when that is not known."""
        if self.has_jobs is not False:
            job = await self._connection.json("GET", f"api/jobs/{prompt_id}", missing=None)
            if isinstance(job, dict) and job.get("id") == prompt_id:
                self.has_jobs = True
                state = ACTIVE.get(str(job.get("status")))
                return Found(prompt_id, state) if state else _ended(Outcome.of_job(prompt_id, job))
            if self.has_jobs or await self.ask_jobs():
                return None
        history = await self._json(f"history/{prompt_id}")
        entry = history.get(prompt_id)
        return _ended(Outcome.of_history(prompt_id, entry)) if isinstance(entry, dict) else None

    async def queue(self, after: float = 0.0) -> Queue:
        """The queue as it is, or as others have just asked for it; looked at no earlier than ``after``."""
        # One under way serves, however slow: looks must not pile up before a slow server.
        look = self._look
        if look is None or self._begun < after or (look.done() and self._begun < time.monotonic() - FRESH):
            self._begun = time.monotonic()
            look = self._look = asyncio.ensure_future(self._read())
            look.add_done_callback(self._looked)
        return await asyncio.shield(look)

    async def withdraw_copies(self, prompt_id: str) -> None:
        """Leaves one of several copies of the prompt in the queue: of one id the core takes as many as come."""
        queue = await self.queue()
        running, pending = queue.running.count(prompt_id), queue.pending.count(prompt_id)
        for _ in range(min(pending, running + pending - 1)):
            # The core takes out one at a time.
            await self._connection.json("POST", "queue", json={"delete": [prompt_id]})
            self._begun = 0.0

    def _looked(self, look: asyncio.Future[Queue]) -> None:
        """Keeps no look that failed."""
        if (look.cancelled() or look.exception() is not None) and look is self._look:
            self._look = None

    async def ask_jobs(self) -> bool:
        """Whether the core serves ``/api/jobs``."""
        jobs = await self._connection.json("GET", "api/jobs", params={"limit": 1}, missing=None)
        self.has_jobs = isinstance(jobs, dict) and isinstance(jobs.get("jobs"), list)
        return self.has_jobs

    async def _read(self) -> Queue:
        if self.has_jobs or (self.has_jobs is None and await self.ask_jobs()):
            query = {"status": "in_progress,pending", "limit": "100000"}
            answer = await self._connection.json("GET", "api/jobs", params=query, missing=None)
            if isinstance(answer, dict):
                return _of_jobs(answer.get("jobs") or [])
            # Another core answers now.
            self.has_jobs = False
        answer = await self._json("queue")
        running, pending = answer.get("queue_running"), answer.get("queue_pending")
        if not isinstance(running, list) or not isinstance(pending, list):
            raise ComfyUnexpected(f"{self._connection.url}/queue answers with something that is no queue")
        # A heap: in order by its first element only once it is sorted.
        return Queue(_ids(running), _ids(sorted(pending, key=lambda item: float(item[0]))))

    async def _json(self, path: str) -> dict[str, Any]:
        answer = await self._connection.json("GET", path)
        if not isinstance(answer, dict):
            raise ComfyUnexpected(f"{self._connection.url}/{path} answers with something that is no object")
        return answer


def _ids(items: list[Any]) -> tuple[str, ...]:
    return tuple(str(item[1]) for item in items)


def _of_jobs(jobs: list[dict[str, Any]]) -> Queue:
    running = tuple(str(job["id"]) for job in jobs if job.get("status") == "in_progress")
    pending = [job for job in jobs if job.get("status") == "pending"]
    pending.sort(key=lambda job: float(job.get("priority") or 0))
    return Queue(running, tuple(str(job["id"]) for job in pending))


def _ended(outcome: Outcome) -> Found:
    return Found(outcome.prompt_id, "ended", outcome=outcome)
