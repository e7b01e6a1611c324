"""How far a prompt is: a picture for people, made of what the stream tells and where the truth puts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .outcome import Found, Outcome
from .stream import Event


@dataclass(frozen=True)
class Progress:
    """Where a prompt is."""

    prompt_id: str
    state: Literal["queued", "running", "done", "failed", "cancelled", "lost"] = "queued"
    fraction: float = 0.0
    """0 to 1, never less than before; 1 only when it is done."""
    ahead: int = 0
    """Prompts that run or come before it, while it is queued."""
    node_id: str = ""
    """The node that runs, as the page shows it; "" when none does."""
    class_type: str = ""
    """Of that node, when this client submitted the prompt."""
    value: float = 0.0
    """Steps of that node."""
    max: float = 0.0
    """Of how many; 0 when it does not tell."""
    nodes_done: int = 0
    nodes: int = 0
    """0 when this client did not submit the prompt."""
    cached: int = 0
    preview: bytes = field(default=b"", repr=False)
    """JPEG or PNG of what the node is making, as the server sent it; empty when there is none."""


class Meter:
    """Adds up what is told of one prompt."""

    def __init__(self, prompt_id: str, classes: Mapping[str, str]) -> None:
        """``classes``: node id -> class of the submitted prompt; empty when it is not known."""
        self._id = prompt_id
        self._classes = classes
        self._ended: set[str] = set()
        self._cached: frozenset[str] = frozenset()
        self._steps: dict[str, tuple[float, float]] = {}
        self._node = ""
        self._preview = b""
        self._running = False
        self._ahead = 0
        self._fraction = 0.0

    def hear(self, event: Event) -> None:
        """Takes in an event; of an unknown shape it changes nothing."""
        data, type = event.data, event.type
        self._running = True
        if type == "execution_cached":
            self._cached = frozenset(map(str, data.get("nodes") or ()))
            self._ended |= self._cached
        elif type == "executing":
            node = data.get("display_node") or data.get("node")
            self._node = "" if node is None else str(node)
            self._preview = b""
        elif type == "executed":
            self._ended.add(str(data.get("node")))
        elif type == "progress":
            self._step(str(data.get("node") or self._node), data)
        elif type == "progress_state":
            nodes = data.get("nodes")
            for node, state in nodes.items() if isinstance(nodes, Mapping) else ():
                if isinstance(state, Mapping):
                    self._step(str(node), state)
                    if state.get("state") == "finished":
                        self._ended.add(str(node))
        elif type == "preview":
            self._preview = event.preview

    def stand(self, found: Found) -> None:
        """Takes in where the prompt stands."""
        self._running = self._running or found.state == "running"
        self._ahead = found.ahead

    def read(self, outcome: Outcome | None = None) -> Progress:
        """The progress as it is now; ``outcome`` when the prompt has ended."""
        value, most = self._steps.get(self._node, (0.0, 0.0)) if self._node not in self._ended else (0.0, 0.0)
        known = len(self._classes) or len(self._ended) + 1
        part = min(1.0, value / most) if most else 0.0
        self._fraction = max(self._fraction, min(0.99, (len(self._ended) + part) / known))
        done = outcome is not None and outcome.state == "done"
        return Progress(
            self._id,
            outcome.state if outcome else "running" if self._running else "queued",
            1.0 if done else self._fraction if self._classes else 0.0,
            0 if outcome or self._running else self._ahead,
            "" if outcome else self._node,
            "" if outcome else self._classes.get(self._node, ""),
            value,
            most,
            len(self._ended),
            len(self._classes),
            len(self._cached),
            self._preview,
        )

    def _step(self, node: str, data: Mapping[str, Any]) -> None:
        value, most = data.get("value"), data.get("max")
        if isinstance(value, int | float) and isinstance(most, int | float):
            self._steps[node] = (float(value), float(most))
