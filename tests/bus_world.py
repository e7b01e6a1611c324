"""One shared state of buses, on which tests open any number of stores, and what they publish."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakeredis
import numpy as np
import redis

from gates.bus.disk import DiskBuses
from gates.bus.mirrored import MirroredBuses
from gates.bus.record import BusHead, BusStore
from gates.bus.redis import RedisBuses
from gates.connection import Connection
from gates.events import LocalEvents
from gates.keys import Keys
from gates.pixels import to_floats, to_pixels
from gates.settings import Settings


class World:
    """One shared state, on which any number of stores can be opened."""

    def __init__(self, kind: str, folder: Path, url: str) -> None:
        self.kind = kind
        self.folder = folder
        self.url = url
        self.events = LocalEvents()
        self._fake = fakeredis.FakeServer()

    def open(self, **settings: Any) -> BusStore:
        chosen = Settings(store_url=self.url, **settings)
        if self.kind == "disk":
            return DiskBuses(self.folder, chosen, self.events)
        if self.kind == "mirrored":
            disk = DiskBuses(self.folder, chosen)
            return MirroredBuses(RedisBuses(Connection(chosen), Keys(), chosen, self.events), disk, chosen)
        return RedisBuses(self._connection(chosen), Keys(), chosen, self.events)

    def content(self) -> list[str]:
        """Everything that is stored: files or keys."""
        if self.kind == "disk":
            return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))
        return sorted(self._connection(Settings(store_url=self.url)).control.keys("*"))

    def _connection(self, settings: Settings) -> Connection:
        if self.kind != "fakeredis":
            return Connection(settings)
        text = fakeredis.FakeRedis(server=self._fake, decode_responses=True)
        return Connection(settings, control=text, blobs=fakeredis.FakeRedis(server=self._fake))


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.02)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def flat(value: int, frames: int = 1, size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """An image and a mask, both filled with the same value of 0 to 255."""
    return (
        np.full((frames, size, size, 3), value / 255, np.float32),
        np.full((frames, size, size), value / 255, np.float32),
    )


def rounded(batch: np.ndarray) -> np.ndarray:
    return to_floats(to_pixels(batch))


def check_unmixed(buses: BusStore) -> BusHead:
    """Loads the newest version; its image and mask were filled with one value, its label says which."""
    content = buses.load("cp1")
    value = int(content.head.meta.label)
    assert (to_pixels(content.image) == value).all()
    assert (to_pixels(content.mask) == value).all()
    return content.head
