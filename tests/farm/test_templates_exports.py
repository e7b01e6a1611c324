"""What ComfyUI's page saved, made into the prompt that the page makes of it, and into a template by choice alone.

``saved/*.json`` hold a workflow and the prompt that ``graphToPrompt`` of frontend 1.58 made of it:
reroutes, a primitive, muted and bypassed nodes, converted widgets, nested subgraphs with promoted widgets.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from broker.comfyui.exports import to_prompt
from broker.comfyui.importing import declared, make_template, read_export
from broker.comfyui.refusals import InvalidTemplate, NotConvertible

SAVED = sorted((Path(__file__).parent / "saved").glob("*.json"))


def saved(name: str) -> dict[str, Any]:
    (path,) = (path for path in SAVED if path.stem == name)
    return dict(json.loads(path.read_text(encoding="utf-8")))


def without_titles(prompt: dict[str, Any]) -> dict[str, Any]:
    """Titles are in the page's language."""
    return {node: {key: value for key, value in entry.items() if key != "_meta"} for node, entry in prompt.items()}


def node_of(workflow: dict[str, Any], number: int) -> Any:
    (node,) = (node for node in workflow["nodes"] if node["id"] == number)
    return node


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_the_prompt_is_the_one_that_the_page_makes(path: Path, object_info: dict[str, Any]) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    before = deepcopy(case["workflow"])
    assert without_titles(to_prompt(case["workflow"], object_info).prompt) == case["prompt"]
    assert case["workflow"] == before


def test_a_title_is_the_one_of_the_node_else_that_of_its_class(object_info: dict[str, Any]) -> None:
    workflow = saved("mixed")["workflow"]
    node_of(workflow, 5)["title"] = "Mine"
    prompt = to_prompt(workflow, object_info).prompt
    assert prompt["5"]["_meta"] == {"title": "Mine"}
    assert prompt["4"]["_meta"] == {"title": object_info["ImageInvert"]["display_name"]}


def test_values_with_names_are_read_by_them(object_info: dict[str, Any]) -> None:
    case = saved("sampler")
    node_of(case["workflow"], 6)["widgets_values"] = {**case["prompt"]["6"]["inputs"], "seed": 5}
    assert to_prompt(case["workflow"], object_info).prompt["6"]["inputs"]["seed"] == 5


def test_what_the_page_draws_at_every_run_is_left_as_it_stands_and_told(object_info: dict[str, Any]) -> None:
    workflow = saved("sampler")["workflow"]
    node_of(workflow, 2)["widgets_values"] = ["a {red|green} cat"]
    node_of(workflow, 8)["widgets_values"] = ["%date:yyyy%/x"]
    conversion = to_prompt(workflow, object_info)
    assert conversion.prompt["2"]["inputs"]["text"] == "a {red|green} cat"
    assert conversion.prompt["8"]["inputs"]["filename_prefix"] == "%date:yyyy%/x"
    assert [note.split(",")[0] for note in conversion.notes] == ["node 2 (CLIPTextEncode)", "node 8 (SaveImage)"]


def test_what_can_t_be_known_is_refused_and_named(object_info: dict[str, Any]) -> None:
    def refusal(name: str, number: int, **changes: Any) -> NotConvertible:
        workflow = saved(name)["workflow"]
        node_of(workflow, number).update(changes)
        with pytest.raises(NotConvertible) as refused:
            to_prompt(workflow, object_info)
        return refused.value

    strange = refusal("mixed", 4, type="NoSuchNode")
    assert strange.details["nodes"] == [{"node": "4", "class_type": "NoSuchNode"}]
    assert "group node" in refusal("mixed", 4, type="workflow>mine").message
    missing = refusal("mixed", 4, inputs=[{"name": "image", "type": "IMAGE", "link": 77}])
    assert missing.details["node"] == "4"
    circle = refusal("mixed", 3, inputs=[{"name": "", "type": "*", "link": 3}])
    assert "circle" in circle.message
    captured = deepcopy(object_info)
    captured["ImageInvert"]["input"]["required"]["image"] = ["WEBCAM", {}]
    with pytest.raises(NotConvertible, match="page when it queues"):
        to_prompt(saved("mixed")["workflow"], captured)


