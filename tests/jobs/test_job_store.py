"""One contract for every store of jobs: the one on the disk, and a real Redis."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

import pytest
from job_world import LEASE, World, job, offer, submitted, until

from broker.jobs.record import Failure, Input, Limits, Output, Place, Reason
from broker.jobs.store import JobStore
from gates.errors import (
    BlobNotFound,
    Conflict,
    Fenced,
    InvalidName,
    JobEnded,
    JobNotFound,
    QueueFull,
    TooMany,
)


def test_a_job_is_given_back_as_it_was_submitted(jobs: JobStore) -> None:
    given = job(
        "áñ n\n",
        priority=-100,
        title='"x" é',
        prompt="d" * 64,
        nodes=("KSampler", "LoadImage"),
        models=("a.safetensors",),
        inputs=(Input("12:3", "image", "e" * 64),),
        gates=True,
        folder="out",
    )
    shown = jobs.submit(given)
    assert replace(shown, submitted=0, rev=0) == given
    assert shown.submitted > 0
    assert jobs.get(given.id) == shown
    assert jobs.submit(given) == shown
    assert jobs.counts()["queued"] == 1


def test_what_is_no_job_is_refused(jobs: JobStore) -> None:
    with pytest.raises(JobNotFound):
        jobs.get("0" * 32)
    with pytest.raises(JobNotFound):
        jobs.cancel("0" * 32)
    with pytest.raises(InvalidName):
        jobs.get("../x")


def test_blobs_are_found_by_their_digest(jobs: JobStore) -> None:
    data = bytes(range(256)) * 100
    digest = jobs.put_blob(data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert jobs.blob(digest) == data
    assert jobs.touch_blobs([digest, "0" * 64]) == ["0" * 64]
    with pytest.raises(BlobNotFound):
        jobs.blob("0" * 64)


def test_blobs_that_nobody_needs_are_gone_after_a_time(world: World) -> None:
    first = world.open(Limits(keep_blobs=0.3))
    digest = first.put_blob(b"x")
    time.sleep(0.35)
    # The store on the disk looks when it is opened and written to, Redis by itself.
    later = world.open(Limits(keep_blobs=0.3))
    later.put_blob(b"y")
    with pytest.raises(BlobNotFound):
        later.blob(digest)


# -- the queue ----------------------------------------------------------------------------


def test_submitters_take_turns_within_a_priority(jobs: JobStore) -> None:
    for _ in range(4):
        jobs.submit(job("ann"))
    for _ in range(2):
        jobs.submit(job("bob"))
    jobs.submit(job("ann", priority=10))
    jobs.submit(job("cy", priority=-10))
    order = [(each.priority, each.submitter) for each in jobs.queued(100)]
    assert order[0] == (10, "ann")
    assert order[-1] == (-10, "cy")
    assert sorted(order[1:3]) == sorted(order[3:5]) == [(0, "ann"), (0, "bob")]
    assert order[5:7] == [(0, "ann"), (0, "ann")]
    assert [each.id for each in jobs.queued(3, start=2)] == [each.id for each in jobs.queued(100)][2:5]


def test_who_comes_late_waits_for_one_job_of_each_other_submitter(jobs: JobStore) -> None:
    for _ in range(10):
        jobs.submit(job("ann"))
    for _ in range(5):
        assert jobs.claim("b1", [offer(jobs.queued(1)[0], limit=99)]) is not None
    late = jobs.submit(job("bob"))
    place = [each.id for each in jobs.queued(100)].index(late.id)
    assert place <= 1


def test_when_the_farm_or_a_submitter_has_too_many_waiting_jobs_more_are_refused(world: World) -> None:
    jobs = world.open(Limits(queued=4, queued_each=3, lease=LEASE))
    for _ in range(3):
        jobs.submit(job("ann"))
    with pytest.raises(TooMany) as each:
        jobs.submit(job("ann"))
    assert each.value.status == 429
    assert each.value.details["retry_after"] > 0
    last = jobs.submit(job("bob"))
    with pytest.raises(QueueFull) as full:
        jobs.submit(job("cy"))
    assert full.value.status == 503
    assert jobs.submit(last).id == last.id
    jobs.cancel(last.id)
    assert jobs.claim("b1", [offer(jobs.queued(1)[0])]) is not None
    assert jobs.submit(job("ann")).state == "queued"


def test_a_job_that_waits_is_given_another_priority_and_a_turn_behind_its_submitters_jobs_there(jobs: JobStore) -> None:
    first, second = jobs.submit(job()), jobs.submit(job())
    high = jobs.submit(job(priority=10))
    moved = jobs.prioritize(second.id, 10)
    assert (moved.priority, moved.state, moved.rev) == (10, "queued", second.rev + 1)
    assert jobs.prioritize(second.id, 10) == moved == jobs.get(second.id)
    assert [each.id for each in jobs.queued(10)] == [high.id, second.id, first.id]
    jobs.prioritize(high.id, -100)
    assert [each.id for each in jobs.queued(10)] == [second.id, first.id, high.id]
    assert jobs.claim("b1", [offer(jobs.queued(1)[0])]) is not None
    assert jobs.counts()["queued"] == 2


def test_a_job_that_goes_back_keeps_the_priority_that_it_was_given(jobs: JobStore) -> None:
    low, other = jobs.submit(job()), jobs.submit(job())
    claimed = jobs.claim("b1", [offer(jobs.prioritize(low.id, 5))])
    assert claimed is not None
    assert jobs.requeue(claimed, "not now").priority == 5
    assert [each.id for each in jobs.queued(10)] == [low.id, other.id]


def test_only_a_job_that_waits_is_given_another_priority(jobs: JobStore) -> None:
    sent = submitted(jobs)
    with pytest.raises(Conflict) as held:
        jobs.prioritize(sent.id, 10)
    assert held.value.details["state"] == "submitted"
    jobs.finish(sent, "done")
    with pytest.raises(JobEnded):
        jobs.prioritize(sent.id, 10)
    with pytest.raises(JobNotFound):
        jobs.prioritize("0" * 32, 10)
    assert jobs.get(sent.id).priority == 0


# -- claims -------------------------------------------------------------------------------


def test_a_job_is_claimed_once_and_takes_a_place_at_its_instance(jobs: JobStore) -> None:
    first, second = jobs.submit(job()), jobs.submit(job())
    reasons = (Reason("i1", "one", True, "free"), Reason("i2", "two", False, "paused"))
    claimed = jobs.claim("b1", [replace(offer(first), reasons=reasons)])
    assert claimed is not None
    assert (claimed.state, claimed.broker, claimed.fence, claimed.instance) == ("claimed", "b1", 1, "i1")
    assert (claimed.url, claimed.reasons) == ("http://i1", reasons)
    assert claimed.claimed > 0
    assert jobs.claim("b2", [offer(first, "i2")]) is None
    assert jobs.claim("b2", [offer(second, "i1")]) is None
    assert jobs.places() == {"i1": Place(held=1)}
    both = jobs.claim("b2", [offer(first), offer(second, "i1"), offer(second, "i1", limit=2)])
    assert both is not None
    assert both.id == second.id
    assert jobs.places()["i1"].held == 2
    assert {state: count for state, count in jobs.counts().items() if count} == {"claimed": 2}


def test_nothing_is_claimed_for_an_instance_that_is_paused_or_draining(jobs: JobStore) -> None:
    waiting = jobs.submit(job())
    assert jobs.set_place("i1", "paused", "ann") == Place("paused", "ann")
    assert jobs.claim("b1", [offer(waiting)]) is None
    jobs.set_place("i1", "draining", "bob")
    assert jobs.claim("b1", [offer(waiting)]) is None
    assert jobs.set_place("i1", "") == Place()
    assert jobs.claim("b1", [offer(waiting)]) is not None


def test_a_prompt_is_sent_under_one_id_only(jobs: JobStore) -> None:
    sent = submitted(jobs, "p1")
    assert (sent.state, sent.prompt_id, sent.attempt) == ("submitted", "p1", 1)
    assert jobs.send(sent, "p1") == sent
    with pytest.raises(Conflict):
        jobs.send(sent, "p2")


def test_progress_is_kept_and_only_another_state_is_an_event(world: World) -> None:
    jobs = world.open()
    sent = submitted(jobs)
    cursor = world.events.cursor()
    running = jobs.progress(sent, "running", 0.25, "12:3")
    assert (running.state, running.progress, running.node) == ("running", 0.25, "12:3")
    assert running.started >= sent.sent > 0
    assert jobs.progress(sent, "running", 0.5).rev == running.rev
    assert jobs.progress(sent, "unknown", 0.5, note="it does not answer").note == "it does not answer"
    events = [event for event in world.events.since(cursor) or [] if event.id == sent.id]
    assert [event.data["state"] for event in events] == ["running", "unknown"]
    assert {event.type for event in events} == {"job"}


def test_a_job_ends_once(jobs: JobStore) -> None:
    sent = submitted(jobs)
    outputs = (Output("9", "a.png", "images", 3, "f" * 64),)
    done = jobs.finish(sent, "done", outputs)
    assert (done.state, done.outputs, done.progress) == ("done", outputs, 1.0)
    assert done.ended >= done.sent
    assert jobs.finish(sent, "done", outputs) == done
    with pytest.raises(JobEnded):
        jobs.finish(sent, "failed", error=Failure("execution", "x"))
    for step in (lambda: jobs.progress(sent, "running"), lambda: jobs.requeue(sent, "x"), lambda: jobs.cancel(sent.id)):
        with pytest.raises(JobEnded):
            step()
    assert jobs.get(sent.id) == done
    assert jobs.places() == {}
    assert jobs.counts()["ended"] == 1


def test_a_failure_tells_what_failed(jobs: JobStore) -> None:
    error = Failure("execution", "boom", "3", "KSampler", "Traceback…")
    assert jobs.finish(submitted(jobs), "failed", error=error).error == error


def test_what_ended_is_forgotten_after_a_time(world: World) -> None:
    jobs = world.open(Limits(lease=LEASE, keep=0.2))
    first = submitted(jobs)
    jobs.finish(first, "done")
    time.sleep(0.25)
    second = submitted(jobs)
    jobs.finish(second, "done")
    with pytest.raises(JobNotFound):
        jobs.get(first.id)
    assert [each.id for each in jobs.page(10)[0]] == [second.id]
    assert jobs.counts()["ended"] == 1


# -- back to the queue --------------------------------------------------------------------


def test_a_job_that_goes_back_keeps_its_turn_and_tells_of_the_attempt(jobs: JobStore) -> None:
    sent = submitted(jobs, "p1")
    _, later = jobs.submit(job()), jobs.submit(job())
    jobs.submit(job("bob"))
    back = jobs.requeue(sent, "its instance was killed", avoid=True)
    assert (back.state, back.prompt_id, back.instance, back.avoid) == ("queued", "", "", ("i1",))
    assert [(each.number, each.prompt_id, each.why) for each in back.attempts] == [(1, "p1", "its instance was killed")]
    assert jobs.requeue(sent, "its instance was killed", avoid=True) == back
    # What came while it was away may share its turn, and stand before it; what came after that may not.
    order = [each.id for each in jobs.queued(10)]
    assert order.index(sent.id) < order.index(later.id)
    assert jobs.places() == {}
    with pytest.raises(Fenced):
        jobs.finish(sent, "done")
    again = jobs.claim("b2", [offer(back, "i2")])
    assert again is not None
    assert jobs.send(again, "p2").attempt == 2


def test_a_job_goes_again_only_after_its_delay(jobs: JobStore) -> None:
    back = jobs.requeue(submitted(jobs), "not now", delay=0.3)
    assert jobs.claim("b1", [offer(back)]) is None
    until(lambda: jobs.claim("b1", [offer(back)]))


def test_a_copy_that_may_still_run_is_remembered_until_one_broker_has_seen_to_it(jobs: JobStore) -> None:
    sent = submitted(jobs, "p1")
    jobs.requeue(sent, "gone", stray=True)
    (stray,) = jobs.strays()
    assert (stray.prompt_id, stray.job, stray.instance, stray.url) == ("p1", sent.id, "i1", "http://i1")
    assert jobs.settle(stray, finished=True)
    assert not jobs.settle(stray, finished=True)
    assert jobs.strays() == []
    assert jobs.get(sent.id).copies == 1


# -- leases -------------------------------------------------------------------------------


def test_a_job_whose_owner_lives_is_left_alone(jobs: JobStore) -> None:
    sent = submitted(jobs)
    assert jobs.overdue() == []
    assert jobs.adopt("b2", sent) is None


def test_a_job_whose_owner_is_gone_is_adopted_by_one_broker_and_the_old_one_is_fenced_off(jobs: JobStore) -> None:
    sent = submitted(jobs)
    until(lambda: jobs.overdue())
    (over,) = jobs.overdue()
    assert over == sent
    mine = jobs.adopt("b2", over)
    assert mine is not None
    assert (mine.broker, mine.fence, mine.prompt_id, mine.state) == ("b2", sent.fence + 1, "p1", "submitted")
    assert jobs.adopt("b3", over) is None
    assert jobs.overdue() == []
    for step in (
        lambda: jobs.finish(sent, "done"),
        lambda: jobs.requeue(sent, "x"),
        lambda: jobs.progress(sent, "running"),
        lambda: jobs.send(sent, "p1"),
    ):
        with pytest.raises(Fenced):
            step()
    assert [each.code for each in jobs.renew([sent, mine])] == ["FENCED", "OK"]
    assert jobs.finish(mine, "done").state == "done"


def test_renewing_keeps_jobs_and_tells_what_their_owner_must_know(jobs: JobStore) -> None:
    first, second = submitted(jobs), jobs.submit(job())
    other = jobs.claim("b1", [offer(second, "i2")])
    assert other is not None
    for _ in range(4):
        time.sleep(LEASE / 2)
        assert [each.code for each in jobs.renew([first, other])] == ["OK", "OK"]
    assert jobs.overdue() == []
    jobs.cancel(first.id, "eve")
    jobs.set_place("i2", "draining")
    told = jobs.renew([first, other, replace(other, id="0" * 32)])
    assert [(each.code, each.cancelling, each.place) for each in told] == [
        ("OK", "eve", ""),
        ("OK", "", "draining"),
        ("MISSING", "", ""),
    ]


# -- cancel -------------------------------------------------------------------------------


def test_a_queued_job_is_cancelled_at_once(jobs: JobStore) -> None:
    waiting = jobs.submit(job())
    gone = jobs.cancel(waiting.id, "ann")
    assert (gone.state, gone.cancelling) == ("cancelled", "ann")
    assert jobs.cancel(waiting.id, "bob") == gone
    assert jobs.queued(10) == []
    assert jobs.claim("b1", [offer(waiting)]) is None


def test_the_owner_of_a_job_carries_a_cancel_out(jobs: JobStore) -> None:
    sent = submitted(jobs)
    wanted = jobs.cancel(sent.id)
    assert wanted.state == "submitted"
    assert wanted.cancelling
    assert jobs.cancel(sent.id).rev == wanted.rev
    assert jobs.finish(sent, "cancelled").state == "cancelled"


def test_after_a_cancel_nothing_is_sent_and_nothing_goes_back(jobs: JobStore) -> None:
    waiting = jobs.submit(job())
    claimed = jobs.claim("b1", [offer(waiting)])
    assert claimed is not None
    jobs.cancel(waiting.id)
    with pytest.raises(Conflict):
        jobs.send(claimed, "p1")
    assert jobs.requeue(claimed, "cancelled before it was sent").state == "cancelled"
    assert jobs.places() == {}
    assert jobs.queued(10) == []


# -- lists and results --------------------------------------------------------------------


def test_pages_hold_every_job_once_newest_first(jobs: JobStore) -> None:
    given = [jobs.submit(job("ann" if number % 3 else "bob")) for number in range(250)]
    jobs.cancel(given[7].id)
    seen, cursor = [], ""
    while True:
        page, cursor = jobs.page(60, cursor)
        seen += page
        if not cursor:
            break
    order = [(each.submitted, each.id) for each in seen]
    assert order == sorted(order, reverse=True)
    assert {each.id for each in seen} == {each.id for each in given}
    assert len(seen) == 250
    assert [each.id for each in jobs.page(10, state="ended")[0]] == [given[7].id]
    assert len(jobs.page(300, submitter="bob", state="queued")[0]) == 84
    assert jobs.page(300, submitter="nobody") == ([], "")


def test_jobs_are_counted_and_listed_by_their_state_and_place(jobs: JobStore) -> None:
    ends = ("done", "failed", "cancelled", "lost", "failed")
    ended = [jobs.finish(submitted(jobs), end) for end in ends]
    one, two = jobs.submit(job()), jobs.submit(job("bob"))
    waiting = jobs.submit(job())
    held = [jobs.claim("b1", [offer(each, place)]) for each, place in ((one, "i1"), (two, "i2"))]
    assert None not in held
    counts = {"claimed": 2, "queued": 1, "done": 1, "failed": 2, "cancelled": 1, "lost": 1, "ended": 5}
    assert {state: count for state, count in jobs.counts().items() if count} == counts

    def listed(**of: str) -> set[str]:
        return {each.id for each in jobs.page(100, **of)[0]}

    assert listed(state="failed") == {ended[1].id, ended[4].id}
    assert listed(state="live") == {one.id, two.id, waiting.id}
    assert listed(state="held") == {one.id, two.id}
    assert listed(state="held", instance="i1") == listed(state="claimed", submitter="ann") == {one.id}
    assert listed(instance="i1") == {one.id, *(each.id for each in ended)}
    first, cursor = jobs.page(1, state="held")
    second, _ = jobs.page(1, cursor, state="held")
    assert {first[0].id, second[0].id} == {one.id, two.id}


def test_what_is_forgotten_is_counted_no_more(world: World) -> None:
    jobs = world.open(Limits(keep=0.2, lease=LEASE))
    jobs.finish(submitted(jobs), "failed")
    assert jobs.counts()["failed"] == 1
    time.sleep(0.25)
    # The next one that ends looks after those before it.
    jobs.finish(submitted(jobs), "done")
    counts = jobs.counts()
    assert (counts["failed"], counts["done"], counts["ended"]) == (0, 1, 1)
    assert jobs.page(10, state="failed")[0] == []


def test_identical_jobs_take_the_results_of_the_first_when_they_ask_for_that(jobs: JobStore) -> None:
    digest = jobs.put_blob(b"image")
    first = submitted(jobs, cache="c" * 64)
    jobs.finish(first, "done", (Output("9", "a.png", "images", 5, digest),))
    second = jobs.submit(job(cache="c" * 64))
    assert (second.state, second.cached_from, second.outputs[0].digest) == ("done", first.id, digest)
    assert jobs.submit(second) == second
    assert second.ended > 0
    assert jobs.submit(job()).state == "queued"
    assert jobs.submit(job(cache="d" * 64)).state == "queued"


def test_results_whose_bytes_are_gone_are_made_again(jobs: JobStore) -> None:
    first = submitted(jobs, cache="c" * 64)
    jobs.finish(first, "done", (Output("9", "a.png", "images", 5, "0" * 64),))
    assert jobs.submit(job(cache="c" * 64)).state == "queued"


def test_a_failure_answers_nobody_else(jobs: JobStore) -> None:
    first = submitted(jobs, cache="c" * 64)
    jobs.finish(first, "failed", error=Failure("execution", "x"))
    assert jobs.submit(job(cache="c" * 64)).state == "queued"
