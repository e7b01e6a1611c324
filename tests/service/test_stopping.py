"""A broker stops in order, and several of them live side by side."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from redis_server import RedisServer

from gates import codec
from tests.service.processes import LIMIT, Broker, Command, Studio, until


def port_of(command: Command) -> int:
    return int(command.line(r"http://127\.0\.0\.1:([0-9]+)")[1])


def test_a_call_that_runs_at_sigterm_is_finished_and_no_new_one_is_taken(
    studio: Studio, start: Callable[..., Command]
) -> None:
    command = start("--url", studio.url, "serve", "--port", "0")
    port = port_of(command)
    body = codec.encode_png(np.zeros((64, 64, 3), np.uint8), "stored")
    call = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    call.putrequest("PUT", "/gatebus/buses/cp1")
    call.putheader("Content-Type", "image/png")
    call.putheader("Content-Length", str(len(body)))
    call.endheaders(body[:1000])
    time.sleep(0.3)
    began = time.monotonic()
    command.process.terminate()
    command.line("stopping")

    def refused() -> bool:
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=2).connect()
        except OSError:
            return True
        return False

    until(refused, "no new connection is taken")
    call.send(body[1000:])
    answer = call.getresponse()
    assert answer.status == 200, answer.read()
    assert json.loads(answer.read())["name"] == "cp1"
    assert command.process.wait(LIMIT) == 0
    assert time.monotonic() - began < LIMIT
    assert studio.store.buses.heads()[0].name == "cp1"


def test_a_call_that_never_ends_holds_up_the_end_for_seconds_only(
    studio: Studio, start: Callable[..., Command]
) -> None:
    command = start("--url", studio.url, "serve", "--port", "0")
    call = http.client.HTTPConnection("127.0.0.1", port_of(command), timeout=LIMIT)
    call.putrequest("PUT", "/gatebus/buses/cp1")
    call.putheader("Content-Type", "image/png")
    call.putheader("Content-Length", "1000000")
    call.endheaders(b"\x89PNG")
    time.sleep(0.3)
    assert command.end() == 0
    assert studio.store.buses.heads() == []


def test_brokers_of_one_account_share_a_redis_a_folder_and_a_cache(
    studio: Studio, start: Callable[..., Command], own_home: Path
) -> None:
    waiters = [studio.open_gate(f"gate {number}") for number in range(8)]
    for waiter in waiters:
        waiter.store_image(codec.encode(np.random.default_rng(1).random((1, 6, 8, 3), np.float32), "png"))
    commands = [start("--url", studio.url, "serve", "--port", "0") for _ in range(3)]
    brokers = [Broker(command.line(r"http://\S+")[0]) for command in commands]
    folder = own_home / ".local" / "share" / "gatebus"
    assert sorted(path.name for path in folder.glob("instance-*.id")) == [f"instance-{n}.id" for n in range(3)]
    assert len({path.read_bytes() for path in folder.glob("instance-*.id")}) == 3
    until(lambda: waiters[0].gate is not None and brokers[0].ask("/gatebus/gates")[1]["total"] == 8, "the list")

    def thumbnail(number: int) -> bytes:
        broker, waiter = brokers[number % 3], waiters[number % 8]
        with urllib.request.urlopen(f"{broker.url}/gatebus/gates/{waiter.gate.id}/thumbnail", timeout=LIMIT) as answer:
            return bytes(answer.read())

    with ThreadPoolExecutor(12) as pool:
        pictures = list(pool.map(thumbnail, range(48)))
    assert all(picture[:4] == b"RIFF" for picture in pictures)
    assert not [path for path in folder.rglob("*") if path.suffix in (".new", ".tmp")]
    # Each decision is made once, whoever is asked; one broker dies in between.
    answers: list[tuple[int, int]] = []
    lock = threading.Lock()

    def decide(number: int) -> None:
        if number == 12:
            commands[2].process.kill()
        broker, waiter = brokers[number % 3], waiters[number % 8]
        try:
            status, _ = broker.ask(
                f"/gatebus/gates/{waiter.gate.id}/route", {"route": 1 + number % 2, "by": str(number)}
            )
        except OSError:
            return
        with lock:
            answers.append((number % 8, status))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(decide, range(24)))
    assert all(waiter.wait(LIMIT) is not None for waiter in waiters)
    assert {status for _, status in answers} <= {200, 409}
    assert all(any(gate == number and status == 200 for gate, status in answers) for number in range(8))
    assert [command.end() for command in commands[:2]] == [0, 0]


def test_a_broker_outlives_ten_deaths_of_its_redis(own_redis: RedisServer, start: Callable[..., Command]) -> None:
    command = start("--url", own_redis.url, "serve", "--port", "0", GATEBUS_TICK="0.2")
    broker = Broker(command.line(r"http://\S+")[0])
    for _ in range(10):
        own_redis.kill()
        until(lambda: broker.ask("/healthz")[0] == 503, "503")
        status, error = broker.ask("/gatebus/gates/" + "0" * 32)
        assert (status, error["error"]["type"]) == (503, "store_unavailable")
        own_redis.start()
        until(lambda: broker.ask("/healthz")[0] == 200, "200")
        assert broker.ask("/gatebus/gates/" + "0" * 32)[0] == 404
    assert command.end() == 0


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGHUP"])
def test_other_signals_end_it_in_order_too(studio: Studio, start: Callable[..., Command], signal_name: str) -> None:
    command = start("--url", studio.url, "serve", "--port", "0")
    command.line(r"http://\S+")
    assert command.end(getattr(signal, signal_name)) == 0
