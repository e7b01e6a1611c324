"""The prompt that runs on from a decided gate, cut out of the whole one (pure; no ComfyUI, no torch)."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .continuation import Continuation, Prompt
from .errors import Conflict
from .gate.record import MAX_ROUTES, Gate

GATE_NODES: dict[str, dict[str, int]] = {"ImageGate": {}, "ImageChooserGate": {}, "TextGate": {"signal": 1}}
"""The gate nodes, each with the inputs that it only passes on, and the output at which: a continuation keeps such a
link where something takes that output, and what comes by it is computed again.

Their hidden inputs ``resume``, ``replay`` and ``family`` are explained at :func:`cut`. What else
came by links is written as constants: :data:`FROM_RECORD` from the gate's record, the rest from
``Continuation.inputs``. Their first output goes on with every decision.
"""

ROUTED = frozenset({"ImageGate"})
"""Those of which output K (from 1 to 10) goes on only when route K was chosen; of the others all outputs do."""

FROM_RECORD = ("routes", "labels", "note", "send_id", "get_id", "text")
"""Inputs of a gate node whose values stand in the gate's record, under the same names."""

BLOCKED = "blocked"
"""As ``resume``: the gate asks nobody and blocks everything behind it."""

LIST_NODE = "gatebus-list"
SINK_NODE = "gatebus-continued"
"""Ids of the nodes that a cut adds, the first one with the gate node's id behind it."""

_RUNS = uuid.UUID("6f1d6a34-59a0-4c57-9f5e-2f2b1a3c8d10")


@dataclass(frozen=True)
class Cut:
    """A prompt that runs on from a gate."""

    prompt: Prompt
    extra_data: dict[str, Any]
    outputs: tuple[str, ...]
    """The output nodes to run, where that can be said: ComfyUI's ``partial_execution_targets``."""

    @property
    def classes(self) -> frozenset[str]:
        """The node classes that a ComfyUI needs for it."""
        return frozenset(entry["class_type"] for entry in self.prompt.values())


def run_id(lead: Gate, family: Sequence[Gate]) -> str:
    """The id, 32 hex digits, under which the run from this gate is submitted: the same at every repeat."""
    decided = [member.decision.id for member in members(lead, family) if member.decision is not None]
    return uuid.uuid5(_RUNS, " ".join([lead.id, *decided])).hex


def members(lead: Gate, family: Sequence[Gate]) -> list[Gate]:
    """The gates of the lead's group, in the order of the list; raises Conflict when one is not remembered."""
    ids = lead.members.split() or [lead.id]
    known = {gate.id: gate for gate in family} | {lead.id: lead}
    missing = [gate_id for gate_id in ids if gate_id not in known]
    if missing:
        raise Conflict(f"Of the gates that parked together, {len(missing)} are not remembered any more")
    return [known[gate_id] for gate_id in ids]


def cut(continuation: Continuation, lead: Gate, family: Sequence[Gate]) -> Cut:
    """The prompt that runs on from a group of decided gates, of which ``lead`` is the first.

    ``family`` are all gates of its family. Runs of one family follow each other, so that this one
    sees what every earlier one has opened and passed. In the cut there are the output nodes that something
    live of these gates reaches, what these need besides, and a sink that makes the gate run in
    any case. Of the gate nodes in it

    - the target has ``resume="GATE:DECISION"`` (a link to a node with one such text an item,
      when it was called over a list): it carries the decision out;
    - those that were passed before have ``replay="GATE:DECISION"``, or such a link: the same
      outputs once more, nobody is asked, nothing is published;
    - those that are open elsewhere are dead, and so is what is strictly behind them: it runs
      in the run that continues *them*. Where a lazy input could still ask for one, it has
      ``resume="blocked"``, as a cancelled item of a group has;
    - the others ask anew; by ``family="PROMPT:GATE"`` they know the family, and the gate whose
      continuation has the whole prompt, which is theirs too.

    Nothing behind the target was passed before it: gates there always ask anew. An output that
    hangs on the target by a lazy input only may have run before and then runs again, because
    nobody but its node knows what it asked for.

    Raises Conflict when the group is not decided, or not remembered as a whole.
    """
    group = members(lead, family)
    if any(member.decision is None for member in group) or not _routes(group):
        raise Conflict("Nothing goes on from this gate: no route is decided for it, or not for the whole of its list")
    return _Cutting(continuation, lead, group, family).made()


