"""One contract for every registry of instances: this process alone, fakeredis, and a real Redis."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import fakeredis
import pytest
from redis_server import RedisServer

from gates.connection import Connection
from gates.errors import Conflict, InstanceNotFound, InvalidName, InvalidSetting, StoreUnavailable
from gates.events import Events, LocalEvents, RedisEvents
from gates.instance import Identity
from gates.instances import announcer as announcer_module
from gates.instances.address import address
from gates.instances.announcer import Announcer
from gates.instances.local import LocalInstances
from gates.instances.record import Device, Instance, InstanceStore, Pending, Running
from gates.instances.redis import RedisInstances
from gates.keys import Keys
from gates.listener import Listener
from gates.settings import Settings

LEASE = 0.4
FULL = Instance(
    name="工作室",
    url="http://studio:8188",
    reach="setting",
    version="0.1.0",
    comfyui="0.3.64",
    frontend="1.27.10",
    python="3.11.2",
    torch="2.13",
    system="Linux",
    devices=(Device("RTX 4090", "cuda", 24 * 2**30, 20 * 2**30),),
    ram_total=64 * 2**30,
    ram_free=2**30,
    running=(Running("p1", "portrait", "abcdef01", 1_700_000_000_000, "12:3", 'K"Sampler\n{}', 0.25),),
    pending=2,
    next=(Pending("p2", "portrait", "abcdef01", 1), Pending("p3", "", "", 2)),
    started=1_700_000_000_000,
)


def identity(number: int, boot: str = "0" * 8) -> Identity:
    return Identity(f"{number:032x}", boot, io.BytesIO())


@dataclass
class World:
    """A kind of registry, its events, and further processes on it where there can be some."""

    events: Events
    join: Callable[[Identity], InstanceStore]
    alone: bool


@pytest.fixture(params=["local", "fakeredis", "redis"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    settings = replace(Settings(), lease=LEASE)
    if request.param == "local":
        events = LocalEvents()
        yield World(events, lambda own: LocalInstances(own, events, LEASE), alone=True)
        return
    if request.param == "fakeredis":
        server = fakeredis.FakeServer()
        clients = fakeredis.FakeRedis(server=server, decode_responses=True), fakeredis.FakeRedis(server=server)
        connection = Connection(settings, *clients)
    else:
        connection = Connection(replace(settings, store_url=request.getfixturevalue("redis_server").url))
    listener = Listener(connection)
    yield World(
        RedisEvents(connection, Keys(), listener), lambda own: RedisInstances(connection, Keys(), own), alone=False
    )
    listener.close()
    connection.close()


def eventually(condition: Callable[[], Any], seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)


def told(world: World, cursor: str) -> list[tuple[str, str]]:
    """(id, state) of the instance events behind the cursor."""
    events = world.events.since(cursor)
    assert events is not None
    return [(event.id, event.data["state"]) for event in events if event.type == "instance"]


def test_what_is_announced_is_shown_whole(world: World) -> None:
    instances = world.join(identity(1, "abcd0123"))
    shown = instances.announce(FULL)
    assert shown == replace(
        FULL, id=identity(1).id, boot="abcd0123", host=socket.gethostname(), seen=shown.seen, gone=False
    )
    assert abs(shown.seen - time.time() * 1000) < 5000
    assert instances.records() == [shown]
    assert instances.get(shown.id) == shown
    assert shown.to_json()["running"][0]["title"] == 'K"Sampler\n{}'


def test_nobody_is_shown_before_the_first_announcement(world: World) -> None:
    instances = world.join(identity(1))
    assert instances.records() == []
    with pytest.raises(InstanceNotFound):
        instances.get(identity(1).id)
    for wrong in ("", "x", "A" * 32, "{}", "0" * 33):
        with pytest.raises(InvalidName):
            instances.get(wrong)


def test_an_event_tells_what_people_see_change_and_a_renewal_is_none(world: World) -> None:
    instances = world.join(identity(1))
    own = identity(1).id
    world.events.append("bus", "cp1")
    start = world.events.cursor()
    instances.announce(FULL)
    instances.announce(FULL)
    instances.announce(replace(FULL, ram_free=1, running=(replace(FULL.running[0], progress=0.5, node="4"),)))
    assert told(world, start) == [(own, "here")]
    instances.announce(replace(FULL, pending=3))
    instances.announce(replace(FULL, running=()))
    assert told(world, start) == [(own, "here")] * 3


def test_who_withdraws_is_gone_from_the_list_at_once(world: World) -> None:
    instances = world.join(identity(1))
    instances.announce(FULL)
    start = world.events.cursor()
    instances.withdraw()
    instances.withdraw()
    assert instances.records() == []
    assert told(world, start) == [(identity(1).id, "withdrawn")]


def test_whose_lease_runs_out_is_shown_as_gone_and_told_of_once_and_comes_back(world: World) -> None:
    instances = world.join(identity(1))
    shown = instances.announce(FULL)
    start = world.events.cursor()
    gone = eventually(lambda: [each for each in instances.records() if each.gone])
    assert gone == [replace(shown, gone=True)]
    assert instances.get(shown.id).gone
    instances.records()
    assert told(world, start) == [(shown.id, "gone")]
    instances.announce(FULL)
    assert [each.gone for each in instances.records()] == [False]
    assert told(world, start) == [(shown.id, "gone"), (shown.id, "here")]


def test_a_gone_one_is_forgotten_in_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("local", "redis"):
        monkeypatch.setattr(f"gates.instances.{module}.GONE_KEPT", 0.3)
    instances = world.join(identity(1))
    instances.announce(FULL)
    eventually(lambda: any(each.gone for each in instances.records()))
    eventually(lambda: not instances.records())
    assert instances.records() == []


def test_many_are_listed_by_name_and_a_successor_takes_the_place_of_its_forerunner(world: World) -> None:
    if world.alone:
        pytest.skip("this process alone")
    for number, name in ((1, "b"), (2, "c"), (3, "a")):
        world.join(identity(number)).announce(replace(FULL, name=name))
    first = world.join(identity(1))
    assert [each.name for each in first.records()] == ["a", "b", "c"]
    # The same machine, so the identity's lock says that the forerunner is dead.
    successor = world.join(identity(1, "11111111"))
    successor.announce(replace(FULL, name="b"))
    first.withdraw()
    assert [(each.name, each.boot) for each in first.records() if each.name == "b"] == [("b", "11111111")]


def test_the_copy_of_a_living_process_s_state_folder_on_another_machine_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    if world.alone:
        pytest.skip("this process alone")
    first = world.join(identity(1))
    first.announce(FULL)
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    copy = world.join(identity(1, "22222222"))
    with pytest.raises(Conflict, match="copied"):
        copy.announce(FULL)
    assert [each.boot for each in first.records()] == ["0" * 8]
    eventually(lambda: first.records()[0].gone)
    copy.announce(FULL)
    assert [(each.boot, each.host) for each in first.records()] == [("22222222", "elsewhere")]


def test_a_record_of_a_newer_version_is_read_as_far_as_it_is_known(redis_server: RedisServer) -> None:
    connection = Connection(replace(Settings(), store_url=redis_server.url))
    instances = RedisInstances(connection, Keys(), identity(1))
    shown = instances.announce(FULL)
    key = Keys().instance(shown.id)
    connection.control.hset(key, mapping={"planet": "mars", "devices": '[{"name":"x","type":"cuda","vram_total":1,'
                                          '"vram_free":1,"colour":"red"}]'})  # fmt: skip
    assert instances.get(shown.id).devices == (Device("x", "cuda", 1, 1),)
    connection.close()


def test_a_registry_that_is_away_says_so(own_redis: RedisServer) -> None:
    connection = Connection(replace(Settings(), store_url=own_redis.url))
    instances = RedisInstances(connection, Keys(), identity(1))
    own_redis.kill()
    for step in (lambda: instances.announce(FULL), instances.records, instances.withdraw):
        with pytest.raises(StoreUnavailable):
            step()
    connection.close()


# -- the thread that announces ------------------------------------------------------------


@dataclass
class FakeStore:
    instances: InstanceStore
    settings: Settings


def test_a_process_is_shown_while_it_lives_and_its_queue_as_it_changes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcer_module, "LOOK", 0.05)
    instances = world.join(identity(1))
    state = {"instance": replace(FULL, running=(), pending=0, next=())}
    store: Any = FakeStore(instances, replace(Settings(), lease=LEASE))
    announcer = Announcer(lambda: store, lambda: state["instance"])
    eventually(instances.records)
    state["instance"] = FULL
    shown = eventually(lambda: [each for each in instances.records() if each.running])[0]
    assert abs(shown.running[0].started - shown.seen) < 5000, "since when it runs is this process's to tell"
    first = shown.running[0].started
    # Over several leases.
    end = time.monotonic() + 4 * LEASE
    while time.monotonic() < end:
        found = instances.records()
        assert [each.gone for each in found] == [False]
        assert abs(found[0].running[0].started - first) <= 5
        time.sleep(0.02)
    announcer.close()
    assert instances.records() == []


def test_an_announcer_outlives_what_fails_and_says_it_once(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(announcer_module, "LOOK", 0.02)
    instances = world.join(identity(1))
    store: Any = FakeStore(instances, replace(Settings(), lease=LEASE))
    failing = threading.Event()
    failing.set()
    calls = []

    def store_of() -> Any:
        calls.append(1)
        if failing.is_set():
            raise InvalidSetting("GATEBUS_STORE_URL must be something else")
        return store

    announcer = Announcer(store_of, lambda: FULL)
    eventually(lambda: len(calls) > 5)
    assert caplog.text.count("GATEBUS_STORE_URL") == 1
    failing.clear()
    eventually(instances.records)
    announcer.close()
    assert instances.records() == []


# -- the address --------------------------------------------------------------------------


def test_the_setting_goes_before_what_can_be_guessed() -> None:
    settings = Settings.from_env({"GATEBUS_INSTANCE_URL": "https://studio.example/comfy/"})
    assert address(settings, "http", ["0.0.0.0"], 8188) == ("https://studio.example/comfy", "setting")


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (["127.0.0.1"], ("http://127.0.0.1:8188", "loopback")),
        (["localhost"], ("http://localhost:8188", "loopback")),
        (["::1"], ("http://[::1]:8188", "loopback")),
        (["127.0.0.1", "10.1.2.3"], ("http://10.1.2.3:8188", "guess")),
        (["fd00::7"], ("http://[fd00::7]:8188", "guess")),
        (["studio"], ("http://studio:8188", "guess")),
    ],
)
def test_a_server_on_one_address_is_reached_there(hosts: list[str], expected: tuple[str, str]) -> None:
    assert address(Settings(), "http", hosts, 8188) == expected


@pytest.mark.parametrize("own", ["10.9.8.7", "127.0.0.1", ""])
def test_one_that_listens_everywhere_is_reached_where_this_machine_speaks_from(
    own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gates.instances.address._own_address", lambda target: own)
    settings = replace(Settings(), store_url="redis://redis.example:6379/0")
    expected = ("https://10.9.8.7:8188", "guess") if own == "10.9.8.7" else ("https://127.0.0.1:8188", "loopback")
    assert address(settings, "https", ["0.0.0.0", "::"], 8188) == expected


@pytest.mark.parametrize("wrong", ["studio:8188", "ftp://x", "http://", "http://a b", "http://u:p@x", "http://x:99999"])
def test_an_instance_url_that_no_browser_opens_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidSetting, match="http://host:port"):
        Settings.from_env({"GATEBUS_INSTANCE_URL": wrong})
