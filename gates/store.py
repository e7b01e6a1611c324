"""The store: gates, buses, pools, instances and events, chosen once by the settings.

Without a store URL everything lives in this process and on the disk. With one it lives in
Redis; while Redis is away gates wait in the process, buses and pools work on the disk, and all
of it is announced when Redis is back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .bus.disk import DiskBuses
from .bus.mirrored import MirroredBuses
from .bus.record import BusStore
from .bus.redis import RedisBuses
from .connection import Connection
from .decisions.file import FileLog
from .decisions.record import DecisionLog
from .decisions.redis import RedisLog
from .errors import InvalidSetting, StoreUnavailable
from .events import Events, LocalEvents, RedisEvents
from .gate.folder import GateFolders, own_folder
from .gate.local import LocalGates
from .gate.record import GateStore
from .gate.redis import RedisGates
from .instance import Identity, claim_identity
from .instances.local import LocalInstances
from .instances.record import InstanceStore
from .instances.redis import RedisInstances
from .keys import Keys
from .listener import Listener
from .pool.disk import DiskPools
from .pool.manifest import PoolStore
from .pool.mirrored import MirroredPools
from .pool.redis import RedisPools
from .settings import Settings

POOLS_FOLDER = "grid_pool"
BUSES_FOLDER = "gate_bus"
DECISIONS_FILE = "decisions.jsonl"
"""The decision log in the state folder, where there is no Redis."""

AWAY_FILE = "decisions-away.jsonl"
"""What was decided while Redis was away, until it is brought there."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """Everything shared, behind five doors."""

    settings: Settings
    gates: GateStore
    buses: BusStore
    pools: PoolStore
    instances: InstanceStore
    events: Events
    unavailable: Callable[[], str] = field(default=lambda: "")
    """Why the shared store can't be reached right now, "" when it can (or none is configured)."""
    decisions: DecisionLog = field(kw_only=True)
    owner: str = field(default="", kw_only=True)
    """``instance id:boot`` of this process."""
    closers: tuple[Callable[[], None], ...] = ()
    """What :meth:`close` calls, in this order."""

    def close(self) -> None:
        """Ends the threads and connections; gates that still wait are withdrawn."""
        for close in self.closers:
            close()


def open_store(settings: Settings, disk_dir: Path, state_dir: Path) -> Store:
    """The store that the settings name. ``disk_dir`` holds pools and buses, ``state_dir`` the process's identity.

    Never raises when Redis is away: it is then used as soon as it answers. Raises
    InvalidSetting when settings do not fit together.
    """
    disk_dir = settings.disk_dir or disk_dir
    state_dir = settings.state_dir or state_dir
    identity = claim_identity(state_dir)
    if not settings.store_url:
        events = LocalEvents()
        decisions = FileLog(state_dir / DECISIONS_FILE, settings.decision_log)
        folders = GateFolders(own_folder(state_dir, identity))
        gates = LocalGates(settings, identity.owner, events, decisions, folders)
        return Store(
            settings,
            gates,
            DiskBuses(disk_dir / BUSES_FOLDER, settings, events),
            DiskPools(disk_dir / POOLS_FOLDER, settings, events),
            LocalInstances(identity, events, settings.lease),
            events,
            closers=(gates.close, identity.lock.close),
            decisions=decisions,
            owner=identity.owner,
        )
    if settings.replicas and "+cluster" in settings.store_url:
        raise InvalidSetting(
            "GATEBUS_REPLICAS works with one Redis or Sentinel, not with a cluster", setting="replicas"
        )
    return _open_redis(settings, disk_dir, state_dir, identity)


def _open_redis(settings: Settings, disk_dir: Path, state_dir: Path, identity: Identity) -> Store:
    connection = Connection(settings)
    keys = Keys(settings.namespace)
    listener = Listener(connection)
    events = RedisEvents(connection, keys, listener)
    away = FileLog(state_dir / AWAY_FILE)
    decisions = RedisLog(connection, keys, away)
    gates = RedisGates(connection, keys, listener, identity.owner, away)
    # The disk's stores have no events of their own: Redis tells of an edit when it is there.
    buses = MirroredBuses(
        RedisBuses(connection, keys, settings, events), DiskBuses(disk_dir / BUSES_FOLDER, settings), settings
    )
    pools = MirroredPools(RedisPools(connection, keys, settings, events), DiskPools(disk_dir / POOLS_FOLDER, settings))
    catching_up = CatchUp(settings.tick, [connection.ping, decisions.catch_up, buses.catch_up, pools.catch_up])
    closers = (gates.close, catching_up.close, pools.close, listener.close, connection.close, identity.lock.close)
    instances = RedisInstances(connection, keys, identity)
    return Store(
        settings,
        gates,
        buses,
        pools,
        instances,
        events,
        lambda: connection.away,
        closers,
        decisions=decisions,
        owner=identity.owner,
    )


class CatchUp:
    """Brings to Redis what was done while it was away, as soon as it is back: one thread that tries every tick."""

    def __init__(self, tick: float, steps: Sequence[Callable[[], object]]) -> None:
        self._tick = tick
        self._steps = steps
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gatebus-catch-up", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread after the step that it is in."""
        self._closed.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._closed.wait(self._tick):
            for step in self._steps:
                try:
                    step()
                except StoreUnavailable as error:
                    log.debug("gatebus: %s", error)
                    break
                except Exception:
                    # The thread must live on: the next tick tries again.
                    log.exception("gatebus: what was done while Redis was away could not be brought there")
