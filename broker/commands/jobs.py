"""The commands about jobs: submit prompts to the farm, follow them, fetch what they made."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from gates.codec import read_image
from gates.errors import GatebusError, InvalidInput
from gates.settings import Settings

from ..access import Access
from ..jobs.record import ENDED, LIVE, PRIORITIES, PRIORITY_LIMIT, Input, Job
from ..jobs.store import JobStore
from .completion import job_ids
from .job_access import find_job, jobs_of
from .progress import progress
from .table import age, as_json, clean, json_option, table

LOOK_AGAIN = 0.5
"""Seconds between two looks at jobs that are waited for."""

UNSEEN_FOR = 5.0
"""Seconds without a sign of any broker, after which who waits is told."""

IMAGES = (".png", ".jpg", ".jpeg", ".webp")


def _priority(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """The number of a word or a number, None for none; raises BadParameter."""
    if value is None:
        return None
    try:
        number = PRIORITIES[value] if value in PRIORITIES else int(value)
    except ValueError:
        number = PRIORITY_LIMIT + 1
    if abs(number) > PRIORITY_LIMIT:
        raise click.BadParameter(f"{', '.join(PRIORITIES)}, or a number of -{PRIORITY_LIMIT} to {PRIORITY_LIMIT}")
    return number


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="PLACE=FILE",
    help="Puts an image into the prompt. PLACE: NODE.INPUT, or a node's id or title (its input image).",
)
@click.option("--each", metavar="PLACE=FOLDER", help="A job for each image of the folder.")
@click.option(
    "--priority", default="normal", callback=_priority, show_default=True, help="low, normal, high or a number."
)
@click.option("--title", default="", help="For people. Default: the file's name.")
@click.option("--by", default="", metavar="NAME", help="Who submits it; each submitter gets its turn.")
@click.option("--cache", is_flag=True, help="The results of a job with the same nodes, inputs and files will do.")
@click.option("--wait", is_flag=True, help="Return when all have ended; fail when one did not succeed.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Wait, and write what they made into this folder.",
)
@json_option
@click.pass_obj
def submit(
    access: Access,
    /,
    file: Path,
    images: Sequence[str],
    each: str | None,
    wait: bool,
    output: Path | None,
    as_data: bool,
    **given: Any,
) -> None:
    """Submit a prompt in API format (ComfyUI: Export (API)) to the farm, as one job or as one for each image."""
    from ..farm.submission import Submission

    prompt, extra = _read(file)
    fixed = [_placed(prompt, text) for text in images]
    rounds = [[*fixed, one] for one in _each(prompt, each)] if each else [fixed]
    given["submitter"] = given.pop("by")
    with access.store(shared=False) as store, jobs_of(access, store) as jobs:
        submitted = []
        with progress(len(rounds), "submitted") as advance:
            for files in rounds:
                inputs = [Input(node, name, _put(jobs, path, store.settings)) for node, name, path in files]
                title = given["title"] or (files[-1][2].name if each else file.stem)
                submission = Submission(prompt, extra, inputs, **{**given, "title": title})
                submitted.append(submission.submit(jobs))
                advance(1)
        if wait or output is not None:
            submitted = _waited(jobs, submitted)
        for job in submitted:
            if output is not None:
                _fetch(jobs, job, output, f"{Path(job.title).stem}-" if each else "")
    if as_data:
        shown: Any = [job.to_json() for job in submitted]
        click.echo(as_json(shown if each else shown[0]))
    else:
        for job in submitted:
            click.echo(_line(job) if wait or output is not None else job.id)
    if (wait or output is not None) and any(job.state != "done" for job in submitted):
        click.get_current_context().exit(1)


@click.command("jobs")
@click.option(
    "--state", type=click.Choice(("all", "live", "held", "ended", *LIVE, *ENDED)), default="all", show_default=True
)
@click.option("--submitter", default="", metavar="NAME", help="Only jobs of this one.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Show so many, the newest.")
@json_option
@click.pass_obj
def list_jobs(access: Access, state: str, submitter: str, limit: int, as_data: bool) -> None:
    """List the jobs of the farm, newest first, and count them by their state."""
    with access.store(shared=False) as store, jobs_of(access, store) as jobs:
        found, _ = jobs.page(limit, state="" if state == "all" else state, submitter=submitter)
        counts = jobs.counts()
    if as_data:
        click.echo(as_json({"jobs": [job.to_json() for job in found], "counts": counts}))
        return
    rows = [
        (
            job.id[:8],
            job.state + (" (to be cancelled)" if job.cancelling and not job.has_ended else ""),
            f"{job.progress:.0%}" if job.state == "running" else "",
            job.instance_name,
            str(job.priority),
            job.submitter,
            age(job.submitted),
            job.title,
        )
        for job in found
    ]
    heads = ("id", "state", "progress", "instance", "priority", "submitter", "age", "title")
    click.echo(table(heads, rows) if rows else "No job.")
    click.echo(
        ", ".join(f"{counts[name]} {name}" for name in (*LIVE, *ENDED) if counts[name]) or "No job is remembered."
    )


@click.command()
@click.argument("job_id", metavar="ID", shell_complete=job_ids)
@click.option("--priority", callback=_priority, help="Give it this one while it waits: low, normal, high or a number.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Write what it made into this folder.")
@json_option
@click.pass_obj
def job(access: Access, job_id: str, priority: int | None, output: Path | None, as_data: bool) -> None:
    """Show one job: where it is and why there, what it made, or why it failed. ID may be cut short."""
    with access.store(shared=False) as store, jobs_of(access, store) as jobs:
        found = find_job(jobs, job_id)
        if priority is not None:
            found = jobs.prioritize(found.id, priority)
        if output is not None:
            _fetch(jobs, found, output, "")
    if as_data:
        click.echo(as_json(found.to_json()))
        return
    for name, value in found.to_json().items():
        if name == "reasons":
            for each in found.reasons:
                click.echo(f"{'chosen' if each.chosen else 'not chosen':14} {clean(f'{each.name}: {each.text}')}")
        elif value not in ("", 0, None, False, [], ()):
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            click.echo(f"{name:14} {clean(shown)}")


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The prompt of a file, and its extra data: the API format itself, or as POST /prompt takes it."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{file} is no JSON: {str(error)[:200]}") from error
    if isinstance(content, dict) and isinstance(content.get("prompt"), dict) and "class_type" not in content["prompt"]:
        return content["prompt"], content.get("extra_data") or {}
    if not isinstance(content, dict):
        raise InvalidInput(f"{file} must hold one JSON object")
    return content, {}


def _placed(prompt: Mapping[str, Any], text: str) -> tuple[str, str, Path]:
    """(node, input, file) of ``PLACE=FILE``."""
    place, equals, name = text.partition("=")
    path = Path(name).expanduser()
    if not equals or not path.exists():
        raise InvalidInput(f"{text[:200]!a} is not PLACE=FILE with a file that is there")
    return *_place(prompt, place), path


def _place(prompt: Mapping[str, Any], place: str) -> tuple[str, str]:
    if place in prompt:
        return place, "image"
    node, dot, name = place.rpartition(".")
    if dot and node in prompt:
        return node, name
    titled = [
        node_id
        for node_id, each in prompt.items()
        if isinstance(each, dict) and (each.get("_meta") or {}).get("title") == place
    ]
    if len(titled) != 1:
        raise InvalidInput(f"{len(titled)} nodes of the prompt are called {place[:100]!a}; say NODE.INPUT, with its id")
    return titled[0], "image"


def _each(prompt: Mapping[str, Any], text: str) -> list[tuple[str, str, Path]]:
    node, name, folder = _placed(prompt, text)
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGES] if folder.is_dir() else []
    if not files:
        raise InvalidInput(f"{folder} is no folder with images ({', '.join(IMAGES)})")
    return [(node, name, path) for path in files]


def _put(jobs: JobStore, path: Path, settings: Settings) -> str:
    data = path.read_bytes()
    try:
        read_image(data, settings)
    except GatebusError as error:
        raise InvalidInput(f"{path}: {error.message}") from error
    return jobs.put_blob(data)


def _waited(jobs: JobStore, submitted: Sequence[Job]) -> list[Job]:
    """The jobs when all have ended."""
    shown = {job.id: job for job in submitted}
    done = sum(job.has_ended for job in submitted)
    told, began = False, time.monotonic()
    with progress(len(shown), "done") as advance:
        advance(done)
        while True:
            live = [job_id for job_id, job in shown.items() if not job.has_ended]
            for job_id in live:
                shown[job_id] = jobs.get(job_id)
                advance(int(shown[job_id].has_ended))
            if all(job.has_ended for job in shown.values()):
                return [shown[job.id] for job in submitted]
            if not told and time.monotonic() - began > UNSEEN_FOR:
                told = True
                if all(job.state == "queued" and not job.reasons for job in shown.values()):
                    click.echo("gatebus: no broker has looked at the jobs yet; `gatebus serve` carries them", err=True)
            time.sleep(LOOK_AGAIN)


def _fetch(jobs: JobStore, job: Job, folder: Path, prefix: str) -> None:
    """Writes what the job made; a file that is there already stays, and the new one is named after the job."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in job.outputs:
        path = folder / f"{prefix}{Path(each.name).name}"
        if path.exists():
            path = folder / f"{prefix}{job.id[:8]}-{Path(each.name).name}"
        if each.path:
            shutil.copyfile(each.path, path)
        else:
            path.write_bytes(jobs.blob(each.digest))


def _line(job: Job) -> str:
    told = f": {job.error.message}" if job.error is not None else f", {len(job.outputs)} files"
    where = f" at {job.instance_name}" if job.instance_name else ""
    return clean(f"{job.id} {job.state}{where}{told}")


COMMANDS: tuple[click.Command, ...] = (submit, list_jobs, job)
