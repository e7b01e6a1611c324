"""What every store of jobs promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .record import Failure, Job, Offer, Output, Place, Reason, Renewal, Stray


class JobStore(Protocol):
    """The jobs of one farm; thread-safe. Every call may block, and raises StoreUnavailable while the store is away.

    Every step can be repeated: who did not hear the answer does it again and hears the same. A
    step with ``job`` as its owner knows it raises Fenced when another broker owns the job by now,
    JobEnded when it has ended otherwise, and JobNotFound when it is forgotten.
    """

    # -- bytes ----------------------------------------------------------------------------
    def put_blob(self, data: bytes) -> str:
        """Keeps the bytes for ``limits.keep_blobs`` seconds from now, and returns their SHA-256 in hex."""
        ...

    def blob(self, digest: str) -> bytes:
        """The bytes; raises BlobNotFound."""
        ...

    def touch_blobs(self, digests: Sequence[str]) -> list[str]:
        """Keeps them as if they had just been put; returns those that are not there."""
        ...

    # -- submitters -----------------------------------------------------------------------
    def submit(self, job: Job) -> Job:
        """Queues the job, or gives it as it is when it is there already.

        A job with ``cache`` whose results are known is done at once. Raises QueueFull, or TooMany
        when this submitter has too many jobs waiting.
        """
        ...

    def get(self, job_id: str) -> Job:
        """One job; raises JobNotFound."""
        ...

    def page(
        self, limit: int, cursor: str = "", state: str = "", submitter: str = "", instance: str = ""
    ) -> tuple[list[Job], str]:
        """Jobs, newest first, and the cursor behind the last one, "" at the end.

        ``state`` may also be ``live``, ``held`` or ``ended``. A page may be short, or empty, before the end.
        """
        ...

    def counts(self) -> dict[str, int]:
        """State -> jobs that are remembered, for every state; ``ended`` for all that have ended."""
        ...

    def prioritize(self, job_id: str, priority: int) -> Job:
        """Gives a job that waits another priority, and its turn behind its submitter's other jobs there.

        Raises JobEnded, and Conflict when a broker has it already: nothing goes before it any more.
        """
        ...

    def cancel(self, job_id: str, by: str = "") -> Job:
        """Cancels a queued job at once; of another one the owner is told. Raises JobEnded when it ended otherwise."""
        ...

    # -- brokers --------------------------------------------------------------------------
    def queued(self, count: int, start: int = 0) -> list[Job]:
        """Jobs that wait, in their turn from the ``start``-th on: by priority, then round robin over submitters."""
        ...

    def claim(self, broker: str, offers: Sequence[Offer]) -> Job | None:
        """The first job of the offers that still waits for a place that is still free, now this broker's; else None."""
        ...

    def explain(self, job: Job, reasons: Sequence[Reason]) -> None:
        """Keeps why no instance takes a job that waits; no event. Nothing when it waits no more."""
        ...

    def overdue(self, most: int = 100) -> list[Job]:
        """Jobs whose owner's lease has run out, longest first."""
        ...

    def adopt(self, broker: str, job: Job) -> Job | None:
        """The job, now this broker's, with a higher fence; None when its owner lives, or another one was faster."""
        ...

    def renew(self, jobs: Sequence[Job]) -> list[Renewal]:
        """Renews the leases, and tells of each job what its owner must know."""
        ...

    def send(self, job: Job, prompt_id: str) -> Job:
        """Notes, before the prompt is sent, under which id that happens; raises Conflict when a cancel came first."""
        ...

    def progress(self, job: Job, state: str, progress: float = 0.0, node: str = "", note: str = "") -> Job:
        """Notes what is seen of it: ``submitted``, ``running`` or ``unknown``. Only another state is an event."""
        ...

    def finish(self, job: Job, state: str, outputs: Sequence[Output] = (), error: Failure | None = None) -> Job:
        """Ends the job, once: ``state`` is one of :data:`ENDED`."""
        ...

    def requeue(self, job: Job, why: str, avoid: bool = False, delay: float = 0.0, stray: bool = False) -> Job:
        """Gives the job back to its turn in the queue, or ends it when a cancel was wanted.

        Only for an owner that knows that no copy runs. ``avoid``: it shall go to another
        instance. ``delay`` in seconds. ``stray``: a copy can't be ruled out for certain; it is
        looked for when its instance answers again.
        """
        ...

    def strays(self) -> list[Stray]:
        """Copies to look for."""
        ...

    def settle(self, stray: Stray, finished: bool) -> bool:
        """Notes that the copy was seen to; ``finished``: it ran to its end, which the job then tells. False: known."""
        ...

    # -- instances ------------------------------------------------------------------------
    def places(self) -> dict[str, Place]:
        """Instance -> what the farm has there; without those that are in service and empty."""
        ...

    def set_place(self, instance: str, state: str, by: str = "") -> Place:
        """Pauses, drains ("paused", "draining") or takes back into service ("") an instance."""
        ...

    def close(self) -> None:
        """Ends the store's connections."""
        ...
