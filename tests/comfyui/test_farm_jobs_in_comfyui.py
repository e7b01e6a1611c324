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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.comfyui.conftest import PROBES
from tests.comfyui.graphs import node, noise
from tests.comfyui.jobs_farm import QUICK, JobsFarm, Truth
from tests.comfyui.process import ComfyUI, is_available
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


def test_a_batch_over_files_is_whole_although_a_comfyui_is_killed_in_its_middle(farm: JobsFarm, tmp_path: Path) -> None:
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
        f"killed after {killed_at}; {len(again)} sent again, {ran} ran to their end; {truth.looks} looks,"
        f" {truth.compared} compared, told {truth.lag:.1f} s after their end at most"
    )
    assert again
    assert truth.wrong == []
    assert truth.looks > 10
    for name in ("left", "right"):
        farm.end(name)


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
