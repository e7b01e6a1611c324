"""Gates of this process alone: the store without Redis."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..decisions.record import LogWriter
from ..errors import Conflict, GateBusy, GateNotFound, StoreUnavailable, TooLarge
from ..events import Events
from ..names import check_decision_id, check_gate_id, clean_text
from ..settings import Settings
from . import steps
from .record import ENDED, Decision, Gate
from .waiting import Waiting, as_opened, now_ms

MAX_REMEMBERED = 1000
"""Gates that ended and are still listed; without Redis their images are in memory only, and dropped."""

LOG_AGAIN = 1.0
"""Seconds between two attempts to log on a disk that is full."""

log = logging.getLogger(__name__)


class LocalGates:
    """See :class:`record.GateStore`. One thread keeps the deadlines."""

    def __init__(self, settings: Settings, owner: str, events: Events, journal: LogWriter) -> None:
        """``journal`` is the decision log."""
        self._settings = settings
        self._journal = journal
        self._owner = owner
        self._events = events
        self._live: dict[str, Waiting] = {}
        self._ended: OrderedDict[str, tuple[float, Waiting]] = OrderedDict()
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._closed = False
        self._thread: threading.Thread | None = None

    def open(self, gate: Gate, preview: bytes, timeout: float = 0, mask: bytes | None = None) -> Waiting:
        """See :class:`record.GateStore`."""
        opened = replace(as_opened(gate, self._owner, self._settings, timeout), rev=1)
        waiting = Waiting(opened, preview, timeout, mask, self._changed, self._journal)
        with self._lock:
            if gate.id in self._ended:
                raise steps.gate_closed(self._ended[gate.id][1].gate)
            if gate.id in self._live:
                raise GateBusy("This process waits on that gate already", gate=gate.id)
            if len(self._live) >= self._settings.max_gates:
                raise TooLarge(
                    f"{len(self._live)} gates wait already; GATEBUS_MAX_GATES allows no more",
                    limit=self._settings.max_gates,
                )
            self._live[gate.id] = waiting
            if timeout > 0:
                self._start()
                self._wake.notify()
        self._events.append("gate", gate.id, rev=1, status="waiting")
        return waiting

    def records(self, live: bool = True) -> list[Gate]:
        """See :class:`record.GateStore`."""
        with self._lock:
            held = list(self._live.values())
            if not live:
                self._forget()
                held = [waiting for _, waiting in self._ended.values()] + held
        return sorted((waiting.gate for waiting in held), key=lambda gate: (gate.opened, gate.id))

    def counts(self) -> dict[str, int]:
        """See :class:`record.GateStore`."""
        with self._lock:
            return {"waiting": len(self._live), "orphaned": 0}

    def some(self, ids: Sequence[str]) -> list[Gate]:
        """See :class:`record.GateStore`."""
        with self._lock:
            ended = {gate_id: self._ended[gate_id][1] for gate_id in ids if gate_id in self._ended}
            held = {**ended, **{gate_id: self._live[gate_id] for gate_id in ids if gate_id in self._live}}
        return [held[gate_id].gate for gate_id in ids if gate_id in held]

    def clock(self) -> int:
        """See :class:`record.GateStore`."""
        return now_ms()

    def get(self, gate_id: str) -> Gate:
        """See :class:`record.GateStore`."""
        return self._held(gate_id).gate

    def decide(self, gate_id: str, decision: Decision) -> Gate:
        """See :class:`record.GateStore`."""
        return self._held(gate_id).decide(decision)

    def take_back(self, gate_id: str, decision_id: str, by: str = "", where: str = "") -> Gate:
        """See :class:`record.GateStore`."""
        check_decision_id(decision_id)
        gate = self._held(gate_id).take_back(decision_id, clean_text(by, "by"), clean_text(where, "where"))
        with self._lock:
            # Its deadline counts again.
            self._wake.notify()
        return gate

    def set_mask(self, gate_id: str, png: bytes | None) -> Gate:
        """See :class:`record.GateStore`."""
        return self._held(gate_id).set_mask(png)

    def mask(self, gate_id: str) -> bytes | None:
        """See :class:`record.GateStore`."""
        return self._held(gate_id).painted

    def preview(self, gate_id: str) -> bytes:
        """See :class:`record.GateStore`."""
        return self._held(gate_id).preview

    def frame(self, gate_id: str, frame: int) -> bytes:
        """See :class:`record.GateStore`."""
        return self._held(gate_id).frame(frame)

    def image(self, gate_id: str) -> NDArray[np.floating[Any]]:
        """See :class:`record.GateStore`."""
        return self._held(gate_id).image()

    def close(self) -> None:
        """See :class:`record.GateStore`."""
        with self._lock:
            self._closed = True
            held = list(self._live.values())
            self._wake.notify_all()
        for waiting in held:
            waiting.close("shutdown")
        if self._thread is not None:
            self._thread.join(1)

    def _held(self, gate_id: str) -> Waiting:
        check_gate_id(gate_id)
        with self._lock:
            waiting = self._live.get(gate_id)
            if waiting is None and gate_id in self._ended:
                waiting = self._ended[gate_id][1]
        if waiting is None:
            raise GateNotFound("No gate has that id", gate=gate_id)
        return waiting

    def _changed(self, gate: Gate) -> None:
        if gate.status in ENDED:
            with self._lock:
                waiting = self._live.pop(gate.id, None)
                if waiting is not None:
                    waiting.encoded = None
                    self._ended[gate.id] = (time.monotonic(), waiting)
                    self._forget()
        self._events.append("gate", gate.id, rev=gate.rev, status=gate.status)

    def _forget(self) -> None:
        oldest = time.monotonic() - self._settings.keep_decided
        while self._ended:
            ended_at, _ = next(iter(self._ended.values()))
            if len(self._ended) <= MAX_REMEMBERED and ended_at >= oldest:
                break
            self._ended.popitem(last=False)

    # -- deadlines ------------------------------------------------------------------------
    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_deadlines, name="gatebus-gates", daemon=True)
            self._thread.start()

    def _keep_deadlines(self) -> None:
        while True:
            with self._lock:
                if self._closed:
                    return
                waiting_for = [w for w in self._live.values() if w.decision is None and w.remaining() is not None]
                nearest = min((w.remaining() or 0.0 for w in waiting_for), default=None)
                if nearest is None or nearest > 0:
                    self._wake.wait(nearest)
                    continue
            try:
                for waiting in waiting_for:
                    if (waiting.remaining() or 0.0) <= 0:
                        decide_at_deadline(waiting)
            except StoreUnavailable as error:
                log.warning("gatebus: what a deadline decides can't be logged; trying again: %s", error.message)
                with self._lock:
                    self._wake.wait(LOG_AGAIN)


def decide_at_deadline(waiting: Waiting) -> None:
    """Decides the gate by its deadline, unless somebody was faster."""
    try:
        waiting.decide(waiting.deadline_decision())
    except Conflict:
        log.debug("gatebus: gate %s was decided in the moment of its deadline", waiting.gate.id)
