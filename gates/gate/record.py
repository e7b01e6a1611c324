"""A gate's record, its decision, and what every gate store promises.

A gate is a paused point of a run: it shows an image and waits for one decision. Who opens it
is its owner and holds a :class:`Waiter`; anyone else knows only its id.

The life of a gate::

    waiting ──decide──> decided ──apply──> applied
       │  ╲  <─take back─┘   ╲──close──> cancelled      (decided, but the prompt had ended)
       │   ╲──(the owner's lease ran out)── orphaned: still decidable, and to be adopted
       ├──cancel──> cancelled
       └──deadline without a route──> expired

``orphaned`` is read from the lease, never stored. The first decision wins; it is made once. A route
can be taken back until it is applied; the gate then waits as before, and that decision, should it
arrive once more, is not made again. A cancel takes effect at once, and so stays.

A gate that waits can be parked: its prompt ends, the gate stays, and a decision lets another prompt go
on from it, here or elsewhere::

    waiting ──park──> parked ──decide──> decided ──resume, apply──> applied
                        ╲  <─take back──┘
                         ╲──cancel, or a deadline without a route──> cancelled, expired

List items of one node park together, as a group, and go on together: its first gate is the lead,
which carries the group's run: pending, submitting, submitted, running, then done or failed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..codec import Encoded, Layout
from .decision import MAX_ROUTES, Decision, check_chosen, make_decision
from .parked import ParkedGates

__all__ = [
    "DEADLINE", "ENDED", "LIVE", "MAX_ROUTES", "Decision", "Gate", "GateStore", "ParkedGates", "Waiter",
    "check_chosen", "make_decision",
]  # fmt: skip

LIVE = ("waiting", "orphaned", "parked", "decided")
ENDED = ("applied", "cancelled", "expired")
DEADLINE = "deadline"
"""Who decided, when nobody did."""


@dataclass(frozen=True)
class Gate:
    """A gate as its store knows it."""

    id: str
    """32 hex digits, fresh and unguessable. Node ids collide and are metadata only."""
    kind: str = "image"
    status: str = "waiting"
    owner: str = ""
    """``instance id:boot``: the process that waits."""
    instance: str = ""
    """The owner's name for people."""
    fence: int = 1
    """Grows when another owner adopts the gate; an older fence may apply nothing."""
    rev: int = 0
    """Grows by one at every change, without gaps."""
    prompt_id: str = ""
    node_id: str = ""
    """The execution id, ``12:3`` in a subgraph."""
    list_index: int = 0
    client_id: str = ""
    title: str = ""
    workflow: str = ""
    workflow_id: str = ""
    """By which a page knows its own gates; "" when the prompt carried no workflow."""
    note: str = ""
    routes: int = 2
    labels: tuple[str, ...] = ()
    """One a route, "" where none was given."""
    timeout_route: int = 0
    """The route to take at the deadline, 0 for none: the prompt is then stopped."""
    opened: int = 0
    """Milliseconds since the epoch, by the store's clock."""
    deadline: int = 0
    """Milliseconds since the epoch, 0 for none."""
    width: int = 0
    height: int = 0
    batch: int = 0
    layout: Layout | None = None
    """How the whole image is stored (``codec.py``); None until it has followed the preview."""
    digest: str = ""
    """SHA-256 of the stored image (``decisions/record.py``), "" until it is known."""
    mask: str = ""
    """The token of the mask painted so far, "" for none."""
    send_id: str = ""
    """The bus that it publishes to, "" for none."""
    get_id: str = ""
    """The bus that it was loaded from, "" for none."""
    recovered: bool = False
    """Whether it was announced again after its store had lost it."""
    decision: Decision | None = None
    taken_back: str = ""
    """Ids of decisions that were taken back, the last one last, with spaces between."""
    outcome: str = ""
    """How it ended: ``applied``, or why nothing was applied (``interrupted``, ``error``, ``shutdown``)."""
    ended: int = 0
    """Milliseconds since the epoch, by the store's clock; 0 while it lives."""
    text: str = ""
    """The text that it asks about, "" when it asks about none."""
    parked: int = 0
    """Milliseconds since the epoch, by the store's clock: when its prompt ended here; 0 when it did not."""
    group: str = ""
    """The id of its group's lead, itself when it parked alone; "" when it is not parked."""
    members: str = ""
    """Of a lead: the ids of its group in the order of the list, with spaces between; "" when it parked alone."""
    undecided: int = 0
    """Of a lead: how many members of its group wait for a decision."""
    family: str = ""
    """The prompt that the first of these runs was; what is continued from a gate belongs to the gate's family."""
    of: str = ""
    """The gate from which this one was made to run again, "" for none."""
    over: int = 0
    """Of a lead: 1 when the prompt in which it parked has ended."""
    kept: int = 0
    """1 when its continuation is stored: what it takes to run on from here."""
    run: str = ""
    """Of a lead: ``pending``, ``submitting``, ``submitted``, ``running``, ``done``, ``failed``; "" before."""
    run_id: str = ""
    """The job or the prompt that the run was submitted as."""
    run_seq: int = 0
    """The run's number among all, in the order in which they began; 0 before it did."""
    run_on: str = ""
    """Where it runs, for people."""
    run_by: str = ""
    """Who submits the run and follows it."""
    run_owner: str = ""
    """``instance id:boot``: the process that runs it."""
    run_prompt: str = ""
    """The prompt that carried the decision out."""
    run_error: str = ""
    run_at: int = 0
    """Milliseconds since the epoch, by the store's clock: when the run last changed; 0 before there is one."""

    def to_json(self) -> dict[str, Any]:
        """The gate as the HTTP API shows it."""
        # asdict() copies every value deeply, which 10,000 gates in one answer would feel.
        values = vars(self)
        shown = {name: values[name] for name in _NAMES}
        shown["layout"] = self.layout and dict(vars(self.layout))
        shown["decision"] = self.decision and dict(vars(self.decision))
        return shown

    @cached_property
    def json_bytes(self) -> bytes:
        """:meth:`to_json` as UTF-8; made once, because a gate stands in many lists before it changes."""
        return json.dumps(self.to_json(), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

    @cached_property
    def searched(self) -> str:
        """What a search for text looks at, case-folded."""
        texts = (self.title, self.note, self.workflow, self.instance, self.send_id, self.get_id, self.id, *self.labels)
        return "\n".join(texts).casefold()


_NAMES = tuple(field.name for field in fields(Gate))


class Waiter(Protocol):
    """The owner's side of an open gate; thread-safe."""

    @property
    def gate(self) -> Gate:
        """The gate as last seen."""
        ...

    @property
    def decision(self) -> Decision | None:
        """The decision, as soon as this process has seen it; None again when it was taken back."""
        ...

    def wait(self, timeout: float | None = None) -> Decision | None:
        """Blocks until the decision is seen, or ``timeout`` seconds; None then."""
        ...

    def on_decision(self, callback: Callable[[], None]) -> None:
        """Calls back once (from any thread; at once when it is there already); it must not block.

        The decision may be taken back until :meth:`apply` has returned.
        """
        ...

    def store_image(self, image: Encoded) -> None:
        """Stores the whole image, so that others can zoom and a crash loses nothing; logs its digest.

        Of a gate that has ended it is kept for ``keep_images`` seconds.
        """
        ...

    def store_continuation(self, data: bytes) -> None:
        """Stores what it takes to run on from here, after the image and for as long.

        While the store is away it is kept here and stored as soon as the store is back.
        """
        ...

    @property
    def ready(self) -> bool:
        """Whether everything is stored that parking needs: the image, where there is one, and the continuation."""
        ...

    def mask(self) -> bytes | None:
        """The PNG painted at the gate that the decision names; None when none was."""
        ...

    def apply(self) -> Decision:
        """Acknowledges the decision and returns it; only then may the route be taken.

        Repeatable. Raises TakenBack when there is none any more (wait again), Fenced when another
        owner has the gate, StoreUnavailable when the store does not answer (call again).
        """
        ...

    def close(self, outcome: str) -> None:
        """Ends a gate that was not applied: the prompt was stopped or failed. Never blocks on the store or raises."""
        ...


class GateStore(ParkedGates, Protocol):
    """Opens gates for this process, and lists and decides everyone's; thread-safe.

    What is not there raises GateNotFound, a store that is away StoreUnavailable.
    """

    def open(self, gate: Gate, preview: bytes, timeout: float = 0, mask: bytes | None = None) -> Waiter:
        """Opens the gate, so that people see it: preview (JPEG, at most 1024 px), record, index and event.

        ``mask`` is what is painted from the start (an 8-bit grey PNG of the image's size), to be
        painted on, replaced or cleared. ``gate.owner``, ``opened`` and ``deadline`` are set here;
        ``timeout`` is in seconds, 0 for none. A gate of that id whose owner's lease is over is
        adopted (fence + 1), with the decision and the painted mask that it may have. Raises
        GateBusy when its owner lives, GateClosed when it has ended, TooLarge when this process
        has ``max_gates`` waiting. A Redis that is away is no error here: the gate then waits in
        this process and is announced later.
        """
        ...

    def records(self, live: bool = True) -> list[Gate]:
        """Gates by the time they opened, oldest first: those that wait or are decided, or all that are remembered.

        While Redis is away: those of this process.
        """
        ...

    def counts(self) -> dict[str, int]:
        """How many gates are ``waiting`` (just decided ones too), ``orphaned`` and ``parked``.

        Costs the same for any number.
        """
        ...

    def some(self, ids: Sequence[str]) -> list[Gate]:
        """The gates of those ids, in their order, also such as have ended; those that are not there are left out.

        While Redis is away: those of this process.
        """
        ...

    def clock(self) -> int:
        """Milliseconds since the epoch by the store's clock, by which gates opened; never waits for the store."""
        ...

    def get(self, gate_id: str) -> Gate:
        """The gate."""
        ...

    def decide(self, gate_id: str, decision: Decision) -> Gate:
        """Makes the decision and returns the gate; the first one wins, in one atomic step.

        A repeat (the same id, or another that says the same) is answered as success. Raises
        AlreadyDecided with the standing decision, GateClosed, InvalidInput when the gate has
        no such route, TakenBack when that very decision was taken back. After StoreUnavailable
        the outcome is unknown: repeat with the same id.
        """
        ...

    def take_back(self, gate_id: str, decision_id: str, by: str = "", where: str = "") -> Gate:
        """Takes the decision of that id back, in one atomic step: the gate waits again, its deadline runs on.

        A repeat is answered as success. Raises GateClosed when it is too late (it was applied),
        AlreadyDecided when another decision stands, Conflict when none does, or when it is no
        person's choice of a route: a cancel takes effect at once, a deadline stays passed.
        """
        ...

    def set_mask(self, gate_id: str, png: bytes | None) -> Gate:
        """Replaces the painted mask (an 8-bit grey PNG of the image's size, white = painted), or clears it.

        The bytes are already verified. Raises AlreadyDecided or GateClosed.
        """
        ...

    def mask(self, gate_id: str) -> bytes | None:
        """The painted mask as PNG, None when there is none."""
        ...

    def preview(self, gate_id: str) -> bytes:
        """A JPEG of at most 1024 px."""
        ...

    def frame(self, gate_id: str, frame: int) -> bytes:
        """Image ``frame`` (from 0) of the batch as an 8-bit PNG; GateNotFound until it is there."""
        ...

    def image(self, gate_id: str) -> NDArray[np.floating[Any]]:
        """The whole batch [B, H, W, C], as :meth:`frame`."""
        ...

    def close(self) -> None:
        """Ends the threads; gates that still wait are withdrawn."""
        ...
