"""Parked gates on a farm of two ComfyUI processes and two brokers, where everything is killed: nothing is lost,
nothing runs twice, and the queue moves all the time."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from redis_server import RedisServer

from gates.gate.record import Gate, make_decision
from tests.comfyui.farm import LIMIT, Farm, Tab, until
from tests.comfyui.graphs import Graph, node, noise
from tests.comfyui.process import ComfyUI
from tests.service.processes import Command
from tests.web.conftest import browser as browser

pytestmark = [pytest.mark.timeout(1500), pytest.mark.slow]

PROMPTS = 100


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Farm]:
    # A process that is gone counts as gone within seconds.
    for name in ("GATEBUS_LEASE", "GATEBUS_TICK"):
        monkeypatch.setenv(name, "3" if name == "GATEBUS_LEASE" else "0.5")
    server = RedisServer(tmp_path, appendonly=True)
    server.start()
    farm = Farm(tmp_path, server, monkeypatch, GATEBUS_LEASE="3", GATEBUS_TICK="0.5")
    try:
        farm.start()
        yield farm
    finally:
        farm.stop()
        server.stop()


def chain(number: int, name: str, when_waiting: str) -> Graph:
    """noise -> a saver beside the gate, and the gate -> a saver of the inverted image, or one of the image as it is."""
    return {
        "1": noise(seed=number, exact=True),
        "2": node("SaveImage", images=["1", 0], filename_prefix=f"{name}-{number}-side"),
        "12:3": node("ImageGate", routes=2, image=["1", 0], when_waiting=when_waiting, labels="keep\nredo"),
        "4": node("ImageInvert", image=["12:3", 1]),
        "5": node("SaveImage", images=["4", 0], filename_prefix=f"{name}-{number}-route-1"),
        "6": node("SaveImage", images=["12:3", 2], filename_prefix=f"{name}-{number}-route-2"),
    }


def queue(comfyui: ComfyUI, graph: Graph) -> str:
    workflow = {"id": "0c8e", "nodes": [], "extra": {"name": "portraits"}}
    body = {"prompt": graph, "client_id": uuid.uuid4().hex, "extra_data": {"extra_pnginfo": {"workflow": workflow}}}
    return str(comfyui.ask("/prompt", body)["prompt_id"])


def ended(comfyui: ComfyUI, prompt: str) -> str:
    """The status of the prompt, once it has ended."""
    history = until(lambda: comfyui.ask(f"/history/{prompt}").get(prompt), f"prompt {prompt} ends")
    return str(history["status"]["status_str"])


def saved(farm: Farm, name: str) -> dict[str, Path]:
    """Every file that was saved for those prompts: ``NUMBER-what_00001_`` -> path."""
    found = [path for comfyui in farm.comfyuis for path in (comfyui.base / "output").glob(f"{name}-*.png")]
    assert len({path.name for path in found}) == len(found), "saved on both instances"
    return {path.stem.removeprefix(f"{name}-"): path for path in found}


def parked(farm: Farm) -> list[Gate]:
    return [gate for gate in farm.store.gates.records() if gate.status == "parked"]


def by_command(*arguments: str) -> None:
    command = Command(arguments)
    assert command.process.wait(LIMIT) == 0, command.lines


def route_of(number: int) -> int:
    return 1 + number % 2


def test_a_hundred_parked_prompts_survive_that_everything_is_killed(farm: Farm) -> None:
    # The held run, which the parked one must equal.
    held = [queue(farm.comfyuis[number % 2], chain(number, "held", "hold")) for number in range(PROMPTS)]
    for _ in held:
        gate_id = until(farm.waiting, "a held gate waits")[0]
        number = held.index(farm.store.gates.get(gate_id).prompt_id)
        farm.store.gates.decide(gate_id, make_decision("route", route_of(number)))
    for number, prompt in enumerate(held):
        assert ended(farm.comfyuis[number % 2], prompt) == "success"

    prompts = [queue(farm.comfyuis[number % 2], chain(number, "parked", "park")) for number in range(PROMPTS)]
    for number, prompt in enumerate(prompts):
        assert ended(farm.comfyuis[number % 2], prompt) == "success"
    gates = {prompts.index(gate.prompt_id): gate.id for gate in parked(farm)}
    assert len(gates) == PROMPTS
    assert set(saved(farm, "parked")) == {f"{number}-side_00001_" for number in range(PROMPTS)}
    # The queue is free: another prompt runs while a hundred wait.
    for comfyui in farm.comfyuis:
        assert comfyui.ask("/queue") == {"queue_running": [], "queue_pending": []}
        free = {"1": noise(seed=7), "2": node("SaveImage", images=["1", 0], filename_prefix="free")}
        assert ended(comfyui, queue(comfyui, free)) == "success"

    for comfyui in farm.comfyuis:
        comfyui.stop()
    for number in range(2):
        farm.kill_broker(number)
    farm.redis.kill()
    farm.redis.start()
    farm.start_broker(0)
    assert len(until(lambda: parked(farm), "the parked gates are there")) == PROMPTS

    # Half is decided while no ComfyUI is there, the rest afterwards.
    with ThreadPoolExecutor(3) as commands:
        first = [commands.submit(by_command, "route", gates[n], str(route_of(n))) for n in range(PROMPTS // 2)]
        for done in first:
            done.result()
        for comfyui in farm.comfyuis:
            comfyui.start()
        farm.start_broker(1)
        rest = [commands.submit(by_command, "route", gates[n], str(route_of(n))) for n in range(PROMPTS // 2, PROMPTS)]
        for done in rest:
            done.result()

    states: Counter[str] = Counter()

    def all_done() -> bool:
        nonlocal states
        states = Counter(gate.run for gate in farm.store.gates.some(list(gates.values())))
        return states == {"done": PROMPTS}

    until(all_done, "every continuation is done", limit=300)
    expected = {f"{n}-side_00001_" for n in range(PROMPTS)} | {
        f"{n}-route-{route_of(n)}_00001_" for n in range(PROMPTS)
    }
    files, reference = saved(farm, "parked"), saved(farm, "held")
    assert set(files) == set(reference) == expected, "each saver behind a chosen route has run once, no other"
    for name, path in files.items():
        with Image.open(path) as image, Image.open(reference[name]) as other:
            assert np.array_equal(np.asarray(image), np.asarray(other)), name
            assert json.loads(image.info["workflow"])["extra"]["name"] == "portraits"
    decided = [entry for entry in farm.store.decisions.read("", 10_000) if entry.gate in set(gates.values())]
    assert Counter(entry.kind for entry in decided) == {"route": PROMPTS, "end": PROMPTS}


def two_gates(number: int) -> Graph:
    """noise -> first gate (in a subgraph) -> invert -> second gate -> saver; routes 2 of both have savers too."""
    name = f"two-{number}"
    return {
        "1": noise(seed=number, exact=True),
        "12:3": node("ImageGate", routes=2, image=["1", 0], when_waiting="park", labels="on\nout"),
        "4": node("ImageInvert", image=["12:3", 1]),
        "5": node("ImageGate", routes=2, image=["4", 0], when_waiting="park", labels="keep\nredo"),
        "6": node("SaveImage", images=["5", 1], filename_prefix=f"{name}-end-1"),
        "7": node("SaveImage", images=["5", 2], filename_prefix=f"{name}-end-2"),
        "8": node("SaveImage", images=["12:3", 2], filename_prefix=f"{name}-out"),
        "9": node("SaveImage", images=["1", 0], filename_prefix=f"{name}-side"),
    }


@dataclass
class Asked:
    """The gates of the three prompts, by prompt and node, as they come up."""

    farm: Farm
    families: list[str]
    seen: dict[tuple[int, str], str] = field(default_factory=dict)

    def gate(self, number: int, node_id: str) -> str:
        """The parked gate of that node of that prompt, as soon as it is there; there is never another one."""

        def found() -> list[str]:
            return [
                gate.id
                for gate in parked(self.farm)
                if (gate.family or gate.prompt_id) == self.families[number] and gate.node_id == node_id
            ]

        ids: list[str] = until(found, f"gate {node_id} of prompt {number} is parked", limit=120)
        assert len(ids) == 1
        assert self.seen.setdefault((number, node_id), ids[0]) == ids[0]
        return ids[0]


def test_two_gates_in_a_row_go_on_whoever_is_killed(farm: Farm, browser: Any) -> None:
    one = farm.comfyuis[0]
    window = {"width": 1280, "height": 2000}
    prompts = [queue(farm.comfyuis[number % 2], two_gates(number)) for number in range(3)]
    for number, prompt in enumerate(prompts):
        assert ended(farm.comfyuis[number % 2], prompt) == "success"
    asked = Asked(farm, prompts)
    firsts = [asked.gate(number, "12:3") for number in range(3)]

    # A tab is closed hard in the moment of its decision; the next one shows what still waits, no more and no less.
    tab = Tab(browser, farm.url(0), viewport=window)
    tab.shows(firsts)
    tab.route(firsts[0], 1, farm.decided)
    tab.context.close()
    tab = Tab(browser, farm.url(1), viewport=window)
    # A broker dies after a decision, another one takes its run on.
    farm.kill_broker(0)
    second = asked.gate(0, "5")
    tab.shows([second, *firsts[1:]])

    # Redis dies between two decisions.
    farm.redis.kill()
    farm.redis.start()
    by_command("route", firsts[1], "1")
    third = asked.gate(1, "5")

    # A ComfyUI dies; what it parked goes on at the other one.
    one.stop()
    tab.shows([second, third, firsts[2]])
    tab.route(second, 2, farm.decided)
    by_command("route", third, "1")
    by_command("route", firsts[2], "2")
    gates = [*asked.seen.values()]
    until(
        lambda: all(gate.run == "done" for gate in farm.store.gates.some(gates)),
        "every continuation is done",
        limit=200,
    )
    one.start()
    farm.start_broker(0)

    tab.shows([])
    files = set(saved(farm, "two"))
    assert files == {
        *(f"{number}-side_00001_" for number in range(3)),
        "0-end-2_00001_",
        "1-end-1_00001_",
        "2-out_00001_",
    }
    log = [entry for entry in farm.store.decisions.read("", 1000) if entry.gate in gates]
    assert Counter((entry.kind, entry.outcome) for entry in log) == {("route", ""): 5, ("end", "applied"): 5}
    for comfyui in farm.comfyuis:
        assert comfyui.ask("/queue") == {"queue_running": [], "queue_pending": []}


def test_a_continuation_whose_node_class_is_missing_goes_to_the_other_instance(farm: Farm) -> None:
    two = farm.comfyuis[1]
    only = Path(__file__).with_name("probe_only_here.py")
    (two.base / "custom_nodes" / only.name).write_text(only.read_text())
    two.restart()
    graph = chain(1, "only", "park")
    graph["4"] = node("ProbeOnlyHere", image=["12:3", 1])
    prompt = queue(two, graph)
    assert ended(two, prompt) == "success"
    gate = until(lambda: parked(farm), "the gate is parked")[0]
    by_command("route", gate.id, "1")
    done = until(lambda: (found := farm.store.gates.get(gate.id)).run == "done" and found, "the run is done", limit=120)
    assert done.run_on == "two"
    assert set(saved(farm, "only")) == {"1-side_00001_", "1-route-1_00001_"}
    assert (two.base / "output" / "only-1-route-1_00001_.png").exists()
