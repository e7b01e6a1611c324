"""The store on other kinds of Redis: a cluster, Sentinel, a unix socket, replicas that must confirm."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis
from redis_server import RedisServer, find_redis_server, free_port, require_redis_server

from gates import codec
from gates.errors import InvalidSetting, StoreUnavailable
from gates.gate.record import Gate, make_decision
from gates.settings import Settings
from gates.store import Store, open_store

IMAGE = np.random.default_rng(7).random((2, 40, 30, 3), dtype=np.float32)
PNG = codec.encode_png((IMAGE[0] * 255).astype(np.uint8))


def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.05)


class Servers:
    """Starts redis-server processes with options of their own, and ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str, port: int | None = None) -> int:
        require_redis_server()
        port = port or free_port()
        home = self.folder / str(port)
        home.mkdir(exist_ok=True)
        command = [find_redis_server() or "", *options, "--port", str(port), "--dir", str(home)]
        self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        client = redis.Redis(port=port, socket_timeout=1)

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

        eventually(answers)
        client.close()
        return port

    def kill(self, number: int) -> None:
        self.processes[number].kill()
        self.processes[number].wait()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    servers = Servers(tmp_path)
    yield servers
    for process in servers.processes:
        process.kill()
        process.wait()


@pytest.fixture
def open_on(tmp_path: Path) -> Iterator[Callable[..., Store]]:
    stores: list[Store] = []

    def open_on(url: str, **settings: object) -> Store:
        folder = tmp_path / f"process-{len(stores)}"
        given = replace(Settings(), store_url=url, tick=0.3, lease=2.0, **settings)  # type: ignore[arg-type]
        stores.append(open_store(given, folder / "input", folder / "state"))
        return stores[-1]

    yield open_on
    for store in stores:
        store.close()


def use_everything(owner: Store, other: Store) -> None:
    """One of each thing that a farm does, from two processes."""
    start = other.events.cursor()
    waiter = owner.gates.open(Gate(id=uuid.uuid4().hex, batch=2), b"preview")
    waiter.store_image(codec.encode(IMAGE, "png"))
    other.gates.set_mask(waiter.gate.id, PNG)
    other.gates.decide(waiter.gate.id, make_decision("route", 2))
    assert waiter.wait(20) is not None
    assert waiter.mask() == PNG
    assert waiter.apply().route == 2
    park_a_group(owner, other)
    for _ in range(3):
        owner.buses.publish("cp1", IMAGE, IMAGE[..., 0], format="exact")
    content = other.buses.load("cp1")
    assert content.head.version == 3
    np.testing.assert_array_equal(content.image, IMAGE)
    assert [head.name for head in other.buses.heads()] == ["cp1"]
    manifest = owner.pools.add("faces", [(PNG, "one"), (PNG, "two")])
    other.pools.label("faces", manifest.slots[0].file, "first")
    other.pools.move("faces", [manifest.slots[1].file], manifest.slots[0].file)
    assert [slot.label for slot in owner.pools.get("faces").slots] == ["two", "first"]
    events = other.events.since(start)
    assert events is not None
    assert {event.type for event in events} == {"gate", "bus", "pool"}


def park_a_group(owner: Store, other: Store) -> None:
    """Two gates that park together, are decided elsewhere and go on there, and one of them once more."""
    waiters = [owner.gates.open(Gate(id=uuid.uuid4().hex, batch=2, prompt_id="first"), b"preview") for _ in range(2)]
    for waiter in waiters:
        waiter.store_image(codec.encode(IMAGE, "exact"))
        waiter.store_continuation(b"how")
        eventually(lambda waiter=waiter: waiter.ready)
    assert owner.gates.park(waiters)
    owner.gates.prompts_ended({"first": ""})
    ids = [waiter.gate.id for waiter in waiters]
    decisions = {gate_id: other.gates.decide(gate_id, make_decision("route", 1)).decision for gate_id in ids}
    assert [lead.id for lead in other.gates.due_runs()] == ids[:1]
    assert other.gates.claim_run(ids[0], "submitter", 1000) is not None
    for gate_id, decision in decisions.items():
        assert decision is not None
        assert other.gates.resume(gate_id, decision.id, "second").apply() == decision
    other.gates.prompts_ended({"second": ""})
    new = other.gates.again(ids[1], make_decision("route", 2))
    assert other.gates.continuation(new.id) == b"how"
    assert {gate.id for gate in owner.gates.family(new)} == {*ids, new.id}
    assert owner.gates.decide(new.id, make_decision("route", 2)).status == "decided"


