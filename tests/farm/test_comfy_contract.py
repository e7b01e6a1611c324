"""The stand-in answers as a real ComfyUI does: one suite for both (``COMFYUI_DIR`` for the real one)."""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from comfy_server import ComfyServer
from PIL import Image

from tests.comfyui.process import ComfyUI, is_available

PROBES = [Path(__file__).parent.with_name("comfyui") / "probes.py", Path(__file__).with_name("probe_steps.py")]
ANY: Any = type("Any", (), {"__eq__": lambda self, other: True, "__hash__": None, "__repr__": lambda self: "ANY"})()

pytestmark = pytest.mark.timeout(300)


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def image(seed: int = 255) -> dict[str, Any]:
    return node("EmptyImage", width=32, height=16, batch_size=1, color=seed)


BAD = {
    "5": node("EmptyImage", width=-1, height="a", batch_size=1, color=1),
    "6": node("SaveImage", images=["5", 0], filename_prefix="x"),
    "7": node("PreviewImage"),
}


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if reason := is_available():
        pytest.skip(reason)
    comfyui = ComfyUI(tmp_path_factory.mktemp("contract"), nodes=PROBES)
    comfyui.start()
    yield comfyui.url
    comfyui.stop()


@pytest.fixture(params=["stand-in", "stand-in with jobs", pytest.param("real", marks=pytest.mark.comfyui)])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "real":
        yield request.getfixturevalue("real")
    else:
        async with ComfyServer(tmp_path, jobs="jobs" in request.param).serving() as server:
            yield server.url


class Tab:
    """What a page does, and everything that it heard."""

    def __init__(self, http: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, client_id: str) -> None:
        self.http, self.socket, self.client_id = http, socket, client_id
        self.heard: list[tuple[str, Any]] = []
        """(type, data); of binary messages (their number, the bytes)."""

    async def listen(self) -> None:
        async for message in self.socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                event = json.loads(message.data)
                self.heard.append((event["type"], event["data"]))
            else:
                self.heard.append((str(struct.unpack_from(">I", message.data)[0]), message.data[4:]))

    async def until(self, wanted: Callable[[str, Any], bool], what: str) -> Any:
        for _ in range(1500):
            for event, data in self.heard:
                if wanted(event, data):
                    return data
            await asyncio.sleep(0.02)
        raise AssertionError(f"not heard: {what}; only {[event for event, _ in self.heard]}")

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self.http.request(method, path, **options) as answer:
            data = await answer.read()
            return answer.status, json.loads(data) if answer.content_type == "application/json" else data

    async def post(self, graph: Any, **more: Any) -> tuple[int, Any]:
        body = {"prompt": graph, "client_id": self.client_id, "prompt_id": str(uuid.uuid4()), **more}
        return await self.ask("POST", "/prompt", json=body)

    async def queue(self, graph: Any, **more: Any) -> str:
        status, answer = await self.post(graph, **more)
        assert status == 200, answer
        return str(answer["prompt_id"])

    async def running(self, prompt_id: str, node_id: str) -> None:
        await self.until(
            lambda event, data: event == "executing" and data == {**data, "prompt_id": prompt_id, "node": node_id},
            f"{node_id} runs",
        )

    async def ended(self, prompt_id: str) -> Any:
        """The history's entry, once the end was told."""
        await self.until(
            lambda event, data: event == "executing" and data == {"node": None, "prompt_id": prompt_id}, "the end"
        )
        _, history = await self.ask("GET", f"/history/{prompt_id}")
        assert list(history) == [prompt_id]
        return history[prompt_id]

    def told(self, prompt_id: str) -> list[Any]:
        """What was heard of the prompt; of what comes often: once in a row."""
        told: list[Any] = []
        for event, data in self.heard:
            if isinstance(data, dict) and data.get("prompt_id") == prompt_id:
                step = (event, data["node"]) if event in ("executing", "executed") else event
                told += [] if told[-1:] == [step] else [step]
        return told


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Tab]:
    client_id = uuid.uuid4().hex
    async with (
        aiohttp.ClientSession(url) as http,
        http.ws_connect("/ws", params={"clientId": client_id}) as socket,
    ):
        tab = Tab(http, socket, client_id)
        reader = asyncio.create_task(tab.listen())
        await socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
        await tab.until(lambda event, data: event == "feature_flags", "the flags")
        yield tab
        reader.cancel()


@pytest.fixture
async def tab(url: str) -> AsyncIterator[Tab]:
    async with opened(url) as tab:
        yield tab


