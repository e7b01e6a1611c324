"""A pool's ``manifest.json`` on the disk, read from whoever wrote it.

The layout is older than gatebus and kept: ``active`` is a place (from 0), a slot's file stands
under ``image``, a missing mask is null. So pools go both ways between gatebus and the packs that
share the layout; those keep no digests, no ``rev``, and ``added`` in seconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInput, InvalidName
from ..names import LABEL_LIMIT, check_slot_file, clean_text
from .manifest import LAST_NUMBER, Manifest, Slot, file_number, mask_name

FIRST_MILLISECOND = 100_000_000_000
"""A smaller time is in seconds (this many seconds is the year 5138, this many milliseconds March 1973)."""

MAX_DOCUMENT_BYTES = 512 * 1024 * 1024
"""Bytes of a manifest that are read at all; a million slots take about 300 MB."""


def write_document(manifest: Manifest) -> bytes:
    """The manifest as ``manifest.json``, one field a line."""
    document = {
        "name": manifest.name,
        "active": next((i for i, slot in enumerate(manifest.slots) if slot.file == manifest.active), 0),
        "next_seq": manifest.next_seq,
        "rev": manifest.rev,
        **({"origin": manifest.origin} if manifest.origin else {}),
        "slots": [_slot_document(slot) for slot in manifest.slots],
    }
    # Not by ``indent``: that takes the slow encoder, ten times the time at 10,000 slots.
    return json.dumps(document, ensure_ascii=False, separators=(",\n", ": ")).encode()


def read_document(pool_id: str, data: bytes) -> Manifest:
    """The manifest of a ``manifest.json``; raises InvalidInput when it is none.

    What is missing or odd in a slot becomes empty; a slot whose file is no slot name is refused,
    because then nothing tells which image was meant.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise InvalidInput(f"The manifest of {pool_id} has {len(data)} bytes", pool_id=pool_id)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"The manifest of {pool_id} is no JSON: {error}", pool_id=pool_id) from error
    if not isinstance(document, dict) or not isinstance(document.get("slots"), list):
        raise InvalidInput(f"The manifest of {pool_id} must hold slots", pool_id=pool_id)
    slots = tuple(_read_slot(slot) for slot in document["slots"])
    files = [slot.file for slot in slots]
    if len(set(files)) != len(files):
        raise InvalidInput(f"The manifest of {pool_id} names a slot twice", pool_id=pool_id)
    return Manifest(
        pool_id,
        name=_text(document.get("name")),
        active=_active(document.get("active"), files),
        slots=slots,
        next_seq=max(
            [min(_number(document.get("next_seq"), 1), LAST_NUMBER + 1), *(file_number(file) + 1 for file in files)]
        ),
        rev=_number(document.get("rev"), 0),
        origin=_origin(document.get("origin")),
    )


def _slot_document(slot: Slot) -> dict[str, Any]:
    return {
        "image": slot.file,
        "mask": slot.mask or None,
        "label": slot.label,
        "added": slot.added,
        "digest": slot.digest,
        "mask_digest": slot.mask_digest,
    }


def _read_slot(slot: Any) -> Slot:
    if not isinstance(slot, Mapping):
        raise InvalidInput("A slot of a manifest is no object")
    try:
        file = check_slot_file(slot.get("image", slot.get("file")))
    except InvalidName as error:
        raise InvalidInput(error.message) from error
    added = _number(slot.get("added"), 0)
    masked = bool(slot.get("mask"))
    return Slot(
        file,
        label=_text(slot.get("label")),
        mask=mask_name(file) if masked else "",
        added=added if added >= FIRST_MILLISECOND else added * 1000,
        digest=_digest(slot.get("digest")),
        mask_digest=_digest(slot.get("mask_digest")) if masked else "",
    )


def _active(value: Any, files: list[str]) -> str:
    if isinstance(value, str) and value in files:
        return value
    return files[min(_number(value, 0), len(files) - 1)] if files else ""


def _number(value: Any, default: int) -> int:
    """A whole number of 0 to 2^53; a float of that value too (other writers' times)."""
    return int(value) if type(value) in (int, float) and 0 <= value <= 2**53 else default


def _text(value: Any) -> str:
    """A label or name; one that is too long for us was fine for who wrote it, and is cut rather than lost."""
    if not isinstance(value, str):
        return ""
    return clean_text(value.encode("utf-8", "replace").decode()[:LABEL_LIMIT], "label")


def _origin(value: Any) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{1,64}:[0-9]{1,15}", value) else ""


def _digest(value: Any) -> str:
    return value if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else ""
