"""What the tests of the client share: graphs, a quick client, and a stand-in of every kind of core."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

from comfy_server import ComfyServer
from PIL import Image

from broker.comfyui.client import ComfyClient
from broker.comfyui.connection import Limits
from broker.comfyui.following import Pace

Graph = dict[str, dict[str, Any]]

QUICK = Pace(connected=0.5, alone=0.05, hurried=0.01, grace=0.3, quiet=0.5)
SHORT = Limits(connect=2.0, timeout=2.0, patience=5.0)


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def saved(seed: int = 1, **more: Any) -> Graph:
    """Runs at once: EmptyImage (1), SaveImage (2)."""
    return {
        "1": node("EmptyImage", width=32, height=16, batch_size=1, color=seed),
        "2": node("SaveImage", images=["1", 0], filename_prefix="test/x"),
        **more,
    }


def busy(seconds: float = 60.0) -> Graph:
    """Runs until it is interrupted, or so long: EmptyImage (1), ProbeBusy (2), PreviewImage (3)."""
    return {
        "1": node("EmptyImage", width=32, height=16, batch_size=1, color=1),
        "2": node("ProbeBusy", image=["1", 0], seconds=seconds),
        "3": node("PreviewImage", images=["2", 0]),
    }


def steps(count: int = 4, seconds: float = 0.02, seed: int = 1) -> Graph:
    """Tells of steps: EmptyImage (1), ProbeSteps (2), PreviewImage (3)."""
    return {
        "1": node("EmptyImage", width=32, height=16, batch_size=1, color=seed),
        "2": node("ProbeSteps", image=["1", 0], steps=count, seconds=seconds),
        "3": node("PreviewImage", images=["2", 0]),
    }


def png(width: int = 32, height: int = 16, colour: Any = (1, 2, 3), mode: str = "RGB") -> bytes:
    buffer = BytesIO()
    Image.new(mode, (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


@asynccontextmanager
async def client_of(server: ComfyServer, **options: Any) -> AsyncIterator[ComfyClient]:
    async with ComfyClient(server.url, **{"pace": QUICK, "limits": SHORT, "away": 10.0, **options}) as client:
        yield client


async def until(true: Callable[[], Any], what: str, limit: float = 10.0) -> None:
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, f"not in {limit} s: {what}"
        await asyncio.sleep(0.005)