@dataclass(frozen=True)
class _Link:
    source: str
    slot: int
    node: str
    lazy: bool


class _Cutting:
    """One :func:`cut`, step by step."""

    def __init__(self, whole: Continuation, lead: Gate, group: list[Gate], family: Sequence[Gate]) -> None:
        self._whole = whole
        self._lead = lead
        self._target = whole.node
        self._consumers: dict[str, list[_Link]] = defaultdict(list)
        for node in whole.prompt:
            for link in self._links(node):
                self._consumers[link.source].append(link)
        self._passed: dict[str, list[Gate]] = {self._target: group}
        """Node -> the gates by which it was passed, in the order of the list."""
        self._dead: set[str] = set()
        """Nodes that put out nothing but blockers, whatever happens in this run."""
        # A gate that is run again changes what is behind it, also where that is asked for lazily.
        asked_anew = self._behind_target(lambda link: bool(lead.of) or not link.lazy)
        for node, newest in _newest(family).items():
            if self._is_gate(node) and node != self._target and node not in asked_anew:
                if _is_passed(newest):
                    self._passed[node] = newest
                else:
                    self._dead.add(node)
        self._spread_death()

    def _links(self, node: str) -> Iterable[_Link]:
        lazy = self._whole.lazy.get(node, ())
        for name, value in self._whole.prompt[node]["inputs"].items():
            if _is_link(value) and value[0] in self._whole.prompt:
                yield _Link(value[0], int(value[1]), node, name in lazy)

    def _is_gate(self, node: str) -> bool:
        return node in self._whole.prompt and self._whole.prompt[node]["class_type"] in GATE_NODES

    def _blocks(self, link: _Link) -> bool:
        """Whether by this link there comes a blocker, whatever happens in this run."""
        if link.source in self._dead:
            return True
        passed = self._passed.get(link.source)
        if passed is None or self._whole.prompt[link.source]["class_type"] not in ROUTED:
            return False
        return 1 <= link.slot <= MAX_ROUTES and link.slot not in _routes(passed)

    def _spread_death(self) -> None:
        ends = [link for node in {*self._dead, *self._passed} for link in self._consumers[node]]
        while ends:
            link = ends.pop()
            if not link.lazy and link.node != self._target and link.node not in self._dead and self._blocks(link):
                self._dead.add(link.node)
                ends += self._consumers[link.node]

    def _behind_target(self, by: Callable[[_Link], bool]) -> set[str]:
        """The nodes that something of the target reaches by such links and no blocker."""
        found: set[str] = set()
        ends = [self._target]
        while ends:
            for link in self._consumers[ends.pop()]:
                if link.node not in found and by(link) and not self._blocks(link) and link.node != self._target:
                    found.add(link.node)
                    ends.append(link.node)
        return found

    def made(self) -> Cut:
        # What was passed puts out what it did before, whatever comes in.
        changed = self._behind_target(lambda link: link.node not in self._dead and link.node not in self._passed)
        outputs = [node for node in self._whole.outputs if node in changed]
        kept: Prompt = {}
        wanted = [*outputs, self._target]
        while wanted:
            node = wanted.pop()
            if node not in kept and node in self._whole.prompt:
                kept[node] = self._entry(node)
                wanted += [value[0] for value in kept[node]["inputs"].values() if _is_link(value)]
        # In the order of the whole prompt: the same gates make the same text.
        prompt = {node: kept[node] for node in self._whole.prompt if node in kept}
        for node in [node for node in prompt if node in self._passed and node not in self._dead]:
            self._say_passed(node, prompt)
        sink = _free(SINK_NODE, self._whole.prompt)
        prompt[sink] = {"class_type": "GatebusContinued", "inputs": {"passed": [self._target, 0]}}
        return Cut(prompt, {"extra_pnginfo": dict(self._whole.extra_pnginfo)}, (*outputs, sink))

    def _entry(self, node: str) -> dict[str, Any]:
        """The node as it stands in the cut."""
        entry = self._whole.prompt[node]
        inputs: dict[str, Any] = dict(entry["inputs"])
        if self._is_gate(node):
            for name in ("resume", "replay", "family"):
                inputs.pop(name, None)
            if node in self._dead:
                inputs = {name: value for name, value in inputs.items() if not _is_link(value)}
                inputs["resume"] = BLOCKED
            elif node in self._passed:
                inputs = self._constants(node, inputs)
            else:
                inputs["family"] = f"{self._lead.family or self._lead.prompt_id}:{self._lead.id}"
        return {**entry, "inputs": inputs}

    def _constants(self, node: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs of a gate that was passed: what came by links is known by now, and written down."""
        taken = {link.slot for link in self._consumers[node] if link.node not in self._dead}
        through = GATE_NODES[self._whole.prompt[node]["class_type"]]
        keeps = {name for name, output in through.items() if output in taken}
        record = self._passed[node][0]
        made = {name: value for name, value in inputs.items() if name in keeps or not _is_link(value)}
        for name in FROM_RECORD:
            if name in inputs and name not in made:
                value = getattr(record, name)
                made[name] = "\n".join(value) if isinstance(value, tuple) else value
        return made | dict(self._whole.inputs) if node == self._target else made

    def _say_passed(self, node: str, prompt: Prompt) -> None:
        """Writes into the gate node which decisions it carries out, or replays."""
        name = "resume" if node == self._target else "replay"
        gates = self._passed[node]
        if len(gates) == 1 and (gates[0].list_index == 0 or gates[0].of):
            prompt[node]["inputs"][name] = _text(gates[0])
            return
        texts = {gate.list_index: _text(gate) for gate in gates}
        # An item that came blocked opened no gate; it stays in its place, because lists go side by side.
        items = "\n".join(texts.get(index, BLOCKED) for index in range(max(texts) + 1))
        list_node = _free(f"{LIST_NODE}-{node}", self._whole.prompt)
        prompt[list_node] = {"class_type": "GatebusResumed", "inputs": {"items": items}}
        prompt[node]["inputs"][name] = [list_node, 0]


def _is_link(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int | float)
    )


def _free(wanted: str, prompt: Prompt) -> str:
    while wanted in prompt:
        wanted += "-"
    return wanted


def _routes(gates: Iterable[Gate]) -> set[int]:
    return {gate.decision.route for gate in gates if gate.decision is not None and gate.decision.kind == "route"}


def _text(gate: Gate) -> str:
    decision = gate.decision
    return f"{gate.id}:{decision.id}" if decision is not None and decision.kind == "route" else BLOCKED


def _newest(family: Sequence[Gate]) -> dict[str, list[Gate]]:
    """Node -> the gates that it opened last, one for each item of its list, in that order.

    A gate that was to run again and never did does not stand in for the one that it was made of.
    """
    calls: dict[tuple[str, str], dict[int, Gate]] = defaultdict(dict)
    for gate in sorted(family, key=lambda gate: (gate.opened, gate.run_seq)):
        if not (gate.of and gate.run_seq == 0 and gate.status in ("cancelled", "expired")):
            calls[gate.node_id, gate.group or (gate.id if gate.of else gate.prompt_id)][gate.list_index] = gate
    return {node: [items[index] for index in sorted(items)] for (node, _), items in calls.items()}


def _is_passed(gates: list[Gate]) -> bool:
    """Whether these gates of one node have been passed: no other run of the family goes on when one is cut."""
    first = next((gate for gate in gates if gate.id == gate.group), gates[0])
    if first.parked:
        return first.run in ("done", "failed") and bool(_routes(gates))
    # Held ones: their prompt went on with them. One that parks when others have been decided has taken them along.
    return all(gate.status == "applied" for gate in gates) and bool(_routes(gates))
