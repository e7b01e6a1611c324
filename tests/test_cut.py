"""The prompt that runs on from a decided gate: by examples, and against a small ComfyUI that holds."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gates.continuation import Continuation, recorded
from gates.cut import BLOCKED, GATE_NODES, SINK_NODE, cut, run_id
from gates.errors import Conflict
from gates.gate.record import MAX_ROUTES, Decision, Gate, make_decision

Prompt = dict[str, dict[str, Any]]
BLOCKER = object()


# -- a small ComfyUI ----------------------------------------------------------------------
def is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


@dataclass
class World:
    """The store, and what was saved by whom: ``Save`` nodes tell, gates park or hold, a person has a plan."""

    plan: dict[str, int]
    """Gate node -> the route that is decided there."""
    holds: frozenset[str] = frozenset()
    """Gate nodes that hold; the others park."""
    gates: dict[str, Gate] = field(default_factory=dict)
    images: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Continuation] = field(default_factory=dict)
    saved: list[tuple[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    clock: int = 0

    def run(self, prompt: Prompt, prompt_id: str, outputs: Any = None) -> None:
        _Prompt(self, prompt, prompt_id).run(outputs)

    def open(self, prompt: Prompt, prompt_id: str, node: str, image: Any) -> Gate:
        self.clock += 1
        self.asked.append(node)
        family, _, whole = prompt[node]["inputs"].get("family", "").rpartition(":")
        gate = Gate(
            id=f"{self.clock:032x}",
            node_id=node,
            prompt_id=prompt_id,
            family=family or prompt_id,
            opened=self.clock,
            routes=3,
        )
        self.images[gate.id] = image
        self.kept[gate.id] = (
            replace(self.kept[whole], node=node) if whole else recorded(prompt, node, saves(prompt), {}, LAZY, {})
        )
        return gate

    def decide(self, gate: Gate, **changes: Any) -> Gate:
        decision = replace(make_decision("route", self.plan[gate.node_id]), id=f"d{gate.id[-6:]}")
        self.gates[gate.id] = replace(gate, decision=decision, status="decided", **changes)
        return self.gates[gate.id]

    def family(self, gate: Gate) -> list[Gate]:
        return [each for each in self.gates.values() if each.family == gate.family]

    def go_on(self, gate: Gate, seq: int) -> None:
        """The run from a decided, parked gate."""
        self.gates[gate.id] = gate = replace(self.gates[gate.id], run_seq=seq)
        made = cut(self.kept[gate.id], gate, self.family(gate))
        assert made.prompt[self.kept[gate.id].node]["inputs"]["resume"] == f"{gate.id}:{gate.decision.id}"
        self.run(made.prompt, run_id(gate, self.family(gate)), made.outputs)
        self.gates[gate.id] = replace(self.gates[gate.id], status="applied", run="done")


LAZY: dict[str, list[str]] = {}
"""Filled by each example: node -> lazy inputs."""


def saves(prompt: Prompt) -> list[str]:
    return [node for node, entry in prompt.items() if entry["class_type"] == "Save"]


class _Prompt:
    def __init__(self, world: World, prompt: Prompt, prompt_id: str) -> None:
        self.world, self.prompt, self.prompt_id = world, prompt, prompt_id
        self.outputs: dict[str, Any] = {}

    def run(self, outputs: Any) -> None:
        ends = [node for node, entry in self.prompt.items() if entry["class_type"] in ("Save", "GatebusContinued")]
        for node in ends if outputs is None else outputs:
            self.value(node)

    def value(self, node: str) -> Any:
        if node not in self.outputs:
            self.outputs[node] = self.made(node)
        return self.outputs[node]

    def come(self, value: Any) -> Any:
        if not is_link(value):
            return value
        outputs = self.value(value[0])
        return BLOCKER if outputs is BLOCKER else outputs[value[1]]

    def made(self, node: str) -> Any:
        entry = self.prompt[node]
        inputs = entry["inputs"]
        lazy = set(LAZY.get(node, ()))
        strict = {name: self.come(value) for name, value in inputs.items() if name not in lazy}
        if any(value is BLOCKER for value in strict.values()):
            return BLOCKER
        if entry["class_type"] in GATE_NODES:
            return self.gate(node, strict)
        if lazy:
            asked = self.come(inputs[strict["pick"]])
            return BLOCKER if asked is BLOCKER else [(node, asked)]
        if entry["class_type"] == "Save":
            self.world.saved.append((node, tuple(sorted(strict.items()))))
        return [(node, tuple(sorted(strict.items())), slot) for slot in range(3)]

    def gate(self, node: str, inputs: dict[str, Any]) -> Any:
        told = inputs.get("resume") or inputs.get("replay")
        if told == BLOCKED:
            return BLOCKER
        if told:
            gate = self.world.gates[told.split(":")[0]]
            assert gate.node_id == node
            assert told == f"{gate.id}:{gate.decision.id}"
            assert not any(is_link(value) for value in self.prompt[node]["inputs"].values())
            return self.passed(gate)
        gate = self.world.open(self.prompt, self.prompt_id, node, inputs.get("image"))
        if node in self.world.holds:
            return self.passed(self.world.decide(gate, outcome="applied") and self.applied(gate))
        self.world.gates[gate.id] = replace(gate, status="parked", parked=self.world.clock, group=gate.id, over=1)
        return BLOCKER

    def applied(self, gate: Gate) -> Gate:
        self.world.gates[gate.id] = replace(self.world.gates[gate.id], status="applied")
        return self.world.gates[gate.id]

    def passed(self, gate: Gate) -> Any:
        image = self.world.images[gate.id]
        assert gate.decision is not None
        return [
            ("mask", gate.node_id, image),
            *[("passed", image) if route == gate.decision.route else BLOCKER for route in range(1, MAX_ROUTES + 1)],
        ]


def held(prompt: Prompt, plan: dict[str, int]) -> World:
    """What happens when every gate holds."""
    world = World(plan, holds=frozenset(plan))
    world.run(prompt, "held")
    return world


def parked(prompt: Prompt, plan: dict[str, int], order: random.Random, holds: frozenset[str]) -> World:
    """What happens when gates park, and are decided and run on in that order."""
    world = World(plan, holds)
    world.run(prompt, "first")
    seq = itertools.count(1)
    decided: list[str] = []
    while True:
        waiting = [gate for gate in world.gates.values() if gate.status == "parked"]
        if waiting and (not decided or order.random() < 0.5):
            gate = order.choice(waiting)
            world.decide(gate)
            decided.append(gate.id)
        elif decided:
            world.go_on(world.gates[decided.pop(order.randrange(len(decided)))], next(seq))
        else:
            return world


# -- random prompts -----------------------------------------------------------------------
def prompt_of(chance: random.Random, lazy: bool) -> tuple[Prompt, dict[str, list[str]], dict[str, int]]:
    """A prompt of up to five gates among sources, nodes and outputs; its lazy inputs; the routes to be decided."""
    prompt: Prompt = {"0": {"class_type": "Source", "inputs": {"seed": 1}}}
    lazies: dict[str, list[str]] = {}
    plan: dict[str, int] = {}

    def link() -> list[Any]:
        source = chance.choice([node for node in prompt if not node.startswith("save")][-5:])
        if source in plan:
            # Mostly by what is live: else nearly nothing runs that is behind two gates.
            return [source, chance.choice([0, plan[source], plan[source], chance.randint(1, 3)])]
        return [source, 0 if prompt[source]["class_type"] == "Switch" else chance.randint(0, 2)]

    for number in range(1, chance.randint(3, 12)):
        node = str(number) if number % 3 else f"12:{number}"
        kind = chance.choice(["Node", "Node"] + ["ImageGate"] * 2 * (len(plan) < 5) + ["Switch"] * lazy)
        inputs: dict[str, Any] = {"image": link()}
        if kind == "ImageGate":
            plan[node] = chance.randint(1, 3)
            inputs |= {"routes": 3} | ({"mask": link()} if chance.random() < 0.4 else {})
        elif kind == "Switch":
            inputs = {"pick": chance.choice("ab"), "a": link(), "b": link()}
            inputs |= {"image": link()} if chance.random() < 0.5 else {}
            lazies[node] = ["a", "b"]
        elif chance.random() < 0.6:
            inputs["other"] = link()
        prompt[node] = {"class_type": kind, "inputs": inputs}
    for number in range(chance.randint(1, 5)):
        inputs = {"images": link()} | ({"other": link()} if chance.random() < 0.5 else {})
        prompt[f"save{number}"] = {"class_type": "Save", "inputs": inputs}
    return prompt, lazies, plan


PROMPTS = 2000


def test_what_ran_in_parts_is_what_runs_when_every_gate_holds_each_once():
    LAZY.clear()
    behind = Counter()
    for seed in range(PROMPTS):
        chance = random.Random(seed)
        prompt, _, plan = prompt_of(chance, lazy=False)
        whole = held(prompt, plan)
        world = parked(prompt, plan, chance, holds=frozenset(node for node in plan if chance.random() < 0.25))
        assert Counter(world.saved) == Counter(whole.saved), seed
        # A gate whose outcome nobody can use any more is not asked at all: the only difference.
        assert set(Counter(world.asked).values()) <= {1}, seed
        assert set(world.asked) <= set(whole.asked), seed
        behind.update(gates_before(prompt, node) for node, _ in whole.saved)
    # Else these prompts would prove little.
    assert min(behind[number] for number in range(5)) > PROMPTS / 20, behind


def test_with_lazy_inputs_nothing_is_lost_and_what_needs_a_gate_in_any_case_runs_once():
    for seed in range(PROMPTS):
        chance = random.Random(seed)
        prompt, lazies, plan = prompt_of(chance, lazy=True)
        LAZY.clear()
        LAZY.update(lazies)
        whole = held(prompt, plan)
        world = parked(prompt, plan, chance, frozenset())
        assert set(world.saved) == set(whole.saved), seed
        assert set(world.asked) <= set(whole.asked), seed
        once = {node for node in saves(prompt) if not has_lazy_before(prompt, node)}
        assert all(count == 1 for (node, _), count in Counter(world.saved).items() if node in once), seed


def before(prompt: Prompt, node: str) -> set[str]:
    found = {value[0] for value in prompt[node]["inputs"].values() if is_link(value)}
    return found.union(*(before(prompt, source) for source in found))


def gates_before(prompt: Prompt, node: str) -> int:
    return sum(prompt[each]["class_type"] == "ImageGate" for each in before(prompt, node))


def has_lazy_before(prompt: Prompt, node: str) -> bool:
    return any(LAZY.get(each) for each in before(prompt, node))


# -- by examples --------------------------------------------------------------------------
def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def gate(number: int, at: str = "2", **fields: Any) -> Gate:
    """A gate that parked and was decided for route 1, unless its fields say otherwise."""
    own = f"{number:032x}"
    decided = replace(make_decision("route", 1), id=f"d{number}")
    values = {"node_id": at, "prompt_id": "p", "family": "p", "opened": number, "parked": number, "status": "decided"}
    return Gate(**{"id": own, "group": own, "decision": decided, **values, **fields})


def straight() -> Prompt:
    """1 -> gate 2 -> 3 at route 1, 4 at route 2, 5 at its mask; 6 saves what comes before the gate."""
    return {
        "1": node("Load", name="a"),
        "9": node("Model"),
        "2": node("ImageGate", routes=2, image=["1", 0], mask=["1", 1], labels=["8", 0], timeout=5.0, note="n"),
        "3": node("Save", images=["2", 1]),
        "4": node("Save", images=["2", 2]),
        "5": node("Save", images=["2", 0], model=["9", 0]),
        "6": node("Save", images=["1", 0]),
        "8": node("Text", text="keep\nretry"),
    }


def cut_of(prompt: Prompt, lead: Gate, *family: Gate, **more: Any) -> Any:
    outputs = [name for name, entry in prompt.items() if entry["class_type"] == "Save"]
    kept = recorded(
        prompt, lead.node_id, outputs, {"workflow": {"id": "w"}}, more.pop("lazy", {}), more.pop("inputs", {})
    )
    return cut(kept, lead, [lead, *family])


def test_only_what_the_decision_feeds_runs_and_what_that_needs_besides():
    made = cut_of(straight(), gate(1, labels=("keep", "retry")), inputs={"format": "exact"})
    assert list(made.prompt) == ["9", "2", "3", "5", SINK_NODE]
    assert made.prompt["2"]["inputs"] == {
        "routes": 2,
        "labels": "keep\nretry",
        "timeout": 5.0,
        "note": "n",
        "format": "exact",
        "resume": f"{1:032x}:d1",
    }
    assert made.outputs == ("3", "5", SINK_NODE)
    assert made.extra_data == {"extra_pnginfo": {"workflow": {"id": "w"}}}
    assert made.classes == {"Model", "ImageGate", "Save", "GatebusContinued"}


def test_the_whole_prompt_stays_as_it_is_and_a_cut_is_the_same_every_time():
    prompt = straight()
    texts = {repr(cut_of(prompt, gate(1))) for _ in range(3)}
    assert len(texts) == 1
    assert prompt == straight()


def test_ids_of_subgraphs_and_taken_names_are_no_trouble():
    prompt = {f"12:{name}" if name == "2" else name: entry for name, entry in straight().items()}
    for entry in prompt.values():
        for name, value in entry["inputs"].items():
            if value == ["2", value[1] if is_link(value) else 0]:
                entry["inputs"][name] = ["12:2", value[1]]
    prompt[SINK_NODE] = node("Note")
    made = cut_of(prompt, gate(1, at="12:2"))
    assert SINK_NODE not in made.prompt
    assert made.prompt[f"{SINK_NODE}-"] == {"class_type": "GatebusContinued", "inputs": {"passed": ["12:2", 0]}}
    assert made.outputs == ("3", "5", f"{SINK_NODE}-")


def test_a_gate_that_feeds_nothing_is_run_all_the_same():
    made = cut_of({"1": node("Load"), "2": node("ImageGate", routes=2, image=["1", 0])}, gate(1))
    assert list(made.prompt) == ["2", SINK_NODE]


def test_a_list_goes_on_as_a_list_with_what_was_cancelled_left_out_of_it():
    lead = gate(1, members=" ".join(f"{number:032x}" for number in (1, 2, 3)))
    others = [gate(2, group=lead.id, list_index=1, decision=replace(make_decision("route", 2), id="d2"))]
    others.append(gate(3, group=lead.id, list_index=2, decision=replace(make_decision("cancel"), id="d3")))
    made = cut_of(straight(), lead, *others)
    assert made.outputs == ("3", "4", "5", SINK_NODE)
    assert made.prompt["2"]["inputs"]["resume"] == ["gatebus-list-2", 0]
    texts = made.prompt["gatebus-list-2"]["inputs"]["items"].split("\n")
    assert texts == [f"{1:032x}:d1", f"{2:032x}:d2", BLOCKED]
    assert cut_of(straight(), lead, *reversed(others)).prompt == made.prompt


@pytest.mark.parametrize("decision", [None, make_decision("cancel")])
def test_what_is_not_decided_for_a_route_is_not_continued(decision: Decision | None):
    with pytest.raises(Conflict, match="no route"):
        cut_of(straight(), gate(1, decision=decision))
    lead = gate(1, members=f"{1:032x} {2:032x}")
    with pytest.raises(Conflict):
        cut_of(straight(), replace(lead, decision=make_decision("cancel")), gate(2, decision=decision))
    with pytest.raises(Conflict, match="not remembered"):
        cut_of(straight(), lead)


def in_a_row() -> Prompt:
    """1 -> gate 2 -> 3 -> gate 4 -> 5 saved; 6 saves 3; gate 7 beside, and 8 joins 4 and 7."""
    return {
        "1": node("Load"),
        "2": node("ImageGate", routes=2, image=["1", 0]),
        "3": node("Upscale", image=["2", 1]),
        "4": node("ImageGate", routes=2, image=["3", 0]),
        "5": node("Save", images=["4", 1]),
        "6": node("Save", images=["3", 0]),
        "7": node("ImageGate", routes=2, image=["1", 0]),
        "8": node("Save", one=["4", 1], other=["7", 1]),
        "9": node("Save", images=["7", 1]),
    }


def test_a_gate_behind_asks_anew_and_knows_where_the_whole_prompt_is():
    made = cut_of(in_a_row(), gate(1, run_seq=1, run="done"), gate(3, at="7", decision=None))
    assert list(made.prompt) == ["2", "3", "4", "5", "6", SINK_NODE]
    assert made.prompt["4"]["inputs"] == {"routes": 2, "image": ["3", 0], "family": f"p:{1:032x}"}


def test_what_was_passed_is_replayed_and_what_was_not_is_left_to_its_own_run():
    first, beside, second = (
        gate(1, run_seq=1, run="done"),
        gate(2, at="7", run_seq=2, run="done"),
        gate(3, at="4", run_seq=3, run="done", prompt_id="q"),
    )
    made = cut_of(in_a_row(), second, first, beside)
    assert made.outputs == ("5", "8", SINK_NODE)
    assert list(made.prompt) == ["4", "5", "7", "8", SINK_NODE]
    assert made.prompt["7"]["inputs"] == {"routes": 2, "replay": f"{2:032x}:d2"}
    # The other way round: 8 runs behind 7, and the way to 4 is replayed from there on.
    made = cut_of(in_a_row(), replace(beside, run_seq=4, run="done"), first, second)
    assert made.outputs == ("8", "9", SINK_NODE)
    assert made.prompt["4"]["inputs"] == {"routes": 2, "replay": f"{3:032x}:d3"}
    assert cut_of(in_a_row(), beside, first, replace(second, run_seq=0, run="")).outputs == ("9", SINK_NODE)


def test_a_gate_that_held_and_passed_is_replayed_one_that_still_waits_is_not():
    second = gate(3, at="4", run_seq=3, run="done")
    beside = gate(2, at="7", parked=0, group="", status="applied")
    assert cut_of(in_a_row(), second, beside).prompt["7"]["inputs"]["replay"] == f"{2:032x}:d2"
    for status in ("waiting", "decided", "cancelled", "expired"):
        assert cut_of(in_a_row(), second, replace(beside, status=status)).outputs == ("5", SINK_NODE)


def test_a_held_list_is_replayed_as_a_list():
    items = [gate(n, at="7", parked=0, group="", status="applied", list_index=n - 4) for n in (4, 5)]
    made = cut_of(in_a_row(), gate(3, at="4", run_seq=3, run="done"), *items)
    assert made.prompt["gatebus-list-7"]["inputs"]["items"] == f"{4:032x}:d4\n{5:032x}:d5"
    assert made.prompt["7"]["inputs"]["replay"] == ["gatebus-list-7", 0]


def test_what_runs_again_asks_the_gates_behind_it_anew_and_stands_in_for_the_first():
    first, second = (
        gate(1, run_seq=1, run="done", status="applied"),
        gate(2, at="4", run_seq=2, run="done", status="applied"),
    )
    anew = gate(5, of=first.id, run_seq=5, run="done")
    made = cut_of(in_a_row(), anew, first, second)
    assert made.prompt["2"]["inputs"]["resume"] == f"{5:032x}:d5"
    assert "replay" not in made.prompt["4"]["inputs"]
    beside = gate(6, at="7", run_seq=6, run="done")
    # Route 2 of the first gate feeds nothing: so nothing comes by 4 any more.
    other = replace(anew, decision=replace(make_decision("route", 2), id="d5"))
    assert cut_of(in_a_row(), beside, first, second, other).outputs == ("9", SINK_NODE)
    assert cut_of(in_a_row(), beside, first, second, anew).outputs == ("8", "9", SINK_NODE)
    cancelled = replace(other, run_seq=0, run="", status="cancelled")
    assert cut_of(in_a_row(), beside, first, second, cancelled).outputs == ("8", "9", SINK_NODE)


def test_a_lazy_input_may_still_ask_for_what_is_not_there_and_then_blocks():
    prompt = in_a_row()
    prompt["8"]["inputs"]["again"] = ["2", 2]
    lazy = {"8": ["other", "again"]}
    made = cut_of(
        prompt,
        gate(3, at="4", run_seq=3, run="done"),
        gate(1, run_seq=1, run="done"),
        gate(2, at="7", decision=None),
        lazy=lazy,
    )
    assert made.outputs == ("5", "8", SINK_NODE)
    assert made.prompt["7"]["inputs"] == {"routes": 2, "resume": BLOCKED}
    assert made.prompt["2"]["inputs"] == {"routes": 2, "replay": f"{1:032x}:d1"}


def test_of_a_text_gate_the_signal_comes_anew_and_the_text_from_its_record():
    prompt = {
        "1": node("Load"),
        "2": node("TextGate", text=["1", 0], signal=["1", 1], timeout=2.0, note=["1", 2]),
        "3": node("Save", text=["2", 0]),
        "4": node("Save", signal=["2", 1]),
    }
    made = cut_of(prompt, gate(1, text="said", note="why"))
    assert list(made.prompt) == ["1", "2", "3", "4", SINK_NODE]
    assert made.prompt["2"]["inputs"] == {
        "text": "said",
        "signal": ["1", 1],
        "timeout": 2.0,
        "note": "why",
        "resume": f"{1:032x}:d1",
    }


def test_a_signal_that_nothing_takes_behind_the_gate_is_not_computed_again():
    prompt = {
        "1": node("Load"),
        "2": node("TextGate", text="said", signal=["1", 0]),
        "3": node("Save", text=["2", 0]),
    }
    made = cut_of(prompt, gate(1, text="said"))
    assert list(made.prompt) == ["2", "3", SINK_NODE]
    assert made.prompt["2"]["inputs"] == {"text": "said", "resume": f"{1:032x}:d1"}


def test_of_a_chooser_every_output_goes_on():
    prompt = {"1": node("Load"), "2": node("ImageChooserGate", images=["1", 0], mask=["1", 1])}
    prompt |= {f"s{slot}": node("Save", value=["2", slot]) for slot in range(5)}
    made = cut_of(prompt, gate(1))
    assert made.outputs == ("s0", "s1", "s2", "s3", "s4", SINK_NODE)
    assert made.prompt["2"]["inputs"] == {"resume": f"{1:032x}:d1"}


def test_an_item_that_came_blocked_keeps_its_place_in_the_list():
    lead = gate(1, list_index=1, members=f"{1:032x} {2:032x}")
    made = cut_of(straight(), lead, gate(2, group=lead.id, list_index=3))
    texts = made.prompt["gatebus-list-2"]["inputs"]["items"].split("\n")
    assert texts == [BLOCKED, f"{1:032x}:d1", BLOCKED, f"{2:032x}:d2"]
    made = cut_of(straight(), gate(1, list_index=1))
    assert made.prompt["gatebus-list-2"]["inputs"]["items"] == f"{BLOCKED}\n{1:032x}:d1"
    alone = cut_of(straight(), gate(3, list_index=1, of=lead.id), lead)
    assert alone.prompt["2"]["inputs"]["resume"] == f"{3:032x}:d3"


def test_outputs_that_the_first_prompt_did_not_run_are_not_run_later():
    kept = replace(recorded(straight(), "2", ["3"], None, {}, {}))
    assert cut(kept, gate(1), []).outputs == ("3", SINK_NODE)
    assert "5" not in cut(kept, gate(1), []).prompt


def test_the_id_of_a_run_is_that_of_its_gates_and_decisions():
    lead = gate(1, members=f"{1:032x} {2:032x}")
    second = gate(2, group=lead.id)
    again = replace(second, decision=replace(make_decision("route", 1), id="other"))
    ids = [run_id(lead, [lead, each]) for each in (second, replace(second, note="x", status="applied"), again)]
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) == 32


def test_a_long_prompt_is_cut_without_depth():
    prompt: Prompt = {"1": node("Load"), "2": node("ImageGate", routes=2, image=["1", 0])}
    prompt["n0"] = node("Node", image=["2", 1])
    for number in range(1, 20_000):
        prompt[f"n{number}"] = node("Node", image=[f"n{number - 1}", 0])
    prompt["s"] = node("Save", images=["n19999", 0])
    assert len(cut_of(prompt, gate(1)).prompt) == 20_000 + 3
