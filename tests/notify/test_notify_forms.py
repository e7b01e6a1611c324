"""What arrives at each kind of target, and what typed text can do there: nothing."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from broker.notify.delivery import Answer, Delivery, make_session
from broker.notify.forms import encode_header, escape_discord
from broker.notify.message import Message, Notice, plain
from broker.notify.picture import sample_jpeg, small_jpeg
from broker.notify.target import Target, parse_targets
from gates.errors import InvalidSetting
from gates.gate.record import Gate
from gates.settings import Settings
from tests.notify.conftest import QUICK_PATIENCE, SECRET
from tests.notify.hooks import Arrived, Hooks

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
NASTY = "@everyone <!channel> <b>&amp; [here](http://evil) *x* `y`\n\u202eport 画像"
PAGE = "https://gates.example.org/farm/"


def gate(title: str = NASTY, **more: Any) -> Gate:
    return Gate(id="a" * 32, title=title, workflow="portraits", instance="studio", labels=("keep", "redo"), **more)


def message(notices: list[Notice] | None = None, picture: bytes | None = None) -> Message:
    return Message("d" * 32, tuple(notices or [Notice("opened", gate())]), PAGE, picture)


async def send(hooks: Hooks, url: str, told: Message) -> tuple[Arrived, Answer]:
    (target,) = parse_targets([url], SECRET)
    async with make_session(QUICK_PATIENCE) as session:
        answer = await Delivery(session, SECRET, QUICK_PATIENCE).attempt(target, told)
    return hooks.arrived[-1], answer


def example() -> Any:
    """The README's function that checks a signature."""
    block = next(b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "X-Gatebus-Signature" in b)
    names: dict[str, Any] = {}
    exec(block, names)
    return names["is_from_gatebus"]


