"""The client of a ComfyUI: prompts handed in, followed to their end, cancelled."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from comfy_server import ComfyServer

from broker.comfyui.client import ComfyClient
from broker.comfyui.errors import (
    ComfySilent,
    ComfyUnexpected,
    NoSuchFile,
    NoSuchPrompt,
    OutOfMemory,
    PromptCancelled,
    PromptFailed,
    PromptInvalid,
    PromptLost,
    PromptNotEnded,
)
from broker.comfyui.outcome import Outcome
from broker.comfyui.outputs import OutputFile, OutputText, find_outputs
from broker.comfyui.progress import Progress
from gates.errors import InvalidInput
from tests.farm.client_world import busy, client_of, node, saved, steps, until


@pytest.fixture(params=[False, True], ids=["without jobs", "with jobs"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ComfyServer]:
    async with ComfyServer(tmp_path, jobs=request.param).serving() as server:
        yield server


@pytest.fixture
async def client(server: ComfyServer) -> AsyncIterator[ComfyClient]:
    async with client_of(server) as client:
        yield client


# -- handing in ---------------------------------------------------------------------------
async def test_the_id_is_kept_before_anything_is_sent_and_the_stream_is_open_by_then(
    server: ComfyServer, client: ComfyClient
) -> None:
    seen: list[Any] = []

    async def keep(prompt_id: str) -> None:
        seen.append((prompt_id, server.faults.count("GET", "/ws"), server.faults.count("POST", "/prompt")))

    submission = await client.submit(saved(), before=keep)
    assert seen == [(submission.prompt_id, 1, 0)]
    assert str(uuid.UUID(submission.prompt_id)) == submission.prompt_id
    own = str(uuid.uuid4())
    assert (await client.submit(saved(), prompt_id=own, before=seen.append)).prompt_id == own
    assert seen[-1] == own


async def test_nothing_is_sent_when_the_id_cannot_be_kept(server: ComfyServer, client: ComfyClient) -> None:
    async def keep(prompt_id: str) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await client.submit(saved(), before=keep)
    assert server.faults.count("POST", "/prompt") == 0


@pytest.mark.parametrize(
    "graph",
    [{}, [], "x", {"nodes": [], "links": []}, {"1": "x"}, {1: node("A")}, {"1": node("A", x=float("nan"))}],
)
async def test_what_is_no_prompt_is_refused_here(server: ComfyServer, client: ComfyClient, graph: Any) -> None:
    with pytest.raises(InvalidInput):
        await client.submit(graph)
    assert server.faults.count("POST", "/prompt") == 0


@pytest.mark.parametrize("prompt_id", ["", "x", "A" * 32, "7114ADA9-A204-4EE8-9251-34806EED53A3", "../queue"])
async def test_an_id_that_is_no_uuid_is_refused_everywhere(client: ComfyClient, prompt_id: str) -> None:
    with pytest.raises(InvalidInput):
        await client.submit(saved(), prompt_id=prompt_id)
    for call in (client.find, client.cancel, client.interrupt, client.wait, client.outputs):
        with pytest.raises(InvalidInput):
            await call(prompt_id)


async def test_validation_errors_name_node_input_and_reason(client: ComfyClient) -> None:
    graph = saved()
    graph["1"]["inputs"] |= {"width": -1, "height": "a"}
    with pytest.raises(PromptInvalid) as caught:
        await client.submit(graph)
    problems = [(p.node_id, p.class_type, p.input, p.kind, p.received) for p in caught.value.problems]
    assert problems == [
        ("1", "EmptyImage", "width", "value_smaller_than_min", -1),
        ("1", "EmptyImage", "height", "invalid_input_type", "a"),
    ]
    assert "node 1 (EmptyImage), input width: Value -1 smaller than min of 1" in str(caught.value)
    assert caught.value.status == 422
    assert caught.value.details["problems"][0]["input"] == "width"


async def test_a_prompt_that_is_refused_as_a_whole_says_why(client: ComfyClient) -> None:
    with pytest.raises(PromptInvalid, match="node NoSuchNode does not exist") as caught:
        await client.submit({"1": node("NoSuchNode")})
    assert caught.value.kind == "invalid_prompt"
    assert len(caught.value.problems) == 1


async def test_outputs_that_comfyui_drops_are_told_at_submission_and_in_the_outcome(client: ComfyClient) -> None:
    submission = await client.submit(saved(**{"7": node("PreviewImage")}))
    assert submission.dropped_outputs == ("7",)
    (problem,) = submission.dropped
    assert (problem.node_id, problem.input, problem.kind) == ("7", "images", "required_input_missing")
    outcome = await client.wait(submission.prompt_id)
    assert (outcome.state, outcome.dropped) == ("done", submission.dropped)


async def test_front_and_targets_are_handed_on(server: ComfyServer, client: ComfyClient) -> None:
    first = await client.submit(busy())
    later = await client.submit(saved())
    more = {"4": node("PreviewAny", source="4")}
    front = await client.submit(saved(**more), front=True, targets=["4"], extra_data={"extra_pnginfo": {"a": 1}})
    assert (await client.queue()).pending == (front.prompt_id, later.prompt_id)
    assert server.prompts.queue[0][3]["extra_pnginfo"] == {"a": 1}
    assert (await client.find(later.prompt_id)).ahead == 2
    await client.cancel(first.prompt_id)
    assert [output.node_id for output in (await client.wait(front.prompt_id)).outputs] == ["4"]


async def test_a_core_that_chooses_ids_itself_is_refused_and_its_prompt_taken_back(
    server: ComfyServer, client: ComfyClient
) -> None:
    running = await client.submit(busy())
    server.prompts.own_ids = True
    with pytest.raises(ComfyUnexpected, match=r"0\.3\.60"):
        await client.submit(saved())
    assert server.prompts.queue == []
    await client.cancel(running.prompt_id)


# -- how it ends --------------------------------------------------------------------------
async def test_done_with_files_and_texts(client: ComfyClient) -> None:
    submission = await client.submit(saved(**{"4": node("PreviewAny", source="hello")}))
    outcome = (await client.wait(submission.prompt_id)).check()
    (file,), (text,) = outcome.files, outcome.texts
    assert (file.node_id, file.key, file.subfolder, file.folder) == ("2", "images", "test", "output")
    assert text == OutputText("4", "text", "hello")
    assert outcome.seconds is not None
    assert set(await client.outputs(submission.prompt_id)) == {file, text}
    again = await client.wait((await client.submit(saved(**{"4": node("PreviewAny", source="hello")}))).prompt_id)
    assert (set(again.cached), set(again.outputs)) == ({"1", "2", "4"}, {file, text})


async def test_failed_with_node_class_message_and_traceback(client: ComfyClient) -> None:
    submission = await client.submit(saved(**{"3": node("ProbeFail", image=["1", 0])}))
    outcome = await client.wait(submission.prompt_id)
    assert outcome.state == "failed"
    error = outcome.error
    assert type(error) is PromptFailed
    assert (error.node_id, error.class_type, error.exception_type) == ("3", "ProbeFail", "ValueError")
    assert error.exception_message == "probe\n"
    assert 'raise ValueError("probe")' in error.traceback[-1]
    assert [file.node_id for file in outcome.files] == ["2"]
    with pytest.raises(PromptFailed, match=r"Node 3 \(ProbeFail\) failed: ValueError: probe"):
        outcome.check()


async def test_cancelled_while_it_runs_and_while_it_waits_and_no_other(
    server: ComfyServer, client: ComfyClient
) -> None:
    runs, waits, stays = [(await client.submit(busy())).prompt_id for _ in range(3)]
    assert await client.cancel(waits)
    outcome = await client.wait(waits)
    assert (outcome.state, type(outcome.error)) == ("cancelled", PromptCancelled)
    assert await client.cancel(runs)
    outcome = await client.wait(runs)
    assert (outcome.state, type(outcome.error)) == ("cancelled", PromptCancelled)
    await until(lambda: server.prompts.running, "the next one runs")
    assert (await client.find(stays)).state == "running"
    for over in (runs, waits, str(uuid.uuid4())):
        assert not await client.cancel(over)
        assert not await client.interrupt(over)
    assert (await client.find(stays)).state == "running"
    assert await client.interrupt(stays)
    assert (await client.wait(stays)).state == "cancelled"


async def test_who_waits_already_hears_of_a_cancel_at_once(server: ComfyServer, client: ComfyClient) -> None:
    first, second = [(await client.submit(busy())).prompt_id for _ in range(2)]
    waiting = asyncio.create_task(client.wait(second))
    await asyncio.sleep(0.1)
    await client.cancel(second)
    assert (await asyncio.wait_for(waiting, 5)).state == "cancelled"
    await client.cancel(first)


async def test_no_interrupt_is_ever_sent_for_all(server: ComfyServer, client: ComfyClient) -> None:
    one, two = [(await client.submit(busy())).prompt_id for _ in range(2)]
    await until(lambda: server.prompts.running, "it runs")
    await client.interrupt(two)
    assert server.faults.count("POST", "/interrupt") == 0
    await client.cancel(one)
    await client.wait(one)
    await client.cancel(two)


async def test_lost_after_two_looks_when_the_server_forgot(server: ComfyServer, client: ComfyClient) -> None:
    submission = await client.submit(busy())
    waiting = asyncio.create_task(client.wait(submission.prompt_id))
    await until(lambda: server.prompts.running, "it runs")
    await server.restart()
    outcome = await waiting
    assert outcome.state == "lost"
    assert isinstance(outcome.error, PromptLost)
    assert outcome.error.restarted is True
    with pytest.raises(NoSuchPrompt):
        await client.outputs(submission.prompt_id)


async def test_lost_without_a_restart_says_that_somebody_removed_it(server: ComfyServer, client: ComfyClient) -> None:
    first, second = [(await client.submit(busy())).prompt_id for _ in range(2)]
    async with client_of(server) as other:
        await other.cancel(second)
    outcome = await client.wait(second)
    assert isinstance(outcome.error, PromptLost)
    assert outcome.error.restarted is False
    async with client_of(server) as other:
        outcome = await other.wait(str(uuid.uuid4()))
        assert isinstance(outcome.error, PromptLost)
        assert outcome.error.restarted is None
    await client.cancel(first)


async def test_any_client_may_wait_for_any_prompt(server: ComfyServer, client: ComfyClient) -> None:
    submission = await client.submit(steps(20, 0.02))
    async with client_of(server) as other:
        assert (await other.wait(submission.prompt_id)).state == "done"
        assert (await other.wait(submission.prompt_id)).state == "done"


async def test_an_old_failure_does_not_make_a_later_prompt_failed() -> None:
    """The executor of old cores keeps ``success`` of the prompt before when every node comes from the cache."""
    messages = [["execution_start", {"timestamp": 1000}], ["execution_success", {"timestamp": 3000}]]
    outcome = Outcome.of_history("p", {"status": {"status_str": "error", "messages": messages}, "outputs": {}})
    assert (outcome.state, outcome.seconds) == ("done", 2.0)


@pytest.mark.parametrize("status", [None, {}, {"messages": None}, {"messages": [1, [2], ["x", 3]]}])
async def test_a_history_of_an_unknown_shape_is_read_as_far_as_it_goes(status: Any) -> None:
    assert Outcome.of_history("p", {"status": status, "outputs": None}).state == "done"
    assert Outcome.of_history("p", {"status": {"status_str": "error"}}).state == "failed"


async def test_out_of_memory_is_a_failure_of_its_own() -> None:
    said = {"exception_type": "torch.OutOfMemoryError", "exception_message": "Allocation on device", "node_id": "3"}
    outcome = Outcome.of_history("p", {"status": {"status_str": "error", "messages": [["execution_error", said]]}})
    assert type(outcome.error) is OutOfMemory


async def test_outputs_are_found_by_shape_each_once() -> None:
    file = {"filename": "a.mp4", "subfolder": "v", "type": "output", "format": "video/h264-mp4"}
    found = find_outputs(
        {
            "1": {"gifs": [file, file], "animated": [True], "text": ["x"], "n": [[1, 2]], "3d": [None]},
            "2": {"anything": [{"filename": "b.glb"}, {"filename": 3}, {"name": "c"}], "image": {"filename": "d.png"}},
            "3": None,
        }
    )
    assert found == (
        OutputFile("1", "gifs", "a.mp4", "v", "output"),
        OutputText("1", "text", "x"),
        OutputFile("2", "anything", "b.glb", "", "output"),
    )


# -- on the way ---------------------------------------------------------------------------
async def test_progress_goes_from_the_queue_through_the_nodes_to_the_end(
    server: ComfyServer, client: ComfyClient
) -> None:
    first = await client.submit(busy())
    submission = await client.submit(steps(5))
    told: list[Progress] = []
    async for progress in client.progress(submission.prompt_id):
        told.append(progress)
        if progress.state == "queued":
            assert (progress.ahead, progress.fraction) == (1, 0.0)
            await client.cancel(first.prompt_id)
    assert told[0].state == "queued"
    assert [p.fraction for p in told] == sorted(p.fraction for p in told)
    assert (told[-1].state, told[-1].fraction) == ("done", 1.0)
    inside = [p for p in told if p.class_type == "ProbeSteps" and p.value]
    assert {p.max for p in inside} == {5.0}
    assert all(p.nodes == 3 and p.node_id == "2" for p in inside)
    assert any(p.preview.startswith(b"\xff\xd8") for p in told)


async def test_progress_of_a_failed_prompt_never_says_that_it_is_whole(client: ComfyClient) -> None:
    submission = await client.submit(saved(**{"3": node("ProbeFail", image=["1", 0])}))
    last = [progress async for progress in client.progress(submission.prompt_id)][-1]
    assert last.state == "failed"
    assert last.fraction < 1


async def test_events_are_told_also_to_who_asks_late(client: ComfyClient) -> None:
    submission = await client.submit(steps(3))
    await client.wait(submission.prompt_id)
    told = [event.type async for event in client.events(submission.prompt_id)]
    assert told[:2] == ["execution_start", "execution_cached"]
    assert {"executing", "executed", "progress_state", "preview", "progress", "execution_success"} <= set(told)
    assert told.count("preview") == 1


async def test_on_progress_is_called_and_what_it_raises_comes_out(client: ComfyClient) -> None:
    told: list[str] = []
    submission = await client.submit(saved())
    await client.wait(submission.prompt_id, on_progress=lambda progress: told.append(progress.state))
    assert told[-1] == "done"

    def fail(progress: Progress) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        await client.wait(submission.prompt_id, on_progress=fail)


async def test_silence_is_counted_from_the_last_sign_and_not_in_all(client: ComfyClient) -> None:
    slow = await client.submit(steps(12, 0.1))
    assert (await client.wait(slow.prompt_id, silence=0.6)).state == "done"


async def test_a_prompt_that_says_nothing_is_silent_and_not_cancelled(client: ComfyClient) -> None:
    submission = await client.submit(busy())
    with pytest.raises(ComfySilent):
        await client.wait(submission.prompt_id, silence=0.4)
    assert (await client.find(submission.prompt_id)).state == "running"
    await client.cancel(submission.prompt_id)
    assert (await client.wait(submission.prompt_id, silence=None)).state == "cancelled"


async def test_waiting_behind_others_is_no_silence(client: ComfyClient) -> None:
    first = await client.submit(busy(1.5))
    second = await client.submit(saved())
    assert (await client.wait(second.prompt_id, silence=0.5)).state == "done"
    assert (await client.wait(first.prompt_id)).state == "done"


# -- the server ---------------------------------------------------------------------------
async def test_outputs_of_a_prompt_that_has_not_ended_are_refused(client: ComfyClient) -> None:
    submission = await client.submit(busy())
    with pytest.raises(PromptNotEnded):
        await client.outputs(submission.prompt_id)
    await client.cancel(submission.prompt_id)


async def test_history_is_newest_first(client: ComfyClient) -> None:
    ids = []
    for seed in range(4):
        ids.append((await client.submit(saved(seed))).prompt_id)
        await client.wait(ids[-1])
    assert [outcome.prompt_id for outcome in await client.history(3)] == ids[:0:-1]
    assert {outcome.state for outcome in await client.history()} == {"done"}


async def test_it_tells_of_the_server(server: ComfyServer, client: ComfyClient) -> None:
    stats = await client.system_stats()
    assert stats.comfyui_version == ("0.36.0" if server.jobs else "0.3.64")
    assert stats.devices[0].vram_free == 6 * 2**30
    assert "SaveImage" in await client.object_info()
    assert list(await client.object_info("SaveImage")) == ["SaveImage"]
    assert await client.object_info("Nope") == {}
    assert await client.models() == ("checkpoints", "loras")
    assert await client.models("loras") == ("one.safetensors",)
    with pytest.raises(NoSuchFile):
        await client.models("nope")
    for wrong in ("../x", "a/../b", "a//b", ".."):
        with pytest.raises(InvalidInput):
            await client.models(wrong)
    await client.free(free_memory=False)
    assert server.prompts.freed == [{"unload_models": True, "free_memory": False}]


async def test_jobs_are_looked_for_once(server: ComfyServer, client: ComfyClient) -> None:
    for seed in range(5):
        await client.wait((await client.submit(saved(seed))).prompt_id)
    listed = [path for method, path in server.faults.exchanges if path == "/api/jobs"]
    if server.jobs:
        assert server.faults.count("GET", "/queue") == 0
    else:
        assert len(listed) == 1
