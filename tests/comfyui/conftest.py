"""Real ComfyUI processes for the whole run: starting one takes ten seconds and more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.comfyui.process import ComfyUI, is_available

PROBES = Path(__file__).with_name("probes.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = is_available()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.comfyui)
            item.add_marker(pytest.mark.timeout(600))
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def start_comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ComfyUI]]:
    """Starts a ComfyUI with these ``GATEBUS_*`` settings; all end with the run."""
    started: list[ComfyUI] = []

    def start(name: str, **environ: str) -> ComfyUI:
        comfyui = ComfyUI(tmp_path_factory.mktemp(name), environ, [PROBES])
        started.append(comfyui)
        comfyui.start()
        return comfyui

    yield start
    for comfyui in started:
        comfyui.stop()


@pytest.fixture(scope="session")
def alone(start_comfyui: Callable[..., ComfyUI]) -> ComfyUI:
    """A ComfyUI without Redis."""
    return start_comfyui("alone", GATEBUS_INSTANCE="alone")


@pytest.fixture(scope="session")
def farm_redis(shared_redis: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The Redis that ``one`` and ``two`` share; tests may freeze, kill and start it again."""
    server = type(shared_redis)(tmp_path_factory.mktemp("farm-redis"), appendonly=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def one(start_comfyui: Callable[..., ComfyUI], farm_redis: Any) -> ComfyUI:
    """A ComfyUI on the shared Redis."""
    return start_comfyui("one", GATEBUS_INSTANCE="one", GATEBUS_STORE_URL=farm_redis.url)


@pytest.fixture(scope="session")
def two(start_comfyui: Callable[..., ComfyUI], farm_redis: Any) -> ComfyUI:
    """Another ComfyUI on the same Redis."""
    return start_comfyui("two", GATEBUS_INSTANCE="two", GATEBUS_STORE_URL=farm_redis.url)
