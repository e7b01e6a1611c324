"""The farm behind a broker: prompts handed in as jobs, followed, cancelled and fetched; images edited by a template."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.jobs.record import Attempt, Failure, Input, Job, Output, Reason
from gates.errors import InvalidInput, StoreUnavailable, TooBusy
from gates.names import check_job_id

from .answers import Unreachable, record_of, value_of
from .images import Picture, body_of
from .wire import Wire

if TYPE_CHECKING:
    from broker.comfyui.generation import GenerationRequest, GenerationResult
    from broker.comfyui.library import WorkflowLibrary
    from broker.comfyui.progress import Progress
    from broker.comfyui.workflows import Template

LOOK_AGAIN = 0.5
"""Seconds between two looks at a job that is awaited."""

EVERY = 1000
"""Jobs in one answer, at most."""


class Farm(Wire):
    """The farm of the broker at ``url``; thread-safe. Close it, or use it as a context manager.

    Arguments and errors are those of :class:`Client`. A job has its id from here on, so that a repeat submits
    it once.
    """

    # -- jobs -----------------------------------------------------------------------------
    def submit(
        self,
        prompt: Mapping[str, Any],
        images: Mapping[str, Picture] | None = None,
        *,
        title: str = "",
        submitter: str = "",
        priority: int = 0,
        cache: bool = False,
        job_id: str = "",
    ) -> Job:
        """Submits a prompt in API format, and returns its job as it is then.

        ``images``: ``NODE.INPUT``, or ``NODE`` for its input ``image`` -> the image that is put there.
        ``priority``: higher goes first, -100 to 100. ``cache``: the results of an identical job will do.
        ``job_id``: 32 hex digits of your own. Raises InvalidInput, InvalidImage, TooMany, QueueFull.
        """
        inputs = []
        for place, picture in (images or {}).items():
            node, dot, name = (place, "", "") if place in prompt else place.rpartition(".")
            if node not in prompt:
                raise InvalidInput(f"The prompt has no place {place[:100]!a}; say NODE.INPUT, or NODE", what="images")
            inputs.append(Input(node, name if dot else "image", self.put(body_of(picture)[0])))
        given = {"title": title, "submitter": submitter, "priority": priority, "cache": cache}
        return self._submitted(prompt, inputs, job_id or uuid.uuid4().hex, **given)

    def job(self, job: Job | str) -> Job:
        """The job as it is now; raises JobNotFound."""
        return _job_of(self._get(f"jobs/{_id(job)}"))

    def jobs(self, state: str = "", submitter: str = "") -> list[Job]:
        """Jobs, newest first; ``state``: ``live``, ``ended`` or one of a job's own."""
        found: list[Job] = []
        cursor = ""
        while True:
            query = {"state": state, "submitter": submitter, "limit": EVERY, "cursor": cursor}
            page = self._get("jobs", query)
            found += map(_job_of, page["jobs"])
            cursor = page["cursor"]
            if not cursor:
                return found

    def wait(self, job: Job | str, timeout: float | None = None) -> Job:
        """The job once it has ended, however: look at ``state``. Goes on over outages of the broker.

        Raises TimeoutError after ``timeout`` seconds; the job goes on.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                now = self.job(job)
                if now.has_ended:
                    return now
            except (Unreachable, StoreUnavailable, TooBusy):
                if end is not None and time.monotonic() > end:
                    raise
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"The job {_id(job)} did not end within {timeout:g} seconds")
            time.sleep(LOOK_AGAIN)

    def prioritize(self, job: Job | str, priority: int) -> Job:
        """Gives a job that waits another priority; raises Conflict when an instance has it already."""
        body = {"priority": priority}
        return _job_of(value_of(self._call("POST", f"jobs/{_id(job)}/priority", repeat=True, json=body)))

    def cancel(self, job: Job | str, *, by: str = "") -> Job:
        """Cancels the job: at once while it waits, else as soon as its instance has stopped it; raises JobEnded."""
        return _job_of(value_of(self._call("POST", f"jobs/{_id(job)}/cancel", repeat=True, json={"by": by})))

    def output(self, job: Job | str, number: int = 0) -> bytes:
        """One of the files that the job made, from 0; raises NotFound."""
        return self._read(f"jobs/{_id(job)}/outputs/{number}").content

    # -- edits ----------------------------------------------------------------------------
    def edit(
        self,
        image: bytes | str | Path,
        positive: str | None = None,
        negative: str | None = None,
        template: str | Template = "img2img_default",
        *,
        mask: bytes | str | Path | None = None,
        parameters: Mapping[str, Any] | None = None,
        library: WorkflowLibrary | None = None,
        output_dir: Path | str | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_complete: Callable[[GenerationResult], None] | None = None,
        on_error: Callable[[GenerationResult], None] | None = None,
    ) -> GenerationResult:
        """Edits an image by a workflow template, wherever there is a place, and returns what came of it.

        Arguments, result and errors are those of :func:`broker.comfyui.edit.submit_edit`; callbacks are called
        in this thread. Ctrl-C cancels the job.
        """
        # Here, because who only submits prompts needs none of it.
        from broker.comfyui.edit import prepare, texts_with
        from broker.comfyui.library import WorkflowLibrary as Library
        from gates.settings import Settings

        chosen = (library or Library()).load(template) if isinstance(template, str) else template
        values = texts_with(parameters or {}, positive=positive, negative=negative)
        wanted = prepare(chosen, values, image, mask, Settings())
        told = {"on_progress": on_progress, "on_complete": on_complete, "on_error": on_error}
        wanted = replace(wanted, metadata=dict(metadata or {}), **told)  # type: ignore[arg-type]
        folder = Path(output_dir) if output_dir is not None else None
        return self.carry_out(wanted, chosen, folder, threading.Event())

    def carry_out(
        self, wanted: GenerationRequest, template: Template, folder: Path | None, stop: threading.Event
    ) -> GenerationResult:
        """As :class:`broker.comfyui.edit.Farm`, so that ``submit_edit`` takes this farm for a client."""
        from broker.farm.edit import carry_out

        return carry_out(self, wanted, template, folder, stop)

    def put(self, data: bytes) -> str:
        """Keeps a PNG, JPEG or WebP for jobs, and returns its SHA-256; sent once, however many jobs read it."""
        digest = hashlib.sha256(data).hexdigest()
        kind = body_of(data)[1]
        self._call("PUT", f"jobs/inputs/{digest}", repeat=True, content=data, headers={"Content-Type": kind})
        return digest

    def enqueue(self, prompt: Mapping[str, Any], inputs: Sequence[Input], title: str, job_id: str) -> Job:
        """As :class:`broker.farm.edit.Farm`."""
        return self._submitted(prompt, inputs, job_id, title=title)

    def _submitted(self, prompt: Mapping[str, Any], inputs: Sequence[Input], job_id: str, **given: Any) -> Job:
        body = {"prompt": prompt, "inputs": [asdict(each) for each in inputs], "id": job_id, **given}
        return _job_of(value_of(self._call("POST", "jobs", repeat=True, json=body)))


def _id(job: Job | str) -> str:
    return check_job_id(job.id if isinstance(job, Job) else job)


def _job_of(value: Mapping[str, Any]) -> Job:
    """The job of its JSON."""
    given = dict(value)
    for name, kind in (("inputs", Input), ("outputs", Output), ("reasons", Reason), ("attempts", Attempt)):
        given[name] = tuple(record_of(kind, each) for each in given.get(name) or ())
    for name in ("nodes", "models", "avoid"):
        given[name] = tuple(given.get(name) or ())
    given["error"] = record_of(Failure, given["error"]) if given.get("error") else None
    return record_of(Job, given)
