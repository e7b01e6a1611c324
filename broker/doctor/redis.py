"""The Redis of the store URL: whether it answers, and whether it keeps what it is given."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from redis.cluster import RedisCluster
from redis.exceptions import AuthenticationError, NoPermissionError, RedisClusterException, RedisError

from gates.connection import Connection
from gates.errors import StoreUnavailable
from gates.settings import Settings

from ..commands.table import size
from . import rights
from .finding import Finding, ok, warning, wrong

OLDEST = (6, 2)
CLOCKS = 5.0
"""Seconds by which two clocks may differ before ages look wrong to people."""

ROOM = 512 * 1024 * 1024
"""Bytes that should be left: a batch of eight 4096² images."""

Info = dict[str, Any]


def check(settings: Settings) -> Iterator[Finding]:
    """What there is to say of the shared store."""
    if not settings.store_url:
        yield ok("redis", "no store URL is set: gates, buses and pools are of one machine (and gates of one process)")
        return
    connection = Connection(settings)
    try:
        began = time.time()
        try:
            connection.ping()
        except StoreUnavailable as error:
            cause = error.__cause__
            yield wrong(
                "redis",
                f"{settings.safe_url} does not answer: {cause or error.message}",
                "is it started, are host and port right, does a firewall stand between, does it speak TLS (rediss://)?",
            )
            return
        yield ok("redis", f"{settings.safe_url} answers in {(time.time() - began) * 1000:.1f} ms")
        yield from _answering(connection, settings)
    except AuthenticationError as error:
        yield wrong("redis", f"{settings.safe_url} refuses user or password: {error}", "correct them in the store URL")
    except (RedisError, RedisClusterException, OSError) as error:
        yield wrong("redis", f"{settings.safe_url}: {error}", "see what the server's log says")
    finally:
        connection.close()


def _answering(connection: Connection, settings: Settings) -> Iterator[Finding]:
    try:
        infos = _infos(connection.control)
    except NoPermissionError:
        yield warning("redis.info", "this account may not ask INFO, so much can't be told", "ACL SETUSER … +info")
        infos = {}
    for where, info in infos.items():
        at = f" ({where})" if where else ""
        yield _version(info, at)
        yield from _kept(info, at)
        yield _memory(info, at)
        if not isinstance(connection.control, RedisCluster):
            yield from _role(info, settings)
    yield from _topology(connection, settings, infos)
    try:
        yield _clock(connection.control)
    except NoPermissionError:
        yield warning("redis.clock", "this account may not ask the time", "ACL SETUSER … +time")
    yield from rights.check(connection)


def _infos(client: Any) -> dict[str, Info]:
    """Server -> what it says of itself; the masters of a cluster, "" for a single one."""
    if not isinstance(client, RedisCluster):
        return {"": client.info()}
    infos = client.info(target_nodes=RedisCluster.PRIMARIES)
    return {"": infos} if "redis_version" in infos else infos


def _version(info: Info, at: str) -> Finding:
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers >= OLDEST:
        return ok("redis.version", f"{version}{at}")
    return wrong("redis.version", f"{version}{at} is too old", "install Redis 6.2 or later")


def _kept(info: Info, at: str) -> Iterator[Finding]:
    if info.get("loading"):
        yield warning("redis.persistence", f"it still reads its data{at}", "wait until it has")
    elif not info.get("aof_enabled"):
        yield warning(
            "redis.persistence",
            f"no append-only file{at}: what was published on buses is lost when Redis stops",
            "CONFIG SET appendonly yes, and `appendonly yes`, `appendfsync always` in redis.conf",
        )
    elif info.get("aof_last_write_status") != "ok" or info.get("aof_last_bgrewrite_status") != "ok":
        yield wrong("redis.persistence", f"the append-only file can't be written{at}", "is the server's disk full?")
    else:
        yield ok("redis.persistence", f"append-only file{at}")
    if info.get("rdb_last_bgsave_status") == "err":
        yield wrong(
            "redis.snapshot",
            f"the last snapshot failed{at}, and Redis refuses writes after that by default",
            'is the server\'s disk full? With the append-only file, `save ""` needs no snapshots',
        )


def _memory(info: Info, at: str) -> Finding:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    policy = str(info.get("maxmemory_policy", "noeviction"))
    total = limit or int(info.get("total_system_memory", 0))
    shown = (
        f"{size(used)} used of {size(total)} {'(maxmemory)' if limit else 'of the machine, no maxmemory'}, {policy}{at}"
    )
    if policy != "noeviction":
        text = f"{shown}: Redis throws away what waits when its memory is full"
        mend = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf"
        return wrong("redis.memory", text, mend) if limit else warning("redis.memory", text, mend)
    if total and total - used < min(ROOM, total // 5):
        return warning(
            "redis.memory",
            f"{shown}: little is left",
            "raise maxmemory, delete buses and pools, or use GATEBUS_COMPRESSION",
        )
    return ok("redis.memory", shown)


def _role(info: Info, settings: Settings) -> Iterator[Finding]:
    if info.get("role") == "slave":
        yield wrong(
            "redis.role",
            f"this is a replica of {info.get('master_host')}:{info.get('master_port')}, which takes no writes",
            "name the master, or use redis+sentinel://",
        )
    replicas = int(info.get("connected_slaves", 0))
    if replicas < settings.replicas:
        yield wrong(
            "redis.replicas",
            f"{replicas} replicas are connected, GATEBUS_REPLICAS is {settings.replicas}: no decision is confirmed",
            "start the replicas, or lower GATEBUS_REPLICAS",
        )
    elif replicas:
        yield ok("redis.replicas", f"{replicas} connected")


def _topology(connection: Connection, settings: Settings, infos: dict[str, Info]) -> Iterator[Finding]:
    client = connection.control
    if isinstance(client, RedisCluster):
        if settings.replicas:
            yield wrong("redis.replicas", "GATEBUS_REPLICAS does not work with a cluster", "set it to 0")
        state = client.cluster_info()
        nodes = f"{state.get('cluster_size')} masters, {state.get('cluster_known_nodes')} nodes"
        if state.get("cluster_state") == "ok":
            yield ok("redis.cluster", nodes)
        else:
            text = f"{nodes}: the state is {state.get('cluster_state')}, {state.get('cluster_slots_fail')} slots fail"
            yield wrong("redis.cluster", text, "see CLUSTER NODES on the servers")
    elif any(info.get("cluster_enabled") for info in infos.values()):
        yield wrong(
            "redis.cluster",
            "this is a node of a cluster",
            "begin the store URL with redis+cluster:// (rediss+ with TLS)",
        )
    elif "+sentinel" in settings.store_url:
        yield from _sentinels(client)


def _sentinels(client: Any) -> Iterator[Finding]:
    pool = client.connection_pool
    sentinels, silent, quorum = pool.sentinel_manager.sentinels, 0, ""
    for sentinel in sentinels:
        try:
            sentinel.ping()
            sentinel.sentinel_ckquorum(pool.service_name)
        except NoPermissionError:
            continue
        except RedisError as error:
            if "NOQUORUM" in str(error):
                quorum = str(error)
            else:
                silent += 1
    master = ":".join(str(part) for part in pool.get_master_address())
    shown = f"master {master}, {len(sentinels) - silent} of {len(sentinels)} sentinels answer"
    if quorum:
        yield wrong("redis.sentinel", f"{shown}: {quorum}", "start the missing sentinels: no failover is possible")
    elif silent:
        yield warning("redis.sentinel", shown, "start the others, or name those that there are in the store URL")
    else:
        yield ok("redis.sentinel", shown)


def _clock(client: Any) -> Finding:
    seconds, microseconds = client.time()
    difference = seconds + microseconds / 1e6 - time.time()
    text = f"differs by {abs(difference):.1f} s from this machine's"
    if abs(difference) < CLOCKS:
        return ok("redis.clock", text)
    return warning("redis.clock", f"{text}: ages and deadlines look wrong", "let both follow a time server (NTP)")
