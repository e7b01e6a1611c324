"""``ImageGate``: stops a run at an image until somebody decides which way it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .. import codec, comfy
from ..bus.record import BusMeta, parse_bus_reference
from ..bus.version import check_draft
from ..errors import BusNotFound, GatebusError
from ..gate.record import MAX_ROUTES, Decision
from ..pixels import to_floats
from ..tensors import empty_mask, fit_mask, mask_to_array, to_array, to_tensor
from .asking import Asked, answered, ask, gate_at, taken_up
from .gate_inputs import INPUTS, SEARCH_ALIASES, Question, check_question
from .pause import Pause

NOTHING = 64
"""Height and width of the zero mask of a gate that had nothing to ask; ComfyUI's size for "no mask"."""


@dataclass
class _Opened:
    """A gate that was opened, and what it is about."""

    asked: Asked
    image: torch.Tensor
    mask: torch.Tensor
    """The mask to pass on unless one is painted: loaded from the bus, else wired, else zeros."""
    shown: bytes | None
    """That mask's first frame as the gate shows it, as PNG; None when there is neither a loaded nor a wired one."""


class ImageGate:
    """The node; see ``web/comfyui/docs/ImageGate.md`` for what it promises to people."""

    CATEGORY = "Gate Bus"
    DESCRIPTION = (
        "Pauses the run at an image until you pick a route (and paint a mask, if you like)."
        " What passed can be published on a bus and loaded from it in any workflow."
    )
    SEARCH_ALIASES = SEARCH_ALIASES
    FUNCTION = "run"
    RETURN_TYPES = ("MASK", *["IMAGE"] * MAX_ROUTES)
    RETURN_NAMES = ("mask", *[f"route_{number}" for number in range(1, MAX_ROUTES + 1)])
    OUTPUT_TOOLTIPS = (
        "The mask for the passed image, always of its size and batch (1 = painted): the one painted at the gate,"
        " else the one loaded from the bus, else the wired one, else zeros.",
        *[f"The whole image batch, when route {number} was chosen." for number in range(1, MAX_ROUTES + 1)],
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The inputs; their order is a promise to saved workflows."""
        return INPUTS

    @classmethod
    def VALIDATE_INPUTS(
        cls,
        routes: int | None = None,
        send_id: str | None = None,
        get_id: str | None = None,
        labels: str | None = None,
        timeout: float | None = None,
        timeout_route: int | None = None,
        note: str | None = None,
        resume: str | None = None,
    ) -> bool | str:
        """True, or what is wrong; refused when the prompt is queued. A linked input arrives as None."""
        given: dict[str, Any] = {
            "routes": routes,
            "send_id": send_id,
            "get_id": get_id,
            "labels": labels,
            "timeout": timeout,
            "timeout_route": timeout_route,
            "note": note,
            "resume": resume,
        }
        try:
            check_question(**{name: value for name, value in given.items() if value is not None})
        except GatebusError as error:
            return error.message
        return True

    @classmethod
    def IS_CHANGED(cls, get_id: str | None = "", resume: str | None = "", **inputs: Any) -> float | str:
        """Never the same twice when the gate may ask, so that no old decision is replayed; constant when it can't.

        A linked input arrives as None; one that is neither linked nor set does not arrive.
        """
        asks = "image" in inputs or get_id != "" or resume != ""
        return float("nan") if asks else "nothing to ask"

    async def run(
        self,
        routes: int,
        unique_id: str,
        dynprompt: Any,
        extra_pnginfo: Any = None,
        image: torch.Tensor | None = None,
        send_id: str = "",
        get_id: str = "",
        labels: str = "",
        mask: torch.Tensor | None = None,
        timeout: float = 0.0,
        timeout_route: int = 0,
        note: str = "",
        format: str = "png",
        resume: str = "",
    ) -> tuple[Any, ...]:
        """The mask [B, H, W] and the ten routes: the image batch for the one chosen, blockers for the others."""
        question = check_question(routes, send_id, get_id, labels, timeout, timeout_route, note, format, resume)
        if image is None and not get_id and not resume:
            return _nothing()
        at = comfy.place(unique_id, dynprompt, extra_pnginfo)
        with Pause(at) as pause:
            opened = await pause.step(lambda: _open(pause, question, at, image, mask), discard=_withdraw)
            if opened is None:
                return _nothing()
            return await answered(pause, opened.asked, lambda decision: _carry_out(question, at, opened, decision))


def _open(
    pause: Pause, question: Question, at: comfy.Place, image: torch.Tensor | None, wired: torch.Tensor | None
) -> _Opened | None:
    """Opens the gate and makes it known (in a thread); None when there is no image to ask about."""
    store = comfy.store()
    resumed = taken_up(store, question.resume, at, image is not None)
    loaded = None
    stored = False
    if image is None and resumed:
        image = to_tensor(store.gates.image(resumed))
        stored = True
    elif image is None:
        try:
            content = store.buses.load(*parse_bus_reference(question.get_id))
        except BusNotFound:
            return None
        image = to_tensor(content.image)
        loaded = None if content.mask is None else to_tensor(content.mask)
    array = to_array(image)
    given = wired if loaded is None else loaded
    # What can't be passed or published is said before anybody is asked. And a mask takes a
    # millisecond a megapixel, even an empty one: not to be spent between decision and next node.
    mask = empty_mask(image) if given is None else fit_mask(given, image)
    if question.send_id:
        check_draft(array, None, question.format, BusMeta(), store.settings)
    gate = gate_at(
        at,
        resumed,
        note=question.note,
        routes=question.routes,
        labels=question.labels,
        timeout_route=question.timeout_route,
        width=array.shape[2],
        height=array.shape[1],
        batch=array.shape[0],
        send_id=question.send_id,
        get_id=question.get_id,
    )
    compression = store.settings.compression
    shown = None if given is None else _mask_png(mask, compression)
    whole = None if stored else lambda: codec.encode(to_array(image), question.format, compression)
    asked = ask(pause, at, store, gate, codec.preview_jpeg(array), question.timeout, shown, whole)
    return _Opened(asked, image, mask, shown)


def _carry_out(question: Question, at: comfy.Place, opened: _Opened, decision: Decision) -> tuple[Any, ...]:
    """Publishes what passed, and makes the outputs (in a thread); raises StoreUnavailable."""
    image, mask = opened.image, opened.mask
    painted = opened.asked.waiter.mask()
    # One that was left as it was shown passes as it came: every frame of it, and unrounded.
    if painted != opened.shown:
        if painted is None:
            mask = empty_mask(image)
        else:
            mask = fit_mask(to_tensor(to_floats(codec.decode_png(painted)[..., 0])), image)
    if question.send_id:
        store = opened.asked.store
        store.buses.publish(
            question.send_id,
            to_array(image),
            mask_to_array(mask) if painted is not None else None,
            format=question.format,
            meta=BusMeta(store.settings.instance, at.workflow, question.labels[decision.route - 1]),
        )
    return (mask, *[image if number == decision.route else comfy.blocker() for number in range(1, MAX_ROUTES + 1)])


def _mask_png(mask: torch.Tensor, compression: str) -> bytes:
    """The first frame of a mask [B, H, W] as an 8-bit grey PNG, rounded."""
    return codec.encode_png((mask[0] * 255).round().to(torch.uint8).cpu().numpy(), compression)


def _withdraw(opened: _Opened | None) -> None:
    """Ends a gate that was opened after its prompt had been stopped."""
    if opened is not None:
        opened.asked.waiter.close("interrupted")


def _nothing() -> tuple[Any, ...]:
    """What a gate outputs that had nothing to ask: a zero mask, and every route blocked."""
    return (torch.zeros(1, NOTHING, NOTHING), *[comfy.blocker() for _ in range(MAX_ROUTES)])
