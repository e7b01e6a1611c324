"""A farm as people run it: two ComfyUIs and two brokers on one Redis, decided from everywhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer

from tests.comfyui.farm import LIMIT, Farm, Tab, until
from tests.comfyui.process import is_available
from tests.service.processes import Command
from tests.web.conftest import browser as browser

pytestmark = [pytest.mark.comfyui, pytest.mark.timeout(900), pytest.mark.slow]

EACH = 25
"""Gates that wait in each ComfyUI."""

TALL = {"width": 1280, "height": 9000}
"""A window in which every card is in view, so that the page holds them all."""


@pytest.fixture
def farm(redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Farm]:
    if reason := is_available():
        pytest.skip(reason)
    farm = Farm(tmp_path, redis_server, monkeypatch)
    try:
        farm.start()
        yield farm
    finally:
        farm.stop()


def graph(name: str) -> dict[str, Any]:
    """A prompt of as many gates as wait at once, each between noise and two savers."""
    nodes: dict[str, Any] = {}
    for number in range(EACH):
        image, gate = f"{number}1", f"{number}2"
        nodes[image] = {
            "class_type": "ProbeNoise",
            "inputs": {"width": 64, "height": 48, "batch": 1, "seed": number, "exact": False},
        }
        nodes[gate] = {
            "class_type": "ImageGate",
            "inputs": {"routes": 2, "image": [image, 0], "labels": "keep\nredo", "note": f"note of {name} {number}"},
            "_meta": {"title": f"{name} {number}"},
        }
        for route in (1, 2):
            nodes[f"{number}{route + 2}"] = {
                "class_type": "SaveImage",
                "inputs": {"images": [gate, route], "filename_prefix": f"{name}-{number}-route-{route}"},
            }
    return nodes


def ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=30
    ) as answer:
        return json.loads(answer.read())


def test_fifty_gates_are_routed_from_everywhere_while_a_broker_dies(farm: Farm, browser: Any) -> None:
    one, two = farm.comfyuis
    prompts = {
        comfyui.url: ask(f"{comfyui.url}/prompt", {"prompt": graph(name), "client_id": uuid.uuid4().hex})["prompt_id"]
        for comfyui, name in ((one, "one"), (two, "two"))
    }
    until(lambda: len(farm.waiting()) == 2 * EACH, f"{2 * EACH} gates wait")
    left = farm.waiting()
    desk = Tab(browser, farm.url(0), viewport=TALL)
    phone = Tab(browser, farm.url(1), viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    desk.shows(left)
    taken: dict[str, int] = {}

    def take(count: int, decide: Callable[[str, int], object]) -> None:
        for number in range(count):
            gate_id, route = left.pop(0), 1 + number % 2
            taken[gate_id] = route
            decide(gate_id, route)

    def by_desk(gate_id: str, route: int) -> None:
        desk.route(gate_id, route, farm.decided)

    # A person at a desk, on the first broker.
    take(10, by_desk)
    desk.shows(left)
    # A phone, on the second one: the list's order is the same, so what is next is at its top.
    take(10, lambda gate_id, route: phone.route(gate_id, route, farm.decided, tap=True))
    desk.shows(left)

    # The first broker dies; what is decided meanwhile is decided elsewhere.
    farm.kill_broker(0)
    desk.page.wait_for_selector("html:not([data-connection=on])", timeout=LIMIT * 1000, state="attached")
    for gate_id in left[:10]:
        assert shutil.which("redis-cli"), "redis-cli comes with redis-server"
        cli = ["redis-cli", "-p", str(farm.redis.port), "HGET", f"{{gatebus}}:gate:{gate_id}", "note"]
        assert subprocess.run(cli, capture_output=True, text=True, check=True).stdout.startswith("note of ")

    def by_command(gate_id: str, route: int) -> None:
        command = Command(["route", gate_id, str(route), "--by", "ben"])
        assert command.process.wait(LIMIT) == 0, command.lines

    def by_curl(gate_id: str, route: int) -> None:
        url = f"{farm.url(1)}/gatebus/gates/{gate_id}/route"
        body = json.dumps({"route": route, "by": "curl"})
        curl = ["curl", "-sS", "--fail-with-body", "-H", "Content-Type: application/json", "-d", body, url]
        subprocess.run(curl, capture_output=True, check=True, timeout=LIMIT)

    take(10, by_command)
    take(10, by_curl)
    farm.start_broker(0)
    desk.connected()
    # Neither missed nor doubled: what was decided while the page heard nothing is gone, the rest is there once.
    desk.shows(left)
    take(10, by_desk)
    desk.shows([])
    assert left == []

    for url, prompt in prompts.items():
        history = until(lambda url=url, prompt=prompt: ask(f"{url}/history/{prompt}").get(prompt), "the prompt ends")
        assert history["status"]["status_str"] == "success"
    # Exactly the savers behind the chosen routes have run, and each gate was decided once.
    saved = Counter(
        path.name.rsplit("_", 2)[0] for comfyui in farm.comfyuis for path in (comfyui.base / "output").glob("*.png")
    )
    titles = {gate_id: farm.store.gates.get(gate_id).title.replace(" ", "-") for gate_id in taken}
    assert saved == Counter(f"{titles[gate_id]}-route-{route}" for gate_id, route in taken.items())
    log = ask(f"{farm.url(0)}/gatebus/decisions?limit=1000")["decisions"]
    assert Counter(row["gate"] for row in log) == Counter(taken.keys())
    assert {row["gate"]: row["route"] for row in log} == taken
    assert Counter(row["by"] for row in log) == {"anna": 30, "ben": 10, "curl": 10}
    assert all(row["digest"] for row in log)
