"""Images on their way out and in: what a caller may give, and what is sent."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from gates.errors import InvalidImage, InvalidInput

Picture = Image.Image | bytes | str | os.PathLike[str]
"""An image as a caller may give it: of Pillow, the bytes of a PNG, JPEG or WebP, or the path of such a file."""

_TYPES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))


def body_of(picture: Picture) -> tuple[bytes, str]:
    """(bytes, content type) of the picture; one of Pillow is sent as PNG. Raises InvalidInput, InvalidImage."""
    if isinstance(picture, Image.Image):
        return png_of(picture), "image/png"
    data = _bytes_of(picture)
    return data, next((kind for start, kind in _TYPES if data.startswith(start)), "application/octet-stream")


def with_mask(picture: Picture, mask: Picture) -> bytes:
    """A PNG of the image whose alpha channel is the mask: transparent where it is white.

    Raises InvalidImage when their sizes differ, or when the image has transparency of its own.
    """
    image, painted = pillow_of(picture), pillow_of(mask)
    if painted.size != image.size:
        raise InvalidImage(f"The mask is {_size(painted)}; the image is {_size(image)}")
    if "A" in image.getbands() or "transparency" in image.info:
        raise InvalidImage("An image with an alpha channel can't be published with a mask; take one of the two away")
    alpha = painted.convert("RGBA").getchannel("A")
    # As the API reads a mask: its transparency when it has any, else its brightness.
    opaque = alpha if alpha.getextrema()[0] != 255 else Image.eval(painted.convert("L"), lambda value: 255 - value)
    together = image.convert("RGB")
    together.putalpha(opaque)
    return png_of(together)


def pillow_of(picture: Picture) -> Image.Image:
    """The picture, read; raises InvalidInput, InvalidImage."""
    if isinstance(picture, Image.Image):
        return picture
    try:
        image = Image.open(BytesIO(_bytes_of(picture)))
        image.load()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidImage(f"This is no image that can be read: {error}") from error
    return image


def png_of(image: Image.Image) -> bytes:
    """The image as PNG; lightly packed, because it is sent once. Raises InvalidImage for a mode that PNG has not."""
    target = BytesIO()
    try:
        image.save(target, "PNG", compress_level=1)
    except (OSError, KeyError, ValueError) as error:
        raise InvalidImage(f"An image of the mode {image.mode} can't be sent as PNG: convert it to RGB") from error
    return target.getvalue()


def _bytes_of(picture: bytes | str | os.PathLike[str]) -> bytes:
    if isinstance(picture, bytes):
        return picture
    if not isinstance(picture, str | os.PathLike):
        raise InvalidInput(f"An image is one of Pillow, bytes, or a path; not {type(picture).__name__}")
    try:
        return Path(picture).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{picture} can't be read: {error.strerror or error}") from error


def _size(image: Image.Image) -> str:
    return f"{image.width} x {image.height}"
