"""How long a gate's bytes in Redis are kept: while it lives without end, then for a time that is set."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..codec import Encoded
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
        """Stores the whole image, logs its digest, and stores what it takes to run on, as far as they are there.

        When Redis is away, as soon as it is back.
        """
        if not waiting.announced:
            return
        try:
            if waiting.encoded is not None and not waiting.image_stored:
                self._store_image(waiting, waiting.encoded)
            if waiting.continuation is not None and not waiting.continuation_stored:
                self._store_continuation(waiting, waiting.continuation)
        except StoreUnavailable as error:
            log.info("gatebus: the image of gate %s is stored later: %s", waiting.gate.id, error)
            if not waiting.live and not self._closed.wait(self._settings.tick):
                # No look comes to it any more.
                self.store_later(waiting)

    def _store_image(self, waiting: RedisWaiting, encoded: Encoded) -> None:
        if waiting.live or self._settings.keep_images:
            self._blobs.put_image(waiting.gate, encoded)
        arguments = (layout_field(encoded.layout), image_digest(encoded), self._settings.decision_log)
        code, row = self._redis.run("IMAGE", waiting.gate.id, *arguments)
        if code != "MISSING":
            waiting.image_stored = True
            self._named(waiting, code, row)

    def _store_continuation(self, waiting: RedisWaiting, data: bytes) -> None:
        if not (waiting.live or self._settings.keep_images):
            return
        self._blobs.put_continuation(waiting.gate.id, data)
        code, row = self._redis.run("KEPT", waiting.gate.id)
        if code != "MISSING":
            waiting.continuation_stored = True
            self._named(waiting, code, row)

    def _named(self, waiting: RedisWaiting, code: str, row: dict[str, str]) -> None:
        """Keeps the bytes that the record now names, as long as the gate lives."""
        gate = from_fields(waiting.gate.id, row)
        if code == "OK":
            self._blobs.persist(gate)
        waiting.see(gate)
        if not waiting.live:
            # It may have ended between these steps, and what persists would stay for ever.
            self.expire(waiting.gate)

    def store_later(self, waiting: RedisWaiting) -> None:
        """As :meth:`store`, in the background."""
        self._submit(self.store, waiting)

    def expire(self, gate: Gate) -> None:
        """Lets the bytes of an ended gate go, and then its record; not while its group needs them."""
        self._submit(self._expire, gate)

    def _expire(self, gate: Gate) -> None:
        try:
            if self._redis.leave(gate.id, given=False):
                self._blobs.expire(gate, self._settings.keep_decided, self._settings.keep_images)
                # Until then the sweeper, whoever's it is, finds the gate among those that leave.
                self._redis.leave(gate.id, given=True)
        except StoreUnavailable as error:
            log.debug("gatebus: the bytes of gate %s go later: %s", gate.id, error)

    def prolong(self, gates: Sequence[Gate]) -> None:
        """Keeps those of the gates that leave for ``keep_decided`` from now on, in the background."""
        self._submit(self._prolong, gates)

    def _prolong(self, gates: Sequence[Gate]) -> None:
        try:
            for gate in gates:
                code, _ = self._redis.run("PROLONG", gate.id, self._redis.keep_ms)
                if code == "OK":
                    self._blobs.prolong(gate, self._settings.keep_decided)
        except StoreUnavailable as error:
            log.warning("gatebus: gates that a parked one may need are kept no longer: %s", error)

    def _submit(self, step: Callable[..., None], *arguments: Any) -> None:
        if not self._closed.is_set():
            self._background.submit(_logged, step, *arguments)


def _logged(step: Callable[..., None], *arguments: Any) -> None:
    try:
        step(*arguments)
    except Exception:
        # Nobody looks at what the thread raises.
        log.exception("gatebus: the bytes of a gate could not be kept as they should")
