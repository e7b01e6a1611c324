"""From a decision to the waiter that it wakes, and what waiting costs; ratios measured side by side in one run.

    python benchmarks/wakeup.py [--rounds N] [--idle SECONDS]

Three ways to wake a waiter in another process, taken in turn over one real redis-server:

- ``gate``: ``GateStore.decide`` in this process until ``on_decision`` calls back in the other
- ``pub/sub``: a bare PUBLISH until ``get_message`` returns there: the floor of any wake-up through Redis
- ``polling``: SET until a waiter that looks every 100 ms sees it: what the peers do

Then 500 gates wait in one process: its connections, its CPU and that of Redis. The clock is
CLOCK_MONOTONIC, which the processes of one machine share.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import replace
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent / "tests")]

import redis
from redis_server import RedisServer

from gates.connection import Connection
from gates.decisions.file import FileLog
from gates.gate.record import Gate, make_decision
from gates.gate.redis import RedisGates
from gates.keys import Keys
from gates.listener import Listener
from gates.settings import Settings

POLL = 0.1
IDLE_GATES = 500


def open_gates(url: str, owner: str) -> RedisGates:
    """A gate store as one process of the farm has it."""
    connection = Connection(replace(Settings(), store_url=url))
    journal = FileLog(Path(tempfile.mkdtemp()) / "decisions.jsonl")
    return RedisGates(connection, Keys(), Listener(connection), owner, journal)


def wait(url: str, pipe: Pipe) -> None:
    """The waiter's process: answers each round with the time at which it was woken."""
    gates = open_gates(url, "waiter")
    client = redis.Redis.from_url(url)
    pubsub = client.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe("bench")
    while (way := pipe.recv()) != "end":
        if way == "gate":
            waiter = gates.open(Gate(id=uuid.uuid4().hex), b"preview")
            woken = threading.Event()
            at: list[int] = []
            waiter.on_decision(lambda at=at, woken=woken: (at.append(time.monotonic_ns()), woken.set()))
            pipe.send(waiter.gate.id)
            woken.wait(10)
            pipe.send(at[0])
            waiter.apply()
        elif way == "pub/sub":
            while pubsub.get_message(timeout=0.01):
                pass
            pipe.send("")
            while pubsub.get_message(timeout=10) is None:
                pass
            pipe.send(time.monotonic_ns())
        else:
            client.delete("bench")
            pipe.send("")
            while client.get("bench") is None:
                time.sleep(POLL)
            pipe.send(time.monotonic_ns())


def measure(url: str, rounds: int) -> None:
    """Prints the table of wake-ups."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=wait, args=(url, there), daemon=True)
    process.start()
    decider = open_gates(url, "decider")
    client = redis.Redis.from_url(url)
    took: dict[str, list[float]] = {"gate": [], "pub/sub": [], "polling": []}
    for number in range(rounds + 5):
        for way, times in took.items():
            if way == "polling" and number % 5:
                continue
            here.send(way)
            gate_id = here.recv()
            # The waiter is asleep by then, as one that waits for a person is; not in step with its polls.
            time.sleep(0.01 + (number * 0.037) % POLL)
            start = time.monotonic_ns()
            if way == "gate":
                decider.decide(gate_id, make_decision("route", 1))
            elif way == "pub/sub":
                client.publish("bench", b"")
            else:
                client.set("bench", b"1")
            took_now = (here.recv() - start) / 1e6
            if number >= 5:
                times.append(took_now)
    here.send("end")
    process.join(10)
    floor = statistics.median(took["pub/sub"])
    print(f"\nDecision to wake-up in another process, {rounds} rounds (polling: every fifth)")
    print("| way | median ms | p99 ms | x bare pub/sub |\n| --- | --- | --- | --- |")
    for way, times in took.items():
        times.sort()
        p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
        print(f"| {way} | {statistics.median(times):.2f} | {p99:.2f} | {statistics.median(times) / floor:.2f} |")
    decider.close()


def hold(url: str, pipe: Pipe) -> None:
    """The process in which many gates wait: tells its CPU seconds at both ends of the measured time."""
    gates = open_gates(url, "holder")
    gates.open(Gate(id=uuid.uuid4().hex), b"preview").close("warm")
    for _ in range(IDLE_GATES):
        gates.open(Gate(id=uuid.uuid4().hex), b"preview")
    pipe.send("ready")
    seconds = pipe.recv()
    time.sleep(1)
    before = time.process_time()
    time.sleep(seconds)
    pipe.send(time.process_time() - before)
    pipe.recv()


def idle(url: str, seconds: float) -> None:
    """Prints what 500 waiting gates cost."""
    here, there = multiprocessing.Pipe()
    client = redis.Redis.from_url(url)
    process = multiprocessing.Process(target=hold, args=(url, there), daemon=True)
    clients = len(client.client_list())
    process.start()
    here.recv()
    connections = len(client.client_list()) - clients
    here.send(seconds)
    time.sleep(1)
    before = client.info()
    cpu = here.recv()
    after = client.info()
    server = sum(after[key] - before[key] for key in ("used_cpu_sys", "used_cpu_user"))
    commands = after["total_commands_processed"] - before["total_commands_processed"]
    here.send("end")
    process.terminate()
    process.join()
    print(f"\n{IDLE_GATES} waiting gates in one process, {seconds:.0f} s")
    print("| connections | CPU of the process | CPU of Redis | Redis commands/s |\n| --- | --- | --- | --- |")
    shares = f"{cpu / seconds:.1%} of a core | {server / seconds:.1%} of a core"
    print(f"| {connections} | {shares} | {commands / seconds:.0f} |")


def main() -> None:
    """Runs both on a redis-server of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--idle", type=float, default=20)
    options = parser.parse_args()
    multiprocessing.set_start_method("spawn")
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            measure(server.url, options.rounds)
            idle(server.url, options.idle)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
