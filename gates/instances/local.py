"""The registry without Redis: this process alone."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace

from ..errors import InstanceNotFound
from ..events import Events
from ..instance import Identity
from ..names import check_instance_id
from .record import GONE_KEPT, Instance


class LocalInstances:
    """See :class:`record.InstanceStore`."""

    def __init__(self, identity: Identity, events: Events, lease: float) -> None:
        """``lease`` in seconds."""
        self._identity = identity
        self._events = events
        self._lease = lease
        self._own: Instance | None = None
        self._renewed = 0.0
        self._lock = threading.Lock()

    def announce(self, instance: Instance) -> Instance:
        """See :class:`record.InstanceStore`."""
        shown = replace(
            instance,
            id=self._identity.id,
            boot=self._identity.boot,
            host=socket.gethostname(),
            seen=int(time.time() * 1000),
            gone=False,
        )
        with self._lock:
            before, self._own = self._own, shown
            self._renewed = time.monotonic()
        if before is None or before.gone or before.face != shown.face:
            self._tell(shown, "here")
        return shown

    def withdraw(self) -> None:
        """See :class:`record.InstanceStore`."""
        with self._lock:
            before, self._own = self._own, None
        if before is not None:
            self._tell(before, "withdrawn")

    def records(self) -> list[Instance]:
        """See :class:`record.InstanceStore`."""
        with self._lock:
            age = time.monotonic() - self._renewed
            if self._own is None or age > self._lease + GONE_KEPT:
                return []
            first_gone = age > self._lease and not self._own.gone
            if first_gone:
                self._own = replace(self._own, gone=True)
            own = self._own
        if first_gone:
            self._tell(own, "gone")
        return [own]

    def get(self, instance_id: str) -> Instance:
        """See :class:`record.InstanceStore`."""
        check_instance_id(instance_id)
        for own in self.records():
            if own.id == instance_id:
                return own
        raise InstanceNotFound("No instance has that id", instance=instance_id)

    def _tell(self, instance: Instance, state: str) -> None:
        self._events.append("instance", instance.id, name=instance.name, state=state)
