"""What Schemathesis must be told to make values that only this API knows: names, images and archives."""

from __future__ import annotations

import io
import zipfile
from contextlib import suppress

import schemathesis
from hypothesis import strategies
from PIL import Image

from gates.errors import GatebusError
from gates.names import check_name

SIZE = (8, 6)
"""Pixels of every image that is sent."""


def is_name(text: str) -> bool:
    with suppress(GatebusError):
        return check_name(text) == text
    return False


def picture(kind: str, mode: str) -> bytes:
    target = io.BytesIO()
    Image.new(mode, SIZE, 0).save(target, kind)
    return target.getvalue()


def archive(count: int) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as zipped:
        for number in range(count):
            zipped.writestr(f"{number}.png", picture("PNG", "RGB"))
    return target.getvalue()


CHARACTERS = strategies.characters(categories=["Lu", "Ll", "Lo", "Nd"], include_characters="_-.")
MODES = strategies.sampled_from(["L", "RGB"])

schemathesis.openapi.format("gatebus-name", strategies.text(CHARACTERS, min_size=1, max_size=64).filter(is_name))
for kind in ("PNG", "JPEG", "WEBP"):
    schemathesis.openapi.media_type(f"image/{kind.lower()}", strategies.builds(picture, strategies.just(kind), MODES))
for media_type in ("application/zip", "application/x-zip-compressed"):
    schemathesis.openapi.media_type(media_type, strategies.builds(archive, strategies.integers(1, 3)))
