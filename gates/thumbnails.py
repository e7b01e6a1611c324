"""Small WebP renditions of images, cached by content.

The key is the digest of what is shown, so a rendition never goes stale and is never removed
for a change, only for room. A grid of 200 images at 256 px stays below 3 MB: a rendition has a
budget of bytes, and one that is over it (noise, film grain) is encoded at lower quality.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from PIL import Image

from .codec import decode_png, read_image
from .errors import InvalidInput
from .png import SIGNATURE
from .settings import MIB, Settings

SIZES = (64, 128, 256, 512)
"""Longest side in pixels that may be asked for."""

DEFAULT_SIZE = 256

QUALITIES = (80, 60, 40, 20, 5, 0)
"""WebP qualities, tried in turn until the budget holds."""

WEBP_METHOD = 2
"""Effort of 0 to 6; 4 takes twice the time for 4 % fewer bytes."""

BUDGET = 14_000 / 256**2
"""Bytes per pixel of the square: 14,000 at 256 px, which leaves room for headers in 3 MB for 200."""

MEMORY_LIMIT = 32 * MIB
"""Bytes of renditions kept in memory."""

DISK_LIMIT = 256 * MIB
"""Bytes of renditions kept on disk; about 20,000 at 256 px."""

_KEY = re.compile(r"[0-9a-f]{16,64}(-[0-9]{1,6})?")

log = logging.getLogger(__name__)


class Thumbnails:
    """Makes and keeps renditions; thread-safe. Several askers for the same one share one rendering."""

    def __init__(
        self,
        settings: Settings,
        folder: Path | None = None,
        *,
        threads: int = 2,
        memory_limit: int = MEMORY_LIMIT,
        disk_limit: int = DISK_LIMIT,
    ) -> None:
        """``folder`` is the cache on disk (made when missing; None: memory only)."""
        self._settings = settings
        self._disk = _Disk(folder, disk_limit) if folder is not None else None
        self._memory_limit = memory_limit
        self._memory: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._held = 0
        self._making: dict[tuple[str, int], Future[bytes]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, "gatebus-thumbnails")

    def ask(self, key: str, size: int, load: Callable[[], bytes]) -> Future[bytes]:
        """The rendition of longest side ``size`` (of SIZES), as WebP, now or later.

        ``key`` identifies the content: 16 to 64 hex digits, ``-`` and a frame number. ``load``
        gives the encoded image and is called in a thread of the pool, when nothing is cached;
        what it raises, the future raises, and nothing is kept. Raises InvalidInput for another size.
        """
        if size not in SIZES:
            raise InvalidInput(
                f"The size must be one of {', '.join(map(str, SIZES))}", what="size", accepted=list(SIZES)
            )
        if not _KEY.fullmatch(key):
            raise ValueError(f"no content key: {key!r}")
        place = (key, size)
        with self._lock:
            if place in self._memory:
                self._memory.move_to_end(place)
                ready: Future[bytes] = Future()
                ready.set_result(self._memory[place])
                return ready
            if place not in self._making:
                self._making[place] = self._pool.submit(self._make, place, load)
            return self._making[place]

    def close(self) -> None:
        """Ends the threads; what is not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _make(self, place: tuple[str, int], load: Callable[[], bytes]) -> bytes:
        try:
            data = self._disk.get(place) if self._disk else None
            if data is None:
                data = render(load(), place[1], self._settings)
                if self._disk:
                    self._disk.put(place, data)
            with self._lock:
                self._memory[place] = data
                self._held += len(data)
                while self._held > self._memory_limit and len(self._memory) > 1:
                    self._held -= len(self._memory.popitem(last=False)[1])
            return data
        finally:
            with self._lock:
                self._making.pop(place, None)


def render(image: bytes, size: int, settings: Settings) -> bytes:
    """The image (PNG, JPEG or WebP) as WebP of longest side ``size`` at most; RGBA keeps its alpha.

    Raises InvalidImage or TooLarge as ``codec.read_image`` does.
    """
    # What the store wrote needs no bounds (a bus may hold more pixels than an upload may have). A
    # pool of the predecessor holds whatever was dropped on it under the name of a PNG.
    pixels = decode_png(image) if image[:8] == SIGNATURE else read_image(image, settings).pixels
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((size, size), Image.Resampling.BICUBIC, reducing_gap=2.0)
    if picture.mode == "L":
        picture = picture.convert("RGB")
    data = b""
    for quality in QUALITIES:
        target = io.BytesIO()
        picture.save(target, "WEBP", quality=quality, alpha_quality=quality, method=WEBP_METHOD)
        data = target.getvalue()
        if len(data) <= BUDGET * size * size:
            break
    return data


class _Disk:
    """The cache's folder: one file a rendition, the least recently made removed when it is full.

    It is a cache: whatever fails here is logged once and the rendition is made again next time.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._used: int | None = None
        self._complained = False
        self._lock = threading.Lock()

    def get(self, place: tuple[str, int]) -> bytes | None:
        try:
            data = self._file(place).read_bytes()
        except OSError:
            return None
        # A crash may leave a cut file: RIFF tells its own length.
        whole = len(data) > 12 and data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") + 8 == len(data)
        return data if whole else None

    def put(self, place: tuple[str, int], data: bytes) -> None:
        file = self._file(place)
        fresh = file.with_name(f".{uuid4().hex}.new")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                fresh.write_bytes(data)
                os.replace(fresh, file)
            finally:
                fresh.unlink(missing_ok=True)
            self._count(len(data))
        except OSError as error:
            if not self._complained:
                self._complained = True
                log.warning("gatebus: thumbnails can't be kept in %s: %s", self._folder, error)

    def _file(self, place: tuple[str, int]) -> Path:
        key, size = place
        # Hashed again, so that the name is of one length whatever the key.
        name = hashlib.sha256(key.encode()).hexdigest()[:40]
        return self._folder / name[:2] / f"{name}-{size}.webp"

    def _count(self, added: int) -> None:
        with self._lock:
            if self._used is None:
                self._used = sum(size for _, size, _ in self._files())
            else:
                self._used += added
            if self._used <= self._limit:
                return
            for _, size, path in sorted(self._files()):
                if self._used <= self._limit * 3 // 4:
                    break
                path.unlink(missing_ok=True)
                self._used -= size

    def _files(self) -> list[tuple[float, int, Path]]:
        """(time, bytes, path) of every file; what another process removes meanwhile is passed over."""
        found = []
        for path in self._folder.glob("??/*.webp"):
            try:
                state = path.stat()
            except FileNotFoundError:
                continue
            found.append((state.st_mtime, state.st_size, path))
        return found
