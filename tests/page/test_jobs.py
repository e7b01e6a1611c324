"""The farm's jobs on the page: counted, filtered, live, one by one; cancelled, put before others; instances set."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer

from broker.jobs.record import Failure, Job, Limits, Offer, Output, Reason
from broker.jobs.redis import open_redis_jobs
from broker.jobs.store import JobStore
from gates import codec
from gates.instances.record import Instance
from gates.settings import Settings, Token
from gates.store import Store, open_store
from tests.page.broker_page import BrokerPage, picture
from tests.page.test_instances import IDLE

WHERE = {"name": "studio", "url": "http://127.0.0.1:9"}
STUDIO = "5" * 32


@pytest.fixture
def jobs(redis_server: RedisServer) -> Iterator[JobStore]:
    """The farm's jobs as another broker has them, whose lease does not end."""
    store = open_redis_jobs(Settings(store_url=redis_server.url), Limits(lease=600))
    yield store
    store.close()


def submit(jobs: JobStore, title: str = "portrait", **more: Any) -> Job:
    # A node that no instance has: the page's own broker leaves them all alone.
    values = {"submitter": "ann", "nodes": ("OnlyHere",), **more}
    # In a millisecond of its own: jobs of one are ordered by their ids.
    time.sleep(0.002)
    return jobs.submit(Job(uuid.uuid4().hex, title=title, **values))


def sent(jobs: JobStore, job: Job, instance: str = STUDIO, **more: Any) -> Job:
    offer = Offer(job.id, instance, 99, reasons=(Reason(instance, "studio", True, "the least busy of 2"),), **WHERE)
    claimed = jobs.claim("b1", [replace(offer, **more)])
    assert claimed is not None
    return jobs.send(claimed, str(uuid.uuid4()))


def made(jobs: JobStore, *names: str) -> list[Output]:
    found = []
    for name in names:
        data = codec.encode_png((picture(name, 96, 64) * 255).astype("uint8")) if name.endswith("png") else b"words"
        found.append(Output("9", name, "images", len(data), jobs.put_blob(data)))
    return found


def rows(broker_page: BrokerPage) -> Any:
    return broker_page.page.locator(".gj-row")


def titles(broker_page: BrokerPage) -> list[str]:
    return [str(text) for text in broker_page.page.locator(".gj-title").all_inner_texts()]


def act(broker_page: BrokerPage, locator: Any) -> None:
    locator.tap() if broker_page.touch else locator.click()


