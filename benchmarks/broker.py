"""A decision through the broker while 10,000 gates wait, and what listing them costs; ratios in one run.

    python benchmarks/broker.py [--gates N] [--rate R] [--seconds S] [--rounds N] [--no-lister]

On one redis-server: a process that owns every gate and applies what is decided, a broker
(``broker.app``) with an event stream open, and this process, which decides:

- ``http``: ``POST /gatebus/gates/ID/route`` at the broker
- ``script``: the same step by ``GateSteps.decide`` straight on Redis: the floor of any decision

Arrivals are open-loop: the n-th decision is due at n / rate seconds, whatever became of those
before it, and its time is measured from when it was due; the two ways take turns. Meanwhile a
page of 50 gates is listed with counts for its filters, once a second.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent / "tests")]

import aiohttp
import redis
from redis_server import RedisServer, free_port

from broker.server import Listening, serve
from gates.connection import Connection
from gates.gate.record import Gate, Waiter, make_decision
from gates.gate.redis_steps import GateSteps
from gates.keys import Keys
from gates.settings import Settings
from gates.store import open_store

OWNER_THREADS = 4
"""Threads in which the owner's process opens and applies gates."""


def own(settings: Settings, folder: Path, gates: int, pipe: Pipe) -> None:
    """The owner's process: opens the gates, applies what is decided, and tells its CPU seconds when asked."""
    store = open_store(settings, folder / "input", folder / "state")
    threads = ThreadPoolExecutor(OWNER_THREADS)

    def open_one(number: int) -> str:
        gate = Gate(
            id=uuid.uuid4().hex,
            prompt_id=str(uuid.uuid4()),
            node_id=str(number % 40),
            client_id=uuid.uuid4().hex,
            title=f"Choose number {number}",
            workflow=f"portraits {number % 40}",
            workflow_id=str(uuid.uuid4()),
            note=f"The hands of figure {number % 977} look wrong",
            labels=("keep", "again"),
            send_id=f"cp{number % 12}",
            width=1024,
            height=1024,
            batch=1,
        )
        waiter: Waiter = store.gates.open(gate, b"\xff\xd8preview")
        waiter.on_decision(lambda: threads.submit(waiter.apply) and None)
        return gate.id

    started = time.monotonic()
    ids = list(threads.map(open_one, range(gates)))
    pipe.send((ids, time.monotonic() - started))
    while pipe.recv() != "end":
        pipe.send(time.process_time())
    os._exit(0)


def serve_broker(settings: Settings, folder: Path, port: int, pipe: Pipe) -> None:
    """The broker's process."""
    store = open_store(settings, folder / "input", folder / "state")
    threading.Thread(target=_tell_cpu, args=(pipe,), daemon=True).start()
    asyncio.run(serve(store, folder / "state", Listening(port=port), pipe.send))


def _tell_cpu(pipe: Pipe) -> None:
    while pipe.recv():
        pipe.send(time.process_time())


def follow(url: str, pipe: Pipe) -> None:
    """The process of a page: follows the event stream; tells the snapshot's time and size, then counts events."""

    headers = {"Accept-Encoding": "gzip"}

    async def run() -> None:
        started = time.monotonic()
        async with (
            aiohttp.ClientSession(auto_decompress=False, read_bufsize=2**24) as session,
            session.get(f"{url}/gatebus/events", headers=headers, timeout=aiohttp.ClientTimeout(total=None)) as answer,
        ):
            # As a browser does it: packed, and unpacked as it comes.
            unpacker, sent, head = zlib.decompressobj(31), 0, b""
            while b"event: snapshot" not in head or not head.endswith(b"\n\n"):
                data = await answer.content.readany()
                sent += len(data)
                head += unpacker.decompress(data)
            pipe.send((time.monotonic() - started, sent, len(head)))
            events = 0
            while not pipe.poll():
                events += unpacker.decompress(await answer.content.readany()).count(b"event: gate")
            pipe.send(events)

    asyncio.run(run())


