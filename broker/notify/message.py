"""What people are told: one message about one gate or about many."""

from __future__ import annotations

import time
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from gates.gate.record import Gate

LISTED = 1000
"""Gates that a signed webhook lists one by one; ``count`` tells of all."""

NOTE_LIMIT = 1000
"""Characters of a note that a signed webhook carries; the whole one is in the API."""

GROUPS = 8
"""Workflows that a message about many gates names."""

_ONE = {
    "opened": "A gate waits",
    "waiting": "A gate still waits",
    "orphaned": "A gate's process is gone",
    "deadline": "A gate's deadline has passed",
    "failed": "What ran on from a gate has failed",
}
_MANY = {
    "opened": "{} gates wait",
    "waiting": "{} gates still wait",
    "orphaned": "the processes of {} gates are gone",
    "deadline": "{} gates ended by their deadline",
    "failed": "what ran on from {} gates has failed",
}
_FIELDS = (
    "id", "kind", "status", "title", "workflow", "instance", "note", "routes", "labels", "opened", "deadline",
    "width", "height", "batch", "send_id", "get_id",
)  # fmt: skip


@dataclass(frozen=True)
class Notice:
    """One thing to tell: what happened to which gate."""

    event: str
    """``opened``, ``waiting`` (it still does), ``orphaned``, ``deadline``, or ``failed``: the run from it."""
    gate: Gate


@dataclass(frozen=True)
class Message:
    """One message to one target; its texts are plain, each form escapes them as it must."""

    delivery: str
    """The same over every repeat."""
    notices: tuple[Notice, ...]
    public_url: str = ""
    """The page that links lead to, "" for none."""
    picture: bytes | None = field(default=None, repr=False)
    """A small JPEG of the gate, when the message is about one."""

    @property
    def title(self) -> str:
        """One line."""
        if len(self.notices) == 1:
            notice = self.notices[0]
            return f"{_ONE[notice.event]}: {plain(notice.gate.title or notice.gate.workflow, 100)}".rstrip(": ")
        counted = Counter(notice.event for notice in self.notices)
        parts = [_MANY[event].format(count) if count > 1 else _ONE[event] for event, count in counted.items()]
        title = "; ".join(part[0].lower() + part[1:] for part in parts)
        return title[0].upper() + title[1:]

    @property
    def lines(self) -> list[str]:
        """What follows the title, a line each."""
        if len(self.notices) == 1:
            return _about(self.notices[0])
        counted = Counter(plain(notice.gate.workflow, 80) or "without a name" for notice in self.notices)
        lines = [f"workflow {name}: {count}" for name, count in counted.most_common(GROUPS)]
        rest = len(self.notices) - sum(count for _, count in counted.most_common(GROUPS))
        return [*lines, f"{len(counted) - GROUPS} other workflows: {rest}"] if rest else lines

    @property
    def link(self) -> str:
        """The page of the gate, or the one of all that wait; "" without ``public_url``. It only shows."""
        return self._link(self.notices[0].gate.id if len(self.notices) == 1 else "")

    def to_json(self) -> dict[str, Any]:
        """The body of the signed webhook."""
        return {
            "delivery": self.delivery,
            "title": self.title,
            "text": "\n".join(self.lines),
            "url": self.link,
            "count": len(self.notices),
            "gates": [self._gate(notice) for notice in self.notices[:LISTED]],
        }

    def _gate(self, notice: Notice) -> dict[str, Any]:
        gate = notice.gate
        shown = {"event": notice.event, **{name: getattr(gate, name) for name in _FIELDS}}
        if notice.event == "deadline" and gate.decision is not None:
            shown["decision"] = {"kind": gate.decision.kind, "route": gate.decision.route}
        if notice.event == "failed":
            shown["run_error"] = clip(gate.run_error, NOTE_LIMIT)
        shown["note"] = clip(gate.note, NOTE_LIMIT)
        shown["url"] = self._link(gate.id)
        shown["preview"] = urljoin(self.public_url, f"gatebus/gates/{gate.id}/preview") if self.public_url else ""
        return shown

    def _link(self, gate_id: str) -> str:
        place = f"#/gates/{gate_id}" if gate_id else "#/gates"
        return self.public_url + place if self.public_url else ""


def plain(text: str, limit: int) -> str:
    """Typed text on one line of at most ``limit`` characters, without control and bidi characters."""
    words = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text).split()
    return clip(" ".join(words), limit)


def clip(text: str, limit: int) -> str:
    """The text, cut to at most ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _about(notice: Notice) -> list[str]:
    gate = notice.gate
    lines = [plain(gate.run_error, 300)] if notice.event == "failed" and gate.run_error else []
    if gate.workflow and gate.title:
        lines.append(f"workflow {plain(gate.workflow, 80)}")
    if gate.instance:
        lines.append(f"on {plain(gate.instance, 64)}")
    if any(gate.labels):
        labels = [f"{number} {plain(label, 40)}".rstrip() for number, label in enumerate(gate.labels, 1)]
        lines.append("routes: " + ", ".join(labels))
    if gate.note:
        lines.append(plain(gate.note, 300))
    if gate.deadline:
        lines.append(time.strftime("until %Y-%m-%d %H:%M UTC", time.gmtime(gate.deadline / 1000)))
    return lines
