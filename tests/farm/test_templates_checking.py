"""A prompt beside a ComfyUI's nodes: a wrong graph is told from a model that is not there."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from broker.comfyui.checking import check_prompt
from broker.comfyui.library import WorkflowLibrary
from broker.comfyui.workflows import Template

Change = Callable[[dict[str, Any]], None]


def kinds(object_info: dict[str, Any], change: Change, name: str = "img2img_default") -> set[tuple[str, str, str]]:
    """(kind, node, input) of the problems that the change makes."""
    template = WorkflowLibrary().load(name)
    info = deepcopy(object_info)
    info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0] = ["v1-5-pruned-emaonly-fp16.safetensors"]
    assert template.check(info) == []
    document = template.to_json()
    change(document["prompt"])
    return {(each.kind, each.node, each.input) for each in Template.from_json(document).check(info)}


def setting(node: str, name: str, value: Any) -> Change:
    def change(prompt: dict[str, Any]) -> None:
        prompt[node]["inputs"][name] = value

    return change


def without(node: str, name: str) -> Change:
    def change(prompt: dict[str, Any]) -> None:
        del prompt[node]["inputs"][name]

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (without("3", "model"), ("missing_input", "3", "model")),
        (setting("3", "model", ["4", 1]), ("wrong_type", "3", "model")),
        (setting("3", "model", ["4", 3]), ("wrong_link", "3", "model")),
        (setting("3", "model", "text"), ("wrong_value", "3", "model")),
        (setting("3", "cfg", 101.0), ("out_of_bounds", "3", "cfg")),
        (setting("3", "cfg", "much"), ("wrong_value", "3", "cfg")),
        (setting("3", "sampler_name", "no such"), ("not_in_list", "3", "sampler_name")),
        (setting("4", "ckpt_name", "other.ckpt"), ("missing_model", "4", "ckpt_name")),
        (lambda prompt: prompt["8"].update(class_type="NoSuchNode"), ("missing_node", "8", "")),
        (setting("8", "samples", ["8", 0]), ("cycle", "3", "")),
    ],
)
def test_a_fault_is_found_where_it_is(
    object_info: dict[str, Any], change: Change, problem: tuple[str, str, str]
) -> None:
    found = kinds(object_info, change)
    if problem[0] == "cycle":
        assert {kind for kind, _, _ in found} >= {"cycle", "wrong_type"}
    else:
        assert problem in found


def test_a_prompt_that_writes_nothing_is_told(object_info: dict[str, Any]) -> None:
    prompt = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}}
    assert [problem.kind for problem in check_prompt(prompt, object_info)] == ["no_output"]


def test_only_what_a_comfyui_lacks_is_missing_and_a_file_that_is_uploaded_is_not_looked_for(
    object_info: dict[str, Any],
) -> None:
    prompt = WorkflowLibrary().load("invert").prompt
    (problem,) = check_prompt(prompt, object_info)
    assert (problem.kind, problem.missing) == ("missing_file", True)
    assert WorkflowLibrary().load("invert").check(object_info) == []
    wrong = {**prompt, "2": {"class_type": "ImageInvert", "inputs": {}}}
    assert [each.missing for each in check_prompt(wrong, object_info) if each.node == "2"] == [False]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("steps", {"type": "text", "default": "", "min": ..., "max": ...}, "takes INT"),
        ("cfg", {"max": 200.0}, "0.0 to 100.0, not 200.0"),
        ("sampler", {"choices": ["euler", "strange"], "default": "euler"}, "strange"),
        ("positive", {"type": "int", "default": 3}, "takes STRING"),
    ],
)
def test_a_parameter_that_its_node_would_not_take_is_told(
    object_info: dict[str, Any], name: str, change: dict[str, Any], said: str
) -> None:
    document = WorkflowLibrary().load("img2img_default").to_json()
    for key, value in change.items():
        if value is ...:
            del document["parameters"][name][key]
        else:
            document["parameters"][name][key] = value
    problems = [each for each in Template.from_json(document).check(object_info) if each.kind == "wrong_parameter"]
    assert [problem.parameter for problem in problems] == [name]
    assert said in problems[0].message
    assert not problems[0].missing
