"""The image batch that a gate is about, with the mask that goes on with it: shown, painted on, published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from .. import codec, comfy
from ..bus.record import BusMeta
from ..bus.version import check_draft
from ..pixels import to_floats
from ..store import Store
from ..tensors import empty_mask, fit_mask, mask_to_array, to_array, to_tensor
from .asking import Asked, ask, gate_at
from .gate_inputs import Question
from .parking import Keeping, kept_mask, take_up
from .pause import Pause


@dataclass(frozen=True)
class Picture:
    """What a gate shows; checked, so that it can be passed and published."""

    image: torch.Tensor
    mask: torch.Tensor
    """The mask to pass on unless one is painted: loaded from the bus, else wired, else zeros."""
    shown: bytes | None
    """That mask's first frame as the gate shows it, as PNG; None when there is neither a loaded nor a wired one."""

    def mask_with(self, painted: bytes | None) -> torch.Tensor:
        """The mask [B, H, W] to pass on, when this is what is painted at the gate in the end."""
        # One that was left as it was shown passes as it came: every frame of it, and unrounded.
        if painted == self.shown:
            return self.mask
        if painted is None:
            return empty_mask(self.image)
        pixels = codec.decode_png(painted)
        # Another machine may pack the same pixels in other bytes.
        if self.shown is not None and np.array_equal(pixels, codec.decode_png(self.shown)):
            return self.mask
        return fit_mask(to_tensor(to_floats(pixels[..., 0])), self.image)

    def only(self, indexes: Sequence[int], painted: bytes | None) -> Picture:
        """Those images of the batch with the masks that go on with them; the very same tensors when it is all."""
        mask = self.mask_with(painted)
        if len(indexes) == len(self.image):
            return Picture(self.image, mask, self.shown)
        return Picture(self.image[list(indexes)], mask[list(indexes)], self.shown)


def taken_up(store: Store, question: Question, at: comfy.Place) -> tuple[Asked, Picture, Question]:
    """The decided gate that this call carries out or passes again, its picture, and the question as it was.

    In a thread; see :func:`parking.take_up`.
    """
    waiter = take_up(store, question, at)
    question = question.of(waiter.gate)
    mask = kept_mask(store, waiter.gate)
    given = None if mask is None else to_tensor(mask)
    shown = picture(to_tensor(store.gates.image(waiter.gate.id)), given, question, store)
    return Asked(store, at, waiter), shown, question


def picture(image: torch.Tensor, given: torch.Tensor | None, question: Question, store: Store) -> Picture:
    """The batch with that mask, None for none; raises InvalidImage, and TooLarge for what can't be published.

    To be made before anybody is asked: what can't pass is then said at once, and a mask takes a
    millisecond a megapixel, even an empty one, which would be spent between decision and next node.
    """
    array = to_array(image)
    mask = empty_mask(image) if given is None else fit_mask(given, image)
    if question.send_id:
        check_draft(array, None, question.format, BusMeta(), store.settings)
    shown = None if given is None else _mask_png(mask, store.settings.compression)
    return Picture(image, mask, shown)


def ask_about(
    pause: Pause,
    at: comfy.Place,
    store: Store,
    question: Question,
    shown: Picture,
    keep: Keeping,
    gate_id: str = "",
    stored: bool = False,
    kind: str = "image",
) -> Asked:
    """Opens the gate about the picture (in a thread); ``stored``: its whole image is in the store already."""
    image, compression = to_array(shown.image), store.settings.compression
    # What goes on later goes on as it was, whatever the format in which it is published.
    parks = question.parks_after(store.settings.when_waiting) < math.inf
    format = "exact" if parks else question.format
    keep = replace(keep, mask=None if shown.shown is None else mask_to_array(shown.mask))
    gate = gate_at(
        at,
        gate_id,
        kind=kind,
        note=question.note,
        routes=question.routes,
        labels=question.labels,
        timeout_route=question.timeout_route,
        width=image.shape[2],
        height=image.shape[1],
        batch=image.shape[0],
        send_id=question.send_id,
        get_id=question.get_id,
    )
    whole = None if stored else lambda: codec.encode(image, format, compression)
    return ask(pause, at, store, gate, codec.preview_jpeg(image), keep, shown.shown, whole)


def publish(
    question: Question, at: comfy.Place, store: Store, label: str, image: torch.Tensor, mask: torch.Tensor | None
) -> None:
    """Publishes what passes on the bus that the gate sends to, if it does; raises StoreUnavailable."""
    if question.send_id:
        store.buses.publish(
            question.send_id,
            to_array(image),
            None if mask is None else mask_to_array(mask),
            format=question.format,
            meta=BusMeta(store.settings.instance, at.workflow, label),
        )


def _mask_png(mask: torch.Tensor, compression: str) -> bytes:
    """The first frame of a mask [B, H, W] as an 8-bit grey PNG, rounded."""
    return codec.encode_png((mask[0] * 255).round().to(torch.uint8).cpu().numpy(), compression)
