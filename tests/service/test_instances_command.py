"""``gatebus instances``: the farm's ComfyUI processes as a table and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

from gates.instances.record import Device, Instance, Running
from tests.service.processes import Gatebus, Studio, until

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
    assert head.split() == ["INSTANCE", "ADDRESS", "RUNS", "QUEUED", "MEMORY", "COMFYUI", "SEEN", "ID"]
    for piece in ("studio", "http://studio:8188", "KSampler 50%", " 3 ", "15.0 of 24.0 GiB", "0.3.64", shown.id[:8]):
        assert piece in row
    (listed,) = json.loads(gatebus("instances", "--json").out)
    assert listed == json.loads(json.dumps(shown.to_json()))
    studio.store.instances.announce(replace(STUDIO, running=()))
    assert "idle" in gatebus("instances").out
    until(lambda: "gone" in gatebus("instances").out, "the end of the lease")
