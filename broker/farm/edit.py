"""An image edited by a template on the farm: a job like any other, awaited and fetched.

What reaches the farm is a :class:`Farm`: the store itself (:class:`StoreFarm`), or a broker's HTTP
API (:class:`gatebus.Farm`). All of it blocks.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from gates.errors import GatebusError, StoreUnavailable, TooBusy

from ..comfyui.connection import Limits
from ..comfyui.downloads import Download, measure
from ..comfyui.errors import DownloadBroken, NodeProblem, PromptCancelled, PromptEnded, PromptFailed, PromptInvalid
from ..comfyui.generation import GenerationRequest, GenerationResult, OutputImage, Timings, result_of
from ..comfyui.outputs import OutputFile
from ..comfyui.progress import Progress
from ..comfyui.refusals import NoOutput
from ..comfyui.workflows import Template
from ..jobs.record import Input, Job
from ..jobs.store import JobStore
from .results import kept_bytes
from .submission import Submission

FIRST_LOOK, LAST_LOOK = 0.1, 1.0
"""Seconds between two looks at a job: at first, and when it takes long."""

AWAY = 120.0
"""Seconds for which the farm may not answer while a job is awaited."""


class JobFailed(PromptFailed):
    """A node raised, as its job tells."""

    def __init__(self, job: Job) -> None:
        failure = job.error
        node, kind = (failure.node, failure.class_type) if failure else ("", "")
        message = failure.message if failure else "The job tells no reason"
        trace = failure.traceback.splitlines() if failure else []
        details: dict[str, Any] = {"node_id": node, "class_type": kind, "traceback": trace}
        PromptEnded.__init__(self, job.prompt_id, message, job=job.id, **details)
        self.node_id, self.class_type, self.traceback = node, kind, tuple(trace)
        self.exception_type, _, self.exception_message = message.partition(" failed: ")[2].partition(": ")


class JobLost(PromptEnded):
    """Instance after instance went away with the job."""

    type = "comfyui_prompt_lost"


class Farm(Protocol):
    """What an edit needs of a farm; every call may be repeated. Raises GatebusError."""

    def put(self, data: bytes) -> str:
        """Keeps an image for jobs, and returns its SHA-256 in hex."""
        ...

    def enqueue(self, prompt: Mapping[str, Any], inputs: Sequence[Input], title: str, job_id: str) -> Job:
        """Submits a job under that id."""
        ...

    def job(self, job: str) -> Job:
        """The job as it is now."""
        ...

    def cancel(self, job: str) -> Job:
        """Cancels the job, or has it cancelled."""
        ...

    def output(self, job: Job, number: int) -> bytes:
        """One of the files that the job made, from 0."""
        ...


class StoreFarm:
    """The farm of a store that is open here; brokers elsewhere carry its jobs."""

    def __init__(self, jobs: JobStore, submitter: str = "") -> None:
        self._jobs = jobs
        self._submitter = submitter

    def put(self, data: bytes) -> str:
        """See :class:`Farm`."""
        return self._jobs.put_blob(data)

    def enqueue(self, prompt: Mapping[str, Any], inputs: Sequence[Input], title: str, job_id: str) -> Job:
        """See :class:`Farm`."""
        return Submission(prompt, {}, inputs, title, self._submitter).submit(self._jobs, None, job_id)

    def job(self, job: str) -> Job:
        """See :class:`Farm`."""
        return self._jobs.get(job)

    def cancel(self, job: str) -> Job:
        """See :class:`Farm`."""
        return self._jobs.cancel(job, self._submitter)

    def output(self, job: Job, number: int) -> bytes:
        """See :class:`Farm`."""
        return kept_bytes(self._jobs, job.outputs[number])

    def carry_out(
        self, wanted: GenerationRequest, template: Template, folder: Path | None, stop: threading.Event
    ) -> GenerationResult:
        """As :class:`broker.comfyui.edit.Farm`."""
        return carry_out(self, wanted, template, folder, stop)


def carry_out(
    farm: Farm,
    wanted: GenerationRequest,
    template: Template,
    folder: Path | None = None,
    stop: threading.Event | None = None,
) -> GenerationResult:
    """Carries out a prepared request as a job of the same id; callbacks are called here, in this thread.

    Raises what :func:`broker.comfyui.edit.submit_edit` does. What goes wrong here, Ctrl-C too, cancels the
    job; a farm that does not answer is not told anything: the job goes on, and ``details["job"]`` names it.
    """
    job_id = wanted.id.replace("-", "")
    job: Job | None = None
    try:
        try:
            prompt, inputs = _filled(farm, wanted, template)
            job = farm.enqueue(prompt, inputs, template.name, job_id)
            job = _ended(farm, wanted, job, prompt, stop or threading.Event())
            _check(job)
            outputs = _outputs(farm, template, job, folder)
        except (StoreUnavailable, TooBusy, ConnectionError) as error:
            if isinstance(error, GatebusError):
                error.details.setdefault("job", job_id)
            raise
        except BaseException:
            if job is not None and not job.has_ended:
                _cancelled(farm, job_id)
            raise
    except GatebusError as error:
        if wanted.on_error is not None:
            state = job.state if job is not None and job.has_ended and job.state != "done" else "failed"
            wanted.on_error(result_of(wanted, job.url if job else "", _timings(job), error=error, state=state))
        raise
    result = result_of(wanted, job.url, _timings(job), outputs)
    if wanted.on_complete is not None:
        wanted.on_complete(result)
    return result


def _filled(farm: Farm, wanted: GenerationRequest, template: Template) -> tuple[dict[str, Any], list[Input]]:
    """The prompt, and the files that the farm puts into it."""
    digests = {name: farm.put(each.data) for name, each in wanted.inputs.items()}
    # Their names at an instance are the farm's to give.
    filled = template.fill({**wanted.parameters, **{name: f"{digest}.png" for name, digest in digests.items()}})
    places = ((place, digest) for name, digest in digests.items() for place in template.parameters[name].places)
    return filled.prompt, [Input(place.node, place.input, digest) for place, digest in places]


def _ended(farm: Farm, wanted: GenerationRequest, job: Job, prompt: Mapping[str, Any], stop: threading.Event) -> Job:
    """The job once it has ended; raises PromptCancelled when ``stop`` was set."""
    told, pause, heard = Progress(job.id, fraction=-1.0), FIRST_LOOK, time.monotonic()
    while True:
        now = _progress(job, prompt, told)
        if now != told:
            told, pause = now, FIRST_LOOK
            if wanted.on_progress is not None:
                wanted.on_progress(now)
        if job.has_ended:
            return job
        if stop.wait(pause):
            raise PromptCancelled(job.prompt_id, f"The job {job.id} is not wanted any more", job=job.id)
        pause = min(1.5 * pause, LAST_LOOK)
        try:
            job, heard = farm.job(job.id), time.monotonic()
        except (StoreUnavailable, TooBusy, ConnectionError):
            if time.monotonic() - heard > AWAY:
                raise


def _progress(job: Job, prompt: Mapping[str, Any], before: Progress) -> Progress:
    state: Literal["queued", "running", "done", "failed", "cancelled", "lost"]
    if job.state in ("done", "failed", "cancelled", "lost"):
        state = job.state  # type: ignore[assignment]
    elif job.state == "unknown":
        state = before.state
    else:
        state = "running" if job.state == "running" else "queued"
    kind = str(prompt.get(job.node, {}).get("class_type", "")) if job.node else ""
    # A job that begins anew elsewhere goes on from where it is seen to be.
    fraction = 1.0 if state == "done" else max(before.fraction, min(0.99, job.progress), 0.0)
    return Progress(job.id, state, fraction, node_id=job.node, class_type=kind, nodes=len(prompt))


def _check(job: Job) -> None:
    """Raises what the end of the job was, unless it is done."""
    failure = job.error
    if job.state == "done":
        return
    message = failure.message if failure else f"The job {job.id} is {job.state}"
    if job.state == "cancelled":
        raise PromptCancelled(job.prompt_id, message, job=job.id)
    if job.state == "lost":
        raise JobLost(job.prompt_id, message, job=job.id)
    if failure is not None and failure.type == "validation":
        raise PromptInvalid(message, [NodeProblem(failure.node, failure.class_type, "", "", message)])
    if failure is not None and failure.type == "execution":
        raise JobFailed(job)
    raise PromptEnded(job.prompt_id, message, job=job.id)


def _outputs(farm: Farm, template: Template, job: Job, folder: Path | None) -> tuple[OutputImage, ...]:
    """The files of the template's outputs, in its order."""
    found = []
    for name, output in template.outputs.items():
        for number, file in enumerate(job.outputs):
            if file.node == output.node:
                data = farm.output(job, number)
                if hashlib.sha256(data).hexdigest() != file.digest:
                    raise DownloadBroken(f"{file.name} came with other bytes than the job made", job=job.id)
                width, height = measure(data, file.name, Limits.pixels)
                got = Download(OutputFile(file.node, file.kind, file.name), data, file.digest, width, height)
                path = str(got.save(folder)) if folder is not None else ""
                found.append(OutputImage(name, file.node, file.name, file.digest, width, height, path, data))
    if not found:
        dropped = f" ({job.error.message})" if job.error else ""
        raise NoOutput(f"The job {job.id} is done and put out no file of {template.name}{dropped}", job=job.id)
    return tuple(found)


def _cancelled(farm: Farm, job_id: str) -> None:
    """Takes the job back, as far as that still goes: what made us do so is what the caller hears of."""
    try:
        farm.cancel(job_id)
    except GatebusError:
        return


def _timings(job: Job | None) -> Timings:
    if job is None:
        return Timings()
    return Timings(*(at / 1000 if at else None for at in (job.sent, job.started, job.ended)))
