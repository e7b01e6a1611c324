"""Images from outside: what is accepted, with bounds checked on the header before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .deflate import crc32
from .errors import InvalidImage, TooLarge
from .png import UNREADABLE, to_eight_bits
from .settings import Settings
from .stored_png import SIGNATURE

OUTSIDE_FORMATS = ("PNG", "JPEG", "WEBP")

# EXIF orientation -> how to turn the image upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Picture:
    """An image from outside, verified, upright and in 8 bits."""

    pixels: NDArray[np.uint8]
    """[H, W, 3], or [H, W, 4] when it has an alpha channel."""
    format: str
    """``png``, ``jpeg`` or ``webp``: what it came as."""

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])


def read_image(data: bytes, settings: Settings) -> Picture:
    """An image from outside: PNG, JPEG or WebP, one frame, whole, within the limits.

    The EXIF orientation is applied; grey becomes RGB, 16 bits 8, CMYK and palettes RGB(A). Raises
    TooLarge by the header alone, InvalidImage for what is no such image.
    """
    image = _open(data, settings)
    kind = (image.format or "").lower()
    upright = image if image.mode in ("RGB", "RGBA") else image.convert("RGB")
    return Picture(np.asarray(upright), "jpeg" if kind == "mpo" else kind)


def read_mask(data: bytes, settings: Settings, width: int, height: int) -> NDArray[np.uint8]:
    """A mask from outside as [H, W], 255 = painted; it must be ``width`` x ``height``.

    With an alpha channel that is not all opaque the mask is 255 - alpha, as ComfyUI's mask editor
    writes it; otherwise it is the luminance. Raises as :func:`read_image`, and InvalidImage for
    another size.
    """
    pixels = read_image(data, settings).pixels
    if pixels.shape[:2] != (height, width):
        raise InvalidImage(
            f"The mask is {pixels.shape[1]} x {pixels.shape[0]}; the image is {width} x {height}",
            width=width,
            height=height,
        )
    if pixels.shape[2] == 4 and pixels[..., 3].min() < 255:
        return 255 - pixels[..., 3]
    return np.array(Image.fromarray(pixels[..., :3]).convert("L"))


def _open(data: bytes, settings: Settings) -> Image.Image:
    """The image upright in mode L, RGB or RGBA."""
    if len(data) > settings.max_image_bytes:
        raise TooLarge(
            f"The image has {len(data)} bytes; at most {settings.max_image_bytes} are accepted",
            limit=settings.max_image_bytes,
        )
    try:
        with Image.open(BytesIO(data), formats=OUTSIDE_FORMATS) as image:
            if image.width * image.height > settings.max_pixels:
                raise TooLarge(
                    f"The image is {image.width} x {image.height}; at most {settings.max_pixels} pixels are accepted",
                    limit=settings.max_pixels,
                )
            # MPO: a JPEG of a phone or camera that carries further renditions; the first is the picture.
            if image.format != "MPO" and getattr(image, "n_frames", 1) != 1:
                raise InvalidImage("An animation is not accepted, only an image of one frame")
            _refuse_truncated(data, image.format or "")
            orientation = image.getexif().get(_ORIENTATION)
            upright = to_eight_bits(image)
            if orientation in _UPRIGHT:
                upright = upright.transpose(_UPRIGHT[orientation])
            upright.format = image.format
            return upright
    except Image.DecompressionBombError as error:
        raise TooLarge(f"The image has too many pixels: {error}") from error
    except (TooLarge, InvalidImage):
        raise
    except UNREADABLE as error:
        accepted = ", ".join(OUTSIDE_FORMATS)
        raise InvalidImage(f"The bytes are no whole image of an accepted format ({accepted})") from error


def _refuse_truncated(data: bytes, format: str) -> None:
    """Raises InvalidImage for a file that is cut short or damaged.

    Pillow does that too, but not once another custom node has set its global
    LOAD_TRUNCATED_IMAGES, so it is checked here.
    """
    if format == "PNG":
        whole = _png_is_whole(data)
    elif format == "WEBP":
        whole = 8 + int.from_bytes(data[4:8], "little") <= len(data)
    else:
        whole = _jpeg_is_whole(data)
    if not whole:
        raise InvalidImage(f"The {format} file is cut short or damaged")


def _png_is_whole(data: bytes) -> bool:
    view = memoryview(data)
    place = len(SIGNATURE)
    while place + 12 <= len(view):
        end = place + 8 + int.from_bytes(view[place : place + 4], "big")
        kind = bytes(view[place + 4 : place + 8])
        if int.from_bytes(view[end : end + 4], "big") != crc32(view[place + 4 : end]) or end + 4 > len(view):
            return False
        if kind == b"IEND":
            return True
        place = end + 4
    return False


def _jpeg_is_whole(data: bytes) -> bool:
    """Whether an end marker follows the first scan; one of a thumbnail lies in a segment before it."""
    place = 2
    while place + 4 <= len(data):
        if data[place : place + 2] == b"\xff\xda":
            return data.find(b"\xff\xd9", place) > 0
        # A marker may be padded with any number of 0xff.
        place += 1 if data[place + 1] == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return False
