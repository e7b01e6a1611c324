"""What every gate store promises: in this process, on fakeredis and on a real redis-server."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gate_world import IMAGE, PREVIEW, SETTINGS, Shop, eventually, gate, shared, shop

from gates import codec
from gates.errors import (
    AlreadyDecided,
    Fenced,
    GateBusy,
    GateClosed,
    GateNotFound,
    InvalidInput,
    InvalidName,
    TooLarge,
)
from gates.gate.record import GateStore, make_decision

__all__ = ["shared", "shop"]


def test_an_open_gate_is_listed_with_everything_that_a_person_needs(shop: Shop) -> None:
    store = shop.store()
    opened = gate(
        title="Pick <one> ☂", workflow="portrait", note="left eye?", routes=3, labels=("keep", "", "redo"), width=4,
        height=6, batch=2, prompt_id="p", node_id="12:3", list_index=1, send_id="cp1",
    )  # fmt: skip
    store.open(opened, PREVIEW)
    (listed,) = store.records()
    assert listed == store.get(opened.id)
    assert listed.status == "waiting"
    assert listed.instance == "studio"
    assert listed.labels == ("keep", "", "redo")
    assert (listed.title, listed.node_id, listed.note, listed.send_id) == ("Pick <one> ☂", "12:3", "left eye?", "cp1")
    assert abs(listed.opened / 1000 - time.time()) < 60
    assert listed.deadline == 0
    assert store.preview(opened.id) == PREVIEW


def test_a_decision_reaches_the_waiter_and_is_applied_once_acknowledged(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(routes=3), PREVIEW)
    assert waiter.wait(0.01) is None
    decided = store.decide(waiter.gate.id, make_decision("route", 2, by="ann", text="good"))
    assert decided.status == "decided"
    decision = waiter.wait(10)
    assert decision is not None
    assert (decision.route, decision.by, decision.text) == (2, "ann", "good")
    assert waiter.apply().id == decision.id
    assert store.get(waiter.gate.id).status == "applied"
    assert waiter.apply().id == decision.id
    assert store.records() == []
    (remembered,) = store.records(live=False)
    assert remembered.decision is not None
    assert remembered.decision.by == "ann"


def test_a_waiter_is_called_back_once_also_when_it_asks_late(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(), PREVIEW)
    calls: list[int] = []
    waiter.on_decision(lambda: calls.append(1))
    store.decide(waiter.gate.id, make_decision("route", 1))
    eventually(lambda: calls == [1])
    waiter.on_decision(lambda: calls.append(2))
    assert calls == [1, 2]


def test_the_first_decision_wins_and_the_second_is_told_which_one_stands(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(routes=3), PREVIEW)
    store.decide(waiter.gate.id, make_decision("route", 1, by="ann"))
    with pytest.raises(AlreadyDecided, match="route 1 by ann") as error:
        store.decide(waiter.gate.id, make_decision("route", 2, by="bob"))
    assert error.value.details["decision"]["route"] == 1
    waiter.apply()
    with pytest.raises(AlreadyDecided):
        store.decide(waiter.gate.id, make_decision("cancel"))


def test_a_repeat_of_the_decision_is_a_success_before_and_after_it_was_applied(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(), PREVIEW)
    decision = make_decision("route", 2, by="ann")
    store.decide(waiter.gate.id, decision)
    assert store.decide(waiter.gate.id, decision).decision.id == decision.id  # type: ignore[union-attr]
    same = store.decide(waiter.gate.id, make_decision("route", 2, by="bob"))
    assert same.decision is not None
    assert same.decision.by == "ann"
    waiter.apply()
    assert store.decide(waiter.gate.id, decision).status == "applied"


def test_of_many_deciders_at_once_exactly_one_wins(shop: Shop) -> None:
    store = shop.store()
    for _ in range(20):
        waiter = store.open(gate(routes=10), PREVIEW)
        won: list[int] = []
        start = threading.Barrier(8)

        def decide(
            route: int, gate_id: str = waiter.gate.id, won: list[int] = won, start: threading.Barrier = start
        ) -> None:
            start.wait()
            try:
                store.decide(gate_id, make_decision("route", route))
                won.append(route)
            except AlreadyDecided:
                pass

        threads = [threading.Thread(target=decide, args=(route,)) for route in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert waiter.wait(10).route == won[0]  # type: ignore[union-attr]
        waiter.apply()


def test_a_route_that_the_gate_does_not_have_is_refused_and_the_gate_waits_on(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(routes=2), PREVIEW)
    with pytest.raises(InvalidInput, match="routes 1 to 2"):
        store.decide(waiter.gate.id, make_decision("route", 3))
    assert store.get(waiter.gate.id).status == "waiting"
    assert waiter.decision is None


def test_images_of_the_batch_are_chosen_with_the_decision_and_are_part_of_what_it_says(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(batch=4), PREVIEW)
    for bad in ("4", "0,4", "0,1,2,3,4"):
        with pytest.raises(InvalidInput, match="images 0 to 3"):
            store.decide(waiter.gate.id, make_decision("route", 1, chosen=bad))
    assert store.get(waiter.gate.id).status == "waiting"
    decided = store.decide(waiter.gate.id, make_decision("route", 1, chosen="0,3"))
    assert decided.decision is not None
    assert decided.decision.chosen == "0,3"
    assert store.decide(waiter.gate.id, make_decision("route", 1, chosen="0,3")).decision == decided.decision
    for other in ("", "0,2"):
        with pytest.raises(AlreadyDecided):
            store.decide(waiter.gate.id, make_decision("route", 1, chosen=other))
    store.take_back(waiter.gate.id, decided.decision.id)
    all_of_them = store.decide(waiter.gate.id, make_decision("route", 1))
    assert all_of_them.decision is not None
    assert all_of_them.decision.chosen == ""
    assert [entry.chosen for entry in shop.decisions.read("", 10)] == ["0,3", "", ""]
    waiter.wait(10)
    waiter.apply()


@pytest.mark.parametrize("chosen", ["1,1", "2,0", "00", "-1", "0,", ",0", "0 1", "1.0", "a", "٣", "0\n", "1000000"])
def test_what_is_no_choice_of_images_is_refused(chosen: str) -> None:
    with pytest.raises(InvalidInput):
        make_decision("route", 1, chosen=chosen)
    with pytest.raises(InvalidInput, match="Only with a route"):
        make_decision("cancel", chosen="0")


def test_an_unknown_gate_is_not_found_and_a_bad_id_is_refused(shop: Shop) -> None:
    store = shop.store()
    unknown = uuid.uuid4().hex
    for call in (store.get, store.preview, store.mask, store.image):
        with pytest.raises(GateNotFound):
            call(unknown)
    with pytest.raises(GateNotFound):
        store.decide(unknown, make_decision("route", 1))
    with pytest.raises(GateNotFound):
        store.set_mask(unknown, b"png")
    for bad in ("", "12:3", unknown.upper(), unknown + "\n", "../" + unknown, "{" + unknown):
        with pytest.raises(InvalidName):
            store.get(bad)


def test_a_cancel_ends_the_wait_of_this_gate_alone(shop: Shop) -> None:
    store = shop.store()
    one, other = store.open(gate(), PREVIEW), store.open(gate(), PREVIEW)
    store.decide(one.gate.id, make_decision("cancel", by="ann"))
    assert one.wait(10).kind == "cancel"  # type: ignore[union-attr]
    one.apply()
    assert store.get(one.gate.id).status == "cancelled"
    assert other.decision is None
    assert [listed.id for listed in store.records()] == [other.gate.id]


def test_a_gate_whose_prompt_was_stopped_is_withdrawn_and_takes_no_decision_any_more(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(), PREVIEW)
    waiter.close("interrupted")
    eventually(lambda: store.get(waiter.gate.id).status == "cancelled")
    assert store.get(waiter.gate.id).outcome == "interrupted"
    assert store.records() == []
    with pytest.raises(GateClosed):
        store.decide(waiter.gate.id, make_decision("route", 1))
    waiter.close("again")
    assert store.get(waiter.gate.id).outcome == "interrupted"


def test_a_decision_that_was_never_applied_is_shown_as_such(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(), PREVIEW)
    store.decide(waiter.gate.id, make_decision("route", 1, by="ann"))
    waiter.wait(10)
    waiter.close("error")
    eventually(lambda: store.get(waiter.gate.id).status == "cancelled")
    ended = store.get(waiter.gate.id)
    assert ended.decision is not None
    assert (ended.outcome, ended.decision.route) == ("error", 1)


@pytest.mark.parametrize(("timeout_route", "kind", "end"), [(2, "route", "applied"), (0, "expire", "expired")])
def test_the_deadline_takes_the_named_route_or_expires_the_gate(
    shop: Shop, timeout_route: int, kind: str, end: str
) -> None:
    store = shop.store()
    waiter = store.open(gate(timeout_route=timeout_route), PREVIEW, timeout=0.3)
    assert store.get(waiter.gate.id).deadline > store.get(waiter.gate.id).opened
    decision = waiter.wait(10)
    assert decision is not None
    assert (decision.kind, decision.route, decision.by) == (kind, timeout_route, "deadline")
    waiter.apply()
    assert store.get(waiter.gate.id).status == end


def test_who_decides_before_the_deadline_is_not_overruled_by_it(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(timeout_route=2), PREVIEW, timeout=0.4)
    store.decide(waiter.gate.id, make_decision("route", 1))
    time.sleep(0.8)
    assert waiter.apply().route == 1


def test_the_painted_mask_goes_with_the_decision(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(), PREVIEW)
    assert store.mask(waiter.gate.id) is None
    store.set_mask(waiter.gate.id, b"first")
    store.set_mask(waiter.gate.id, b"second")
    assert store.mask(waiter.gate.id) == b"second"
    store.decide(waiter.gate.id, make_decision("route", 1))
    with pytest.raises(AlreadyDecided):
        store.set_mask(waiter.gate.id, b"late")
    waiter.wait(10)
    assert waiter.mask() == b"second"
    waiter.apply()
    assert store.mask(waiter.gate.id) == b"second"


def test_a_mask_may_be_there_from_the_start(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(), PREVIEW, mask=b"start")
    assert store.mask(waiter.gate.id) == b"start"
    store.decide(waiter.gate.id, make_decision("route", 1))
    waiter.wait(10)
    assert waiter.mask() == b"start"
    cleared = store.open(gate(), PREVIEW, mask=b"start")
    store.set_mask(cleared.gate.id, None)
    assert store.mask(cleared.gate.id) is None


def test_a_cleared_mask_is_none(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(), PREVIEW)
    store.set_mask(waiter.gate.id, b"mask")
    store.set_mask(waiter.gate.id, None)
    assert store.mask(waiter.gate.id) is None
    store.decide(waiter.gate.id, make_decision("route", 1))
    waiter.wait(10)
    assert waiter.mask() is None


@pytest.mark.parametrize("format", ["png", "exact"])
def test_the_whole_image_follows_the_preview(shop: Shop, format: str) -> None:
    store = shop.store()
    waiter = store.open(gate(batch=2, width=4, height=6), PREVIEW)
    with pytest.raises(GateNotFound, match="not stored"):
        store.frame(waiter.gate.id, 0)
    waiter.store_image(codec.encode(IMAGE, format))
    for frame in range(2):
        pixels = codec.decode_png(store.frame(waiter.gate.id, frame))
        np.testing.assert_array_equal(pixels, np.rint(IMAGE[frame] * 255).astype(np.uint8))
    if format == "exact":
        np.testing.assert_array_equal(store.image(waiter.gate.id), IMAGE)
    with pytest.raises(GateNotFound, match="frames 0 to 1"):
        store.frame(waiter.gate.id, 2)


def test_every_change_is_an_event_with_revisions_without_gaps(shop: Shop) -> None:
    store = shop.store()
    cursor = shop.events.cursor()
    waiter = store.open(gate(), PREVIEW)
    store.set_mask(waiter.gate.id, b"mask")
    store.decide(waiter.gate.id, make_decision("route", 1))
    waiter.wait(10)
    waiter.apply()
    events = shop.events.since(cursor)
    assert events is not None
    assert [event.id for event in events] == [waiter.gate.id] * 4
    assert [event.data["rev"] for event in events] == [1, 2, 3, 4]
    assert [event.data["status"] for event in events] == ["waiting", "waiting", "decided", "applied"]
    assert shop.events.since(events[1].cursor) == events[2:]


def test_a_process_waits_on_no_more_gates_than_it_may(shop: Shop) -> None:
    store = shop.store(settings=replace(SETTINGS, max_gates=2))
    first, _ = store.open(gate(), PREVIEW), store.open(gate(), PREVIEW)
    with pytest.raises(TooLarge, match="GATEBUS_MAX_GATES"):
        store.open(gate(), PREVIEW)
    first.close("interrupted")
    store.open(gate(), PREVIEW)


def test_a_gate_that_its_owner_waits_on_can_not_be_opened_again(shop: Shop) -> None:
    store = shop.store()
    waiter = store.open(gate(), PREVIEW)
    with pytest.raises(GateBusy):
        store.open(waiter.gate, PREVIEW)
    waiter.close("interrupted")
    eventually(lambda: store.get(waiter.gate.id).status == "cancelled")
    with pytest.raises(GateClosed):
        store.open(waiter.gate, PREVIEW)


def test_a_store_that_closes_withdraws_its_gates(shop: Shop) -> None:
    store, other = shop.store("one"), shop.store("two")
    waiter = store.open(gate(), PREVIEW)
    store.close()
    assert other.get(waiter.gate.id).status == "cancelled"
    assert other.get(waiter.gate.id).outcome == "shutdown"


# -- with another process -----------------------------------------------------------------


def test_another_process_sees_paints_and_decides_the_gate(shared: Shop) -> None:
    owner, other = shared.store("one"), shared.store("two")
    waiter = owner.open(gate(batch=2), PREVIEW)
    waiter.store_image(codec.encode(IMAGE, "png"))
    assert other.preview(waiter.gate.id) == PREVIEW
    assert codec.decode_png(other.frame(waiter.gate.id, 1)).shape == (6, 4, 3)
    other.set_mask(waiter.gate.id, b"mask")
    other.decide(waiter.gate.id, make_decision("route", 2, by="ann"))
    decision = waiter.wait(10)
    assert decision is not None
    assert decision.route == 2
    assert waiter.mask() == b"mask"
    waiter.apply()
    assert other.get(waiter.gate.id).status == "applied"


def test_a_gate_in_redis_is_busy_while_its_owner_lives(shared: Shop) -> None:
    owner, other = shared.store("one"), shared.store("two")
    waiter = owner.open(gate(), PREVIEW)
    time.sleep(1.5 * SETTINGS.lease)
    with pytest.raises(GateBusy):
        other.open(waiter.gate, PREVIEW)


def test_an_orphan_is_shown_adopted_with_its_decision_and_its_old_owner_is_fenced(shared: Shop) -> None:
    owner, other = shared.store("one"), shared.store("two")
    waiter = owner.open(gate(), PREVIEW)
    start = shared.events.cursor()
    freeze_looks(owner)
    eventually(lambda: other.get(waiter.gate.id).status == "orphaned")
    eventually(lambda: [event.data["rev"] for event in shared.events.since(start) or []] == [2])
    other.set_mask(waiter.gate.id, b"painted")
    owner.decide(waiter.gate.id, make_decision("route", 2))
    adopted = other.open(waiter.gate, PREVIEW, mask=b"start")
    assert adopted.gate.fence == 2
    assert adopted.mask() == b"painted"
    assert adopted.decision is not None
    with pytest.raises(Fenced, match="taken over"):
        waiter.apply()
    assert adopted.apply().route == 2


def test_cancelling_an_orphan_ends_it(shared: Shop) -> None:
    owner, other = shared.store("one"), shared.store("two")
    waiter = owner.open(gate(), PREVIEW)
    freeze_looks(owner)
    eventually(lambda: other.get(waiter.gate.id).status == "orphaned")
    assert other.decide(waiter.gate.id, make_decision("cancel")).status == "cancelled"
    assert other.records() == []


def test_the_deadline_of_an_orphan_is_kept_by_whoever_is_there(shared: Shop) -> None:
    owner, other = shared.store("one"), shared.store("two")
    waiter = owner.open(gate(timeout_route=2), PREVIEW, timeout=0.5)
    freeze_looks(owner)
    eventually(lambda: other.get(waiter.gate.id).status == "decided", 20)
    decision = other.get(waiter.gate.id).decision
    assert decision is not None
    assert (decision.route, decision.by) == (2, "deadline")


def test_a_data_set_that_was_lost_is_announced_again_whole(shared: Shop) -> None:
    owner, other = shared.store("one"), shared.store("two")
    waiter = owner.open(gate(title="again"), PREVIEW)
    waiter.store_image(codec.encode(IMAGE, "png"))
    owner.set_mask(waiter.gate.id, b"mask")
    first = waiter.gate.rev
    owner._owned._redis.connection.control.flushall()  # type: ignore[attr-defined]

    def back() -> bool:
        try:
            return other.get(waiter.gate.id).layout is not None
        except (GateNotFound, ConnectionError):
            return False

    eventually(back)
    again = other.get(waiter.gate.id)
    assert (again.title, again.recovered, again.status) == ("again", True, "waiting")
    assert again.rev > first
    assert other.preview(waiter.gate.id) == PREVIEW
    assert other.mask(waiter.gate.id) == b"mask"
    assert codec.decode_png(other.frame(waiter.gate.id, 1)).shape == (6, 4, 3)
    other.decide(waiter.gate.id, make_decision("route", 1))
    assert waiter.wait(10) is not None
    assert waiter.mask() == b"mask"
    assert waiter.apply().route == 1


def test_a_decision_that_was_seen_survives_the_loss_of_the_data_set(shared: Shop) -> None:
    owner = shared.store("one")
    waiter = owner.open(gate(), PREVIEW)
    owner.decide(waiter.gate.id, make_decision("route", 2, by="ann"))
    owner._owned._redis.connection.control.flushall()  # type: ignore[attr-defined]
    assert waiter.apply().route == 2
    assert owner.get(waiter.gate.id).decision.by == "ann"  # type: ignore[union-attr]


def test_bytes_of_live_gates_never_expire_and_those_of_ended_ones_do(shared: Shop) -> None:
    owner = shared.store("one")
    waiter = owner.open(gate(), PREVIEW)
    waiter.store_image(codec.encode(IMAGE, "png"))
    owner.set_mask(waiter.gate.id, b"mask")
    client = owner._owned._redis.connection.control  # type: ignore[attr-defined]

    def ttls() -> list[int]:
        return [client.ttl(key) for key in client.keys("*") if waiter.gate.id in key]

    eventually(lambda: set(ttls()) == {-1})
    assert len(ttls()) == 5  # record, preview, two frames, mask
    owner.decide(waiter.gate.id, make_decision("route", 1))
    waiter.wait(10)
    waiter.apply()
    eventually(lambda: all(ttl > 0 for ttl in ttls()))


def freeze_looks(store: GateStore) -> None:
    """Stops the store's thread, as a process that hangs or was killed would."""
    owned = store._owned  # type: ignore[attr-defined]
    owned._closed.set()
    owned._wake.set()
    owned._thread.join()


def test_the_state_folder_gives_each_process_an_identity_that_survives_it(tmp_path: Path) -> None:
    from gates.instance import claim_identity

    first, second = claim_identity(tmp_path), claim_identity(tmp_path)
    assert first.id != second.id
    first.lock.close()
    again = claim_identity(tmp_path)
    assert (again.id, again.boot != first.boot) == (first.id, True)
    second.lock.close()
    again.lock.close()
