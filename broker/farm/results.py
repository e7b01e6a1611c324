"""The files of a job on their way: its inputs to an instance, its outputs into the store or a folder."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gates.errors import BlobNotFound, InvalidInput
from gates.filelock import write_atomically

from ..comfyui.client import ComfyClient
from ..comfyui.errors import NoSuchFile
from ..comfyui.outcome import Outcome
from ..jobs.record import Job, Output
from ..jobs.steps import digest_of
from ..jobs.store import JobStore
from .needs import with_files

Blocking = Callable[..., Awaitable[Any]]


async def prepared(jobs: JobStore, blocking: Blocking, client: ComfyClient, job: Job) -> dict[str, Any]:
    """The job's document with its inputs uploaded and named as the instance calls them.

    The client sends what the instance has not: names are made of the content. One job at a time, or two
    would both send it. Raises BlobNotFound, InvalidImage, TooLarge, and as the client does.
    """
    document: dict[str, Any] = json.loads(await blocking(jobs.blob, job.prompt))
    references = {}
    for digest in dict.fromkeys(each.digest for each in job.inputs):
        upload = await client.upload_image(await blocking(jobs.blob, digest))
        references.update({(each.node, each.input): upload.reference for each in job.inputs if each.digest == digest})
    return {**document, "prompt": with_files(document["prompt"], references)}


async def fetched(
    jobs: JobStore, blocking: Blocking, client: ComfyClient, job: Job, outcome: Outcome, folder: Path | None
) -> tuple[Output, ...]:
    """The outputs of an ended prompt, each kept: in the job's folder below ``folder``, or in the store.

    Files of temp/ (previews) count only when there are no others, and one that is gone already is
    left out. Raises as the client's ``download`` does, StoreUnavailable, OSError.
    """
    lasting = [file for file in outcome.files if file.folder != "temp"]
    found: list[Output] = []
    for file in lasting or outcome.files:
        try:
            download = await client.download(file)
        except NoSuchFile:
            if lasting:
                raise
            continue
        found.append(await _kept(jobs, blocking, job, file.node_id, file.key, download.name, download.data, folder))
    for number, text in enumerate(outcome.texts):
        name = f"{re.sub(r'[^A-Za-z0-9_-]', '_', text.node_id)[:40]}-{number}.txt"
        data = text.text.encode("utf-8", "replace")
        found.append(await _kept(jobs, blocking, job, text.node_id, text.key, name, data, folder))
    return tuple(found)


def kept_bytes(jobs: JobStore, output: Output) -> bytes:
    """The bytes of a file that a job made, from the store or its folder; raises BlobNotFound."""
    if not output.path:
        return jobs.blob(output.digest)
    try:
        return Path(output.path).read_bytes()
    except FileNotFoundError:
        raise BlobNotFound("The file is not in its folder any more", path=output.path) from None


async def _kept(
    jobs: JobStore, blocking: Blocking, job: Job, node: str, kind: str, name: str, data: bytes, folder: Path | None
) -> Output:
    if job.folder and folder is not None:
        path = await asyncio.to_thread(_written, folder, job, name, data)
        return Output(node, name, kind, len(data), digest_of(data), str(path))
    digest = await blocking(jobs.put_blob, data)
    return Output(node, name, kind, len(data), digest)


def _written(folder: Path, job: Job, name: str, data: bytes) -> Path:
    target = folder / job.folder
    if not target.resolve().is_relative_to(folder.resolve()):
        raise InvalidInput(f"{job.folder!a} is no folder below {folder}")
    target.mkdir(parents=True, exist_ok=True)
    # By the job's id: another job's file of the same name stays, and fetching again writes the same file.
    path = target / f"{job.id[:8]}-{name}"
    write_atomically(path, data)
    return path
