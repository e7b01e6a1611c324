"""An image edited by a template, on one ComfyUI or on the farm: from the file to the file, in one call.

::

    from broker.comfyui.edit import edit_image

    result = edit_image("cat.png", template="invert", url="http://127.0.0.1:8188", output_dir="out")
    print(result.image.path)

:func:`submit_edit` is the same for async code, over a client that is open already, or over the farm:
``client=gatebus.Farm("http://127.0.0.1:8787")``.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gates.errors import GatebusError, InvalidInput, TooLarge
from gates.pictures import read_image, read_mask
from gates.settings import Settings

from .client import SILENCE, ComfyClient
from .errors import ComfySilent, ComfyUnreachable, PromptInvalid
from .generation import GenerationRequest, GenerationResult, InputImage, OutputImage, Timings, input_path, result_of
from .images import as_png, fitted_size, mask_png, resized
from .library import WorkflowLibrary
from .outcome import Outcome
from .parameters import Parameter
from .progress import Progress
from .refusals import InvalidParameter, NoOutput
from .workflows import Template

Source = bytes | str | Path
"""An image: its file's bytes, or the file's path."""

T = TypeVar("T")


class Farm(Protocol):
    """Many ComfyUIs behind brokers; :class:`gatebus.Farm` is one."""

    def carry_out(
        self, wanted: GenerationRequest, template: Template, folder: Path | None, stop: threading.Event
    ) -> GenerationResult:
        """Carries out a prepared request; blocks. Once ``stop`` is set its job is cancelled."""
        ...


async def submit_edit(
    image: Source,
    positive: str | None = None,
    negative: str | None = None,
    template: str | Template = "img2img_default",
    *,
    client: ComfyClient | Farm,
    mask: Source | None = None,
    parameters: Mapping[str, Any] | None = None,
    library: WorkflowLibrary | None = None,
    output_dir: Path | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    silence: float | None = SILENCE,
    settings: Settings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_complete: Callable[[GenerationResult], None] | None = None,
    on_error: Callable[[GenerationResult], None] | None = None,
) -> GenerationResult:
    """Edits an image and returns what came of it, its outputs downloaded and, with ``output_dir``, saved.

    ``image``, ``mask`` (white, or transparent, is painted), ``positive`` and ``negative`` go to the parameters
    of those names (image and mask: else to the only one of that type), ``parameters`` to the others. The
    image is made to fit the bounds that the template declares, the mask with it. Raises InvalidParameter,
    InvalidImage, TooLarge and TemplateNotFound before anything is sent; then as the client does;
    PromptFailed, PromptCancelled or PromptLost when it did not end well (after ``on_error``). When it is
    itself cancelled, the prompt is too. ``silence`` is of a ComfyClient's prompts: the farm looks after its own.
    """
    chosen = (library or WorkflowLibrary()).load(template) if isinstance(template, str) else template
    values = texts_with(parameters or {}, positive=positive, negative=negative)
    wanted = await asyncio.to_thread(prepare, chosen, values, image, mask, settings or Settings())
    wanted = replace(
        wanted, metadata=dict(metadata or {}), on_progress=on_progress, on_complete=on_complete, on_error=on_error
    )
    folder = Path(output_dir) if output_dir is not None else None
    if isinstance(client, ComfyClient):
        return await run(wanted, chosen, client, folder, silence)
    return await _on_farm(wanted, chosen, client, folder)


def edit_image(
    image: Source,
    positive: str | None = None,
    negative: str | None = None,
    template: str | Template = "img2img_default",
    *,
    url: str = "http://127.0.0.1:8188",
    token: str = "",
    **options: Any,
) -> GenerationResult:
    """:func:`submit_edit` for scripts that are not async, on a ComfyUI of which the address is known."""

    async def edit() -> GenerationResult:
        async with ComfyClient(url, token) as client:
            return await submit_edit(image, positive, negative, template, client=client, **options)

    return asyncio.run(edit())


def texts_with(parameters: Mapping[str, Any], **texts: str | None) -> dict[str, Any]:
    """The parameters with those texts that are given; raises InvalidParameter for one that is given twice."""
    values = dict(parameters)
    for name, text in texts.items():
        if text is not None:
            if name in values:
                raise InvalidParameter(f"The parameter {name} is given twice", parameter=name)
            values[name] = text
    return values


def prepare(
    template: Template, values: Mapping[str, Any], image: Source | None, mask: Source | None, settings: Settings
) -> GenerationRequest:
    """The request of these values and images, all of it checked; raises InvalidParameter, InvalidImage, TooLarge.

    A value of an image or mask parameter in ``values`` is the name of a file that the ComfyUI has.
    """
    inputs: dict[str, InputImage] = {}
    size: tuple[int, int] | None = None
    source_size: tuple[int, int] | None = None
    if image is not None:
        parameter = _only(template, "image", values)
        pixels = read_image(_bytes(image, settings), settings).pixels
        source_size = pixels.shape[1], pixels.shape[0]
        longest = int(parameter.high) if parameter.high is not None else None
        size = fitted_size(*source_size, longest, parameter.multiple)
        data = as_png(resized(pixels, size))
        inputs[parameter.name] = InputImage.of(data, size, input_path(image), source_size)
    if mask is not None:
        if size is None or source_size is None:
            raise InvalidInput("A mask needs its image beside it")
        parameter = _only(template, "mask", values)
        painted = read_mask(_bytes(mask, settings), settings, *source_size)
        data = mask_png(resized(painted, size))
        inputs[parameter.name] = InputImage.of(data, size, input_path(mask), source_size)
    resolved = template.resolve(values, frozenset(inputs))
    return GenerationRequest(GenerationRequest.fresh_id(), template.name, resolved, inputs)


async def run(
    wanted: GenerationRequest,
    template: Template,
    client: ComfyClient,
    folder: Path | None = None,
    silence: float | None = SILENCE,
) -> GenerationResult:
    """Carries out a prepared request on one ComfyUI; see :func:`submit_edit`."""
    timings = Timings()
    try:
        files = {name: (await client.upload_image(each.data)).reference for name, each in wanted.inputs.items()}
        filled = template.fill({**wanted.parameters, **files})
        targets = list(dict.fromkeys(output.node for output in template.outputs.values()))
        try:
            submission = await client.submit(filled.prompt, prompt_id=wanted.id)
            timings = Timings(queued=time.time())
            if not set(targets).isdisjoint(submission.dropped_outputs):
                raise PromptInvalid("ComfyUI would leave out outputs of the template", submission.dropped)
            outcome = await client.wait(wanted.id, silence=silence, on_progress=wanted.on_progress)
        except (ComfyUnreachable, ComfySilent):
            # It may be running: whoever asked is told its id, and nothing is cancelled behind his back.
            raise
        except BaseException as error:
            if timings.queued is not None or isinstance(error, asyncio.CancelledError):
                await _cancel(client, wanted.id)
            raise
        timings = replace(timings, started=outcome.started, ended=outcome.ended or time.time())
        outcome.check()
        outputs = await _outputs(wanted, template, client, outcome, folder)
    except GatebusError as error:
        state = {"comfyui_prompt_cancelled": "cancelled", "comfyui_prompt_lost": "lost"}.get(error.type, "failed")
        if wanted.on_error is not None:
            wanted.on_error(result_of(wanted, client.url, timings, error=error, state=state))
        raise
    result = result_of(wanted, client.url, timings, outputs)
    if wanted.on_complete is not None:
        wanted.on_complete(result)
    return result


async def _on_farm(wanted: GenerationRequest, template: Template, farm: Farm, folder: Path | None) -> GenerationResult:
    """Carries it out in a thread, with the callbacks on this loop."""
    loop = asyncio.get_running_loop()

    def here(callback: Callable[[T], None] | None) -> Callable[[T], None] | None:
        async def called(value: T) -> None:
            if callback is not None:
                callback(value)

        return callback and (lambda value: asyncio.run_coroutine_threadsafe(called(value), loop).result())

    told = (here(wanted.on_progress), here(wanted.on_complete), here(wanted.on_error))
    wanted = replace(wanted, on_progress=told[0], on_complete=told[1], on_error=told[2])
    stop = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(farm.carry_out, wanted, template, folder, stop))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        # What it raises is that it was stopped, or how it ended before.
        await asyncio.gather(running, return_exceptions=True)
        raise


async def _outputs(
    wanted: GenerationRequest, template: Template, client: ComfyClient, outcome: Outcome, folder: Path | None
) -> tuple[OutputImage, ...]:
    """The files of the template's outputs, in its order."""
    found = []
    for name, output in template.outputs.items():
        for file in outcome.files:
            if file.node_id == output.node:
                got = await client.download(file)
                path = str(await asyncio.to_thread(got.save, folder)) if folder is not None else ""
                found.append(
                    OutputImage(name, file.node_id, file.filename, got.digest, got.width, got.height, path, got.data)
                )
    if not found:
        raise NoOutput(f"The prompt {wanted.id} is done and put out no file of {template.name}", prompt_id=wanted.id)
    return tuple(found)


