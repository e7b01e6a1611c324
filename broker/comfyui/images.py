"""Images of an edit: made to fit a bound before they are sent, and compared with what came back."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gates.errors import InvalidInput
from gates.pictures import read_image
from gates.settings import Settings

from .refusals import NotInstalled

SSIM_WINDOW = 7
"""Side of the window in which structural similarity is measured; smaller images have none."""


def fitted_size(width: int, height: int, longest: int | None = None, multiple: int = 1) -> tuple[int, int]:
    """Width and height that keep the aspect, with no side above ``longest`` and both divided by ``multiple``.

    An image is made smaller, never larger, but for a side that is below ``multiple``.
    """
    if longest is not None and longest < multiple:
        raise InvalidInput(f"A longest side of {longest} holds no multiple of {multiple}")
    scale = 1.0 if longest is None else min(1.0, longest / max(width, height))
    limit = None if longest is None else longest - longest % multiple

    def side(length: int) -> int:
        wanted = max(1, round(length * scale))
        whole = max(multiple, (wanted + multiple // 2) // multiple * multiple)
        return whole if limit is None else min(whole, limit)

    return side(width), side(height)


def resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The image [H, W, C] or mask [H, W] in that width and height, by Lanczos; itself when it has it."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def as_png(pixels: NDArray[np.uint8]) -> bytes:
    """The image [H, W, 3], [H, W, 4] or mask [H, W] as a PNG; the same pixels always give the same bytes."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def mask_png(mask: NDArray[np.uint8]) -> bytes:
    """A mask [H, W], 255 = painted, as a PNG that gives it in every way in which a node may ask for it.

    Red, green and blue are the mask, and alpha is 255 - mask: LoadImageMask takes a colour as it
    is and alpha inverted, and LoadImage's mask output too.
    """
    return as_png(np.dstack([mask, mask, mask, 255 - mask]))


@dataclass(frozen=True)
class Comparison:
    """Two images beside each other."""

    same_size: bool
    same_mode: bool
    """Whether both have, or both lack, an alpha channel."""
    identical: bool
    """Same size, and no pixel differs."""
    psnr: float | None
    """Peak signal-to-noise ratio in dB; infinite when no pixel differs, None when the sizes do."""
    ssim: float | None
    """Structural similarity, -1 to 1; None when the sizes differ or a side is below 7 pixels."""

    def to_json(self) -> dict[str, Any]:
        """For programs; JSON has no infinity, so an infinite PSNR is None beside ``identical``."""
        finite = self.psnr is not None and math.isfinite(self.psnr)
        return {**asdict(self), "psnr": self.psnr if finite else None}


def compare(one: bytes, other: bytes, settings: Settings) -> Comparison:
    """Compares two images from outside by size, mode, PSNR and SSIM, in 8 bits and without alpha.

    Raises InvalidImage and TooLarge as :func:`gates.pictures.read_image`, and NotInstalled without
    scikit-image, which measures.
    """
    try:
        from skimage.metrics import peak_signal_noise_ratio, structural_similarity
    except ImportError as error:
        raise NotInstalled("Comparing images needs scikit-image: pip install 'gatebus[compare]'") from error
    first, second = (read_image(data, settings).pixels for data in (one, other))
    same_mode = first.shape[2] == second.shape[2]
    if first.shape[:2] != second.shape[:2]:
        return Comparison(False, same_mode, False, None, None)
    identical = same_mode and bool(np.array_equal(first, second))
    a, b = first[..., :3], second[..., :3]
    equal = bool(np.array_equal(a, b))
    psnr = math.inf if equal else float(peak_signal_noise_ratio(a, b, data_range=255))
    ssim = None
    if min(a.shape[:2]) >= SSIM_WINDOW:
        ssim = float(structural_similarity(a, b, channel_axis=2, data_range=255, win_size=SSIM_WINDOW))
    return Comparison(True, same_mode, identical, psnr, ssim)
