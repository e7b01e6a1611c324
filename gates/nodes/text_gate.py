"""``TextGate``: stops a run at a text until somebody has read it, edited it if need be, and passed it."""

from __future__ import annotations

from typing import Any

from .. import comfy
from ..errors import GatebusError
from ..gate.record import Decision
from ..names import TEXT_LIMIT, clean_text
from ..text_picture import text_jpeg
from .any_type import ANY
from .asking import Asked, answered, ask, blocked, gate_at, orphaned
from .gate_inputs import HIDDEN, INPUTS, WAITING, WHEN_WAITING, Question, check_question
from .parking import Keeping, keeping, kept_text, take_up
from .passing import AT_TIMEOUT, check_at_timeout
from .pause import Pause

LABEL = "pass"
"""The label of the one route: the text goes on."""

_GATE = INPUTS["optional"]


class TextGate:
    """The node; see ``web/comfyui/docs/TextGate.md`` for what it promises to people."""

    CATEGORY = "Gate Bus"
    DESCRIPTION = "Pauses the run at a text until you have read it, edited it if you like, and let it pass."
    SEARCH_ALIASES = ("edit text", "edit prompt", "text editor", "review text", "human in the loop", "pause", "wait")
    FUNCTION = "run"
    RETURN_TYPES = ("STRING", ANY)
    RETURN_NAMES = ("text", "signal")
    OUTPUT_TOOLTIPS = (
        "The text as it was edited at the gate, or as it came when nobody changed it.",
        "What came in as signal, once the text has passed: what is wired to it runs after the gate.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The inputs; their order is a promise to saved workflows."""
        return {
            "required": {
                "text": (
                    "STRING",
                    {
                        "default": "",
                        "multiline": True,
                        "dynamicPrompts": False,
                        "tooltip": f"The text to edit and pass, of {TEXT_LIMIT:,} characters at most; wire another"
                        " node's text to it, or write it here.",
                    },
                ),
            },
            "optional": {
                "signal": (
                    ANY,
                    {
                        "tooltip": "Anything: the gate asks only when it is there, and gives it on when the text has"
                        " passed. To put the gate into an order with nodes that have no text."
                    },
                ),
                "timeout": _GATE["timeout"],
                "at_timeout": (
                    list(AT_TIMEOUT),
                    {
                        "default": AT_TIMEOUT[0],
                        "tooltip": "What happens at the deadline: stop ends this prompt, pass lets the text go on as"
                        " it came.",
                    },
                ),
                "note": _GATE["note"],
                **WAITING,
            },
            "hidden": HIDDEN,
        }

    @classmethod
    def VALIDATE_INPUTS(
        cls,
        text: str | None = None,
        timeout: float | None = None,
        at_timeout: str | None = None,
        note: str | None = None,
        when_waiting: str | None = None,
        park_after: float | None = None,
        resume: str | None = None,
        replay: str | None = None,
        family: str | None = None,
    ) -> bool | str:
        """True, or what is wrong; refused when the prompt is queued. A linked input arrives as None."""
        try:
            clean_text(text or "", "text", TEXT_LIMIT)
            _question(
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
        text: str,
        unique_id: str,
        dynprompt: Any,
        extra_pnginfo: Any = None,
        signal: Any = None,
        timeout: float = 0.0,
        at_timeout: str = AT_TIMEOUT[0],
        note: str = "",
        **ways: Any,
    ) -> tuple[Any, ...]:
        """The text that was passed, and the signal as it came.

        Both are blocked when the gate has parked. ``ways``: ``when_waiting`` and what follows it in the inputs.
        """
        question = _question(timeout, at_timeout, note, **ways)
        if question.blocked:
            return blocked(len(self.RETURN_TYPES))
        at = comfy.place(unique_id, dynprompt, extra_pnginfo)
        with Pause(at) as pause:
            if question.decision_id:
                store = comfy.store()
                asked = Asked(store, at, await pause.at_last(lambda: take_up(store, question, at)))
                text = await pause.at_last(lambda: kept_text(store, asked.waiter.gate))
            else:
                keep = keeping(at, dynprompt, extra_pnginfo, question, text=text)
                asked = await pause.step(lambda: _open(pause, question, at, text, keep), discard=_withdraw)
            return await answered(
                pause, asked, lambda decision: (_passed(asked, text, decision), signal), len(self.RETURN_TYPES)
            )


def _question(timeout: float = 0.0, at_timeout: str = AT_TIMEOUT[0], note: str = "", **ways: Any) -> Question:
    return check_question(
        routes=1,
        labels=LABEL,
        timeout=timeout,
        timeout_route=check_at_timeout(at_timeout),
        note=note,
        **ways,
    )


def _open(pause: Pause, question: Question, at: comfy.Place, text: str, keep: Keeping) -> Asked:
    """Opens the gate and makes it known (in a thread); raises TooLarge, InvalidInput."""
    shown = clean_text(text, "text", TEXT_LIMIT)
    store = comfy.store()
    gate = gate_at(
        at,
        orphaned(store, question.resume, at, wired=True),
        kind="text",
        text=shown,
        note=question.note,
        routes=question.routes,
        labels=question.labels,
        timeout_route=question.timeout_route,
    )
    return ask(pause, at, store, gate, text_jpeg(shown), keep)


def _passed(asked: Asked, text: str, decision: Decision) -> str:
    """The text of the decision; what nobody edited passes as it came, with what the gate can't show."""
    return text if decision.text == asked.waiter.gate.text else decision.text


def _withdraw(asked: Asked) -> None:
    """Ends a gate that was opened after its prompt had been stopped."""
    asked.waiter.close("interrupted")
