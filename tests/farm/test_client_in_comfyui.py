"""The client and a real ComfyUI (``COMFYUI_DIR``): prompts, files, restarts, streams that break."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.comfyui.client import ComfyClient
from broker.comfyui.errors import PromptFailed, PromptInvalid, PromptLost
from broker.comfyui.following import Pace
from tests.comfyui.process import ComfyUI, is_available
from tests.farm.client_world import busy, node, png, saved, steps

PROBES = [Path(__file__).parent.with_name("comfyui") / "probes.py", Path(__file__).with_name("probe_steps.py")]
PACE = Pace(connected=1.0, alone=0.2, grace=1.0)

pytestmark = [pytest.mark.comfyui, pytest.mark.timeout(600)]


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUI]:
    if reason := is_available():
        pytest.skip(reason)
    comfyui = ComfyUI(tmp_path_factory.mktemp("client"), nodes=PROBES)
    comfyui.start()
    yield comfyui
    comfyui.stop()


async def test_an_edit_from_the_upload_to_the_file(comfyui: ComfyUI, tmp_path: Path) -> None:
    async with ComfyClient(comfyui.url, pace=PACE) as client:
        assert (await client.system_stats()).comfyui_version
        upload = await client.upload_image(png(colour=(10, 20, 30)))
        masked = await client.upload_mask(png(mode="L", colour=255), upload)
        assert await client.upload_mask(png(mode="L", colour=255), upload) == masked
        graph = {
            "1": node("LoadImage", image=masked.reference),
            "2": node("ImageInvert", image=["1", 0]),
            "3": node("SaveImage", images=["2", 0], filename_prefix=f"edit/{uuid.uuid4().hex}"),
            "4": node("ProbeMask", mask=["1", 1]),
            "5": node("PreviewAny", source="hello"),
        }
        submission = await client.submit(graph)
        told = [progress async for progress in client.progress(submission.prompt_id)]
        assert (told[-1].state, told[-1].fraction) == ("done", 1.0)
        outcome = await client.wait(submission.prompt_id)
        assert [text.text for text in outcome.texts] == ["hello"]
        path = (await client.download(outcome.files[0])).save(tmp_path)
        from PIL import Image

        with Image.open(path) as image:
            assert image.convert("RGB").getpixel((0, 0)) == (245, 235, 225)


async def test_it_ends_as_it_ends(comfyui: ComfyUI) -> None:
    async with ComfyClient(comfyui.url, pace=PACE) as client:
        with pytest.raises(PromptInvalid, match="width"):
            graph = saved()
            graph["1"]["inputs"]["width"] = -1
            await client.submit(graph)
        submission = await client.submit(saved(**{"7": node("PreviewImage")}))
        assert submission.dropped_outputs == ("7",)
        assert (await client.wait(submission.prompt_id)).state == "done"
        failed = await client.wait((await client.submit(saved(**{"3": node("ProbeFail", image=["1", 0])}))).prompt_id)
        assert isinstance(failed.error, PromptFailed)
        assert failed.error.node_id == "3"
        runs, waits = [(await client.submit(busy())).prompt_id for _ in range(2)]
        assert (await client.find(waits)).ahead >= 1
        for prompt_id in (waits, runs):
            assert await client.cancel(prompt_id)
            begun = time.monotonic()
            assert (await client.wait(prompt_id)).state == "cancelled"
            assert time.monotonic() - begun < 20


async def test_steps_and_pictures_come_over_the_stream(comfyui: ComfyUI) -> None:
    async with ComfyClient(comfyui.url, pace=PACE) as client:
        submission = await client.submit(steps(5, 0.1))
        told = [progress async for progress in client.progress(submission.prompt_id)]
        assert {progress.max for progress in told if progress.value} == {5.0}
        assert any(progress.preview.startswith(b"\xff\xd8") for progress in told)


async def test_fifty_prompts_over_streams_that_break_none_lost_none_doubled(comfyui: ComfyUI) -> None:
    async with ComfyClient(comfyui.url, pace=PACE) as client:
        submitted = [(await client.submit(steps(2, 0.02, seed=seed))).prompt_id for seed in range(50)]

        async def cut() -> None:
            while True:
                await asyncio.sleep(0.3)
                socket = client._stream._socket
                if socket is not None and socket._response.connection is not None:
                    transport = socket._response.connection.transport
                    if transport is not None:
                        transport.abort()

        cutter = asyncio.create_task(cut())
        ended = await asyncio.gather(*(client.wait(prompt_id) for prompt_id in submitted))
        cutter.cancel()
        assert Counter(outcome.state for outcome in ended) == {"done": 50}
        assert client._stream.breaks > 1
        ran = Counter(outcome.prompt_id for outcome in await client.history(200))
        assert all(ran[prompt_id] == 1 for prompt_id in submitted)


async def test_what_a_killed_comfyui_forgot_is_lost_and_runs_when_it_is_sent_again(comfyui: ComfyUI) -> None:
    async with ComfyClient(comfyui.url, pace=PACE) as client:
        submission = await client.submit(busy())
        waiting = asyncio.create_task(client.wait(submission.prompt_id))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(comfyui.restart)
        outcome = await waiting
        assert isinstance(outcome.error, PromptLost)
        assert outcome.error.restarted is True
        assert (await client.wait((await client.submit(saved())).prompt_id)).state == "done"