async def test_a_socket_is_told_the_status_first_and_then_the_flags(tab: Tab) -> None:
    assert tab.heard[:2] == [
        ("status", {"status": {"exec_info": {"queue_remaining": 0}}, "sid": tab.client_id}),
        ("feature_flags", {**tab.heard[1][1], "supports_preview_metadata": True, "max_upload_size": 104857600}),
    ]


async def test_a_prompt_is_told_step_by_step_and_then_in_the_history(tab: Tab) -> None:
    graph = {"1": image(1), "2": node("SaveImage", images=["1", 0], filename_prefix=f"c/{uuid.uuid4().hex[:6]}")}
    status, answer = await tab.post(graph)
    assert (status, answer) == (200, {"prompt_id": ANY, "number": ANY, "node_errors": {}})
    prompt_id = answer["prompt_id"]
    entry = await tab.ended(prompt_id)
    assert tab.told(prompt_id) == [
        *["execution_start", "execution_cached", "progress_state", ("executing", "1"), "progress_state"],
        *[("executing", "2"), ("executed", "2"), "progress_state", "execution_success", ("executing", None)],
    ]
    saved = entry["outputs"]["2"]["images"]
    assert saved == [{"filename": ANY, "subfolder": "c", "type": "output"}]
    assert entry["prompt"] == [
        answer["number"],
        prompt_id,
        graph,
        {"client_id": tab.client_id, **entry["prompt"][3]},
        ["2"],
    ]
    at = {"prompt_id": prompt_id, "timestamp": ANY}
    assert entry["status"] == {
        "status_str": "success",
        "completed": True,
        "messages": [
            ["execution_start", at],
            ["execution_cached", {**at, "nodes": []}],
            ["execution_success", at],
        ],
    }
    again = await tab.ended(await tab.queue(graph))
    assert again["status"]["messages"][1][1]["nodes"] == ["1", "2"]
    assert again["outputs"]["2"]["images"] == saved
    last = tab.told(again["prompt"][1])
    assert [step for step in last if step != "progress_state"] == [
        *["execution_start", "execution_cached", ("executed", "2"), "execution_success", ("executing", None)]
    ]


async def test_a_text_is_an_output_too(tab: Tab) -> None:
    entry = await tab.ended(await tab.queue({"1": node("PreviewAny", source="hello")}))
    assert entry["outputs"] == {"1": {"text": ["hello"]}}


async def test_steps_are_told_with_their_pictures(tab: Tab) -> None:
    graph = {"1": image(), "2": node("ProbeSteps", image=["1", 0], steps=3, seconds=0.02)}
    prompt_id = await tab.queue({**graph, "3": node("PreviewImage", images=["2", 0])})
    await tab.ended(prompt_id)
    steps = [data for event, data in tab.heard if event == "progress" and data["prompt_id"] == prompt_id]
    assert steps == [{"value": n, "max": 3, "prompt_id": prompt_id, "node": "2"} for n in (1, 2, 3)]
    pictures = [data for event, data in tab.heard if event == "4"]
    assert len(pictures) == 3
    (length,) = struct.unpack_from(">I", pictures[0])
    told = json.loads(pictures[0][4 : 4 + length])
    assert told == {**told, "prompt_id": prompt_id, "node_id": "2", "display_node_id": "2", "image_type": "image/jpeg"}
    assert pictures[0][4 + length :][:3] == b"\xff\xd8\xff"
    states = [data["nodes"]["2"] for event, data in tab.heard if event == "progress_state" and "2" in data["nodes"]]
    assert (states[-1]["state"], states[-1]["display_node_id"]) == ("finished", "2")
    assert any((state["value"], state["max"], state["state"]) == (2, 3, "running") for state in states)


async def test_a_failure_names_node_class_and_traceback(tab: Tab) -> None:
    prompt_id = await tab.queue({"1": image(), "2": node("ProbeFail", image=["1", 0])})
    entry = await tab.ended(prompt_id)
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("error", False)
    event, said = entry["status"]["messages"][-1]
    assert event == "execution_error"
    assert said == {
        **{"prompt_id": prompt_id, "node_id": "2", "node_type": "ProbeFail", "executed": ANY, "timestamp": ANY},
        **{"exception_message": "probe\n", "exception_type": "ValueError", "traceback": ANY},
        **{"current_inputs": ANY, "current_outputs": ANY},
    }
    assert 'raise ValueError("probe")' in said["traceback"][-1]
    assert tab.told(prompt_id)[-2:] == ["execution_error", ("executing", None)]


