"""What is submitted, checked and made into a job: by the HTTP API and by the command alike."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gates.errors import BlobNotFound, InvalidInput, TooLarge
from gates.names import TEXT_LIMIT, check_digest, check_int, clean_text

from ..jobs.record import PRIORITY_LIMIT, Input, Job
from ..jobs.store import JobStore
from .needs import check_inputs, needs_of, result_digest

PROMPT_LIMIT = 8 * 1024 * 1024
"""Bytes of a prompt with its extra data."""

MAX_INPUTS = 64
"""Files of one job."""

FOLDER = "[A-Za-z0-9_-]{1,64}"
"""What a folder for outputs may be called."""


@dataclass(frozen=True)
class Submission:
    """A prompt to be run; unchecked."""

    prompt: Mapping[str, Any]
    extra_data: Mapping[str, Any] = field(default_factory=dict)
    inputs: Sequence[Input] = ()
    """Their bytes are blobs of the job store already."""
    title: str = ""
    submitter: str = ""
    priority: int = 0
    cache: bool = False
    """Whether the results of an identical job will do, see :func:`result_digest`; never of a prompt with gates."""
    folder: str = ""

    def submit(self, jobs: JobStore, output_dir: Path | None = None, job_id: str = "") -> Job:
        """Checks it all before anything is kept, and queues the job.

        ``output_dir``: where folders are, None when there are none. ``job_id``: the caller's own, so that it
        may submit again when no answer came. Raises InvalidInput, InvalidName, TooLarge, BlobNotFound,
        QueueFull, TooMany.
        """
        needs = needs_of(self.prompt)
        check_inputs(self.prompt, self.inputs)
        check_int(self.priority, "priority", -PRIORITY_LIMIT, PRIORITY_LIMIT)
        if self.cache and needs.gates:
            raise InvalidInput("A person decides at the gates of this prompt: no other run's results will do for it")
        if self.folder and (output_dir is None or not re.fullmatch(FOLDER, self.folder)):
            where = "" if output_dir is not None else "; this broker has none: set GATEBUS_OUTPUT_DIR"
            raise InvalidInput(f"A folder for outputs is 1 to 64 of A-Z a-z 0-9 _ -{where}", what="folder")
        try:
            document = {"prompt": self.prompt, "extra_data": self.extra_data}
            text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"The prompt can't be written as JSON: {error}") from error
        if len(text) > PROMPT_LIMIT:
            raise TooLarge(f"The prompt has {len(text)} bytes; at most {PROMPT_LIMIT}", limit=PROMPT_LIMIT)
        if missing := jobs.touch_blobs([each.digest for each in self.inputs]):
            raise BlobNotFound(f"The input {missing[0]} was not sent, or has expired", digest=missing[0])
        return jobs.submit(
            Job(
                job_id or uuid.uuid4().hex,
                title=clean_text(self.title, "title"),
                submitter=clean_text(self.submitter, "submitter"),
                priority=self.priority,
                prompt=jobs.put_blob(text),
                nodes=needs.nodes,
                models=needs.models,
                inputs=tuple(self.inputs),
                gates=needs.gates,
                folder=self.folder,
                cache=result_digest(self.prompt, self.inputs) if self.cache else "",
            )
        )


def parse_inputs(entries: Sequence[Mapping[str, Any]]) -> tuple[Input, ...]:
    """Inputs as JSON gives them, ``{node, input, digest}``; raises InvalidInput, InvalidName."""
    if len(entries) > MAX_INPUTS:
        raise InvalidInput(f"A job takes at most {MAX_INPUTS} files", what="inputs")
    found = []
    for entry in entries:
        if set(entry) != {"node", "input", "digest"} or not all(isinstance(text, str) for text in entry.values()):
            raise InvalidInput("Each of inputs is an object of node, input and digest, which are texts", what="inputs")
        node, name = (clean_text(entry[key], key, TEXT_LIMIT) for key in ("node", "input"))
        found.append(Input(node, name, check_digest(entry["digest"])))
    return tuple(found)