async def timed(
    session: aiohttp.ClientSession, path: str, headers: dict[str, str] | None = None
) -> tuple[float, bytes]:
    """(milliseconds, body as sent) of one GET."""
    started = time.monotonic()
    async with session.get(path, headers=headers) as answer:
        body = await answer.read()
        assert answer.status in (200, 304), body
    return (time.monotonic() - started) * 1000, body


async def measure_lists(url: str, store_url: str, gates: int) -> None:
    """Prints what the lists cost, against a plain read of all hashes."""
    keys = Keys(Settings().namespace)
    client = redis.Redis.from_url(store_url, decode_responses=True)

    def read_all() -> float:
        started = time.monotonic()
        ids = client.zrange(keys.gates, 0, -1)
        for start in range(0, len(ids), 500):
            pipe = client.pipeline(transaction=False)
            for gate_id in ids[start : start + 500]:
                pipe.hgetall(keys.gate(gate_id))
            pipe.execute()
        return (time.monotonic() - started) * 1000

    floor = statistics.median(read_all() for _ in range(3))
    print(f"\nListing {gates} waiting gates (reading every hash with a pipeline: {floor:.0f} ms)")
    print("| answer | first ms | median ms | x reading every hash | kB sent |\n| --- | --- | --- | --- | --- |")
    lists = {
        "a page of 50": ("?limit=50", None),
        "a page of 50, filtered by text and workflow, with counts": (
            "?limit=50&q=figure+41&workflow=portraits+7&facets=1",
            None,
        ),
        "all": ("?limit=100000", None),
        "all, compressed": ("?limit=100000", {"Accept-Encoding": "gzip"}),
    }
    async with aiohttp.ClientSession(url, auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as session:
        for name, (query, headers) in lists.items():
            times = []
            for _ in range(8):
                took, body = await timed(session, f"/gatebus/gates{query}", headers)
                times.append(took)
            median = statistics.median(times[1:])
            print(f"| {name} | {times[0]:.1f} | {median:.1f} | {median / floor:.2f} | {len(body) / 1000:.0f} |")
            if name.startswith("all"):
                shown = json.loads(gzip.decompress(body) if headers else body)
                assert len(shown["gates"]) == gates


async def decide_http(url: str, ids: list[str], rate: float) -> list[float]:
    """Milliseconds of each decision, from when it was due."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector) as session:
        start = time.monotonic() + 0.05
        took: list[float] = []

        async def decide(gate_id: str, due: float) -> None:
            async with session.post(f"/gatebus/gates/{gate_id}/route", json={"route": 1, "by": "bench"}) as answer:
                body = await answer.read()
                took.append((time.monotonic() - due) * 1000)
                assert answer.status == 200, body

        running = []
        for number, gate_id in enumerate(ids):
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            running.append(asyncio.create_task(decide(gate_id, due)))
        await asyncio.gather(*running)
    return took


def decide_script(steps: GateSteps, ids: list[str], rate: float) -> list[float]:
    """As :func:`decide_http`, without the broker."""
    start = time.monotonic() + 0.05
    took = []
    for number, gate_id in enumerate(ids):
        due = start + number / rate
        time.sleep(max(0.0, due - time.monotonic()))
        steps.decide(gate_id, make_decision("route", 1, by="bench"))
        took.append((time.monotonic() - due) * 1000)
    return took


async def list_meanwhile(url: str) -> None:
    """Lists a page every second, as an inbox that somebody filters."""
    async with aiohttp.ClientSession(url) as session:
        while True:
            await timed(session, "/gatebus/gates?limit=50&q=figure&facets=1")
            await asyncio.sleep(1)


async def measure_decisions(
    url: str, settings: Settings, ids: list[str], rate: float, rounds: int, lister: bool, cpu: dict[str, Pipe]
) -> None:
    """Prints the table of decisions."""
    steps = GateSteps(Connection(settings), Keys(settings.namespace))
    took: dict[str, list[float]] = {"script": [], "http": []}
    each = len(ids) // (2 * rounds)
    chunks = [ids[start : start + each] for start in range(0, 2 * rounds * each, each)]
    lists = asyncio.create_task(list_meanwhile(url)) if lister else None
    await decide_http(url, chunks[0][:20], rate)
    chunks[0] = chunks[0][20:]
    cpu_before = cpu_now(cpu)
    started = time.monotonic()
    for one, other in zip(chunks[::2], chunks[1::2], strict=True):
        took["http"] += await decide_http(url, one, rate)
        took["script"] += await asyncio.to_thread(decide_script, steps, other, rate)
    seconds = time.monotonic() - started
    shares = {name: (now - cpu_before[name]) / seconds for name, now in cpu_now(cpu).items()}
    if lists is not None:
        lists.cancel()
    floor = {name: quantile(took["script"], name) for name in (0.5, 0.99)}
    print(f"\n{rate:.0f} decisions a second, {len(took['http'])} by each way, due to answered")
    print("| way | p50 ms | p90 ms | p99 ms | worst ms | p50 x script | p99 x script |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for way, times in took.items():
        shown = " | ".join(f"{quantile(times, part):.2f}" for part in (0.5, 0.9, 0.99, 1))
        ratios = " | ".join(f"{quantile(times, part) / floor[part]:.2f}" for part in (0.5, 0.99))
        print(f"| {way} | {shown} | {ratios} |")
    print("CPU meanwhile: " + ", ".join(f"{name} {share:.0%} of a core" for name, share in shares.items()))


def cpu_now(pipes: dict[str, Pipe]) -> dict[str, float]:
    """CPU seconds of each process so far."""
    for pipe in pipes.values():
        pipe.send("cpu")
    return {name: pipe.recv() for name, pipe in pipes.items()}


def quantile(times: list[float], part: float) -> float:
    """The value that ``part`` of the times do not exceed."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def main() -> None:
    """Runs it on a redis-server of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=5, help="of one round of one way")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-lister", action="store_true")
    options = parser.parse_args()
    multiprocessing.set_start_method("spawn")
    decisions = int(options.rate * options.seconds) * 2 * options.rounds
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        server.start()
        processes = []
        try:
            settings = replace(Settings(), store_url=server.url, max_gates=options.gates + decisions)
            owner, owner_end = multiprocessing.Pipe()
            arguments = (settings, Path(folder) / "owner", options.gates + decisions, owner_end)
            processes.append(multiprocessing.Process(target=own, args=arguments, daemon=True))
            processes[-1].start()
            ids, seconds = owner.recv()
            print(f"One process opened {len(ids)} gates in {seconds:.1f} s ({seconds / len(ids) * 1000:.2f} ms each)")
            broker, broker_end = multiprocessing.Pipe()
            arguments = (settings, Path(folder) / "broker", free_port(), broker_end)
            processes.append(multiprocessing.Process(target=serve_broker, args=arguments, daemon=True))
            processes[-1].start()
            url = broker.recv()
            asyncio.run(measure_lists(url, server.url, len(ids)))
            page, page_end = multiprocessing.Pipe()
            processes.append(multiprocessing.Process(target=follow, args=(url, page_end), daemon=True))
            processes[-1].start()
            took, sent, size = page.recv()
            print(f"\nThe event stream's snapshot: {took * 1000:.0f} ms, {sent / 1000:.0f} kB of {size / 1000:.0f} kB")
            waiting, deciding = ids[: options.gates], ids[options.gates :]
            pipes = {"owner": owner, "broker": broker}
            asyncio.run(
                measure_decisions(url, settings, deciding, options.rate, options.rounds, not options.no_lister, pipes)
            )
            page.send("end")
            left = redis.Redis.from_url(server.url, decode_responses=True).zcard(Keys(settings.namespace).gates)
            print(f"{left} gates wait, {len(waiting)} were to")
        finally:
            for process in processes:
                process.kill()
                process.join()
            server.stop()


if __name__ == "__main__":
    main()