async def test_only_the_prompt_that_is_named_is_interrupted_and_only_pending_ones_are_deleted(tab: Tab) -> None:
    graph = {"1": image(), "2": node("ProbeBusy", image=["1", 0], seconds=60)}
    graph["3"] = node("PreviewImage", images=["2", 0])
    one, two, three = [await tab.queue(graph) for _ in range(3)]
    await tab.running(one, "2")
    _, queue = await tab.ask("GET", "/queue")
    assert [item[1] for item in queue["queue_running"]] == [one]
    assert [item[1] for item in sorted(queue["queue_pending"])] == [two, three]
    assert [len(item) for item in queue["queue_running"]] == [5]
    assert await tab.ask("POST", "/queue", json={"delete": [one, two]}) == (200, b"")
    assert await tab.ask("POST", "/interrupt", json={"prompt_id": three}) == (200, b"")
    _, queue = await tab.ask("GET", "/queue")
    assert [[item[1] for item in queue[key]] for key in ("queue_running", "queue_pending")] == [[one], [three]]
    assert (await tab.ask("GET", f"/history/{two}"))[1] == {}
    assert await tab.ask("POST", "/interrupt", json={"prompt_id": one}) == (200, b"")
    entry = await tab.ended(one)
    assert entry["status"]["status_str"] == "error"
    assert entry["status"]["messages"][-1] == [
        "execution_interrupted",
        {"prompt_id": one, "node_id": "2", "node_type": "ProbeBusy", "executed": ANY, "timestamp": ANY},
    ]
    await tab.running(three, "2")
    await tab.ask("POST", "/interrupt", json={"prompt_id": three})
    await tab.ended(three)


async def test_the_same_id_twice_is_queued_twice_and_taken_out_one_at_a_time(tab: Tab) -> None:
    busy = {
        "1": image(),
        "2": node("ProbeBusy", image=["1", 0], seconds=60),
        "3": node("PreviewImage", images=["2", 0]),
    }
    first, same = await tab.queue(busy), str(uuid.uuid4())
    await tab.running(first, "2")
    for _ in range(2):
        await tab.queue(busy, prompt_id=same)
    for left in (1, 0):
        await tab.ask("POST", "/queue", json={"delete": [same]})
        _, queue = await tab.ask("GET", "/queue")
        assert [item[1] for item in queue["queue_pending"]] == [same] * left
    await tab.ask("POST", "/interrupt", json={"prompt_id": first})
    await tab.ended(first)


async def test_invalid_outputs_are_dropped_with_a_200_and_alone_they_are_refused(tab: Tab) -> None:
    wrong = {
        "7": {
            "errors": [
                {
                    "type": "required_input_missing",
                    "message": "Required input is missing",
                    "details": "images",
                    "extra_info": {"input_name": "images"},
                }
            ],
            "dependent_outputs": ANY,
            "class_type": "PreviewImage",
        },
        "5": {"errors": [ANY, ANY], "dependent_outputs": ANY, "class_type": "EmptyImage"},
    }
    status, answer = await tab.post({**BAD, "1": image(3), "2": node("PreviewImage", images=["1", 0])})
    assert status == 200
    assert answer["node_errors"] == wrong
    # Of which outputs it tells depends on the order in which it looks at them, which is none.
    assert "6" in answer["node_errors"]["5"]["dependent_outputs"]
    assert "7" in answer["node_errors"]["7"]["dependent_outputs"]
    text, small = sorted(answer["node_errors"]["5"]["errors"], key=lambda error: error["extra_info"]["input_name"])
    assert small["message"] == "Value -1 smaller than min of 1"
    assert small["extra_info"] == {"input_name": "width", "input_config": ["INT", ANY], "received_value": -1}
    assert (text["type"], text["extra_info"]["input_name"]) == ("invalid_input_type", "height")
    assert text["details"] == "height, a, invalid literal for int() with base 10: 'a'"
    assert list((await tab.ended(answer["prompt_id"]))["outputs"]) == ["2"]
    status, answer = await tab.post(BAD)
    assert status == 400
    assert answer["error"] == {
        **{"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"},
        **{"details": "Required input is missing: images", "extra_info": {}},
    }
    assert answer["node_errors"] == wrong


