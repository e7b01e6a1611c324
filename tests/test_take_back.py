"""A decision can be taken back until it is applied, by whoever knows it; it is never both."""

from __future__ import annotations

import random
import threading
import time
import uuid
from dataclasses import replace

import pytest
from gate_world import PREVIEW, SETTINGS, Shop, eventually, gate, shared, shop

from gates.errors import (
    AlreadyDecided,
    Conflict,
    GateClosed,
    GateNotFound,
    InvalidName,
    TakenBack,
)
from gates.gate.record import make_decision

__all__ = ["shared", "shop"]

ROUNDS = 300
JITTER = 0.001
"""Seconds by which either may be late, so that either may win."""


def test_a_decision_that_is_taken_back_is_none_and_the_gate_waits_for_another_one(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(routes=3), PREVIEW)
    first = make_decision("route", 1, by="ann")
    store.decide(waiter.gate.id, first)
    assert waiter.wait(10) is not None
    again = store.take_back(waiter.gate.id, first.id, by="ann")
    assert (again.status, again.decision) == ("waiting", None)
    assert [listed.status for listed in store.records()] == ["waiting"]
    assert waiter.wait(0.05) is None
    with pytest.raises(TakenBack):
        waiter.apply()
    store.decide(waiter.gate.id, make_decision("route", 2))
    assert waiter.wait(10).route == 2  # type: ignore[union-attr]
    assert waiter.apply().route == 2
    assert store.get(waiter.gate.id).decision.route == 2  # type: ignore[union-attr]


def test_who_waits_is_called_back_again_by_the_next_decision(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(), PREVIEW)
    first, calls = make_decision("route", 1), []
    store.decide(waiter.gate.id, first)
    store.take_back(waiter.gate.id, first.id)
    waiter.on_decision(lambda: calls.append(1))
    assert calls == []
    store.decide(waiter.gate.id, make_decision("route", 2))
    eventually(lambda: calls == [1])


def test_to_take_back_twice_is_a_success_and_a_late_repeat_of_the_decision_does_not_make_it_again(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(), PREVIEW)
    first, second = make_decision("route", 1), make_decision("route", 2)
    for decision in (first, second):
        store.decide(waiter.gate.id, decision)
        assert store.take_back(waiter.gate.id, decision.id).status == "waiting"
        assert store.take_back(waiter.gate.id, decision.id).status == "waiting"
    for decision in (first, second):
        with pytest.raises(TakenBack):
            store.decide(waiter.gate.id, decision)
    assert store.get(waiter.gate.id).status == "waiting"


def test_what_was_applied_or_is_not_decided_or_anothers_is_not_taken_back(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(), PREVIEW)
    decision = make_decision("route", 1)
    with pytest.raises(Conflict, match="not decided"):
        store.take_back(waiter.gate.id, decision.id)
    store.decide(waiter.gate.id, decision)
    with pytest.raises(AlreadyDecided):
        store.take_back(waiter.gate.id, "another")
    waiter.wait(10)
    waiter.apply()
    with pytest.raises(GateClosed, match="applied"):
        store.take_back(waiter.gate.id, decision.id)
    with pytest.raises(GateNotFound):
        store.take_back(uuid.uuid4().hex, decision.id)
    for bad in ("", "with space", "x" * 65):
        with pytest.raises(InvalidName):
            store.take_back(waiter.gate.id, bad)


def test_neither_a_cancel_nor_a_deadline_is_taken_back(shop: Shop) -> None:
    store = shop.store()
    cancelled, late = store.open(gate(), PREVIEW), store.open(gate(timeout_route=1), PREVIEW, timeout=0.1)
    store.decide(cancelled.gate.id, make_decision("cancel", id="c"))
    assert late.wait(10) is not None
    for gate_id, decision in ((cancelled.gate.id, "c"), (late.gate.id, f"deadline:{late.gate.id}")):
        with pytest.raises(Conflict, match="Only a chosen route"):
            store.take_back(gate_id, decision)


def test_the_deadline_runs_on_while_it_was_decided(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(timeout_route=2), PREVIEW, timeout=1.0)
    opened = store.get(waiter.gate.id)
    decision = make_decision("route", 1)
    store.decide(waiter.gate.id, decision)
    again = store.take_back(waiter.gate.id, decision.id)
    assert again.deadline == opened.deadline
    eventually(lambda: waiter.decision is not None)
    assert (waiter.decision.route, waiter.decision.by) == (2, "deadline")  # type: ignore[union-attr]


