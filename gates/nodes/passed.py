"""What was decided at the gates of the prompt that runs, for the nodes behind them; in this process, not stored.

ComfyUI runs one prompt at a time in a process, and a gate runs anew in each prompt that holds it
(continued ones too), so what the last few prompts passed is all that anybody can ask for.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from .. import comfy
from ..gate.record import Decision, Gate

PROMPTS = 8
"""Prompts of which the decisions are remembered."""


@dataclass(frozen=True)
class Passed:
    """One decision that was carried out, and the gate as it was then."""

    gate: Gate
    decision: Decision


_lock = threading.Lock()
_prompts: OrderedDict[str, dict[tuple[str, int], Passed]] = OrderedDict()


def remember(at: comfy.Place, gate: Gate, decision: Decision) -> None:
    """Keeps what was carried out at that node, for that item of a list; the last one counts."""
    with _lock:
        _prompts.setdefault(at.prompt_id, {})[at.node_id, at.list_index] = Passed(gate, decision)
        _prompts.move_to_end(at.prompt_id)
        while len(_prompts) > PROMPTS:
            _prompts.popitem(last=False)


def recall(prompt_id: str, node_id: str, list_index: int) -> Passed | None:
    """What was carried out at that node in that prompt, None when it asked nobody."""
    with _lock:
        return _prompts.get(prompt_id, {}).get((node_id, list_index))
