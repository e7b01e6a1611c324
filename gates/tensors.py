"""Torch tensors to arrays and back, and masks made to fit their image.

ComfyUI's IMAGE is a float tensor [B, H, W, C] of 0 to 1 with 1, 3 or 4 channels, its MASK one of
[B, H, W] (or [H, W]) where 1 is painted. A mask as PNG has the same polarity: white is painted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from .errors import InvalidImage

# NumPy has no such types; float32 holds every value of theirs exactly.
_WIDENED = tuple(
    getattr(torch, name)
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
    if hasattr(torch, name)
)


def to_array(image: torch.Tensor) -> NDArray[np.floating[Any]]:
    """The IMAGE as an array [B, H, W, C] of the same values, C-contiguous.

    Any float dtype and device, with or without gradient; what NumPy can't hold (bfloat16, the
    8-bit floats) becomes float32, which loses nothing. A contiguous tensor on the CPU is not
    copied: the array then shares its memory and must not be written to. Raises InvalidImage for
    anything else than a batch of at least one image with 1, 3 or 4 channels.
    """
    if not isinstance(image, torch.Tensor) or not image.is_floating_point():
        raise InvalidImage(f"An image is a float tensor [B, H, W, C], not {_kind(image)}")
    if image.ndim != 4 or 0 in image.shape or image.shape[3] not in (1, 3, 4):
        raise InvalidImage(
            f"An image is a tensor [B, H, W, C] of at least one pixel with 1, 3 or 4 channels, not {_kind(image)}"
        )
    return _plain(image)


def mask_to_array(mask: torch.Tensor) -> NDArray[np.float32]:
    """A fitted MASK as a float32 array [B, H, W], C-contiguous; shares the tensor's memory where it can."""
    return np.asarray(_plain(mask.to(torch.float32)), np.float32)


def to_tensor(array: NDArray[np.floating[Any]]) -> torch.Tensor:
    """The array as a tensor of its dtype on the CPU; shares the array's memory unless that is read-only."""
    if not array.flags.writeable or not array.flags.c_contiguous:
        array = array.copy(order="C")
    return torch.from_numpy(array)


def fit_mask(mask: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """The MASK as float32 [B, H, W] of the image's batch, size and device, 0 to 1.

    Accepts [H, W], [B, H, W] and [B, 1, H, W], of floats or booleans. A mask of another size is
    resized bilinearly, with antialiasing when it shrinks; one of the right size keeps its values.
    One mask serves the whole batch, several are repeated from the first on, surplus ones are
    dropped, as ComfyUI's own nodes do. NaN counts as unpainted. Raises InvalidImage.
    """
    batch, height, width = image.shape[:3]
    if not isinstance(mask, torch.Tensor) or not (mask.is_floating_point() or mask.dtype is torch.bool):
        raise InvalidImage(f"A mask is a float tensor [B, H, W], not {_kind(mask)}")
    fitted = mask.detach().to(device=image.device, dtype=torch.float32)
    if fitted.ndim == 2:
        fitted = fitted.unsqueeze(0)
    elif fitted.ndim == 4 and fitted.shape[1] == 1:
        fitted = fitted.squeeze(1)
    if fitted.ndim != 3 or 0 in fitted.shape:
        raise InvalidImage(f"A mask is a tensor [B, H, W] of at least one pixel, not {_kind(mask)}")
    fitted = fitted[:batch].nan_to_num(nan=0.0)
    if fitted.shape[1:] != (height, width):
        fitted = functional.interpolate(
            fitted.unsqueeze(1), size=(height, width), mode="bilinear", antialias=True
        ).squeeze(1)
    if len(fitted) < batch:
        fitted = fitted.repeat(-(-batch // len(fitted)), 1, 1)[:batch]
    return fitted.clamp(0.0, 1.0).contiguous()


def empty_mask(image: torch.Tensor) -> torch.Tensor:
    """Zeros, float32 [B, H, W], of the image's batch, size and device."""
    return torch.zeros(image.shape[:3], dtype=torch.float32, device=image.device)


def _plain(tensor: torch.Tensor) -> NDArray[np.floating[Any]]:
    tensor = tensor.detach()
    if tensor.dtype in _WIDENED:
        tensor = tensor.to(torch.float32)
    return tensor.cpu().contiguous().numpy()


def _kind(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__