class Headers(dict[str, str]):
    """By any case, as servers give them."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())


async def test_a_signed_webhook_is_accepted_by_the_readmes_example_and_an_altered_one_is_not(hooks: Hooks) -> None:
    arrived, answer = await send(hooks, f"json+{hooks.url}/ok", message())
    assert answer.accepted
    check, headers = example(), Headers(arrived.headers)
    assert check(headers, arrived.body, SECRET)
    assert not check(headers, arrived.body + b" ", SECRET)
    assert not check(headers, arrived.body, SECRET + "x")
    old = Headers({**headers, "x-gatebus-timestamp": str(int(headers["X-Gatebus-Timestamp"]) - 1)})
    assert not check(old, arrived.body, SECRET)
    assert headers["X-Gatebus-Delivery"] == arrived.json["delivery"] == "d" * 32
    shown = arrived.json["gates"][0]
    assert (shown["event"], shown["id"], shown["title"], shown["labels"]) == (
        "opened", "a" * 32, NASTY, ["keep", "redo"],
    )  # fmt: skip
    assert arrived.json["url"] == shown["url"] == f"{PAGE}#/gates/{'a' * 32}"
    assert shown["preview"] == f"{PAGE}gatebus/gates/{'a' * 32}/preview"


def test_the_readmes_example_refuses_what_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from broker.notify.forms import signed_json

    (target,) = parse_targets(["https://example.org/hook"], SECRET)
    post = signed_json(target, message(), False, SECRET)
    headers = Headers({name.lower(): value for name, value in post.headers.items()})
    assert example()(headers, post.body, SECRET)
    late = time.time() + 400
    monkeypatch.setattr(time, "time", lambda: late)
    assert not example()(headers, post.body, SECRET)


async def test_discord_gets_an_embed_with_the_picture_that_mentions_nobody(hooks: Hooks) -> None:
    arrived, answer = await send(hooks, f"discord+{hooks.url}/ok/1/token?thread_id=7", message(picture=sample_jpeg()))
    assert answer.accepted
    assert arrived.query == {"thread_id": "7"}
    name, picture = arrived.parts["files[0]"]
    content = json.loads(arrived.parts["payload_json"][1])
    (embed,) = content["embeds"]
    assert content["allowed_mentions"] == {"parse": []}
    assert embed["image"]["url"] == f"attachment://{name}"
    assert embed["description"].endswith(f"\n[Open the page]({PAGE}#/gates/{'a' * 32})")
    assert "@everyone" not in embed["title"]
    assert r"\[here\]\(http\://evil\) \*x\* \`y\`" in embed["title"]
    assert "\u202e" not in embed["title"]
    assert "画像" in embed["title"]
    assert "1 keep, 2 redo" in embed["description"]
    with Image.open(BytesIO(picture)) as shown:
        assert shown.format == "JPEG"


async def test_slack_gets_text_in_which_nothing_typed_is_a_command(hooks: Hooks) -> None:
    arrived, _ = await send(hooks, f"slack+{hooks.url}/ok/services/T/B/x", message(picture=sample_jpeg()))
    text = arrived.json["text"]
    assert "&lt;!channel&gt; &lt;b&gt;&amp;amp;" in text
    assert "@everyone" not in text
    assert re.findall("<[^>]*>", text) == [f"<{PAGE}#/gates/{'a' * 32}|Open the page>"]


async def test_telegram_gets_a_photo_with_an_escaped_caption(hooks: Hooks) -> None:
    url = f"telegram+{hooks.url}/ok/bot1:token?chat_id=-100&message_thread_id=7"
    arrived, _ = await send(hooks, url, message(picture=sample_jpeg()))
    assert arrived.path == "/ok/bot1:token/sendPhoto"
    fields = {name: content for name, (_, content) in arrived.parts.items()}
    assert (fields["chat_id"], fields["message_thread_id"], fields["parse_mode"]) == (b"-100", b"7", b"HTML")
    assert fields["photo"].startswith(b"\xff\xd8")
    caption = fields["caption"].decode()
    assert "&lt;!channel&gt; &lt;b&gt;&amp;amp;" in caption
    assert "@everyone" not in caption
    assert re.findall("<[^>]*>", caption) == ["<b>", "</b>", f'<a href="{PAGE}#/gates/{"a" * 32}">', "</a>"]
    arrived, _ = await send(hooks, url, message())
    assert arrived.path == "/ok/bot1:token/sendMessage"
    assert arrived.json["chat_id"] == "-100"
    assert arrived.json["text"] == caption


async def test_ntfy_gets_the_picture_with_text_of_any_script_in_headers(hooks: Hooks) -> None:
    def decoded(header: str) -> str:
        match = re.fullmatch(r"=\?UTF-8\?B\?([A-Za-z0-9+/=]+)\?=", header)
        return b64decode(match[1]).decode() if match else header

    url = f"ntfy+{hooks.url.replace('://', '://:tk_secret@')}/ok/topic"
    arrived, _ = await send(hooks, url, message(picture=sample_jpeg()))
    assert arrived.body.startswith(b"\xff\xd8")
    assert arrived.headers["authorization"] == "Bearer tk_secret"
    assert arrived.headers["x-click"] == f"{PAGE}#/gates/{'a' * 32}"
    assert "画像" in decoded(arrived.headers["x-title"])
    assert "1 keep, 2 redo" in decoded(arrived.headers["x-message"])
    arrived, _ = await send(hooks, url, message())
    assert "1 keep, 2 redo" in arrived.body.decode()


async def test_a_user_and_password_in_the_url_are_sent_as_such(hooks: Hooks) -> None:
    arrived, _ = await send(hooks, f"ntfy+{hooks.url.replace('://', '://anna:pw@')}/ok/topic", message())
    assert b64decode(arrived.headers["authorization"].split()[1]) == b"anna:pw"


@pytest.mark.parametrize("form", ["discord", "telegram", "ntfy"])
async def test_a_target_that_refuses_the_picture_gets_the_text(hooks: Hooks, form: str) -> None:
    (target,) = parse_targets([f"{form}+{hooks.url}/no-pictures/bot1:token?chat_id=1"], SECRET)
    async with make_session(QUICK_PATIENCE) as session:
        assert await Delivery(session, SECRET, QUICK_PATIENCE).deliver(target, message(picture=sample_jpeg()))
    assert len(hooks.arrived) == 2


def test_headers_carry_ascii_as_it_is_and_the_rest_encoded() -> None:
    assert encode_header("A gate waits: portrait") == "A gate waits: portrait"
    for text in ("日本", "a\r\nX-Evil: 1", "=?UTF-8?B?eA==?="):
        header = encode_header(text)
        assert header.isascii()
        assert header.isprintable()
        assert b64decode(header[10:-2]).decode() == text


def test_discord_text_keeps_nothing_of_markdown() -> None:
    assert escape_discord("a_b <@1> ~~c~~ # d") == "a\\_b \\<@\u20601\\> \\~\\~c\\~\\~ \\# d"


def test_a_message_about_many_counts_by_workflow() -> None:
    notices = [Notice("opened", Gate(id=f"{n:032x}", workflow="X" if n < 20 else f"Y{n}")) for n in range(37)]
    told = message(notices)
    assert told.title == "37 gates wait"
    assert told.lines[0] == "workflow X: 20"
    assert told.lines[-1] == "10 other workflows: 10"
    assert told.link == f"{PAGE}#/gates"
    mixed = message([*notices, Notice("orphaned", gate()), Notice("deadline", gate())])
    assert mixed.title == "37 gates wait; a gate's process is gone; a gate's deadline has passed"


def test_a_message_about_one_says_what_it_is() -> None:
    told = message([Notice("waiting", gate("portrait", note="look at\nthe eyes", deadline=1_700_000_000_000))])
    assert told.title == "A gate still waits: portrait"
    assert told.lines == [
        "workflow portraits", "on studio", "routes: 1 keep, 2 redo", "look at the eyes", "until 2023-11-14 22:13 UTC",
    ]  # fmt: skip
    assert Message("d", told.notices).link == ""


def test_typed_text_is_one_bounded_line() -> None:
    assert plain("a\r\n\tb\u202e\u2028c", 100) == "a b c"
    assert plain("x" * 500, 100) == "x" * 99 + "…"


def test_the_picture_is_small(tmp_path: Path) -> None:
    source = BytesIO()
    Image.effect_noise((1024, 700), 60).convert("RGB").save(source, "JPEG")
    with Image.open(BytesIO(small_jpeg(source.getvalue(), Settings()))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (512, 350))


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("https://discord.com/api/webhooks/1/t", "discord"), ("https://ptb.discord.com/api/webhooks/1/t", "discord"),
        ("https://hooks.slack.com/services/T/B/x", "slack"), ("https://api.telegram.org/bot1:t?chat_id=5", "telegram"),
        ("https://ntfy.sh/topic", "ntfy"), ("https://example.org/", "json"), ("https://evildiscord.com/x", "json"),
        ("slack+https://chat.example.org/hooks/x", "slack"), ("json+https://discord.com/api/webhooks/1/t", "json"),
    ],
)  # fmt: skip
def test_a_services_own_url_gets_its_form(url: str, form: str) -> None:
    assert [target.form for target in parse_targets([url], SECRET)] == [form]


@pytest.mark.parametrize(
    ("urls", "secret", "said"),
    [
        (["https://api.telegram.org/bot1:sesame"], SECRET, "chat_id"),
        (["https://ntfy.sh/"], SECRET, "TOPIC"),
        (["https://discord.com"], SECRET, "webhook"),
        (["https://example.org/sesame"], "", "GATEBUS_NOTIFY_SECRET"),
        (["https://example.org/sesame", "json+https://example.org/sesame"], SECRET, "twice"),
        (["https://exa[mple/sesame"], SECRET, "Entry 1"),
    ],
)
def test_a_wrong_target_is_named_by_its_number_never_by_its_url(urls: list[str], secret: str, said: str) -> None:
    with pytest.raises(InvalidSetting) as error:
        parse_targets(urls, secret)
    assert said in error.value.message
    assert "sesame" not in error.value.message


def test_targets_and_settings_print_nothing_secret() -> None:
    settings = Settings.from_env(
        {"GATEBUS_NOTIFY": "https://example.org/sesame ntfy+https://:sesame@ntfy.sh/t", "GATEBUS_NOTIFY_SECRET": SECRET}
    )
    assert len(settings.notify) == 2
    targets = parse_targets(settings.notify, settings.notify_secret)
    for shown in (repr(settings), str(settings), repr(targets), *(target.name for target in targets)):
        assert "sesame" not in shown
        assert SECRET not in shown
    assert targets[0].redact("no https://example.org/sesame here") == "no https://example.org… here"


@pytest.mark.parametrize(
    ("variable", "value", "accepted"),
    [
        ("GATEBUS_NOTIFY", "ftp://sesame", "https://"), ("GATEBUS_NOTIFY", "mail+https://sesame", "telegram"),
        ("GATEBUS_NOTIFY_SECRET", "sesame", "16 to 256"), ("GATEBUS_NOTIFY_EVENTS", "sesame", "opened"),
        ("GATEBUS_PUBLIC_URL", "https://u:sesame@h/", "without user"), ("GATEBUS_PUBLIC_URL", "javascript:1", "http"),
        ("GATEBUS_NOTIFY_EVERY", "0", "seconds"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused_without_being_shown(variable: str, value: str, accepted: str) -> None:
    with pytest.raises(InvalidSetting) as error:
        Settings.from_env({variable: value})
    assert variable in error.value.message
    assert accepted in error.value.message
    assert "sesame" not in error.value.message


def test_a_public_url_ends_with_a_slash() -> None:
    assert Settings.from_env({"GATEBUS_PUBLIC_URL": "https://h/farm"}).public_url == "https://h/farm/"
    assert isinstance(parse_targets(["https://ntfy.sh/t"], "")[0], Target)
