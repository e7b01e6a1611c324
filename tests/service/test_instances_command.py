"""``gatebus instances``: the farm's ComfyUI processes as a table and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gates.instances.record import Device, Instance, Running
from tests.service.processes import Gatebus, Studio, refused, until
from tests.service.test_completion import offered

STUDIO = Instance(
    name="studio",
    url="http://studio:8188",
    comfyui="0.3.64",
    devices=(Device("RTX 4090", "cuda", 24 * 2**30, 9 * 2**30),),
    running=(Running("p1", "portrait", "abcdef01", 5, "12:3", "KSampler", 0.5),),
    pending=3,
)


def test_they_are_listed_with_what_they_run(gatebus: Gatebus, studio: Studio) -> None:
    assert gatebus("instances").out.startswith("No instance")
    shown = studio.store.instances.announce(STUDIO)
    head, row = gatebus("instances").out.splitlines()
    assert head.split() == ["INSTANCE", "ADDRESS", "RUNS", "QUEUED", "FARM", "MEMORY", "COMFYUI", "SEEN", "ID"]
    for piece in ("studio", "http://studio:8188", "KSampler 50%", " 3 ", "15.0 of 24.0 GiB", "0.3.64", shown.id[:8]):
        assert piece in row
    (listed,) = json.loads(gatebus("instances", "--json").out)
    assert listed.pop("place") == {"state": "", "by": "", "held": 0}
    assert listed == json.loads(json.dumps(shown.to_json()))
    studio.store.instances.announce(replace(STUDIO, running=()))
    assert "idle" in gatebus("instances").out
    until(lambda: "gone" in gatebus("instances").out, "the end of the lease")


def test_one_is_paused_drained_and_resumed_by_its_name_its_id_or_the_beginning_of_that(
    gatebus: Gatebus, studio: Studio
) -> None:
    shown = studio.store.instances.announce(replace(STUDIO, name="studio"))
    told = gatebus("instances", "pause", "studio", "--by", "ann")
    assert (told.code, told.out) == (0, f"studio ({shown.id[:8]}) is paused\n")
    assert "paused by ann" in gatebus("instances").out
    (listed,) = json.loads(gatebus("instances", "--json").out)
    assert listed["place"] == {"state": "paused", "by": "ann", "held": 0}
    drained = json.loads(gatebus("instances", "drain", shown.id, "--json").out)
    assert drained == {"instance": shown.id, "state": "draining", "by": "-", "held": 0}
    assert "is in service" in gatebus("instances", "resume", shown.id[:6]).out
    assert "paused" not in gatebus("instances").out


def test_one_that_the_settings_list_is_found_by_its_address(
    gatebus: Gatebus, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEBUS_COMFYUI_URLS", "http://desk:8188")
    for name in ("desk:8188", "http://desk:8188"):
        assert "desk:8188 " in gatebus("instances", "pause", name).out


def test_a_name_of_none_or_of_several_is_refused_with_what_there_is(gatebus: Gatebus, studio: Studio) -> None:
    assert "none is there" in refused(gatebus("instances", "pause", "studio"), 3)
    studio.store.instances.announce(STUDIO)
    assert "there are: studio" in refused(gatebus("instances", "resume", "desk"), 3)
    assert gatebus("instances", "pause").code == 2


def test_names_of_instances_are_offered(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    studio.store.instances.announce(STUDIO)
    monkeypatch.setenv("GATEBUS_STORE_URL", studio.url)
    for command in ("pause", "drain", "resume"):
        assert offered("instances", command, "st") == ["studio"]
    assert set(offered("instances", "")) == {"pause", "drain", "resume"}
