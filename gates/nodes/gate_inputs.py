"""The inputs of ``ImageGate``: as ComfyUI declares them, with what people read about each, and checked."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from ..bus.record import FORMATS, parse_bus_reference
from ..cut import BLOCKED
from ..errors import InvalidInput
from ..gate.record import MAX_ROUTES, Gate
from ..names import TEXT_LIMIT, check_decision_id, check_gate_id, check_name, clean_text

LONGEST_TIMEOUT = 31 * 86_400
"""Seconds."""

SEARCH_ALIASES = (
    "pause",
    "manual switch",
    "human in the loop",
    "approve",
    "review",
    "image chooser",
    "image filter",
    "router",
    "wait",
    "breakpoint",
    "checkpoint",
    "send image",
    "get image",
)

WHEN_WAITING = ("default", "hold", "park")

WAITING: dict[str, Any] = {
    "when_waiting": (
        list(WHEN_WAITING),
        {
            "default": WHEN_WAITING[0],
            "tooltip": "hold keeps this prompt until you have decided; park ends it, frees queue and memory, and goes"
            " on from here when you have decided. default is what GATEBUS_WHEN_WAITING says.",
        },
    ),
    "park_after": (
        "FLOAT",
        {
            "default": 0.0,
            "min": 0.0,
            "max": LONGEST_TIMEOUT,
            "step": 1.0,
            "tooltip": "Seconds until the gate parks. 0: with park at once, with hold never.",
        },
    ),
}
"""The last inputs of every gate node."""

# Set in API-format prompts only (``cut.py``): what this node takes up or passes again, and where it belongs.
HIDDEN: dict[str, Any] = {
    "unique_id": "UNIQUE_ID",
    "dynprompt": "DYNPROMPT",
    "extra_pnginfo": "EXTRA_PNGINFO",
    "resume": ("STRING", {}),
    "replay": ("STRING", {}),
    "family": ("STRING", {}),
}

# The order is a promise: saved workflows hold the values by position, so new ones are appended.
INPUTS: dict[str, Any] = {
    "required": {
        "routes": (
            "INT",
            {"default": 2, "min": 1, "max": MAX_ROUTES, "tooltip": "How many routes there are to choose from."},
        ),
    },
    "optional": {
        "image": ("IMAGE", {"tooltip": "The image batch to decide about; it is routed as one unit."}),
        "send_id": (
            "STRING",
            {
                "default": "",
                "tooltip": "Name of a bus: what passes is published there, the whole batch with its mask."
                " 1 to 64 letters, digits, _ - . Empty: nothing is published.",
            },
        ),
        "get_id": (
            "STRING",
            {
                "default": "",
                "tooltip": "Name of a bus to load from when no image is wired; name@-1 is the version before the"
                " newest, name@12 version 12. Nothing there, or empty: the gate stays silent and blocks every route.",
            },
        ),
        "labels": (
            "STRING",
            {"default": "", "multiline": True, "tooltip": "What each route means, one a line, from route 1 on."},
        ),
        "mask": (
            "MASK",
            {
                "tooltip": "The mask to pass on when none is painted at the gate and none was loaded."
                " Any size: it is made to fit the image."
            },
        ),
        "timeout": (
            "FLOAT",
            {
                "default": 0.0,
                "min": 0.0,
                "max": LONGEST_TIMEOUT,
                "step": 1.0,
                "tooltip": "Seconds until the gate stops waiting; 0 waits without end.",
            },
        ),
        "timeout_route": (
            "INT",
            {
                "default": 0,
                "min": 0,
                "max": MAX_ROUTES,
                "tooltip": "The route to take at the deadline; 0 stops this prompt instead.",
            },
        ),
        "note": (
            "STRING",
            {"default": "", "multiline": True, "tooltip": "What the person who decides should know."},
        ),
        "format": (
            list(FORMATS),
            {
                "default": FORMATS[0],
                "tooltip": "How the image is kept: png has 8 bits and opens in every viewer,"
                " exact gives back the identical tensor.",
            },
        ),
        **WAITING,
    },
    "hidden": HIDDEN,
}


@dataclass(frozen=True)
class Question:
    """What one call of the node asks."""

    routes: int
    """1 to 10."""
    send_id: str
    """The bus to publish on, "" for none."""
    get_id: str
    """The bus, or a version of it, to load from; "" for none."""
    labels: tuple[str, ...]
    """One a route."""
    timeout: float
    """Seconds, 0 for none."""
    timeout_route: int
    """The route at the deadline, 0 for none."""
    note: str
    format: str
    when_waiting: str
    park_after: float
    """Seconds."""
    resume: str
    """The gate to take up again, "" for none; as an orphan when there is no ``decision_id``."""
    replay: bool
    """Whether that gate was passed before, and only puts out the same once more."""
    decision_id: str
    """The decision to carry out, "" for none."""
    blocked: bool
    """Whether nobody is to be asked here, and everything blocked."""
    family: str
    """The prompt in which this family of gates began, "" for this one."""
    whole: str
    """The gate whose continuation holds the whole prompt, "" when it is this one."""

    def parks_after(self, default: str) -> float:
        """Seconds until the gate parks, infinite for never; ``default`` is the instance's ``when_waiting``."""
        way = default if self.when_waiting == "default" else self.when_waiting
        return self.park_after if way == "park" or self.park_after > 0 else math.inf

    def of(self, gate: Gate) -> Question:
        """As that gate asked it; a replay publishes nothing."""
        lines = (*gate.labels, *[""] * gate.routes)[: gate.routes]
        send_id = "" if self.replay else gate.send_id
        return replace(self, routes=gate.routes, labels=lines, note=gate.note, send_id=send_id)


