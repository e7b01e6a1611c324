"""``ImageChooserGate``: stops a run at a batch until somebody has picked the images that go on."""

from __future__ import annotations

from typing import Any

import torch

from .. import comfy
from ..errors import GatebusError, InvalidInput
from ..gate.record import Decision
from ..tensors import to_tensor
from .asking import Asked, answered, blocked, orphaned
from .gate_inputs import HIDDEN, INPUTS, WAITING, WHEN_WAITING, Question, check_question
from .parking import Keeping, keeping
from .passing import AT_TIMEOUT, check_at_timeout, chosen_of
from .pause import Pause
from .picture import Picture, ask_about, picture, publish, taken_up

LABEL = "pass"
"""The label of the one route: what is chosen goes on."""

_GATE = INPUTS["optional"]


class ImageChooserGate:
    """The node; see ``web/comfyui/docs/ImageChooserGate.md`` for what it promises to people."""

    CATEGORY = "Gate Bus"
    DESCRIPTION = (
        "Pauses the run at a batch of images until you have ticked those that go on."
        " They pass as they came, in their order; the others come out too."
    )
    SEARCH_ALIASES = (
        "image chooser",
        "image filter",
        "pick images",
        "select from batch",
        "choose images",
        "preview chooser",
        "human in the loop",
        "pause",
    )
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE", "MASK", "IMAGE", "STRING", "INT")
    RETURN_NAMES = ("images", "mask", "rejected", "indexes", "count")
    OUTPUT_TOOLTIPS = (
        "The images that were chosen, untouched and in their order, as one batch.",
        "Their masks, always of their size and number (1 = painted): the one painted at the gate, else the wired"
        " ones, else zeros. Also what a Gate Decision is wired from.",
        "The images that were not chosen, in their order; blocked when there are none.",
        "Where in the batch the chosen ones were, from 0, with commas: 0,2,5.",
        "How many were chosen.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The inputs; their order is a promise to saved workflows."""
        return {
            "required": {},
            "optional": {
                "images": ("IMAGE", {"tooltip": "The batch to choose from."}),
                "send_id": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "Name of a bus: the chosen images are published there with their masks."
                        " 1 to 64 letters, digits, _ - . Empty: nothing is published.",
                    },
                ),
                "mask": (
                    "MASK",
                    {
                        "tooltip": "The masks to pass on when none is painted at the gate: one for each image, or one"
                        " for all. Any size: they are made to fit."
                    },
                ),
                "timeout": _GATE["timeout"],
                "at_timeout": (
                    list(AT_TIMEOUT),
                    {
                        "default": AT_TIMEOUT[0],
                        "tooltip": "What happens at the deadline: stop ends this prompt, pass lets all images go on.",
                    },
                ),
                "note": _GATE["note"],
                "format": _GATE["format"],
                **WAITING,
            },
            "hidden": HIDDEN,
        }

    @classmethod
    def VALIDATE_INPUTS(
        cls,
        images: Any = "not wired",
        send_id: str | None = None,
        timeout: float | None = None,
        at_timeout: str | None = None,
        note: str | None = None,
        when_waiting: str | None = None,
        park_after: float | None = None,
        resume: str | None = "",
        replay: str | None = "",
        family: str | None = None,
    ) -> bool | str:
        """True, or what is wrong; refused when the prompt is queued. A linked input arrives as None."""
        if images is not None and resume == "" and replay == "":
            return "images must be wired"
        try:
            _question(
                send_id=send_id or "",
                timeout=timeout or 0.0,
                at_timeout=AT_TIMEOUT[0] if at_timeout is None else at_timeout,
                note=note or "",
                when_waiting=when_waiting or WHEN_WAITING[0],
                park_after=park_after or 0.0,
                resume=resume or "",
                replay=replay or "",
                family=family or "",
            )
        except GatebusError as error:
            return error.message
        return True

    @classmethod
    def IS_CHANGED(cls, **inputs: Any) -> float:
        """Never the same twice: no old decision is replayed."""
        return float("nan")

    async def run(
        self,
        unique_id: str,
        dynprompt: Any,
        extra_pnginfo: Any = None,
        images: torch.Tensor | None = None,
        send_id: str = "",
        mask: torch.Tensor | None = None,
        timeout: float = 0.0,
        at_timeout: str = AT_TIMEOUT[0],
        note: str = "",
        format: str = "png",
        **ways: Any,
    ) -> tuple[Any, ...]:
        """The chosen images and their masks, the others (a blocker for none), the indexes and their number.

        Everything is blocked when the gate has parked. ``ways``: ``when_waiting`` and what follows it in the inputs.
        """
        question = _question(send_id, timeout, at_timeout, note, format, **ways)
        if question.blocked:
            return blocked(len(self.RETURN_TYPES))
        at = comfy.place(unique_id, dynprompt, extra_pnginfo)
        with Pause(at) as pause:
            if question.decision_id:
                asked, shown, question = await pause.at_last(lambda: taken_up(comfy.store(), question, at))
            else:
                keep = keeping(at, dynprompt, extra_pnginfo, question, format=format)
                asked, shown = await pause.step(
                    lambda: _open(pause, question, at, images, mask, keep), discard=_withdraw
                )
            return await answered(
                pause,
                asked,
                lambda decision: _carry_out(question, asked, shown, decision),
                len(self.RETURN_TYPES),
            )


def _question(
    send_id: str = "",
    timeout: float = 0.0,
    at_timeout: str = AT_TIMEOUT[0],
    note: str = "",
    format: str = "png",
    **ways: Any,
) -> Question:
    return check_question(
        routes=1,
        labels=LABEL,
        send_id=send_id,
        timeout=timeout,
        timeout_route=check_at_timeout(at_timeout),
        note=note,
        format=format,
        **ways,
    )


def _open(
    pause: Pause,
    question: Question,
    at: comfy.Place,
    images: torch.Tensor | None,
    mask: torch.Tensor | None,
    keep: Keeping,
) -> tuple[Asked, Picture]:
    """Opens the gate and makes it known (in a thread)."""
    store = comfy.store()
    orphan = orphaned(store, question.resume, at, images is not None)
    stored = images is None
    if images is None:
        if not orphan:
            raise InvalidInput("images must be wired")
        images = to_tensor(store.gates.image(orphan))
    shown = picture(images, mask, question, store)
    return ask_about(pause, at, store, question, shown, keep, orphan, stored, kind="batch"), shown


def _carry_out(question: Question, asked: Asked, shown: Picture, decision: Decision) -> tuple[Any, ...]:
    """Publishes what passed, and makes the outputs (in a thread); raises StoreUnavailable."""
    painted = asked.waiter.mask()
    indexes = chosen_of(decision, len(shown.image))
    others = [index for index in range(len(shown.image)) if index not in set(indexes)]
    passing = shown.only(indexes, painted)
    publish(question, asked.at, asked.store, LABEL, passing.image, None if painted is None else passing.mask)
    rejected = shown.image[others] if others else comfy.blocker()
    return passing.image, passing.mask, rejected, ",".join(map(str, indexes)), len(indexes)


def _withdraw(opened: tuple[Asked, Picture]) -> None:
    """Ends a gate that was opened after its prompt had been stopped."""
    opened[0].waiter.close("interrupted")
