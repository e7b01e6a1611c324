"""Uploads and downloads of the stand-in for a ComfyUI."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

from aiohttp import hdrs, web
from PIL import Image

KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}


class ComfyFiles:
    """The folders ``input``, ``output`` and ``temp``."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self.folders = folders

    async def upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        image = form.get("image")
        if not isinstance(image, web.FileField):
            return web.Response(status=400)
        data, wanted = image.file.read(), Path(image.filename)
        folder, subfolder = str(form.get("type", "input")), str(form.get("subfolder", ""))
        target = self.folders[folder] / subfolder
        if not target.resolve().is_relative_to(self.folders[folder].resolve()):
            return web.Response(status=400)
        target.mkdir(parents=True, exist_ok=True)
        name, number, same = wanted.name, 1, False
        while form.get("overwrite") not in ("true", "1") and (target / name).exists() and not same:
            if same := (target / name).read_bytes() == data:
                break
            name, number = f"{wanted.stem} ({number}){wanted.suffix}", number + 1
        if not same and request.path.endswith("/mask"):
            self._put_mask(json.loads(str(form["original_ref"])), data, target / name)
        elif not same:
            (target / name).write_bytes(data)
        return web.json_response({"name": name, "subfolder": subfolder, "type": folder})

    def _put_mask(self, reference: dict[str, str], data: bytes, target: Path) -> None:
        original = (
            self.folders[reference.get("type", "output")] / reference.get("subfolder", "") / reference["filename"]
        )
        # Without the original nothing is written, and the answer is as if it were.
        if original.is_file():
            with Image.open(original) as opened, Image.open(BytesIO(data)) as mask:
                image = opened.convert("RGBA")
                image.putalpha(mask.convert("RGBA").getchannel("A"))
                image.save(target, "PNG")

    async def view(self, request: web.Request) -> web.Response:
        name, folder = request.query.get("filename", ""), request.query.get("type", "output")
        if not name:
            return web.Response(status=404)
        if name[0] == "/" or ".." in name or folder not in self.folders:
            return web.Response(status=400)
        target = self.folders[folder] / request.query.get("subfolder", "")
        if not target.resolve().is_relative_to(self.folders[folder].resolve()):
            return web.Response(status=403)
        file = target / Path(name).name
        if not file.is_file():
            return web.Response(status=404)
        kind = KINDS.get(file.suffix)
        headers = {hdrs.CONTENT_DISPOSITION: f'filename="{file.name}"'}
        return web.Response(body=file.read_bytes(), content_type=kind or "application/octet-stream", headers=headers)
