"""How commands print: tables, ages, JSON, and text of others that must not steer the terminal."""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows under their heads, in columns."""
    cells = [[name.upper() for name in head], *[[clean(cell) for cell in row] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def clean(text: str) -> str:
    """The text on one line, without what a terminal would obey."""
    return "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)


def age(milliseconds: int) -> str:
    """How long ago that was, e.g. ``5 s``, ``12 min``, ``3 h``, ``2 d``."""
    seconds = max(0, int(time.time() - milliseconds / 1000))
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // divisor} {unit}"
    return f"{seconds // 86_400} d"


def as_json(value: Any) -> str:
    """The value as JSON for people and jq."""
    return json.dumps(value, ensure_ascii=False, indent=2)
