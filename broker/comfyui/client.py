"""The client of one ComfyUI server: hands prompts in, follows them to their end, moves their files."""

from __future__ import annotations

import asyncio
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from .connection import Connection, Limits
from .downloads import Download, download
from .errors import ComfyUnexpected, NoSuchFile, NoSuchPrompt, PromptNotEnded
from .following import Following, Pace, Submitted
from .machine import SystemStats
from .outcome import Found, Outcome, Queue
from .outputs import Output, OutputFile
from .progress import Progress
from .stream import HEARTBEAT, Event, Stream
from .submitting import Graph, Record, Submission, Submitting, check_graph, check_prompt_id
from .truth import Truth
from .uploads import SUBFOLDER, Upload, Uploads

SILENCE = 600.0
"""Seconds without a sign of a running prompt; a gate in it may wait longer: give None."""


class ComfyClient:
    """One ComfyUI at ``url`` (http or https, also below a sub-path), used on one event loop.

    Close it, or use it with ``async with``. ``token`` is sent as a bearer token, ``headers`` with every
    call; ``tls`` is an SSLContext for a CA or client certificate of one's own. No redirect is followed.
    Every method raises ComfyUnreachable when the server does not answer (what is harmless to repeat
    was repeated for ``limits.patience`` seconds before), ComfyRefused for the credentials, ComfyUnexpected
    and AnswerTooLarge for what no ComfyUI answers; and what its own docstring names.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8188",
        token: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | bool = True,
        limits: Limits | None = None,
        pace: Pace | None = None,
        heartbeat: float = HEARTBEAT,
        away: float = 120.0,
    ) -> None:
        """``away``: seconds for which a server may be gone while prompts are followed; it may be starting anew."""
        self._connection = Connection(url, token, headers, tls, limits)
        self.url = self._connection.url
        self._truth = Truth(self._connection)
        self._stream = Stream(self._connection, heartbeat)
        self._submitting = Submitting(self._connection, self._truth, self._stream.client_id)
        self._following = Following(self._truth, self._stream, pace or Pace(), away)
        self._uploads = Uploads(self._connection)

    async def __aenter__(self) -> ComfyClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the stream and the connections; prompts run on."""
        await self._stream.close()
        await self._connection.close()

    # -- prompts --------------------------------------------------------------------------
    async def submit(
        self,
        graph: Graph,
        *,
        prompt_id: str | None = None,
        before: Record | None = None,
        front: bool = False,
        targets: Sequence[str] | None = None,
        extra_data: Mapping[str, Any] | None = None,
    ) -> Submission:
        """Queues a prompt in API format, at most once.

        It gets ``prompt_id`` (a UUID; default: a fresh one), which is handed to ``before`` ahead of anything
        that is sent, so that it can be stored. ``front``: before all others; ``targets``: only these output
        nodes; ``extra_data``: e.g. ``{"extra_pnginfo": {"workflow": …}}``. When an answer does not come, the
        prompt is looked for before it is sent again. Look at ``dropped`` of what is returned: ComfyUI leaves
        invalid outputs out without refusing the prompt. Raises PromptInvalid, SubmitUnknown, InvalidInput.
        """
        classes = check_graph(graph)
        wanted = check_prompt_id(prompt_id if prompt_id is not None else str(uuid.uuid4()))
        # Events of a prompt that is over at once must find somebody who listens; without a stream it goes too.
        self._stream.channel(wanted)
        await self._stream.open(self._connection.limits.connect)
        breaks = self._stream.breaks
        submission = await self._submitting.submit(
            graph, wanted, before, front=front, targets=targets, extra_data=extra_data
        )
        submitted = Submitted(classes, submission.dropped, breaks, time.monotonic(), submission.resent)
        self._following.remember(wanted, submitted)
        return submission

    async def find(self, prompt_id: str) -> Found:
        """Where the prompt stands now: queued, running, ended (with its outcome) or absent."""
        wanted = check_prompt_id(prompt_id)
        found: Found = await self._connection.repeated(lambda: self._truth.find(wanted, after=time.monotonic()))
        return found

    async def wait(
        self,
        prompt_id: str,
        *,
        silence: float | None = SILENCE,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Outcome:
        """How the prompt ended: ``done``, ``failed``, ``cancelled`` or ``lost``. Waits as long as it takes.

        ``lost``: it is in neither queue nor history, looked for twice; hand it in again, here or elsewhere.
        There is no deadline but ``silence``: raises ComfySilent when the prompt runs and nothing was heard of
        it for so many seconds (None: never). Over outages and restarts of the server it looks again, and raises
        ComfyUnreachable after ``away`` seconds without an answer. Any client may wait for any prompt.
        """
        async for step in self._following.steps(check_prompt_id(prompt_id), silence):
            if isinstance(step, Outcome):
                return step
            if on_progress is not None and isinstance(step, Progress):
                on_progress(step)
        raise AssertionError("following ends with an outcome")

    async def progress(self, prompt_id: str, *, silence: float | None = SILENCE) -> AsyncIterator[Progress]:
        """The prompt's progress, at each change; the last one has the state in which it ended. Raises as ``wait``."""
        async for step in self._following.steps(check_prompt_id(prompt_id), silence):
            if isinstance(step, Progress):
                yield step

    async def events(self, prompt_id: str, *, silence: float | None = SILENCE) -> AsyncIterator[Event]:
        """What the stream tells of the prompt, until it has ended; after a break there are gaps. Raises as ``wait``."""
        async for step in self._following.steps(check_prompt_id(prompt_id), silence):
            if isinstance(step, Event):
                yield step

    async def outputs(self, prompt_id: str) -> tuple[Output, ...]:
        """What an ended prompt put out; raises NoSuchPrompt, PromptNotEnded."""
        found = await self.find(prompt_id)
        if found.outcome is None:
            if found.state == "absent":
                raise NoSuchPrompt(f"{self.url} knows no prompt {prompt_id}", prompt_id=prompt_id)
            raise PromptNotEnded(f"The prompt {prompt_id} is {found.state}", prompt_id=prompt_id)
        return found.outcome.outputs

    async def queue(self) -> Queue:
        """The ids of the prompts that run and wait."""
        queue: Queue = await self._connection.repeated(lambda: self._truth.queue(time.monotonic()))
        return queue

    async def history(self, limit: int = 100) -> tuple[Outcome, ...]:
        """How the last prompts ended, whoever submitted them; newest first. The server keeps them in memory only."""
        entries = await self._object("history", max_items=str(limit))
        return tuple(Outcome.of_history(key, entry) for key, entry in reversed(entries.items()))

    async def cancel(self, prompt_id: str) -> bool:
        """Takes the prompt out of the queue, or interrupts it, and no other; whether there was anything to cancel.

        It is over when :meth:`wait` says so: a node looks at the interrupt when it can.
        """
        wanted = check_prompt_id(prompt_id)
        found = await self.find(wanted)
        if found.state in ("ended", "absent"):
            return False
        told = await self._connection.json("POST", f"api/jobs/{wanted}/cancel", repeat=True, missing=None)
        if not isinstance(told, dict):
            await self._connection.json("POST", "queue", repeat=True, json={"delete": [wanted]})
            await self.interrupt(wanted)
        # Out of the queue it leaves no trace, and would look lost.
        self._following.withdraw(wanted)
        return True

    async def interrupt(self, prompt_id: str) -> bool:
        """Interrupts the prompt if it is the one that runs; whether it was. Never another one."""
        wanted = check_prompt_id(prompt_id)
        # Old cores take any interrupt for a global one, so it is sent only while this prompt runs.
        if (await self.find(wanted)).state != "running":
            return False
        await self._connection.json("POST", "interrupt", json={"prompt_id": wanted})
        return True

    # -- files ----------------------------------------------------------------------------
    async def download(self, output: OutputFile) -> Download:
        """The file, verified: whole, and an image decodes; ``save`` writes it into a folder.

        Raises NoSuchFile, DownloadBroken, AnswerTooLarge.
        """
        return await download(self._connection, output)

    async def upload_image(self, image: bytes | Path, *, subfolder: str = SUBFOLDER, folder: str = "input") -> Upload:
        """Sends a PNG, JPEG or WebP, unless the server has it; put ``reference`` of what is returned into LoadImage.

        Its name is made of its content. ``folder``: ``input`` or ``temp``. Raises InvalidImage, TooLarge.
        """
        return await self._uploads.image(await _bytes(image), subfolder, folder)

    async def upload_mask(self, mask: bytes | Path, original: Upload) -> Upload:
        """Sends the original again with the mask in its alpha, as the mask editor does; LoadImage gives both.

        ``mask``: an image of the original's size, white = painted, or one whose alpha is 0 where it is
        painted. Raises InvalidImage, TooLarge; ComfyRefused when the server has the original no more.
        """
        return await self._uploads.mask(await _bytes(mask), original)

    # -- the server -----------------------------------------------------------------------
    async def free(self, *, unload_models: bool = True, free_memory: bool = True) -> None:
        """Lets the server give memory back when it is idle next; ``free_memory`` empties its cache too."""
        body = {"unload_models": unload_models, "free_memory": free_memory}
        await self._connection.json("POST", "free", repeat=True, json=body)

    async def system_stats(self) -> SystemStats:
        """Versions, memory and devices."""
        return SystemStats.of_json(await self._object("system_stats"))

    async def object_info(self, node_class: str = "") -> dict[str, Any]:
        """Node class -> its inputs and outputs as ComfyUI describes them; of one class: empty when it is missing."""
        return await self._object(f"object_info/{node_class}" if node_class else "object_info")

    async def models(self, folder: str = "") -> tuple[str, ...]:
        """The models in a folder such as ``checkpoints``, or the names of all folders; raises NoSuchFile."""
        path = f"models/{folder}" if folder else "models"
        names = await self._connection.json("GET", path, repeat=True, missing=None)
        if names is None:
            raise NoSuchFile(f"{self.url} has no models of the kind {folder[:64]!a}")
        if not isinstance(names, list):
            raise ComfyUnexpected(f"{self.url}/{path} answers with something that is no list")
        return tuple(map(str, names))

    # -------------------------------------------------------------------------------------
    async def _object(self, path: str, **query: str) -> dict[str, Any]:
        answer = await self._connection.json("GET", path, repeat=True, params=query)
        if not isinstance(answer, dict):
            raise ComfyUnexpected(f"{self.url}/{path} answers with something that is no object")
        return answer


async def _bytes(image: bytes | Path) -> bytes:
    return image if isinstance(image, bytes) else await asyncio.to_thread(image.read_bytes)
