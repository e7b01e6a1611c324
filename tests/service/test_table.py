"""How commands print: columns stay straight, whatever script the text is in."""

from __future__ import annotations

import pytest

from broker.commands.table import clean, columns, size, table


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("abc", 3),
        ("", 0),
        ("größe", 5),
        ("画像", 4),
        ("ｆｕｌｌ", 8),
        ("e\u0301", 1),
        ("한글", 4),
        ("😀", 2),
        ("ｶﾅ", 2),
        ("…×²", 3),
    ],
)
def test_a_text_takes_as_many_columns_as_a_terminal_gives_it(text: str, width: int) -> None:
    assert columns(text) == width


def test_columns_are_straight_with_wide_and_combining_characters() -> None:
    names = ["cp1", "画像バス", "e\u0301te\u0301", "😀 face", "한글"]
    lines = table(("bus", "label"), [(name, "|") for name in names]).splitlines()
    assert {columns(line.partition("|")[0]) for line in lines[1:]} == {len("画像バス") * 2 + 2}


def test_what_a_terminal_would_obey_becomes_blank() -> None:
    assert clean("a\x1b[31mb\nc\u202ed\u2028e\x07") == "a [31mb c d e "


def test_bytes_for_people() -> None:
    assert [size(n) for n in (0, 812, 4200, 99_950, 123_456, 4_200_000, 10**13)] == [
        "0 B",
        "812 B",
        "4.2 kB",
        "100.0 kB",
        "123 kB",
        "4.2 MB",
        "10.0 TB",
    ]
