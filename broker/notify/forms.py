"""The forms of a message: what is posted to each kind of target.

What people typed is escaped as each service reads it, and none of it calls anybody: mentions are
switched off where the service lets us, and broken with an invisible character where it does not.
A function here builds one HTTP POST; it is called afresh for every attempt.
"""

from __future__ import annotations

import base64
import html
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from .message import Message, clip
from .signature import DELIVERY, SIGNATURE, TIMESTAMP, sign
from .target import Target

OPEN = "Open the page"
PICTURE_NAME = "gate.jpg"

_BREAK = "\u2060"
"""A word joiner: invisible, and what stands before and after it is no mention any more."""


@dataclass(frozen=True)
class Post:
    """One HTTP POST."""

    url: URL = field(repr=False)
    body: Any = field(repr=False)
    """bytes, or a multipart form of aiohttp."""
    headers: dict[str, str] = field(repr=False, default_factory=dict)


Form = Callable[[Target, Message, bool, str], Post]
"""(target, message, whether to send the picture, the secret of signed webhooks) -> what to post"""


def signed_json(target: Target, message: Message, picture: bool, secret: str) -> Post:
    """JSON of our own, signed; the picture is never in it, its address is."""
    body = json.dumps(message.to_json(), ensure_ascii=False).encode()
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        TIMESTAMP: timestamp,
        SIGNATURE: sign(secret, timestamp, body),
        DELIVERY: message.delivery,
    }
    return Post(target.url, body, headers)


def discord(target: Target, message: Message, picture: bool, secret: str) -> Post:
    """An embed: https://discord.com/developers/docs/resources/webhook#execute-webhook"""
    text = clip(escape_discord("\n".join(message.lines)), 3500)
    if message.link:
        # Not as the embed's url: Discord refuses a message whose url names a host of a local network.
        text += f"\n[{OPEN}]({message.link.replace(')', '%29')})"
    embed: dict[str, Any] = {"title": clip(escape_discord(message.title), 256), "description": text}
    content = {"embeds": [embed], "allowed_mentions": {"parse": []}}
    if not (picture and message.picture):
        return Post(target.url, json.dumps(content).encode(), {"Content-Type": "application/json"})
    embed["image"] = {"url": f"attachment://{PICTURE_NAME}"}
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("payload_json", json.dumps(content), content_type="application/json")
    form.add_field("files[0]", message.picture, filename=PICTURE_NAME, content_type="image/jpeg")
    return Post(target.url, form)


def slack(target: Target, message: Message, picture: bool, secret: str) -> Post:
    """Text alone: an incoming webhook takes no file. Mattermost and Rocket.Chat read it too."""
    lines = [f"*{escape_slack(message.title)}*", *map(escape_slack, message.lines)]
    if message.link:
        lines.append(f"<{escape_slack(message.link)}|{OPEN}>")
    content = {"text": "\n".join(lines), "unfurl_links": False, "unfurl_media": False}
    return Post(target.url, json.dumps(content).encode(), {"Content-Type": "application/json"})


def telegram(target: Target, message: Message, picture: bool, secret: str) -> Post:
    """A photo with a caption, or a message: https://core.telegram.org/bots/api#sendphoto"""
    with_photo = bool(picture and message.picture)
    # Telegram counts the characters that are left when the entities are read: clipped, then escaped.
    title = clip(message.title, 250)
    text = clip("\n".join(message.lines), 700 if with_photo else 3500)
    parts = [f"<b>{escape_telegram(title)}</b>", escape_telegram(text)]
    if message.link:
        parts.append(f'<a href="{html.escape(message.link)}">{OPEN}</a>')
    said = "\n".join(part for part in parts if part)
    given = {**target.url.query, "parse_mode": "HTML"}
    method = target.url.with_query(None) / ("sendPhoto" if with_photo else "sendMessage")
    if not with_photo:
        content = {**given, "text": said, "link_preview_options": {"is_disabled": True}}
        return Post(method, json.dumps(content).encode(), {"Content-Type": "application/json"})
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in {**given, "caption": said}.items():
        form.add_field(name, value)
    form.add_field("photo", message.picture, filename=PICTURE_NAME, content_type="image/jpeg")
    return Post(method, form)


def ntfy(target: Target, message: Message, picture: bool, secret: str) -> Post:
    """The body is the picture, or the text: https://docs.ntfy.sh/publish/"""
    text = clip("\n".join(message.lines), 1000)
    headers = {"X-Title": encode_header(message.title), "X-Tags": "framed_picture"}
    if message.link:
        headers["X-Click"] = encode_header(message.link)
    url = target.url
    if url.password and not url.user:
        headers["Authorization"] = f"Bearer {url.password}"
        url = url.with_user(None)
    if not (picture and message.picture):
        return Post(url, (text or message.title).encode(), {**headers, "Content-Type": "text/plain; charset=utf-8"})
    if text:
        headers["X-Message"] = encode_header(clip(text, 500))
    headers.update({"X-Filename": PICTURE_NAME, "Content-Type": "image/jpeg"})
    return Post(url, message.picture, headers)


FORM_OF: dict[str, Form] = {
    "json": signed_json,
    "discord": discord,
    "slack": slack,
    "telegram": telegram,
    "ntfy": ntfy,
}


def escape_discord(text: str) -> str:
    """The text without Markdown, links, mentions and timestamps of its own."""
    return re.sub(r"([\\*_~`|>#\[\]()<:-])", r"\\\1", text).replace("@", "@" + _BREAK)


def escape_slack(text: str) -> str:
    """The text with Slack's three control characters escaped; ``@channel`` calls nobody in Mattermost either."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "@" + _BREAK)


def escape_telegram(text: str) -> str:
    """The text for Telegram's HTML; ``@name`` calls nobody."""
    return html.escape(text, quote=False).replace("@", "@" + _BREAK)


def encode_header(text: str) -> str:
    """The text as the value of a header: as it is, or in RFC 2047 when a header can't carry it."""
    if text.isascii() and text.isprintable() and "=?" not in text:
        return text
    return f"=?UTF-8?B?{base64.b64encode(text.encode()).decode()}?="
