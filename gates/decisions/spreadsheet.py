"""Rows of the decision log as CSV (RFC 4180, UTF-8) that a spreadsheet can open without obeying it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime, timezone

from .record import Entry

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a cell may not begin with: a spreadsheet would take it for a formula."""

COLUMNS = ("time", "seconds", *(field.name for field in fields(Entry)))
"""``time`` is ``at`` as people read it (UTC), ``seconds`` the time from the opening of the gate to the decision."""


def head() -> bytes:
    """The first line."""
    return _lines([COLUMNS])


def lines(rows: Iterable[Entry]) -> bytes:
    """A line for each row."""
    return _lines(_cells(row) for row in rows)


def _cells(row: Entry) -> list[str]:
    seconds = f"{(row.at - row.opened) / 1000:.1f}" if row.opened else ""
    values = [utc(row.at), seconds, *(str(value) for value in row.to_json().values())]
    return [f"'{value}" if value.startswith(FORMULA) else value for value in values]


def utc(milliseconds: int) -> str:
    """The time as ``2026-11-21T14:57:55Z``, "" for 0."""
    if not milliseconds:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _lines(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8", "replace")
