"""Targets that fail, hang, trickle, flood and lead elsewhere."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter

import pytest

from broker.notify.delivery import ANSWER_LIMIT, LONGEST_WAIT, Answer, Delivery, Patience, _asked_wait, make_session
from broker.notify.message import Message, Notice
from broker.notify.target import parse_targets
from gates.gate.record import Gate
from tests.notify.conftest import QUICK_PATIENCE, SECRET
from tests.notify.hooks import Hooks

MESSAGE = Message("d" * 32, (Notice("opened", Gate(id="a" * 32)),))


async def deliver(url: str, counts: Counter[str] | None = None, patience: Patience = QUICK_PATIENCE) -> bool:
    (target,) = parse_targets([f"json+{url}"], SECRET)
    async with make_session(patience) as session:
        return await Delivery(session, SECRET, patience, counts).deliver(target, MESSAGE)


async def attempt(url: str) -> Answer:
    (target,) = parse_targets([f"json+{url}"], SECRET)
    async with make_session(QUICK_PATIENCE) as session:
        return await Delivery(session, SECRET, QUICK_PATIENCE).attempt(target, MESSAGE)


async def test_a_target_that_fails_three_times_gets_the_same_delivery_a_fourth_time(hooks: Hooks) -> None:
    counts: Counter[str] = Counter()
    assert await deliver(f"{hooks.url}/flaky", counts)
    assert counts["retried"] == 3
    assert {arrived.headers["x-gatebus-delivery"] for arrived in hooks.arrived} == {"d" * 32}


async def test_what_a_target_asks_to_wait_is_waited(hooks: Hooks) -> None:
    began = time.monotonic()
    assert await deliver(f"{hooks.url}/later")
    assert time.monotonic() - began >= 0.4


@pytest.mark.parametrize(
    ("header", "text", "seconds"),
    [
        ("3", "", 3.0), ("", '{"retry_after": 1.5}', 1.5), ("", '{"parameters": {"retry_after": 7}}', 7.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "", 0.0), ("86400", "", LONGEST_WAIT), ("-5", "", 0.0), ("nan", "", 0.0),
        ("", "[]", 0.0), ("", '{"parameters": 1}', 0.0), ("", "", 0.0),
    ],
)  # fmt: skip
def test_a_wait_is_read_from_header_and_json_and_bounded(header: str, text: str, seconds: float) -> None:
    assert _asked_wait(header, text) == seconds


async def test_a_redirect_is_not_followed_and_not_tried_again(hooks: Hooks, caplog: pytest.LogCaptureFixture) -> None:
    assert not await deliver(f"{hooks.url}/moved/sesame")
    assert [arrived.path for arrived in hooks.arrived] == ["/moved/sesame"]
    assert "redirects are not followed" in caplog.text


async def test_a_message_that_is_refused_is_dropped_with_a_line_that_holds_no_secret(
    hooks: Hooks, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert not await deliver(f"{hooks.url}/gone/sesame?key=sesame")
    assert len(hooks.arrived) == 1
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "notify 1 (json at 127.0.0.1)" in line
    assert "404" in line
    assert "sesame" not in caplog.text


@pytest.mark.parametrize("path", ["/hang/sesame", "/trickle/sesame"])
async def test_an_attempt_ends_in_time_whatever_the_target_does(hooks: Hooks, path: str) -> None:
    began = time.monotonic()
    answer = await attempt(hooks.url + path)
    assert not answer.accepted
    assert "no answer within 1 s" in answer.reason
    # Of the trickle's 50 seconds.
    assert time.monotonic() - began < 20


async def test_of_a_flood_only_the_beginning_is_read(hooks: Hooks) -> None:
    answer = await attempt(f"{hooks.url}/big")
    assert answer.accepted
    assert len(answer.text) <= ANSWER_LIMIT
    # What the sockets of both sides held, of 300 MB.
    assert hooks.sent_back < 30_000_000


async def test_a_target_that_is_not_there_is_told_by_the_kind_of_error_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert not await deliver("http://127.0.0.1:1/sesame")
    assert "attempts: 5" in caplog.text
    assert "not reached (ClientConnector" in caplog.text
    assert "sesame" not in caplog.text


async def test_a_delivery_can_be_given_up_at_any_time(hooks: Hooks) -> None:
    delivering = asyncio.create_task(deliver(f"{hooks.url}/hang", patience=Patience(timeout=60)))
    while not hooks.arrived:
        await asyncio.sleep(0.01)
    delivering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivering
