"""The OpenAPI document tells the truth: a fuzzer sends what it allows and what it forbids, to a real broker."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
from aiohttp import web
from openapi_spec_validator import validate

from broker.app import make_app
from broker.farm.api import FarmApi
from broker.jobs.opening import open_jobs
from broker.jobs.store import JobStore
from broker.openapi import SERVICE
from broker.server import LINE_LIMIT
from gates import codec
from gates.api import TABLE
from gates.gate.record import Gate, make_decision
from gates.settings import Settings
from gates.store import Store, open_store

SIZE = (8, 6)
ROUTES = (*TABLE, *FarmApi(cast(JobStore, None)).routes)
GATE_ROUTES = 10

CONFIG = """\
[checks]
# No tokens are configured here. A slot's path is also the shape of other paths with fewer methods.
ignored_auth.enabled = false
unsupported_method.enabled = false
allow_header_conformance.enabled = false
# A text that is too long and pixels that do not fit are beyond what a schema can say.
negative_data_rejection.expected-statuses = [400, 403, 404, 405, 409, 413, 422]
positive_data_acceptance.expected-statuses = ["2xx", 304, 404, 409, 413, 422]

# As are a graph, bytes of the digest that the path names, and what that gate has: its images, a route to take again.
[[operations]]
include-path = [
  "/gatebus/jobs", "/gatebus/jobs/inputs/{digest}", "/gatebus/gates/{gate_id}/route", "/gatebus/gates/{gate_id}/again",
]
checks.positive_data_acceptance.enabled = false
"""


class Farm:
    """A broker on a port, over a Redis that holds some of everything."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.store: Store = open_store(replace(Settings(), store_url=redis_url), folder / "disk", folder / "state")
        self.jobs = open_jobs(self.store, folder / "state")
        self.app = make_app(self.store, folder / "state", jobs=self.jobs)
        self.url = ""
        batch = np.zeros((2, SIZE[1], SIZE[0], 3), np.float32)
        preview, image = codec.preview_jpeg(batch), codec.encode(batch, "png")
        for title in ("waits", "decided", "waits too"):
            gate = Gate(uuid.uuid4().hex, width=SIZE[0], height=SIZE[1], batch=2, routes=GATE_ROUTES, title=title)
            waiter = self.store.gates.open(gate, preview)
            waiter.store_image(image)
            if title == "decided":
                self.store.gates.decide(gate.id, make_decision("route", 1))
        # Parked ones: one to decide, one from which a run may go on once more.
        for title in ("parked", "to run again"):
            prompt = uuid.uuid4().hex
            gate = Gate(uuid.uuid4().hex, width=SIZE[0], height=SIZE[1], batch=2, title=title, prompt_id=prompt)
            waiter = self.store.gates.open(gate, preview)
            waiter.store_image(image)
            waiter.store_continuation(b"how it goes on")
            self.store.gates.park([waiter])
            if title == "to run again":
                self.store.gates.decide(gate.id, make_decision("cancel"))
        pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        self.store.buses.publish("cp1", batch, batch[..., 0])
        self.store.pools.add("faces", [(codec.encode_png(pixels), label) for label in ("one", "two")])

    @contextmanager
    def serve(self) -> Iterator[None]:
        loop = asyncio.new_event_loop()
        runner = web.AppRunner(self.app, max_line_size=LINE_LIMIT)
        thread = threading.Thread(target=loop.run_forever, daemon=True)

        async def start() -> None:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

        thread.start()
        asyncio.run_coroutine_threadsafe(start(), loop).result(30)
        yield
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        self.jobs.close()
        self.store.close()


@pytest.fixture(scope="module")
def farm(shared_redis: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    farm = Farm(shared_redis.url, tmp_path_factory.mktemp("openapi"))
    with farm.serve():
        yield farm


def test_the_served_document_is_valid_and_holds_every_route(farm: Farm) -> None:
    document = httpx.get(f"{farm.url}/openapi.json").json()
    validate(document)
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item if path not in SERVICE
    }
    assert described == {(route.method, route.path) for route in ROUTES}
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    names = [operation["operationId"] for operation in operations if "operationId" in operation]
    assert len(set(names)) == len(names)


def test_every_route_answers_as_the_document_says(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG, encoding="utf-8")
    command = [str(Path(sys.executable).with_name("st")), "--config-file", "schemathesis.toml", "run"]
    command += [f"{farm.url}/openapi.json", "--exclude-path", "/gatebus/events", "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1"]
    root = Path(__file__).resolve().parents[2]
    environ = {**os.environ, "PYTHONPATH": str(root), "SCHEMATHESIS_HOOKS": "tests.service.openapi_hooks"}
    fuzzed = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert fuzzed.returncode == 0, fuzzed.stdout[-8000:] + fuzzed.stderr[-2000:]
    (tested,) = re.findall(r"Tested: (\d+)", fuzzed.stdout)
    assert int(tested) >= len(ROUTES)
