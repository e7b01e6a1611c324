"""The one pub/sub connection of a process, with a watchdog of its own.

A message is a hint: it says "look", never what there is to see. So a callback is called with
the message's text, and with None after every (re)connection, when anything may have been missed.

A frozen server or a black-holed link shows no error on a subscribed socket for ever, and
redis-py's health check only sends PING and misses no PONG. So this listener sends PING after
:data:`IDLE` seconds without a message and gives up the connection when nothing came for
another :data:`IDLE` seconds. After any error the pub/sub object is replaced: in a cluster one
that met a dead node never moves.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from .connection import Connection
from .errors import StoreUnavailable

IDLE = 2.0
"""Seconds without a message before PING, and again before the connection counts as dead."""

log = logging.getLogger(__name__)

Callback = Callable[[str | None], None]


class Listener:
    """Calls back when something is published; one thread, started with the first subscription."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._callbacks: dict[str, list[Callback]] = {}
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self.connected = threading.Event()
        """Set while the subscription stands."""

    def subscribe(self, channel: str, callback: Callback) -> None:
        """Calls ``callback`` (in the listener's thread; it must not block) at every message of the channel."""
        with self._lock:
            self._callbacks.setdefault(channel, []).append(callback)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="gatebus-listener", daemon=True)
                self._thread.start()
        self._changed.set()

    def close(self) -> None:
        """Ends the thread; waits for it at most as long as one silent read may take."""
        self._closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(IDLE + 1)

    def _run(self) -> None:
        pause, said = 0.05, ""
        while not self._closed.is_set():
            pubsub = None
            try:
                with self._connection.available():
                    pubsub = self._connection.pubsub()
                    self._serve(pubsub)
                pause = 0.05
            except (StoreUnavailable, RedisError) as error:
                if self.connected.is_set() or str(error) != said:
                    log.warning("gatebus: the Redis subscription broke (%s); connecting again", error)
                said = str(error)
                if self.connected.is_set():
                    pause = 0.05
                self.connected.clear()
                self._closed.wait(pause * random.uniform(0.7, 1.3))
                pause = min(pause * 2, 1.0)
            finally:
                self.connected.clear()
                if pubsub is not None:
                    _discard(pubsub)

    def _serve(self, pubsub: Any) -> None:
        subscribed: set[str] = set()
        last_heard = time.monotonic()
        pinged = False
        while not self._closed.is_set():
            wanted = self._channels()
            if wanted - subscribed:
                self._changed.clear()
                pubsub.subscribe(*(wanted - subscribed))
                subscribed = wanted
            message = pubsub.get_message(timeout=0.25 if not self._changed.is_set() else 0.0)
            now = time.monotonic()
            if message is not None:
                last_heard, pinged = now, False
                self._dispatch(message)
            elif now - last_heard > 2 * IDLE:
                raise RedisConnectionError("no answer to PING on the subscription")
            elif now - last_heard > IDLE and not pinged:
                pubsub.ping()
                pinged = True

    def _channels(self) -> set[str]:
        with self._lock:
            return set(self._callbacks)

    def _dispatch(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self.connected.set()
            data = None
        elif message["type"] == "message":
            data = message["data"]
        else:
            return
        with self._lock:
            callbacks = list(self._callbacks.get(message["channel"], ()))
        for callback in callbacks:
            callback(data)


def _discard(pubsub: Any) -> None:
    try:
        pubsub.close()
    except (RedisError, OSError) as error:
        log.debug("gatebus: closing a broken subscription: %s", type(error).__name__)
