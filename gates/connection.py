"""The Redis that a store uses: clients, scripts, and what counts as "away".

redis-py's silent resends are off: by default it repeats a command whose reply was lost, so INCR,
XADD and EVAL may run twice and SET NX tells the winner that it lost. Every timeout is given
explicitly, because the defaults differ between redis-py 5 and 8.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
from redis._parsers import Encoder
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.commands.core import Script
from redis.connection import BlockingConnectionPool, PythonRespSerializer
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from .errors import StoreUnavailable
from .settings import Settings

SOCKET_TIMEOUT = 2.0
"""Seconds for an answer; a frozen server is noticed after this."""

CONNECT_TIMEOUT = 1.0
"""Seconds for a connection."""

READ_SIZE = 256 * 1024
"""Bytes per read of the blob client; the default of 32 KiB costs up to 40 % on large values."""

_TRANSIENT = (
    RedisConnectionError,
    RedisTimeoutError,
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
    ClusterDownError,
    ClusterError,
    TryAgainError,
    MasterNotFoundError,
    OSError,
)
# An error that redis-py has no class for, or that a script passed on, keeps its prefix; Redis 6 puts
# the script's name before it: "Error running script (...): @user_script: 12: -OOM command not allowed".
_TRANSIENT_PREFIXES = ("OOM", "NOREPLICAS", "LOADING", "READONLY", "MASTERDOWN", "TRYAGAIN", "MISCONF", "CLUSTERDOWN")


def is_transient(error: BaseException) -> bool:
    """Whether the same step may succeed later; anything else is a bug or a missing right."""
    if isinstance(error, _TRANSIENT):
        return not isinstance(error, redis.AuthenticationError)
    if isinstance(error, RedisClusterException):
        return str(error).startswith(("Redis Cluster cannot be connected", "All slots are not covered"))
    if not isinstance(error, ResponseError):
        return False
    code = str(error).rpartition(": -")[2] if str(error).startswith("Error running script") else str(error)
    return code.startswith(_TRANSIENT_PREFIXES)


class Connection:
    """The clients of one Redis, shared by gates, buses, pools and events of a process; thread-safe.

    ``control`` answers text, for records and scripts. ``blobs`` answers bytes and sends
    memoryviews without a copy. A caller wraps each step in :meth:`available`.
    """

    def __init__(self, settings: Settings, control: Any = None, blobs: Any = None) -> None:
        """Connects with the first use to ``settings.store_url``; the two clients may be given instead (fakeredis)."""
        self.settings = settings
        self.away = ""
        """Why the last step failed that found Redis away, "" when the last one found it there."""
        self._control = control
        self._blobs = blobs
        self._making = threading.Lock()

    @property
    def control(self) -> Any:
        """The client that answers text. A cluster's asks its nodes when it is made, so this may fail like a command."""
        if self._control is None:
            with self._making:
                if self._control is None:
                    self._control = _client(self.settings, text=True)
        return self._control

    @property
    def blobs(self) -> Any:
        """The client that answers bytes; may fail as :attr:`control`."""
        if self._blobs is None:
            with self._making:
                if self._blobs is None:
                    self._blobs = _client(self.settings, text=False)
        return self._blobs

    def script(self, source: str) -> LuaScript:
        """The Lua script, sent by its digest and loaded when the server does not know it (any more)."""
        return LuaScript(self, source)

    def pubsub(self) -> Any:
        """A fresh pub/sub object; one that met an error may never recover, so it is not to be reused."""
        return self.control.pubsub(ignore_subscribe_messages=False)

    @contextmanager
    def available(self) -> Iterator[None]:
        """Turns what says "Redis is away" into StoreUnavailable; the outcome of a write inside is then unknown."""
        try:
            yield
            self.away = ""
        except StoreUnavailable:
            raise
        except (RedisError, RedisClusterException, OSError) as error:
            if not is_transient(error):
                raise
            self.away = (
                f"Redis at {self.settings.safe_url} does not answer ({type(error).__name__}). "
                "It will be used again as soon as it is back."
            )
            raise StoreUnavailable(self.away, reason=type(error).__name__) from error

    def ping(self) -> None:
        """Raises StoreUnavailable when Redis does not answer."""
        with self.available():
            self.control.ping()

    def close(self) -> None:
        """Closes every connection."""
        for client in (self._control, self._blobs):
            if client is not None:
                client.close()


class LuaScript:
    """A script of one connection; call it with ``keys``, ``args`` and, to queue it on a pipeline, ``client``."""

    def __init__(self, connection: Connection, source: str) -> None:
        self._connection = connection
        self._source = source
        self._script: Script | None = None

    def __call__(self, keys: Sequence[str], args: Sequence[Any] = (), client: Any = None) -> Any:
        """Runs it; to be wrapped in :meth:`Connection.available` as every command."""
        if self._script is None:
            self._script = self._connection.control.register_script(self._source)
        return self._script(keys=keys, args=args, client=client)


def _client(settings: Settings, text: bool) -> Any:
    url = urlsplit(settings.store_url)
    options: dict[str, Any] = {
        "decode_responses": text,
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "health_check_interval": 0,
        "retry": Retry(NoBackoff(), 0),
        "client_name": f"gatebus:{settings.instance}" if settings.instance.isascii() else "gatebus",
    }
    if not text:
        options["socket_read_size"] = READ_SIZE
        # hiredis' packer copies a large argument twice; the Python packer hands it to the socket.
        options["command_packer"] = PythonRespSerializer(6000, Encoder("utf-8", "strict", False).encode)
    scheme, _, kind = url.scheme.partition("+")
    if not kind:
        pool = BlockingConnectionPool.from_url(
            settings.store_url, max_connections=32, timeout=SOCKET_TIMEOUT, **options
        )
        return redis.Redis(connection_pool=pool)

    credentials, _, hosts = url.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    options["username"] = unquote(user) or None
    options["password"] = unquote(password) or None
    if scheme == "rediss":
        options["ssl"] = True
        options.update((key, value) for key, value in parse_qsl(url.query) if key.startswith("ssl_"))
    default_port = 26379 if kind == "sentinel" else 6379
    addresses = [_address(host, default_port) for host in hosts.split(",")]
    if kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in addresses]
        return RedisCluster(startup_nodes=nodes, **options)
    master, _, db = url.path.strip("/").partition("/")
    sentinel_options = {"socket_timeout": CONNECT_TIMEOUT, "socket_connect_timeout": CONNECT_TIMEOUT}
    sentinel = Sentinel(addresses, sentinel_kwargs=sentinel_options, **options)
    return sentinel.master_for(master, db=int(db or 0))


def _address(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or "]" in port:
        return text.strip("[]"), default_port
    return host.strip("[]"), int(port)


def pairs(flat: Sequence[str]) -> dict[str, str]:
    """A hash as a Lua script returns it (field, value, field, value) as a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
