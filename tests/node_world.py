"""A door to no ComfyUI, for tests of the nodes: it stands where ``gates.comfy`` leads into the real one."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with ComfyUI, or with the extra 'test'")

from gates import comfy  # noqa: E402
from gates.settings import Settings  # noqa: E402
from gates.store import Store, open_store  # noqa: E402


class Stopped(Exception):
    """What ComfyUI's own exception is to the nodes."""


class Blocker:
    """What ComfyUI's ExecutionBlocker is to the nodes."""


class Door:
    """ComfyUI as far as the nodes see it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.flag = False
        self.announced: list[str] = []
        self.notices: list[str] = []
        self.seen = 0
        self.watched: set[str] = set()
        self.item = 0

    def place(self, unique_id: str, dynprompt: Any, extra_pnginfo: Any) -> comfy.Place:
        self.item += 1
        return comfy.Place("prompt", unique_id, unique_id, self.item - 1, "tab", "title", "workflow")

    def interrupted(self) -> bool:
        return self.flag

    def interrupt(self) -> None:
        self.flag = True

    def interruption(self) -> BaseException:
        return Stopped()

    def blocker(self) -> Any:
        return Blocker()

    def announce(self, at: comfy.Place, gate_id: str) -> None:
        self.announced.append(gate_id)

    def notice(self, at: comfy.Place, severity: str, text: str) -> None:
        self.notices.append(text)

    def store(self) -> Store:
        return self._store

    def outputs(self, prompt_id: str) -> tuple[str, ...]:
        return ()

    def lazy_inputs(self, classes: Iterable[str]) -> dict[str, tuple[str, ...]]:
        return {}

    def watch_prompt(self, prompt_id: str) -> None:
        self.watched.add(prompt_id)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(Settings.from_env({}), tmp_path / "input", tmp_path / "user")
    yield store
    store.close()


@pytest.fixture
def door(store: Store, monkeypatch: pytest.MonkeyPatch) -> Door:
    door = Door(store)
    for name, own in inspect.getmembers(door, inspect.ismethod):
        if not name.startswith("_"):
            # The stand-in can't drift from what it stands for.
            assert list(inspect.signature(own).parameters) == list(
                inspect.signature(getattr(comfy, name)).parameters
            ), name
            monkeypatch.setattr(comfy, name, own)
    return door


def image(batch: int = 1, height: int = 8, width: int = 12) -> torch.Tensor:
    return torch.rand(batch, height, width, 3)


async def opened(door: Door, count: int = 1) -> list[str]:
    """The ids of the gates that were announced since the last call, once there are so many."""
    for _ in range(500):
        fresh = door.announced[door.seen :]
        if len(fresh) >= count:
            door.seen += len(fresh)
            return fresh
        await asyncio.sleep(0.01)
    raise AssertionError(f"{len(door.announced) - door.seen} of {count} gates opened")


async def ends(task: asyncio.Task[Any], kind: type[BaseException]) -> float:
    """Seconds until the task ends with that exception."""
    start = time.monotonic()
    with pytest.raises(kind):
        await asyncio.wait_for(task, 10)
    return time.monotonic() - start


def status(door: Door, gate: str) -> tuple[str, str]:
    record = door.store().gates.get(gate)
    return record.status, record.outcome
