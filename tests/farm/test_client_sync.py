"""The face of the client for scripts: the same names, the same errors, on a thread of its own."""

from __future__ import annotations

import asyncio
import inspect
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from comfy_server import ComfyServer

from broker.comfyui.client import ComfyClient
from broker.comfyui.connection import Limits
from broker.comfyui.errors import ComfyUnreachable, NoSuchPrompt, PromptInvalid
from broker.comfyui.sync import SyncComfyClient
from gates.errors import InvalidInput
from tests.farm.client_world import QUICK, SHORT, busy, png, saved, steps


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A stand-in on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> ComfyServer:
        server = ComfyServer(tmp_path / "server")
        await server.start()
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    yield server.url
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)
    loop.close()


def test_an_edit_in_ten_lines(url: str, tmp_path: Path) -> None:
    with SyncComfyClient(url) as comfy:
        upload = comfy.upload_image(png())
        graph = {
            "1": {"class_type": "LoadImage", "inputs": {"image": upload.reference}},
            "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "edit"}},
        }
        outcome = comfy.wait(comfy.submit(graph).prompt_id).check()
        path = comfy.download(outcome.files[0]).save(tmp_path / "out")
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_every_public_method_has_its_twin() -> None:
    def public(kind: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}

    assert public(SyncComfyClient) == public(ComfyClient)
    for name in public(ComfyClient) - {"close"}:
        assert getattr(SyncComfyClient, name).__doc__ == getattr(ComfyClient, name).__doc__


def test_progress_and_events_are_iterators_that_may_be_left(url: str) -> None:
    with SyncComfyClient(url, pace=QUICK, limits=SHORT) as comfy:
        submission = comfy.submit(steps(4))
        assert [progress.state for progress in comfy.progress(submission.prompt_id)][-1] == "done"
        assert "execution_success" in [event.type for event in comfy.events(submission.prompt_id)]
        submission = comfy.submit(busy())
        for progress in comfy.progress(submission.prompt_id):
            if progress.state == "running":
                break
        assert comfy.cancel(submission.prompt_id)
        assert comfy.wait(submission.prompt_id).state == "cancelled"


def test_errors_are_the_same(url: str) -> None:
    with SyncComfyClient(url) as comfy:
        with pytest.raises(PromptInvalid):
            comfy.submit({"1": saved()["1"]})
        with pytest.raises(NoSuchPrompt):
            comfy.outputs(str(uuid.uuid4()))
    with pytest.raises(InvalidInput):
        SyncComfyClient("ftp://x")
    away = Limits(connect=0.2, patience=0.1)
    with SyncComfyClient("http://127.0.0.1:9", limits=away) as comfy, pytest.raises(ComfyUnreachable):
        comfy.models()


def test_many_threads_may_use_one_client(url: str) -> None:
    with SyncComfyClient(url, pace=QUICK) as comfy, ThreadPoolExecutor(8) as threads:

        def one(seed: int) -> str:
            return comfy.wait(comfy.submit(saved(seed)).prompt_id).state

        assert list(threads.map(one, range(24))) == ["done"] * 24


def test_closing_ends_the_thread_and_twice_is_once(url: str) -> None:
    before = threading.active_count()
    comfy = SyncComfyClient(url)
    comfy.models()
    comfy.close()
    comfy.close()
    assert threading.active_count() <= before
