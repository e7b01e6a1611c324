"""What may become part of a key, a path or a URL, and what may not."""

from __future__ import annotations

import pytest

from gates.errors import InvalidInput, InvalidName, TooLarge
from gates.names import check_decision_id, check_gate_id, check_int, check_name, check_slot_file, clean_text


@pytest.mark.parametrize("name", ["cp1", "Bus_2", "a-b.c", "画像", "ブス", "über", "शिक्षा", "x" * 64, "0"])
def test_letters_and_digits_of_any_script_are_accepted(name: str) -> None:
    assert check_name(name) == name


def test_a_name_is_kept_in_one_unicode_form() -> None:
    assert check_name("u\u0308ber") == check_name("\u00fcber")


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "...", ".hidden", "dot.", "a..b", "a/b", "a\\b", "../up", "/root", "C:\\x",
        "a b", "a\n", "\x00", "a:b", "{tag}",
        "a}b", "x" * 65, "con", "CON", "con.txt", "nul", "LPT1", "com¹",
        "a\u202eb", "a\u200bb", "\ud800", "a*b", "a?b", "%2e%2e", "½",
        "²", "a@1", "\u0301a", None, 7, b"x", ["x"],
    ],
)  # fmt: skip
def test_everything_else_is_refused(name: object) -> None:
    with pytest.raises(InvalidName):
        check_name(name)


def test_ids_of_our_own_are_exact() -> None:
    assert check_gate_id("0123456789abcdef" * 2)
    assert check_slot_file("img_0001.png")
    assert check_decision_id("deadline:0123")
    for check, bad in [
        (check_gate_id, ["", "A" * 32, "a" * 31, "a" * 33, "a" * 32 + "\n", "１" * 32]),
        (
            check_slot_file,
            ["img_001.png", "img_0001.mask.png", "../img_0001.png", "img_0001.png\n", "img_٠٠٠١.png"],
        ),
        (check_decision_id, ["", "a b", "x" * 65, "é", "a\n"]),
    ]:
        for value in bad:
            with pytest.raises(InvalidName):
                check(value)


def test_free_text_loses_what_can_not_be_seen_and_keeps_the_rest() -> None:
    assert clean_text('<b>☂ & "keep"\n\t</b>', "label") == '<b>☂ & "keep"\n\t</b>'
    assert clean_text("a\x00b\x1b[31m\u202ec\u2066d", "label") == "ab[31mcd"
    with pytest.raises(InvalidInput):
        clean_text("\ud800", "label")
    with pytest.raises(InvalidInput):
        clean_text(7, "label")
    with pytest.raises(TooLarge):
        clean_text("x" * 201, "label")


def test_a_whole_number_is_neither_a_bool_nor_a_float_nor_text() -> None:
    assert check_int(3, "route", 1, 10) == 3
    for bad in (True, 1.0, "1", None, 0, 11):
        with pytest.raises(InvalidInput):
            check_int(bad, "route", 1, 10)
