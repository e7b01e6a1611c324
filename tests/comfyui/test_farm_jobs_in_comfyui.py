"""Jobs on real ComfyUI processes: what is killed, frozen or forgets loses none, and what is told of them is true."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from broker.farm.carrier import AT_GATE
from broker.farm.choosing import UNSEEN
from tests.comfyui.conftest import PROBES
from tests.comfyui.graphs import gate_graph, node, noise
from tests.comfyui.jobs_farm import QUICK, JobsFarm, Truth
from tests.comfyui.process import ComfyUI, is_available
from tests.readme import section
from tests.service.processes import ROOT, Broker

STEPS = Path(__file__).parents[1] / "farm" / "probe_steps.py"
BATCH = 100


@pytest.fixture(scope="module")
def farm(shared_redis: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsFarm]:
    """``first`` announces itself and is listed besides; ``second`` is only listed, and alone has ProbeSteps."""
    if reason := is_available():
        pytest.skip(reason)
    redis = type(shared_redis)(tmp_path_factory.mktemp("jobs-redis"), appendonly=True)
    redis.start()
    announced = {"GATEBUS_INSTANCE": "first", "GATEBUS_STORE_URL": redis.url, **QUICK}
    comfyuis = {
        "first": ComfyUI(tmp_path_factory.mktemp("first"), announced, [PROBES]),
        "second": ComfyUI(tmp_path_factory.mktemp("second"), {}, [PROBES, STEPS]),
    }
    made = JobsFarm(redis, tmp_path_factory.mktemp("home"), comfyuis)
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(ComfyUI.start, comfyuis.values()))
        yield made
    finally:
        made.close()
        redis.stop()


@pytest.fixture
def broker(farm: JobsFarm) -> Iterator[Broker]:
    """A broker of this test's own, on an idle farm."""
    yield farm.broker("broker")
    farm.idle()
    farm.end("broker")


def listed(farm: JobsFarm) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """What ``gatebus jobs`` says."""
    told = json.loads(farm.gatebus("jobs", "--json", "--limit", "1000"))
    return told["jobs"], told["counts"]


def answered(broker: Broker) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """What a broker says."""
    status, told = broker.ask("/gatebus/jobs?limit=1000")
    assert status == 200
    return told["jobs"], told["counts"]


def busy(seconds: float, seed: int = 0, prefix: str = "job") -> dict[str, Any]:
    return {
        "1": noise(seed, 16, 16),
        "2": node("ProbeBusy", image=["1", 0], seconds=seconds),
        "3": node("SaveImage", images=["2", 0], filename_prefix=prefix),
    }


