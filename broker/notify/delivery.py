"""Brings a message to its target over HTTP: bounded in time, bytes and attempts, and never led elsewhere."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

from .forms import FORM_OF
from .message import Message
from .target import Target

ANSWER_LIMIT = 16 * 1024
"""Bytes of an answer that are read."""

LONGEST_WAIT = 60.0
"""Seconds that a target may ask us to wait, at most."""

# With a picture only: the service may dislike the picture, or take none (ntfy without a cache for files).
_PICTURE_REFUSED = (400, 413, 415, 422, 507)
_TRY_AGAIN = (408, 425, 429)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long one message is tried."""

    timeout: float = 10.0
    """Seconds for one attempt, from the name's look-up to the answer's end."""
    waits: tuple[float, ...] = (1.0, 4.0, 15.0, 60.0)
    """Seconds before the second attempt, the third, ...; each is multiplied by 0.5 to 1.5."""


@dataclass(frozen=True)
class Answer:
    """What a target said to one attempt."""

    accepted: bool
    reason: str
    """For people: the status, or why there is none; nothing of the URL."""
    text: str = ""
    """The beginning of the answer's body."""
    status: int = 0
    """0 when there was no answer."""
    final: bool = False
    """Whether another attempt would end alike."""
    wait: float = 0.0
    """Seconds that the target asks for before the next attempt."""


def make_session(patience: Patience) -> aiohttp.ClientSession:
    """A client that keeps nothing between messages: no cookies, no connection, no proxy or password of the account."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=patience.timeout),
        connector=aiohttp.TCPConnector(force_close=True, limit=16),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "gatebus", "Accept-Encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
    )


class Delivery:
    """Delivers messages with one session."""

    def __init__(
        self, session: aiohttp.ClientSession, secret: str, patience: Patience, counts: Counter[str] | None = None
    ) -> None:
        self._session = session
        self._secret = secret
        self._patience = patience
        self._counts = Counter() if counts is None else counts

    async def deliver(self, target: Target, message: Message) -> bool:
        """Whether the target accepted; after the last attempt the message is dropped with a line in the log."""
        picture, reasons = True, []
        for wait in (*self._patience.waits, None):
            answer = await self.attempt(target, message, picture)
            if answer.accepted:
                return True
            if picture and message.picture and answer.status in _PICTURE_REFUSED:
                picture = False
                answer = await self.attempt(target, message, picture)
                if answer.accepted:
                    return True
            reasons.append(answer.reason)
            if answer.final or wait is None:
                break
            self._counts["retried"] += 1
            await asyncio.sleep(max(wait * random.uniform(0.5, 1.5), answer.wait))
        log.warning(
            "gatebus: %s: a message (gates: %d) is dropped (attempts: %d): %s",
            target.name, len(message.notices), len(reasons), reasons[-1],
        )  # fmt: skip
        return False

    async def attempt(self, target: Target, message: Message, picture: bool = True) -> Answer:
        """One POST; never raises for what the target or the network does."""
        post = FORM_OF[target.form](target, message, picture, self._secret)
        try:
            async with self._session.post(
                post.url, data=post.body, headers=post.headers, allow_redirects=False
            ) as response:
                body = bytearray()
                while len(body) < ANSWER_LIMIT and (part := await response.content.read(ANSWER_LIMIT - len(body))):
                    body += part
                # What is left of a longer answer is not waited for.
                response.close()
                return _answer(response.status, response.headers.get("Retry-After", ""), bytes(body))
        except (asyncio.TimeoutError, TimeoutError):
            return Answer(False, f"no answer within {self._patience.timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The error's own text holds the URL.
            return Answer(False, f"not reached ({type(error).__name__})")


def _answer(status: int, retry_after: str, body: bytes) -> Answer:
    text = body.decode("utf-8", "replace")
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    reason = f"{status} {phrase}".rstrip()
    if 200 <= status < 300:
        return Answer(True, reason, text, status)
    if 300 <= status < 400:
        return Answer(False, f"{reason}: redirects are not followed", text, status, final=True)
    again = status >= 500 or status in _TRY_AGAIN
    return Answer(False, reason, text, status, final=not again, wait=_asked_wait(retry_after, text) if again else 0.0)


def _asked_wait(header: str, text: str) -> float:
    """Seconds, from the header or from the JSON of Discord and Telegram."""
    asked: object = header
    if not header:
        try:
            content = json.loads(text)
            asked = content.get("retry_after") or content.get("parameters", {}).get("retry_after")
        except (ValueError, AttributeError):
            return 0.0
    try:
        seconds = float(str(asked))
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT) if seconds == seconds else 0.0
