"""A saved workflow made into a prompt here, and by the page itself: the same.

On the real ComfyUI with the newest frontend. What its ``comfyui_workflow_templates`` ship is compared
too, as far as this ComfyUI has the nodes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.comfyui.exports import to_prompt
from broker.comfyui.refusals import NotConvertible
from broker.comfyui.widget_values import CAPTURED
from tests.web.comfy_pages import ComfyPage

ROOT = Path(__file__).resolve().parents[2]
LOADED = """async (workflow) => {
    await app.loadGraphData(workflow)
    await new Promise((resolve) => setTimeout(resolve, 100))
    return (await app.graphToPrompt()).output
}"""
EVERY = int(os.environ.get("EXPORTS_EVERY", "12"))
"""Of the shipped workflows one in so many: the page takes seconds to open a large one."""

VIRTUAL = {"Note", "MarkdownNote", "Reroute", "PrimitiveNode"}


def shipped_workflows() -> list[Path]:
    """Those of the package of workflow templates beside ComfyUI; empty without it."""
    code = "import comfyui_workflow_templates as found; print(next(iter(found.__path__)))"
    python = os.environ.get("COMFYUI_PYTHON") or sys.executable
    told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return sorted(Path(told.stdout.strip(), "templates").glob("*.json")) if told.returncode == 0 else []


def known(workflow: Any, object_info: dict[str, Any]) -> bool:
    """Whether it is a workflow of nodes that this ComfyUI has, and holds nothing that only the page has."""
    if not isinstance(workflow, dict) or not isinstance(workflow.get("nodes"), list):
        return False
    subgraphs = (workflow.get("definitions") or {}).get("subgraphs") or []
    classes = {node["type"] for graph in (workflow, *subgraphs) for node in graph["nodes"]}
    return classes <= set(object_info) | VIRTUAL | {each["id"] for each in subgraphs}


def comparable(prompt: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """Node -> class and inputs that the node has: the page writes buttons and players of its own among them."""
    entries = {}
    for node, entry in prompt.items():
        given = object_info[entry["class_type"]]["input"]
        declared = {name for section in ("required", "optional") for name in given.get(section, {})}
        inputs = {name: value for name, value in entry["inputs"].items() if name in declared or "." in name}
        entries[node] = (entry["class_type"], inputs)
    return entries


def test_the_prompt_is_the_one_that_this_page_makes(comfy: ComfyPage, mode: str) -> None:
    if mode != "comfyui-new-canvas":
        pytest.skip("one look at the newest frontend over a real ComfyUI is enough")
    object_info = comfy.page.evaluate("async () => (await fetch('/object_info')).json()")
    workflows = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "example_workflows").glob("*.json")
    }
    saved = (ROOT / "tests" / "farm" / "saved").glob("*.json")
    workflows |= {path.stem: json.loads(path.read_text(encoding="utf-8"))["workflow"] for path in saved}
    for path in shipped_workflows()[::EVERY]:
        workflows[path.name] = json.loads(path.read_text(encoding="utf-8"))
    compared, refused = 0, []
    for name, workflow in workflows.items():
        if not known(workflow, object_info):
            continue
        try:
            ours = to_prompt(workflow, object_info).prompt
        except NotConvertible as error:
            refused.append((name, error.message))
            continue
        of_page = comfy.page.evaluate(LOADED, workflow)
        assert comparable(ours, object_info) == comparable(of_page, object_info), name
        compared += 1
    assert compared >= 10
    # Only what the page itself captures (a camera, a microphone) can't be converted.
    classes = {
        name
        for name, info in object_info.items()
        for section in ("required", "optional")
        for spec in info["input"].get(section, {}).values()
        if spec[0] in CAPTURED
    }
    assert [(name, why) for name, why in refused if not any(f"({each})" in why for each in classes)] == []
    print(f"{compared} workflows compared, {len(refused)} refused")
