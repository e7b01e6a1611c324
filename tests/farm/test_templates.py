"""A template: strict when it is read, and a value lands at its declared place and nowhere else."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.comfyui.library import SHIPPED, WorkflowLibrary
from broker.comfyui.parameters import SEED_DRAWN_MAX, SEED_MAX, Parameter, Place
from broker.comfyui.refusals import InvalidParameter, InvalidTemplate
from broker.comfyui.workflows import MAX_BYTES, Template, read_json
from gates.errors import InvalidInput

DOCUMENT: dict[str, Any] = {
    "name": "sample",
    "about": "For tests.",
    "version": 1,
    "parameters": {
        "positive": {"node": "6", "input": "text", "type": "text", "default": ""},
        "steps": {"node": "3", "input": "steps", "type": "int", "default": 20, "min": 1, "max": 150},
        "cfg": {"node": "3", "input": "cfg", "type": "float", "default": 7.0, "min": 0.0, "max": 30.0},
        "tiled": {"node": "3", "input": "tiled", "type": "flag", "default": False},
        "sampler": {"node": "3", "input": "sampler_name", "type": "choice", "choices": ["a", "b"], "default": "a"},
        "seed": {"node": "3", "input": "seed", "type": "seed", "also": [{"node": "12:3", "input": "noise_seed"}]},
        "image": {"node": "10", "input": "image", "type": "image", "max": 2048, "multiple": 8},
        "model": {"node": "4", "input": "ckpt_name", "type": "model", "default": "m.safetensors"},
    },
    "outputs": {"image": {"node": "9", "about": ""}},
    "prompt": {
        "3": {
            "class_type": "K",
            "inputs": {"seed": 0, "steps": 20, "cfg": 7.0, "tiled": False, "sampler_name": "a", "model": ["4", 0]},
        },
        "4": {"class_type": "C", "inputs": {"ckpt_name": "m.safetensors"}},
        "6": {"class_type": "T", "inputs": {"text": "", "clip": ["4", 1]}},
        "9": {"class_type": "S", "inputs": {"images": ["3", 0]}},
        "10": {"class_type": "L", "inputs": {"image": "image.png"}},
        "12:3": {"class_type": "N", "inputs": {"noise_seed": 0}},
    },
}
NAMES = list(DOCUMENT["parameters"])


def changed(path: str, value: Any) -> dict[str, Any]:
    """The document with one part changed; a value of ... takes it out."""
    document = deepcopy(DOCUMENT)
    *way, last = path.split("/")
    place: Any = document
    for step in way:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document


def test_a_template_is_the_same_after_json() -> None:
    template = Template.from_json(DOCUMENT)
    again = Template.from_json(json.loads(json.dumps(template.to_json())))
    assert again == template
    assert again.prompt == DOCUMENT["prompt"]


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("version", 2, "version"),
        ("version", True, "version"),
        ("prompt", ..., "prompt"),
        ("extra", 1, "extra"),
        ("name", "../up", "up"),
        ("outputs", {}, "outputs"),
        ("outputs/image/node", "99", "image"),
        ("parameters/steps/node", "99", "steps"),
        ("parameters/steps/node", 3, "steps"),
        ("parameters/steps/input", "model", "steps"),
        ("parameters/steps/input", "nothing", "steps"),
        ("parameters/steps/input", "seed", "seed"),
        ("parameters/steps/type", "number", "steps"),
        ("parameters/steps/default", 0, "steps"),
        ("parameters/steps/default", 3.0, "steps"),
        ("parameters/steps/default", True, "steps"),
        ("parameters/steps/min", 151, "steps"),
        ("parameters/steps/minimum", 1, "steps"),
        ("parameters/cfg/max", math.inf, "cfg"),
        ("parameters/sampler/choices", [], "sampler"),
        ("parameters/sampler/choices", ["a", {}], "sampler"),
        ("parameters/sampler/default", "c", "sampler"),
        ("parameters/tiled/min", 0, "tiled"),
        ("parameters/image/multiple", 4096, "image"),
        ("parameters/image/max", 4, "image"),
        ("parameters/seed/also", [{"node": "3", "input": "seed"}], "seed"),
        ("parameters/seed/also", "3.seed", "seed"),
        ("parameters/positive", [], "positive"),
        ("prompt/3/inputs/model", ["77", 0], "node 3"),
        ("prompt/3/inputs/model", ["4", -1], "node 3"),
        ("prompt/3/inputs/model", ["4", 0, 0], "node 3"),
        ("prompt/3/class_type", "", "node 3"),
        ("prompt/3/is_changed", [1], "node 3"),
        ("prompt/3/inputs/cfg", math.nan, "cfg"),
    ],
)
def test_what_is_wrong_in_a_document_is_refused_by_name(path: str, value: Any, named: str) -> None:
    if isinstance(value, float) and math.isnan(value):
        with pytest.raises(InvalidTemplate, match="NaN"):
            read_json(json.dumps(changed(path, value)).encode(), "x")
        return
    with pytest.raises(InvalidInput) as refused:
        Template.from_json(changed(path, value))
    assert named in refused.value.message
    if path.startswith("parameters/"):
        assert refused.value.details["template"] == "sample"
        assert refused.value.details["parameter"] == ("seed" if value == "seed" else path.split("/")[1])


def test_bytes_that_are_too_many_or_say_a_key_twice_are_refused() -> None:
    with pytest.raises(InvalidTemplate, match="accepted"):
        read_json(b" " * (MAX_BYTES + 1), "x")
    with pytest.raises(InvalidTemplate, match="twice"):
        read_json(b'{"a": 1, "a": 2}', "x")
    with pytest.raises(InvalidTemplate):
        read_json(b"[" * 100_000, "x")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*NAMES, "unknown"]), ANYTHING, max_size=4))
def test_a_value_lands_at_its_place_alone_or_is_refused(values: dict[str, Any]) -> None:
    template = Template.from_json(DOCUMENT)
    before = deepcopy(dict(template.prompt))
    try:
        filled = template.fill(values)
    except InvalidParameter:
        assert template.prompt == before
        return
    assert template.prompt == before
    assert set(filled.values) == set(NAMES)
    left = deepcopy(filled.prompt)
    for name, parameter in template.parameters.items():
        for place in parameter.places:
            written = left[place.node]["inputs"].pop(place.input)
            del before[place.node]["inputs"][place.input]
            assert written == filled.values[name]
            # A list would be read as a link, a dict as a wrapped value.
            assert type(written) in (str, int, float, bool)
            assert values.get(name) is None or (
                type(written) in (type(values[name]), float) and written == values[name]
            )
    assert left == before
    json.dumps(filled.prompt, allow_nan=False)


@given(st.integers() | st.floats(), st.integers(-50, 50), st.integers(-50, 50))
def test_a_number_is_accepted_exactly_within_its_bounds(value: float, one: int, other: int) -> None:
    low, high = min(one, other), max(one, other)
    for kind, types in (("int", (int,)), ("float", (int, float))):
        parameter = Parameter("n", kind, (Place("1", "n"),), None, low, high)
        accepted = type(value) in types and low <= value <= high
        if accepted:
            assert parameter.check(value) == value
        else:
            with pytest.raises(InvalidParameter) as refused:
                parameter.check(value)
            assert refused.value.details["node"] == "1"
            assert f"{low} to {high}" in refused.value.message


@given(st.integers(0, SEED_MAX), st.integers(0, SEED_MAX))
def test_a_drawn_seed_is_within_its_bounds_and_one_that_is_given_stays(one: int, other: int) -> None:
    low, high = min(one, other), max(one, other)
    parameter = Parameter("seed", "seed", (Place("1", "seed"),), None, low, high)
    assert low <= parameter.check(None) <= high
    assert parameter.check(high) == high


def test_a_seed_that_is_not_given_is_drawn_recorded_and_written_to_all_its_places() -> None:
    template = Template.from_json(DOCUMENT)
    drawn = [template.fill({"image": "a.png"}) for _ in range(50)]
    assert len({filled.seed for filled in drawn}) > 45
    for filled in drawn:
        assert filled.seed is not None
        assert 0 <= filled.seed <= SEED_DRAWN_MAX
        assert filled.prompt["3"]["inputs"]["seed"] == filled.prompt["12:3"]["inputs"]["noise_seed"] == filled.seed
    again = template.fill({**drawn[0].values})
    assert again == drawn[0]


def test_unknown_and_missing_parameters_are_refused_by_name() -> None:
    template = Template.from_json(DOCUMENT)
    with pytest.raises(InvalidParameter, match="no parameter stepz; there are: positive, steps"):
        template.fill({"image": "a.png", "stepz": 1})
    with pytest.raises(InvalidParameter, match="needs image") as refused:
        template.fill({})
    assert refused.value.details["parameters"] == ["image"]


@pytest.mark.parametrize(
    "file", ["", "../a.png", "a/../b.png", "/a.png", "a\\b.png", "C:a.png", "a\n.png", "a//b", 3, None]
)
def test_a_file_name_that_could_lead_elsewhere_is_refused(file: Any) -> None:
    with pytest.raises(InvalidParameter):
        Parameter("image", "image", (Place("1", "image"),)).check(file)


@pytest.mark.parametrize("file", ["a.png", "gatebus/0123.png", "sub/a (1).png", "a.png [temp]", "絵.png"])
def test_a_file_name_as_comfyui_returns_it_is_accepted(file: str) -> None:
    assert Parameter("image", "image", (Place("1", "image"),)).check(file) == file


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("steps", "30", 30),
        ("cfg", "2.5", 2.5),
        ("tiled", "Yes", True),
        ("tiled", "0", False),
        ("sampler", "b", "b"),
        ("seed", "18446744073709551615", SEED_MAX),
        ("positive", "30", "30"),
    ],
)
def test_the_text_of_a_command_line_is_read_as_the_parameter_s_type(name: str, text: str, value: Any) -> None:
    assert Template.from_json(DOCUMENT).parameters[name].read(text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("steps", "3.0"),
        ("steps", "x"),
        ("steps", "9" * 30),
        ("cfg", "nan"),
        ("cfg", "x"),
        ("tiled", "2"),
        ("sampler", "c"),
        ("seed", "-1"),
    ],
)
def test_a_text_that_is_no_such_value_is_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidParameter):
        Template.from_json(DOCUMENT).parameters[name].read(text)


def test_a_choice_takes_one_and_true_apart() -> None:
    parameter = Parameter("n", "choice", (Place("1", "n"),), None, choices=(1, 2))
    assert parameter.check(1) == 1
    for other in (True, 1.0, "1"):
        with pytest.raises(InvalidParameter, match="one of 1, 2"):
            parameter.check(other)


def test_the_shipped_templates_lack_nothing_but_models(object_info: dict[str, Any]) -> None:
    entries = WorkflowLibrary().entries()
    shipped = {"img2img_default", "inpaint_masked", "controlnet_canny", "invert", "scale_and_blend_masked"}
    assert {entry.name for entry in entries} == shipped == {path.stem for path in SHIPPED.glob("*.json")}
    for entry in entries:
        assert entry.template is not None, entry.problem
        problems = entry.template.check(object_info)
        models = entry.template.of_type("model")
        assert [problem.parameter for problem in problems if problem.kind == "missing_model"] == [
            m.name for m in models
        ]
        assert len(problems) == len(models)
        if not models:
            assert entry.template.fill(
                {each.name: "a.png" for each in entry.template.parameters.values() if each.required}
            )


def test_the_defaults_of_a_shipped_template_are_what_stands_in_its_prompt() -> None:
    for entry in WorkflowLibrary().entries():
        assert entry.template is not None
        for parameter in entry.template.parameters.values():
            for place in parameter.places:
                if parameter.default is not None:
                    assert entry.template.prompt[place.node]["inputs"][place.input] == parameter.default
