"""Keeps a Redis of our own running: started again when it ends by itself, on the same data and port."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from gates.errors import GatebusError

from .embedded import EmbeddedRedis

FIRST_PAUSE = 0.5
"""Seconds before it is started again; doubled each time that it does not last."""

LONGEST_PAUSE = 30.0

LASTING = 60.0
"""Seconds after which a start counts as a success, and the pause is the first one again."""

LOOK_AGAIN = 0.2


class Keeper:
    """Runs ``redis`` between ``__enter__`` and ``__exit__``; ``say`` is told of each end and each new start."""

    def __init__(self, redis: EmbeddedRedis, say: Callable[[str], object]) -> None:
        self._redis = redis
        self._say = say
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="gatebus-redis", daemon=True)

    def __enter__(self) -> Keeper:
        self._redis.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        # It may be in the middle of a start, after which there is a server to stop.
        self._thread.join()
        self._redis.stop()

    def _keep(self) -> None:
        pause, started = FIRST_PAUSE, time.monotonic()
        while not self._closed.wait(LOOK_AGAIN):
            code = self._redis.ended()
            if code is None:
                continue
            if time.monotonic() - started > LASTING:
                pause = FIRST_PAUSE
            self._say(f"Redis ended by itself ({_reason(code)}); it is started again in {pause:g} s, with its data")
            while not self._closed.wait(pause):
                pause = min(2 * pause, LONGEST_PAUSE)
                try:
                    self._redis.start()
                except (GatebusError, OSError) as error:
                    self._say(f"Redis did not start; next try in {pause:g} s: {error}")
                    continue
                started = time.monotonic()
                self._say("Redis runs again")
                break


def _reason(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
