"""What the README shows is run as it stands: the example of the client, and every line for redis-cli."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from readme import ROOT, fenced, section
from redis_server import RedisServer

from gates import codec
from gates.gate.record import Gate
from gates.instances.record import Instance
from gates.settings import Settings
from gates.store import open_store
from tests.service.processes import Command, Studio


@pytest.mark.redis
def test_the_example_of_the_client_runs_as_it_stands(redis_server: RedisServer, tmp_path: Path) -> None:
    example = re.search(r"^```python\n(.*?)^```", section("## Python client"), re.MULTILINE | re.DOTALL)
    assert example is not None
    store = open_store(Settings(store_url=redis_server.url), tmp_path / "disk", tmp_path / "state")
    broker = Command(["--url", redis_server.url, "serve", "--port", "0"], {"HOME": str(tmp_path)})
    try:
        waiter = Studio(store, redis_server.url).open_gate(labels=("keep", "redo"))
        waiter.store_image(codec.encode(np.full((1, 6, 8, 3), 0.5, np.float32), "png"))
        url = broker.line(r"http://\S+")[0]
        assert "http://127.0.0.1:8787" in example[1]
        program = example[1].replace("http://127.0.0.1:8787", url)
        path = os.pathsep.join([str(ROOT), str(ROOT / "broker" / "client")])
        environ = {**os.environ, "PYTHONPATH": path}
        command = [sys.executable, "-c", program]
        answer = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout == "portrait ('keep', 'redo')\n"
        with Image.open(tmp_path / "gate.png") as picture:
            assert picture.size == (8, 6)
        decision = store.gates.get(waiter.gate.id).decision
        assert decision is not None
        assert (decision.route, decision.by, decision.text) == (1, "agent", "by its shape")
    finally:
        broker.end()
        store.close()


# -- redis-cli ----------------------------------------------------------------------------


@pytest.fixture
def shell(redis_server: RedisServer, tmp_path: Path) -> Iterator[object]:
    """Runs a line of the README in an empty folder, against a Redis with a gate, a bus and a pool."""
    beside = str(Path(sys.executable).parent)
    client = shutil.which("redis-cli") or shutil.which("redis-cli", path=beside)
    if client is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no redis-cli")
        pytest.skip("no redis-cli")
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "redis-cli"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(client)} -p {redis_server.port} "$@"\n')
    wrapper.chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()

    settings = Settings(store_url=redis_server.url, instance="studio")
    store = open_store(settings, tmp_path / "disk", tmp_path / "state")
    image = np.full((1, 6, 8, 3), 0.5, np.float32)
    mask = np.ones((1, 6, 8), np.float32)
    gate = Gate(id=uuid.uuid4().hex, title="portrait", width=8, height=6, batch=1)
    waiter = store.gates.open(gate, codec.preview_jpeg(image))
    ended = store.gates.open(Gate(id=uuid.uuid4().hex), codec.preview_jpeg(image))
    ended.close("interrupted")
    store.buses.publish("cp1", image, mask)
    store.instances.announce(Instance(name="studio", url="http://studio:8188"))
    store.pools.add("faces", [(codec.encode_png(np.zeros((6, 8, 3), np.uint8)), "smile")])
    environ = {**os.environ, "PATH": f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}"}

    def run(line: str) -> str:
        line = line.replace("ID", waiter.gate.id)
        answer = subprocess.run(["sh", "-c", line], cwd=folder, env=environ, capture_output=True, timeout=30)
        assert answer.returncode == 0, answer.stderr
        target = re.search(r"> (\S+)$", line)
        if target:
            with Image.open(BytesIO((folder / target[1]).read_bytes())) as picture:
                picture.load()
                return f"{picture.format} {picture.mode} {picture.width}x{picture.height}"
        return answer.stdout.decode().replace(waiter.gate.id, "ID").replace(ended.gate.id, "ENDED")

    yield run
    store.close()


# A piece of each line -> what its answer must hold.
PROMISED = {
    "ZRANGE '{gatebus}:gates' 0 -1": ["ID"],
    "gates:lease": ["ID"],
    "HGETALL '{gatebus}:gate:": ["status\nwaiting\n", "title\nportrait\n"],
    "gate.jpg": ["JPEG RGB 8x6"],
    "gates:ended": ["ENDED"],
    "'{gatebus}:buses'": ["cp1"],
    "HGETALL 'gatebus:bus:": ["version\n1\n", "width\n8\n", "image\ngatebus:bus:{cp1}:1:image:0\n"],
    ":versions": ["1\n"],
    "> cp1.png": ["PNG RGB 8x6"],
    "> cp1-mask.png": ["PNG L 8x6"],
    "HGETALL '{gatebus}:pools'": ["faces"],
    "HGETALL 'gatebus:pool:": ["active\nimg_0001.png\n"],
    ":order'": ["img_0001.png"],
    ":slots'": ['"label"', "smile"],
    "> img_0001.png": ["PNG RGB 8x6"],
    "XREVRANGE": ["gate", "faces"],
    "XREVRANGE '{gatebus}:decisions'": ["kind\nend\n", "outcome\ninterrupted\n", "ENDED"],
    "XLEN": ["1\n"],
    "HMGET '{gatebus}:gate:": ["waiting\n"],
    "ZRANGE '{gatebus}:instances' 0 -1 WITHSCORES": ["\n"],
    "{gatebus}:instance:$(": ["name\nstudio\n", "url\nhttp://studio:8188\n"],
}


def test_every_redis_cli_line_shows_what_it_promises(shell: object) -> None:
    lines = fenced(section("## Looking inside with redis-cli"))
    assert len(lines) == len(PROMISED)
    for line, (piece, promised) in zip(lines, PROMISED.items(), strict=True):
        assert piece in line
        answer = shell(line)  # type: ignore[operator]
        for text in promised:
            assert text in answer, (line, answer)
