"""What settings about the world outside may hold: each function checks one value.

A value comes from a variable's text or from the file's JSON. What is not accepted raises
ValueError, whose text says what is, and never holds the value: it may be a secret.
"""

from __future__ import annotations

import re
from typing import Any

NOTIFY_EVENTS = ("opened", "waiting", "orphaned", "deadline")

_TARGET = re.compile(r"((json|discord|slack|telegram|ntfy)\+)?https?://[^\s/]+\S*")
_PUBLIC_URL = re.compile(r"https?://[^\s/?#@\"<>]+(/[^\s?#\"<>]*)?")


def public_url(value: Any) -> str:
    """The address of a page, with a slash at its end; "" for none."""
    if value == "":
        return ""
    if isinstance(value, str) and _PUBLIC_URL.fullmatch(value):
        return value if value.endswith("/") else value + "/"
    raise ValueError("empty, or a URL of http:// or https:// without user, query and fragment")


def targets(value: Any) -> tuple[str, ...]:
    """The URLs that notifications go to; what each form needs is checked where they are sent."""
    entries = re.split(r"[\s,]+", value) if isinstance(value, str) else value
    if isinstance(entries, list) and all(
        isinstance(url, str) and (not url or _TARGET.fullmatch(url)) for url in entries
    ):
        return tuple(url for url in entries if url)
    raise ValueError("URLs of https:// or FORM+https:// (json, discord, slack, telegram, ntfy), with commas between")


def secret(value: Any) -> str:
    """A shared secret; "" for none."""
    if value == "" or (isinstance(value, str) and re.fullmatch(r"[!-~]{16,256}", value)):
        return str(value)
    raise ValueError("16 to 256 ASCII characters without spaces, or empty")


def events(value: Any) -> tuple[str, ...]:
    """Some of ``NOTIFY_EVENTS``, in their order."""
    entries = value.split(",") if isinstance(value, str) else value
    if isinstance(entries, list) and all(isinstance(entry, str) for entry in entries):
        asked = {entry.strip() for entry in entries} - {""}
        if asked <= set(NOTIFY_EVENTS):
            return tuple(event for event in NOTIFY_EVENTS if event in asked)
    raise ValueError("some of " + ", ".join(NOTIFY_EVENTS) + ", with commas between")