def test_a_batch_over_files_is_whole_although_a_comfyui_and_a_broker_are_killed(farm: JobsFarm, tmp_path: Path) -> None:
    prompt = {
        "1": node("LoadImage", image="photo.png"),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("ProbeBusy", image=["2", 0], seconds=0.15),
        "4": node("SaveImage", images=["3", 0], filename_prefix="batch"),
    }
    prompt["1"]["_meta"] = {"title": "photo"}
    file, photos, results = tmp_path / "prompt.json", tmp_path / "photos", tmp_path / "results"
    file.write_text(json.dumps(prompt))
    photos.mkdir()
    for number in range(BATCH):
        Image.new("RGB", (16, 16), (number, 2 * number, 7)).save(photos / f"{number:03}.png")
    brokers = [farm.broker("left"), farm.broker("right")]
    words = ["submit", str(file), "--each", f"photo={photos}", "--output", str(results), "--by", "ann"]
    looks = [lambda: answered(brokers[0]), lambda: listed(farm), lambda: answered(brokers[1])]
    turns = iter(range(10**6))
    with Truth(farm, lambda: looks[next(turns) // 2 % 3]()) as truth:
        leader, follower = pty.openpty()
        command = [sys.executable, "-m", "broker", *words]
        batch = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **farm.environ}, stdout=subprocess.PIPE, stderr=follower, text=True
        )
        os.close(follower)
        shown = _Screen(leader)
        bar = threading.Thread(target=shown, daemon=True)
        bar.start()
        farm.until(lambda: farm.jobs.counts()["ended"] >= BATCH // 3, "a third of the batch is done", 120)
        farm.comfyuis["first"].stop(signal.SIGKILL)
        killed_at = farm.jobs.counts()["ended"]
        farm.until(lambda: farm.jobs.counts()["ended"] >= 2 * BATCH // 3, "two thirds are done", 120)
        farm.end("right")
        told, _ = batch.communicate(timeout=300)
        bar.join(5)
    assert batch.returncode == 0, told
    farm.comfyuis["first"].start()
    farm.until(lambda: not farm.jobs.strays(), "copies are seen to")
    assert re.search(r"done .*100%", shown.text.replace("\r", "\n")), shown.text[-500:]
    jobs = [job for job in farm.jobs.page(1000)[0] if job.submitter == "ann"]
    assert [job.state for job in jobs] == ["done"] * BATCH
    assert {job.title for job in jobs} == {f"{number:03}.png" for number in range(BATCH)}
    assert [job.title for job in jobs if len(job.outputs) != 1] == []
    # Every result, once, and the right one.
    assert sorted(path.name[:4] for path in results.iterdir()) == [f"{number:03}-" for number in range(BATCH)]
    for path in results.iterdir():
        number = int(path.name[:3])
        with Image.open(path) as image:
            got = np.asarray(image.convert("RGB")).astype(int)
        assert np.abs(got - [255 - number, 255 - 2 * number, 248]).max() <= 1, path.name
    # What ran to its end twice is told by its job.
    ran = sum(len(list((each.base / "output").glob("batch_*.png"))) for each in farm.comfyuis.values())
    again = [job for job in jobs if job.attempt > 1]
    assert BATCH <= ran <= BATCH + sum(max(job.copies, len(job.attempts)) for job in jobs)
    print(
        f"killed after {killed_at}, {sum(job.fence > job.attempt for job in jobs)} taken over, {len(again)} sent again,"
        f" {ran} ran to their end; {truth.looks} looks, {truth.compared} jobs compared,"
        f" told {truth.lag:.1f} s after their end at most"
    )
    assert again
    assert truth.wrong == []
    assert truth.looks > 10
    farm.end("left")


class _Screen:
    """What a terminal shows."""

    def __init__(self, file: int) -> None:
        self.text = ""
        self._file = file

    def __call__(self) -> None:
        while True:
            try:
                data = os.read(self._file, 4096)
            except OSError:
                return
            if not data:
                return
            self.text += data.decode(errors="replace")


def submitted(broker: Broker, prompt: dict[str, Any], **more: Any) -> str:
    status, job = broker.ask("/gatebus/jobs", {"prompt": prompt, **more})
    assert status == 200, job
    return str(job["id"])


def set_places(farm: JobsFarm, broker: Broker, how: str, *names: str) -> None:
    """Pauses, drains or resumes ComfyUIs; all of them when none is named."""
    for name in names or farm.comfyuis:
        assert broker.ask(f"/gatebus/instances/{farm.id_of(name)}/{how}", {})[0] == 200


@pytest.fixture
def paced(farm: JobsFarm) -> Iterator[Broker]:
    """A broker that gives each ComfyUI one job at a time."""
    yield farm.broker("paced", GATEBUS_JOBS_PER_INSTANCE="1")
    farm.idle()
    farm.end("paced")


def test_each_comfyui_is_there_once_and_what_one_lacks_goes_to_the_other(farm: JobsFarm, broker: Broker) -> None:
    prompt = {**busy(0, prefix="steps"), "2": node("ProbeSteps", image=["1", 0], steps=3, seconds=0.05)}
    jobs = [farm.ended(submitted(broker, prompt)) for _ in range(2)]
    for job in jobs:
        assert (job.state, job.url) == ("done", farm.comfyuis["second"].url)
        told = {each.name: each.text for each in job.reasons}
        # The first announces itself and is in the settings, too.
        assert len(told) == 2
        assert told["first"] == "lacks the node ProbeSteps"
        assert "first: lacks the node ProbeSteps" in farm.gatebus("job", job.id)
    nowhere = submitted(broker, {**busy(0), "7": node("NoSuchNode", images=["1", 0])})
    farm.until(
        lambda: {each.text for each in farm.jobs.get(nowhere).reasons} == {"lacks the node NoSuchNode"},
        "it is told why nobody takes it",
    )
    farm.gatebus("cancel", nowhere)
    assert farm.jobs.get(nowhere).state == "cancelled"


def test_priorities_go_first_and_a_paused_farm_runs_nothing(farm: JobsFarm, paced: Broker) -> None:
    set_places(farm, paced, "pause")
    order = ["low", "normal", "high"]
    prompt = busy(0.2, prefix="turn")
    jobs = {word: submitted(paced, prompt, priority=rank) for word, rank in zip(order, (-10, 0, 10), strict=True)}
    farm.until(
        lambda: all({each.text for each in farm.jobs.get(job).reasons} == {"paused"} for job in jobs.values()),
        "they are told that all is paused",
    )
    assert {job["state"] for job in listed(farm)[0] if job["id"] in jobs.values()} == {"queued"}
    set_places(farm, paced, "resume", "first")
    started = {word: farm.ended(job) for word, job in jobs.items()}
    assert {job.instance_name for job in started.values()} == {"first"}
    assert sorted(order, key=lambda word: started[word].sent) == order[::-1]


def test_a_running_job_is_cancelled_and_a_waiting_one_never_runs(farm: JobsFarm, paced: Broker) -> None:
    prefix = f"cancel{time.time_ns()}"
    running = [submitted(paced, busy(60, seed, prefix)) for seed in range(2)]
    for job in running:
        farm.until(lambda job=job: farm.jobs.get(job).state == "running", "it runs")
    waiting = submitted(paced, busy(60, 7, prefix))
    assert f"{waiting} is cancelled" in farm.gatebus("cancel", waiting)
    assert "is told to stop it" in farm.gatebus("cancel", running[0])
    assert farm.ended(running[0], 15).state == "cancelled"
    # Nobody else's prompt is touched.
    assert farm.jobs.get(running[1]).state == "running"
    farm.gatebus("cancel", running[1])
    assert farm.ended(running[1], 15).state == "cancelled"
    assert farm.jobs.get(waiting).prompt_id == ""
    assert all(not each.running | each.pending for each in farm.seen().values() if each is not None)
    assert farm.written(prefix) == {}
    assert farm.ended(submitted(paced, busy(0, 8, prefix))).state == "done"


def test_a_drained_comfyui_ends_what_runs_and_gives_away_what_waits(farm: JobsFarm, broker: Broker) -> None:
    prefix = f"drain{time.time_ns()}"
    set_places(farm, broker, "pause", "second")
    runs = submitted(broker, busy(5, 1, f"{prefix}a"))
    farm.until(lambda: farm.jobs.get(runs).state == "running", "it runs")
    waits = submitted(broker, busy(0, 2, f"{prefix}b"))
    farm.until(lambda: farm.jobs.get(waits).state == "submitted", "it waits there")
    set_places(farm, broker, "drain", "first")
    set_places(farm, broker, "resume", "second")
    moved, kept = farm.ended(waits), farm.ended(runs)
    assert (moved.state, moved.url, moved.attempts[0].why) == (
        "done",
        farm.comfyuis["second"].url,
        "its instance is drained",
    )
    assert (kept.state, kept.instance_name, kept.attempt) == ("done", "first", 1)
    assert farm.written(prefix) == {f"{prefix}a": 1, f"{prefix}b": 1}


def test_a_frozen_comfyui_that_announced_itself_loses_its_job_to_the_other_and_its_copy_is_noticed(
    farm: JobsFarm, broker: Broker
) -> None:
    prefix = f"frozen{time.time_ns()}"
    set_places(farm, broker, "pause", "second")
    with Truth(farm, lambda: answered(broker)) as truth:
        job = submitted(broker, busy(3, 1, prefix))
        farm.until(lambda: farm.jobs.get(job).state == "running", "it runs")
        frozen = farm.comfyuis["first"].process
        assert frozen is not None
        frozen.send_signal(signal.SIGSTOP)
        set_places(farm, broker, "resume", "second")
        moved = farm.until(lambda: farm.jobs.get(job).has_ended and farm.jobs.get(job), "it runs elsewhere", 90)
        assert (moved.state, moved.url, moved.attempt) == ("done", farm.comfyuis["second"].url, 2)
        frozen.send_signal(signal.SIGCONT)
        farm.until(lambda: not farm.jobs.strays(), "its copy is seen to", 60)
    shown = farm.jobs.get(job)
    assert farm.written(prefix)[prefix] == 1 + shown.copies
    print(f"copies {shown.copies}, {truth.looks} looks")
    assert truth.wrong == []
    set_places(farm, broker, "pause", "second")
    farm.until(lambda: farm.jobs.places()[farm.id_of("second")].state == "paused", "it is paused")
    assert farm.ended(submitted(broker, busy(0, 2))).state == "done"


def test_a_frozen_comfyui_that_is_only_listed_keeps_its_job_and_ends_it_when_it_wakes(
    farm: JobsFarm, broker: Broker
) -> None:
    prefix = f"listed{time.time_ns()}"
    set_places(farm, broker, "pause", "first")
    job = submitted(broker, busy(4, 1, prefix))
    farm.until(lambda: farm.jobs.get(job).state == "running", "it runs")
    frozen = farm.comfyuis["second"].process
    assert frozen is not None
    frozen.send_signal(signal.SIGSTOP)
    set_places(farm, broker, "resume", "first")
    farm.until(lambda: farm.jobs.get(job).state == "unknown", "it is told that nobody knows", 60)
    time.sleep(2)
    assert (farm.jobs.get(job).state, farm.jobs.get(job).attempt) == ("unknown", 1)
    frozen.send_signal(signal.SIGCONT)
    done = farm.ended(job)
    assert (done.state, done.attempt, done.copies) == ("done", 1, 0)
    assert farm.written(prefix) == {prefix: 1}


def test_what_a_restarted_comfyui_forgot_is_given_to_it_again(farm: JobsFarm, broker: Broker) -> None:
    prefix = f"forgot{time.time_ns()}"
    set_places(farm, broker, "pause", "second")
    jobs = [submitted(broker, busy(2, seed, f"{prefix}{seed}")) for seed in range(3)]
    farm.until(lambda: farm.jobs.get(jobs[0]).state == "running", "one runs")
    farm.until(lambda: farm.jobs.get(jobs[1]).state == "submitted", "one waits there")
    with Truth(farm, lambda: answered(broker)) as truth:
        farm.comfyuis["first"].restart()
        ended = [farm.ended(job, 90) for job in jobs]
    assert [(job.state, job.instance_name) for job in ended] == [("done", "first")] * 3
    assert [job.attempt for job in ended] == [2, 2, 1]
    assert farm.written(prefix) == {f"{prefix}{seed}": 1 for seed in range(3)}
    assert truth.wrong == []


def test_a_job_whose_gate_waits_says_so_goes_where_it_is_seen_and_ends_with_the_decision(
    farm: JobsFarm, broker: Broker
) -> None:
    jobs = [submitted(broker, gate_graph(noise(seed, 16, 16))) for seed in range(2)]
    farm.until(lambda: farm.jobs.get(jobs[0]).note == AT_GATE, "one waits at its gate", 30)
    held = farm.until(lambda: farm.jobs.places().get(farm.id_of("first")), "the other one waits behind it")
    assert held.held == 2
    shown = farm.jobs.get(jobs[0])
    assert (shown.state, shown.instance_name, shown.gates) == ("running", "first", True)
    assert UNSEEN in {each.text for each in shown.reasons}
    # Who comes now goes elsewhere.
    other = farm.ended(submitted(broker, busy(0, 5)))
    assert (other.state, other.url) == ("done", farm.comfyuis["second"].url)
    # Another broker takes the jobs over while they wait.
    farm.end("broker")
    farm.broker("broker")
    for job in jobs:
        farm.until(lambda job=job: farm.jobs.get(job).fence == 2, "it is taken over")
    assert (farm.jobs.get(jobs[0]).state, farm.jobs.get(jobs[0]).note) == ("running", AT_GATE)
    for job in jobs:
        farm.until(lambda job=job: farm.jobs.get(job).state == "running", "it is its turn")

        def gates(job: str = job) -> list[dict[str, Any]]:
            prompt = farm.jobs.get(job).prompt_id
            return [gate for gate in json.loads(farm.gatebus("gates", "--json")) if gate["prompt_id"] == prompt]

        (gate,) = farm.until(gates, "it waits at its gate")
        farm.gatebus("route", gate["id"], "1")
        done = farm.ended(job)
        assert (done.state, done.attempt, done.note) == ("done", 1, "")
        assert [output.node for output in done.outputs] == ["3"]


def test_ten_lines_of_python_edit_an_image_on_the_farm(farm: JobsFarm, broker: Broker, tmp_path: Path) -> None:
    Image.new("RGB", (24, 16), (10, 20, 30)).save(tmp_path / "a.png")
    example = re.search(r"^```python\n(.*?)^```", section("## Jobs"), re.MULTILINE | re.DOTALL)
    assert example is not None
    program = example[1].replace("http://127.0.0.1:8787", broker.url)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "broker" / "client")])}
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    (made,) = (tmp_path / "results").iterdir()
    with Image.open(made) as image:
        assert image.size == (24, 16)
        assert image.convert("RGB").getpixel((0, 0)) == (245, 235, 225)
