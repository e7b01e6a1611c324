"""What was decided about a gate, and how it is checked on its way in."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from itertools import pairwise

from ..errors import InvalidInput
from ..names import TEXT_LIMIT, check_decision_id, check_int, clean_text

MAX_ROUTES = 10


@dataclass(frozen=True)
class Decision:
    """What was decided about a gate; made once."""

    id: str
    """Made by who decides, the same over every repeat of the same decision."""
    kind: str
    """``route``; ``cancel``: the prompt is to be stopped; ``expire``: the deadline passed and names no route."""
    route: int = 0
    """1 to 10 for ``route``, otherwise 0."""
    by: str = ""
    where: str = ""
    """Which way it came, as the server that took it saw it: ``ADDRESS via INSTANCE`` or ``command on HOST``."""
    text: str = ""
    mask: str = ""
    """The token of the mask painted at the gate, "" when none was."""
    at: int = 0
    """Milliseconds since the epoch, by the store's clock."""
    chosen: str = ""
    """Indexes of the images of the batch that go on, from 0, ascending, with commas (``0,2,5``); "" for all."""

    def same(self, other: Decision) -> bool:
        """Whether the two say the same, whoever made them."""
        return (self.kind, self.route, self.text, self.chosen) == (other.kind, other.route, other.text, other.chosen)


def make_decision(
    kind: str, route: int = 0, by: str = "", text: str = "", id: str = "", where: str = "", chosen: str = ""
) -> Decision:
    """A checked decision, with a fresh id when none is given; raises InvalidInput, InvalidName or TooLarge."""
    if kind == "route":
        check_int(route, "route", 1, MAX_ROUTES)
    elif kind not in ("cancel", "expire") or route != 0:
        raise InvalidInput("A decision is a route, a cancel or an expire", kind=kind)
    if chosen and kind != "route":
        raise InvalidInput("Only with a route can images be chosen", kind=kind)
    return Decision(
        id=check_decision_id(id) if id else uuid.uuid4().hex,
        kind=kind,
        route=route,
        by=clean_text(by, "by"),
        where=clean_text(where, "where"),
        text=clean_text(text, "text", TEXT_LIMIT),
        chosen=check_chosen(chosen),
    )


def check_chosen(chosen: str) -> str:
    """``chosen`` of a decision as it came in; raises InvalidInput or TooLarge."""
    text = clean_text(chosen, "chosen", TEXT_LIMIT)
    if text and not (re.fullmatch(r"[0-9]{1,6}(,[0-9]{1,6})*", text, re.ASCII) and _ascending(text)):
        raise InvalidInput(
            "chosen must be the indexes of images from 0, each once, ascending, with commas: 0,2,5", what="chosen"
        )
    return text


def _ascending(numbers: str) -> bool:
    """Whether they are so, each once and without zeros before it: two that say the same are then the same text."""
    values = [int(number) for number in numbers.split(",")]
    return ",".join(map(str, values)) == numbers and all(a < b for a, b in pairwise(values))
