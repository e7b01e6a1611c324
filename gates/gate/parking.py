"""The steps of parked gates as pure functions: what ``scripts_parking.py`` does in Redis.

A group is a tuple of gates in the order of their list, the lead first; a gate that parked alone is a
group of one. Each step takes a group and returns it after the step, its changed gates with ``rev`` one
more; ``now`` is milliseconds since the epoch. The lead carries what concerns all: how many are
undecided, whether the prompt is over, and the run.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..errors import Conflict, Fenced, GateBusy, GateClosed, InvalidInput
from . import steps
from .record import ENDED, Decision, Gate

Group = tuple[Gate, ...]

PENDING, SUBMITTING, SUBMITTED, RUNNING, DONE, FAILED = (
    "pending", "submitting", "submitted", "running", "done", "failed",
)  # fmt: skip
UNDER_WAY = (PENDING, SUBMITTING, SUBMITTED, RUNNING)
"""States of a run that has not ended; its lead stands in the index of runs."""

NOTED = (PENDING, SUBMITTED, FAILED, DONE)
"""What a submitter notes of its run."""

UNCARRIED = "The prompt ended before the decision was carried out"
DISMISSED = "dismissed"
"""The outcome of a gate whose run failed and that was then cancelled."""

RUN_AGAIN = "run again"
"""The outcome of a gate whose run failed and that was then run again, as another gate."""

RUN_TEXT = 4096
"""Characters of an error, or of a place, that a run is noted with."""

_AGAIN = uuid.UUID("6f6ad0f4-5a3f-5e0e-9a43-0f2a3c1d7b11")


def can_park(gate: Gate) -> bool:
    """Whether everything is stored that a continuation needs: the image, where there is one, and how to run on."""
    return bool(gate.kept) and (gate.layout is not None or gate.kind == "text")


def park(gates: Sequence[Gate], now: int) -> Group | None:
    """The gates as a parked group; None when all are decided. A group that is parked already is not changed.

    Raises Conflict when one can't be parked (yet), GateClosed when one has ended.
    """
    lead = gates[0]
    if lead.parked:
        return tuple(gates)
    for gate in gates:
        if gate.status in ENDED:
            raise steps.gate_closed(gate)
    if all(gate.decision is not None for gate in gates):
        return None
    for gate in gates:
        if not can_park(gate):
            raise not_ready(gate)
    members = " ".join(gate.id for gate in gates) if len(gates) > 1 else ""
    undecided = sum(gate.decision is None for gate in gates)
    parked = [_parked(gate, lead.id, now) for gate in gates]
    parked[0] = replace(parked[0], members=members, undecided=undecided)
    return _revised(gates, parked)


def park_orphan(gate: Gate, now: int) -> Gate:
    """The gate parked alone, after its owner went; unchanged when it is parked. Raises Conflict or GateClosed.

    Whether the owner is gone is for the store to know.
    """
    if gate.parked:
        return gate
    if gate.status in ENDED:
        raise steps.gate_closed(gate)
    if not can_park(gate):
        raise not_ready(gate)
    parked = replace(_parked(gate, gate.id, now), over=1, undecided=int(gate.decision is None))
    return _revised((gate,), _settled([parked], now))[0]


def decide(group: Group, gate_id: str, decision: Decision, now: int) -> Group:
    """The group with the decision about that gate; raises what :func:`steps.decide` does.

    A cancel or an expiry ends the gate at once: there is nothing to stop. When the last one is decided
    the run is pending. A cancel of a gate whose run has failed dismisses it.
    """
    at = _index(group, gate_id)
    before = group[at]
    if decision.kind == "cancel" and before.outcome == DISMISSED:
        return group
    if before.status == "decided" and group[0].run == FAILED and decision.kind == "cancel":
        after = list(group)
        after[at] = steps.end(before, "cancelled", DISMISSED, now)
        return _revised(group, after)
    decided = steps.decide(before, decision, now)
    if decided is before:
        return group
    after = list(group)
    after[at] = _ended_by_it(decided, now)
    after[0] = replace(after[0], undecided=after[0].undecided - 1)
    return _revised(group, _settled(after, now))


def take_back(group: Group, gate_id: str, decision_id: str, now: int) -> Group:
    """The group with that gate undecided once more; raises what :func:`steps.take_back` does, or GateClosed.

    It is too late when the run has begun.
    """
    at = _index(group, gate_id)
    before = group[at]
    after = list(group)
    after[at] = steps.take_back(before, decision_id)
    if after[at] is before:
        return group
    if group[0].run not in ("", PENDING):
        raise run_begun(group[0])
    after[at] = replace(after[at], status="parked")
    lead = after[0]
    after[0] = replace(lead, undecided=lead.undecided + 1, run="", run_at=now if lead.run else lead.run_at)
    return _revised(group, after)


def claim(lead: Gate, by: str, next_seq: Callable[[], int], now: int) -> Gate | None:
    """The lead whose run ``by`` now submits or follows; None when no run is under way.

    That it is due, and that the prompt in which it parked is over, is for the store to know.
    """
    if lead.run not in UNDER_WAY:
        return None
    state = SUBMITTING if lead.run == PENDING else lead.run
    claimed = replace(lead, run=state, run_by=by, run_seq=lead.run_seq or next_seq(), over=1, run_at=now)
    return replace(claimed, rev=lead.rev + 1)


def note(group: Group, by: str, state: str, run_id: str, on: str, error: str, now: int) -> Group | None:
    """The group with what its submitter tells; None when another one has the run, or it has ended.

    "" of ``run_id`` and ``on`` change nothing. A run that goes on is not called ``submitted`` any more, and where it
    goes on its own process has said.
    """
    lead = group[0]
    if lead.run not in UNDER_WAY or lead.run_by != by:
        return None
    state = RUNNING if (state, lead.run) == (SUBMITTED, RUNNING) else state
    on = lead.run_on if lead.run == RUNNING else on
    noted = replace(
        lead, run=state, run_id=run_id or lead.run_id, run_on=on or lead.run_on, run_error=error, run_at=now
    )
    return _revised(group, [noted, *group[1:]])


def resume(
    group: Group, gate_id: str, decision_id: str, prompt_id: str, owner: str, on: str, lives: bool, seq: int, now: int
) -> Group:
    """The group as the prompt that carries that decision out has it; unchanged for a repeat.

    ``on``: the owner's name for people; ``lives``: whether the process that resumed it before does; ``seq``: the run's
    number, should it have none.
    Raises GateClosed, AlreadyDecided, Conflict or GateBusy.
    """
    gate, lead = group[_index(group, gate_id)], group[0]
    check_decision(gate, decision_id)
    if lead.undecided or lead.run == "":
        raise not_settled(gate)
    if lead.run not in UNDER_WAY:
        raise run_ended(lead)
    if lead.run == RUNNING and (lead.run_owner, lead.run_prompt) == (owner, prompt_id):
        return group
    same = (lead.run_owner, lead.run_prompt) == (owner, prompt_id)
    if lead.run_owner and lives and not same:
        raise run_busy(lead)
    running = replace(
        lead, run=RUNNING, run_owner=owner, run_on=on, run_prompt=prompt_id, run_seq=lead.run_seq or seq, run_at=now,
        over=1,
    )  # fmt: skip
    return _revised(group, [running, *group[1:]])


def apply(group: Group, gate_id: str, decision_id: str, prompt_id: str, owner: str, now: int) -> Group:
    """The group with that decision carried out by the prompt that has its run; unchanged for a repeat.

    Raises Fenced when another prompt has it, or the run has ended.
    """
    at, lead = _index(group, gate_id), group[0]
    gate = group[at]
    check_decision(gate, decision_id)
    if (lead.run_owner, lead.run_prompt) != (owner, prompt_id):
        raise run_fenced(lead)
    if gate.status != "decided":
        return group
    if lead.run != RUNNING:
        raise run_fenced(lead)
    after = list(group)
    after[at] = steps.apply(gate, now)
    return _revised(group, after)


def prompt_ended(group: Group, prompt_id: str, owner: str, error: str, now: int) -> Group:
    """The group after the end of a prompt of that process: of the one in which it parked, or of its run."""
    lead = group[0]
    if lead.parked and not lead.over and (lead.owner, lead.prompt_id) == (owner, prompt_id):
        return _revised(group, [replace(lead, over=1), *group[1:]])
    if lead.run not in UNDER_WAY or (lead.run_owner, lead.run_prompt) != (owner, prompt_id):
        return group
    if not error and any(gate.status == "decided" for gate in group):
        error = UNCARRIED
    ended = replace(lead, run=FAILED if error else DONE, run_error=error, run_at=now)
    return _revised(group, [ended, *group[1:]])


def again_id(gate_id: str, decision_id: str) -> str:
    """The id of the gate that runs another on by that decision; the same at every repeat."""
    return uuid.uuid5(_AGAIN, f"{gate_id} {decision_id}").hex


def again(gate: Gate, run: str, decision: Decision, now: int) -> Gate:
    """A new gate, decided so and with its run pending, of one that has ended or whose run failed.

    ``run`` is its lead's. Raises Conflict, or InvalidInput when it has no such route or image.
    """
    if decision.kind != "route":
        raise InvalidInput("A gate is run again by a route", kind=decision.kind)
    if gate.status not in ENDED and not (gate.status == "decided" and run == FAILED):
        raise Conflict(
            "This gate has not ended: decide it, or take its decision back", gate=gate.id, status=gate.status
        )
    if not can_park(gate):
        raise not_ready(gate)
    new = again_id(gate.id, decision.id)
    # Everything that belongs to the old one's life begins anew.
    fresh = replace(
        gate, id=new, status="parked", fence=1, rev=0, opened=now, deadline=0, recovered=False, decision=None,
        taken_back="", outcome="", ended=0, parked=now, group=new, members="", undecided=1, of=gate.id, over=1,
        family=gate.family or gate.prompt_id, run="", run_id="", run_seq=0, run_on="", run_by="", run_owner="",
        run_prompt="", run_error="", run_at=0,
    )  # fmt: skip
    return replace(decide((fresh,), new, decision, now)[0], rev=1)


def check_noted(state: str) -> None:
    """Raises InvalidInput unless a submitter may note that of its run."""
    if state not in NOTED:
        raise InvalidInput(f"A run is noted as {', '.join(NOTED)}", state=state)


def told(text: str) -> str:
    """What others said of a run, as a record takes it: it may be of any length, and hold halves of characters."""
    return text[:RUN_TEXT].encode("utf-8", "replace").decode()


def keeps(group: Group) -> bool:
    """Whether the bytes of the group's gates are still needed, also of those that have ended."""
    lead = group[0]
    return bool(lead.parked) and (lead.undecided > 0 or lead.run in UNDER_WAY)


