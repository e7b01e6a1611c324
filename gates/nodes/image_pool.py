"""``GridImagePool``: outputs one image of a curated pool, with its mask and label."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from .. import codec, comfy
from ..errors import GatebusError, InvalidInput, PoolNotFound, SlotNotFound
from ..names import check_name
from ..pixels import to_floats
from ..pool.manifest import Manifest
from ..store import Store
from ..tensors import empty_mask, fit_mask, to_tensor

ACTIVE = -1
"""The index that means the active slot."""

LAST_INDEX = 9999

_TRIES = 3
"""Looks at a pool from which somebody removes the very slot between manifest and image."""

Chosen = tuple[torch.Tensor, torch.Tensor, int, int, str]


class GridImagePool:
    """The node; see ``web/comfyui/docs/GridImagePool.md`` for what it promises to people."""

    CATEGORY = "Gate Bus"
    DESCRIPTION = (
        "Outputs one image of a curated pool, with its mask and label: the active slot, or the one at an index."
    )
    SEARCH_ALIASES = (
        "image grid",
        "image set",
        "reference images",
        "gallery",
        "pick image",
        "load images",
        "grid pool",
    )
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE", "MASK", "INT", "INT", "STRING")
    RETURN_NAMES = ("image", "mask", "index", "count", "label")
    OUTPUT_TOOLTIPS = (
        "The chosen image, upright (EXIF applied) and RGB. An empty pool gives one black pixel.",
        "The mask painted on that image (1 = painted), or zeros of its size.",
        "The position that was used, from 0, after 'active' was resolved and the index clamped.",
        "How many images the pool has.",
        "The chosen image's label.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The inputs; their order is a promise to saved workflows."""
        return {
            "required": {
                "index": (
                    "INT",
                    {
                        "default": ACTIVE,
                        "min": ACTIVE,
                        "max": LAST_INDEX,
                        "tooltip": "Which image: -1 is the active one, 0 the first. Beyond the last one: the last one.",
                    },
                ),
                "pool_id": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "The pool's id: 1 to 64 letters, digits, _ - . It is saved with the workflow;"
                        " nodes with the same id share one pool.",
                    },
                ),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, index: int | None = None, pool_id: str | None = None) -> bool | str:
        """True, or what is wrong; refused when the prompt is queued. A linked input arrives as None."""
        try:
            _check(ACTIVE if index is None else index, pool_id or "")
        except GatebusError as error:
            return error.message
        return True

    @classmethod
    def IS_CHANGED(cls, index: int | None = None, pool_id: str | None = None) -> str | float:
        """A fingerprint of everything that the node outputs; of the whole pool when the index is linked."""
        if pool_id is None:
            # The id comes from another node, so the pool is not known yet: never the same twice.
            return float("nan")
        manifest = _manifest(comfy.store(), pool_id)
        if index is None:
            content: Any = manifest and manifest.to_json()
        elif manifest is None or not manifest.slots:
            content = None
        else:
            used = _position(manifest, index)
            slot = manifest.slots[used]
            # A pool made by hand may have no digests yet; then every edit counts.
            known = "" if slot.digest else manifest.rev
            content = [slot.file, slot.digest, slot.mask_digest, slot.label, used, len(manifest.slots), known]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def run(self, index: int, pool_id: str) -> Chosen:
        """The chosen image [1, H, W, 3], its mask [1, H, W], the used index, the count and the label."""
        _check(index, pool_id)
        store = comfy.store()
        for attempt in range(1, _TRIES + 1):
            manifest = _manifest(store, pool_id)
            if manifest is None or not manifest.slots:
                return torch.zeros(1, 1, 1, 3), torch.zeros(1, 1, 1), 0, 0, ""
            try:
                return _load(store, manifest, _position(manifest, index))
            except SlotNotFound:
                if attempt == _TRIES:
                    raise
        raise AssertionError("the loop returns or raises")


def _check(index: int, pool_id: str) -> None:
    if not ACTIVE <= index <= LAST_INDEX:
        raise InvalidInput(f"index must be {ACTIVE} (the active image) to {LAST_INDEX}, not {index}")
    if pool_id:
        check_name(pool_id, "pool_id")


def _manifest(store: Store, pool_id: str) -> Manifest | None:
    """The pool's manifest, None when there is no such pool (yet)."""
    if not pool_id:
        return None
    try:
        return store.pools.get(pool_id)
    except PoolNotFound:
        return None


def _position(manifest: Manifest, index: int) -> int:
    """The position in a pool that is not empty: that of the active slot, or the index, clamped."""
    if index != ACTIVE:
        return min(index, len(manifest.slots) - 1)
    return next((place for place, slot in enumerate(manifest.slots) if slot.file == manifest.active), 0)


def _load(store: Store, manifest: Manifest, position: int) -> Chosen:
    slot = manifest.slots[position]
    # Pools made by hand may hold EXIF, palettes or 16 bits, so this reads as tolerantly as an upload.
    picture = codec.read_image(store.pools.image(manifest.pool_id, slot.file), store.settings)
    image = to_tensor(to_floats(picture.pixels[..., :3]))[None]
    png = store.pools.mask(manifest.pool_id, slot.file) if slot.mask else None
    if png is None:
        mask = empty_mask(image)
    else:
        mask = fit_mask(to_tensor(to_floats(codec.read_image(png, store.settings).pixels[..., 0])), image)
    return image, mask, position, len(manifest.slots), slot.label
