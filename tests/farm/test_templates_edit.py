"""An image edited from file to file: on a stand-in for a ComfyUI, and on a real one (``COMFYUI_DIR``)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfy_server import ComfyServer
from PIL import Image

from broker import cli
from broker.comfyui.client import ComfyClient
from broker.comfyui.edit import edit_image, submit_edit
from broker.comfyui.errors import ComfyUnreachable, PromptFailed, PromptInvalid
from broker.comfyui.generation import GenerationResult
from broker.comfyui.images import as_png
from broker.comfyui.library import WorkflowLibrary
from broker.comfyui.progress import Progress
from broker.comfyui.refusals import InvalidParameter
from broker.comfyui.workflows import Template
from gates.errors import InvalidImage, InvalidInput, TooLarge
from gates.settings import Settings
from tests.comfyui.process import ComfyUI, is_available
from tests.farm.client_world import client_of, node

PIXELS = np.random.default_rng(5).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def template_of(prompt: dict[str, Any], outputs: dict[str, str], **parameters: Any) -> Template:
    """A template of this prompt, with an image at node 1."""
    image = {"node": "1", "input": "image", "type": "image"}
    return Template.from_json(
        {
            "name": "test",
            "version": 1,
            "parameters": {"image": image, **parameters},
            "outputs": {name: {"node": number} for name, number in outputs.items()},
            "prompt": {"1": node("LoadImage", image="x.png"), **prompt},
        }
    )


def pixels_of(data: bytes) -> np.ndarray[Any, Any]:
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ComfyServer]:
    async with ComfyServer(tmp_path / "comfyui").serving() as server:
        yield server


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if reason := is_available():
        pytest.skip(reason)
    comfyui = ComfyUI(tmp_path_factory.mktemp("templates"))
    comfyui.start()
    yield comfyui.url
    comfyui.stop()


@pytest.fixture(params=["stand-in", pytest.param("real", marks=pytest.mark.comfyui)])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "real":
        return str(request.getfixturevalue("real"))
    return str(request.getfixturevalue("server").url)


async def test_an_image_is_edited_and_everything_about_it_is_told(url: str, tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    source.write_bytes(as_png(PIXELS))
    steps: list[Progress] = []
    completed: list[GenerationResult] = []
    async with ComfyClient(url) as client:
        result = await submit_edit(
            source,
            template="invert",
            client=client,
            output_dir=tmp_path / "out",
            metadata={"job": 7},
            on_progress=steps.append,
            on_complete=completed.append,
        )
    assert completed == [result]
    assert (steps[-1].state, steps[-1].fraction) == ("done", 1.0)
    assert (result.state, result.template, result.instance, result.metadata) == ("done", "invert", url, {"job": 7})
    taken = result.inputs["image"]
    assert (taken.source, taken.width, taken.height) == (str(source), 56, 40)
    made = result.image
    assert (made.name, made.node, made.width, made.height) == ("image", "3", 56, 40)
    assert Path(made.path).read_bytes() == made.data
    assert np.abs(pixels_of(made.data) - (255 - PIXELS.astype(int))).max() <= 1
    assert result.timings.queued is not None
    assert result.timings.ended is not None
    assert GenerationResult.from_json(json.loads(json.dumps(result.to_json()))) == result


async def test_a_script_that_is_not_async_does_it_in_one_call(server: ComfyServer, tmp_path: Path) -> None:
    def script() -> GenerationResult:
        return edit_image(as_png(PIXELS), template="invert", url=server.url, output_dir=tmp_path)

    result = await asyncio.to_thread(script)
    assert Path(result.image.path).is_file()


async def test_what_is_wrong_is_refused_before_anything_is_sent(server: ComfyServer) -> None:
    good, painting = as_png(PIXELS), "img2img_default"
    wrong: list[tuple[type[Exception], dict[str, Any]]] = [
        (InvalidParameter, {"image": good, "positive": "a cat"}),
        (InvalidParameter, {"image": good, "mask": good}),
        (InvalidParameter, {"image": good, "parameters": {"strength": 1}}),
        (InvalidParameter, {"image": good, "template": painting, "parameters": {"steps": 0}}),
        (InvalidParameter, {"image": good, "template": painting, "positive": "a", "parameters": {"positive": "b"}}),
        (InvalidImage, {"image": b"no image"}),
        (TooLarge, {"image": good, "settings": Settings(max_pixels=100)}),
        (InvalidImage, {"image": good, "mask": as_png(PIXELS[:10]), "template": "scale_and_blend_masked"}),
        (InvalidInput, {"image": None, "mask": good, "template": "scale_and_blend_masked"}),
        (InvalidParameter, {"image": None}),
    ]
    async with client_of(server) as client:
        for error, arguments in wrong:
            with pytest.raises(error):
                await submit_edit(**{"template": "invert", "client": client, **arguments})
    assert server.faults.exchanges == []


async def test_an_image_is_made_to_fit_what_the_template_declares(server: ComfyServer) -> None:
    template = template_of(
        {"2": node("SaveImage", images=["1", 0], filename_prefix="t")},
        {"image": "2"},
        image={"node": "1", "input": "image", "type": "image", "max": 32, "multiple": 8},
    )
    async with client_of(server) as client:
        result = await submit_edit(as_png(PIXELS), template=template, client=client)
    assert (result.inputs["image"].source_width, result.inputs["image"].source_height) == (56, 40)
    assert (result.image.width, result.image.height) == (32, 24)


async def test_an_error_at_the_comfyui_is_told_twice_and_once_raised(server: ComfyServer) -> None:
    failed: list[GenerationResult] = []
    template = template_of({"2": node("ProbeFail", image=["1", 0])}, {"image": "2"})
    async with client_of(server) as client:
        with pytest.raises(PromptFailed) as raised:
            await submit_edit(as_png(PIXELS), template=template, client=client, on_error=failed.append)
    (result,) = failed
    assert (result.state, result.id, result.outputs) == ("failed", raised.value.prompt_id, ())
    assert result.errors[0]["details"]["node_id"] == "2"


async def test_an_output_that_comfyui_would_leave_out_is_an_error_and_nothing_of_it_runs(server: ComfyServer) -> None:
    template = template_of(
        {
            "2": node("ProbeBusy", image=["1", 0], seconds=60.0),
            "3": node("PreviewImage", images=["2", 0]),
            "4": node("SaveImage", filename_prefix="t"),
        },
        {"image": "3", "other": "4"},
    )
    async with client_of(server) as client:
        with pytest.raises(PromptInvalid, match="leave out"):
            await submit_edit(as_png(PIXELS), template=template, client=client)
        await _empty(client)


async def test_who_gives_up_takes_his_prompt_with_him(server: ComfyServer) -> None:
    template = template_of(
        {"2": node("ProbeBusy", image=["1", 0], seconds=60.0), "3": node("PreviewImage", images=["2", 0])},
        {"image": "3"},
    )
    async with client_of(server) as client:
        editing = asyncio.create_task(submit_edit(as_png(PIXELS), template=template, client=client))
        while not (await client.queue()).running:
            assert not editing.done()
            await asyncio.sleep(0.01)
        editing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await editing
        await _empty(client)


async def _empty(client: ComfyClient) -> None:
    async def empty() -> None:
        while (queue := await client.queue()).running or queue.pending:
            await asyncio.sleep(0.02)

    await asyncio.wait_for(empty(), 20)


async def test_a_comfyui_that_is_not_there_is_named(server: ComfyServer) -> None:
    await server.stop()
    failed: list[GenerationResult] = []
    async with client_of(server) as client:
        with pytest.raises(ComfyUnreachable):
            await submit_edit(as_png(PIXELS), template="invert", client=client, on_error=failed.append)
    assert [result.state for result in failed] == ["failed"]


async def test_a_mask_bounds_what_a_real_comfyui_changes(real: str) -> None:
    mask = np.zeros((40, 56), np.uint8)
    mask[:, 28:] = 255
    alpha = np.dstack([PIXELS, 255 - mask])
    async with ComfyClient(real) as client:
        for painted in (as_png(mask), as_png(alpha)):
            result = await submit_edit(
                as_png(PIXELS),
                template="scale_and_blend_masked",
                mask=painted,
                client=client,
                parameters={"width": 56, "height": 40, "method": "nearest-exact"},
            )
            got = pixels_of(result.image.data)
            assert np.abs(got[:, :28] - PIXELS[:, :28]).max() <= 1
            assert np.abs(got[:, 28:] - (255 - PIXELS[:, 28:].astype(int))).max() <= 1


async def test_the_shipped_templates_fit_a_real_comfyui_that_only_lacks_the_models(real: str) -> None:
    async with ComfyClient(real) as client:
        info = await client.object_info()
        for entry in WorkflowLibrary().entries():
            assert entry.template is not None
            problems = entry.template.check(info)
            assert {problem.kind for problem in problems} <= {"missing_model"}
            assert {problem.parameter for problem in problems} == {
                each.name for each in entry.template.of_type("model")
            }
        for name in ("img2img_default", "inpaint_masked", "controlnet_canny"):
            template = WorkflowLibrary().load(name)
            mask = as_png(PIXELS[..., 0]) if template.of_type("mask") else None
            with pytest.raises(PromptInvalid) as refused:
                await submit_edit(as_png(PIXELS), "a cat", client=client, template=template, mask=mask)
            # ComfyUI itself finds nothing else wrong in the graph.
            assert {problem.kind for problem in refused.value.problems} == {"value_not_in_list"}
            models = {place for each in template.of_type("model") for place in each.places}
            assert {(each.node_id, each.input) for each in refused.value.problems} <= {
                (p.node, p.input) for p in models
            }


async def test_the_commands_list_validate_and_edit(
    server: ComfyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COMFYUI_SERVER_URL", server.url)
    source = tmp_path / "in.png"
    source.write_bytes(as_png(PIXELS))

    async def gatebus(*arguments: str) -> tuple[int, str, str]:
        def call() -> int:
            with pytest.raises(SystemExit) as ended:
                cli.cli(list(arguments), prog_name="gatebus")
            return int(ended.value.code or 0)

        capfd.readouterr()
        code = await asyncio.to_thread(call)
        return code, *capfd.readouterr()

    code, out, _ = await gatebus("templates", "--json")
    assert (code, "invert" in [entry["name"] for entry in json.loads(out)]) == (0, True)
    code, out, _ = await gatebus("templates", "validate", "invert", "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)
    code, out, _ = await gatebus("templates", "validate", "img2img_default", "--json")
    # The stand-in knows no samplers: what it lacks is not what is wrong.
    assert (code, {each["kind"] for each in json.loads(out)["problems"]}) == (3, {"missing_node"})
    code, out, err = await gatebus("edit", str(source), "--template", "invert", "--output", str(tmp_path / "out"))
    assert (code, err) == (0, "")
    assert str(tmp_path / "out") in out
    code, _, err = await gatebus("edit", str(source), "--template", "invert", "--param", "x=1")
    assert (code, "no parameter x; there are: image" in err) == (2, True)
    code, _, err = await gatebus("edit", str(source), "--template", "nothing")
    assert (code, "there are: controlnet_canny" in err) == (3, True)

    export = tmp_path / "export.json"
    export.write_text(json.dumps(WorkflowLibrary().load("invert").to_json()["prompt"]), encoding="utf-8")
    code, out, err = await gatebus("templates", "import", str(export), "--name", "mine", "--json")
    assert (code, json.loads(out)["saved"]) == (2, None)
    assert list(json.loads(out)["proposals"]) == ["image"]
    code, out, _ = await gatebus("templates", "import", str(export), "--name", "mine", "--accept", "all")
    assert (code, "image" in out) == (0, True)
    code, out, _ = await gatebus("edit", str(source), "--template", "mine", "--output", str(tmp_path / "out"), "--json")
    assert (code, json.loads(out)["state"]) == (0, "done")
    assert (await gatebus("templates", "import", str(export), "--name", "mine", "--accept", "all"))[0] == 4
    assert (await gatebus("templates", "delete", "mine", "--yes"))[0] == 0
    assert (await gatebus("templates", "show", "mine"))[0] == 3
