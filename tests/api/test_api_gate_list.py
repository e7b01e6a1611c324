"""Ten thousand gates over HTTP: listed in pages, filtered as by the command, followed over two brokers."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientTimeout
from click.testing import CliRunner

from broker.cli import cli
from gates.connection import Connection
from gates.gate.fields import to_fields
from gates.gate.record import Gate, make_decision
from gates.keys import Keys
from gates.settings import Settings

MANY = 10_000


def write(url: str, count: int, owner: str = "gone:1") -> list[str]:
    """Gates of an owner that does nothing more, straight into Redis; their ids, oldest first."""
    connection, keys = Connection(replace(Settings(), store_url=url)), Keys()
    now = time.time_ns() // 1_000_000
    gates = [
        Gate(
            id=uuid.uuid4().hex,
            rev=1,
            owner=owner,
            instance=f"studio{number % 3}",
            opened=now - (count - number) // 2 * 10,
            title=f"Choose {number}",
            workflow=f"portraits {number % 7}",
            note="the hands" if number % 5 else "THE FACE",
            labels=("keep", "again"),
            send_id=f"cp{number % 4}" if number % 4 else "",
        )
        for number in range(count)
    ]
    for start in range(0, count, 500):
        pipe = connection.control.pipeline(transaction=False)
        for gate in gates[start : start + 500]:
            pipe.hset(keys.gate(gate.id), mapping=to_fields(gate))
            pipe.zadd(keys.gates, {gate.id: gate.opened})
            pipe.zadd(keys.leases, {gate.id: gate.opened + 3_600_000})
        pipe.execute()
    connection.close()
    return [gate.id for gate in sorted(gates, key=lambda gate: (gate.opened, gate.id))]


@pytest.fixture
async def farm(redis_server: Any, host_at: Any) -> Any:
    """A broker on Redis, and its URL."""
    return await host_at(replace(Settings(), store_url=redis_server.url, instance="studio", tick=0.3, lease=5.0))


async def pages(host: Any, query: str = "") -> tuple[list[str], int]:
    """(ids of every page, pages)."""
    ids: list[str] = []
    cursor, count = "", 0
    while True:
        part = await host.json(f"/gatebus/gates?limit=400{query}&cursor={cursor}")
        ids += [gate["id"] for gate in part["gates"]]
        cursor, count = part["next"], count + 1
        if not cursor:
            return ids, count


@pytest.mark.slow
@pytest.mark.parametrize("order", ["oldest", "newest"])
async def test_ten_thousand_gates_are_listed_without_gaps_or_repeats_while_gates_open_and_end(
    farm: Any, redis_server: Any, order: str
) -> None:
    ids = write(redis_server.url, MANY)
    ending = set(random.Random(3).sample(ids, 300))
    done = asyncio.Event()

    def end(gate_id: str) -> None:
        # Its owner never acknowledges it, so it stays in the list, changed.
        farm.store.gates.decide(gate_id, make_decision("cancel"))

    async def change() -> None:
        loop = asyncio.get_running_loop()
        left = list(ending)
        while not done.is_set():
            waiter = await loop.run_in_executor(None, lambda: farm.open_gate(stored=False))
            await loop.run_in_executor(None, waiter.close, "error")
            if left:
                await loop.run_in_executor(None, end, left.pop())

    changing = asyncio.create_task(change())
    for _ in range(2):
        met, count = await pages(farm, f"&order={order}")
        assert count >= MANY // 400
        assert len(met) == len(set(met))
        there = [gate_id for gate_id in met if gate_id in set(ids)]
        assert there == (ids if order == "oldest" else ids[::-1])
    done.set()
    await changing


async def test_the_default_list_is_as_it_was_and_tells_where_it_goes_on(farm: Any, redis_server: Any) -> None:
    ids = write(redis_server.url, 1200)
    first = await farm.json("/gatebus/gates")
    assert ([gate["id"] for gate in first["gates"]], first["total"]) == (ids[:1000], 1200)
    assert set(first) == {"gates", "total", "next", "unavailable"}
    rest = await farm.json(f"/gatebus/gates?cursor={first['next']}")
    assert ([gate["id"] for gate in rest["gates"]], rest["total"], rest["next"]) == (ids[1000:], 1200, "")


FILTERS: list[dict[str, str]] = [
    {},
    {"workflow": "portraits 3"},
    {"instance": "studio1"},
    {"bus": "cp2"},
    {"text": "face"},
    {"text": "the HANDS  choose 1"},
    {"status": "waiting"},
    {"status": "decided"},
    {"status": "all"},
    {"older": "1"},
    {"newer": "1"},
    {"older": "1", "newer": "2"},
    {"order": "newest", "limit": "17"},
    {"workflow": "portraits 3", "instance": "studio1", "bus": "cp2", "text": "face", "limit": "5"},
]


async def test_filters_mean_the_same_in_the_api_and_in_the_command(farm: Any, redis_server: Any, tmp_path: Any) -> None:
    ids = write(redis_server.url, 600)
    for gate_id in ids[::50]:
        farm.store.gates.decide(gate_id, make_decision("route", 1))
    runner = CliRunner(env={"GATEBUS_STORE_URL": redis_server.url, "GATEBUS_STATE_DIR": str(tmp_path / "cli")})
    shown = 0
    for filters in FILTERS:
        names = {"text": "q"}
        query = "&".join(f"{names.get(name, name)}={value.replace(' ', '+')}" for name, value in filters.items())
        options = [part for name, value in filters.items() for part in (f"--{name}", value)]
        for _ in range(20):
            # Gates grow older: what counts is an answer between two that are the same.
            before = await farm.json(f"/gatebus/gates?{query}")
            answer = await asyncio.to_thread(runner.invoke, cli, ["gates", "--json", *options])
            after = await farm.json(f"/gatebus/gates?{query}")
            assert answer.exit_code == 0, answer.output
            if before["gates"] == after["gates"]:
                break
        assert json.loads(answer.stdout) == before["gates"], filters
        shown += len(before["gates"])
    assert shown > 1000


async def test_counts_tell_what_each_choice_would_show(host: Any) -> None:
    for number in range(12):
        host.open_gate(workflow=f"w{number % 3}", send_id="cp" if number % 2 else "", stored=False)
    listed = await host.json("/gatebus/gates?facets=1&workflow=w1&limit=1")
    assert listed["facets"] == {
        "status": {"waiting": 4},
        "instance": {"studio": 4},
        "workflow": {"w0": 4, "w1": 4, "w2": 4},
        "bus": {"cp": 2},
    }
    assert (listed["total"], len(listed["gates"])) == (4, 1)
    assert "facets" not in await host.json("/gatebus/gates")


async def test_several_gates_are_read_by_their_ids_also_such_as_have_ended(host: Any) -> None:
    waiters = [host.open_gate(stored=False) for _ in range(3)]
    ids = [waiter.gate.id for waiter in waiters]
    host.store.gates.decide(ids[1], make_decision("route", 1))
    assert waiters[1].wait(5)
    waiters[1].apply()
    listed = await host.json(f"/gatebus/gates?ids={ids[2]},{'0' * 32},{ids[1]}")
    assert [(gate["id"], gate["status"]) for gate in listed["gates"]] == [(ids[2], "waiting"), (ids[1], "applied")]
    assert listed["gates"][0] == await host.json(f"/gatebus/gates/{ids[2]}")
    assert (await host.json("/gatebus/gates?ids=x", 400))["error"]["type"] == "invalid_input"
    many = ",".join(["0" * 32] * 200)
    assert (await host.json(f"/gatebus/gates?ids={many}"))["gates"] == []
    assert (await host.json(f"/gatebus/gates?ids={many},{'0' * 32}", 413))["error"]["type"] == "too_large"


@pytest.mark.parametrize(
    "query", ["cursor=x", "order=up", "older=-1", "newer=x", "limit=100001", "facets=yes", "q=%00", "status=gone"]
)
async def test_a_question_that_is_none_is_refused(local: Any, query: str) -> None:
    assert (await local.json(f"/gatebus/gates?{query}", 400))["error"]["type"] == "invalid_input"


async def test_a_list_is_packed_when_asked_for_and_not_sent_again_to_who_has_it(host: Any) -> None:
    for _ in range(30):
        host.open_gate(stored=False)
    async with host.client.session.__class__(auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as session:
        url = host.client.make_url("/gatebus/gates")
        tags = set()
        bodies = []
        for accept in (None, "gzip, br", "gzip;q=0", "identity"):
            headers = {"Accept-Encoding": accept} if accept else {}
            async with session.get(url, headers=headers) as answer:
                body = await answer.read()
                packed = answer.headers.get("Content-Encoding") == "gzip"
                assert packed == (accept == "gzip, br")
                assert answer.headers["Vary"] == "Accept-Encoding"
                bodies.append(gzip.decompress(body) if packed else body)
                tags.add(answer.headers["ETag"])
            async with session.get(url, headers={**headers, "If-None-Match": answer.headers["ETag"]}) as again:
                assert (again.status, await again.read()) == (304, b"")
        assert len(set(bodies)) == 1
        assert len(tags) == 2
        held = tags.pop()
        host.open_gate(stored=False)
        async with session.get(url, headers={"If-None-Match": held}) as answer:
            assert answer.status == 200


@pytest.mark.slow
async def test_the_snapshot_of_ten_thousand_gates_is_whole_packed_or_not(
    farm: Any, redis_server: Any, follow: Any
) -> None:
    ids = write(redis_server.url, MANY)
    packed = await follow(farm)
    assert packed.answer.headers["Content-Encoding"] == "gzip"
    snapshot = await packed.until("snapshot")
    assert [gate["id"] for gate in snapshot["gates"]] == ids
    assert (snapshot["total"], snapshot["next"], snapshot["unavailable"]) == (MANY, "", "")
    answer = await farm.client.get(
        "/gatebus/events", headers={"Accept-Encoding": "identity"}, timeout=ClientTimeout(total=None)
    )
    assert "Content-Encoding" not in answer.headers
    plain = packed.__class__(answer)
    assert (await plain.until("snapshot"))["gates"] == snapshot["gates"]
    farm.store.events.append("bus", "after")
    assert (await packed.until("bus"))["id"] == (await plain.until("bus"))["id"] == "after"
    answer.close()


async def test_a_packed_stream_that_ends_in_order_ends_as_gzip_does(local: Any) -> None:
    url, headers = local.client.make_url("/gatebus/events"), {"Accept-Encoding": "gzip"}
    kind = local.client.session.__class__
    async with kind(auto_decompress=False) as session, session.get(url, headers=headers) as answer:
        data, unpacker, text = b"", zlib.decompressobj(31), b""

        async def read_until(mark: bytes, count: int) -> None:
            nonlocal data, text
            while text.count(mark) < count:
                part = await asyncio.wait_for(answer.content.readany(), 10)
                data += part
                text += unpacker.decompress(part)

        await read_until(b"event: snapshot", 1)
        for number in range(50):
            local.store.events.append("bus", str(number))
        # What was sent can be unpacked at once, whether or not more follows.
        await read_until(b"event: bus", 50)
        local.api.streams.close()
        data += await answer.content.read()
    assert gzip.decompress(data) == text


@pytest.mark.slow
@pytest.mark.redis
async def test_a_stream_that_reconnects_at_another_broker_misses_and_doubles_nothing(
    redis_server: Any, host_at: Any, follow: Any, tmp_path: Any
) -> None:
    settings = replace(Settings(), store_url=redis_server.url, tick=0.3, lease=5.0)
    brokers = [await host_at(settings, tmp_path / str(number)) for number in range(2)]
    readers, total = 6, 400
    start = brokers[0].store.events.cursor()

    def live_and_die(number: int) -> str:
        host = brokers[number % 2]
        waiter = host.open_gate(stored=False)
        # Decided at the one broker or the other, applied by the owner: three events of one gate.
        brokers[number // 2 % 2].store.gates.decide(waiter.gate.id, make_decision("route", 1))
        assert waiter.wait(10)
        waiter.apply()
        return str(waiter.gate.id)

    async def read(reader: int) -> list[tuple[str, int]]:
        dice = random.Random(reader)
        cursor, seen = start, []
        connection = 0
        while len(seen) < 3 * total:
            events = await follow(brokers[(reader + connection) % 2], cursor)
            connection += 1
            for _ in range(min(dice.randrange(1, 60), 3 * total - len(seen))):
                kind, data = await events.next(30)
                assert kind == "gate", "no reset and no snapshot: the other broker knows the way"
                seen.append((data["id"], data["rev"]))
            cursor = events.last_id
            events.answer.close()
        assert connection > 10
        return seen

    with ThreadPoolExecutor(4) as threads:
        loop = asyncio.get_running_loop()
        writing = asyncio.gather(*(loop.run_in_executor(threads, live_and_die, number) for number in range(total)))
        found = await asyncio.wait_for(asyncio.gather(*(read(reader) for reader in range(readers))), 120)
        ids = await writing
    truth = [(event.id, event.data["rev"]) for event in brokers[0].store.events.since(start)]
    assert sorted(truth) == sorted((gate_id, rev) for gate_id in ids for rev in (1, 2, 3))
    assert all(seen == truth for seen in found)
