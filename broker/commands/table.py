"""How commands print: tables, ages, JSON, and text of others that must not steer the terminal."""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Sequence
from typing import Any

import click

from gates.store import Store

json_option = click.option("--json", "as_data", is_flag=True, help="JSON, as the HTTP API gives it.")
"""The option by which a command prints data for programs."""


def say_if_away(store: Store) -> None:
    """Says that Redis went away while something was changed, and what becomes of the change."""
    if store.unavailable():
        click.echo(
            "gatebus: Redis went away meanwhile. What was changed is kept on this machine's disk; a broker that runs"
            " here brings it there as soon as Redis is back.",
            err=True,
        )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows under their heads, in columns that stay straight in a terminal, also with CJK and combining marks."""
    cells = [[name.upper() for name in head], *[[clean(cell) for cell in row] for row in rows]]
    widths = [max(map(columns, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def columns(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    # The vowels and finals of Hangul are drawn onto the consonant before them.
    if unicodedata.category(character) in ("Mn", "Me", "Cf") or "\u1160" <= character <= "\u11ff":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def clean(text: str) -> str:
    """The text on one line, without what a terminal would obey."""
    return "".join(c if unicodedata.category(c)[0] != "C" and c not in "\u2028\u2029" else " " for c in text)


def age(milliseconds: int) -> str:
    """How long ago that was, e.g. ``5 s``, ``12 min``, ``3 h``, ``2 d``."""
    seconds = max(0, int(time.time() - milliseconds / 1000))
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // divisor} {unit}"
    return f"{seconds // 86_400} d"


def size(count: int) -> str:
    """The bytes for people, e.g. ``812 B``, ``4.2 MB``."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def as_json(value: Any) -> str:
    """The value as JSON for people and jq."""
    return json.dumps(value, ensure_ascii=False, indent=2)
