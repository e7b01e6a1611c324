"""The demonstration's own pictures, and the mask that is painted on one."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE = (1024, 768)
"""Width and height in pixels."""

_SKIES = {
    "dawn": ((38, 52, 104), (244, 178, 128)),
    "noon": ((54, 128, 214), (214, 232, 244)),
    "dusk": ((22, 16, 48), (206, 84, 92)),
}
"""Name -> the colours at the top and at the horizon."""


def draw_samples(folder: Path) -> list[Path]:
    """Three landscapes with film grain, as PNG files in the folder."""
    return [_draw(folder / f"sample-{name}.png", number) for number, name in enumerate(_SKIES)]


def _draw(file: Path, number: int) -> Path:
    width, height = SIZE
    top, horizon = (np.array(colour, np.float32) for colour in list(_SKIES.values())[number])
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    picture = Image.fromarray(np.broadcast_to(top + (horizon - top) * ramp, (height, width, 3)).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    sun = (200 + 260 * number, 150 + 90 * number)
    pen.ellipse((sun[0] - 60, sun[1] - 60, sun[0] + 60, sun[1] + 60), fill=(255, 236, 196))
    for distance in range(4):
        shade = tuple(int(90 - 20 * distance + part / 6) for part in horizon)
        xs = np.arange(0, width + 32, 32)
        ridge = 420 + 85 * distance + 60 * np.sin(xs / (90 + 40 * distance) + 2 * distance + number)
        pen.polygon([(0, height), *zip(xs.tolist(), ridge.tolist(), strict=True), (width, height)], fill=shade)
    grain = np.random.default_rng(number).normal(0, 5, (height, width, 1))
    pixels = np.clip(np.asarray(picture, np.float32) + grain, 0, 255).astype(np.uint8)
    # Little compression: grain does not compress, and nobody should wait for it.
    Image.fromarray(pixels).save(file, compress_level=1)
    return file


def paint_mask(width: int, height: int) -> bytes:
    """A mask as a person might paint it: an ellipse and a stroke, white on black, as PNG."""
    mask = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(mask)
    pen.ellipse((width // 4, height // 4, width * 5 // 8, height * 3 // 4), fill=255)
    pen.line((width // 2, height // 2, width * 7 // 8, height // 6), fill=200, width=max(1, height // 16))
    target = BytesIO()
    mask.save(target, "PNG")
    return target.getvalue()
