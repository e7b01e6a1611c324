"""Pools under stress: two processes that add at once, and processes that are killed while they write."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import RedisServer

from gates.connection import Connection
from gates.errors import PoolNotFound
from gates.keys import Keys
from gates.pictures import read_image
from gates.pool.disk import DiskPools
from gates.pool.redis import RedisPools
from gates.settings import Settings

ROOT = Path(__file__).parent.parent
IMAGES = 200

# argv: folder, store URL ("" for the disk), the process's name, how many images
ADD = """
import sys
from pathlib import Path
import numpy as np
from gates.connection import Connection
from gates.keys import Keys
from gates.png import encode_png
from gates.pool.disk import DiskPools
from gates.pool.redis import RedisPools
from gates.settings import Settings

folder, url, name, count = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
settings = Settings(store_url=url)
pools = RedisPools(Connection(settings), Keys(), settings) if url else DiskPools(folder, settings)
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    pixels = np.full((16, 16, 3), number % 256, np.uint8)
    label = f"{name}-{number}"
    manifest = pools.add("p", [(encode_png(pixels), label)])
    print(next(slot.file for slot in manifest.slots if slot.label == label), label, flush=True)
"""


def start(folder: Path, url: str, name: str, count: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", ADD, str(folder), url, name, str(count)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["disk", "redis"])
def test_two_processes_that_add_200_images_each_leave_400_slots(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("redis_server").url if kind == "redis" else ""
    processes = [start(tmp_path, url, name, IMAGES) for name in "ab"]
    go(processes)
    acknowledged = {}
    for process in processes:
        lines = process.communicate(timeout=120)[0].split("\n")[:-1]
        assert process.returncode == 0
        acknowledged.update(line.split(" ") for line in lines)
    settings = Settings(store_url=url)
    pools: Any = RedisPools(Connection(settings), Keys(), settings) if url else DiskPools(tmp_path, settings)
    manifest = pools.get("p")
    assert len(manifest.slots) == 2 * IMAGES
    assert {slot.file: slot.label for slot in manifest.slots} == acknowledged
    assert (manifest.rev, manifest.next_seq) == (2 * IMAGES, 2 * IMAGES + 1)
    # They took turns: neither had to wait until the other was done.
    owners = [slot.label[0] for slot in manifest.slots]
    assert sum(left != right for left, right in itertools.pairwise(owners)) > 10
    for slot in manifest.slots:
        assert read_image(pools.image("p", slot.file), settings).pixels[0, 0, 0] == int(slot.label[2:]) % 256


@pytest.mark.slow
def test_after_a_kill_the_manifest_is_readable_and_no_acknowledged_add_is_lost(tmp_path: Path) -> None:
    pools = DiskPools(tmp_path, Settings())
    acknowledged: dict[str, str] = {}
    rounds = 30
    for number in range(rounds):
        process = start(tmp_path, "", str(number), 1000)
        go([process])
        assert process.stdout is not None
        # At a different moment of an edit each time, after at least one was acknowledged.
        lines = [process.stdout.readline()]
        time.sleep(number * 0.0007)
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait()
        acknowledged.update(line.split() for line in lines if line.endswith("\n"))
        manifest = pools.get("p")
        there = {slot.file: slot.label for slot in manifest.slots}
        assert acknowledged.items() <= there.items()
        for slot in manifest.slots:
            assert read_image(pools.image("p", slot.file), pools.settings).width == 16
    assert len(acknowledged) >= rounds
    # One add a kill may have been made and not acknowledged.
    assert len(pools.get("p").slots) <= len(acknowledged) + rounds
    assert not (tmp_path / "p" / "manifest.json.tmp").exists()


@pytest.mark.slow
def test_after_a_kill_in_redis_no_acknowledged_add_is_lost(tmp_path: Path, redis_server: RedisServer) -> None:
    settings = Settings(store_url=redis_server.url)
    pools = RedisPools(Connection(settings), Keys(), settings)
    acknowledged: dict[str, str] = {}
    for number in range(10):
        process = start(tmp_path, redis_server.url, str(number), 1000)
        go([process])
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        time.sleep(number * 0.0007)
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait()
        acknowledged.update(line.split() for line in lines if line.endswith("\n"))
    manifest = pools.get("p")
    assert acknowledged.items() <= {slot.file: slot.label for slot in manifest.slots}.items()
    for slot in manifest.slots:
        assert read_image(pools.image("p", slot.file), settings).width == 16


def test_a_pool_that_is_deleted_and_added_to_at_once_is_whole_or_gone(tmp_path: Path) -> None:
    pools = DiskPools(tmp_path, Settings())
    for _ in range(5):
        process = start(tmp_path, "", "x", 30)
        go([process])
        deletions = 0
        while process.poll() is None:
            try:
                pools.delete("p")
                deletions += 1
            except PoolNotFound:
                continue
        assert process.returncode == 0
        assert deletions
        assert all(name.startswith(".") or name == "p" for name in os.listdir(tmp_path))
