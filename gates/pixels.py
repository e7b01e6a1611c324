"""Floats of 0..1 to bytes of 0..255 and back, in strips that stay in the cache (numpy only).

Values are rounded half to even and clipped, never truncated, so that a picture survives any
number of round trips; NaN becomes 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_STRIP = 128 * 1024
"""Values converted at a time: the scratch floats stay in the cache."""


def round_into(source: NDArray[Any], target: Pixels) -> None:
    """Writes ``source`` (0..1 of any float dtype, or uint8) into ``target`` as 0..255; same shapes, any strides.

    Half to even, clipped; NaN becomes 0.
    """
    if source.dtype == np.uint8:
        target[...] = source
        return
    work = np.float64 if source.dtype == np.float64 else np.float32
    per_row = max(1, source[0].size) if len(source) else 1
    step = max(1, _STRIP // per_row)
    scratch = np.empty((min(step, len(source)), *source.shape[1:]), work)
    for start in range(0, len(source), step):
        rows = source[start : start + step]
        strip = scratch[: len(rows)]
        np.multiply(rows, work(255), out=strip, dtype=work)
        np.fmax(strip, 0, out=strip)  # fmax, not maximum: it turns NaN into 0
        np.minimum(strip, 255, out=strip)
        np.rint(strip, out=strip)
        np.copyto(target[start : start + step], strip, casting="unsafe")


def to_pixels(source: NDArray[Any]) -> Pixels:
    """``source`` as uint8, see :func:`round_into`."""
    pixels = np.empty(source.shape, np.uint8)
    round_into(source, pixels)
    return pixels


def to_floats(pixels: Pixels, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """``pixels`` / 255 as float32, the exact inverse of :func:`to_pixels`; into ``out`` when it is given."""
    out = np.empty(pixels.shape, np.float32) if out is None else out
    # dtype is given because numpy 1 would take a half float for a uint8 and a scalar.
    return np.divide(pixels, np.float32(255), out=out, dtype=np.float32)
