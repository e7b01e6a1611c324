"""What all stores of jobs have in common: the answers that are errors, and a job on its way back to the queue."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from gates.errors import Conflict, Fenced, GatebusError, JobEnded, JobNotFound, QueueFull, TooMany

from .record import ENDED, HELD, LIVE, Attempt, Job, Limits

RETRY_AFTER = 30
"""Seconds after which a submitter with too many waiting jobs may try again."""

NOBODY = "-"
"""Stands for who wanted a cancel when that is not known."""


def digest_of(data: bytes) -> str:
    """The SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def refused(code: str, job_id: str, limits: Limits, submitter: str = "", state: str = "") -> GatebusError:
    """The error that a step's answer stands for."""
    if code == "FULL":
        return QueueFull(f"{limits.queued} jobs wait, more are not taken; try again later", limit=limits.queued)
    if code == "EACH":
        whose = f"{submitter} has" if submitter else "You have"
        return TooMany(
            f"{whose} {limits.queued_each} jobs waiting, more are not taken; submit again when some have run",
            limit=limits.queued_each,
            retry_after=RETRY_AFTER,
        )
    if code == "MISSING":
        return JobNotFound("No job has that id", job=job_id)
    if code == "ENDED":
        return JobEnded(f"The job has ended: {state}", job=job_id, state=state)
    if code == "HELD":
        return Conflict(
            f"Only a job that waits in the farm's queue has a priority; this one is {state}", job=job_id, state=state
        )
    if code == "CANCEL":
        return Conflict("The job is to be cancelled, so its prompt is not sent", job=job_id)
    if code == "SENT":
        return Conflict("The job's prompt was sent already, under another id", job=job_id)
    return Fenced("Another broker owns the job by now", job=job_id)


def given_back(job: Job, why: str, avoid: bool) -> Job:
    """The job with the attempt that did not end it; without one when nothing was sent."""
    if job.prompt_id:
        attempt = Attempt(job.attempt, job.instance, job.instance_name, job.prompt_id, why)
        job = replace(job, attempts=(*job.attempts, attempt))
    if avoid and job.instance not in job.avoid:
        job = replace(job, avoid=(*job.avoid, job.instance))
    return job


def wanted_states(state: str) -> tuple[str, ...]:
    """The states that a filter of a list stands for."""
    return {"": (*LIVE, *ENDED), "live": LIVE, "held": HELD, "ended": ENDED}.get(state, (state,))
