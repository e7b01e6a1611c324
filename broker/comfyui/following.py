"""Following a prompt to its end: the stream hurries, the jobs, queue and history decide."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from gates.errors import InvalidInput

from .errors import ComfySilent, ComfyUnexpected, ComfyUnreachable, NodeProblem
from .outcome import Found, Outcome
from .progress import Meter, Progress
from .stream import Event, Stream
from .truth import Truth


@dataclass(frozen=True)
class Pace:
    """How often it is looked; seconds."""

    connected: float = 3.0
    """Between looks while the stream tells of changes."""
    alone: float = 0.5
    """Between looks without a stream."""
    hurried: float = 0.05
    """After the stream told of an end; doubled until the history has it."""
    grace: float = 2.0
    """Between the two looks that must both not find a prompt before it is lost."""
    quiet: float = 20.0
    """Without any message while the prompt runs, after which the stream is made anew: the server may have
    forgotten the client id, which it does when an earlier socket of the same id ends late."""


ENDINGS = frozenset({"execution_success", "execution_error", "execution_interrupted"})


@dataclass(frozen=True)
class Submitted:
    """What the client knows of a prompt that it handed in itself."""

    classes: Mapping[str, str]
    """Node id -> class."""
    dropped: tuple[NodeProblem, ...]
    breaks: int
    """Of the stream, until then."""
    at: float
    """Monotonic seconds; what was looked at before tells nothing of it."""
    resent: bool
    """Whether there may be several copies of it."""


KEPT_PROMPTS = 10_000
"""Prompts of which that is kept; the oldest are forgotten."""


class Following:
    """Follows prompts of one ComfyUI."""

    def __init__(self, truth: Truth, stream: Stream, pace: Pace, patience: float) -> None:
        """``patience``: seconds for which the ComfyUI may not answer at all."""
        self._truth = truth
        self._stream = stream
        self._pace = pace
        self._patience = patience
        self._submitted: OrderedDict[str, Submitted] = OrderedDict()
        self._withdrawn: OrderedDict[str, float] = OrderedDict()

    def remember(self, prompt_id: str, submitted: Submitted) -> None:
        """Keeps what is known of a prompt that was just handed in."""
        self._withdrawn.pop(prompt_id, None)
        self._submitted[prompt_id] = submitted
        if len(self._submitted) > KEPT_PROMPTS:
            self._submitted.popitem(last=False)

    def withdraw(self, prompt_id: str) -> None:
        """Says that the prompt was taken out of the queue: absent, it is cancelled and not lost."""
        self._withdrawn[prompt_id] = time.monotonic()
        if len(self._withdrawn) > KEPT_PROMPTS:
            self._withdrawn.popitem(last=False)
        self._stream.channel(prompt_id).call()

    async def steps(self, prompt_id: str, silence: float | None) -> AsyncIterator[Event | Progress | Outcome]:
        """The prompt's events, its progress at each change, and as the last one how it ended.

        Raises ComfySilent when the prompt runs and nothing of it was heard for ``silence`` seconds,
        ComfyUnreachable when the ComfyUI was away for longer than it may be.
        """
        if silence is not None and silence <= 0:
            raise InvalidInput("The silence is a number of seconds above 0, or None")
        own = self._submitted.get(prompt_id)
        breaks = self._stream.breaks if own is None else own.breaks
        meter = Meter(prompt_id, own.classes if own else {})
        await self._stream.open(0)
        told = Progress(prompt_id, fraction=-1.0)
        found = Found(prompt_id, "absent")
        async for step in self._follow(prompt_id, silence):
            if isinstance(step, Event):
                meter.hear(step)
                yield step
            else:
                found = step
                meter.stand(found)
            read = meter.read()
            if read != told and found.state != "ended":
                told = read
                yield read
        outcome = found.outcome
        if outcome is None and prompt_id in self._withdrawn:
            outcome = Outcome.cancelled(prompt_id)
        if outcome is None:
            broke = self._stream.breaks > breaks or not self._stream.is_open
            outcome = Outcome.lost(prompt_id, True if broke else None if own is None else False)
        outcome = replace(outcome, dropped=own.dropped) if own else outcome
        yield meter.read(outcome)
        yield outcome

    async def _follow(self, prompt_id: str, silence: float | None) -> AsyncIterator[Event | Found]:
        """The prompt's events and, when it changes, where it stands: at the end ``ended`` or ``absent``."""
        channel = self._stream.channel(prompt_id)
        position = calls = 0
        look = sign = answered = time.monotonic()
        absent: float | None = None
        last: Found | None = None
        ending, hurry = False, self._pace.hurried
        while True:
            arrived = channel.arrived
            for event in channel.since(position):
                sign = time.monotonic()
                yield event
                ended = event.type == "executing" and event.data.get("node") is None
                if ended or event.type in ENDINGS:
                    # At ``ended`` the history has it already; the other endings are told a moment before.
                    ending, hurry, look = True, self._pace.hurried, 0.0
            position = channel.count
            if channel.calls != calls:
                calls, look = channel.calls, 0.0
            if time.monotonic() >= look:
                try:
                    found = await self._truth.find(prompt_id, ending=ending, after=self._since(prompt_id))
                    if prompt_id in self._submitted and self._submitted[prompt_id].resent:
                        await self._truth.withdraw_copies(prompt_id)
                except (ComfyUnreachable, ComfyUnexpected) as error:
                    # What a proxy before a ComfyUI that starts answers may be anything.
                    if time.monotonic() - answered > self._patience or error.details.get("final"):
                        raise
                    look = time.monotonic() + self._pace.alone
                else:
                    now = answered = time.monotonic()
                    if found.state == "absent" and absent is None:
                        self._truth.has_jobs = None
                    absent = (absent or now) if found.state == "absent" else None
                    if found.state == "absent":
                        if prompt_id in self._withdrawn or now - (absent or now) >= self._pace.grace:
                            yield found
                            return
                    elif found != last:
                        last, sign = found, now
                        if found.state == "ended":
                            for event in channel.since(position):
                                yield event
                        yield found
                        if found.state == "ended":
                            return
                    # Others' prompts may take as long as they do while the server answers.
                    sign = now if found.state == "queued" else sign
                    look = now + (self._pace.connected if self._stream.is_open else self._pace.alone)
                    if ending:
                        look, hurry = min(look, now + hurry), 2 * hurry
                    if absent is not None:
                        look = min(look, absent + self._pace.grace)
                    await self._refresh(found)
            now = time.monotonic()
            if silence is not None and absent is None and now - sign > silence and now - answered < silence:
                raise ComfySilent(f"Nothing was heard of the prompt {prompt_id} for {silence:g} s", prompt_id=prompt_id)
            # While nobody answers only the looks count.
            until = look if silence is None or now - sign > silence else min(look, sign + silence + 0.01)
            if channel.count == position and channel.calls == calls and until > now:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(arrived.wait(), until - now)

    def _since(self, prompt_id: str) -> float:
        """Before which nobody can have seen where the prompt stands; monotonic seconds."""
        own = self._submitted.get(prompt_id)
        return max(own.at if own else 0.0, self._withdrawn.get(prompt_id, 0.0))

    async def _refresh(self, found: Found) -> None:
        quiet = time.monotonic() - self._stream.heard
        if found.state == "running" and self._stream.is_open and quiet > self._pace.quiet:
            # Also when nothing is wrong, and then at most once in this time.
            self._stream.heard = time.monotonic()
            await self._stream.renew()