def test_a_strange_node_that_would_not_run_is_no_hindrance(object_info: dict[str, Any]) -> None:
    workflow = saved("mixed")["workflow"]
    node_of(workflow, 4).update(type="NoSuchNode", mode=4)
    prompt = to_prompt(workflow, object_info).prompt
    assert prompt["5"]["inputs"]["images"] == ["1", 0]


def test_a_subgraph_that_holds_itself_is_refused(object_info: dict[str, Any]) -> None:
    workflow = saved("nested")["workflow"]
    inner, outer = workflow["definitions"]["subgraphs"]
    inner["nodes"][1]["type"] = outer["id"]
    with pytest.raises(NotConvertible, match="holds itself"):
        to_prompt(workflow, object_info)


@pytest.mark.parametrize(
    "document", [None, [], {}, {"nodes": []}, {"nodes": [{"id": 1}]}, {"nodes": {}}, "x", {"1": 2}]
)
def test_what_is_no_workflow_is_refused(document: Any, object_info: dict[str, Any]) -> None:
    with pytest.raises((NotConvertible, InvalidTemplate)):
        read_export(document, object_info)


def test_both_forms_give_the_same_template(object_info: dict[str, Any]) -> None:
    case = saved("sampler")
    page = read_export(case["workflow"], object_info)
    api = read_export({node: {**entry, "is_changed": [1]} for node, entry in case["prompt"].items()}, object_info)
    assert (page.form, api.form) == ("page", "api")
    assert [each.parameter for each in page.proposals] == [each.parameter for each in api.proposals]
    assert without_titles(page.prompt) == without_titles(api.prompt)


def test_proposals_say_what_they_are_and_become_parameters_only_when_they_are_named(
    object_info: dict[str, Any],
) -> None:
    export = read_export(saved("sampler")["workflow"], object_info)
    proposed = {each.name: (each.parameter.type, str(each.parameter.places[0])) for each in export.proposals}
    assert proposed["positive"] == ("text", "input text of node 2")
    assert proposed["negative"] == ("text", "input text of node 3")
    assert proposed["seed"] == ("seed", "input seed of node 6")
    assert proposed["ckpt"] == ("model", "input ckpt_name of node 1")
    assert make_template("mine", "", export, []).parameters == {}
    template = make_template("mine", "", export, ["seed", "positive"])
    assert set(template.parameters) == {"seed", "positive"}
    assert template.parameters["positive"].default == "a cat  sits \nsecond {x}"
    assert {each.node for each in template.outputs.values()} == {"8"}
    with pytest.raises(InvalidTemplate, match="Not proposed: steppes"):
        make_template("mine", "", export, ["steppes"])


def test_a_parameter_can_be_declared_and_goes_before_a_proposal_of_the_same_place(object_info: dict[str, Any]) -> None:
    export = read_export(saved("sampler")["workflow"], object_info)
    width = declared("width=4.width", export, object_info)
    strength = declared("strength=6.denoise:float", export, object_info)
    template = make_template("mine", "", export, ["denoise"], [width, strength])
    assert set(template.parameters) == {"width", "strength"}
    assert (width.type, width.low, width.default) == ("int", 16, 64)
    assert (strength.low, strength.high, strength.default) == (0.0, 1.0, 0.75)
    for wrong in ("width", "width=4", "w=99.width", "w=4.nothing", "w=4.width:strange"):
        with pytest.raises(InvalidTemplate):
            declared(wrong, export, object_info)


def test_every_proposal_of_every_saved_workflow_makes_a_template_that_fits(object_info: dict[str, Any]) -> None:
    for path in SAVED:
        export = read_export(json.loads(path.read_text(encoding="utf-8"))["workflow"], object_info)
        template = make_template("all", "", export, [each.name for each in export.proposals])
        # A node of "mixed" hangs on a muted one: that graph is wrong, its parameters are not.
        wrong = [problem.kind for problem in template.check(object_info) if not problem.missing]
        assert wrong == (["missing_input"] if path.stem == "mixed" else [])
