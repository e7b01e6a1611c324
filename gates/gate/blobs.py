"""A gate's bytes in Redis: preview, image parts, painted masks, and what it takes to run on.

Bytes are written with an expiry before the record names them, so that a step that died half way
leaves nothing behind for ever, and lose it when the record does.
"""

from __future__ import annotations

import secrets

from .. import codec
from ..connection import Connection
from ..errors import GateNotFound
from ..keys import Keys
from .record import Gate

UNNAMED = 3600
"""Seconds that bytes live which no record names."""

BURST = 8 * 1024 * 1024
"""Bytes sent before the answers are read."""


class GateBlobs:
    """Reads and writes them; every call raises StoreUnavailable while Redis is away."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    def put(self, gate: Gate, preview: bytes, mask: bytes | None) -> None:
        """Writes what a person needs to see the gate."""
        with self._connection.available():
            self._connection.blobs.set(self._keys.gate_preview(gate.id), preview, ex=UNNAMED)
            if mask is not None and gate.mask:
                self._connection.blobs.set(self._keys.gate_mask(gate.id, gate.mask), mask, ex=UNNAMED)

    def put_image(self, gate: Gate, image: codec.Encoded) -> None:
        """Writes the whole image's parts."""
        with self._connection.available():
            pipe, waiting = self._connection.blobs.pipeline(transaction=False), 0
            for number, part in enumerate(image.parts):
                pipe.set(self._keys.gate_image(gate.id, number), part, ex=UNNAMED)
                waiting += memoryview(part).nbytes
                if waiting >= BURST:
                    pipe.execute()
                    waiting = 0
            pipe.execute()

    def put_mask(self, gate_id: str, png: bytes) -> str:
        """Writes a painted mask and returns its token."""
        token = secrets.token_hex(8)
        with self._connection.available():
            self._connection.blobs.set(self._keys.gate_mask(gate_id, token), png, ex=UNNAMED)
        return token

    def put_continuation(self, gate_id: str, data: bytes) -> None:
        """Writes what it takes to run on from the gate."""
        with self._connection.available():
            self._connection.blobs.set(self._keys.gate_continuation(gate_id), data, ex=UNNAMED)

    def copy(self, gate: Gate, new: Gate) -> None:
        """Writes everything that the record names once more, for another gate; raises GateNotFound for what is gone."""
        for source, target in zip(self._named(gate), self._named(new), strict=True):
            data = self._get(source, gate.id, "image, or how its prompt goes on,")
            with self._connection.available():
                self._connection.blobs.set(target, data, ex=UNNAMED)

    def prolong(self, gate: Gate, keep: float) -> None:
        """Lets the bytes of an ended gate live so many seconds from now, as far as they have not gone."""
        names = self._named(gate)
        with self._connection.available():
            pipe = self._connection.blobs.pipeline(transaction=False)
            for key in names:
                pipe.pttl(key)
            left = pipe.execute()
            for key, milliseconds in zip(names, left, strict=True):
                if milliseconds > 0:
                    pipe.pexpire(key, int(keep * 1000))
            pipe.execute()

    def drop_mask(self, gate_id: str, token: str) -> None:
        """Removes a mask that no record names any more."""
        if token:
            with self._connection.available():
                self._connection.blobs.unlink(self._keys.gate_mask(gate_id, token))

    def persist(self, gate: Gate) -> None:
        """Takes the expiry off everything that the record names."""
        with self._connection.available():
            pipe = self._connection.blobs.pipeline(transaction=False)
            for key in self._named(gate):
                pipe.persist(key)
            pipe.execute()

    def expire(self, gate: Gate, keep: float, keep_images: float) -> None:
        """Lets the bytes of an ended gate go: what it could run again from, and preview and mask with the record."""
        with self._connection.available():
            pipe = self._connection.blobs.pipeline(transaction=False)
            for key in self._named(gate):
                seconds = min(keep, keep_images) if key.endswith(":continuation") or ":image:" in key else keep
                pipe.pexpire(key, int(seconds * 1000))
            pipe.execute()

    def preview(self, gate_id: str) -> bytes:
        """The preview; raises GateNotFound."""
        return self._get(self._keys.gate_preview(gate_id), gate_id, "preview")

    def part(self, gate_id: str, part: int) -> bytes:
        """One part of the image; raises GateNotFound."""
        return self._get(self._keys.gate_image(gate_id, part), gate_id, "image")

    def mask(self, gate_id: str, token: str) -> bytes:
        """The mask of that token; raises GateNotFound."""
        return self._get(self._keys.gate_mask(gate_id, token), gate_id, "mask")

    def continuation(self, gate_id: str) -> bytes:
        """What it takes to run on from the gate; raises GateNotFound."""
        return self._get(self._keys.gate_continuation(gate_id), gate_id, "continuation")

    def _get(self, key: str, gate_id: str, what: str) -> bytes:
        with self._connection.available():
            data: bytes | None = self._connection.blobs.get(key)
        if data is None:
            raise GateNotFound(f"The {what} of that gate is not stored (any more)", gate=gate_id)
        return data

    def _named(self, gate: Gate) -> list[str]:
        keys = [self._keys.gate_preview(gate.id)]
        if gate.mask:
            keys.append(self._keys.gate_mask(gate.id, gate.mask))
        if gate.layout is not None:
            keys += [self._keys.gate_image(gate.id, part) for part in range(gate.layout.parts)]
        if gate.kept:
            keys.append(self._keys.gate_continuation(gate.id))
        return keys
