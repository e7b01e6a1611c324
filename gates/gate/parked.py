"""What every gate store promises of parked gates; its records and errors are those of ``record.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .decision import Decision
    from .record import Gate, Waiter


class ParkedGates(Protocol):
    """Parks gates, and lets what was decided about them go on; thread-safe. A part of :class:`record.GateStore`."""

    def park(self, waiters: Sequence[Waiter]) -> bool:
        """Parks the gates of one node, in the order of their list, in one atomic step: nobody waits on them any more.

        True: they are parked, and their waiters are over. False: all are decided, to be applied as
        usual. One that is decided already is parked with the others; a cancel or an expiry ends it
        now. The bytes of gates of the family that have ended are kept for ``keep_decided`` from now on.
        A repeat is answered as success. Raises Conflict when one is not ready, Fenced, GateClosed,
        or StoreUnavailable: then it is unknown whether they are parked, and to be repeated.
        """
        ...

    def park_orphan(self, gate_id: str, by: str = "", where: str = "") -> Gate:
        """Parks an orphan, alone, so that a decision lets it go on anywhere; logged as ``park``.

        A repeat is answered as success. Raises Conflict (its owner lives, or not all that is needed was
        stored) or GateClosed.
        """
        ...

    def continuation(self, gate_id: str) -> bytes:
        """What :meth:`Waiter.store_continuation` stored; raises GateNotFound when it is not kept (any more)."""
        ...

    def resume(self, gate_id: str, decision_id: str, prompt_id: str) -> Waiter:
        """Takes a decided parked gate up in this process, in the prompt of that id, which becomes the group's run.

        Its waiter has the decision, and :meth:`Waiter.apply` carries it out, repeatably. Another gate of
        the group, a repeat, and the successor of a process that died are welcome. Raises GateBusy while
        another prompt has the run (ask again), GateClosed when the run has ended or the gate was
        cancelled, AlreadyDecided when another decision stands, Conflict when none does.
        """
        ...

    def again(self, gate_id: str, decision: Decision) -> Gate:
        """Makes a new gate, decided by that route and with its run pending, of one that has ended or whose run failed.

        Its id follows from both ids, so that a repeat gives the same gate. The old one stays as history.
        Raises Conflict when it has not ended, or not all is kept any more; InvalidInput as :meth:`decide`.
        """
        ...

    def due_runs(self, grace_ms: int = 0, most: int = 100) -> list[Gate]:
        """The leads whose runs have waited to be claimed for at least so many milliseconds, the longest first."""
        ...

    def claim_run(self, gate_id: str, by: str, for_ms: int) -> Gate | None:
        """Takes the run of that lead, to submit it or to see how it goes, for so many milliseconds.

        None: it is not due (any more), or the prompt in which it parked still runs.
        """
        ...

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
        """Notes what became of the run that ``by`` has claimed: ``submitted``, ``pending``, ``failed`` or ``done``.

        Due again in ``look_in_ms``, unless it has ended. None: another one has it, or it has ended.
        """
        ...

    def family(self, gate: Gate) -> list[Gate]:
        """The gates of that gate's family that are still remembered, also such as have ended, oldest first."""
        ...

    def prompts_ended(self, ends: Mapping[str, str]) -> None:
        """Tells of prompts of this process that have ended: id -> error, "" for none.

        What parked in one may go on from now; the run that one was is ``done`` or ``failed``.
        """
        ...
