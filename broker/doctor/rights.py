"""Which commands of Redis this account may use: each is queued in a transaction that is then discarded.

Redis asks the access list when a command is queued, so nothing is read or written.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from redis.cluster import RedisCluster
from redis.exceptions import NoPermissionError, ResponseError

from gates.connection import Connection, is_transient
from gates.keys import Keys

from .finding import Finding, ok, warning, wrong

K = "KEY"
"""Where the key stands in a command below."""

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("DEL", K),
    ("EXISTS", K),
    ("GET", K),
    ("GETRANGE", K, "0", "1"),
    ("HDEL", K, "f"),
    ("HEXISTS", K, "f"),
    ("HGET", K, "f"),
    ("HGETALL", K),
    ("HINCRBY", K, "f", "1"),
    ("HKEYS", K),
    ("HLEN", K),
    ("HMGET", K, "f"),
    ("HSET", K, "f", "v"),
    ("HSETNX", K, "f", "v"),
    ("HVALS", K),
    ("INCR", K),
    ("LPOP", K),
    ("PERSIST", K),
    ("PEXPIRE", K, "1"),
    ("PTTL", K),
    ("RPUSH", K, "v"),
    ("SET", K, "v"),
    ("UNLINK", K),
    ("XADD", K, "*", "f", "v"),
    ("XRANGE", K, "-", "+"),
    ("XREVRANGE", K, "+", "-"),
    ("ZADD", K, "0", "m"),
    ("ZCARD", K),
    ("ZCOUNT", K, "0", "1"),
    ("ZMSCORE", K, "m"),
    ("ZRANGE", K, "0", "1"),
    ("ZRANGEBYSCORE", K, "0", "1"),
    ("ZRANK", K, "m"),
    ("ZREM", K, "m"),
    ("ZREMRANGEBYSCORE", K, "0", "1"),
    ("ZREVRANGE", K, "0", "1"),
    ("ZREVRANGEBYSCORE", K, "1", "0"),
    ("ZSCORE", K, "m"),
    ("EVALSHA", "0" * 40, "1", K),
    ("PUBLISH", K, ""),
)
"""Every command on keys and channels that is used, in scripts or directly, with arguments of an accepted form."""

BESIDES = (("PING",), ("TIME",), ("WAIT", "0", "1"), ("SCRIPT", "LOAD", "return 0"), ("SCRIPT", "EXISTS", "0" * 40))
"""Those without a key."""


def needed(namespace: str) -> str:
    """The rules of an account that may do what is needed and nothing besides, as ACL SETUSER takes them."""
    keys = f"~{{{namespace}}}:* ~{namespace}:* resetchannels &{{{namespace}}}:* &{namespace}:*"
    return f"{keys} +@read +@write +@connection +@pubsub +eval +evalsha +script|load +script|exists +time +wait +info"


def check(connection: Connection) -> list[Finding]:
    """What this account may not do; raises RedisError when Redis is away."""
    keys, token = Keys(connection.settings.namespace), f"doctor-{secrets.token_hex(4)}"
    families = [keys.gate(token), keys.gate_preview(token), keys.bus(token), keys.pool(token)]
    denied: list[str] = []
    for number, key in enumerate(families):
        client = _client_of(connection.control, key)
        try:
            denied += _denied(client, [*_on(key), *(BESIDES if number == 0 else ())])
        except NoPermissionError:
            return [
                warning(
                    "redis.rights",
                    "The rights can't be tried, because MULTI and DISCARD are not allowed; nothing else needs them",
                    "allow them for this look: ACL SETUSER … +multi +discard",
                )
            ]
        finally:
            client.close()
    denied += _denied_channel(connection, keys.gates)
    if not denied:
        return [ok("redis.rights", f"all {len(COMMANDS) + len(BESIDES) + 1} commands that are used are allowed")]
    shown = ", ".join(dict.fromkeys(denied))
    return [
        wrong(
            "redis.rights",
            f"this account may not: {shown}",
            f"ACL SETUSER … {needed(connection.settings.namespace)}",
        )
    ]


def _on(key: str) -> list[tuple[str, ...]]:
    return [tuple(key if word == K else word for word in command) for command in COMMANDS]


def _client_of(client: Any, key: str) -> Any:
    """A client with one connection to the server that has the key; it must be closed."""
    if isinstance(client, RedisCluster):
        node = client.get_node_from_key(key)
        client = client.get_redis_connection(node)
    single = client.client()
    # "QUEUED" is no answer of the command.
    single.response_callbacks.clear()
    return single


def _denied(client: Any, commands: Sequence[tuple[str, ...]]) -> list[str]:
    """Those of the commands that Redis would not even queue; raises NoPermissionError for MULTI itself."""
    denied = []
    client.execute_command("MULTI")
    try:
        for command in commands:
            try:
                client.execute_command(*command)
            except NoPermissionError as error:
                denied.append(_named(command, str(error)))
            except ResponseError as error:
                if "unknown command" in str(error).lower():
                    denied.append(f"{command[0]} (unknown to this server)")
                elif not is_transient(error):
                    raise
                # Else it is no matter of rights: memory is full, or this is a replica.
    finally:
        client.execute_command("DISCARD")
    return denied


def _named(command: tuple[str, ...], error: str) -> str:
    what = " ".join(command[:2]) if command[0] == "SCRIPT" else command[0]
    return f"{what} on these keys" if " key" in error else what


def _denied_channel(connection: Connection, channel: str) -> list[str]:
    pubsub = connection.pubsub()
    try:
        pubsub.subscribe(channel)
        pubsub.get_message(timeout=1)
    except NoPermissionError:
        return [f"SUBSCRIBE {channel}"]
    finally:
        pubsub.close()
    return []
