"""An image edited by a template on a farm of two stand-ins: over HTTP, over the store, by command, as in the README."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from click.testing import CliRunner
from comfy_server import ComfyServer
from farm_world import servers
from PIL import Image
from readme import ROOT, section
from redis_server import RedisServer, free_port

import gatebus
from broker.app import make_app
from broker.cli import cli
from broker.comfyui.edit import submit_edit
from broker.comfyui.errors import PromptCancelled, PromptFailed, PromptInvalid
from broker.comfyui.generation import GenerationResult
from broker.comfyui.images import as_png
from broker.comfyui.progress import Progress
from broker.comfyui.refusals import InvalidParameter, NoOutput
from broker.comfyui.workflows import Template
from broker.farm.edit import StoreFarm
from broker.jobs.opening import open_jobs
from broker.jobs.store import JobStore
from gates.errors import GatebusError
from gates.settings import Settings
from gates.store import Store, open_store

PIXELS = np.random.default_rng(7).integers(0, 256, (40, 56, 3), dtype=np.uint8)
PICTURE = as_png(PIXELS)


@dataclass
class World:
    """A broker that may be stopped and started on its port, its jobs, and two stand-ins."""

    store: Store
    state: Path
    jobs: JobStore
    servers: list[ComfyServer]
    port: int
    runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.runner = web.AppRunner(make_app(self.store, self.state, jobs=self.jobs))
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        assert self.runner is not None
        await self.runner.cleanup()

    async def job_in(self, state: str) -> str:
        """The id of the only live job, once it is in that state."""
        for _ in range(400):
            found, _ = await asyncio.to_thread(self.jobs.page, 1)
            if found and found[0].state == state:
                return found[0].id
            await asyncio.sleep(0.02)
        raise AssertionError(state)


@pytest.fixture
async def world(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[World]:
    async with servers(tmp_path, 2) as both:
        urls = tuple(server.url for server in both)
        settings = Settings(store_url=redis_server.url, comfyui_urls=urls, tick=0.3, lease=2)
        store = open_store(settings, tmp_path / "disk", tmp_path / "state")
        jobs = open_jobs(store, tmp_path / "state")
        made = World(store, tmp_path / "state", jobs, both, free_port())
        await made.start()
        yield made
        await made.stop()
        jobs.close()
        store.close()


def template_of(*nodes: tuple[str, dict[str, Any]], output: str = "3") -> Template:
    """LoadImage (1), then these."""
    prompt = {"1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}}}
    prompt |= {str(number): {"class_type": kind, "inputs": given} for number, (kind, given) in enumerate(nodes, 2)}
    return Template.from_json(
        {
            "name": "test",
            "version": 1,
            "parameters": {"image": {"node": "1", "input": "image", "type": "image"}},
            "outputs": {"image": {"node": output}},
            "prompt": prompt,
        }
    )


def busy(seconds: float) -> Template:
    saved = {"images": ["2", 0], "filename_prefix": "busy"}
    return template_of(("ProbeBusy", {"image": ["1", 0], "seconds": seconds}), ("SaveImage", saved))


@pytest.mark.redis
async def test_the_example_of_the_readme_edits_an_image_on_a_farm_of_two(world: World, tmp_path: Path) -> None:
    example = re.search(r"^```python\n(.*?)^```", section("## Jobs"), re.MULTILINE | re.DOTALL)
    assert example is not None
    lines = [line for line in example[1].splitlines() if line]
    assert len(lines) <= 10
    (tmp_path / "a.png").write_bytes(PICTURE)
    assert "http://127.0.0.1:8787" in example[1]
    program = example[1].replace("http://127.0.0.1:8787", world.url)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "broker" / "client")])}
    run: Callable[..., Any] = lambda: subprocess.run(  # noqa: E731
        [sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
    )
    answer = await asyncio.to_thread(run)
    assert answer.returncode == 0, answer.stderr
    *steps, last = answer.stdout.splitlines()
    assert steps[0].startswith("queued 0%")
    assert steps[-1].startswith("done 100%")
    made = re.fullmatch(r"(results/\S+) 56 40 by (http://\S+)", last)
    assert made is not None, last
    assert made[2] in [server.url for server in world.servers]
    with Image.open(tmp_path / made[1]) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), 255 - PIXELS)


@pytest.mark.redis
@pytest.mark.parametrize("over", ["http", "store"])
async def test_an_edit_tells_of_the_farm_what_it_tells_of_one_comfyui(world: World, tmp_path: Path, over: str) -> None:
    farm: Any = gatebus.Farm(world.url) if over == "http" else StoreFarm(world.jobs, "ann")
    source = tmp_path / "in.png"
    source.write_bytes(PICTURE)
    steps: list[Progress] = []
    completed: list[GenerationResult] = []
    failed: list[GenerationResult] = []
    result = await submit_edit(
        source,
        template="invert",
        client=farm,
        output_dir=tmp_path / "out",
        metadata={"job": 7},
        on_progress=steps.append,
        on_complete=completed.append,
        on_error=failed.append,
    )
    assert (completed, failed) == ([result], [])
    assert (steps[0].state, steps[-1].state, steps[-1].fraction) == ("queued", "done", 1.0)
    assert [step.fraction for step in steps] == sorted(step.fraction for step in steps)
    assert (result.state, result.template, result.metadata) == ("done", "invert", {"job": 7})
    assert result.instance in [server.url for server in world.servers]
    assert (result.inputs["image"].source, result.inputs["image"].width) == (str(source), 56)
    made = result.image
    assert (made.name, made.node, made.width, made.height) == ("image", "3", 56, 40)
    assert Path(made.path).read_bytes() == made.data
    assert np.array_equal(np.asarray(Image.open(BytesIO(made.data)).convert("RGB")), 255 - PIXELS)
    assert 0 < (result.timings.queued or 0) <= (result.timings.started or 0) <= (result.timings.ended or 0)
    assert GenerationResult.from_json(json.loads(json.dumps(result.to_json()))) == result
    job = world.jobs.get(result.id.replace("-", ""))
    assert (job.title, job.submitter) == ("invert", "" if over == "http" else "ann")


@pytest.mark.redis
async def test_what_goes_wrong_is_raised_as_by_one_comfyui_and_told_once(world: World) -> None:
    farm = gatebus.Farm(world.url)
    failing = template_of(("ProbeFail", {"image": ["1", 0]}), output="2")
    empty = {"width": -1, "height": 8, "batch_size": 1, "color": 0}
    wrong = template_of(("EmptyImage", empty), ("PreviewImage", {"images": ["2", 0]}))
    silent = template_of(
        ("SaveImage", {"images": ["1", 0], "filename_prefix": "x"}), ("ImageInvert", {"image": ["1", 0]})
    )
    for template, kind in ((failing, PromptFailed), (wrong, PromptInvalid), (silent, NoOutput)):
        told: list[GenerationResult] = []
        with pytest.raises(kind) as raised:
            await submit_edit(PICTURE, template=template, client=farm, on_error=told.append)
        assert [(each.state, each.errors[0]["type"]) for each in told] == [("failed", raised.value.type)]
        if isinstance(raised.value, PromptFailed):
            assert (raised.value.node_id, raised.value.class_type) == ("2", "ProbeFail")
            assert raised.value.exception_type
            assert raised.value.traceback
    exchanges = len(world.jobs.page(100)[0])
    with pytest.raises(InvalidParameter):
        await submit_edit(PICTURE, "a cat", template="invert", client=farm)
    assert len(world.jobs.page(100)[0]) == exchanges


@pytest.mark.redis
async def test_who_gives_up_takes_his_job_with_him_and_who_is_cancelled_is_told(world: World) -> None:
    farm = gatebus.Farm(world.url)
    editing = asyncio.create_task(submit_edit(PICTURE, template=busy(60), client=farm))
    job_id = await world.job_in("running")
    editing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await editing
    assert (await asyncio.to_thread(farm.wait, job_id, 20)).state == "cancelled"
    told: list[GenerationResult] = []
    editing = asyncio.create_task(submit_edit(PICTURE, template=busy(60), client=farm, on_error=told.append))
    job_id = await world.job_in("running")
    await asyncio.to_thread(farm.cancel, job_id, by="bob")
    with pytest.raises(PromptCancelled):
        await editing
    assert [each.state for each in told] == ["cancelled"]

    def stop(step: Progress) -> None:
        if step.state == "running":
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        await asyncio.to_thread(farm.edit, PICTURE, template=busy(60), on_progress=stop)
    jobs = await asyncio.to_thread(farm.jobs)
    assert [(await asyncio.to_thread(farm.wait, job, 20)).state for job in jobs] == ["cancelled"] * 3


@pytest.mark.redis
async def test_an_edit_goes_on_over_an_outage_of_the_broker(world: World) -> None:
    farm = gatebus.Farm(world.url, patience=0.5)
    editing = asyncio.create_task(asyncio.to_thread(farm.edit, PICTURE, template=busy(2.0)))
    await world.job_in("running")
    await world.stop()
    await asyncio.sleep(2.5)
    assert not editing.done()
    await world.start()
    result = await asyncio.wait_for(editing, 30)
    assert (result.state, result.image.width) == ("done", 56)
    await world.stop()
    with pytest.raises(gatebus.Unreachable) as raised:
        await asyncio.to_thread(farm.edit, PICTURE, template="invert")
    assert isinstance(raised.value, GatebusError)
    await world.start()


@pytest.mark.redis
async def test_prompts_are_handed_in_from_python(world: World) -> None:
    await asyncio.to_thread(hand_in, world)


def hand_in(world: World) -> None:
    farm = gatebus.Farm(world.url)
    prompt = dict(template_of(("SaveImage", {"images": ["1", 0], "filename_prefix": "x"}), output="2").prompt)
    for place in ("1", "1.image"):
        job = farm.submit(prompt, {place: Image.fromarray(PIXELS)}, title="cat", submitter="ann", priority=5)
        assert farm.submit(prompt, {place: PICTURE}, job_id=job.id).id == job.id
        done = farm.wait(job, 20)
        assert (done.state, done.title, done.submitter, done.priority) == ("done", "cat", "ann", 5)
        assert np.array_equal(np.asarray(Image.open(BytesIO(farm.output(done))).convert("RGB")), PIXELS)
        assert done == world.jobs.get(job.id)
    assert [job.submitter for job in farm.jobs("done", "ann")] == ["ann"] * 2
    assert farm.jobs("live") == []
    with pytest.raises(gatebus.JobEnded):
        farm.cancel(job)
    with pytest.raises(gatebus.JobNotFound):
        farm.job("0" * 32)
    with pytest.raises(gatebus.InvalidInput, match="no place"):
        farm.submit(prompt, {"9.image": PICTURE})
    with pytest.raises(gatebus.InvalidImage):
        farm.submit(prompt, {"1": b"no image"})


@pytest.mark.redis
async def test_the_command_edits_on_the_farm(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GATEBUS_STORE_URL", world.store.settings.store_url)
    source, out = tmp_path / "in.png", tmp_path / "out"
    source.write_bytes(PICTURE)
    words = ["edit", str(source), "--template", "invert", "--farm"]
    result = await asyncio.to_thread(CliRunner().invoke, cli, [*words, "--output", str(out), "--json"])
    assert result.exit_code == 0, result.output
    told = GenerationResult.from_json(json.loads(result.output))
    assert told.state == "done"
    assert Path(told.image.path).parent == out
    assert world.jobs.get(told.id.replace("-", "")).state == "done"
    refused = await asyncio.to_thread(CliRunner().invoke, cli, [*words, "--url", "http://127.0.0.1:1"])
    assert refused.exit_code == 2
