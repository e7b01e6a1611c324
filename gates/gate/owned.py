"""The gates in Redis that this process waits on, and the one thread that looks at them.

It looks at a gate at once when a hint names it, and at all of them every tick, which also renews
their leases. The same look finds a decision whose hint was lost, a data set that was lost (the
gate is announced again), and that another owner has taken over.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..decisions.record import LogWriter
from ..errors import GateBusy, StoreUnavailable, TooLarge
from . import parking, steps
from .blobs import GateBlobs
from .deadlines import Deadlines
from .fields import from_fields, to_fields
from .keeping import Keeping
from .record import Decision, Gate
from .redis_steps import LOOK_AT_ONCE, REFUSALS, GateSteps, decision_arguments
from .redis_waiting import RedisWaiting, fenced
from .sweeper import Sweeper

log = logging.getLogger(__name__)

ANNOUNCE_AGAIN = 15.0
"""Seconds after a lost data set in which a gate that is not there may still be announced again."""


class OwnedGates:
    """Opens gates in Redis and waits on them; every method may be called from any thread."""

    def __init__(self, redis: GateSteps, blobs: GateBlobs, owner: str, journal: LogWriter) -> None:
        self._redis = redis
        self._journal = journal
        self._blobs = blobs
        self._settings = redis.settings
        self._owner = owner
        self._waiting: dict[str, RedisWaiting] = {}
        self._closing: dict[str, tuple[RedisWaiting, str]] = {}
        self.keeping = Keeping(redis, blobs)
        self._deadlines = Deadlines(self.decide)
        self._sweeper = Sweeper(redis, self.keeping.expire)
        self._epoch = ""
        self._epoch_changed = -ANNOUNCE_AGAIN
        self._lock = threading.Lock()
        self._hints: set[str] = set()
        self._look_at_all = True
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gatebus-gates", daemon=True)
        self._thread.start()

    def get(self, gate_id: str) -> RedisWaiting | None:
        """The gate, when this process waits on it."""
        with self._lock:
            return self._waiting.get(gate_id)

    def all(self) -> dict[str, RedisWaiting]:
        """Every gate that this process waits on, by id."""
        with self._lock:
            return dict(self._waiting)

    @property
    def data_lost(self) -> bool:
        """Whether Redis lost its data a moment ago, so that owners still announce their gates again."""
        return time.monotonic() - self._epoch_changed < ANNOUNCE_AGAIN

    def open(self, gate: Gate, preview: bytes, timeout: float, mask: bytes | None) -> RedisWaiting:
        """Announces the gate, or keeps it in this process until Redis is back; see :class:`record.GateStore`."""
        waiting = RedisWaiting(self, gate, preview, timeout, mask, self._journal)
        with self._lock:
            if gate.id in self._waiting:
                raise GateBusy("This process waits on that gate already", gate=gate.id)
            if len(self._waiting) >= self._settings.max_gates:
                raise TooLarge(
                    f"{len(self._waiting)} gates wait already; GATEBUS_MAX_GATES allows no more",
                    limit=self._settings.max_gates,
                )
            # Before the record exists: a decision made in the same moment must find its waiter.
            self._waiting[gate.id] = waiting
        if timeout > 0:
            self._deadlines.add(waiting)
        try:
            self._announce(waiting)
        except StoreUnavailable as error:
            log.warning("gatebus: gate %s waits in this process until Redis is back: %s", gate.id, error)
        except BaseException:
            self.forget(waiting)
            raise
        waiting.opening = False
        self.hint(gate.id)
        return waiting

    def close(self) -> None:
        """Withdraws what still waits, as far as Redis answers, and ends the threads."""
        for waiting in self.all().values():
            waiting.close("shutdown")
        self._closed.set()
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(3)
        self.keeping.close()

    def hint(self, gate_id: str | None) -> None:
        """Looks soon: at the gate, or at all of them when anything may have been missed. Never blocks."""
        with self._lock:
            if gate_id is None:
                self._look_at_all = True
            elif gate_id in self._waiting and self._waiting[gate_id].awaits_news:
                self._hints.add(gate_id)
            else:
                return
        self._wake.set()

    def forget(self, waiting: RedisWaiting) -> None:
        """Waits on it no more."""
        with self._lock:
            self._waiting.pop(waiting.gate.id, None)
        self._deadlines.remove(waiting.gate.id)

    def decide(self, waiting: RedisWaiting, decision: Decision) -> Gate:
        """Makes the decision about a gate of this process, which so learns of it without a look."""
        with self._lock:
            waiting.deciding += 1
        try:
            gate = self._redis.decide(waiting.gate.id, decision)
            waiting.see(gate)
            return gate
        finally:
            with self._lock:
                waiting.deciding -= 1
            # Another's decision may have come meanwhile, with a hint that was passed over.
            self.hint(waiting.gate.id)

    def park(self, group: Sequence[RedisWaiting]) -> bool:
        """Parks them, the lead first: nobody waits on them any more; False when all are decided."""
        code, rows = self._redis.park(self._owner, [waiting.gate for waiting in group])
        if code == "DECIDED":
            return False
        if code == "MISSING":
            raise StoreUnavailable("Redis has lost the gate; it is announced again in a moment", gate=group[0].gate.id)
        found = [from_fields(row["id"], row) for row in rows]
        if code != "OK":
            raise fenced(found[0]) if code == "FENCED" else REFUSALS[code](found[0])
        for waiting, gate in zip(group, found, strict=True):
            self.forget(waiting)
            waiting.see(gate)
            if gate.ended:
                self.keeping.expire(gate)
        return True

    # -- what RedisWaiting does -----------------------------------------------------------
    def applied(self, waiting: RedisWaiting) -> Decision:
        """Acknowledges the decision and returns the one that stands."""
        for _ in range(3):
            gate, decision = waiting.gate, waiting.decision
            if decision is None:
                raise steps.not_decided(gate)
            code, row = self._redis.confirmed("APPLY", gate.id, self._owner, gate.fence, decision.id, *self._redis.kept)
            if code == "FENCED":
                self.forget(waiting)
                raise fenced(from_fields(gate.id, row))
            if code == "PARKED":
                raise parking.is_parked(from_fields(gate.id, row))
            if code == "MISSING":
                self._announce(waiting, recovered=True)
            elif code == "UNDECIDED":
                # Redis went back to an older state; what this process saw was answered as made.
                self._redis.run("DECIDE", gate.id, *decision_arguments(decision), *self._redis.kept)
            elif code == "TAKEN":
                waiting.see(from_fields(gate.id, row))
                raise steps.taken_back(waiting.gate)
            elif code == "OTHER":
                waiting.see(from_fields(gate.id, row))
            else:
                ended = from_fields(gate.id, row)
                waiting.see(ended)
                self.forget(waiting)
                self.keeping.expire(ended)
                return ended.decision or decision
        raise StoreUnavailable("Redis does not keep the gate's decision; trying again", gate=waiting.gate.id)

    def withdraw(self, waiting: RedisWaiting, outcome: str) -> None:
        """Ends the gate as soon as Redis answers."""
        with self._lock:
            self._waiting.pop(waiting.gate.id, None)
            self._closing[waiting.gate.id] = (waiting, outcome)
        self._deadlines.remove(waiting.gate.id)
        self._wake.set()

    def painted_mask(self, gate_id: str, token: str) -> bytes:
        """The mask of that token; raises GateNotFound."""
        return self._blobs.mask(gate_id, token)

    # -- the look -------------------------------------------------------------------------
    def _run(self) -> None:
        next_tick = 0.0
        while not self._closed.is_set():
            self._wake.wait(max(0.0, min(next_tick, self._deadlines.nearest()) - time.monotonic()))
            self._wake.clear()
            with self._lock:
                everything = self._look_at_all or time.monotonic() >= next_tick
                self._look_at_all = False
            hints = self._take_hints()
            if everything:
                # Instances that were started together must not look together for ever.
                next_tick = time.monotonic() + self._settings.tick * random.uniform(0.7, 1.3)
                self._deadlines.next_tick()
            _logged(self._withdraw_all)
            _logged(self._look, hints)
            if everything:
                _logged(self._look, None)
            _logged(self._deadlines.keep)
            if everything:
                _logged(self._sweeper.sweep, self.all().keys())
        _logged(self._withdraw_all)

    def _look(self, only: set[str] | None) -> None:
        if only is None:
            self._notice_epoch()
            chosen = list(self.all().values())
        else:
            chosen = [waiting for gate_id in only if (waiting := self.get(gate_id)) is not None]
        for start in range(0, len(chosen), LOOK_AT_ONCE):
            if only is None and start:
                # A decision must not wait until thousands of leases are renewed.
                self._look(self._take_hints())
            part = chosen[start : start + LOOK_AT_ONCE]
            self._look_at([w for w in part if not w.opening and self.get(w.gate.id) is w])

    def _take_hints(self) -> set[str]:
        with self._lock:
            hints, self._hints = self._hints, set()
        return hints

    def _look_at(self, chosen: Sequence[RedisWaiting]) -> None:
        for waiting in chosen:
            if not waiting.announced:
                self._announce(waiting)
        looks = []
        for waiting in chosen:
            gate, remaining = waiting.gate, waiting.remaining()
            looks.append((gate.id, gate.fence, -1 if remaining is None else max(0, int(remaining * 1000)), gate.rev))
        for waiting, (code, row) in zip(chosen, self._redis.look(self._owner, looks), strict=True):
            self._looked(waiting, code, row)

    def _looked(self, waiting: RedisWaiting, code: str, row: dict[str, str]) -> None:
        gate_id = waiting.gate.id
        if code == "MISSING":
            if waiting.live and self.get(gate_id) is waiting:
                log.warning("gatebus: Redis has lost gate %s; announcing it again", gate_id)
                self._announce(waiting, recovered=True)
            return
        if code != "SAME":
            gate = from_fields(gate_id, row)
            if code == "FENCED":
                self.forget(waiting)
                waiting.fence_off(gate)
                return
            # A record without the decision that was seen is an older one: apply() puts it right.
            seen = waiting.decision
            if gate.decision is not None or seen is None or steps.was_taken_back(gate, seen.id):
                if gate.mask and gate.mask != waiting.gate.mask:
                    waiting.painted = self._blobs.mask(gate_id, gate.mask)
                waiting.see(gate)
            if code in ("ENDED", "PARKED"):
                self.forget(waiting)
                return
        if waiting.unsettled:
            self._blobs.persist(waiting.gate)
            waiting.unsettled = False
        if (waiting.encoded is not None and not waiting.image_stored and not waiting.gate.layout) or (
            waiting.continuation is not None and not waiting.continuation_stored and not waiting.gate.kept
        ):
            self.keeping.store_later(waiting)

    def _announce(self, waiting: RedisWaiting, recovered: bool = False) -> None:
        """Opens the gate in Redis; ``recovered`` when Redis had it and lost it."""
        gate = waiting.gate
        # Nothing was said of the gate while this fails, so it can still be decided here.
        self._blobs.put(gate, preview=waiting.preview, mask=waiting.painted)
        with waiting.lock:
            if not waiting.live:
                return
            waiting.announced = True
            waiting.image_stored = waiting.continuation_stored = False
            gate = waiting.gate
        remaining = waiting.remaining()
        arguments = [
            self._owner,
            gate.instance,
            self._redis.lease_ms,
            0 if remaining is None else max(1, int(remaining * 1000)),
            int(recovered),
            gate.prompt_id,
            gate.node_id,
            self._settings.decision_log,
        ]
        # The record names the image's parts only when they are (again) there.
        for field, value in to_fields(replace(gate, layout=None, kept=0)).items():
            arguments += [field, value]
        code, row = self._redis.run("OPEN", gate.id, *arguments)
        if code == "BUSY":
            raise GateBusy(f"The gate's owner {row.get('instance', '')} is alive", gate=gate.id)
        if code == "ENDED":
            raise steps.gate_closed(from_fields(gate.id, row))
        if code == "PARKED":
            raise parking.is_parked(from_fields(gate.id, row))
        if code == "ADOPTED":
            # What was painted before counts; it is read when it is needed.
            waiting.painted = None
        waiting.unsettled = True
        waiting.see(from_fields(gate.id, row))
        if waiting.encoded is not None or waiting.continuation is not None:
            self.keeping.store_later(waiting)

    def _notice_epoch(self) -> None:
        epoch = self._redis.epoch()
        if self._epoch and epoch != self._epoch:
            self._epoch_changed = time.monotonic()
        self._epoch = epoch or self._epoch

    def _withdraw_all(self) -> None:
        with self._lock:
            closing = dict(self._closing)
        for gate_id, (waiting, outcome) in closing.items():
            code, row = self._redis.run("CLOSE", gate_id, self._owner, waiting.gate.fence, outcome, *self._redis.kept)
            with self._lock:
                self._closing.pop(gate_id, None)
            if row:
                waiting.see(from_fields(gate_id, row))
            if code == "OK":
                self.keeping.expire(waiting.gate)


def _logged(step: Callable[..., None], *arguments: Any) -> None:
    """Runs a step of a thread that must live on: every gate of this process waits on it."""
    try:
        step(*arguments)
    except StoreUnavailable as error:
        log.debug("gatebus: %s", error)
    except Exception:
        log.exception("gatebus: a look at the gates failed; trying again")
