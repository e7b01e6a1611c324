"""One stored version of a bus: its head and how its parts are laid out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import codec
from ..errors import BusNotFound, GatebusError, InvalidImage, InvalidInput, TooLarge
from ..names import check_int, clean_text
from ..settings import Settings
from .record import FORMATS, BusContent, BusHead, BusMeta


@dataclass(frozen=True)
class Draft:
    """What is to be published, checked: nothing is written for a batch or a text that is not accepted."""

    planes: dict[str, NDArray[Any]]
    """``image`` [B, H, W, C], and ``mask`` [B, H, W, 1] when there is one."""
    format: str
    meta: BusMeta

    @classmethod
    def of(cls, content: BusContent) -> Draft:
        """The draft that publishes a loaded version once more."""
        planes = {"image": content.image}
        if content.mask is not None:
            planes["mask"] = content.mask[..., None]
        return cls(planes, content.head.format, content.head.meta)


def check_draft(
    image: NDArray[Any], mask: NDArray[Any] | None, format: str, meta: BusMeta, settings: Settings
) -> Draft:
    """The draft; raises InvalidInput, InvalidImage or TooLarge."""
    if format not in FORMATS:
        raise InvalidInput(f"The format {str(format)[:20]!a} is not accepted: {' or '.join(FORMATS)}")
    if image.ndim != 4:
        raise InvalidImage(f"A bus takes an image batch [B, H, W, C], not {list(image.shape)}")
    planes = {"image": codec.as_batch(image)}
    if len(image) > settings.max_frames:
        raise TooLarge(f"The batch has {len(image)} images; at most {settings.max_frames} are accepted")
    if format == "exact" and image.dtype.name not in codec.EXACT_DTYPES:
        raise InvalidImage(f"The exact format takes {', '.join(codec.EXACT_DTYPES)}, not {image.dtype.name}")
    if mask is not None:
        if mask.shape != image.shape[:3] or mask.dtype.kind != "f":
            raise InvalidImage(
                f"The mask is {mask.dtype} {list(mask.shape)}; it must be floats {list(image.shape[:3])}, as its image"
            )
        planes["mask"] = codec.as_batch(mask.astype(np.float32, copy=False))
    return Draft(planes, format, BusMeta(**{key: clean_text(text, key) for key, text in asdict(meta).items()}))


@dataclass(frozen=True)
class Version:
    """A version's head and layouts; JSON on the disk, the fields of a hash in Redis."""

    head: BusHead
    layouts: dict[str, codec.Layout]
    """By plane: ``image``, and ``mask`` when there is one."""

    def layout(self, plane: str) -> codec.Layout:
        """The plane's layout; raises BusNotFound when the version has no such plane."""
        if plane not in self.layouts:
            raise BusNotFound(f"Version {self.head.version} of bus {self.head.name} has no {plane}")
        return self.layouts[plane]

    def to_fields(self, first: Callable[[str], str]) -> dict[str, str | int]:
        """The version as flat fields; ``first`` gives the place of a plane's first part."""
        image, mask = self.layouts["image"], self.layouts.get("mask")
        head = self.head
        return {
            "version": head.version,
            "image": first("image"),
            "mask": first("mask") if mask else "",
            "frames": head.frames,
            "width": head.width,
            "height": head.height,
            "channels": head.channels,
            "format": head.format,
            "dtype": image.dtype,
            "parts": image.parts,
            "image_size": image.size,
            "mask_parts": mask.parts if mask else 0,
            "mask_size": mask.size if mask else 0,
            "digest": head.digest,
            "published": head.published,
            "size": head.size,
            **asdict(head.meta),
        }

    @classmethod
    def from_fields(cls, name: str, fields: Mapping[str, Any]) -> Version:
        """The version of stored fields; raises GatebusError when one is missing or out of range."""
        try:
            return cls._from_fields(name, fields)
        except (KeyError, ValueError, TypeError) as error:
            raise GatebusError(f"The stored head of bus {name} is not readable: {error}") from error

    @classmethod
    def _from_fields(cls, name: str, fields: Mapping[str, Any]) -> Version:
        number = {field: int(fields[field]) for field in _NUMBERS}
        text = {field: str(fields[field]) for field in ("format", "dtype", "digest", "mask")}
        meta = BusMeta(*(str(fields[field]) for field in ("instance", "workflow", "label")))
        shape: dict[str, Any] = {
            "format": text["format"],
            "frames": number["frames"],
            "height": number["height"],
            "width": number["width"],
        }
        image = {
            **shape,
            "channels": number["channels"],
            "dtype": text["dtype"],
            "parts": number["parts"],
            "size": number["image_size"],
        }
        layouts = {"image": codec.Layout.from_json(image)}
        if text["mask"]:
            mask = {
                **shape,
                "channels": 1,
                "dtype": "uint8" if text["format"] == "png" else "float32",
                "parts": number["mask_parts"],
                "size": number["mask_size"],
            }
            layouts["mask"] = codec.Layout.from_json(mask)
        check_int(number["version"], "version", 1, 2**53)
        head = BusHead(
            name=name,
            version=number["version"],
            **shape,
            channels=number["channels"],
            mask="mask" in layouts,
            digest=text["digest"],
            published=number["published"],
            size=number["size"],
            meta=meta,
        )
        return cls(head, layouts)


