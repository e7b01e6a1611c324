"""A farm for tests: stand-ins of ComfyUI and brokers, on the loop of the test."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from comfy_server import ComfyServer
from PIL import Image

from broker.comfyui.client import ComfyClient
from broker.comfyui.connection import Limits as ClientLimits
from broker.comfyui.following import Pace
from broker.farm.dispatcher import Dispatcher
from broker.farm.needs import needs_of
from broker.jobs.record import Input, Job
from broker.jobs.store import JobStore
from gates.store import Store

LEASE = 1.5
"""Seconds, of a job's broker."""

FAST = Pace(connected=0.2, alone=0.1, grace=0.3)


def quick_client(url: str) -> ComfyClient:
    return ComfyClient(url, limits=ClientLimits(connect=1, timeout=5, patience=0.4), pace=FAST, away=0.5)


class Farm:
    """Two stand-ins and any number of brokers, on the loop of the test."""

    def __init__(self, store: Store, open_jobs: Callable[[], JobStore], servers: list[ComfyServer]) -> None:
        self.store = store
        self.jobs = open_jobs()
        self.servers = servers
        self._open_jobs = open_jobs
        self.brokers: list[asyncio.Task[None]] = []

    def broker(self, **options: Any) -> asyncio.Task[None]:
        urls = [server.url for server in self.servers]
        made = Dispatcher(
            self.store, self._open_jobs(), lease=LEASE, **{"listed": urls, "client_of": quick_client, **options}
        )
        self.brokers.append(asyncio.create_task(made.run()))
        return self.brokers[-1]

    def submit(self, graph: dict[str, Any], inputs: tuple[Input, ...] = (), **values: Any) -> Job:
        needs = needs_of(graph)
        prompt = self.jobs.put_blob(json.dumps({"prompt": graph, "extra_data": {}}).encode())
        given = {"submitter": "ann", **values}
        return self.jobs.submit(
            Job(uuid.uuid4().hex, prompt=prompt, inputs=inputs, nodes=needs.nodes, models=needs.models, **given)
        )

    def runs(self, job: Job, name: str = "") -> list[str]:
        """Files that finished copies of the job have written, at any instance."""
        return [
            file.name for server in self.servers for file in server.folders["output"].rglob(f"{name or job.title}_*")
        ]

    async def until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while not await asyncio.to_thread(condition):
            assert asyncio.get_running_loop().time() < deadline, [each.to_json() for each in self.jobs.page(5)[0]]
            await asyncio.sleep(0.02)

    async def ended(self, job: Job, seconds: float = 20) -> Job:
        await self.until(lambda: self.jobs.get(job.id).has_ended, seconds)
        return self.jobs.get(job.id)

    def state(self, job: Job) -> str:
        return self.jobs.get(job.id).state


@asynccontextmanager
async def servers(tmp_path: Path, count: int) -> AsyncIterator[list[ComfyServer]]:
    made = [ComfyServer(tmp_path / f"comfy{number}", jobs=bool(number)) for number in range(count)]
    for server in made:
        await server.start()
    yield made
    for server in made:
        if server._runner is not None:
            await server.stop()


def graph(seconds: float = 0.0, prefix: str = "out", seed: int = 0, kind: str = "ProbeBusy") -> dict[str, Any]:
    noise = {"width": 8, "height": 8, "batch": 1, "seed": seed, "exact": False}
    busy = {"image": ["1", 0], "seconds": seconds} if kind == "ProbeBusy" else {"image": ["1", 0]}
    return {
        "1": {"class_type": "ProbeNoise", "inputs": noise},
        "2": {"class_type": kind, "inputs": busy},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": prefix}},
    }


def png(shade: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def at(farm: Farm, job: Job) -> int:
    """Which of the servers has it."""
    urls = [server.url for server in farm.servers]
    return urls.index(farm.jobs.get(job.id).url)