def fits(broker_page: BrokerPage) -> bool:
    return bool(broker_page.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_without_jobs_it_says_how_one_is_submitted(broker_page: BrokerPage) -> None:
    broker_page.goto("#/jobs")
    broker_page.page.get_by_text("No job yet").wait_for()
    text = broker_page.page.inner_text(".gc-empty")
    assert "gatebus submit" in text
    assert "POST /gatebus/jobs" in text
    assert broker_page.page.locator("nav.gp-places a[aria-current]").inner_text() == "Jobs"
    broker_page.screenshot("jobs-empty")


def test_jobs_are_shown_as_they_come_run_and_end(broker_page: BrokerPage, jobs: JobStore) -> None:
    broker_page.goto("#/jobs")
    broker_page.page.get_by_text("No job yet").wait_for()
    job = submit(jobs)
    row = rows(broker_page).first
    row.get_by_text("Waiting").wait_for()
    submit(jobs, "later", submitter="bob", priority=10)
    broker_page.until(lambda: titles(broker_page) == ["later", "portrait"])
    assert "Priority: high" in rows(broker_page).first.inner_text()
    row = rows(broker_page).nth(1)
    running = sent(jobs, job)
    row.get_by_text("In a queue").wait_for()
    # Progress is no event.
    jobs.progress(running, "running", 0.25, "12")
    broker_page.until(lambda: "25 % · at node 12" in row.inner_text())
    jobs.progress(running, "running", 0.75, "12")
    broker_page.until(lambda: row.locator("progress").evaluate("bar => bar.value") == 75)
    assert "studio" in row.inner_text()
    broker_page.screenshot("jobs-running")
    jobs.finish(running, "done", made(jobs, "one.png", "two.png"))
    row.get_by_text("Done").wait_for()
    broker_page.until(lambda: row.locator("img").evaluate("image => image.naturalWidth") > 0)
    assert row.locator(".gc-picture").get_attribute("data-count") == "2"
    assert row.get_by_role("button").count() == 0
    assert fits(broker_page)
    broker_page.screenshot("jobs")


def test_each_state_is_a_link_with_its_count_and_a_submitter_one_too(broker_page: BrokerPage, jobs: JobStore) -> None:
    for number in range(3):
        submit(jobs, f"waits {number}")
    failed = sent(jobs, submit(jobs, "broken", submitter="bob"))
    jobs.finish(failed, "failed", error=Failure("execution", "CUDA out of memory", "7", "KSampler"))
    at = sent(jobs, submit(jobs, "busy"))
    broker_page.goto("#/jobs")
    broker_page.until(lambda: rows(broker_page).count() == 5)
    page = broker_page.page
    texts = [" ".join(text.split()) for text in page.locator(".gj-choice").all_inner_texts()]
    assert texts == ["All 5", "Waiting 3", "At an instance 1", "Done 0", "Failed 1"]
    act(broker_page, page.get_by_role("link", name="Failed"))
    broker_page.until(lambda: titles(broker_page) == ["broken"])
    assert page.evaluate("location.hash") == "#/jobs?state=failed"
    assert "CUDA out of memory" in rows(broker_page).first.inner_text()
    # What fails is there at once, and what does not pass the filter is not.
    jobs.finish(at, "failed")
    broker_page.until(lambda: titles(broker_page) == ["busy", "broken"])
    page.go_back()
    broker_page.until(lambda: rows(broker_page).count() == 5)
    act(broker_page, page.get_by_role("link", name="bob", exact=True))
    broker_page.until(lambda: titles(broker_page) == ["broken"])
    assert page.get_by_label("Submitter").input_value() == "bob"
    page.get_by_label("Submitter").fill("nobody")
    page.get_by_text("No job matches the filter").wait_for()
    act(broker_page, page.get_by_role("link", name="Show all jobs"))
    broker_page.until(lambda: rows(broker_page).count() == 5)
    broker_page.screenshot("jobs-filtered")


def test_a_job_tells_why_it_is_where_it_is_what_was_tried_and_what_it_made(
    broker_page: BrokerPage, jobs: JobStore
) -> None:
    first = sent(jobs, submit(jobs), name="laptop")
    back = jobs.requeue(first, "its instance has ended")
    reasons = (Reason("1" * 32, "laptop", False, "lacks the node KSampler"), Reason(STUDIO, "studio", True, "is free"))
    running = sent(jobs, back, reasons=reasons)
    broker_page.goto(f"#/jobs/{running.id}")
    page = broker_page.page
    page.get_by_text("Why there, and not elsewhere").wait_for()
    assert page.locator(".gj-reasons li").first.inner_text().split() == ["studio", "chosen", "is", "free"]
    text = page.inner_text("main")
    for piece in ("lacks the node KSampler", "its instance has ended", "In a queue", "ann", running.id):
        assert piece in text
    jobs.progress(running, "running", 0.5, "12")
    broker_page.until(lambda: "50 % · at node 12" in page.inner_text(".gj-note"))
    jobs.finish(running, "done", made(jobs, "one.png", "two.png", "words.txt"))
    page.get_by_text("What it made").wait_for()
    small = page.locator(".gj-output")
    assert small.count() == 3
    broker_page.until(lambda: small.first.locator("img").evaluate("image => image.naturalWidth") > 0)
    assert fits(broker_page)
    broker_page.screenshot("job")
    act(broker_page, small.first)
    large = page.locator("dialog.gj-large")
    image = large.locator("img")
    broker_page.until(lambda: image.evaluate("image => image.naturalWidth") == 96)
    assert image.get_attribute("alt") == "one.png"
    broker_page.screenshot("job-large")
    page.keyboard.press("ArrowRight")
    broker_page.until(lambda: image.get_attribute("alt") == "two.png")
    with page.expect_download() as started:
        act(broker_page, large.get_by_role("button", name="Download"))
    data = Path(started.value.path()).read_bytes()
    assert hashlib.sha256(data).hexdigest() == jobs.get(running.id).outputs[1].digest
    page.keyboard.press("Escape")
    large.wait_for(state="detached")
    with page.expect_download() as started:
        act(broker_page, small.nth(2))
    assert Path(started.value.path()).read_bytes() == b"words"


def test_a_failed_job_shows_its_error_node_and_traceback(broker_page: BrokerPage, jobs: JobStore) -> None:
    trace = "\n".join(f'  File "/comfy/execution.py", line {line}, in <b>execute</b>' for line in range(60))
    failure = Failure("execution", "expected <scalar> type", "7", "KSampler", trace)
    job = jobs.finish(sent(jobs, submit(jobs)), "failed", error=failure)
    broker_page.goto(f"#/jobs/{job.id}")
    page = broker_page.page
    page.get_by_text("Why it failed").wait_for()
    assert page.inner_text(".gj-message") == "expected <scalar> type"
    assert "at node KSampler #7" in page.inner_text(".gj-failed")
    pre = page.locator(".gj-failed pre")
    assert not pre.is_visible()
    act(broker_page, page.get_by_text("Traceback"))
    assert "line 59, in <b>execute</b>" in pre.inner_text()
    assert fits(broker_page)
    broker_page.screenshot("job-failed")


def test_a_job_is_cancelled_after_a_question(broker_page: BrokerPage, jobs: JobStore) -> None:
    waiting, held = submit(jobs, "waiting"), sent(jobs, submit(jobs, "held"))
    broker_page.goto("#/jobs")
    page = broker_page.page
    cancel = page.get_by_role("button", name="Cancel: waiting")
    act(broker_page, cancel)
    page.get_by_text("It has not begun and will not run.").wait_for()
    page.keyboard.press("Escape")
    assert jobs.get(waiting.id).state == "queued"
    act(broker_page, cancel)
    act(broker_page, page.get_by_role("button", name="Cancel the job"))
    broker_page.until(lambda: jobs.get(waiting.id).state == "cancelled")
    assert jobs.get(waiting.id).cancelling == "anna"
    broker_page.until(lambda: "Cancelled" in rows(broker_page).nth(1).inner_text())
    broker_page.goto(f"#/jobs/{held.id}")
    act(broker_page, page.get_by_role("button", name="Cancel", exact=True))
    page.get_by_text("It is stopped at studio").wait_for()
    act(broker_page, page.get_by_role("button", name="Cancel the job"))
    page.get_by_text("Stopping…").wait_for()
    jobs.finish(jobs.get(held.id), "cancelled")
    page.locator(".gj-state[data-state=cancelled]").wait_for()


def test_a_job_that_waits_is_put_before_the_others(broker_page: BrokerPage, jobs: JobStore) -> None:
    first, job = submit(jobs, "first"), submit(jobs, "second")
    broker_page.goto(f"#/jobs/{job.id}")
    page = broker_page.page
    page.get_by_label("Priority").select_option("high")
    page.get_by_text("second has the priority high").wait_for()
    assert [each.id for each in jobs.queued(2)] == [job.id, first.id]
    # It is taken meanwhile: the person is told, and the page shows what is.
    page.get_by_label("Priority").wait_for()
    broker_page.console.allow("409")
    page.route("**/gatebus/jobs/*", lambda route: route.abort() if route.request.method == "GET" else route.fallback())
    broker_page.console.allow("ERR_FAILED")
    sent(jobs, job)
    page.get_by_label("Priority").select_option("low")
    page.get_by_text("second keeps its priority").wait_for()
    page.unroute("**/gatebus/jobs/*")
    page.get_by_text("In a queue").wait_for()
    assert jobs.get(job.id).priority == 10


@pytest.mark.parametrize("variant", ["desktop"], indirect=True)
def test_keys_lead_through_the_jobs(broker_page: BrokerPage, jobs: JobStore) -> None:
    for title in ("one", "two", "three"):
        submit(jobs, title)
    broker_page.goto("#/gates")
    page = broker_page.page
    page.keyboard.press("g")
    page.keyboard.press("j")
    broker_page.until(lambda: titles(broker_page) == ["three", "two", "one"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent") == "two"
    # The list is read anew, and the focus stays.
    submit(jobs, "four")
    broker_page.until(lambda: rows(broker_page).count() == 4)
    assert page.evaluate("document.activeElement.textContent") == "two"
    broker_page.screenshot("jobs-focus")
    page.keyboard.press("c")
    page.get_by_text("Cancel two?").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="two").wait_for()
    page.keyboard.press("Escape")
    broker_page.until(lambda: rows(broker_page).count() == 4)
    page.keyboard.press("/")
    page.keyboard.type("cj")
    assert page.get_by_label("Submitter").input_value() == "cj"
    page.get_by_text("No job matches the filter").wait_for()


@pytest.mark.parametrize("variant", ["desktop"], indirect=True)
def test_a_thousand_jobs_come_page_by_page_and_stay_live_behind_the_first(
    broker_page: BrokerPage, jobs: JobStore
) -> None:
    given = [submit(jobs, f"job {number}") for number in range(1000)]
    broker_page.goto("#/jobs")
    broker_page.until(lambda: rows(broker_page).count() == 50)
    more = broker_page.page.get_by_role("button", name="Show more")
    for count in (100, 150):
        more.click()
        broker_page.until(lambda count=count: rows(broker_page).count() == count)  # type: ignore[misc]
    far = given[-120]
    row = rows(broker_page).filter(has_text=f"job {1000 - 120}")
    assert "Waiting" in row.inner_text()
    running = sent(jobs, far)
    jobs.progress(running, "running", 0.5)
    broker_page.until(lambda: "50 %" in row.inner_text())
    submit(jobs, "the newest")
    broker_page.until(lambda: titles(broker_page)[0] == "the newest")
    assert rows(broker_page).count() == 151
    assert len(set(titles(broker_page))) == 151
    # One that ends far behind appears among those that ended.
    broker_page.goto("#/jobs?state=done")
    broker_page.page.get_by_text("No job matches the filter").wait_for()
    jobs.finish(running, "done")
    broker_page.until(lambda: titles(broker_page) == ["job 880"])


@pytest.fixture
def comfyui(redis_server: RedisServer, tmp_path: Path) -> Iterator[Store]:
    settings = replace(Settings(), store_url=redis_server.url, instance="studio", tick=0.3, lease=30.0)
    store = open_store(settings, tmp_path / "comfyui", tmp_path / "comfyui-state")
    yield store
    store.close()


def announced(comfyui: Store) -> Instance:
    return comfyui.instances.announce(replace(IDLE, url="http://127.0.0.1:9"))


def test_an_instance_is_paused_drained_and_resumed_on_its_card_and_leads_to_its_jobs(
    broker_page: BrokerPage, comfyui: Store, jobs: JobStore
) -> None:
    shown = announced(comfyui)
    sent(jobs, submit(jobs, "elsewhere"), instance="6" * 32)
    sent(jobs, submit(jobs, "here"), instance=shown.id)
    broker_page.goto("#/instances")
    page = broker_page.page
    card = page.locator(".gc-instance")
    act(broker_page, card.get_by_role("button", name="Pause"))
    card.get_by_text("Paused by anna").wait_for()
    assert jobs.places()[shown.id].state == "paused"
    assert fits(broker_page)
    broker_page.screenshot("instances-paused")
    act(broker_page, card.get_by_role("button", name="Drain"))
    card.get_by_text("Draining, set by anna").wait_for()
    # Set elsewhere, seen here.
    jobs.set_place(shown.id, "paused", "bob")
    card.get_by_text("Paused by bob").wait_for()
    act(broker_page, card.get_by_role("button", name="Resume"))
    card.get_by_role("button", name="Pause").wait_for()
    assert jobs.places()[shown.id].state == ""
    act(broker_page, card.get_by_role("link", name="1 job of the farm"))
    broker_page.until(lambda: titles(broker_page) == ["here"])
    act(broker_page, page.get_by_role("link", name="at studio"))
    broker_page.until(lambda: len(titles(broker_page)) == 2)


@pytest.mark.parametrize("variant", ["desktop"], indirect=True)
def test_without_the_role_it_says_why_and_changes_nothing(
    broker_page: BrokerPage, comfyui: Store, jobs: JobStore
) -> None:
    shown = announced(comfyui)
    job = submit(jobs)
    tokens = tuple(Token(role, role, hashlib.sha256(role.encode()).hexdigest()) for role in ("view", "decide"))
    broker_page.broker.stop()
    broker_page.broker.start(tokens=tokens)
    page = broker_page.page
    broker_page.console.allow("401")
    broker_page.console.allow("403")
    page.goto(f"{broker_page.url}/#/instances", wait_until="domcontentloaded")
    page.get_by_label("Token").fill("decide")
    page.get_by_role("button", name="Log in").click()
    card = page.locator(".gc-instance")
    card.get_by_role("button", name="Pause").click()
    page.get_by_text("need a token with the role admin").wait_for()
    assert jobs.places().get(shown.id) is None
    page.evaluate("localStorage['gatebus.token'] = 'view'")
    broker_page.goto(f"#/jobs/{job.id}")
    broker_page.reload()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the job").click()
    page.get_by_text("portrait was not cancelled").wait_for()
    assert jobs.get(job.id).state == "queued"


@pytest.mark.parametrize("variant", ["desktop"], indirect=True)
def test_an_instance_that_only_the_settings_list_is_shown_and_paused_too(
    broker_page: BrokerPage, jobs: JobStore
) -> None:
    broker_page.broker.stop()
    broker_page.broker.start(comfyui_urls=("http://127.0.0.1:9/farm",))
    broker_page.goto("#/instances")
    card = broker_page.page.locator(".gc-instance")
    card.get_by_text("in the settings").wait_for()
    assert "127.0.0.1:9/farm" in card.inner_text()
    card.get_by_role("button", name="Pause").click()
    card.get_by_text("Paused by anna").wait_for()
    broker_page.screenshot("instances-listed")


@pytest.mark.parametrize("language", ["zh", "ja", "de"])
@pytest.mark.parametrize("variant", ["phone"], indirect=True)
def test_every_language_fits_a_phone(broker_page: BrokerPage, jobs: JobStore, language: str) -> None:
    job = sent(jobs, submit(jobs, "a title that is longer than a phone is wide " * 3, priority=7))
    broker_page.goto("#/jobs")
    broker_page.set(language=language)
    broker_page.reload()
    rows(broker_page).first.wait_for()
    assert fits(broker_page)
    broker_page.screenshot(f"jobs-{language}")
    broker_page.goto(f"#/jobs/{job.id}")
    broker_page.page.locator(".gj-reasons").wait_for()
    assert "jobs." not in broker_page.page.inner_text("body")
    assert fits(broker_page)
