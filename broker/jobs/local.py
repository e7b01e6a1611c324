"""Jobs without Redis: one machine's, in an SQLite file of the state folder.

Every step is one transaction, so a command beside the broker may take part, and what was
answered is on the disk. Bytes lie beside it as files named by their digest, whose time of change
is when they were last needed.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gates.errors import BlobNotFound, JobNotFound, StoreUnavailable
from gates.events import Events
from gates.filelock import write_atomically
from gates.names import check_job_id

from .local_steps import LocalSteps, Row
from .record import HELD, Failure, Job, Limits, Offer, Output, Place, Reason, Renewal, Stray
from .steps import NOBODY, digest_of, refused, wanted_states

BUSY_LIMIT = 10.0
"""Seconds for which a step waits for another process's."""

PRUNE_EVERY = 3600.0
"""Seconds between two looks for bytes that nobody has needed for long."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (
  id TEXT PRIMARY KEY, state TEXT, submitter TEXT, instance TEXT, submitted INTEGER, ended INTEGER,
  priority INTEGER, turn INTEGER, lease INTEGER, record TEXT);
CREATE INDEX IF NOT EXISTS job_order ON job (submitted DESC, id DESC);
CREATE INDEX IF NOT EXISTS job_queue ON job (state, priority DESC, turn, id);
CREATE TABLE IF NOT EXISTS turn (priority INTEGER, submitter TEXT, turn INTEGER, PRIMARY KEY (priority, submitter));
CREATE TABLE IF NOT EXISTS place (instance TEXT PRIMARY KEY, state TEXT, by TEXT);
CREATE TABLE IF NOT EXISTS result (digest TEXT PRIMARY KEY, job TEXT, until INTEGER);
CREATE TABLE IF NOT EXISTS stray (prompt_id TEXT PRIMARY KEY, job TEXT, instance TEXT, url TEXT);
"""

log = logging.getLogger(__name__)