@pytest.mark.parametrize(
    ("graph", "kind", "details"),
    [
        ({"1": node("NoSuchNode")}, "invalid_prompt", "Node ID '#1'"),
        ({"1": {"inputs": {}}}, "invalid_prompt", "Node ID '#1'"),
        ({"1": image()}, "prompt_no_outputs", ""),
    ],
)
async def test_a_prompt_is_refused_as_a_whole(tab: Tab, graph: Any, kind: str, details: str) -> None:
    status, answer = await tab.post(graph)
    assert status == 400
    assert answer["node_errors"] == {}
    assert answer["error"] == {"type": kind, "message": ANY, "details": details, "extra_info": {}}


@pytest.mark.parametrize(
    ("graph", "node_id", "kind", "details"),
    [
        ({"2": node("PreviewImage", images=["99", 0])}, "2", "exception_during_validation", "'99'"),
        ({"1": image(), "2": node("PreviewImage", images=["1", 7])}, "2", "exception_during_validation", ANY),
        (
            {"1": image(), "2": node("ProbeMask", mask=["1", 0])},
            *("2", "return_type_mismatch", "mask, received_type(IMAGE) mismatch input_type(MASK)"),
        ),
        (
            {"1": node("LoadImage", image="no.png"), "2": node("PreviewImage", images=["1", 0])},
            *("1", "custom_validation_failed", "image - Invalid image file: no.png"),
        ),
    ],
)
async def test_a_node_is_refused_by_name(tab: Tab, graph: Any, node_id: str, kind: str, details: str) -> None:
    status, answer = await tab.post(graph)
    assert status == 400
    assert list(answer["node_errors"]) == [node_id]
    (error,) = answer["node_errors"][node_id]["errors"]
    assert (error["type"], error["details"]) == (kind, details)


async def test_what_is_no_prompt_is_refused(tab: Tab) -> None:
    assert (await tab.ask("POST", "/prompt", json={}))[1]["error"]["type"] == "no_prompt"
    assert (await tab.ask("POST", "/prompt", data=b"no json"))[0] == 500
    assert (await tab.ask("POST", "/prompt", json={"prompt": [1]}))[0] == 500


async def test_only_the_targets_run_and_front_comes_first(tab: Tab) -> None:
    busy = {
        "1": image(),
        "2": node("ProbeBusy", image=["1", 0], seconds=60),
        "3": node("PreviewImage", images=["2", 0]),
    }
    first = await tab.queue(busy)
    await tab.running(first, "2")
    two = {"1": node("PreviewAny", source="1"), "2": node("PreviewAny", source="2")}
    later = await tab.queue(two)
    status, answer = await tab.post(two, front=True, partial_execution_targets=["2"])
    assert (status, answer["number"] < 0) == (200, True)
    await tab.ask("POST", "/interrupt", json={"prompt_id": first})
    await tab.ended(later)
    starts = [data["prompt_id"] for event, data in tab.heard if event == "execution_start"]
    assert starts == [first, answer["prompt_id"], later]
    assert list((await tab.ended(answer["prompt_id"]))["outputs"]) == ["2"]


def picture(mode: str = "RGB", colour: Any = (1, 2, 3)) -> bytes:
    buffer = BytesIO()
    Image.new(mode, (32, 16), colour).save(buffer, "PNG")
    return buffer.getvalue()


def form(data: bytes, name: str, **fields: str) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("image", data, filename=name, content_type="application/octet-stream")
    for key, value in fields.items():
        form.add_field(key, value)
    return form


async def test_an_upload_is_kept_once_and_renamed_when_it_is_another(tab: Tab) -> None:
    name = f"{uuid.uuid4().hex}.png"
    kept = {"name": name, "subfolder": "gatebus", "type": "input"}
    for _ in range(2):
        sent = form(picture(), name, subfolder="gatebus", type="input")
        assert await tab.ask("POST", "/upload/image", data=sent) == (200, kept)
    other = form(picture(colour=(9, 9, 9)), name, subfolder="gatebus", type="input")
    renamed = {**kept, "name": f"{name[:-4]} (1).png"}
    assert await tab.ask("POST", "/upload/image", data=other) == (200, renamed)
    where = {"filename": name, "subfolder": "gatebus", "type": "input"}
    assert await tab.ask("GET", "/view", params=where) == (200, picture())
    async with tab.http.head("/view", params=where) as answer:
        assert (answer.status, answer.content_length) == (200, len(picture()))
        assert answer.content_type == "image/png"
    for wrong, status in (
        ({"filename": "no.png"}, 404),
        ({"filename": "../x.png"}, 400),
        ({"filename": "x.png", "type": "zz"}, 400),
        ({"filename": "x.png", "subfolder": "../.."}, 403),
        ({}, 404),
    ):
        assert await tab.ask("GET", "/view", params=wrong) == (status, b"")
    assert (await tab.ask("POST", "/upload/image", data=form(picture(), name, subfolder="../..")))[0] == 400


