"""Stand-ins of ComfyUI that share a store, as the pack in them does: gates that park there, and go on anywhere."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from comfy_nodes import IMAGE, PREFIX, SAVES, Node, Run, save
from comfy_server import ComfyServer

from gates import codec
from gates.continuation import recorded
from gates.errors import GateBusy, StoreUnavailable
from gates.gate.record import Gate, make_decision
from gates.instances.record import Instance
from gates.settings import Settings
from gates.store import Store, open_store

LEASE = 2.0
"""Seconds, of an instance."""

PIXELS = np.zeros((1, 8, 8, 3), np.float32)


class Studio:
    """A ComfyUI with the pack: it announces itself, resumes gates, and tells of the prompts that have ended."""

    def __init__(self, server: ComfyServer, settings: Settings, folder: Path, name: str) -> None:
        self.server = server
        self.name = name
        self.tells = True
        """Whether it tells how its prompts ended."""
        self.store: Store = open_store(replace(settings, instance=name, lease=LEASE, tick=0.2), folder, folder)
        self.applied: list[str] = []
        """Gates whose decision it carried out, once for each time."""
        self._told: set[str] = set()
        self._life: asyncio.Task[None] | None = None
        server.prompts.studio = self  # type: ignore[attr-defined]

    def start(self) -> None:
        self._life = asyncio.create_task(self._live())

    async def die(self) -> None:
        """As a process that is killed: it withdraws nothing and tells nobody."""
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)
            self._life = None
            await self.server.stop()

    async def close(self) -> None:
        await self.die()
        await asyncio.to_thread(self.store.close)

    async def _live(self) -> None:
        while True:
            queue = len(self.server.prompts.queue)
            shown = Instance(name=self.name, url=self.server.url, reach="setting", pending=queue)
            ends = {}
            for prompt_id, entry in list(self.server.prompts.history.items()):
                told = dict(entry["status"]["messages"]).get("execution_error", {})
                ends[prompt_id] = told.get("exception_message", "")
            with suppress(StoreUnavailable):
                await asyncio.to_thread(self.store.instances.announce, shown)
                if self.tells:
                    new = {prompt_id: error for prompt_id, error in ends.items() if prompt_id not in self._told}
                    await asyncio.to_thread(self.store.gates.prompts_ended, new)
                    self._told |= set(new)
            await asyncio.sleep(0.2)


async def image_gate(run: Run, resume: str = "", **_: Any) -> Any:
    """What the node does in a run that goes on."""
    studio: Studio = run.server.studio
    gate_id, _, decision_id = resume.partition(":")
    while True:
        run.check()
        try:
            waiter = await asyncio.to_thread(studio.store.gates.resume, gate_id, decision_id, run.prompt_id)
            await asyncio.to_thread(waiter.apply)
            break
        except (GateBusy, StoreUnavailable):
            await asyncio.sleep(0.1)
    studio.applied.append(gate_id)
    return ((PIXELS * 255).astype(np.uint8),) * 11, None


async def continued(run: Run, passed: Any) -> Any:
    return (), None


async def broken(run: Run, images: Any, filename_prefix: str) -> Any:
    raise ValueError(f"out of {filename_prefix.removeprefix('redone')}")


NODES = {
    "ImageGate": Node({"routes": ["INT", {"default": 2}]}, ("IMAGE",) * 11, image_gate, changes=True),
    "GatebusContinued": Node({"passed": IMAGE}, (), continued, is_output=True, changes=True),
    "Broken": Node({"images": IMAGE, "filename_prefix": PREFIX}, (), broken, is_output=True, changes=True),
    # Saves what one instance alone can save.
    "OnlyHere": Node({"images": IMAGE, "filename_prefix": PREFIX}, (), save, **SAVES),  # type: ignore[arg-type]
}
"""Into those of the stand-ins: ``monkeypatch.setitem(comfy_nodes.NODES, …)``."""


def prompt(seconds: float = 0.0, kind: str = "SaveImage", name: str = "") -> dict[str, Any]:
    """Noise, a gate, and a file for each of its two routes: ``kept`` and ``redone``, with the name behind."""
    noise = {"width": 8, "height": 8, "batch": 1, "seed": 0, "exact": False}
    return {
        "1": {"class_type": "ProbeNoise", "inputs": noise},
        "2": {"class_type": "ImageGate", "inputs": {"image": ["1", 0], "routes": 2}},
        "3": {"class_type": "ProbeBusy", "inputs": {"image": ["2", 1], "seconds": seconds}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": f"kept{name}"}},
        "5": {"class_type": kind, "inputs": {"images": ["2", 2], "filename_prefix": f"redone{name}"}},
    }


def parked(store: Store, graph: dict[str, Any] | None = None, title: str = "portrait") -> Gate:
    """A gate that parked in a prompt that is over."""
    prompt_id = str(uuid.uuid4())
    size = {"width": 8, "height": 8, "batch": 1}
    gate = Gate(
        uuid.uuid4().hex, title=title, prompt_id=prompt_id, node_id="2", routes=2, labels=("keep", "redo"), **size
    )
    waiter = store.gates.open(gate, codec.preview_jpeg(PIXELS))
    waiter.store_image(codec.encode(PIXELS, "exact"))
    whole = recorded(graph or prompt(), "2", ("4", "5"), {"workflow": {"id": "w"}}, {}, {})
    waiter.store_continuation(whole.to_bytes())
    assert store.gates.park([waiter])
    store.gates.prompts_ended({prompt_id: ""})
    return store.gates.get(gate.id)


def decided(store: Store, gate: Gate, route: int = 1, by: str = "anna") -> Gate:
    return store.gates.decide(gate.id, make_decision("route", route, by=by))


def files(studio: Studio, prefix: str) -> list[str]:
    """The files of that name that the stand-in has written."""
    return sorted(file.name for file in studio.server.folders["output"].glob(f"{prefix}_*"))
