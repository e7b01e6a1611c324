"""``TextGate``: stops a run at a text until somebody has read it, edited it if need be, and passed it."""

from __future__ import annotations

from typing import Any

from .. import comfy
from ..errors import GatebusError
from ..gate.record import Decision
from ..names import TEXT_LIMIT, clean_text
from ..text_picture import text_jpeg
from .asking import Asked, answered, ask, gate_at, taken_up
from .gate_inputs import INPUTS, Question, check_question
from .passing import AT_TIMEOUT, check_at_timeout
from .pause import Pause

LABEL = "pass"
"""The label of the one route: the text goes on."""

_GATE = INPUTS["optional"]


class AnyType(str):
    """The type of a socket that takes, or gives, whatever it is wired to: ComfyUI asks whether two types differ."""

    def __ne__(self, other: object) -> bool:
        return False


ANY = AnyType("*")


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
            },
            "hidden": INPUTS["hidden"],
        }

    @classmethod
    def VALIDATE_INPUTS(
        cls,
        text: str | None = None,
        timeout: float | None = None,
        at_timeout: str | None = None,
        note: str | None = None,
        resume: str | None = None,
    ) -> bool | str:
        """True, or what is wrong; refused when the prompt is queued. A linked input arrives as None."""
        try:
            clean_text(text or "", "text", TEXT_LIMIT)
            _question(
                timeout=timeout or 0.0,
                at_timeout=AT_TIMEOUT[0] if at_timeout is None else at_timeout,
                note=note or "",
                resume=resume or "",
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
        resume: str = "",
    ) -> tuple[Any, ...]:
        """The text that was passed, and the signal as it came."""
        question = _question(timeout, at_timeout, note, resume)
        at = comfy.place(unique_id, dynprompt, extra_pnginfo)
        with Pause(at) as pause:
            asked = await pause.step(lambda: _open(pause, question, at, text), discard=_withdraw)
            return await answered(pause, asked, lambda decision: (_passed(asked, text, decision), signal))


def _question(timeout: float = 0.0, at_timeout: str = AT_TIMEOUT[0], note: str = "", resume: str = "") -> Question:
    return check_question(
        routes=1,
        labels=LABEL,
        timeout=timeout,
        timeout_route=check_at_timeout(at_timeout),
        note=note,
        resume=resume,
    )


def _open(pause: Pause, question: Question, at: comfy.Place, text: str) -> Asked:
    """Opens the gate and makes it known (in a thread); raises TooLarge, InvalidInput."""
    shown = clean_text(text, "text", TEXT_LIMIT)
    store = comfy.store()
    gate = gate_at(
        at,
        taken_up(store, question.resume, at, wired=True),
        kind="text",
        text=shown,
        note=question.note,
        routes=question.routes,
        labels=question.labels,
        timeout_route=question.timeout_route,
    )
    return ask(pause, at, store, gate, text_jpeg(shown), question.timeout)


def _passed(asked: Asked, text: str, decision: Decision) -> str:
    """The text of the decision; what nobody edited passes as it came, with what the gate can't show."""
    return text if decision.text == asked.waiter.gate.text else decision.text


def _withdraw(asked: Asked) -> None:
    """Ends a gate that was opened after its prompt had been stopped."""
    asked.waiter.close("interrupted")