class DraftParts:
    """The parts of a draft while they are made, each once; knows their version when all have gone by."""

    def __init__(self, draft: Draft, compression: str) -> None:
        self._draft = draft
        self._compression = compression
        self._sizes: dict[str, list[int]] = {plane: [] for plane in draft.planes}
        self._sums = hashlib.sha256()

    def __iter__(self) -> Iterator[tuple[str, int, codec.Stream]]:
        """(plane, number, part), image before mask."""
        for plane, batch in self._draft.planes.items():
            for number, stream in enumerate(codec.streams(batch, self._draft.format, self._compression)):
                self._sizes[plane].append(stream.size)
                yield plane, number, codec.Stream(stream.size, self._summed(stream))

    def version(self, name: str, number: int, published: int) -> Version:
        """The version that the parts make."""
        draft = self._draft
        layouts = {
            plane: codec.layout_of(batch, draft.format, self._sizes[plane]) for plane, batch in draft.planes.items()
        }
        image = layouts["image"]
        digest = self._sums.copy()
        digest.update(json.dumps([layout.to_json() for layout in layouts.values()]).encode())
        head = BusHead(
            name=name,
            version=number,
            format=draft.format,
            frames=image.frames,
            height=image.height,
            width=image.width,
            channels=image.channels,
            mask="mask" in layouts,
            digest=digest.hexdigest(),
            published=published,
            size=sum(layout.size for layout in layouts.values()),
            meta=draft.meta,
        )
        return Version(head, layouts)

    def _summed(self, stream: codec.Stream) -> Iterator[codec.Part]:
        """The pieces; their checksums enter the digest when the last one has gone by."""
        end = b""
        for piece in stream.pieces:
            if self._draft.format == "exact":
                self._sums.update(codec.checksum("exact", piece))
            else:
                end = (end + bytes(piece[-codec.PNG_END :]))[-codec.PNG_END :]
            yield piece
        if self._draft.format == "png":
            self._sums.update(codec.checksum("png", end))


_NUMBERS = (
    "version",
    "frames",
    "width",
    "height",
    "channels",
    "parts",
    "image_size",
    "mask_parts",
    "mask_size",
    "published",
    "size",
)


def nth(versions: Sequence[int], wanted: int | None) -> int | None:
    """The number that ``wanted`` names among the kept versions (oldest first): None for the newest, -1 for the one
    before; a number that is given is taken as it is. None when there is none."""
    if wanted is not None and wanted >= 0:
        return wanted
    place = len(versions) - 1 + (wanted or 0)
    return versions[place] if 0 <= place < len(versions) else None
