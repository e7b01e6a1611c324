"""What every gate store promises of parked gates: in this process, on fakeredis and on a real redis-server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from gate_world import IMAGE, PREVIEW, SETTINGS, Shop, eventually, gate, shared, shop

from gates import codec
from gates.errors import (
    AlreadyDecided,
    Conflict,
    Fenced,
    GatebusError,
    GateBusy,
    GateClosed,
    GateNotFound,
    InvalidInput,
    TakenBack,
)
from gates.gate.record import Decision, Gate, GateStore, Waiter, make_decision

__all__ = ["shared", "shop"]

HOW = b"how the prompt goes on"
RACES = 200


def ready(store: GateStore, prompt: str = "first", timeout: float = 0, **fields: object) -> Waiter:
    """An open gate of which everything is stored."""
    waiter = store.open(gate(prompt_id=prompt, batch=2, width=4, height=6, **fields), PREVIEW, timeout)
    waiter.store_image(codec.encode(IMAGE, "exact"))
    waiter.store_continuation(HOW)
    eventually(lambda: waiter.ready)
    return waiter


def parked(store: GateStore, prompt: str = "first", timeout: float = 0, **fields: object) -> Gate:
    """A gate that is parked, its prompt over."""
    waiter = ready(store, prompt, timeout, **fields)
    assert store.park([waiter])
    store.prompts_ended({prompt: ""})
    return store.get(waiter.gate.id)


def group(store: GateStore, size: int = 3, prompt: str = "first") -> list[Gate]:
    waiters = [ready(store, prompt, list_index=index) for index in range(size)]
    assert store.park(waiters)
    store.prompts_ended({prompt: ""})
    return [store.get(waiter.gate.id) for waiter in waiters]


def route(store: GateStore, gate_id: str, number: int = 1) -> Decision:
    decision = store.decide(gate_id, make_decision("route", number)).decision
    assert decision is not None
    return decision


def claimed(store: GateStore, gate_id: str, by: str = "submitter") -> Gate:
    lead = store.claim_run(gate_id, by, 60_000)
    assert lead is not None
    return lead


def due(store: GateStore) -> list[str]:
    return [lead.id for lead in store.due_runs()]


def test_a_parked_gate_is_decided_claimed_resumed_and_carried_out(shop: Shop) -> None:
    store = shop.store()
    waiter = ready(store, title="t")
    assert store.park([waiter])
    lead = store.get(waiter.gate.id)
    assert (lead.status, lead.group, lead.members, lead.undecided, lead.over) == ("parked", lead.id, "", 1, 0)
    assert abs(lead.parked / 1000 - time.time()) < 60
    assert store.counts() == {"waiting": 0, "orphaned": 0, "parked": 1}
    assert [shown.id for shown in store.records()] == [lead.id]
    assert store.due_runs() == []
    store.prompts_ended({"first": "", "another": "x"})
    decision = route(store, lead.id, 2)
    decided = store.get(lead.id)
    assert (decided.status, decided.run, decided.undecided, decided.over) == ("decided", "pending", 0, 1)
    assert due(store) == [lead.id]
    assert store.due_runs(grace_ms=60_000) == []
    taken = claimed(store, lead.id)
    assert (taken.run, taken.run_by, taken.run_seq) == ("submitting", "submitter", 1)
    assert store.due_runs() == []
    assert store.claim_run(lead.id, "another", 1000) is None
    noted = store.note_run(lead.id, "submitter", "submitted", "job", "studio 2", look_in_ms=60_000)
    assert noted is not None
    assert (noted.run, noted.run_id, noted.run_on) == ("submitted", "job", "studio 2")
    assert store.continuation(lead.id) == HOW
    np.testing.assert_array_equal(store.image(lead.id), IMAGE)
    resumed = store.resume(lead.id, decision.id, "second")
    here = store.get(lead.id).instance
    assert (store.get(lead.id).run, store.get(lead.id).run_on) == ("running", here)
    going = store.note_run(lead.id, "submitter", "submitted", on="the farm", look_in_ms=60_000)
    assert going is not None
    assert (going.run, going.run_on) == ("running", here), "where it runs its own process knows best"
    assert resumed.decision is not None
    assert (resumed.decision.route, resumed.mask()) == (2, None)
    assert resumed.apply().id == resumed.apply().id == decision.id
    assert store.get(lead.id).status == "applied"
    store.prompts_ended({"second": ""})
    done = store.get(lead.id)
    assert (done.run, done.run_error, done.run_prompt) == ("done", "", "second")
    assert store.records() == []
    assert store.counts() == {"waiting": 0, "orphaned": 0, "parked": 0}
    assert [entry.kind for entry in shop.decisions.read("", 10)] == ["route", "end"]


def test_what_is_not_stored_whole_is_not_parked_and_waits_on(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(batch=2), PREVIEW)
    with pytest.raises(Conflict, match="not stored"):
        store.park([waiter])
    waiter.store_continuation(HOW)
    with pytest.raises(Conflict, match="image is not stored"):
        store.park([waiter])
    assert not waiter.ready
    assert store.get(waiter.gate.id).status == "waiting"
    text = store.open(gate(kind="text", text="a castle"), PREVIEW)
    text.store_continuation(HOW)
    eventually(lambda: text.ready)
    assert store.park([text])
    assert store.get(text.gate.id).text == "a castle"


def test_a_group_of_which_all_are_decided_is_not_parked_but_carried_out(shop: Shop) -> None:
    store = shop.store()
    waiters = [ready(store), ready(store)]
    for waiter in waiters:
        route(store, waiter.gate.id)
    assert not store.park(waiters)
    for waiter in waiters:
        waiter.wait(10)
        waiter.apply()
        assert store.get(waiter.gate.id).status == "applied"


def test_who_parks_once_more_is_told_that_it_is_parked_and_its_waiter_ends_nothing(shop: Shop) -> None:
    store = shop.store()
    waiter = ready(store)
    assert store.park([waiter])
    assert store.park([waiter])
    waiter.close("interrupted")
    route(store, waiter.gate.id)
    assert store.park([waiter])
    assert store.get(waiter.gate.id).status == "decided"
    with pytest.raises(GatebusError):
        store.open(waiter.gate, PREVIEW)


def test_a_store_that_closes_leaves_its_parked_gates(shared: Shop) -> None:
    store, other = shared.store("one"), shared.store("two")
    lead = parked(store)
    store.close()
    assert other.get(lead.id).status == "parked"
    assert other.preview(lead.id) == PREVIEW


def test_a_mask_is_painted_at_a_parked_gate_and_goes_with_the_decision(shop: Shop) -> None:
    store = shop.store()
    lead = parked(store)
    store.set_mask(lead.id, b"painted")
    decision = route(store, lead.id)
    claimed(store, lead.id)
    resumed = store.resume(lead.id, decision.id, "second")
    assert resumed.mask() == b"painted"


def test_a_decision_is_taken_back_until_its_run_is_claimed(shop: Shop) -> None:
    store = shop.store()
    lead = parked(store)
    first = route(store, lead.id)
    back = store.take_back(lead.id, first.id)
    assert (back.status, back.run, back.undecided, back.decision) == ("parked", "", 1, None)
    assert store.take_back(lead.id, first.id).status == "parked"
    assert store.due_runs() == []
    assert store.counts()["parked"] == 1
    with pytest.raises(TakenBack):
        store.decide(lead.id, first)
    with pytest.raises(Conflict):
        store.resume(lead.id, first.id, "second")
    second = route(store, lead.id, 2)
    claimed(store, lead.id)
    with pytest.raises(GateClosed, match="begun"):
        store.take_back(lead.id, second.id)
    assert store.get(lead.id).decision == second


def test_a_cancel_ends_a_parked_gate_at_once_and_nothing_runs(shop: Shop) -> None:
    store = shop.store()
    lead = parked(store)
    cancelled = store.decide(lead.id, make_decision("cancel", by="ann"))
    assert (cancelled.status, cancelled.outcome, cancelled.run) == ("cancelled", "applied", "")
    assert store.due_runs() == []
    assert store.records() == []
    assert store.decide(lead.id, make_decision("cancel")).status == "cancelled"
    with pytest.raises(GateClosed):
        store.resume(lead.id, cancelled.decision.id, "second")  # type: ignore[union-attr]


@pytest.mark.parametrize(("timeout_route", "status", "run"), [(2, "decided", "pending"), (0, "expired", "")])
def test_the_deadline_of_a_parked_gate_is_kept(shop: Shop, timeout_route: int, status: str, run: str) -> None:
    store = shop.store()
    lead = parked(store, timeout=1.0, timeout_route=timeout_route)
    assert lead.status == "parked"
    assert lead.deadline > lead.opened
    eventually(lambda: store.get(lead.id).status == status)
    late = store.get(lead.id)
    assert late.decision is not None
    assert (late.decision.by, late.decision.route, late.run) == ("deadline", timeout_route, run)


def test_the_deadline_of_a_parked_gate_is_kept_by_another_process(shared: Shop) -> None:
    store, other = shared.store("one"), shared.store("two")
    lead = parked(store, timeout=1.0, timeout_route=2)
    store.close()
    eventually(lambda: other.get(lead.id).status == "decided")
    assert due(other) == [lead.id]


def test_a_group_goes_on_once_when_all_of_it_are_decided(shop: Shop) -> None:
    store = shop.store()
    gates = group(store)
    lead = gates[0]
    assert lead.members.split() == [member.id for member in gates]
    assert {member.group for member in gates} == {lead.id}
    assert (lead.undecided, lead.over) == (3, 1)
    first, last = route(store, gates[0].id), route(store, gates[2].id, 2)
    assert store.due_runs() == []
    assert store.get(lead.id).undecided == 1
    with pytest.raises(Conflict):
        store.resume(lead.id, first.id, "second")
    middle = route(store, gates[1].id)
    assert due(store) == [lead.id]
    store.take_back(gates[1].id, middle.id)
    assert store.due_runs() == []
    assert (store.get(lead.id).undecided, store.get(lead.id).run) == (1, "")
    store.decide(gates[1].id, make_decision("cancel"))
    assert due(store) == [lead.id]
    claimed(store, lead.id)
    for member, decision in ((gates[0], first), (gates[2], last)):
        assert store.resume(member.id, decision.id, "second").apply() == decision
    with pytest.raises(GateClosed):
        store.resume(gates[1].id, middle.id, "second")
    store.prompts_ended({"second": ""})
    assert [store.get(member.id).status for member in gates] == ["applied", "cancelled", "applied"]
    assert store.get(lead.id).run == "done"
    assert store.records() == []


def test_a_group_that_is_cancelled_whole_has_no_run_also_when_its_lead_went_first(shop: Shop) -> None:
    store = shop.store()
    gates = group(store)
    for member in gates:
        assert store.decide(member.id, make_decision("cancel")).status == "cancelled"
    assert store.get(gates[0].id).run == ""
    assert store.due_runs() == []
    lead, other = group(store, 2)
    store.decide(lead.id, make_decision("cancel"))
    decision = route(store, other.id)
    assert due(store) == [lead.id]
    claimed(store, lead.id)
    assert store.resume(other.id, decision.id, "second").apply() == decision


def test_a_member_that_is_decided_already_parks_with_the_others(shop: Shop) -> None:
    store = shop.store()
    waiters = [ready(store, list_index=index) for index in range(3)]
    decision = route(store, waiters[0].gate.id)
    store.decide(waiters[1].gate.id, make_decision("cancel"))
    assert store.park(waiters)
    states = [store.get(waiter.gate.id) for waiter in waiters]
    assert [state.status for state in states] == ["decided", "cancelled", "parked"]
    assert states[0].undecided == 1
    store.take_back(waiters[0].gate.id, decision.id)
    assert store.get(waiters[0].gate.id).status == "parked"
    route(store, waiters[0].gate.id)
    route(store, waiters[2].gate.id)
    store.prompts_ended({"first": ""})
    assert due(store) == [waiters[0].gate.id]


def test_only_one_prompt_is_the_run_and_it_may_ask_again(shop: Shop) -> None:
    store = shop.store()
    lead = parked(store)
    decision = route(store, lead.id)
    claimed(store, lead.id)
    with pytest.raises(AlreadyDecided):
        store.resume(lead.id, "another", "second")
    one = store.resume(lead.id, decision.id, "second")
    assert store.resume(lead.id, decision.id, "second").gate.id == lead.id
    one.apply()
    assert store.resume(lead.id, decision.id, "second").apply() == decision
    store.prompts_ended({"second": ""})
    for prompt in ("second", "third"):
        with pytest.raises(GateClosed, match="done"):
            store.resume(lead.id, decision.id, prompt)
    assert one.apply() == decision


def test_a_run_that_fails_says_so_and_its_gate_is_run_again_as_another_one(shop: Shop) -> None:
    store = shop.store()
    lead = parked(store, labels=("keep", "redo"), title="t")
    store.set_mask(lead.id, b"painted")
    decision = route(store, lead.id)
    claimed(store, lead.id)
    assert store.note_run(lead.id, "submitter", "failed", error="no such node") is not None
    assert store.note_run(lead.id, "submitter", "failed", error="\ud800") is None
    failed = store.get(lead.id)
    assert (failed.status, failed.run, failed.run_error) == ("decided", "failed", "no such node")
    assert [shown.id for shown in store.records()] == [lead.id]
    with pytest.raises(GateClosed):
        store.take_back(lead.id, decision.id)
    second = make_decision("route", 2, by="ann")
    new = store.again(lead.id, second)
    assert (new.status, new.of, new.run, new.over, new.title, new.group) == (
        "decided", lead.id, "pending", 1, "t", new.id,
    )  # fmt: skip
    assert new.decision is not None
    assert (new.decision.route, new.decision.id) == (2, second.id)
    assert store.again(lead.id, second).id == new.id
    assert store.get(lead.id).status == "cancelled"
    assert due(store) == [new.id]
    assert (store.preview(new.id), store.continuation(new.id), store.mask(new.id)) == (PREVIEW, HOW, b"painted")
    np.testing.assert_array_equal(store.image(new.id), IMAGE)
    claimed(store, new.id)
    resumed = store.resume(new.id, second.id, "second")
    assert (resumed.apply().route, resumed.mask()) == (2, b"painted")
    assert {one.id for one in store.family(new)} == {lead.id, new.id}
    kinds = [entry.kind for entry in shop.decisions.read("", 10) if entry.gate == new.id]
    assert kinds == ["route", "end"]


def test_a_gate_that_was_held_and_has_ended_is_run_again_by_another_route_and_one_that_lives_is_not(shop: Shop) -> None:
    store = shop.store()
    waiter = ready(store, routes=2)
    with pytest.raises(Conflict, match="not ended"):
        store.again(waiter.gate.id, make_decision("route", 2))
    route(store, waiter.gate.id)
    waiter.wait(10)
    waiter.apply()
    for bad in (make_decision("route", 3), make_decision("cancel"), make_decision("route", 1, chosen="5")):
        with pytest.raises(InvalidInput):
            store.again(waiter.gate.id, bad)
    new = store.again(waiter.gate.id, make_decision("route", 2, chosen="1"))
    assert new.decision is not None
    assert new.decision.chosen == "1"
    assert store.get(waiter.gate.id).status == "applied"
    back = store.take_back(new.id, new.decision.id)
    assert back.status == "parked"
    assert store.due_runs() == []
    plain = store.open(gate(batch=2), PREVIEW)
    route(store, plain.gate.id)
    plain.wait(10)
    plain.apply()
    with pytest.raises(Conflict, match="not stored"):
        store.again(plain.gate.id, make_decision("route", 2))


def test_a_gate_whose_run_failed_is_dismissed_by_a_cancel(shop: Shop) -> None:
    store = shop.store()
    lead = parked(store)
    decision = route(store, lead.id)
    with pytest.raises(AlreadyDecided):
        store.decide(lead.id, make_decision("cancel"))
    claimed(store, lead.id)
    store.resume(lead.id, decision.id, "second")
    store.prompts_ended({"second": ""})
    failed = store.get(lead.id)
    assert (failed.run, failed.status) == ("failed", "decided")
    assert "before the decision was carried out" in failed.run_error
    for _ in range(2):
        dismissed = store.decide(lead.id, make_decision("cancel"))
        assert (dismissed.status, dismissed.outcome, dismissed.decision) == ("cancelled", "dismissed", decision)
    assert store.records() == []


def test_a_member_whose_run_failed_is_dismissed_or_run_again_long_after_its_lead_was_cancelled(shop: Shop) -> None:
    store = shop.store(settings=replace(SETTINGS, keep_decided=0.5, tick=0.1))
    lead, one, two = group(store)
    store.decide(lead.id, make_decision("cancel"))
    for member in (one, two):
        route(store, member.id)
    claimed(store, lead.id)
    store.note_run(lead.id, "submitter", "failed", error="x")
    time.sleep(1.5)
    assert store.again(one.id, make_decision("route", 2)).status == "decided"
    time.sleep(1.0)
    assert store.decide(two.id, make_decision("cancel")).outcome == "dismissed"
    for member in (lead, one, two):
        eventually(lambda member=member: gone(store, member.id))  # type: ignore[misc]


def gone(store: GateStore, gate_id: str) -> bool:
    store.records(live=False)
    try:
        store.get(gate_id)
    except GateNotFound:
        return True
    return False


def test_only_who_claimed_a_run_notes_what_became_of_it_until_it_has_ended(shop: Shop) -> None:
    store = shop.store()
    lead = parked(store)
    decision = route(store, lead.id)
    assert store.note_run(lead.id, "submitter", "submitted") is None
    assert store.claim_run(lead.id, "slow", 1) is not None
    eventually(lambda: due(store) == [lead.id])
    first = claimed(store, lead.id)
    assert first.run_seq == 1
    assert store.note_run(lead.id, "slow", "failed", error="late") is None
    with pytest.raises(InvalidInput):
        store.note_run(lead.id, "submitter", "running")
    again = store.note_run(lead.id, "submitter", "pending", error="refused", look_in_ms=1)
    assert again is not None
    assert (again.run, again.run_error) == ("pending", "refused")
    eventually(lambda: due(store) == [lead.id])
    claimed(store, lead.id)
    store.resume(lead.id, decision.id, "second").apply()
    still = store.note_run(lead.id, "submitter", "submitted", "job", look_in_ms=1)
    assert still is not None
    assert still.run == "running"
    eventually(lambda: due(store) == [lead.id])
    assert claimed(store, lead.id).run == "running"
    assert store.note_run(lead.id, "submitter", "done") is not None
    assert store.note_run(lead.id, "submitter", "done") is None
    assert store.get(lead.id).run_seq == 1
    assert store.due_runs() == []


def test_runs_are_numbered_in_the_order_in_which_they_begin(shop: Shop) -> None:
    store = shop.store()
    gates = [parked(store, prompt=f"p{number}") for number in range(3)]
    for parked_gate in gates:
        route(store, parked_gate.id)
    assert [claimed(store, one.id).run_seq for one in reversed(gates)] == [1, 2, 3]


def test_the_family_is_what_was_opened_in_the_first_prompt_and_in_what_continued_it(shop: Shop) -> None:
    store = shop.store()
    held, lead = ready(store, prompt="first"), parked(store, prompt="first")
    route(store, held.gate.id)
    held.wait(10)
    held.apply()
    later = ready(store, prompt="second", family="first")
    stranger = ready(store, prompt="third")
    assert {one.id for one in store.family(lead)} == {held.gate.id, lead.id, later.gate.id}
    assert {one.id for one in store.family(stranger.gate)} == {stranger.gate.id}


def test_every_change_of_a_parked_gate_and_its_lead_is_an_event_without_gaps(shop: Shop) -> None:
    store = shop.store()
    cursor = shop.events.cursor()
    gates = group(store, 2)
    one, two = route(store, gates[1].id), route(store, gates[0].id)
    claimed(store, gates[0].id)
    store.note_run(gates[0].id, "submitter", "submitted")
    for member, decision in ((gates[0], two), (gates[1], one)):
        store.resume(member.id, decision.id, "second").apply()
    store.prompts_ended({"second": ""})
    events = shop.events.since(cursor)
    assert events is not None
    for member in gates:
        revisions = [event.data["rev"] for event in events if event.id == member.id]
        assert revisions == list(range(1, store.get(member.id).rev + 1))


def race(steps: list[Callable[[], object]]) -> list[object]:
    """What each step answered, or the error that it raised; all at once."""
    start = threading.Barrier(len(steps))
    answers: list[object] = [None] * len(steps)

    def run(number: int) -> None:
        start.wait()
        try:
            answers[number] = steps[number]()
        except GatebusError as error:
            answers[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(steps))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_of_a_take_back_and_a_claim_at_once_exactly_one_wins(shop: Shop) -> None:
    store, other = shop.store("one"), shop.store("two")
    won = {"back": 0, "claim": 0}
    for number in range(RACES):
        lead = parked(store, prompt=f"p{number}")
        decision = route(store, lead.id)
        back, claim = race(
            [lambda: store.take_back(lead.id, decision.id), lambda: other.claim_run(lead.id, "submitter", 60_000)]  # noqa: B023
        )
        after = store.get(lead.id)
        if isinstance(back, Gate):
            assert claim is None
            assert (after.status, after.run) == ("parked", "")
            won["back"] += 1
        else:
            assert isinstance(back, GateClosed)
            assert isinstance(claim, Gate)
            assert (after.status, after.run) == ("decided", "submitting")
            won["claim"] += 1
    assert sum(won.values()) == RACES


def test_of_many_deciders_and_claimers_of_a_group_at_once_each_has_one_winner(shop: Shop) -> None:
    store, other = shop.store("one"), shop.store("two")
    for number in range(RACES // 10):
        gates = group(store, 2, prompt=f"p{number}")
        stores = (store, other)
        decides = [
            lambda at=at, one=one, number=number: one.decide(at.id, make_decision("route", number))  # type: ignore[misc]
            for at in gates
            for number, one in enumerate(stores, 1)
        ]
        answers = race(decides)
        for pair in (answers[:2], answers[2:]):
            assert sorted(type(answer).__name__ for answer in pair) == ["AlreadyDecided", "Gate"]
        assert store.get(gates[0].id).undecided == 0
        claims = race([lambda by=by, one=one: one.claim_run(gates[0].id, by, 60_000)  # type: ignore[misc] # noqa: B023
                       for by in "abc" for one in stores])  # fmt: skip
        assert sum(isinstance(claim, Gate) for claim in claims) == 1


# -- with another process -----------------------------------------------------------------


def announce(store: GateStore, owner: str, for_ms: int = 60_000) -> None:
    """Tells Redis that the process of that owner lives."""
    instance, _, boot = owner.partition(":")
    client = store._redis.connection.control  # type: ignore[attr-defined]
    keys = store._keys  # type: ignore[attr-defined]
    client.hset(keys.instance(instance), mapping={"id": instance, "boot": boot})
    client.zadd(keys.instances, {instance: int(time.time() * 1000) + for_ms})


def test_a_run_is_not_claimed_while_the_prompt_in_which_it_parked_still_runs(shared: Shop) -> None:
    store, other = shared.store("a:1"), shared.store("b:1")
    announce(store, "a:1")
    waiter = ready(store)
    assert store.park([waiter])
    keys, client = store._keys, store._redis.connection.control  # type: ignore[attr-defined]
    assert client.hgetall(keys.prompts) == {waiter.gate.id: "first"}
    route(store, waiter.gate.id)
    assert other.claim_run(waiter.gate.id, "submitter", 1000) is None
    other.prompts_ended({"first": ""})
    assert other.get(waiter.gate.id).over == 0
    # Its lease is over for a moment, as after a Redis that was away; then it starts anew.
    announce(store, "a:1", for_ms=-1)
    assert other.claim_run(waiter.gate.id, "submitter", 1000) is None
    announce(store, "a:2")
    lead = other.claim_run(waiter.gate.id, "submitter", 1000)
    assert lead is not None
    assert (lead.over, str(lead.run_seq)) == (1, client.get(keys.run_counter))
    assert client.hgetall(keys.prompts) == {}


def test_a_run_is_claimed_when_the_process_in_which_it_parked_stays_away(shared: Shop) -> None:
    store, other = shared.store("a:1"), shared.store("b:1")
    waiter = ready(store)
    assert store.park([waiter])
    route(store, waiter.gate.id)
    assert other.claim_run(waiter.gate.id, "submitter", 1000) is None
    eventually(lambda: other.claim_run(waiter.gate.id, "submitter", 60_000))
    assert other.get(waiter.gate.id).over == 1


def test_of_two_processes_that_resume_one_decision_exactly_one_carries_it_out(shared: Shop) -> None:
    one, two = shared.store("a:1"), shared.store("b:1")
    announce(one, "a:1")
    announce(one, "b:1")
    carried = 0
    for number in range(30):
        lead = parked(one, prompt=f"p{number}")
        decision = route(one, lead.id)
        claimed(one, lead.id)

        def carry(store: GateStore, prompt: str, lead: Gate = lead, decision: Decision = decision) -> Decision:
            return store.resume(lead.id, decision.id, prompt).apply()

        # The same prompt id in both: who submits derives it from the gate and the decision.
        answers = race([lambda: carry(one, "same"), lambda: carry(two, "same")])
        assert sorted(type(answer).__name__ for answer in answers) == ["Decision", "GateBusy"]
        carried += 1
        for store in (one, two):
            store.prompts_ended({"same": ""})
        assert one.get(lead.id).run == "done"
    ends = [entry for entry in shared.decisions.read("", 1000) if entry.kind == "end"]
    assert len(ends) == carried == 30


def test_the_run_of_a_process_that_died_is_taken_over_also_when_it_had_carried_the_decision_out(shared: Shop) -> None:
    one, two = shared.store("a:1"), shared.store("b:1")
    announce(one, "a:1")
    announce(one, "b:1")
    lead = parked(one)
    decision = route(one, lead.id)
    claimed(one, lead.id)
    before = one.resume(lead.id, decision.id, "second")
    before.apply()
    with pytest.raises(GateBusy):
        two.resume(lead.id, decision.id, "second")
    announce(one, "a:2")
    after = two.resume(lead.id, decision.id, "second")
    assert after.apply() == decision
    with pytest.raises(Fenced):
        before.apply()
    one.prompts_ended({"second": "killed"})
    assert two.get(lead.id).run == "running"
    two.prompts_ended({"second": ""})
    assert two.get(lead.id).run == "done"
    assert [entry.kind for entry in shared.decisions.read("", 10)] == ["route", "end"]


def test_a_process_whose_lease_is_over_for_a_moment_keeps_its_run(shared: Shop) -> None:
    one, two = shared.store("a:1"), shared.store("b:1")
    announce(one, "b:1")
    lead = parked(one)
    decision = route(one, lead.id)
    claimed(one, lead.id)
    held = one.resume(lead.id, decision.id, "second")
    with pytest.raises(GateBusy):
        two.resume(lead.id, decision.id, "third")
    announce(one, "a:1")
    time.sleep(1.5 * SETTINGS.lease)
    with pytest.raises(GateBusy):
        two.resume(lead.id, decision.id, "third")
    announce(one, "a:1", for_ms=-1)

    def taken() -> bool:
        try:
            return two.resume(lead.id, decision.id, "third").apply() == decision
        except GateBusy:
            return False

    assert not taken()
    eventually(taken)
    with pytest.raises(Fenced):
        held.apply()


def test_an_orphan_is_parked_by_a_person_and_goes_on_once_it_is_decided(shared: Shop) -> None:
    owner, other = shared.store("one"), shared.store("two")
    waiters = [ready(owner, title=title) for title in ("undecided", "decided")]
    bare = owner.open(gate(batch=2), PREVIEW)
    with pytest.raises(Conflict, match="waits on this gate"):
        other.park_orphan(waiters[0].gate.id)
    freeze_looks(owner)
    for waiter in (*waiters, bare):
        eventually(lambda waiter=waiter: other.get(waiter.gate.id).status == "orphaned")  # type: ignore[misc]
    route(other, waiters[1].gate.id)
    with pytest.raises(Conflict, match="not stored"):
        other.park_orphan(bare.gate.id)
    for _ in range(2):
        assert other.park_orphan(waiters[0].gate.id, by="ann", where="there").status == "parked"
    decided = other.park_orphan(waiters[1].gate.id)
    assert (decided.status, decided.run, decided.over) == ("decided", "pending", 1)
    decision = route(other, waiters[0].gate.id)
    assert set(due(other)) == {waiter.gate.id for waiter in waiters}
    claimed(other, waiters[0].gate.id)
    assert other.resume(waiters[0].gate.id, decision.id, "second").apply() == decision
    (entry,) = [entry for entry in shared.decisions.read("", 10) if entry.kind == "park" and entry.by]
    assert (entry.gate, entry.by, entry.where) == (waiters[0].gate.id, "ann", "there")


def freeze_looks(store: GateStore) -> None:
    """As if the process had died: it renews its leases no more."""
    owned = store._owned  # type: ignore[attr-defined]
    owned._closed.set()
    owned._wake.set()
    owned._thread.join(5)


def lifetimes(store: GateStore, gate_id: str) -> set[bool]:
    """Whether the bytes of image and continuation expire; empty when they are gone."""
    keys, blobs = store._keys, store._redis.connection.blobs  # type: ignore[attr-defined]
    left = [blobs.pttl(key) for key in (keys.gate_image(gate_id, 0), keys.gate_continuation(gate_id))]
    return {milliseconds != -1 for milliseconds in left if milliseconds != -2}


def test_the_bytes_of_a_group_are_kept_until_its_run_has_ended_and_then_for_a_while(shared: Shop) -> None:
    store = shared.store(settings=replace(SETTINGS, keep_images=30, tick=0.1))
    gates = group(store)
    store.decide(gates[0].id, make_decision("cancel"))
    decisions = {member.id: route(store, member.id) for member in gates[1:]}
    claimed(store, gates[0].id)
    for gate_id, decision in decisions.items():
        store.resume(gate_id, decision.id, "second").apply()
    # Some sweeps, which would let the bytes of the ended ones go.
    time.sleep(0.8)
    for member in gates:
        assert lifetimes(store, member.id) == {False}
        assert store.get(member.id).ended
    store.prompts_ended({"second": ""})
    for member in gates:
        eventually(lambda member=member: lifetimes(store, member.id) == {True})  # type: ignore[misc]


def test_what_expired_can_not_be_run_again_and_says_so(shared: Shop) -> None:
    store = shared.store(settings=replace(SETTINGS, keep_images=0))
    waiter = ready(store)
    route(store, waiter.gate.id)
    waiter.wait(10)
    waiter.apply()
    eventually(lambda: lifetimes(store, waiter.gate.id) == set())
    with pytest.raises(Conflict, match="run again"):
        store.again(waiter.gate.id, make_decision("route", 2))
    with pytest.raises(GateNotFound):
        store.continuation(waiter.gate.id)
    assert store.records() == []


def test_what_a_parked_gate_may_replay_is_kept_longer(shared: Shop) -> None:
    store = shared.store(settings=replace(SETTINGS, keep_images=5, keep_decided=500))
    held = ready(store)
    route(store, held.gate.id)
    held.wait(10)
    held.apply()
    keys, blobs = store._keys, store._redis.connection.blobs  # type: ignore[attr-defined]
    image = keys.gate_image(held.gate.id, 0)
    eventually(lambda: 0 < blobs.pttl(image) <= 5_000)
    eventually(lambda: store._redis.connection.control.pttl(keys.gate(held.gate.id)) > 0)  # type: ignore[attr-defined]
    parked(store)
    eventually(lambda: blobs.pttl(image) > 400_000)
