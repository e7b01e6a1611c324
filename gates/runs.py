"""The runs that go on from decided gates: found when they are due, submitted once, followed to their end.

Any process may do this for the farm: each ComfyUI submits to itself (``comfy.py``), a broker to
the farm. Both give :class:`Runs` a :class:`Submitter`; the store sees to it that one at a time has
a run, and that its decision is carried out once, whatever became of who had it before.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from .continuation import Continuation
from .cut import Cut, cut, run_id
from .errors import GatebusError, GateNotFound, StoreUnavailable
from .gate.record import Gate
from .store import Store

LOOK = 0.5
"""Seconds between two looks for runs that are due."""

CLAIM = 20.0
"""Seconds for which a claimed run is this process's to submit: longer than one submission takes."""

BEGUN = ("submitting", "submitted", "running")
"""States of a run that has begun and not ended."""

MOST = 500
"""Runs that are looked at in one go."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run to submit or to look after."""

    id: str
    """32 hex digits, the same at every repeat: what it is to be submitted as."""
    lead: Gate
    """The first gate of the group from which it goes on: its client, its title, who parked it."""
    family: tuple[Gate, ...]
    store: Store

    @cached_property
    def cut(self) -> Cut:
        """The prompt; made when it is asked for. Raises GatebusError when there is none."""
        kept = Continuation.from_bytes(self.store.gates.continuation(self.lead.id))
        return cut(kept, self.lead, self.family)


@dataclass(frozen=True)
class Standing:
    """How a run stands, as its submitter sees it."""

    state: str
    """``submitted``: it is where it runs or waits to; ``pending``: it is nowhere, and may be submitted by
    anybody; ``failed``, ``done``: it has ended."""
    on: str = ""
    """Where, for people."""
    error: str = ""
    """Why it failed, or is not submitted yet."""
    look_in: float = 5.0
    """Seconds until it is looked at again. Nobody else takes the run until then."""


class Submitter(Protocol):
    """Where runs can be sent to; called by one thread."""

    @property
    def by(self) -> str:
        """Who claims the runs: the same as long as this submitter knows what it has submitted."""
        ...

    def takes(self, lead: Gate, late: float) -> bool:
        """Whether it would submit the run from this gate, unclaimed for ``late`` seconds by now."""
        ...

    def submit(self, run: Run) -> Standing:
        """Submits the run, unless it is there already under its id.

        What can't be reached now is ``pending``. What is refused for good is ``failed``, with node,
        input and reason.
        """
        ...

    def look(self, run: Run) -> Standing | None:
        """How the run stands that was submitted before, by whomever; None when there is no trace of it here."""
        ...


class Runs:
    """The thread that brings due runs on their way; it outlives every failure."""

    def __init__(self, store: Callable[[], Store], submitter: Submitter, every: float = LOOK) -> None:
        """``store`` may open it; ``every``: seconds between two looks."""
        self._store = store
        self._submitter = submitter
        self._every = every
        self._wake = threading.Event()
        self._closed = False
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="gatebus-runs", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Looks at once."""
        self._wake.set()

    def close(self) -> None:
        """Ends the thread after the run that it is at."""
        self._closed = True
        self._wake.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._closed:
            try:
                advance(self._store(), self._submitter)
                self._said = ""
            except StoreUnavailable as error:
                log.debug("gatebus: %s", error)
            except Exception as error:
                # Once, not at every look.
                if self._said != repr(error):
                    self._said = repr(error)
                    log.exception("gatebus: no look could be had at the runs that are due")
            self._wake.wait(self._every)
            self._wake.clear()


def advance(store: Store, submitter: Submitter) -> int:
    """One look at the runs that are due; how many of them this submitter had. Raises StoreUnavailable."""
    had = 0
    for lead in store.gates.due_runs(most=MOST):
        late = (store.gates.clock() - lead.run_at) / 1000
        if lead.run_by != submitter.by and not submitter.takes(lead, late):
            continue
        try:
            had += _advance(store, submitter, lead)
        except StoreUnavailable:
            raise
        except Exception:
            # The others must go on.
            log.exception("gatebus: the run from gate %s could not be submitted", lead.id)
    return had


def _advance(store: Store, submitter: Submitter, lead: Gate) -> bool:
    begun = lead.run in BEGUN
    # Each run of a family has to know what those before it have opened: they follow each other.
    if not begun and _others(store.gates.family(lead), lead):
        return False
    claimed = store.gates.claim_run(lead.id, submitter.by, round(CLAIM * 1000))
    if claimed is None:
        return False
    family = tuple(store.gates.family(claimed))
    # Two may have begun in the same moment: the second one is claimed anew when the first has ended.
    if any(0 < other.run_seq < claimed.run_seq for other in _others(family, claimed)):
        return False
    standing = _standing(submitter, claimed, family, store, begun)
    if standing.state == "failed":
        log.warning("gatebus: the run from gate %s failed: %s", claimed.id, standing.error)
    store.gates.note_run(
        claimed.id,
        submitter.by,
        standing.state,
        run_id=run_id(claimed, family),
        on=standing.on,
        error=standing.error,
        look_in_ms=round(standing.look_in * 1000),
    )
    return True


def _standing(submitter: Submitter, lead: Gate, family: tuple[Gate, ...], store: Store, begun: bool) -> Standing:
    try:
        run = Run(run_id(lead, family), lead, family, store)
        seen = submitter.look(run) if begun else None
        if seen is not None:
            return seen
        _ = run.cut
        return submitter.submit(run)
    except StoreUnavailable:
        raise
    except GateNotFound:
        return Standing("failed", error="What it takes to run on from this gate is not kept any more")
    except GatebusError as error:
        return Standing("failed", error=error.message)


def _others(family: tuple[Gate, ...] | list[Gate], lead: Gate) -> list[Gate]:
    """The leads of the family whose runs have begun and not ended."""
    return [gate for gate in family if gate.run in BEGUN and gate.id != lead.id]
