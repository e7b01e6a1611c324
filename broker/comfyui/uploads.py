"""Images sent to a ComfyUI: under names made of their content, so that the same one is sent once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import aiohttp
import numpy as np
from PIL import Image

from gates.codec import read_image, read_mask
from gates.errors import InvalidInput
from gates.settings import Settings

from .connection import Connection
from .errors import ComfyRefused, ComfyUnexpected

SUBFOLDER = "gatebus"
"""Of the ComfyUI's input folder, for what is uploaded here."""

_SUBFOLDER = re.compile(r"(?:[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*)?")


@dataclass(frozen=True)
class Upload:
    """A file in a ComfyUI's folders, under the name that the ComfyUI gave it."""

    name: str
    subfolder: str
    folder: str
    """``input`` or ``temp``."""
    width: int
    height: int
    digest: str
    """SHA-256 of what was sent, in hex."""

    @property
    def reference(self) -> str:
        """What the ``image`` input of LoadImage takes."""
        path = f"{self.subfolder}/{self.name}" if self.subfolder else self.name
        return path if self.folder == "input" else f"{path} [{self.folder}]"


class Uploads:
    """Sends images to one ComfyUI."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._masked: dict[str, Upload] = {}

    async def image(self, data: bytes, subfolder: str = SUBFOLDER, folder: str = "input") -> Upload:
        """As :meth:`ComfyClient.upload_image`."""
        picture = await asyncio.to_thread(read_image, data, Settings())
        digest = hashlib.sha256(data).hexdigest()
        name = f"{digest[:32]}.{'jpg' if picture.format == 'jpeg' else picture.format}"
        upload = Upload(name, _check_subfolder(subfolder), _check_folder(folder), picture.width, picture.height, digest)
        if await self._size(upload) == len(data):
            return upload
        # Never over another file: one of the same name and another content makes the ComfyUI choose a new name.
        return await self._send("upload/image", data, upload, {})

    async def mask(self, data: bytes, original: Upload) -> Upload:
        """As :meth:`ComfyClient.upload_mask`."""
        mask = await asyncio.to_thread(read_mask, data, Settings(), original.width, original.height)
        digest = hashlib.sha256(f"{original.digest} {original.reference}".encode() + mask.tobytes()).hexdigest()
        known = self._masked.get(digest)
        if known is not None and await self._size(known):
            return known
        reference = {"filename": original.name, "subfolder": original.subfolder, "type": original.folder}
        upload = Upload(f"{digest[:32]}.png", original.subfolder, "input", original.width, original.height, digest)
        sent = await self._send(
            "upload/mask", await asyncio.to_thread(_alpha, mask), upload, {"original_ref": json.dumps(reference)}
        )
        # Without the original the ComfyUI writes nothing and answers as if it had.
        if await self._size(sent) == 0:
            raise ComfyRefused(f"{self._connection.url} does not have {original.reference} any more; upload it again")
        self._masked[digest] = sent
        return sent

    async def _send(self, path: str, data: bytes, wanted: Upload, more: Mapping[str, str]) -> Upload:
        async def once() -> Any:
            form = aiohttp.FormData()
            form.add_field("image", data, filename=wanted.name, content_type="application/octet-stream")
            for name, value in {"subfolder": wanted.subfolder, "type": wanted.folder, **more}.items():
                form.add_field(name, value)
            return await self._connection.json("POST", path, data=form)

        # Repeating is harmless: the same content under the same name is kept once.
        told = await self._connection.repeated(once)
        name = told.get("name") if isinstance(told, dict) else None
        if not isinstance(name, str) or not name or "/" in name or "\\" in name or name.startswith("."):
            raise ComfyUnexpected(f"{self._connection.url}/{path} does not tell under which name it keeps the file")
        subfolder, folder = str(told.get("subfolder") or ""), str(told.get("type") or "input")
        return Upload(name, subfolder, folder, wanted.width, wanted.height, wanted.digest)

    async def _size(self, upload: Upload) -> int | None:
        """Bytes of the file at the ComfyUI; 0 when there is none, None when it does not tell."""
        query = {"filename": upload.name, "subfolder": upload.subfolder, "type": upload.folder}

        async def once() -> int | None:
            async with self._connection.ask("HEAD", "view", params=query) as answer:
                return answer.content_length if answer.status == 200 else 0 if answer.status == 404 else None

        size: int | None = await self._connection.repeated(once)
        return size


def _alpha(mask: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """A PNG whose alpha is 255 - mask, as ComfyUI's mask editor sends it."""
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[..., 3] = 255 - mask
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _check_subfolder(subfolder: str) -> str:
    if not _SUBFOLDER.fullmatch(subfolder):
        raise InvalidInput(f"The subfolder {subfolder[:64]!a} is not accepted: letters, digits, _ - and / between them")
    return subfolder


def _check_folder(folder: str) -> str:
    if folder not in ("input", "temp"):
        raise InvalidInput(f"An upload goes to input or temp, not to {folder[:20]!a}")
    return folder
