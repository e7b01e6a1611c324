"""A text drawn as a picture, so that lists of images have something to show of it."""

from __future__ import annotations

import functools
import io

from PIL import Image, ImageDraw, ImageFont

SIZE = (768, 512)
"""Width and height in pixels."""

MARGIN = 28
LETTERS = 26
"""Height of the letters in pixels."""

LINE = 36
"""Pixels from line to line."""

DRAWN = 1500
"""Characters that are looked at; more than the picture holds."""

PAPER, INK, RULE = (250, 250, 246), (34, 34, 38), (178, 120, 40)

# Each is found by its name wherever the system keeps its fonts; the first that is there is taken.
WIDE_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "msyh.ttc",
    "YuGothM.ttc",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf",
    "Arial Unicode.ttf",
    "NotoSans-Regular.ttf",
    "segoeui.ttf",
    "DejaVuSans.ttf",
)
"""Fonts for what Pillow's own, which has Latin letters only, can't draw."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def text_jpeg(text: str) -> bytes:
    """The beginning of the text as a JPEG of SIZE, with … where it goes on."""
    picture = Image.new("RGB", SIZE, PAPER)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 6, SIZE[1]), fill=RULE)
    font = _font(wide=any(ord(character) > 0x17F for character in text[:DRAWN]))
    room = (SIZE[1] - 2 * MARGIN) // LINE
    lines = _wrapped(text[:DRAWN].expandtabs(4), font, SIZE[0] - 2 * MARGIN, room + 1)
    if len(lines) > room or len(text) > DRAWN:
        lines = [*lines[: room - 1], "…"]
    for number, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + number * LINE), line, fill=INK, font=font)
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=85)
    return target.getvalue()


def _wrapped(text: str, font: Font, width: int, most: int) -> list[str]:
    """The text in lines that are not wider, at most so many: broken at spaces, else within a word."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        rest = paragraph
        while len(lines) < most:
            fits = _fitting(rest, font, width)
            if fits == len(rest):
                lines.append(rest)
                break
            space = rest.rfind(" ", 1, fits + 1)
            end = space if space > 0 else fits
            lines.append(rest[:end])
            rest = rest[end:].lstrip(" ")
    return lines[:most]


def _fitting(text: str, font: Font, width: int) -> int:
    """How many characters fit, one at least when there is any."""
    low, high = min(1, len(text)), len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle]) <= width:
            low = middle
        else:
            high = middle - 1
    return low


@functools.lru_cache(maxsize=2)
def _font(wide: bool) -> Font:
    for name in WIDE_FONTS if wide else ():
        try:
            return ImageFont.truetype(name, LETTERS)
        except OSError:
            # Not on this system.
            continue
    return ImageFont.load_default(LETTERS)