def test_the_painted_mask_stays_and_can_be_painted_on(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(), PREVIEW)
    store.set_mask(waiter.gate.id, b"first")
    decision = make_decision("route", 1)
    store.decide(waiter.gate.id, decision)
    store.take_back(waiter.gate.id, decision.id)
    assert store.mask(waiter.gate.id) == b"first"
    store.set_mask(waiter.gate.id, b"second")
    store.decide(waiter.gate.id, make_decision("route", 1))
    waiter.wait(10)
    assert waiter.mask() == b"second"


def test_a_take_back_is_an_event_with_the_next_revision(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(), PREVIEW)
    cursor = shop.events.cursor()
    decision = make_decision("route", 1)
    store.decide(waiter.gate.id, decision)
    store.take_back(waiter.gate.id, decision.id)
    events = shop.events.since(cursor)
    assert events is not None
    assert [(event.data["rev"], event.data["status"]) for event in events] == [(2, "decided"), (3, "waiting")]


def test_an_owner_that_has_seen_the_decision_learns_that_another_process_took_it_back(shared: Shop) -> None:
    owner, other = shared.store("one"), shared.store("two")
    waiter = owner.open(gate(routes=3), PREVIEW)
    first = make_decision("route", 1)
    other.decide(waiter.gate.id, first)
    assert waiter.wait(10) is not None
    other.take_back(waiter.gate.id, first.id)
    with pytest.raises(TakenBack):
        waiter.apply()
    assert waiter.decision is None
    other.decide(waiter.gate.id, make_decision("route", 3))
    assert waiter.wait(10).route == 3  # type: ignore[union-attr]


def test_an_owner_that_does_nothing_finds_the_take_back_at_its_next_look(shared: Shop) -> None:
    owner, other = shared.store("one"), shared.store("two")
    waiter = owner.open(gate(), PREVIEW)
    first = make_decision("route", 1)
    other.decide(waiter.gate.id, first)
    assert waiter.wait(10) is not None
    other.take_back(waiter.gate.id, first.id)
    eventually(lambda: waiter.decision is None)


def test_a_decision_that_another_one_followed_is_not_applied_by_an_owner_that_saw_only_the_first(shared: Shop) -> None:
    owner, other = shared.store("one", replace(SETTINGS, tick=3.0, lease=10.0)), shared.store("two")
    waiter = owner.open(gate(routes=3), PREVIEW)
    first = make_decision("route", 1)
    other.decide(waiter.gate.id, first)
    assert waiter.wait(10).route == 1  # type: ignore[union-attr]
    other.take_back(waiter.gate.id, first.id)
    other.decide(waiter.gate.id, make_decision("route", 3))
    try:
        applied = waiter.apply()
    except TakenBack:
        # It had a look in the moment between the two.
        assert waiter.wait(10) is not None
        applied = waiter.apply()
    assert applied.route == 3


@pytest.mark.slow
@pytest.mark.parametrize("shop", ["local", "redis"], indirect=True)
def test_of_a_take_back_and_the_acknowledgement_exactly_one_wins(shop: Shop) -> None:
    owner, other = shop.store("one", replace(SETTINGS, max_gates=2)), shop.store("two")
    taken = applied = 0
    for _ in range(ROUNDS):
        waiter = owner.open(gate(), PREVIEW)
        decision = make_decision("route", 1)
        won: list[str] = []
        start = threading.Barrier(2)

        def take_back(gate_id: str = waiter.gate.id, id: str = decision.id, won=won, start=start) -> None:
            start.wait()
            time.sleep(random.random() * JITTER)
            try:
                other.take_back(gate_id, id)
                won.append("taken back")
            except GateClosed:
                pass

        thread = threading.Thread(target=take_back)
        thread.start()
        other.decide(waiter.gate.id, decision)
        assert waiter.wait(10) is not None
        start.wait()
        time.sleep(random.random() * JITTER)
        try:
            waiter.apply()
            won.append("applied")
        except TakenBack:
            pass
        thread.join(10)
        assert len(won) == 1
        status = other.get(waiter.gate.id).status
        assert status == {"applied": "applied", "taken back": "waiting"}[won[0]]
        taken, applied = taken + (won == ["taken back"]), applied + (won == ["applied"])
        if won == ["taken back"]:
            assert waiter.wait(0) is None
            waiter.close("interrupted")
            eventually(lambda gate_id=waiter.gate.id: other.get(gate_id).status == "cancelled")
    assert taken + applied == ROUNDS
    assert taken > 0
    assert applied > 0
