"""Gates that park: what is stored for it, when the gates of one node park, and how one is taken up again.

What a gate node has to do for it: stand in ``GATE_NODES`` (``cut.py``), have the inputs ``WAITING``
and ``HIDDEN`` last, block everything when its question is ``blocked``, call :func:`keeping` before
it opens its gate, begin with :func:`take_up` when its question has a ``decision_id``, and tell
``answered`` what it puts out when it has parked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import comfy
from ..continuation import Continuation, packed_mask, recorded
from ..errors import AlreadyDecided, Conflict, GatebusError, GateNotFound, StoreUnavailable
from ..gate.record import Gate, Waiter, make_decision
from ..gate.resumed import Resumed
from ..store import Store
from .gate_inputs import Question
from .pause import Pause

EVERY = 0.05
"""Seconds between two looks at whether the gates of a node can park; at least some turns of the event loop."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Keeping:
    """What a gate node tells of itself for its continuation; made while its prompt runs."""

    at: comfy.Place
    dynprompt: Any
    extra_pnginfo: Any
    outputs: tuple[str, ...]
    """The output nodes that the prompt runs."""
    question: Question
    inputs: Mapping[str, Any]
    """Constants for the node when it is taken up again."""
    mask: NDArray[np.float32] | None = None
    """[B, H, W]: the mask to pass on unless one is painted; None when the one that the gate shows says it all."""

    def continuation(self, store: Store) -> Continuation:
        """What is stored (in a thread); raises GatebusError, which says why the gate can't be parked."""
        prompt = getattr(self.dynprompt, "original_prompt", {})
        node = self.at.node_id
        if node not in prompt:
            raise Conflict("This gate is in a part of the prompt that was made while it ran, and can't be parked")
        if self.question.whole:
            # This prompt was cut; what was cut off may still be fed from here, together with another gate.
            whole = Continuation.from_bytes(store.gates.continuation(self.question.whole))
            made = replace(whole, node=node, inputs=dict(self.inputs), mask_shape=(), mask_data=b"")
        else:
            classes = {key: str(entry.get("class_type")) for key, entry in list(prompt.items())}
            lazy_of = comfy.lazy_inputs(set(classes.values()))
            lazy = {key: lazy_of[kind] for key, kind in classes.items() if lazy_of.get(kind)}
            made = recorded(prompt, node, self.outputs, self.extra_pnginfo, lazy, self.inputs)
        return made if self.mask is None else replace(made, **packed_mask(self.mask))


def keeping(
    at: comfy.Place,
    dynprompt: Any,
    extra_pnginfo: Any,
    question: Question,
    mask: NDArray[np.float32] | None = None,
    **inputs: Any,
) -> Keeping:
    """What is to be kept of this call; while its prompt runs. ``inputs`` and ``mask`` as in :class:`Keeping`."""
    return Keeping(at, dynprompt, extra_pnginfo, comfy.outputs(at.prompt_id), question, inputs, mask)


@dataclass
class _Member:
    waiter: Waiter
    index: int
    at: float
    """Monotonic seconds: when it may park."""
    why_not: Callable[[], str]


class Parking:
    """The gates of one node, over the items of a list, that park together; on the prompt's event loop only.

    ComfyUI starts the calls over a list one after the other, a turn of the event loop each, and
    waits for all of them: so nothing is lost when one that is decided waits for its siblings.
    """

    def __init__(self) -> None:
        self._members: list[_Member] = []
        self._parked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def settled(self, pause: Pause, member: _Member) -> bool:
        """Whether the gates have parked; False as soon as all are decided instead."""
        self._members.append(member)
        if self._members[0] is member:
            # The first one looks for all. Should it fail, its siblings do so with it.
            await self._look(pause)
        else:
            await pause.until(lambda wake: self._parked.add_done_callback(lambda _: wake()))
        return self._parked.result()

    async def _look(self, pause: Pause) -> None:
        known = 0
        while True:
            await pause.rest(EVERY)
            members = list(self._members)
            # All siblings must be known: none was started since the last look, and each has opened its gate.
            whole = len(members) == known == pause.siblings.count
            known = len(members)
            if not whole:
                continue
            parked = None
            if all(member.waiter.decision is not None for member in members):
                parked = False
            elif all(_may_park(member) for member in members):
                parked = await self._try(pause, sorted(members, key=lambda member: member.index))
            if parked is not None:
                # One whose decision is taken back in the last moment waits anew.
                pause.siblings.parking = None
                self._parked.set_result(parked)
                return

    async def _try(self, pause: Pause, members: list[_Member]) -> bool | None:
        store, waiters = comfy.store(), [member.waiter for member in members]
        try:
            return await pause.step(lambda: store.gates.park(waiters), discard=lambda _: _cancel(store, waiters))
        except StoreUnavailable as error:
            log.debug("gatebus: %s", error.message)
        except Conflict as error:
            if type(error) is not Conflict:
                raise
            log.info("gatebus: a gate does not park yet: %s", error.message)
        await pause.rest(1)
        return None


async def parks(pause: Pause, waiter: Waiter, at: comfy.Place, after: float, why_not: Callable[[], str]) -> bool:
    """Waits until the gates of this node have parked; False as soon as all are decided instead.

    ``after``: seconds until this one may; ``why_not``: why it can't at all, "" when it can.
    """
    comfy.watch_prompt(at.prompt_id)
    siblings = pause.siblings
    if siblings.parking is None:
        siblings.parking = Parking()
    member = _Member(waiter, at.list_index, time.monotonic() + after, why_not)
    return await siblings.parking.settled(pause, member)


def _may_park(member: _Member) -> bool:
    if member.why_not():
        return False
    return member.waiter.ready and (member.waiter.decision is not None or time.monotonic() >= member.at)


def _cancel(store: Store, waiters: list[Waiter]) -> None:
    """Ends gates that parked after their prompt had been stopped (in a thread)."""
    for waiter in waiters:
        try:
            store.gates.decide(waiter.gate.id, make_decision("cancel"))
        except GatebusError as error:
            log.info("gatebus: gate %s is parked, although its prompt was stopped: %s", waiter.gate.id, error.message)


def take_up(store: Store, question: Question, at: comfy.Place) -> Waiter:
    """The decided gate that this call carries out, or passes again (in a thread).

    Raises GateBusy while another run has it, StoreUnavailable, and what ``GateStore.resume`` does.
    """
    comfy.watch_prompt(at.prompt_id)
    if not question.replay:
        return store.gates.resume(question.resume, question.decision_id, at.prompt_id)
    gate = store.gates.get(question.resume)
    decision = gate.decision
    if decision is None or decision.id != question.decision_id:
        raise AlreadyDecided("Another decision stands than the one that was passed", gate=gate.id)
    return Resumed(gate, decision, lambda: store.gates.mask(gate.id), lambda: gate)


def kept_text(store: Store, gate: Gate) -> str:
    """The text that a gate was asked about, as it came; as its record shows it when that is not kept."""
    try:
        return str(Continuation.from_bytes(store.gates.continuation(gate.id)).inputs.get("text", gate.text))
    except GateNotFound:
        return gate.text


def kept_mask(store: Store, gate: Gate) -> NDArray[np.float32] | None:
    """The mask to pass on unless one was painted, as it came; None when there was none, or it is not kept."""
    try:
        return Continuation.from_bytes(store.gates.continuation(gate.id)).mask()
    except GateNotFound:
        return None