def test_a_cluster_holds_everything_with_each_step_in_one_slot(servers: Servers, open_on: Callable[..., Store]) -> None:
    port = servers.start("--cluster-enabled", "yes", "--save", "")
    client = redis.Redis(port=port)
    client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
    eventually(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"))
    url = f"redis+cluster://127.0.0.1:{port}"
    use_everything(open_on(url), open_on(url))
    with pytest.raises(InvalidSetting, match="GATEBUS_REPLICAS"):
        open_on(url, replicas=1)


def test_sentinel_leads_to_the_master_and_to_the_new_one_after_a_failover(
    servers: Servers, open_on: Callable[..., Store], tmp_path: Path
) -> None:
    master = servers.start("--save", "")
    servers.start("--save", "", "--replicaof", "127.0.0.1", str(master))
    sentinels = []
    for number in range(3):
        port = free_port()
        config = tmp_path / f"sentinel-{number}.conf"
        config.write_text(
            f"port {port}\nsentinel monitor farm 127.0.0.1 {master} 2\n"
            "sentinel down-after-milliseconds farm 800\nsentinel failover-timeout farm 4000\n"
        )
        sentinels.append(servers.start(str(config), "--sentinel", port=port))
    sentinel = redis.Redis(port=sentinels[0], decode_responses=True)
    eventually(lambda: len(sentinel.execute_command("SENTINEL", "REPLICAS", "farm")) == 1)
    eventually(lambda: len(sentinel.execute_command("SENTINEL", "SENTINELS", "farm")) == 2)
    url = "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in sentinels) + "/farm/0"
    owner, other = open_on(url), open_on(url)
    use_everything(owner, other)

    waiter = owner.gates.open(Gate(id=uuid.uuid4().hex, title="over the failover"), b"preview")
    servers.kill(0)

    def decided() -> bool:
        try:
            other.gates.decide(waiter.gate.id, make_decision("route", 1, id="once"))
        except (StoreUnavailable, LookupError):
            return False
        return True

    eventually(decided, 60)
    assert waiter.wait(30) is not None


def test_a_decision_counts_only_when_the_replicas_have_it(servers: Servers, open_on: Callable[..., Store]) -> None:
    master = servers.start("--save", "")
    servers.start("--save", "", "--replicaof", "127.0.0.1", str(master))
    client = redis.Redis(port=master)
    eventually(lambda: client.info("replication")["connected_slaves"] == 1)
    store = open_on(f"redis://127.0.0.1:{master}/0", replicas=1)
    waiter = store.gates.open(Gate(id=uuid.uuid4().hex), b"preview")
    decision = make_decision("route", 1)

    def confirmed() -> bool:
        try:
            return store.gates.decide(waiter.gate.id, decision).status in ("decided", "applied")
        except StoreUnavailable:
            return False

    eventually(confirmed)
    other = store.gates.open(Gate(id=uuid.uuid4().hex), b"preview")
    servers.kill(1)
    with pytest.raises(StoreUnavailable, match="0 of 1"):
        store.gates.decide(other.gate.id, make_decision("route", 1))


def test_a_unix_socket_serves(servers: Servers, open_on: Callable[..., Store], tmp_path: Path) -> None:
    servers.start("--save", "", "--unixsocket", str(tmp_path / "redis.sock"))
    url = f"unix://{tmp_path}/redis.sock"
    use_everything(open_on(url), open_on(url))


def test_namespaces_share_a_redis_and_see_nothing_of_each_other(
    redis_server: RedisServer, open_on: Callable[..., Store]
) -> None:
    one, other = open_on(redis_server.url, namespace="one"), open_on(redis_server.url, namespace="other")
    one.gates.open(Gate(id=uuid.uuid4().hex), b"preview")
    one.buses.publish("cp1", IMAGE, None)
    one.pools.add("faces", [(PNG, "")])
    assert (other.gates.records(), other.buses.heads(), other.pools.infos()) == ([], [], [])
