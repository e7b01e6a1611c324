"""The picture in a message: a gate's preview, made small."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from gates.pictures import read_image
from gates.settings import Settings

LONGEST = 512
"""Pixels of its longer side, at most."""

QUALITY = 82


def small_jpeg(image: bytes, settings: Settings) -> bytes:
    """The image as JPEG of at most ``LONGEST`` pixels; raises InvalidImage or TooLarge."""
    return _jpeg(Image.fromarray(read_image(image, settings).pixels[..., :3]))


def sample_jpeg() -> bytes:
    """A picture for a message that only tests the way: a gradient."""
    across = Image.linear_gradient("L").resize((320, 320))
    return _jpeg(Image.merge("RGB", (across, across.rotate(90), across.rotate(180))))


def _jpeg(picture: Image.Image) -> bytes:
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.BICUBIC, reducing_gap=2.0)
    target = BytesIO()
    picture.save(target, "JPEG", quality=QUALITY, optimize=True)
    return target.getvalue()
