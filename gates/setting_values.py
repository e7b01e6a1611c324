"""What settings may hold: each function checks one value, or makes such a function.

A value comes from a variable's text or from the file's JSON. What is not accepted raises
ValueError, whose text says what is, and never holds the value: it may be a secret.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import GatebusError
from .names import check_name
from .peer import Network

SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
ROLES = ("view", "decide", "admin", "instance")
LOG_LEVELS = ("debug", "info", "warning", "error")
NOTIFY_EVENTS = ("opened", "waiting", "orphaned", "deadline", "failed")

_TARGET = re.compile(r"((json|discord|slack|telegram|ntfy)\+)?https?://[^\s/]+\S*")
_PUBLIC_URL = re.compile(r"https?://[^\s/?#@\"<>]+(/[^\s?#\"<>]*)?")
_HOST_PORT = re.compile(
    r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:,\s]*)(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
)
_TOKEN = re.compile(r"(view|decide|admin|instance):([A-Za-z0-9_.-]{1,64}):([0-9a-f]{64})")


@dataclass(frozen=True)
class Token:
    """One accepted bearer token: its role, the name that its decisions carry, the SHA-256 of the token in hex."""

    role: str
    name: str
    sha256: str


def whole(low: int, high: int) -> Callable[[Any], int]:
    """The check of a whole number of ``low`` to ``high``, both of them accepted."""

    def parse(value: Any) -> int:
        if type(value) is int or (isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value)):
            number = int(value)
            if low <= number <= high:
                return number
        raise ValueError(f"a whole number of {low} to {high}")

    return parse


def seconds(low: float, high: float) -> Callable[[Any], float]:
    """The check of a number of seconds of ``low`` to ``high``, both of them accepted."""

    def parse(value: Any) -> float:
        if type(value) in (int, float) or (
            isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", value)
        ):
            number = float(value)
            if low <= number <= high:
                return number
        raise ValueError(f"seconds, {low:g} to {high:g}")

    return parse


def choice(*options: str) -> Callable[[Any], str]:
    """The check of a word that is one of the options."""

    def parse(value: Any) -> str:
        if value in options:
            return str(value)
        raise ValueError("one of " + ", ".join(options))

    return parse


def store_url(value: Any) -> str:
    """The address of the shared state, whole as given; "" for this machine only."""
    if value == "":
        return ""
    accepted = "empty (this machine only), or a URL that begins with " + ", ".join(f"{s}://" for s in SCHEMES)
    if not isinstance(value, str):
        raise ValueError(accepted)
    parts = urlsplit(value)
    if parts.scheme not in SCHEMES:
        raise ValueError(accepted)
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("unix:///path/to/redis.sock")
    elif not parts.netloc.rpartition("@")[2]:
        raise ValueError(f"{parts.scheme}://host:port/...")
    for host in parts.netloc.rpartition("@")[2].split(","):
        if not _HOST_PORT.fullmatch(host):
            raise ValueError(f"{parts.scheme}://host:port/... with a port of 1 to 65535")
    if parts.scheme.endswith("+sentinel") and not parts.path.strip("/"):
        raise ValueError(f"{parts.scheme}://host:26379,host:26379/MASTER_NAME/DB")
    return value


def page_url(value: Any) -> str:
    """The address of a page of ComfyUI, as given; "" for none."""
    if value == "":
        return ""
    parts = urlsplit(value) if isinstance(value, str) and re.fullmatch(r"[!-~]{1,500}", value) else None
    plain = parts and parts.scheme in ("http", "https") and "@" not in parts.netloc
    if not parts or not plain or not parts.hostname or not _HOST_PORT.fullmatch(parts.netloc):
        raise ValueError("empty, or http://host:port or https://host:port, with a path if it has one")
    return str(value)


def page_urls(value: Any) -> tuple[str, ...]:
    """Addresses of several ComfyUIs, each once."""
    entries = re.split(r"[\s,]+", value) if isinstance(value, str) else value
    if not isinstance(entries, list):
        raise ValueError("http://host:port or https://host:port, with a path if it has one, with commas between")
    return tuple(dict.fromkeys(page_url(entry).rstrip("/") for entry in entries if entry != ""))


def log_level(value: Any) -> str:
    """From which level on a process logs; "" for its own."""
    if value in ("", *LOG_LEVELS):
        return str(value)
    raise ValueError("one of " + ", ".join(LOG_LEVELS))


def namespace(value: Any) -> str:
    """The first word of every key in Redis."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,32}", value):
        return value
    raise ValueError("1 to 32 of A-Z a-z 0-9 _ -")


def name(value: Any) -> str:
    """A name as people type it; see :func:`names.check_name`."""
    try:
        return check_name(value)
    except GatebusError as error:
        raise ValueError("1 to 64 letters, digits, _ - .") from error


def folder(value: Any) -> Path | None:
    """An absolute path, ``~`` expanded; None for none."""
    if value in ("", None):
        return None
    if isinstance(value, str) and Path(value).expanduser().is_absolute():
        return Path(value).expanduser()
    raise ValueError("an absolute path, or empty")


def tokens(value: Any) -> tuple[Token, ...]:
    """The accepted bearer tokens; a text holds them with commas between."""
    entries = value.split(",") if isinstance(value, str) else value
    if not isinstance(entries, list):
        raise ValueError("role:name:sha256 entries, with commas between")
    accepted = []
    for entry in entries:
        if isinstance(entry, str) and not entry.strip():
            continue
        match = _TOKEN.fullmatch(entry.strip()) if isinstance(entry, str) else None
        if match is None:
            raise ValueError(f"entries of role:name:sha256 (roles {', '.join(ROLES)}; the token's SHA-256 in hex)")
        accepted.append(Token(*match.groups()))
    return tuple(accepted)


def hosts(value: Any) -> tuple[str, ...]:
    """Host names in lower case, some with a port or in brackets; a text holds them with commas between."""
    entries = value.split(",") if isinstance(value, str) else value
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ValueError("host names, with commas between")
    names = tuple(entry.strip().lower() for entry in entries if entry.strip())
    if not all(re.fullmatch(r"[a-z0-9_.:\[\]-]{1,253}", host) for host in names):
        raise ValueError("host names, with commas between")
    return names


def networks(value: Any) -> tuple[Network, ...]:
    """Networks, a single address as a network of one; a text holds them with commas between."""
    entries = value.split(",") if isinstance(value, str) else value
    accepted = "IP addresses or networks (10.0.0.0/8), with commas between"
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ValueError(accepted)
    try:
        return tuple(ipaddress.ip_network(entry.strip(), strict=False) for entry in entries if entry.strip())
    except ValueError:
        raise ValueError(accepted) from None


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
