"""The routes of the farm, which only a broker has: jobs, their files, and what instances are set to."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiohttp import web

from gates.api.answer import SAFE_HEADERS, answer_image, image_type, not_modified
from gates.api.call import Call
from gates.api.route import GATE_ID, SIZE, Field, Route
from gates.codec import read_image
from gates.errors import InvalidImage, InvalidInput, NotFound
from gates.instances.record import Instance
from gates.names import check_job_id

from ..jobs.record import ENDED, LIVE, PRIORITY_LIMIT, Job, Output, Place
from ..jobs.steps import digest_of
from ..jobs.store import JobStore
from .results import kept_bytes
from .roster import listed_instances
from .submission import FOLDER, MAX_INPUTS, PROMPT_LIMIT, Submission, parse_inputs

PAGE = 100
"""Jobs in one answer, when no other number is asked for."""

SHOWN_PLACE = {"instance": str, "state": str, "by": str, "held": int}


class FarmApi:
    """The routes over one job store."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs

    @property
    def routes(self) -> tuple[Route, ...]:
        """For ``gates.api.mount``."""
        jobs, job = "/gatebus/jobs", "/gatebus/jobs/{job_id}"
        page = {"jobs": [Job], "cursor": str, "counts": dict[str, int]}
        kept = {"digest": str, "bytes": int}
        return (
            Route("GET", jobs, self.list_jobs, query=_LIST, answer=page),
            Route("POST", jobs, self.submit, role="decide", body="json", fields=_JOB, body_limit=_LIMIT, answer=Job),
            Route("PUT", f"{jobs}/inputs/{{digest}}", self.put_input, role="decide", body="image", answer=kept),
            Route("GET", f"{jobs}/places", self.list_places, answer={"places": [SHOWN_PLACE], "listed": [Instance]}),
            Route("GET", job, self.get_job, answer=Job),
            Route("POST", f"{job}/cancel", self.cancel, role="decide", body="json", fields=(_BY,), answer=Job),
            Route(
                "POST", f"{job}/priority", self.prioritize, role="decide", body="json", fields=(_PRIORITY,), answer=Job
            ),
            Route("GET", f"{job}/outputs/{{number}}", self.get_output, answer=_FILES),
            Route("GET", f"{job}/outputs/{{number}}/thumbnail", self.get_thumbnail, query=(SIZE,), answer="image/webp"),
            *(
                Route(
                    "POST",
                    f"/gatebus/instances/{{instance_id}}/{name}",
                    run,
                    role="admin",
                    body="json",
                    fields=(_BY,),
                    answer=SHOWN_PLACE,
                )
                for name, run in (("pause", self.pause), ("drain", self.drain), ("resume", self.resume))
            ),
        )

    async def list_jobs(self, call: Call) -> web.Response:
        """Lists the jobs of the farm, newest first, page by page, and counts them by their state."""
        query = call.query
        wanted = (query["limit"], query["cursor"], query["state"], query["submitter"], query["instance"])
        found, cursor = await call.run(self._jobs.page, *wanted)
        counts = await call.run(self._jobs.counts)
        shown = {"jobs": [job.to_json() for job in found], "cursor": cursor, "counts": counts}
        return await call.answer(shown, large=True)

    async def submit(self, call: Call) -> web.Response:
        """Submits a prompt to the farm; with an id of the caller's own it may be sent again. 429 or 503: too many."""
        fields = await call.fields()
        if fields["id"]:
            check_job_id(fields["id"])
        submission = Submission(
            fields["prompt"],
            fields["extra_data"] or {},
            parse_inputs(fields["inputs"] or ()),
            fields["title"],
            call.caller.name or fields["submitter"],
            fields["priority"],
            fields["cache"],
            fields["folder"],
        )
        job = await call.run(submission.submit, self._jobs, call.store.settings.output_dir, fields["id"])
        return await call.answer(job.to_json())

    async def put_input(self, call: Call) -> web.Response:
        """Keeps an image for jobs that name it by its SHA-256; it is sent once, whatever number of jobs reads it."""
        settings = call.store.settings
        data = await call.api.intake.read(call.http, settings.max_image_bytes, "image")
        digest = await call.compute(digest_of, data)
        if digest != call.path["digest"]:
            raise InvalidInput(f"The bytes have another digest: {digest}", digest=digest)
        await call.compute(read_image, data, settings)
        await call.run(self._jobs.put_blob, data)
        return await call.answer({"digest": digest, "bytes": len(data)})

    async def list_places(self, call: Call) -> web.Response:
        """What the farm has at each instance: how it was set, by whom, jobs held; and those that only settings list."""
        places = await call.run(self._jobs.places)
        records = await call.run(call.store.instances.records)
        listed = listed_instances(call.store.settings.comfyui_urls, records)
        shown = [{"instance": instance, **asdict(place)} for instance, place in sorted(places.items())]
        return await call.answer({"places": shown, "listed": [each.to_json() for each in listed]})

    async def get_job(self, call: Call) -> web.Response:
        """Shows one job: where it is, why there, what it made, or why it failed."""
        job = await call.run(self._jobs.get, call.path["job_id"])
        return await call.answer(job.to_json())

    async def cancel(self, call: Call) -> web.Response:
        """Cancels a job: at once while it waits, else as soon as its instance has stopped it; 409 when it has ended."""
        by = call.caller.name or (await call.fields())["by"]
        job = await call.run(self._jobs.cancel, call.path["job_id"], by)
        return await call.answer(job.to_json())

    async def prioritize(self, call: Call) -> web.Response:
        """Gives a job that waits another priority; 409 when an instance has it already, or it has ended."""
        priority = (await call.fields())["priority"]
        job = await call.run(self._jobs.prioritize, call.path["job_id"], priority)
        return await call.answer(job.to_json())

    async def get_output(self, call: Call) -> web.StreamResponse:
        """One of the files that the job made, counted from 0."""
        output = await self._output(call)
        if call.http.headers.get("If-None-Match") == f'"{output.digest}"':
            return not_modified(output.digest)
        data = await call.run(kept_bytes, self._jobs, output)
        try:
            image_type(data)
        except InvalidImage:
            headers = {**SAFE_HEADERS, "ETag": f'"{output.digest}"', "Content-Disposition": "attachment"}
            return web.Response(body=data, content_type="application/octet-stream", headers=headers)
        return answer_image(data, output.digest)

    async def get_thumbnail(self, call: Call) -> web.StreamResponse:
        """A small picture of one of the images that the job made; 404 for another file."""
        output = await self._output(call)
        try:
            size = call.query["size"]
            return await call.answer_thumbnail(output.digest, size, lambda: kept_bytes(self._jobs, output))
        except InvalidImage as error:
            raise NotFound(f"That output is no image: {error.message}") from error

    async def pause(self, call: Call) -> web.Response:
        """Gives the instance no further jobs; those that it has go on."""
        return await self._set(call, "paused")

    async def drain(self, call: Call) -> web.Response:
        """Gives the instance no further jobs, and those that wait there to others; the one that runs goes on."""
        return await self._set(call, "draining")

    async def resume(self, call: Call) -> web.Response:
        """Takes the instance back into service."""
        return await self._set(call, "")

    async def _set(self, call: Call, state: str) -> web.Response:
        by = call.caller.name or (await call.fields())["by"]
        place: Place = await call.run(self._jobs.set_place, call.path["instance_id"], state, by)
        shown: dict[str, Any] = {"instance": call.path["instance_id"], "state": place.state, "by": place.by}
        return await call.answer({**shown, "held": place.held})

    async def _output(self, call: Call) -> Output:
        job = await call.run(self._jobs.get, call.path["job_id"])
        number = int(call.path["number"])
        if number >= len(job.outputs):
            raise NotFound(f"The job has {len(job.outputs)} outputs", outputs=len(job.outputs))
        return job.outputs[number]


