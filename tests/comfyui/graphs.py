"""API-format prompts for the tests, and the way from a saved workflow to one."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

Graph = dict[str, dict[str, Any]]

MASK, ROUTE_1, ROUTE_2, ROUTE_3 = 0, 1, 2, 3
"""Outputs of the gate."""


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def noise(seed: int, width: int = 64, height: int = 48, batch: int = 1, exact: bool = False) -> dict[str, Any]:
    return node("ProbeNoise", width=width, height=height, batch=batch, seed=seed, exact=exact)


def gate_graph(image: dict[str, Any] | None = None, **gate: Any) -> Graph:
    """noise (1) -> gate (2) -> SaveImage at route 1 (3), PreviewImage at route 2 (4), its mask told by 5."""
    graph = {
        "2": node("ImageGate", **{"routes": 2, **gate}),
        "3": node("SaveImage", images=["2", ROUTE_1], filename_prefix=f"test/{uuid.uuid4().hex}"),
        "4": node("PreviewImage", images=["2", ROUTE_2]),
        "5": node("ProbeMask", mask=["2", MASK]),
    }
    if "get_id" not in gate and "resume" not in gate:
        graph["1"] = image or noise(seed=1)
        graph["2"]["inputs"]["image"] = ["1", 0]
    return graph


def renamed(graph: Graph, name: Any) -> Graph:
    """The graph with every node id passed through ``name``, as a subgraph's ids are (12 -> 7:12)."""
    return {
        name(key): {
            **entry,
            "inputs": {
                field: [name(value[0]), value[1]] if isinstance(value, list) else value
                for field, value in entry["inputs"].items()
            },
        }
        for key, entry in graph.items()
    }


def from_workflow(path: Path, object_info: dict[str, Any]) -> Graph:
    """The API-format prompt of a saved workflow, as the page makes it: widgets by position, notes left out."""
    workflow = json.loads(path.read_text(encoding="utf-8"))
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    graph: Graph = {}
    for entry in workflow["nodes"]:
        if entry["type"] in ("MarkdownNote", "Note"):
            continue
        info = object_info[entry["type"]]
        inputs: dict[str, Any] = {}
        values = iter(entry["widgets_values"])
        for name, declared in {**info["input"].get("required", {}), **info["input"].get("optional", {})}.items():
            if isinstance(declared[0], list) or declared[0] in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"):
                inputs[name] = next(values)
        assert next(values, None) is None, f"{path.name}: {entry['type']} has more values than widgets"
        for socket in entry["inputs"]:
            if socket["link"] is not None:
                inputs[socket["name"]] = sources[socket["link"]]
        graph[str(entry["id"])] = {"class_type": entry["type"], "inputs": inputs}
    return graph
