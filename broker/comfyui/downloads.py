"""Files fetched from a ComfyUI: whole, within bounds, and images that decode."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import struct
import uuid
import zlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image

from gates.errors import InvalidInput

from .connection import Connection
from .errors import AnswerTooLarge, DownloadBroken, NoSuchFile
from .outputs import OutputFile

IMAGES = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""Ending of a name -> the format that Pillow must find in the file."""

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
"""What Pillow raises for a file that it can't read."""

# No separators, nothing that Windows refuses or opens as a device, no hidden file.
_FILE_NAME = re.compile(r'(?!\.)(?!(?i:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))[^\x00-\x1f\x7f/\\<>:"|?*]{1,200}(?<![. ])')


@dataclass(frozen=True)
class Download:
    """A file as it came, verified."""

    output: OutputFile
    data: bytes = field(repr=False)
    digest: str
    """SHA-256 in hex."""
    width: int = 0
    """Of an image, in pixels; 0 for other files."""
    height: int = 0

    @property
    def name(self) -> str:
        """A name without folders, safe on every system."""
        return check_file_name(self.output.filename)

    def save(self, folder: str | os.PathLike[str], name: str = "") -> Path:
        """Writes the file into the folder in one step and returns its path.

        A file of that name and content is left as it is; one of another content is kept, and this one gets
        `` (1)``, `` (2)``, ... behind its name. Raises InvalidInput for a name with a path in it, OSError.
        """
        wanted = Path(check_file_name(name or self.output.filename))
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        temporary = target / f".{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "xb") as written:
                written.write(self.data)
                written.flush()
                os.fsync(written.fileno())
            number = 0
            while True:
                path = target / (f"{wanted.stem} ({number}){wanted.suffix}" if number else wanted.name)
                if _placed(temporary, path):
                    return path
                if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == self.digest:
                    return path
                number += 1
        finally:
            temporary.unlink(missing_ok=True)


def _placed(temporary: Path, path: Path) -> bool:
    """Gives the file its name, unless another file has it."""
    try:
        # A link and not a rename: it never takes the place of a file that was written meanwhile.
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        # No links on this file system.
        if path.exists():
            return False
        os.replace(temporary, path)
    return True


async def download(connection: Connection, output: OutputFile) -> Download:
    """As :meth:`ComfyClient.download`."""
    query = {"filename": output.filename, "subfolder": output.subfolder, "type": output.folder}

    async def once() -> bytes:
        async with connection.ask("GET", "view", params=query) as answer:
            if answer.status in (400, 403, 404):
                raise NoSuchFile(f"{connection.url} has no {output.folder} file {output.subfolder}/{output.filename}")
            connection.check(answer, "view")
            data = await connection.body(answer, connection.limits.file_bytes)
            told = answer.headers.get("Content-Length", "")
            if told.isdecimal() and "Content-Encoding" not in answer.headers and int(told) != len(data):
                raise DownloadBroken(f"{output.filename}: {len(data)} bytes came of {told}")
            return data

    data: bytes = await connection.repeated(once)
    width, height = await asyncio.to_thread(measure, data, output.filename, connection.limits.pixels)
    return Download(output, data, hashlib.sha256(data).hexdigest(), width, height)


def check_file_name(name: str) -> str:
    """The name, when it names a file in a folder and nothing else; raises InvalidInput otherwise."""
    if not _FILE_NAME.fullmatch(name):
        raise InvalidInput(f"{name[:200]!a} is no plain file name", what="file name")
    return name


def measure(data: bytes, name: str, pixels: int) -> tuple[int, int]:
    """Width and height of an image that is whole, (0, 0) of another file; raises DownloadBroken, AnswerTooLarge."""
    kind = IMAGES.get(Path(name).suffix.lower())
    if kind is None:
        if not data:
            raise DownloadBroken(f"{name} is empty")
        return 0, 0
    try:
        with Image.open(BytesIO(data), formats=(kind, "MPO") if kind == "JPEG" else (kind,)) as image:
            if image.width * image.height > pixels:
                raise AnswerTooLarge(f"{name} is {image.width} x {image.height}; at most {pixels} pixels are taken")
            # Checksums, which decoding does not look at.
            image.verify()
        with Image.open(BytesIO(data), formats=(kind, "MPO") if kind == "JPEG" else (kind,)) as image:
            image.load()
            return image.width, image.height
    except Image.DecompressionBombError as error:
        raise AnswerTooLarge(f"{name} has too many pixels: {error}") from error
    except UNREADABLE as error:
        raise DownloadBroken(f"{name} is no whole {kind} image: {error}") from error
