"""The store: gates, buses, pools and events, chosen once by the settings.

Without a store URL everything lives in this process and on the disk. With one it lives in
Redis; while Redis is away gates wait in the process, buses and pools work on the disk, and all
of it is announced when Redis is back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .bus.record import BusStore
from .events import Events
from .gate.record import GateStore
from .pool.manifest import PoolStore
from .settings import Settings


@dataclass(frozen=True)
class Store:
    """Everything shared, behind four doors."""

    settings: Settings
    gates: GateStore
    buses: BusStore
    pools: PoolStore
    events: Events
    unavailable: Callable[[], str] = field(default=lambda: "")
    """Why the shared store can't be reached right now, "" when it can (or none is configured)."""

    def close(self) -> None:
        """Ends the threads and connections."""
        raise NotImplementedError


def open_store(settings: Settings, disk_dir: Path, state_dir: Path) -> Store:
    """The store that the settings name. ``disk_dir`` holds the pools and buses, ``state_dir`` the journals.

    Never raises when Redis is away: it is then used as soon as it answers.
    """
    raise NotImplementedError