async def _cancel(client: ComfyClient, prompt_id: str) -> None:
    """Takes the prompt back, as far as that still goes: what made us do so is what the caller hears of."""
    try:
        await asyncio.wait_for(asyncio.shield(client.cancel(prompt_id)), 10)
    except (GatebusError, asyncio.TimeoutError):
        return


def _only(template: Template, kind: str, values: Mapping[str, Any]) -> Parameter:
    """The parameter that an image or mask goes to, never by guessing."""
    candidates = [parameter for parameter in template.of_type(kind) if parameter.name not in values]
    named = [parameter for parameter in candidates if parameter.name == kind]
    if named or len(candidates) == 1:
        return (named or candidates)[0]
    names = ", ".join(parameter.name for parameter in candidates)
    what = f"several to choose from: {names}; name one of them {kind}" if candidates else "none that is not given"
    raise InvalidParameter(
        f"The template {template.name} has no parameter for the {kind} ({what})", template=template.name, parameter=kind
    )


def _bytes(image: Source, settings: Settings) -> bytes:
    if isinstance(image, bytes):
        return image
    with open(image, "rb") as file:
        data = file.read(settings.max_image_bytes + 1)
    if len(data) > settings.max_image_bytes:
        raise TooLarge(f"{image} has more than {settings.max_image_bytes} bytes", limit=settings.max_image_bytes)
    return data
