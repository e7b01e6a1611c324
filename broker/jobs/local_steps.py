"""What the steps of local jobs do within one transaction: rows in and out, turns, leases, the end."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .fields import from_fields, to_fields
from .record import ENDED, HELD, LIVE, Job, Limits, Offer, Place, Renewal, Stray
from .steps import given_back


@dataclass(frozen=True)
class Row:
    """A job with what its record does not show."""

    job: Job
    turn: int
    lease: int


class LocalSteps:
    """One transaction; ``changed`` are the jobs that are worth an event when it is over."""

    def __init__(self, db: sqlite3.Connection, now: int, limits: Limits) -> None:
        self.now = now
        self.changed: list[Job] = []
        self._db = db
        self._keep = int(limits.keep * 1000)

    # -- rows -----------------------------------------------------------------------------
    def rows(self, where: str, values: Sequence[Any]) -> list[Row]:
        """The jobs for which the condition holds."""
        found = self._db.execute(f"SELECT * FROM job WHERE {where}", tuple(values))  # noqa: S608 -- ours, without values
        return [Row(from_fields(json.loads(row["record"])), row["turn"], row["lease"]) for row in found]

    def row(self, job_id: str) -> Row | None:
        """One job."""
        return next(iter(self.rows("id = ?", [job_id])), None)

    def find(self, job_id: str) -> Job | None:
        """One job's record."""
        row = self.row(job_id)
        return row.job if row else None

    def change(self, job: Job, lease: int | None = None) -> Job:
        """Keeps the record with the next rev; worth an event."""
        job = replace(job, rev=job.rev + 1)
        self.changed.append(job)
        return self.keep(job, lease)

    def keep(self, job: Job, lease: int | None = None) -> Job:
        """Keeps the record as it is."""
        columns = [job.state, job.instance, job.ended, json.dumps(to_fields(job), ensure_ascii=False)]
        self._db.execute(
            "UPDATE job SET state = ?, instance = ?, ended = ?, record = ?, lease = coalesce(?, lease) WHERE id = ?",
            (*columns, lease, job.id),
        )
        return job

    # -- the queue ------------------------------------------------------------------------
    def waiting(self, submitter: str | None) -> dict[str, int]:
        """Submitter -> its jobs that wait; None: of all."""
        found = self._db.execute(
            "SELECT submitter, count(*) FROM job WHERE state = 'queued' AND (? IS NULL OR submitter = ?)"
            " GROUP BY submitter",
            (submitter, submitter),
        )
        return dict(tuple(row) for row in found)

    def next_turn(self, job: Job) -> int:
        """The turn after the submitter's last one, and after the one that is served; see ``scripts.SUBMIT``."""
        found = self._db.execute(
            "SELECT max(turn) FROM turn WHERE priority = ? AND submitter IN ('', ?)",
            (job.priority, f"={job.submitter}"),
        )
        turn = int(found.fetchone()[0] or 0) + 1
        self._set_turn(job.priority, f"={job.submitter}", turn)
        return turn

    def queue(self, job: Job, turn: int) -> Job:
        """Adds a new job."""
        self._db.execute(
            "INSERT INTO job (id, submitter, submitted, priority, turn, lease) VALUES (?, ?, ?, ?, ?, 0)",
            (job.id, job.submitter, job.submitted, job.priority, turn),
        )
        return self.change(job)

    def prioritize(self, job: Job, priority: int) -> Job:
        """Moves a job that waits to a turn of that priority."""
        moved = replace(job, priority=priority)
        turn = self.next_turn(moved)
        self._db.execute("UPDATE job SET priority = ?, turn = ? WHERE id = ?", (priority, turn, job.id))
        return self.change(moved)

    def claim(self, broker: str, offer: Offer, lease: int) -> Job | None:
        """The offered job, when it still waits and the place is still free."""
        row, place = self.row(offer.job), self.places().get(offer.instance, Place())
        if row is None or row.job.state != "queued" or row.job.after > self.now:
            return None
        if place.state or place.held >= offer.limit:
            return None
        if row.turn > self._served(row.job.priority):
            self._set_turn(row.job.priority, "", row.turn)
        claimed = replace(
            row.job,
            state="claimed",
            broker=broker,
            fence=row.job.fence + 1,
            claimed=self.now,
            instance=offer.instance,
            instance_name=offer.name,
            url=offer.url,
            reasons=offer.reasons,
            prompt_id="",
            progress=0.0,
            node="",
            note="",
            sent=0,
            started=0,
        )
        shown = self.change(claimed, self.now + lease)
        if not self.waiting(None):
            self._db.execute("DELETE FROM turn")
        return shown

    def give_back(self, row: Row, why: str, avoid: bool, after: int, stray: bool) -> Job:
        """See :meth:`store.JobStore.requeue`."""
        job = given_back(row.job, why, avoid)
        if stray and job.prompt_id:
            values = (job.prompt_id, job.id, job.instance, job.url)
            self._db.execute("INSERT OR REPLACE INTO stray VALUES (?, ?, ?, ?)", values)
        if job.cancelling:
            return self.end(replace(job, note=why), "cancelled")
        waiting = replace(job, state="queued", after=after, progress=0.0, node="", note=why, prompt_id="")
        return self.change(replace(waiting, instance="", instance_name="", url=""))

    def end(self, job: Job, state: str) -> Job:
        """Ends the job, which may be a new one, and forgets those that ended long ago."""
        if self.row(job.id) is None:
            self.queue(job, 0)
            self.changed.clear()
        ended = self.change(replace(job, state=state, ended=self.now))
        marks = ",".join("?" * len(ENDED))
        self._db.execute(
            f"DELETE FROM job WHERE state IN ({marks}) AND ended <= ?",  # noqa: S608
            (*ENDED, self.now - self._keep),
        )
        return ended

    # -- owners ---------------------------------------------------------------------------
    def ownership(self, row: Row | None, job: Job) -> str:
        """``OK`` when the job is still its owner's; else why it is not."""
        if row is None:
            return "MISSING"
        if row.job.has_ended:
            return "ENDED"
        same = (row.job.broker, row.job.fence) == (job.broker, job.fence)
        return "OK" if row.job.state in HELD and same else "FENCED"

    def renew(self, job: Job, lease: int) -> Renewal:
        """Renews the lease of one job."""
        row = self.row(job.id)
        code = self.ownership(row, job)
        if row is None or code != "OK":
            return Renewal(job.id, code)
        self._db.execute("UPDATE job SET lease = ? WHERE id = ?", (self.now + lease, job.id))
        return Renewal(job.id, code, row.job.cancelling, self.places().get(row.job.instance, Place()).state)

    # -- instances, results, strays -------------------------------------------------------
    def places(self) -> dict[str, Place]:
        """Instance -> how it was set, and the jobs held there."""
        marks = ",".join("?" * len(HELD))
        held = self._db.execute(
            f"SELECT instance, count(*) FROM job WHERE state IN ({marks}) GROUP BY instance",  # noqa: S608
            HELD,
        )
        found = {instance: Place(held=count) for instance, count in held}
        for instance, state, by in self._db.execute("SELECT instance, state, by FROM place"):
            found[instance] = Place(state, by, found.get(instance, Place()).held)
        return found

    def set_place(self, instance: str, state: str, by: str) -> bool:
        """Sets it, and says whether it was set otherwise before."""
        before = self.places().get(instance, Place()).state
        self._db.execute("DELETE FROM place WHERE instance = ?", (instance,))
        if state:
            self._db.execute("INSERT INTO place VALUES (?, ?, ?)", (instance, state, by))
        return before != state

    def counts(self) -> dict[str, int]:
        """State -> jobs, and all that ended."""
        found: dict[str, int] = dict(
            tuple(row) for row in self._db.execute("SELECT state, count(*) FROM job GROUP BY state")
        )
        counts = {state: found.get(state, 0) for state in (*LIVE, *ENDED)}
        return {**counts, "ended": sum(counts[state] for state in ENDED)}

    def result(self, digest: str) -> Job | None:
        """The job whose results identical jobs take."""
        found = self._db.execute("SELECT job FROM result WHERE digest = ? AND until > ?", (digest, self.now)).fetchone()
        return self.find(found["job"]) if found else None

    def remember(self, digest: str, job_id: str, keep: int) -> None:
        """Lets identical jobs take this job's results."""
        self._db.execute("DELETE FROM result WHERE until <= ?", (self.now,))
        self._db.execute("INSERT OR REPLACE INTO result VALUES (?, ?, ?)", (digest, job_id, self.now + keep))

    def strays(self) -> list[Stray]:
        """Copies to look for."""
        return [Stray(*row) for row in self._db.execute("SELECT prompt_id, job, instance, url FROM stray")]

    def forget_stray(self, prompt_id: str) -> bool:
        """Whether it was there."""
        return self._db.execute("DELETE FROM stray WHERE prompt_id = ?", (prompt_id,)).rowcount == 1

    def _served(self, priority: int) -> int:
        found = self._db.execute("SELECT turn FROM turn WHERE priority = ? AND submitter = ''", (priority,)).fetchone()
        return int(found[0]) if found else 0

    def _set_turn(self, priority: int, who: str, turn: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO turn VALUES (?, ?, ?)", (priority, who, turn))
