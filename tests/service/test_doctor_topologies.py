"""``gatebus doctor`` on a cluster, on Sentinel and on replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from redis_server import free_port

from broker.doctor import redis as redis_side
from broker.doctor.finding import Finding
from gates.settings import Settings
from tests.service.processes import until
from tests.test_topologies import Servers


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    servers = Servers(tmp_path)
    yield servers
    for process in servers.processes:
        process.kill()
        process.wait()


def look(url: str, **settings: object) -> dict[str, Finding]:
    given = replace(Settings(), store_url=url, **settings)  # type: ignore[arg-type]
    return {finding.check: finding for finding in redis_side.check(given)}


def wrong(found: dict[str, Finding]) -> list[str]:
    return [check for check, finding in found.items() if finding.state == "wrong"]


@pytest.fixture
def cluster(servers: Servers) -> list[int]:
    """The ports of two masters that share the slots."""
    ports = [servers.start("--cluster-enabled", "yes", "--save", "", "--appendonly", "yes") for _ in range(2)]
    clients = [redis.Redis(port=port, decode_responses=True) for port in ports]
    clients[0].execute_command("CLUSTER", "ADDSLOTS", *range(8192))
    clients[1].execute_command("CLUSTER", "ADDSLOTS", *range(8192, 16384))
    clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", ports[1])
    for client in clients:
        until(lambda client=client: client.cluster("info")["cluster_state"] == "ok", "the cluster")
    return ports


def test_a_cluster_is_asked_node_by_node(cluster: list[int]) -> None:
    url = f"redis+cluster://127.0.0.1:{cluster[0]}"
    found = look(url)
    assert wrong(found) == []
    assert "2 masters" in found["redis.cluster"].text
    assert found["redis.rights"].state == "ok"
    second = redis.Redis(port=cluster[1])
    second.config_set("maxmemory", "500mb")
    second.config_set("maxmemory-policy", "allkeys-lru")
    every = list(redis_side.check(replace(Settings(), store_url=url)))
    memory = {finding.text.rpartition("(")[2]: finding.state for finding in every if finding.check == "redis.memory"}
    assert sorted(memory.values()) == ["ok", "wrong"]
    assert str(cluster[1]) in next(where for where, state in memory.items() if state == "wrong")
    assert wrong(look(url, replicas=1)) != []


def test_a_cluster_without_the_word_for_it_in_the_url_is_wrong(cluster: list[int]) -> None:
    found = look(f"redis://127.0.0.1:{cluster[0]}/0")
    assert "redis+cluster://" in found["redis.cluster"].mend


def test_a_cluster_with_a_master_less_is_said(cluster: list[int], servers: Servers) -> None:
    servers.kill(1)
    client = redis.Redis(port=cluster[0], decode_responses=True)
    until(lambda: client.cluster("info")["cluster_state"] == "fail", "the failure")
    assert wrong(look(f"redis+cluster://127.0.0.1:{cluster[0]}")) != []


@pytest.fixture
def sentinels(servers: Servers, tmp_path: Path) -> Callable[[], str]:
    """Starts a master with a replica and three sentinels; returns the store URL. They are the processes 2 to 4."""

    def start() -> str:
        master = servers.start("--save", "", "--appendonly", "yes")
        servers.start("--save", "", "--replicaof", "127.0.0.1", str(master))
        ports = []
        for number in range(3):
            port = free_port()
            config = tmp_path / f"sentinel-{number}.conf"
            config.write_text(f"port {port}\nsentinel monitor farm 127.0.0.1 {master} 2\n")
            ports.append(servers.start(str(config), "--sentinel", port=port))
        client = redis.Redis(port=ports[0], decode_responses=True)
        until(lambda: len(client.execute_command("SENTINEL", "SENTINELS", "farm")) == 2, "the sentinels")
        until(lambda: redis.Redis(port=master).info("replication")["connected_slaves"] == 1, "the replica")
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in ports) + "/farm/0"

    return start


def test_sentinels_are_counted(servers: Servers, sentinels: Callable[[], str]) -> None:
    url = sentinels()
    found = look(url, replicas=1)
    assert wrong(found) == []
    assert "3 of 3 sentinels answer" in found["redis.sentinel"].text
    assert found["redis.replicas"].state == "ok"
    servers.kill(4)
    assert "2 of 3" in look(url)["redis.sentinel"].text
    assert look(url)["redis.sentinel"].state == "warning"
    servers.kill(1)
    until(lambda: wrong(look(url, replicas=1)) == ["redis.replicas"], "the missing replica")