def check_decision(gate: Gate, decision_id: str) -> None:
    """Raises GateClosed, Conflict or AlreadyDecided unless that decision, a route, stands about a parked gate."""
    if gate.status in ("cancelled", "expired"):
        raise steps.gate_closed(gate)
    if gate.decision is None:
        raise steps.taken_back(gate) if steps.was_taken_back(gate, decision_id) else steps.undecided(gate)
    if gate.decision.id != decision_id:
        raise steps.already_decided(gate)
    if not gate.parked:
        raise not_parked(gate)


def not_ready(gate: Gate) -> Conflict:
    """The error for a gate of which not all is stored that a continuation needs."""
    what = "how its prompt goes on" if not gate.kept else "its whole image"
    return Conflict(f"This gate can't be parked: {what} is not stored", gate=gate.id, status=gate.status)


def owner_lives(gate: Gate) -> Conflict:
    """The error for who parks a gate that is waited on."""
    return Conflict(f"Its owner {gate.instance} waits on this gate", gate=gate.id, status=gate.status)


def is_parked(gate: Gate) -> Conflict:
    """The error for who waits on a gate that is parked."""
    return Conflict("This gate is parked: it goes on by itself when it is decided", gate=gate.id, status=gate.status)


def not_parked(gate: Gate) -> Conflict:
    """The error for who takes up a gate that its own prompt waits on."""
    return Conflict("This gate is not parked: its own prompt goes on", gate=gate.id, status=gate.status)


