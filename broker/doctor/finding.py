"""One line of what the doctor found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and how to mend it."""

    state: State
    """``wrong``: something does not work. ``warning``: it works, but may not for long, or not as meant."""
    check: str
    """Stable, for programs: ``redis.version``."""
    text: str
    """For people; never a secret."""
    mend: str = ""
    """What to do, "" when it is ok."""

    def to_json(self) -> dict[str, Any]:
        """The finding for programs."""
        return asdict(self)


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding("ok", check, text)


def warning(check: str, text: str, mend: str) -> Finding:
    """It works, but may not for long, or not as meant."""
    return Finding("warning", check, text, mend)


def wrong(check: str, text: str, mend: str) -> Finding:
    """Something does not work."""
    return Finding("wrong", check, text, mend)