_LIMIT = PROMPT_LIMIT + 256 * 1024
_FILES = "image/png, image/jpeg, image/webp, application/octet-stream"
_BY = Field("by", "text", "Who does it, for people, when no token says so.", default="")
_PRIORITY = Field("priority", "int", "Higher goes first.", required=True, low=-PRIORITY_LIMIT, high=PRIORITY_LIMIT)
_LIST = (
    Field("state", "text", "Only these.", default="", choices=("", "live", "held", "ended", *LIVE, *ENDED)),
    Field("submitter", "text", "Only jobs of this one.", default=""),
    Field("instance", "text", "Only jobs that are or were last at this one.", default="", pattern=f"({GATE_ID})?"),
    Field("limit", "int", "Jobs in the answer, at most.", default=PAGE, low=1, high=1000),
    Field("cursor", "text", "The cursor of the answer before.", default="", pattern=f"([0-9]{{1,15}}-{GATE_ID})?"),
)
_JOB = (
    Field("prompt", "object", "In ComfyUI's API format: node id -> {class_type, inputs}.", required=True),
    Field("extra_data", "object", "Goes with it, e.g. extra_pnginfo.", nullable=True),
    Field("inputs", "objects", "{node, input, digest} of files that were sent before.", nullable=True, high=MAX_INPUTS),
    Field("title", "text", "For people.", default=""),
    Field("submitter", "text", "Who submits it, when no token says so.", default=""),
    Field("priority", "int", "Higher goes first.", default=0, low=-PRIORITY_LIMIT, high=PRIORITY_LIMIT),
    Field(
        "cache",
        "flag",
        "The results of a job with the same nodes, inputs and files will do; not with gates.",
        default=False,
    ),
    Field("folder", "text", "Outputs go to this folder below the broker's.", default="", pattern=f"({FOLDER})?"),
    Field(
        "id",
        "text",
        "32 hex digits: the job's id, so that it can be submitted again.",
        default="",
        pattern=f"({GATE_ID})?",
    ),
)