def not_settled(gate: Gate) -> Conflict:
    """The error for who takes up a gate before all of its group are decided."""
    return Conflict("This gate does not go on yet: others of its group are undecided", gate=gate.id)


def has_not_ended(gate: Gate) -> Conflict:
    """The error for who runs a gate again that is not through."""
    return Conflict("This gate has not ended: decide it or take its decision back", gate=gate.id, status=gate.status)


def run_begun(lead: Gate) -> GateClosed:
    """The error for who takes back what runs already."""
    return GateClosed("It is too late: the run has begun", gate=lead.id, status=lead.status, run=lead.run)


def run_ended(lead: Gate) -> GateClosed:
    """The error for a prompt that comes when another one was the run."""
    return GateClosed(f"The run of this gate has ended: {lead.run}", gate=lead.id, status=lead.status, run=lead.run)


def run_busy(lead: Gate) -> GateBusy:
    """The error for a prompt that comes while another one is the run."""
    return GateBusy("Another prompt carries this decision out", gate=lead.id, prompt=lead.run_prompt, on=lead.run_on)


def run_fenced(lead: Gate) -> Fenced:
    """The error for a prompt that is not, or no more, the run."""
    return Fenced("The run of this gate was taken over, or has ended", gate=lead.id, prompt=lead.run_prompt)


def _parked(gate: Gate, lead: str, now: int) -> Gate:
    parked = replace(gate, parked=now, group=lead, status="parked" if gate.decision is None else gate.status)
    return _ended_by_it(parked, now)


def _ended_by_it(gate: Gate, now: int) -> Gate:
    """The parked gate after a decision that leaves nothing to run."""
    if gate.decision is None or gate.decision.kind == "route":
        return gate
    return steps.apply(gate, now)


def _settled(group: list[Gate], now: int) -> list[Gate]:
    """The group with its run pending when that is possible."""
    lead = group[0]
    if lead.undecided == 0 and any(gate.status == "decided" for gate in group):
        group[0] = replace(lead, run=PENDING, run_at=now)
    return group


def _revised(before: Sequence[Gate], after: Sequence[Gate]) -> Group:
    """The gates after the step, each that it changed with the next revision."""
    pairs = zip(before, after, strict=True)
    return tuple(old if old == new else replace(new, rev=old.rev + 1) for old, new in pairs)


def _index(group: Group, gate_id: str) -> int:
    return next(index for index, gate in enumerate(group) if gate.id == gate_id)
