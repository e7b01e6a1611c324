"""How long a gate's bytes in Redis are kept: while it lives without end, then for a time that is set."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..decisions.record import image_digest
from ..errors import StoreUnavailable
from .blobs import GateBlobs
from .fields import from_fields, layout_field
from .record import Gate
from .redis_steps import GateSteps

if TYPE_CHECKING:
    from .redis_waiting import RedisWaiting

log = logging.getLogger(__name__)


class Keeping:
    """Stores the images of gates and lets the bytes of ended ones go; thread-safe."""

    def __init__(self, redis: GateSteps, blobs: GateBlobs) -> None:
        self._redis = redis
        self._blobs = blobs
        self._settings = redis.settings
        self._closed = threading.Event()
        self._background = ThreadPoolExecutor(2, thread_name_prefix="gatebus-gate-images")

    def close(self) -> None:
        """Ends the threads; what they leave undone is done by another process, or by this one's next start."""
        self._closed.set()
        self._background.shutdown(wait=False, cancel_futures=True)

    def store(self, waiting: RedisWaiting) -> None:
        """Stores the whole image and logs its digest; when Redis is away, as soon as it is back."""
        encoded, gate_id = waiting.encoded, waiting.gate.id
        if encoded is None or not waiting.announced:
            return
        try:
            if waiting.live or self._settings.keep_images:
                self._blobs.put_image(waiting.gate, encoded)
            arguments = (layout_field(encoded.layout), image_digest(encoded), self._settings.decision_log)
            code, row = self._redis.run("IMAGE", gate_id, *arguments)
            if code == "MISSING":
                return
            gate = from_fields(gate_id, row)
            waiting.image_stored = True
            if code == "OK":
                self._blobs.persist(gate)
            waiting.see(gate)
            if not waiting.live:
                # It may have ended between these steps, and what persists would stay for ever.
                self.expire(waiting.gate)
        except StoreUnavailable as error:
            log.info("gatebus: the image of gate %s is stored later: %s", gate_id, error)
            if not waiting.live and not self._closed.wait(self._settings.tick):
                # No look comes to it any more.
                self.store_later(waiting)

    def store_later(self, waiting: RedisWaiting) -> None:
        """As :meth:`store`, in the background."""
        self._submit(self.store, waiting)

    def expire(self, gate: Gate) -> None:
        """Lets the bytes of an ended gate go, and then its record, in the background."""
        self._submit(self._expire, gate)

    def _expire(self, gate: Gate) -> None:
        try:
            self._blobs.expire(gate, self._settings.keep_decided, self._settings.keep_images)
            # Until then the sweeper, whoever's it is, finds the gate among those that leave.
            self._redis.left(gate.id)
        except StoreUnavailable as error:
            log.debug("gatebus: the bytes of gate %s go later: %s", gate.id, error)

    def _submit(self, step: Callable[..., None], *arguments: Any) -> None:
        if not self._closed.is_set():
            self._background.submit(_logged, step, *arguments)


def _logged(step: Callable[..., None], *arguments: Any) -> None:
    try:
        step(*arguments)
    except Exception:
        # Nobody looks at what the thread raises.
        log.exception("gatebus: the bytes of a gate could not be kept as they should")