async def test_a_mask_becomes_the_alpha_of_its_original_and_without_one_nothing_is_written(tab: Tab) -> None:
    name = f"{uuid.uuid4().hex}.png"
    await tab.ask("POST", "/upload/image", data=form(picture(), name))
    reference = json.dumps({"filename": name, "type": "input", "subfolder": ""})
    mask = picture("RGBA", (0, 0, 0, 100))
    status, answer = await tab.ask("POST", "/upload/mask", data=form(mask, f"m{name}", original_ref=reference))
    assert (status, answer) == (200, {"name": f"m{name}", "subfolder": "", "type": "input"})
    _, data = await tab.ask("GET", "/view", params={"filename": f"m{name}", "type": "input"})
    with Image.open(BytesIO(data)) as image:
        assert (image.mode, image.getpixel((0, 0))) == ("RGBA", (1, 2, 3, 100))
    gone = json.dumps({"filename": "gone.png", "type": "input", "subfolder": ""})
    assert (await tab.ask("POST", "/upload/mask", data=form(mask, f"n{name}", original_ref=gone)))[0] == 200
    assert (await tab.ask("GET", "/view", params={"filename": f"n{name}", "type": "input"}))[0] == 404
    entry = await tab.ended(
        await tab.queue({"1": node("LoadImage", image=f"m{name}"), "2": node("ProbeMask", mask=["1", 1])})
    )
    assert entry["outputs"]["2"]["means"] == [[pytest.approx(155 / 255, abs=1e-4)]]


async def test_it_tells_of_itself(tab: Tab) -> None:
    for kind in ("EmptyImage", "SaveImage", "PreviewImage", "PreviewAny", "ImageInvert", "ProbeSteps", "ProbeNoise"):
        _, info = await tab.ask("GET", f"/object_info/{kind}")
        from comfy_nodes import NODES

        assert info[kind] == {**info[kind], **NODES[kind].info(kind)}
    assert (await tab.ask("GET", "/object_info/Nope"))[1] == {}
    _, stats = await tab.ask("GET", "/system_stats")
    system = {"os", "ram_total", "ram_free", "comfyui_version", "python_version", "pytorch_version", "argv"}
    assert system <= set(stats["system"])
    assert {"name", "type", "index", "vram_total", "vram_free"} <= set(stats["devices"][0])
    assert "checkpoints" in (await tab.ask("GET", "/models"))[1]
    assert isinstance((await tab.ask("GET", "/models/loras"))[1], list)
    assert (await tab.ask("GET", "/models/nope"))[0] == 404
    assert await tab.ask("POST", "/free", json={"unload_models": True}) == (200, b"")
    assert (await tab.ask("GET", "/history/x"))[1] == {}
    assert (await tab.ask("GET", "/api/queue"))[0] == 200


async def test_a_socket_that_ends_takes_the_one_that_came_after_it_along(url: str) -> None:
    """A trap: what the core forgets is the client id, whichever socket of it has ended."""
    async with opened(url) as tab:
        params = {"clientId": tab.client_id}
        async with tab.http.ws_connect("/ws", params=params) as second, opened(url) as other:
            assert json.loads((await second.receive(5)).data)["type"] == "status"
            await tab.socket.close()
            await asyncio.sleep(0.2)
            await other.ended(await other.queue({"1": node("PreviewAny", source=uuid.uuid4().hex)}))
            with pytest.raises(asyncio.TimeoutError):
                await second.receive(0.3)


async def test_a_socket_in_the_middle_of_a_prompt_is_told_the_node_that_runs(url: str) -> None:
    busy = {
        "1": image(),
        "2": node("ProbeBusy", image=["1", 0], seconds=60),
        "3": node("PreviewImage", images=["2", 0]),
    }
    async with opened(url) as tab:
        prompt_id = await tab.queue(busy)
        await tab.running(prompt_id, "2")
        await tab.socket.close()
        await asyncio.sleep(0.1)
        async with tab.http.ws_connect("/ws", params={"clientId": tab.client_id}) as second:
            told = [json.loads((await second.receive(5)).data) for _ in range(2)]
            assert told[1] == {"type": "executing", "data": {"node": "2"}}
            await tab.ask("POST", "/interrupt", json={"prompt_id": prompt_id})
            while json.loads((await second.receive(10)).data)["data"] != {"node": None, "prompt_id": prompt_id}:
                pass
