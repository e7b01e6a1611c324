"""What a job is, and which states it goes through.

::

    queued ── claimed ── submitted ── running ── done | failed | cancelled | lost
      ↑          │           │           │
      └──────────┴───────────┴───────────┤   requeued: only when no copy of it can be running
                             └───────────┴── unknown: its instance does not answer

One broker owns a job from ``claimed`` on, under a lease, and with a fence that grows with every
owner: who lost the lease to another broker is answered with Fenced, whatever it still wants to
write. The prompt's id is written before the prompt is sent, so that the next owner can look on
the instance for what the one before it may have sent.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

LIVE = ("queued", "claimed", "submitted", "running", "unknown")
"""States of a job that goes on."""

HELD = LIVE[1:]
"""Those in which a broker owns it and it takes a place at an instance."""

ENDED = ("done", "failed", "cancelled", "lost")
"""States in which a job stays. ``lost``: instance after instance went away with it."""

PRIORITIES = {"low": -10, "normal": 0, "high": 10}
"""Word -> priority."""

PRIORITY_LIMIT = 100
"""Priorities go from minus this to this; the higher goes first."""

PLACE_STATES = ("paused", "draining")
"""What an instance may be set to: ``paused`` takes nothing new and keeps what it has; ``draining`` takes nothing
new, and what waits in its queue goes elsewhere."""


@dataclass(frozen=True)
class Input:
    """An image that the prompt reads: uploaded once to each instance that needs it."""

    node: str
    """Id of the node in the prompt."""
    input: str
    """Its input that names the file, e.g. ``image``."""
    digest: str
    """SHA-256 of the bytes, which are a blob of the job store."""


@dataclass(frozen=True)
class Output:
    """A file that the prompt made."""

    node: str
    name: str
    """As the instance called it."""
    kind: str
    """What the node lists it under, e.g. ``images``."""
    bytes: int
    digest: str
    """SHA-256 of the bytes, which are a blob of the job store unless ``path`` is set."""
    path: str = ""
    """The file in the broker's output folder, "" when it is in the store."""


@dataclass(frozen=True)
class Reason:
    """Why an instance was chosen, or was not."""

    instance: str
    name: str
    chosen: bool
    text: str


@dataclass(frozen=True)
class Attempt:
    """One time that the prompt was given to an instance, and how that ended."""

    number: int
    instance: str
    name: str
    prompt_id: str
    why: str
    """Why it did not end the job."""


@dataclass(frozen=True)
class Failure:
    """Why a job failed."""

    type: str
    """``validation``, ``execution``, ``input``, ``lost`` or ``output``; of a job that is done: ``dropped``."""
    message: str
    node: str = ""
    class_type: str = ""
    traceback: str = ""


@dataclass(frozen=True)
class Job:
    """One prompt submitted to the farm."""

    id: str
    """32 hex digits, fresh and unguessable."""
    state: str = "queued"
    title: str = ""
    submitter: str = ""
    """Who submitted it: the token's name, or what the submitter calls itself."""
    priority: int = 0
    prompt: str = ""
    """Digest of the blob that holds ``{"prompt", "extra_data"}`` as JSON."""
    nodes: tuple[str, ...] = ()
    """Node classes that it needs."""
    models: tuple[str, ...] = ()
    """Model files that it names, each as ``CLASS.INPUT=FILE``."""
    inputs: tuple[Input, ...] = ()
    gates: bool = False
    """Whether it holds nodes that wait for a person: it then keeps its instance for as long."""
    folder: str = ""
    """Folder for its outputs below the broker's output folder; "" keeps them in the store."""
    cache: str = ""
    """Digest under which its results are found by identical jobs, "" when it did not ask for that."""
    cached_from: str = ""
    """The job whose results answered it."""
    instance: str = ""
    instance_name: str = ""
    url: str = ""
    """Where the instance answers."""
    prompt_id: str = ""
    """Id of its prompt there: fresh for each attempt, written before the prompt is sent."""
    attempt: int = 0
    fence: int = 0
    broker: str = ""
    """Who owns it, or did last."""
    cancelling: str = ""
    """Who wants it cancelled, while its owner sees to that."""
    progress: float = 0.0
    """0 to 1."""
    node: str = ""
    """The node that runs."""
    note: str = ""
    """Why it is where it is, for people."""
    reasons: tuple[Reason, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    """Those that ended without ending the job."""
    avoid: tuple[str, ...] = ()
    """Instances that it does not go to again as long as there is another one."""
    after: int = 0
    """Not before this time."""
    copies: int = 0
    """Copies that ran to their end besides the one whose results it has."""
    outputs: tuple[Output, ...] = ()
    error: Failure | None = None
    submitted: int = 0
    """This and the following times: milliseconds since the epoch, by the store's clock; 0 for not yet."""
    claimed: int = 0
    sent: int = 0
    started: int = 0
    """Seen to run; when it was sent, of one that was done before anybody looked."""
    ended: int = 0
    rev: int = 0
    """Grows with every change."""

    def to_json(self) -> dict[str, Any]:
        """The job as the HTTP API shows it."""
        return asdict(self)

    @property
    def has_ended(self) -> bool:
        """Whether nothing happens to it any more."""
        return self.state in ENDED


@dataclass(frozen=True)
class Offer:
    """A place for a job: what the choice came to."""

    job: str
    instance: str
    limit: int
    """Jobs that the instance takes at a time."""
    name: str = ""
    url: str = ""
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Renewal:
    """What an owner is told when it renews a lease."""

    job: str
    code: str
    """``OK``; ``FENCED``, ``ENDED`` or ``MISSING``: it is not the owner's any more."""
    cancelling: str = ""
    """Who wants it cancelled."""
    place: str = ""
    """What its instance was set to, see :data:`PLACE_STATES`."""


@dataclass(frozen=True)
class Place:
    """What the farm has at an instance: how it was set, by whom, and how many jobs are held there."""

    state: str = ""
    """One of :data:`PLACE_STATES`, or "" for in service."""
    by: str = ""
    held: int = 0


@dataclass(frozen=True)
class Stray:
    """A copy that may still run at an instance that went away; looked for when that answers again."""

    prompt_id: str
    job: str
    instance: str
    url: str


@dataclass(frozen=True)
class Limits:
    """Back-pressure, and how long things are kept."""

    queued: int = 10_000
    """Jobs that wait, of all submitters."""
    queued_each: int = 2_000
    """Of one submitter."""
    lease: float = 15.0
    """Seconds for which an owner counts as alive without renewing."""
    keep: float = 604_800.0
    """Seconds for which a job that ended is remembered."""
    keep_blobs: float = 604_800.0
    """Seconds for which bytes are kept after they were last needed."""
