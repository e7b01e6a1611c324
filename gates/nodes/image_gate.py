"""``ImageGate``: stops a run at an image until somebody decides which way it goes on."""

from __future__ import annotations

import logging
import uuid
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import torch

from .. import codec, comfy
from ..bus.record import BusMeta, parse_bus_reference
from ..bus.version import check_draft
from ..errors import BusNotFound, GatebusError, GateClosed, GateNotFound, TakenBack
from ..gate.record import ENDED, MAX_ROUTES, Gate, Waiter
from ..pixels import to_floats
from ..store import Store
from ..tensors import empty_mask, fit_mask, mask_to_array, to_array, to_tensor
from .gate_inputs import INPUTS, SEARCH_ALIASES, Question, check_question
from .pause import Pause, in_background

log = logging.getLogger(__name__)

NOTHING = 64
"""Height and width of the zero mask of a gate that had nothing to ask; ComfyUI's size for "no mask"."""


@dataclass
class _Opened:
    """A gate that was opened, and what it is about."""

    store: Store
    waiter: Waiter
    image: torch.Tensor
    mask: torch.Tensor
    """The mask to pass on unless one is painted: loaded from the bus, else wired, else zeros."""
    shown: bytes | None
    """That mask's first frame as the gate shows it, as PNG; None when there is neither a loaded nor a wired one."""
    upload: Future[object] | None = None
    """The whole image on its way to the store, None when it is there already."""


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
            return await _pass(pause, question, at, opened)


async def _pass(pause: Pause, question: Question, at: comfy.Place, opened: _Opened) -> tuple[Any, ...]:
    """Waits for the decision and carries it out."""
    try:
        while True:
            try:
                return await pause.patiently(
                    lambda: _carry_out(pause, question, at, opened), when=opened.waiter.on_decision
                )
            except TakenBack:
                log.info("gatebus: gate %s waits again: its decision was taken back", opened.waiter.gate.id)
    except BaseException as error:
        _end(opened.waiter, error)
        raise
    finally:
        # What was decided is logged with its image, and its image kept for a time.
        if opened.upload is not None and opened.waiter.decision is None:
            opened.upload.cancel()


def _open(
    pause: Pause, question: Question, at: comfy.Place, image: torch.Tensor | None, wired: torch.Tensor | None
) -> _Opened | None:
    """Opens the gate and makes it known (in a thread); None when there is no image to ask about."""
    store = comfy.store()
    resumed = _resumed(store, question, at, image is not None)
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
    gate = Gate(
        id=resumed or uuid.uuid4().hex,
        prompt_id=at.prompt_id,
        node_id=at.node_id,
        list_index=at.list_index,
        client_id=at.client_id,
        title=at.title,
        workflow=at.workflow,
        workflow_id=at.workflow_id,
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
    shown = None if given is None else _mask_png(mask, store.settings.compression)
    waiter = store.gates.open(gate, codec.preview_jpeg(array), question.timeout, shown)
    opened = _Opened(store, waiter, image, mask, shown)
    try:
        pause.watch(waiter)
        comfy.announce(at, gate.id)
        if not stored:
            opened.upload = in_background(lambda: _store_image(opened, question), "storing a gate's image", long=True)
    except BaseException:
        waiter.close("error")
        raise
    return opened


def _resumed(store: Store, question: Question, at: comfy.Place, wired: bool) -> str:
    """The id of the gate that this call takes up again, "" for none.

    Of the calls over a list, only the one that opened the gate takes it up; without a wired
    image there is no list.
    """
    if not question.resume or not wired:
        return question.resume
    try:
        position = store.gates.get(question.resume).list_index
    except GateNotFound:
        position = 0
    return question.resume if at.list_index == position else ""


def _store_image(opened: _Opened, question: Question) -> None:
    """Stores the whole image (in a thread); also when the gate was decided before it came to that."""
    compression = opened.store.settings.compression
    opened.waiter.store_image(codec.encode(to_array(opened.image), question.format, compression))


def _carry_out(pause: Pause, question: Question, at: comfy.Place, opened: _Opened) -> tuple[Any, ...]:
    """Acknowledges the decision, publishes what passed, and makes the outputs (in a thread).

    Raises StoreUnavailable when it has to be done again, TakenBack when there is another decision
    to wait for, Fenced when another owner has the gate.
    """
    waiter = opened.waiter
    decision = waiter.decision
    if decision is None and waiter.gate.status in ENDED:
        raise GateClosed(f"The gate was ended elsewhere ({waiter.gate.outcome})", gate=waiter.gate.id)
    if decision is None or decision.kind == "route":
        # In the store another decision may have been first.
        try:
            decision = waiter.apply()
        except TakenBack:
            pause.watch(waiter)
            raise
    if decision.kind != "route":
        raise comfy.interruption()
    image, mask = opened.image, opened.mask
    painted = waiter.mask()
    # One that was left as it was shown passes as it came: every frame of it, and unrounded.
    if painted != opened.shown:
        if painted is None:
            mask = empty_mask(image)
        else:
            mask = fit_mask(to_tensor(to_floats(codec.decode_png(painted)[..., 0])), image)
    if question.send_id:
        opened.store.buses.publish(
            question.send_id,
            to_array(image),
            mask_to_array(mask) if painted is not None else None,
            format=question.format,
            meta=BusMeta(opened.store.settings.instance, at.workflow, question.labels[decision.route - 1]),
        )
    return (mask, *[image if number == decision.route else comfy.blocker() for number in range(1, MAX_ROUTES + 1)])


def _mask_png(mask: torch.Tensor, compression: str) -> bytes:
    """The first frame of a mask [B, H, W] as an 8-bit grey PNG, rounded."""
    return codec.encode_png((mask[0] * 255).round().to(torch.uint8).cpu().numpy(), compression)


def _end(waiter: Waiter, error: BaseException) -> None:
    """Ends a gate whose decision is not carried out. Never waits: the prompt has to end at once."""
    if waiter.decision is not None and waiter.decision.kind != "route":
        # Stopped by the decision itself, which is thereby carried out.
        in_background(waiter.apply, "acknowledging a stop").add_done_callback(lambda _: waiter.close("interrupted"))
    elif isinstance(error, Exception) and not isinstance(error, type(comfy.interruption())):
        waiter.close("error")
    else:
        waiter.close("interrupted")


def _withdraw(opened: _Opened | None) -> None:
    """Ends a gate that was opened after its prompt had been stopped."""
    if opened is not None:
        opened.waiter.close("interrupted")


def _nothing() -> tuple[Any, ...]:
    """What a gate outputs that had nothing to ask: a zero mask, and every route blocked."""
    return (torch.zeros(1, NOTHING, NOTHING), *[comfy.blocker() for _ in range(MAX_ROUTES)])