def check_question(
    routes: int = MAX_ROUTES,
    send_id: str = "",
    get_id: str = "",
    labels: str = "",
    timeout: float = 0.0,
    timeout_route: int = 0,
    note: str = "",
    format: str = FORMATS[0],
    when_waiting: str = WHEN_WAITING[0],
    park_after: float = 0.0,
    resume: str = "",
    replay: str = "",
    family: str = "",
) -> Question:
    """What the inputs ask, checked; raises InvalidInput, InvalidName or TooLarge."""
    if not 1 <= routes <= MAX_ROUTES:
        raise InvalidInput(f"routes must be 1 to {MAX_ROUTES}, not {routes}")
    for name, seconds in (("timeout", timeout), ("park_after", park_after)):
        if not 0 <= seconds <= LONGEST_TIMEOUT:
            raise InvalidInput(f"{name} must be 0 (none) to {LONGEST_TIMEOUT} seconds, not {seconds:g}")
    if not 0 <= timeout_route <= routes:
        raise InvalidInput(
            f"timeout_route must be 0 (stop the prompt) or one of the routes, 1 to {routes}, not {timeout_route}"
        )
    if format not in FORMATS:
        raise InvalidInput(f"format must be {' or '.join(FORMATS)}")
    if when_waiting not in WHEN_WAITING:
        raise InvalidInput(f"when_waiting must be {', '.join(WHEN_WAITING)}")
    if replay and resume and BLOCKED not in (resume, replay):
        raise InvalidInput("A gate is resumed or replayed, not both")
    # Also as an item of a list of gates to replay.
    blocked = BLOCKED in (resume, replay)
    gate_id, _, decision_id = ("", "", "") if blocked else (resume or replay).partition(":")
    if replay and not blocked and not decision_id:
        raise InvalidInput("replay must be GATE:DECISION")
    first, _, whole = family.rpartition(":")
    lines = [clean_text(line.strip(), "label") for line in labels.splitlines()]
    if get_id:
        parse_bus_reference(get_id)
    return Question(
        routes=routes,
        send_id=check_name(send_id, "send_id") if send_id else "",
        get_id=get_id,
        # Surplus lines are kept by the node, not by the gate: routes may be added again.
        labels=tuple((lines + [""] * routes)[:routes]),
        timeout=timeout,
        timeout_route=timeout_route,
        note=clean_text(note, "note", TEXT_LIMIT),
        format=format,
        when_waiting=when_waiting,
        park_after=park_after,
        resume=check_gate_id(gate_id) if gate_id else "",
        replay=bool(replay) and not blocked,
        decision_id=check_decision_id(decision_id) if decision_id else "",
        blocked=blocked,
        family=clean_text(first, "family"),
        whole=check_gate_id(whole) if whole else "",
    )
