"""A gate that a node has opened, until its decision is carried out: what every gate node does alike."""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from .. import comfy
from ..codec import Encoded
from ..errors import Conflict, GateClosed, GateNotFound, InvalidInput, NotFound, TakenBack, TooLarge
from ..gate.record import ENDED, Decision, Gate, Waiter
from ..store import Store
from . import passed
from .parking import Keeping, parks
from .pause import Pause, in_background

log = logging.getLogger(__name__)


@dataclass
class Asked:
    """A gate that was opened."""

    store: Store
    at: comfy.Place
    waiter: Waiter
    parks_after: float = math.inf
    """Seconds until it parks, infinite for never."""
    why_not: str = ""
    """Why it can't park, as far as is known."""
    upload: Future[object] | None = None
    """Whole image and continuation on their way to the store, None when there is nothing to store."""


def gate_at(at: comfy.Place, gate_id: str = "", **fields: Any) -> Gate:
    """The record of a gate of that node; with a fresh id unless one is taken up again."""
    return Gate(
        id=gate_id or uuid.uuid4().hex,
        prompt_id=at.prompt_id,
        node_id=at.node_id,
        list_index=at.list_index,
        client_id=at.client_id,
        title=at.title,
        workflow=at.workflow,
        workflow_id=at.workflow_id,
        **fields,
    )


def orphaned(store: Store, resume: str, at: comfy.Place, wired: bool) -> str:
    """The id of the orphan that this call takes up again, "" for none.

    Of the calls over a list, only the one that opened the gate takes it up; without a wired
    input (``wired``) there is no list.
    """
    if not resume or not wired:
        return resume
    try:
        position = store.gates.get(resume).list_index
    except GateNotFound:
        position = 0
    return resume if at.list_index == position else ""


def ask(
    pause: Pause,
    at: comfy.Place,
    store: Store,
    gate: Gate,
    preview: bytes,
    keep: Keeping,
    mask: bytes | None = None,
    whole: Callable[[], Encoded] | None = None,
) -> Asked:
    """Opens the gate and makes it known (in a thread).

    What follows in the background: the image that ``whole`` makes, and the continuation that ``keep`` makes.
    """
    question = keep.question
    waiter = store.gates.open(replace(gate, family=question.family or at.prompt_id), preview, question.timeout, mask)
    asked = Asked(store, at, waiter, question.parks_after(store.settings.when_waiting))
    try:
        pause.watch(asked.waiter)
        comfy.announce(at, gate.id)
        # Also when the gate was decided before it came to that.
        asked.upload = in_background(lambda: _store(asked, keep, whole), "storing a gate's image", long=True)
    except BaseException:
        asked.waiter.close("error")
        raise
    return asked


def _store(asked: Asked, keep: Keeping, whole: Callable[[], Encoded] | None) -> None:
    """Stores image and continuation (in a thread); says it when the gate can't park for want of them."""
    try:
        if whole is not None:
            asked.waiter.store_image(whole())
        asked.waiter.store_continuation(keep.continuation(asked.store).to_bytes())
    except (Conflict, InvalidInput, NotFound, TooLarge) as error:
        log.info("gatebus: gate %s can't go on later: %s", asked.waiter.gate.id, error.message)
        _holds(asked, error.message)
    except Exception as error:
        _holds(asked, f"What it takes to go on later could not be stored: {error}")
        raise


def _holds(asked: Asked, why: str) -> None:
    asked.why_not = why
    if asked.parks_after < math.inf:
        comfy.notice(asked.at, "warn", f"This gate holds. {why}")


async def answered(
    pause: Pause, asked: Asked, carry_out: Callable[[Decision], tuple[Any, ...]], outputs: int
) -> tuple[Any, ...]:
    """Waits for the decision; the outputs that ``carry_out`` makes of it (in a thread; again, if the store was away).

    When the gate parks instead: so many blockers. Ends the gate when the prompt is stopped or fails.
    """
    waiter = asked.waiter

    def passing() -> tuple[Any, ...]:
        decision = _acknowledged(pause, waiter)
        made = carry_out(decision)
        passed.remember(asked.at, waiter.gate, decision)
        return made

    try:
        while True:
            try:
                if asked.parks_after < math.inf and await parks(
                    pause, waiter, asked.at, asked.parks_after, lambda: asked.why_not
                ):
                    log.info("gatebus: gate %s has parked", waiter.gate.id)
                    return blocked(outputs)
                return await pause.patiently(passing, when=waiter.on_decision)
            except TakenBack:
                log.info("gatebus: gate %s waits again: its decision was taken back", waiter.gate.id)
    except BaseException as error:
        _end(waiter, error)
        raise
    finally:
        # What was decided is logged with its image, and its image kept for a time.
        if asked.upload is not None and waiter.decision is None:
            asked.upload.cancel()


def blocked(outputs: int) -> tuple[Any, ...]:
    """So many outputs that let nothing behind them run."""
    return tuple(comfy.blocker() for _ in range(outputs))


def _acknowledged(pause: Pause, waiter: Waiter) -> Decision:
    """The route that was decided, acknowledged (in a thread).

    Raises StoreUnavailable when it has to be done again, TakenBack when there is another decision
    to wait for, Fenced when another owner has the gate, and what stops a prompt when that is decided.
    """
    decision = waiter.decision
    if decision is None and waiter.gate.status in ENDED:
        raise GateClosed(f"The gate was ended elsewhere ({waiter.gate.outcome})", gate=waiter.gate.id)
    if decision is None or decision.kind == "route":
        # In the store another decision may have been first.
        try:
            decision = waiter.apply()
        except TakenBack:
            pause.watch(waiter)
            raise
    if decision.kind != "route":
        raise comfy.interruption()
    return decision


def _end(waiter: Waiter, error: BaseException) -> None:
    """Ends a gate whose decision is not carried out. Never waits: the prompt has to end at once."""
    if waiter.decision is not None and waiter.decision.kind != "route":
        # Stopped by the decision itself, which is thereby carried out.
        in_background(waiter.apply, "acknowledging a stop").add_done_callback(lambda _: waiter.close("interrupted"))
    elif isinstance(error, Exception) and not isinstance(error, type(comfy.interruption())):
        waiter.close("error")
    else:
        waiter.close("interrupted")
