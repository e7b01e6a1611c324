"""``ImageGate``: stops a run at an image until somebody decides which way it goes on."""

from __future__ import annotations

from typing import Any

import torch

from .. import comfy
from ..bus.record import parse_bus_reference
from ..errors import BusNotFound, GatebusError
from ..gate.record import MAX_ROUTES, Decision
from ..tensors import to_tensor
from .asking import Asked, answered, blocked, orphaned
from .gate_inputs import INPUTS, SEARCH_ALIASES, Question, check_question
from .parking import Keeping, keeping
from .passing import chosen_of
from .pause import Pause
from .picture import Picture, ask_about, picture, publish, taken_up

NOTHING = 64
"""Height and width of the zero mask of a gate that had nothing to ask; ComfyUI's size for "no mask"."""


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
        when_waiting: str | None = None,
        park_after: float | None = None,
        resume: str | None = None,
        replay: str | None = None,
        family: str | None = None,
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
            "when_waiting": when_waiting,
            "park_after": park_after,
            "resume": resume,
            "replay": replay,
            "family": family,
        }
        try:
            check_question(**{name: value for name, value in given.items() if value is not None})
        except GatebusError as error:
            return error.message
        return True

    @classmethod
    def IS_CHANGED(
        cls, get_id: str | None = "", resume: str | None = "", replay: str | None = "", **inputs: Any
    ) -> float | str:
        """Never the same twice when the gate may ask, so that no old decision is replayed; constant when it can't.

        A linked input arrives as None; one that is neither linked nor set does not arrive.
        """
        asks = "image" in inputs or get_id != "" or resume != "" or replay != ""
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
        **ways: Any,
    ) -> tuple[Any, ...]:
        """The mask [B, H, W] and the ten routes: the image batch for the one chosen, blockers for the others.

        Everything is blocked when the gate has parked. ``ways``: ``when_waiting`` and what follows it in the inputs.
        """
        question = check_question(routes, send_id, get_id, labels, timeout, timeout_route, note, format, **ways)
        if question.blocked:
            return blocked(1 + MAX_ROUTES)
        if image is None and not get_id and not question.resume:
            return _nothing()
        at = comfy.place(unique_id, dynprompt, extra_pnginfo)
        with Pause(at) as pause:
            if question.decision_id:
                asked, shown, question = await pause.at_last(lambda: taken_up(comfy.store(), question, at))
            else:
                keep = keeping(at, dynprompt, extra_pnginfo, question, format=format)
                opened = await pause.step(lambda: _open(pause, question, at, image, mask, keep), discard=_withdraw)
                if opened is None:
                    return _nothing()
                asked, shown = opened
            return await answered(
                pause, asked, lambda decision: _carry_out(question, asked, shown, decision), 1 + MAX_ROUTES
            )


def _open(
    pause: Pause,
    question: Question,
    at: comfy.Place,
    image: torch.Tensor | None,
    wired: torch.Tensor | None,
    keep: Keeping,
) -> tuple[Asked, Picture] | None:
    """Opens the gate and makes it known (in a thread); None when there is no image to ask about."""
    store = comfy.store()
    orphan = orphaned(store, question.resume, at, image is not None)
    loaded = None
    stored = False
    if image is None and orphan:
        image = to_tensor(store.gates.image(orphan))
        stored = True
    elif image is None:
        try:
            content = store.buses.load(*parse_bus_reference(question.get_id))
        except BusNotFound:
            return None
        image = to_tensor(content.image)
        loaded = None if content.mask is None else to_tensor(content.mask)
    shown = picture(image, wired if loaded is None else loaded, question, store)
    asked = ask_about(pause, at, store, question, shown, keep, orphan, stored)
    return asked, shown


def _carry_out(question: Question, asked: Asked, shown: Picture, decision: Decision) -> tuple[Any, ...]:
    """Publishes what passed, and makes the outputs (in a thread); raises StoreUnavailable."""
    painted = asked.waiter.mask()
    passing = shown.only(chosen_of(decision, len(shown.image)), painted)
    label = question.labels[decision.route - 1]
    publish(question, asked.at, asked.store, label, passing.image, None if painted is None else passing.mask)
    routes = [passing.image if number == decision.route else comfy.blocker() for number in range(1, MAX_ROUTES + 1)]
    return passing.mask, *routes


def _withdraw(opened: tuple[Asked, Picture] | None) -> None:
    """Ends a gate that was opened after its prompt had been stopped."""
    if opened is not None:
        opened[0].waiter.close("interrupted")


def _nothing() -> tuple[Any, ...]:
    """What a gate outputs that had nothing to ask: a zero mask, and every route blocked."""
    return (torch.zeros(1, NOTHING, NOTHING), *[comfy.blocker() for _ in range(MAX_ROUTES)])
