"""The images of decided gates as files for dataset work: each frame with its caption, mask and log row beside it.

    20261121-145755_0f3a9c2b1d4e_000.png         frame 0, if it went on, as stored, 8 bits
    20261121-145755_0f3a9c2b1d4e_000.mask.png    what was painted at the gate, when anything was
    20261121-145755_0f3a9c2b1d4e_000.txt         the caption
    20261121-145755_0f3a9c2b1d4e_000.json        the row of the decision log

The name is the time of the decision (UTC), the beginning of the gate's id, and the frame's number: the
same at every export.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone

from ..gate.record import GateStore
from .record import TAKEN_BACK, Entry

CAPTIONS = ("", "text", "label", "title", "note")
"""What a caption is made of; "": the decision's text, else the route's label, else the title."""

SHORT = 12
"""Characters of a gate's id in a name."""


def frame_names(row: Entry) -> dict[int, str]:
    """Frame -> its name, without an ending, of those that went on; none of a decision that was taken back."""
    if row.kind != "route" or row.outcome == TAKEN_BACK:
        return {}
    time = datetime.fromtimestamp(row.at / 1000, timezone.utc).strftime("%Y%m%d-%H%M%S")
    frames = map(int, row.chosen.split(",")) if row.chosen else range(row.batch)
    return {frame: f"{time}_{row.gate[:SHORT]}_{frame:03d}" for frame in frames}


def frame_files(gates: GateStore, row: Entry, frame: int, caption: str = "") -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files of one frame, the image last: where it is, the others are too.

    Raises GateNotFound when the image or its mask is not stored any more, or was not yet.
    """
    name = frame_names(row)[frame]
    image = gates.frame(row.gate, frame)
    if row.mask:
        mask = gates.mask(row.gate)
        if mask is not None:
            yield f"{name}.mask.png", mask
    yield f"{name}.txt", caption_of(row, caption).encode()
    yield f"{name}.json", json.dumps(row.to_json(), ensure_ascii=False, indent=2).encode() + b"\n"
    yield f"{name}.png", image


def caption_of(row: Entry, choice: str = "") -> str:
    """The caption by one of CAPTIONS; "" when there is none."""
    if choice:
        return str(getattr(row, choice))
    return row.text or row.label or row.title
