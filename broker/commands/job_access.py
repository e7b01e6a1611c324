"""How commands reach the jobs of the store: open, found by a short id, cancelled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from gates.errors import InvalidInput, JobNotFound
from gates.names import check_job_id
from gates.store import Store

from ..access import Access
from ..jobs.record import Job
from ..jobs.store import JobStore


@contextmanager
def jobs_of(access: Access, store: Store) -> Iterator[JobStore]:
    """The jobs that belong to the store."""
    # Here, because deciding a gate needs none of it.
    from ..jobs.opening import open_jobs

    jobs = open_jobs(store, access.folder)
    try:
        yield jobs
    finally:
        jobs.close()


def find_job(jobs: JobStore, text: str) -> Job:
    """The job of that id, or of the one id that begins so; raises InvalidName, InvalidInput or JobNotFound."""
    if not re.fullmatch(r"[0-9a-f]{4,31}", text):
        return jobs.get(check_job_id(text))
    found, cursor = list[Job](), ""
    while True:
        page, cursor = jobs.page(1000, cursor)
        found += [job for job in page if job.id.startswith(text)]
        if not cursor:
            break
    if len(found) > 1:
        raise InvalidInput(f"{len(found)} jobs begin with {text}: {', '.join(job.id for job in found[:5])}")
    if not found:
        raise JobNotFound(f"No job begins with {text}")
    return found[0]


def cancel_job(access: Access, store: Store, text: str, by: str) -> Job:
    """The job, cancelled or about to be; raises as :func:`find_job`, and JobEnded."""
    with jobs_of(access, store) as jobs:
        try:
            return jobs.cancel(find_job(jobs, text).id, by)
        except JobNotFound:
            raise JobNotFound("Neither a gate nor a job has that id", job=text) from None


def told_of_cancel(job: Job) -> str:
    """What became of the cancel, in a line."""
    if job.state == "cancelled":
        return f"{job.id} is cancelled"
    return f"{job.id} is {job.state}; {job.instance_name or 'its broker'} is told to stop it"
