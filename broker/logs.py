"""What the broker writes to stderr: one line a record, for people or as JSON for machines.

A record's data stand in ``extra={"fields": {...}}``. What callers send is in no line: paths are
those of the route table, queries and tokens are left out.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

_PLAIN = re.compile(r"[^\s\"=]+")


class JsonLines(logging.Formatter):
    """``{"time", "level", "logger", "message", …fields, "error"?}``; the time is UTC, the error a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, Any] = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """Time (UTC), level, message and the fields as ``name=value``; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        fields = "".join(f" {name}={_shown(value)}" for name, value in _fields(record).items())
        # A line break in a message would let whoever caused it write lines of their own.
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        line = f"{_utc(record.created)} {record.levelname:<7} {message}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up(kind: str, level: str) -> None:
    """From now on this process logs in that format (of FORMATS), our own records from that level (of LEVELS) on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if kind == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, _number(level)))
    for name in ("gates", "broker"):
        logging.getLogger(name).setLevel(_number(level))
    # Libraries raise warnings of their own (ssl, resources); they belong into the same lines.
    logging.captureWarnings(True)


def _number(level: str) -> int:
    return int(getattr(logging, level.upper()))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return dict(getattr(record, "fields", {}))


def _shown(value: Any) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _utc(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03d}Z"
