"""The routes of instances, their events, and the command that lists them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gates.instances.record import Device, Instance, Running

STUDIO = Instance(
    name="studio",
    url="http://studio:8188",
    devices=(Device("RTX 4090", "cuda", 24 * 2**30, 2**30),),
    running=(Running("p1", "portrait", "abcdef01", 5, "12:3", "KSampler", 0.5),),
    pending=1,
)


async def test_instances_are_listed_shown_and_told_of(host: Any, follow: Callable[..., Any]) -> None:
    assert await host.json("/gatebus/instances") == {"instances": []}
    stream = await follow(host)
    await stream.until("snapshot")
    shown = host.store.instances.announce(STUDIO)
    assert await stream.until("instance") == {"type": "instance", "id": shown.id, "name": "studio", "state": "here"}
    (listed,) = (await host.json("/gatebus/instances"))["instances"]
    assert listed == await host.json(f"/gatebus/instances/{shown.id}")
    assert (listed["name"], listed["running"][0]["title"], listed["devices"][0]["name"], listed["gone"]) == (
        "studio",
        "KSampler",
        "RTX 4090",
        False,
    )
    host.store.instances.withdraw()
    assert (await stream.until("instance"))["state"] == "withdrawn"
    answer = await host.json(f"/gatebus/instances/{shown.id}", status=404)
    assert answer["error"]["type"] == "instance_not_found"
    assert (await host.json("/gatebus/instances/x", status=400))["error"]["type"] == "invalid_name"
