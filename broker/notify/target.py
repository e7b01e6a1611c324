"""A target of notifications: where messages go, and in which form; parsed from the settings only."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from yarl import URL

from gates.errors import InvalidSetting

FORMS = ("json", "discord", "slack", "telegram", "ntfy")

_FORM_OF_HOST = {
    "discord.com": "discord",
    "discordapp.com": "discord",
    "hooks.slack.com": "slack",
    "api.telegram.org": "telegram",
    "ntfy.sh": "ntfy",
}
"""Hosts whose own webhook URL, pasted as it is, gets the form that they understand."""


@dataclass(frozen=True)
class Target:
    """One place that messages are sent to."""

    number: int
    """From 1, in the order of the setting."""
    form: str
    """One of ``FORMS``."""
    url: URL = field(repr=False)
    """Secret: the token is a part of it."""

    @property
    def name(self) -> str:
        """For logs and people: what and where, without what is secret."""
        return f"notify {self.number} ({self.form} at {self.url.host})"

    @property
    def key(self) -> str:
        """16 hex digits by which brokers that share a Redis know the same target; tells nothing of the URL."""
        return hashlib.sha256(f"{self.form}+{self.url}".encode()).hexdigest()[:16]

    def redact(self, text: str) -> str:
        """The text without the parts of the URL that are secret, e.g. of an answer that repeats them."""
        parts = {self.url.raw_path, self.url.path, self.url.query_string, self.url.password or "", self.url.user or ""}
        parts |= {unquote(part) for part in self.url.raw_path.split("/")} | set(self.url.query.values())
        for part in sorted(parts, key=len, reverse=True):
            if len(part) >= 4:
                text = text.replace(part, "…")
        return text


def parse_targets(urls: Sequence[str], secret: str) -> list[Target]:
    """The targets of the setting ``notify``, in its order.

    ``FORM+https://…``, or a plain URL, whose form is known by its host (``json`` for any other).
    Raises InvalidSetting, which names the entry by its number and never shows it.
    """
    targets = [_parse(number, url) for number, url in enumerate(urls, 1)]
    if len({target.key for target in targets}) < len(targets):
        raise InvalidSetting("GATEBUS_NOTIFY names the same target twice", setting="notify")
    if not secret and any(target.form == "json" for target in targets):
        raise InvalidSetting(
            "GATEBUS_NOTIFY_SECRET is needed to sign what goes to webhooks of your own, e.g. `openssl rand -hex 32`",
            setting="notify_secret",
        )
    return targets


def _parse(number: int, text: str) -> Target:
    scheme, _, rest = text.partition("://")
    form, plus, protocol = scheme.rpartition("+")
    try:
        url = URL(f"{protocol if plus else scheme}://{rest}")
    except ValueError:
        raise _refused(number, "no URL") from None
    if not url.host:
        raise _refused(number, "a URL without a host")
    if not form:
        host = url.host.lower()
        known = (form for name, form in _FORM_OF_HOST.items() if host == name or host.endswith(f".{name}"))
        form = next(known, "json")
    segments = [segment for segment in url.path.split("/") if segment]
    if form == "telegram" and not (segments and re.fullmatch(r"bot[^/]+", segments[-1]) and "chat_id" in url.query):
        raise _refused(number, "for Telegram not of the form https://api.telegram.org/botTOKEN?chat_id=CHAT")
    if form == "ntfy" and not segments:
        raise _refused(number, "for ntfy not of the form https://ntfy.sh/TOPIC")
    if form in ("discord", "slack") and not segments:
        raise _refused(number, f"not the webhook URL that {form.capitalize()} gives")
    return Target(number, form, url.with_fragment(None))


def _refused(number: int, why: str) -> InvalidSetting:
    return InvalidSetting(f"Entry {number} of GATEBUS_NOTIFY is {why}", setting="notify")
