"""Runs that go on from decided gates, as jobs of the farm.

All brokers claim under one name: the job store is theirs together, and a run's id is its job's.
So whichever broker looks next finds what any of them has submitted, and a second job of a run
can't be made.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from gates.cut import run_id
from gates.errors import Conflict, GatebusError, GateNotFound, JobNotFound, QueueFull, StoreUnavailable, TooMany
from gates.gate.record import Gate
from gates.runs import BEGUN, Run, Standing
from gates.store import Store

from ..jobs.record import PRIORITIES, Job
from ..jobs.store import JobStore
from .needs import Needs, needs_of
from .submission import Submission

FARM = "farm"
"""Who claims runs for the farm."""

NOBODY = "gates"
"""The submitter of a run from a gate of which nobody says who decided it."""

TAKEOVER = 30.0
"""Seconds without a word from a ComfyUI that has claimed a run, after which the farm takes it over."""

SOONEST, LATEST = 2.0, 15.0
"""Seconds between two looks at a run's job: a quarter of its age, within these."""

KNOWN = 1000
"""Runs of which it is remembered what they need."""

NOT_APPLIED = "Its job ran to its end without carrying the decision out"


class Continuing:
    """See :class:`gates.runs.Submitter`."""

    by = FARM

    def __init__(self, store: Store, jobs: JobStore, can_run: Callable[[Job], bool]) -> None:
        """``can_run``: whether an instance of the farm has what a job needs; called by the thread of the runs."""
        self._store = store
        self._jobs = jobs
        self._can_run = can_run
        self._needs: OrderedDict[tuple[str, str], Needs | None] = OrderedDict()

    def takes(self, lead: Gate, late: float) -> bool:
        """Whether an instance of the farm can run it; one that a ComfyUI has claimed only when that is gone.

        Otherwise it is left to the ComfyUI processes, which may have what the farm has not.
        """
        if lead.run in BEGUN and late < TAKEOVER:
            return False
        try:
            needs = self._needs_of(lead)
        except (GateNotFound, Conflict):
            # Nobody can run it, and it has to be told so.
            return True
        return needs is not None and self._can_run(_job(lead, needs))

    def submit(self, run: Run) -> Standing:
        """Submits the run as a job, before those that wait: somebody has just decided."""
        decision = run.lead.decision
        label = _label(run.lead)
        submission = Submission(
            run.cut.prompt,
            run.cut.extra_data,
            title=f"{_name(run.lead)} → {label}" if label else _name(run.lead),
            submitter=(decision.by if decision is not None else "") or NOBODY,
            priority=PRIORITIES["high"],
        )
        try:
            job = submission.submit(self._jobs, job_id=run.id)
        except (QueueFull, TooMany) as error:
            return Standing("pending", error=error.message)
        return self._standing(run, job)

    def look(self, run: Run) -> Standing | None:
        """How its job stands."""
        try:
            return self._standing(run, self._jobs.get(run.id))
        except JobNotFound:
            return None

    def _standing(self, run: Run, job: Job) -> Standing:
        on = job.instance_name or "the farm"
        if job.state == "done":
            # Noted by the ComfyUI that ran it, unless that has ended in the same moment.
            whole = all(gate.ended for gate in run.family if run.lead.id in (gate.id, gate.group))
            return Standing("done", on) if whole else Standing("failed", on, NOT_APPLIED)
        if job.has_ended:
            return Standing("failed", on, _why(job))
        look_in = min(LATEST, max(SOONEST, (self._store.gates.clock() - job.submitted) / 4000))
        return Standing("submitted", on, self._waits(job), look_in)

    def _waits(self, job: Job) -> str:
        """Why no instance takes a job that waits, "" when one could."""
        if job.state != "queued" or not job.reasons or self._can_run(job):
            return ""
        return "; ".join(f"{reason.name}: {reason.text}" for reason in job.reasons)

    def _needs_of(self, lead: Gate) -> Needs | None:
        """What its run needs of an instance; None when that can't be told here. Raises GateNotFound, Conflict."""
        key = (lead.id, lead.decision.id if lead.decision is not None else "")
        if key not in self._needs:
            family = tuple(self._store.gates.family(lead))
            try:
                self._needs[key] = needs_of(Run(run_id(lead, family), lead, family, self._store).cut.prompt)
            except (GateNotFound, Conflict, StoreUnavailable):
                raise
            except GatebusError:
                # Of a newer ComfyUI, say.
                self._needs[key] = None
            while len(self._needs) > KNOWN:
                self._needs.popitem(last=False)
        return self._needs[key]


def _job(lead: Gate, needs: Needs) -> Job:
    """A job with those needs, to be asked about."""
    return Job(lead.id, nodes=needs.nodes, models=needs.models, gates=needs.gates)


def _name(lead: Gate) -> str:
    return lead.title or lead.workflow or lead.id[:8]


def _label(lead: Gate) -> str:
    """What the route is called that was chosen, "" for none."""
    route = lead.decision.route if lead.decision is not None else 0
    return lead.labels[route - 1] if 1 <= route <= len(lead.labels) else ""


def _why(job: Job) -> str:
    """Why the job did not come to its end."""
    told = job.error.message if job.error is not None else ""
    if job.state == "cancelled":
        by = job.cancelling if job.cancelling not in ("", "-") else ""
        return told or f"Its job was cancelled{f' by {by}' if by else ''}"
    if job.state == "lost":
        return f"Its job was lost: {told}"
    node = job.error.node if job.error is not None else ""
    place = f"{job.error.class_type or 'node'} #{node}: " if job.error is not None and node else ""
    return f"{place}{told}" if told else "Its job failed"
