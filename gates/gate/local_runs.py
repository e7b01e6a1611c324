"""What goes on from the parked gates of this process: see :class:`parked.ParkedGates`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ..decisions.record import decision_entry
from ..errors import Conflict, GateNotFound, StoreUnavailable
from ..names import check_decision_id, check_gate_id, clean_text
from . import parking, steps
from .local_parked import LocalParked
from .local_waiting import LocalWaiting
from .parking import told
from .record import ENDED, Decision, Gate, Waiter
from .resumed import Resumed
from .waiting import now_ms


class LocalRuns(LocalParked):
    """The part of the store without Redis (``local.py``) that continues what was parked."""

    def resume(self, gate_id: str, decision_id: str, prompt_id: str) -> Waiter:
        """See :class:`parked.ParkedGates`."""
        check_decision_id(decision_id)
        held = self._index.held(gate_id)
        with self._stepping:
            group = self._group(held)
            owner, on, lives = self._owner, self._settings.instance, group[0].run_owner == self._owner
            self._commit(
                parking.resume(group, gate_id, decision_id, prompt_id, owner, on, lives, self._runs + 1, now_ms())
            )
            gate = held.gate
        if gate.decision is None:
            raise steps.undecided(gate)
        return Resumed(gate, gate.decision, held.read_mask, partial(self._carry, held, decision_id, prompt_id))

    def again(self, gate_id: str, decision: Decision) -> Gate:
        """See :class:`parked.ParkedGates`."""
        old = self._index.held(gate_id)
        new_id = parking.again_id(gate_id, decision.id)
        with self._stepping:
            made = self._index.some([new_id])
            if made:
                return made[0].shown
            before = old.gate
            lead = self._index.some([before.group or before.id])
            new = parking.again(before, lead[0].gate.run if lead else before.run, decision, now_ms())
            if not old.ready:
                raise parking.not_ready(before)
            try:
                self._folders.share(before, new_id)
                held = self._hold(new)
                held.write(new)
            except (GateNotFound, StoreUnavailable) as error:
                self._folders.remove(new_id)
                if isinstance(error, GateNotFound):
                    raise Conflict(f"This gate can't be run again: {error.message}", gate=gate_id) from error
                raise
            if new.decision is not None:
                self._journal.append(decision_entry(new, new.decision))
            with self._index.lock:
                self._index.add(held)
            self._index.changed(new)
            self._schedule(new)
            if before.status not in ENDED:
                ended = steps.end(before, "cancelled", parking.RUN_AGAIN, now_ms())
                self._take(tuple(ended if gate.id == gate_id else gate for gate in self._group(old)))
                self._log_end(before, ended)
            return new

    def due_runs(self, grace_ms: int = 0, most: int = 100) -> list[Gate]:
        """See :class:`parked.ParkedGates`."""
        with self._stepping:
            latest = now_ms() - grace_ms
            due = sorted((at, gate_id) for gate_id, at in self._due.items() if at <= latest)
            return [held.gate for held in self._index.some(gate_id for _, gate_id in due[:most])]

    def claim_run(self, gate_id: str, by: str, for_ms: int) -> Gate | None:
        """See :class:`parked.ParkedGates`."""
        check_gate_id(gate_id)
        by = clean_text(by, "by")
        with self._stepping:
            now = now_ms()
            found = self._index.some([gate_id])
            if not found or self._due.get(gate_id, now + 1) > now:
                return None
            lead = found[0].gate
            if not lead.over and lead.owner == self._owner:
                return None
            claimed = parking.claim(lead, by, lambda: self._runs + 1, now)
            if claimed is not None:
                self._commit((claimed, *self._group(found[0])[1:]))
                self._due[gate_id] = now + for_ms
            return claimed

    def note_run(
        self,
        gate_id: str,
        by: str,
        state: str,
        run_id: str = "",
        on: str = "",
        error: str = "",
        look_in_ms: int = 0,
    ) -> Gate | None:
        """See :class:`parked.ParkedGates`."""
        parking.check_noted(state)
        check_gate_id(gate_id)
        with self._stepping:
            found = self._index.some([gate_id])
            if not found:
                return None
            now = now_ms()
            noted = parking.note(self._group(found[0]), clean_text(by, "by"), state, run_id, told(on), told(error), now)
            if noted is None:
                return None
            self._commit(noted)
            if gate_id in self._due:
                self._due[gate_id] = now + look_in_ms
            return noted[0]

    def family(self, gate: Gate) -> list[Gate]:
        """See :class:`parked.ParkedGates`."""
        root = gate.family or gate.prompt_id
        if not root:
            return [gate]
        shown = (held.shown for held in self._index.all(live=False))
        return sorted((one for one in shown if (one.family or one.prompt_id) == root), key=by_opening)

    def prompts_ended(self, ends: Mapping[str, str]) -> None:
        """See :class:`parked.ParkedGates`."""
        with self._stepping:
            for held in self._index.all(live=False):
                lead = held.gate
                if lead.group != lead.id:
                    continue
                for prompt_id in {lead.prompt_id, lead.run_prompt} & ends.keys():
                    group = self._group(held)
                    # True whether it can be written or not.
                    self._take(parking.prompt_ended(group, prompt_id, self._owner, told(ends[prompt_id]), now_ms()))

    def _carry(self, held: LocalWaiting, decision_id: str, prompt_id: str) -> Gate:
        with self._stepping:
            before, group = held.gate, self._group(held)
            after = parking.apply(group, before.id, decision_id, prompt_id, self._owner, now_ms())
            if after is not group:
                self._commit(after)
                self._log_end(before, held.gate)
            return held.gate


def by_opening(gate: Gate) -> tuple[int, str]:
    """By what gates are listed."""
    return gate.opened, gate.id
