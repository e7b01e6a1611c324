"""Jobs in Redis: those of a farm whose brokers share it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from gates.connection import Connection, pairs
from gates.errors import BlobNotFound, JobNotFound
from gates.events import KEPT_EVENTS
from gates.keys import Keys
from gates.names import check_job_id
from gates.settings import Settings

from . import scripts
from .fields import as_text, failure_text, from_fields, to_fields
from .record import ENDED, HELD, Failure, Job, Limits, Offer, Output, Place, Reason, Renewal, Stray
from .steps import NOBODY, digest_of, given_back, refused, wanted_states

AT_ONCE = 100
"""Jobs in one script or pipeline."""

LISTED_AT_ONCE = 1000
"""Ids of jobs in one answer of Redis."""

MOST_LOOKED_AT = 5000
"""Records that one page of a filtered list reads."""

Reply = tuple[str, "Job | None"]
"""A step's code, and the record after it."""


class RedisJobs:
    """See :class:`store.JobStore`. The connection is the caller's to close, unless :meth:`close` is called."""

    def __init__(self, connection: Connection, keys: Keys, limits: Limits) -> None:
        self.limits = limits
        self._connection = connection
        self._keys = keys
        self._lease = int(limits.lease * 1000)
        self._keep = int(limits.keep * 1000)
        self._keep_blobs = int(limits.keep_blobs * 1000)
        names = ("SUBMIT", "ANSWER", "CLAIM", "ADOPT", "RENEW", "SEND", "PROGRESS", "FINISH", "REQUEUE", "CANCEL")
        self._scripts = {
            name: connection.script(getattr(scripts, name))
            for name in (*names, "PRIORITIZE", "SETTLE", "PLACE", "OVERDUE", "EXPLAIN")
        }

    # -- bytes ----------------------------------------------------------------------------
    def put_blob(self, data: bytes) -> str:
        """See :class:`store.JobStore`."""
        digest = digest_of(data)
        with self._connection.available():
            self._connection.blobs.set(self._keys.job_blob(digest), data, px=self._keep_blobs)
        return digest

    def blob(self, digest: str) -> bytes:
        """See :class:`store.JobStore`."""
        with self._connection.available():
            data: bytes | None = self._connection.blobs.get(self._keys.job_blob(digest))
        if data is None:
            raise BlobNotFound("No bytes of that digest are kept here (any more)", digest=digest)
        return data

    def touch_blobs(self, digests: Sequence[str]) -> list[str]:
        """See :class:`store.JobStore`."""
        missing = []
        for digest in digests:
            with self._connection.available():
                # One by one: they lie in slots of their own, over which a cluster pipelines nothing.
                if not self._connection.control.pexpire(self._keys.job_blob(digest), self._keep_blobs):
                    missing.append(digest)
        return missing

    # -- submitters -----------------------------------------------------------------------
    def submit(self, job: Job) -> Job:
        """See :class:`store.JobStore`."""
        known = self._known(job)
        if known is not None:
            row = _flat(to_fields(replace(job, outputs=known.outputs, cached_from=known.id, progress=1.0)))
            code, shown = self._run("ANSWER", job.id, self._keep, *row)
        else:
            each = (self.limits.queued, self.limits.queued_each, job.submitter, job.priority)
            code, shown = self._run("SUBMIT", job.id, *each, *_flat(to_fields(job)))
        if shown is None:
            raise refused(code, job.id, self.limits, job.submitter)
        return shown

    def get(self, job_id: str) -> Job:
        """See :class:`store.JobStore`."""
        check_job_id(job_id)
        with self._connection.available():
            row = self._connection.control.hgetall(self._keys.job(job_id))
        if not row:
            raise JobNotFound("No job has that id", job=job_id)
        return from_fields(row)

    def page(
        self, limit: int, cursor: str = "", state: str = "", submitter: str = "", instance: str = ""
    ) -> tuple[list[Job], str]:
        """See :class:`store.JobStore`."""
        states, found = wanted_states(state), list[Job]()
        at, _, behind = cursor.partition("-")
        place = (int(at), behind) if cursor else None

        def wanted(job: Job) -> bool:
            return job.state in states and submitter in ("", job.submitter) and instance in ("", job.instance)

        if set(states) <= set(HELD):
            # Few, and in an index of their own.
            with self._connection.available():
                ids = self._connection.control.zrange(self._keys.jobs_leases, 0, -1)
            held = [job for job in self._records(ids) if wanted(job)]
            held = [job for job in held if place is None or (job.submitted, job.id) < place]
            found = sorted(held, key=lambda job: (job.submitted, job.id), reverse=True)[:limit]
            return found, f"{found[-1].submitted}-{found[-1].id}" if len(found) < len(held) else ""
        start, offset, looked_at = at or "+inf", 0, 0
        while looked_at < MOST_LOOKED_AT:
            with self._connection.available():
                rows = self._connection.control.zrevrangebyscore(
                    self._keys.jobs, start, "-inf", start=offset, num=LISTED_AT_ONCE, withscores=True
                )
            offset += len(rows)
            # The cursor's millisecond may have others, in the page before and in this one.
            entries = [(int(score), job_id) for job_id, score in rows]
            entries = [entry for entry in entries if place is None or entry < place]
            ids = self._ended_otherwise_left_out([job_id for _, job_id in entries], states)
            for first in range(0, len(ids), AT_ONCE):
                looked_at += AT_ONCE
                for job in filter(wanted, self._records(ids[first : first + AT_ONCE])):
                    found.append(job)
                    if len(found) == limit:
                        return found, f"{job.submitted}-{job.id}"
            if len(rows) < LISTED_AT_ONCE:
                return found, ""
            place = entries[-1] if entries else place
        return found, f"{place[0]}-{place[1]}" if place else ""

    def counts(self) -> dict[str, int]:
        """See :class:`store.JobStore`."""
        keys = self._keys
        with self._connection.available():
            pipe = self._connection.control.pipeline(transaction=False)
            pipe.zcard(keys.jobs_queue)
            pipe.zrange(keys.jobs_leases, 0, -1)
            pipe.zcard(keys.jobs_ended)
            pipe.hmget(keys.jobs_ends, [f"={state}" for state in ENDED])
            queued, held, ended, ends = pipe.execute()
        counts = {"queued": queued, **dict.fromkeys(HELD, 0), "ended": ended}
        for job in self._records(held):
            # One may have changed since.
            if job.state in HELD:
                counts[job.state] += 1
        return {**counts, **{state: int(count or 0) for state, count in zip(ENDED, ends, strict=True)}}

    def prioritize(self, job_id: str, priority: int) -> Job:
        """See :class:`store.JobStore`."""
        check_job_id(job_id)
        return self._step("PRIORITIZE", job_id, priority)

    def cancel(self, job_id: str, by: str = "") -> Job:
        """See :class:`store.JobStore`."""
        check_job_id(job_id)
        return self._step("CANCEL", job_id, by or NOBODY, self._keep)

    # -- brokers --------------------------------------------------------------------------
    def queued(self, count: int, start: int = 0) -> list[Job]:
        """See :class:`store.JobStore`."""
        with self._connection.available():
            ids = self._connection.control.zrange(self._keys.jobs_queue, start, start + count - 1)
        return [job for job in self._records(ids) if job.state == "queued"]

    def claim(self, broker: str, offers: Sequence[Offer]) -> Job | None:
        """See :class:`store.JobStore`."""
        if not offers:
            return None
        rows: list[Any] = []
        for offer in offers:
            rows += [offer.job, offer.instance, offer.limit, offer.name, offer.url, as_text(offer.reasons)]
        further = [self._keys.job(offer.job) for offer in offers[1:]]
        return self._run("CLAIM", offers[0].job, broker, self._lease, *rows, further=further)[1]

    def explain(self, job: Job, reasons: Sequence[Reason]) -> None:
        """See :class:`store.JobStore`."""
        with self._connection.available():
            self._scripts["EXPLAIN"](keys=[self._keys.job(job.id)], args=[as_text(reasons)])

    def overdue(self, most: int = 100) -> list[Job]:
        """See :class:`store.JobStore`."""
        with self._connection.available():
            ids = self._scripts["OVERDUE"](keys=[self._keys.jobs_leases], args=[most])
        return self._records(ids)

    def adopt(self, broker: str, job: Job) -> Job | None:
        """See :class:`store.JobStore`."""
        return self._run("ADOPT", job.id, broker, self._lease, job.fence)[1]

    def renew(self, jobs: Sequence[Job]) -> list[Renewal]:
        """See :class:`store.JobStore`."""
        renewals: list[Renewal] = []
        for start in range(0, len(jobs), AT_ONCE):
            chunk = jobs[start : start + AT_ONCE]
            keys = [*self._keys_of(chunk[0].id), *(self._keys.job(job.id) for job in chunk[1:])]
            arguments: list[Any] = [chunk[0].id, KEPT_EVENTS, self._lease]
            for job in chunk:
                arguments += [job.id, job.broker, job.fence]
            with self._connection.available():
                replies = self._scripts["RENEW"](keys=keys, args=arguments)
            renewals += [
                Renewal(job.id, code, wanted, place.partition(" ")[0])
                for job, (code, wanted, place) in zip(chunk, replies, strict=True)
            ]
        return renewals

    def send(self, job: Job, prompt_id: str) -> Job:
        """See :class:`store.JobStore`."""
        return self._step("SEND", job.id, job.broker, job.fence, prompt_id, self._lease)

    def progress(self, job: Job, state: str, progress: float = 0.0, node: str = "", note: str = "") -> Job:
        """See :class:`store.JobStore`."""
        return self._step("PROGRESS", job.id, job.broker, job.fence, state, f"{progress:.4f}", node, note)

    def finish(self, job: Job, state: str, outputs: Sequence[Output] = (), error: Failure | None = None) -> Job:
        """See :class:`store.JobStore`."""
        key = self._keys.job_result(job.cache) if job.cache and error is None else self._keys.job(job.id)
        texts = (as_text(outputs), failure_text(error))
        arguments = (job.broker, job.fence, state, *texts, self._keep, self._keep_blobs)
        return self._step("FINISH", job.id, *arguments, further=[key])

    def requeue(self, job: Job, why: str, avoid: bool = False, delay: float = 0.0, stray: bool = False) -> Job:
        """See :class:`store.JobStore`."""
        back = given_back(job, why, avoid)
        copy = Stray(job.prompt_id, job.id, job.instance, job.url) if stray and job.prompt_id else None
        arguments = (
            *(job.broker, job.fence, as_text(back.attempts), as_text(back.avoid), int(delay * 1000), why),
            *(json.dumps(asdict(copy)) if copy else "", self._keep),
        )
        return self._step("REQUEUE", job.id, *arguments, further=[self._keys.jobs_strays])

    def strays(self) -> list[Stray]:
        """See :class:`store.JobStore`."""
        with self._connection.available():
            rows = self._connection.control.hvals(self._keys.jobs_strays)
        return [Stray(**json.loads(row)) for row in rows]

    def settle(self, stray: Stray, finished: bool) -> bool:
        """See :class:`store.JobStore`."""
        further = [self._keys.jobs_strays]
        return self._run("SETTLE", stray.job, stray.prompt_id, int(finished), further=further)[0] == "OK"

    # -- instances ------------------------------------------------------------------------
    def places(self) -> dict[str, Place]:
        """See :class:`store.JobStore`."""
        with self._connection.available():
            pipe = self._connection.control.pipeline(transaction=False)
            pipe.hgetall(self._keys.jobs_places)
            pipe.hgetall(self._keys.jobs_held)
            states, held = pipe.execute()
        found = {}
        for instance in {*states, *held}:
            state, _, by = states.get(instance, "").partition(" ")
            found[instance] = Place(state, by, int(held.get(instance, 0)))
        return found

    def set_place(self, instance: str, state: str, by: str = "") -> Place:
        """See :class:`store.JobStore`."""
        with self._connection.available():
            keys = [self._keys.jobs_places, self._keys.events]
            self._scripts["PLACE"](keys=keys, args=[instance, KEPT_EVENTS, state, by or NOBODY])
        return self.places().get(instance, Place())

    def close(self) -> None:
        """See :class:`store.JobStore`."""
        self._connection.close()

    # -- inside ---------------------------------------------------------------------------
    def _known(self, job: Job) -> Job | None:
        """The job whose results answer this one."""
        if not job.cache:
            return None
        with self._connection.available():
            job_id = self._connection.control.get(self._keys.job_result(job.cache))
        try:
            known = self.get(job_id) if job_id else None
        except JobNotFound:
            return None
        if known is None or self.touch_blobs([output.digest for output in known.outputs if not output.path]):
            return None
        return known

    def _ended_otherwise_left_out(self, ids: list[str], states: Sequence[str]) -> list[str]:
        """Those of the jobs that have not ended in a state that nobody asked for: their records need not be read."""
        if not ids or set(states) >= set(ENDED):
            return ids
        with self._connection.available():
            ends = self._connection.control.hmget(self._keys.jobs_ends, ids)
        return [job_id for job_id, how in zip(ids, ends, strict=True) if how is None or how in states]

    def _records(self, ids: Sequence[str]) -> list[Job]:
        jobs = []
        for start in range(0, len(ids), AT_ONCE):
            with self._connection.available():
                pipe = self._connection.control.pipeline(transaction=False)
                for job_id in ids[start : start + AT_ONCE]:
                    pipe.hgetall(self._keys.job(job_id))
                jobs += [from_fields(row) for row in pipe.execute() if row]
        return jobs

    def _step(self, name: str, job_id: str, *arguments: Any, further: Sequence[str] = ()) -> Job:
        """The job after a step that was made, now or before; raises what the store promises."""
        code, job = self._run(name, job_id, *arguments, further=further)
        if job is None or code not in ("OK", "SAME", "WANTED", "CANCELLED"):
            raise refused(code, job_id, self.limits, state=job.state if job else "")
        return job

    def _run(self, name: str, job_id: str, *arguments: Any, further: Sequence[str] = ()) -> Reply:
        with self._connection.available():
            reply = self._scripts[name](keys=[*self._keys_of(job_id), *further], args=[job_id, KEPT_EVENTS, *arguments])
        return reply[0], from_fields(pairs(reply[1:])) if len(reply) > 1 else None

    def _keys_of(self, job_id: str) -> list[str]:
        keys = self._keys
        indexes = [keys.jobs, keys.jobs_queue, keys.jobs_leases, keys.events, keys.jobs_ended, keys.jobs_waiting]
        return [keys.job(job_id), *indexes, keys.jobs_held, keys.jobs_places, keys.jobs_turns, keys.jobs_ends]


def open_redis_jobs(settings: Settings, limits: Limits) -> RedisJobs:
    """The jobs in the Redis of the settings, over a connection of their own."""
    return RedisJobs(Connection(settings), Keys(settings.namespace), limits)


def _flat(row: dict[str, str]) -> list[str]:
    return [text for pair in row.items() for text in pair]
