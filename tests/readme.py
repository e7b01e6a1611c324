"""README.md as tests read it: its sections, tables and shown commands."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    """The text below the heading, up to the next one of its level or a higher one."""
    level = len(heading.split()[0])
    lines: list[str] = []
    inside = in_fence = False
    for line in README.splitlines():
        if line.lstrip().startswith("```"):
            in_fence = not in_fence
        mark = line.split(" ")[0]
        if not in_fence and mark and set(mark) == {"#"} and len(mark) <= level:
            inside = line == heading
        elif inside:
            lines.append(line)
    assert lines, f"no section {heading}"
    return "\n".join(lines) + "\n"


def rows(text: str) -> list[list[str]]:
    """The cells of the text's table rows, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines]
    rules = [number for number, row in enumerate(cells) if set("".join(row)) == {"-"}]
    heads = {number - 1 for number in rules}
    return [row for number, row in enumerate(cells) if number not in heads | set(rules)]


def fenced(text: str) -> list[str]:
    """The lines of the text's fenced blocks of shell commands, without comments."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
