"""The guard by itself: whose word counts about who asks, and how much one caller may do."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from multidict import CIMultiDict

from gates.errors import Forbidden, InvalidSetting, TooMany, Unauthorized, WrongHost
from gates.guard import Guard
from gates.limits import MAX_CALLERS, Guesses, Rate
from gates.setting_values import Token
from gates.settings import Settings

# The SHA-256 of "open sesame".
ANNA = Token("decide", "anna", "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb")
PROXY = "10.0.0.2"
BEHIND = replace(Settings(), trusted_proxies=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")))


def headers(*pairs: tuple[str, str]) -> CIMultiDict[str]:
    return CIMultiDict([("Host", "127.0.0.1:8787"), *pairs])


def ask(guard: Guard, *pairs: tuple[str, str], remote: str = "203.0.113.9", **more: Any) -> Any:
    return guard.check(headers(*pairs), "view", remote=remote, **more)


def signed(text: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {text}")


# -- proxies --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("remote", "chain", "address"),
    [
        ("203.0.113.9", "1.2.3.4", "203.0.113.9"),
        (PROXY, "1.2.3.4", "1.2.3.4"),
        (PROXY, "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (PROXY, "6.6.6.6, 1.2.3.4, 10.9.9.9", "1.2.3.4"),
        (PROXY, "10.1.1.1, 10.9.9.9", "10.1.1.1"),
        (PROXY, "1.2.3.4:5678", "1.2.3.4"),
        (PROXY, '"[2001:db8::7]:443"', "2001:db8::7"),
        (PROXY, "unknown", PROXY),
        (PROXY, "1.2.3.4, garbage, 10.9.9.9", "10.9.9.9"),
        (PROXY, "", PROXY),
        (f"::ffff:{PROXY}", "1.2.3.4", "1.2.3.4"),
        ("fd00::1", "1.2.3.4", "1.2.3.4"),
        ("", "1.2.3.4", ""),
    ],
)
def test_the_address_is_the_last_one_that_no_trusted_proxy_has(remote: str, chain: str, address: str) -> None:
    guard = Guard(BEHIND)
    assert ask(guard, ("X-Forwarded-For", chain), remote=remote).remote == address


def test_without_trusted_proxies_nothing_that_is_forwarded_counts() -> None:
    pairs = [("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "https")]
    caller = ask(Guard(Settings()), *pairs, ("Origin", "http://127.0.0.1:8787"), remote="127.0.0.1")
    assert caller.remote == "127.0.0.1"


def test_a_forwarded_host_must_be_ours_as_well_as_the_host() -> None:
    guard = Guard(replace(BEHIND, allowed_hosts=("farm.example",)))
    forwarded = ("X-Forwarded-Host", "farm.example")
    assert ask(guard, forwarded, remote=PROXY)
    with pytest.raises(WrongHost):
        ask(guard, ("X-Forwarded-Host", "evil.example"), remote=PROXY)
    with pytest.raises(WrongHost):
        guard.check(CIMultiDict([("Host", "evil.example"), forwarded]), "view", remote=PROXY)


def test_a_page_is_held_against_the_host_and_the_scheme_that_it_was_opened_under() -> None:
    # The address of the machine: known without allowed_hosts, so that the origin alone decides.
    guard = Guard(BEHIND)
    forwarded = [("X-Forwarded-Host", "192.0.2.7"), ("X-Forwarded-Proto", "https")]
    assert ask(guard, *forwarded, ("Origin", "https://192.0.2.7"), remote=PROXY)
    for origin in ("http://192.0.2.7", "https://192.0.2.7:8443", "https://127.0.0.1:8787", "null"):
        with pytest.raises(Forbidden):
            ask(guard, *forwarded, ("Origin", origin), remote=PROXY)
    # TLS of our own is known without a proxy.
    assert ask(guard, ("Origin", "https://127.0.0.1:8787"), secure=True)
    with pytest.raises(Forbidden):
        ask(guard, ("Origin", "http://127.0.0.1:8787"), secure=True)


def test_a_client_can_not_write_what_stands_before_the_proxies_entries() -> None:
    guard = Guard(replace(BEHIND, allowed_hosts=("farm.example",)))
    told = [("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-For", "1.2.3.4, 10.9.9.9")]
    told += [("X-Forwarded-Host", "evil.example, farm.example, inner.example")]
    assert ask(guard, *told, remote=PROXY).remote == "1.2.3.4"


@pytest.mark.parametrize("value", ["proxy", "10.0.0.0/99", "10.0.0.1;10.0.0.2", ["10.0.0.1", 5], 5])
def test_what_is_no_network_is_no_trusted_proxy(value: Any, tmp_path: Any) -> None:
    file = tmp_path / "settings.json"
    file.write_text(__import__("json").dumps({"trusted_proxies": value}))
    with pytest.raises(InvalidSetting, match="networks"):
        Settings.load(file, {})


def test_trusted_proxies_are_addresses_and_networks() -> None:
    settings = Settings.from_env({"GATEBUS_TRUSTED_PROXIES": "127.0.0.1, 10.1.2.3/8,::1"})
    assert [str(network) for network in settings.trusted_proxies] == ["127.0.0.1/32", "10.0.0.0/8", "::1/128"]


# -- guesses --------------------------------------------------------------------------------
def guess(guard: Guard, text: str, remote: str = "203.0.113.9") -> Exception | None:
    try:
        ask(guard, signed(text), remote=remote)
    except (Unauthorized, TooMany) as error:
        return error
    return None


def test_guessing_is_slowed_down_by_place() -> None:
    guard = Guard(replace(Settings(), tokens=(ANNA,)))
    answers = [guess(guard, f"wrong-{number}") for number in range(Guesses.BURST + 5)]
    assert [type(answer) for answer in answers] == [Unauthorized] * Guesses.BURST + [TooMany] * 5
    assert isinstance(answers[-1], TooMany)
    assert 1 <= answers[-1].details["retry_after"] <= 10
    # The right one is a guess too; from elsewhere nothing has changed.
    assert isinstance(guess(guard, "open sesame"), TooMany)
    assert guess(guard, "open sesame", "203.0.113.10") is None


def test_a_page_left_open_with_an_old_token_locks_nobody_out() -> None:
    guard = Guard(replace(Settings(), tokens=(ANNA,)))
    for _ in range(50):
        assert isinstance(guess(guard, "old token"), Unauthorized)
    assert guess(guard, "open sesame") is None


def test_who_was_let_in_before_is_let_in_while_others_at_the_address_guess() -> None:
    guard = Guard(replace(Settings(), tokens=(ANNA,)))
    assert guess(guard, "open sesame") is None
    for number in range(Guesses.BURST + 5):
        guess(guard, f"wrong-{number}")
    assert guess(guard, "open sesame") is None
    assert isinstance(guess(guard, "another"), TooMany)


def test_an_ipv6_network_of_one_customer_is_one_place() -> None:
    guard = Guard(replace(Settings(), tokens=(ANNA,)))
    answers = [guess(guard, f"wrong-{n}", f"2001:db8:0:1::{n:x}") for n in range(Guesses.BURST + 1)]
    assert isinstance(answers[-1], TooMany)
    assert isinstance(guess(guard, "wrong", "2001:db8:0:2::1"), Unauthorized)


def test_a_guess_is_free_again_after_a_while() -> None:
    now = [0.0]
    guesses = Guesses(clock=lambda: now[0])
    for number in range(Guesses.BURST):
        assert guesses.wait("a", b"%d" % number) == 0
        guesses.tried("a", b"%d" % number, wrong=True)
    assert guesses.wait("a", b"next") == pytest.approx(1 / Guesses.PER_SECOND)
    now[0] += 1 / Guesses.PER_SECOND
    assert guesses.wait("a", b"next") == 0


# -- rates ----------------------------------------------------------------------------------
def change(guard: Guard, **more: Any) -> Any:
    return guard.check(headers(("Content-Type", "application/json")), "decide", "json", changes=True, **more)


def test_changes_of_one_caller_are_limited_and_others_go_on() -> None:
    guard = Guard(replace(Settings(), rate_limit=10))
    for _ in range(20):
        change(guard, remote="203.0.113.9")
    with pytest.raises(TooMany) as refused:
        for _ in range(10):
            change(guard, remote="203.0.113.9")
    assert refused.value.details["retry_after"] == 1
    change(guard, remote="203.0.113.10")
    ask(guard, remote="203.0.113.9")


def test_0_is_no_limit_and_tokens_count_apart() -> None:
    free = Guard(replace(Settings(), rate_limit=0))
    for _ in range(5000):
        change(free, remote="203.0.113.9")
    ben = Token("decide", "ben", "0" * 64)
    guard = Guard(replace(Settings(), rate_limit=1, tokens=(ANNA, ben)))
    guard._changes.take("token ben")  # type: ignore[union-attr]
    body = headers(("Content-Type", "application/json"), signed("open sesame"))
    for _ in range(2):
        guard.check(body, "decide", "json", changes=True, remote="203.0.113.9")
    with pytest.raises(TooMany):
        guard.check(body, "decide", "json", changes=True, remote="203.0.113.10")


def test_a_rate_fills_steadily_up_to_its_burst() -> None:
    now = [0.0]
    rate = Rate(10, 20, clock=lambda: now[0])
    assert [rate.take("a") for _ in range(20)] == [0.0] * 20
    assert rate.take("a") == pytest.approx(0.1)
    now[0] += 0.1
    assert rate.take("a") == 0
    now[0] += 3600
    assert [rate.take("a") for _ in range(20)] == [0.0] * 20
    assert rate.take("a") > 0


def test_callers_without_number_cost_no_memory_without_end() -> None:
    rate = Rate(1, 1)
    for number in range(MAX_CALLERS + 100):
        rate.take(str(number))
    assert len(rate._buckets) == MAX_CALLERS
