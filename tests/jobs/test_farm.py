"""Jobs on a farm of two stand-ins: where they go, what they take along and bring, how they end."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import comfy_nodes
import pytest
from farm_world import Farm, at, graph, png
from PIL import Image

from broker.farm.needs import result_digest
from broker.farm.roster import listed_id
from broker.jobs.record import Input


async def test_a_job_runs_and_its_results_are_in_the_store(farm: Farm) -> None:
    farm.broker()
    job = farm.submit(graph(0.2))
    done = await farm.ended(job)
    assert (done.state, done.attempt, done.error) == ("done", 1, None)
    (output,) = done.outputs
    data = farm.jobs.blob(output.digest)
    assert hashlib.sha256(data).hexdigest() == output.digest
    assert Image.open(BytesIO(data)).size == (8, 8)
    assert sorted(reason.chosen for reason in done.reasons) == [False, True]
    assert all(reason.text for reason in done.reasons)
    assert 0 < done.submitted <= done.claimed <= done.sent <= done.started <= done.ended


async def test_jobs_spread_over_the_instances(farm: Farm) -> None:
    farm.broker(limit=1)
    jobs = [farm.submit(graph(0.3)) for _ in range(6)]
    for job in jobs:
        assert (await farm.ended(job)).state == "done"
    assert sorted(len(server.prompts.executed) for server in farm.servers) == [3, 3]


async def test_inputs_are_uploaded_once_to_each_instance(farm: Farm) -> None:
    farm.broker()
    digest = farm.jobs.put_blob(png(200))
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    jobs = [farm.submit(prompt, (Input("1", "image", digest),)) for _ in range(6)]
    for job in jobs:
        done = await farm.ended(job)
        assert done.state == "done", done
        assert Image.open(BytesIO(farm.jobs.blob(done.outputs[0].digest))).getpixel((0, 0))[0] == 200
    assert all(server.faults.count("POST", "/upload/image") <= 1 for server in farm.servers)


async def test_an_input_that_is_gone_fails_the_job_with_the_reason(farm: Farm) -> None:
    farm.broker()
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    failed = await farm.ended(farm.submit(prompt, (Input("1", "image", "0" * 64),)))
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error.type == "input"


async def test_what_fails_names_node_and_reason(farm: Farm) -> None:
    farm.broker()
    failed = await farm.ended(farm.submit(graph(kind="ProbeFail")))
    assert failed.error is not None
    assert (failed.state, failed.error.type, failed.error.node) == ("failed", "execution", "2")
    assert failed.error.traceback
    wrong = graph()
    wrong["1"]["inputs"]["batch"] = -5
    failed = await farm.ended(farm.submit(wrong))
    assert failed.error is not None
    assert (failed.state, failed.error.type, failed.error.node) == ("failed", "validation", "1")
    assert farm.jobs.places() == {}


async def test_a_job_that_no_instance_can_run_waits_and_tells_why(farm: Farm) -> None:
    farm.broker()
    prompt = graph()
    prompt["9"] = {"class_type": "NoSuchNode", "inputs": {"x": ["1", 0]}}
    job = farm.submit(prompt)
    await farm.until(lambda: [each.text for each in farm.jobs.get(job.id).reasons] == ["lacks the node NoSuchNode"] * 2)
    other = farm.submit(graph())
    assert (await farm.ended(other)).state == "done"
    assert farm.state(job) == "queued"


async def test_too_little_memory_leads_to_another_instance(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    async def small(run: Any, image: Any, seconds: float) -> Any:
        tried.append(run.server)
        if len(tried) == 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return (image,), None

    node = comfy_nodes.NODES["ProbeBusy"]
    monkeypatch.setitem(comfy_nodes.NODES, "ProbeBusy", type(node)(**{**vars(node), "run": small}))
    farm.broker()
    done = await farm.ended(farm.submit(graph()))
    assert (done.state, done.attempt) == ("done", 2)
    assert "out of memory" in done.attempts[0].why
    assert tried[0] is not tried[1]
    assert tried[0].freed


async def test_a_running_job_is_cancelled_and_a_queued_one_never_sent(farm: Farm) -> None:
    farm.broker(limit=1)
    running = [farm.submit(graph(60)), farm.submit(graph(60))]
    await farm.until(lambda: [farm.state(job) for job in running] == ["running"] * 2)
    waiting = farm.submit(graph(60))
    farm.jobs.cancel(waiting.id)
    for job in running:
        farm.jobs.cancel(job.id, "bob")
    for job in running:
        assert (await farm.ended(job, 5)).state == "cancelled"
    assert farm.jobs.get(waiting.id).prompt_id == ""
    assert [server.prompts.executed for server in farm.servers] == [[], []]
    assert (await farm.ended(farm.submit(graph()))).state == "done"


async def test_a_paused_instance_gets_nothing_and_a_drained_one_gives_back_what_waits(farm: Farm) -> None:
    ids = [listed_id(server.url) for server in farm.servers]
    farm.jobs.set_place(ids[1], "paused", "ann")
    farm.broker(limit=2)
    first = farm.submit(graph(3.0))
    await farm.until(lambda: farm.state(first) == "running")
    second = farm.submit(graph())
    await farm.until(lambda: farm.state(second) == "submitted")
    assert at(farm, second) == 0
    farm.jobs.set_place(ids[0], "draining")
    farm.jobs.set_place(ids[1], "")
    moved = await farm.ended(second)
    assert (moved.state, moved.url) == ("done", farm.servers[1].url)
    assert moved.attempts[0].why == "its instance is drained"
    kept = await farm.ended(first)
    assert (kept.state, kept.url, kept.attempt) == ("done", farm.servers[0].url, 1)


async def test_identical_jobs_are_answered_from_the_first_when_they_ask_for_it(farm: Farm) -> None:
    farm.broker()
    key = result_digest(graph(seed=5), ())
    first = await farm.ended(farm.submit(graph(seed=5), cache=key))
    second = farm.submit(graph(seed=5), cache=key)
    assert (second.state, second.cached_from) == ("done", first.id)
    assert farm.jobs.blob(second.outputs[0].digest)
    assert sum(len(server.prompts.executed) for server in farm.servers) == 1


async def test_outputs_go_to_a_folder_when_the_job_asks_for_one(farm: Farm, tmp_path: Path) -> None:
    farm.broker(folder=tmp_path / "out")
    done = await farm.ended(farm.submit(graph(), folder="batch1"))
    path = Path(done.outputs[0].path)
    assert path.parent == tmp_path / "out" / "batch1"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == done.outputs[0].digest