class LocalJobs:
    """See :class:`store.JobStore`."""

    def __init__(self, folder: Path, limits: Limits, events: Events | None = None) -> None:
        """``folder`` is made when it is not there. ``events`` are told of what this process changes."""
        self.limits = limits
        self._events = events
        self._blobs = folder / "blobs"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._pruned = 0.0
        self._lock = threading.RLock()
        self._file = folder / "jobs.sqlite"
        with self._available():
            self._db = sqlite3.connect(self._file, timeout=BUSY_LIMIT, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            # What was answered is on the disk, also after a power cut.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)

    # -- bytes ----------------------------------------------------------------------------
    def put_blob(self, data: bytes) -> str:
        """See :class:`store.JobStore`."""
        digest = digest_of(data)
        if self.touch_blobs([digest]):
            try:
                write_atomically(self._blobs / digest, data)
            except OSError as error:
                raise StoreUnavailable(f"{self._blobs} can't be written: {error.strerror or error}") from error
        if time.monotonic() - self._pruned > PRUNE_EVERY or not self._pruned:
            self._pruned = time.monotonic()
            self._prune()
        return digest

    def blob(self, digest: str) -> bytes:
        """See :class:`store.JobStore`."""
        try:
            return (self._blobs / digest).read_bytes()
        except FileNotFoundError:
            raise BlobNotFound("No bytes of that digest are kept here (any more)", digest=digest) from None

    def touch_blobs(self, digests: Sequence[str]) -> list[str]:
        """See :class:`store.JobStore`."""
        missing = []
        for digest in digests:
            try:
                os.utime(self._blobs / digest)
            except FileNotFoundError:
                missing.append(digest)
        return missing

    # -- submitters -----------------------------------------------------------------------
    def submit(self, job: Job) -> Job:
        """See :class:`store.JobStore`."""
        with self._step() as steps:
            shown = steps.find(job.id)
            if shown is not None:
                return shown
            known = steps.result(job.cache) if job.cache else None
            if known is not None and not self.touch_blobs([each.digest for each in known.outputs if not each.path]):
                answered = replace(job, outputs=known.outputs, cached_from=known.id, progress=1.0)
                return steps.end(replace(answered, submitted=steps.now), "done")
            waiting = steps.waiting(job.submitter)
            if sum(steps.waiting(None).values()) >= self.limits.queued:
                raise refused("FULL", job.id, self.limits)
            if waiting.get(job.submitter, 0) >= self.limits.queued_each:
                raise refused("EACH", job.id, self.limits, job.submitter)
            return steps.queue(replace(job, state="queued", submitted=steps.now), steps.next_turn(job))

    def get(self, job_id: str) -> Job:
        """See :class:`store.JobStore`."""
        check_job_id(job_id)
        with self._reading() as steps:
            job = steps.find(job_id)
        if job is None:
            raise JobNotFound("No job has that id", job=job_id)
        return job

    def page(
        self, limit: int, cursor: str = "", state: str = "", submitter: str = "", instance: str = ""
    ) -> tuple[list[Job], str]:
        """See :class:`store.JobStore`."""
        at, _, behind = cursor.partition("-")
        states = wanted_states(state)
        marks = ",".join("?" * len(states))
        with self._reading() as steps:
            rows = steps.rows(
                f"state IN ({marks}) AND ? IN ('', submitter) AND ? IN ('', instance)"
                " AND (? = '' OR (submitted, id) < (?, ?)) ORDER BY submitted DESC, id DESC LIMIT ?",
                (*states, submitter, instance, cursor, int(at or 0), behind, limit),
            )
        jobs = [each.job for each in rows]
        return jobs, f"{jobs[-1].submitted}-{jobs[-1].id}" if len(jobs) == limit else ""

    def counts(self) -> dict[str, int]:
        """See :class:`store.JobStore`."""
        with self._reading() as steps:
            return steps.counts()

    def prioritize(self, job_id: str, priority: int) -> Job:
        """See :class:`store.JobStore`."""
        check_job_id(job_id)
        with self._step() as steps:
            job = steps.find(job_id)
            if job is None:
                raise refused("MISSING", job_id, self.limits)
            if job.state != "queued":
                raise refused("ENDED" if job.has_ended else "HELD", job_id, self.limits, state=job.state)
            return job if job.priority == priority else steps.prioritize(job, priority)

    def cancel(self, job_id: str, by: str = "") -> Job:
        """See :class:`store.JobStore`."""
        check_job_id(job_id)
        with self._step() as steps:
            job = steps.find(job_id)
            if job is None:
                raise refused("MISSING", job_id, self.limits)
            if job.state == "cancelled":
                return job
            if job.has_ended:
                raise refused("ENDED", job_id, self.limits, state=job.state)
            if job.state == "queued":
                return steps.end(replace(job, cancelling=by or NOBODY), "cancelled")
            return job if job.cancelling else steps.change(replace(job, cancelling=by or NOBODY))

    # -- brokers --------------------------------------------------------------------------
    def queued(self, count: int, start: int = 0) -> list[Job]:
        """See :class:`store.JobStore`."""
        with self._reading() as steps:
            rows = steps.rows(
                "state = 'queued' ORDER BY priority DESC, turn, id LIMIT ? OFFSET ?",
                (count, start),
            )
        return [row.job for row in rows]

    def claim(self, broker: str, offers: Sequence[Offer]) -> Job | None:
        """See :class:`store.JobStore`."""
        with self._step() as steps:
            for offer in offers:
                job = steps.claim(broker, offer, self._lease)
                if job is not None:
                    return job
        return None

    def explain(self, job: Job, reasons: Sequence[Reason]) -> None:
        """See :class:`store.JobStore`."""
        with self._step() as steps:
            shown = steps.find(job.id)
            if shown is not None and shown.state == "queued":
                steps.keep(replace(shown, reasons=tuple(reasons)))

    def overdue(self, most: int = 100) -> list[Job]:
        """See :class:`store.JobStore`."""
        with self._reading() as steps:
            marks = ",".join("?" * len(HELD))
            rows = steps.rows(
                f"state IN ({marks}) AND lease <= ? ORDER BY lease LIMIT ?",
                (*HELD, steps.now, most),
            )
        return [row.job for row in rows]

    def adopt(self, broker: str, job: Job) -> Job | None:
        """See :class:`store.JobStore`."""
        with self._step() as steps:
            row = steps.row(job.id)
            if row is None or row.job.state not in HELD or row.job.fence != job.fence or row.lease > steps.now:
                return None
            return steps.change(replace(row.job, broker=broker, fence=job.fence + 1), lease=steps.now + self._lease)

    def renew(self, jobs: Sequence[Job]) -> list[Renewal]:
        """See :class:`store.JobStore`."""
        with self._step() as steps:
            return [steps.renew(job, self._lease) for job in jobs]

    def send(self, job: Job, prompt_id: str) -> Job:
        """See :class:`store.JobStore`."""
        with self._step() as steps:
            row = self._owned(steps, job)
            shown = row.job
            if shown.prompt_id == prompt_id:
                return shown
            if shown.prompt_id or shown.cancelling:
                raise refused("SENT" if shown.prompt_id else "CANCEL", job.id, self.limits)
            sent = replace(shown, prompt_id=prompt_id, state="submitted", sent=steps.now, attempt=shown.attempt + 1)
            return steps.change(sent, lease=steps.now + self._lease)

    def progress(self, job: Job, state: str, progress: float = 0.0, node: str = "", note: str = "") -> Job:
        """See :class:`store.JobStore`."""
        with self._step() as steps:
            shown = self._owned(steps, job).job
            started = steps.now if state == "running" and not shown.started else shown.started
            seen = replace(shown, state=state, progress=round(progress, 4), node=node, note=note, started=started)
            return steps.change(seen) if state != shown.state else steps.keep(seen)

    def finish(self, job: Job, state: str, outputs: Sequence[Output] = (), error: Failure | None = None) -> Job:
        """See :class:`store.JobStore`."""
        with self._step() as steps:
            before = steps.find(job.id)
            if before and (before.state, before.broker, before.fence) == (state, job.broker, job.fence):
                return before
            shown = self._owned(steps, job).job
            ended = replace(shown, outputs=tuple(outputs), error=error, note="", node="")
            if state == "done":
                ended = replace(ended, progress=1.0, started=shown.started or shown.sent)
                if job.cache and error is None:
                    steps.remember(job.cache, job.id, int(self.limits.keep_blobs * 1000))
            return steps.end(ended, state)

    def requeue(self, job: Job, why: str, avoid: bool = False, delay: float = 0.0, stray: bool = False) -> Job:
        """See :class:`store.JobStore`."""
        with self._step() as steps:
            before = steps.find(job.id)
            if before and (before.state, before.broker, before.fence) == ("queued", job.broker, job.fence):
                return before
            row = self._owned(steps, job)
            return steps.give_back(row, why, avoid, steps.now + int(delay * 1000), stray)

    def strays(self) -> list[Stray]:
        """See :class:`store.JobStore`."""
        with self._reading() as steps:
            return steps.strays()

    def settle(self, stray: Stray, finished: bool) -> bool:
        """See :class:`store.JobStore`."""
        with self._step() as steps:
            if not steps.forget_stray(stray.prompt_id):
                return False
            job = steps.find(stray.job)
            if finished and job is not None:
                steps.change(replace(job, copies=job.copies + 1))
            return True

    # -- instances ------------------------------------------------------------------------
    def places(self) -> dict[str, Place]:
        """See :class:`store.JobStore`."""
        with self._reading() as steps:
            return steps.places()

    def set_place(self, instance: str, state: str, by: str = "") -> Place:
        """See :class:`store.JobStore`."""
        with self._step() as steps:
            changed = steps.set_place(instance, state, by or NOBODY)
            place = steps.places().get(instance, Place())
        if changed and self._events is not None:
            self._events.append("instance", instance, state=state or "resumed")
        return place

    def close(self) -> None:
        """See :class:`store.JobStore`."""
        with self._lock:
            self._db.close()

    # -- inside ---------------------------------------------------------------------------
    @property
    def _lease(self) -> int:
        return int(self.limits.lease * 1000)

    def _owned(self, steps: LocalSteps, job: Job) -> Row:
        row = steps.row(job.id)
        code = steps.ownership(row, job)
        if row is None or code != "OK":
            raise refused(code, job.id, self.limits, state=row.job.state if row else "")
        return row

    @contextmanager
    def _available(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
            raise StoreUnavailable(f"{self._file} can't be used now: {error}", path=str(self._file)) from error

    @contextmanager
    def _reading(self) -> Iterator[LocalSteps]:
        with self._lock, self._available():
            yield LocalSteps(self._db, int(time.time() * 1000), self.limits)

    @contextmanager
    def _step(self) -> Iterator[LocalSteps]:
        """One transaction; what it changed is told when it is on the disk."""
        with self._lock, self._available():
            self._db.execute("BEGIN IMMEDIATE")
            steps = LocalSteps(self._db, int(time.time() * 1000), self.limits)
            try:
                yield steps
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        if self._events is not None:
            for job in steps.changed:
                self._events.append("job", job.id, rev=job.rev, state=job.state, instance=job.instance)

    def _prune(self) -> None:
        oldest = time.time() - self.limits.keep_blobs
        for path in self._blobs.iterdir():
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:
                log.debug("gatebus: %s is gone already", path)
