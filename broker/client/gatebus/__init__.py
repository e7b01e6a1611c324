"""A client for scripts and agents: see what waits, look at it, decide it; buses, pools and the farm besides.

It speaks the HTTP API of a broker, or of a ComfyUI with this pack, and is synchronous::

    >>> import gatebus
    >>> client = gatebus.Client("http://127.0.0.1:8787")

What waits, oldest first, and a picture of it::

    >>> gate = client.wait_for(timeout=60)
    >>> gate.title, gate.status, gate.routes, gate.labels
    ('portrait', 'waiting', 2, ('keep', 'redo'))
    >>> picture = client.image(gate)
    >>> picture.size
    (64, 48)
    >>> client.preview(gate)[:2]
    b'\\xff\\xd8'

A decision, with a mask (white is painted) and a text. It is made once: the same one again is
answered as success, another one raises the one that stands::

    >>> from PIL import Image
    >>> painted = Image.new("L", picture.size, 255)
    >>> client.route(gate, 2, by="anna", text="more light", mask=painted).decision.route
    2
    >>> client.route(gate, 2, text="more light").decision.by
    'anna'
    >>> try:
    ...     client.route(gate, 1)
    ... except gatebus.AlreadyDecided as error:
    ...     (error.status, error.type, error.details["decision"]["route"])
    (409, 'already_decided', 2)

What was decided wrongly runs on once more, by another route, without anything before the gate::

    client.again(gate, 1, by="anna")

An agent that decides whatever comes, over outages of the broker and of Redis; each gate is given
once, and none is missed::

    def agent(judge):
        with gatebus.Client("http://127.0.0.1:8787", token=os.environ["TOKEN"]) as client:
            for gate in client.watch(workflow="portraits"):
                try:
                    client.route(gate, judge(client.image(gate)), by="agent")
                except gatebus.Conflict:
                    pass  # a person was faster, or the prompt was stopped
                except gatebus.NotFound:
                    pass  # it ended while we looked

Buses and pools::

    >>> client.publish("cp1", picture, mask=painted, label="keeper").version
    1
    >>> [(bus.name, bus.width, bus.height, bus.mask) for bus in client.buses()]
    [('cp1', 64, 48, True)]
    >>> client.bus_image("cp1").size, client.bus_mask("cp1").getextrema()
    ((64, 48), (255, 255))
    >>> client.add_to_pool("faces", picture, label="smile").file
    'img_0001.png'
    >>> [(pool.pool_id, pool.count) for pool in client.pools()]
    [('faces', 1)]
    >>> client.pool("faces").slots[0].label
    'smile'

The farm: an image edited by a workflow template, wherever there is a place; and prompts of your own::

    def main():
        with gatebus.Farm("http://127.0.0.1:8787") as farm:
            result = farm.edit("cat.png", template="invert", output_dir="out", on_progress=print)
            print(result.image.path, "made at", result.instance)
            job = farm.wait(farm.submit(prompt, images={"10": "cat.png"}, title="cat"))
            if job.state == "done":
                Path("cat-2.png").write_bytes(farm.output(job))

Every error is a :class:`GatebusError` with ``status``, ``type``, ``message`` and ``details``.
:class:`StoreUnavailable` and :class:`Unreachable` are raised once what is harmless to repeat was
repeated for ``patience`` seconds.
"""

from typing import TYPE_CHECKING, Any

from gates.bus.record import BusHead, BusMeta
from gates.codec import Layout
from gates.errors import (
    AlreadyDecided,
    BusNotFound,
    Conflict,
    Forbidden,
    GatebusError,
    GateClosed,
    GateNotFound,
    InvalidImage,
    InvalidInput,
    InvalidName,
    JobEnded,
    JobNotFound,
    NotFound,
    PoolNotFound,
    QueueFull,
    SlotNotFound,
    StoreUnavailable,
    TakenBack,
    TooBusy,
    TooLarge,
    TooMany,
    Unauthorized,
    WrongHost,
)
from gates.gate.record import Decision, Gate
from gates.pool.manifest import Manifest, PoolInfo, Slot

from .answers import Unexpected, Unreachable
from .client import Client
from .images import Picture

if TYPE_CHECKING:
    from broker.jobs.record import Job

    from .farm import Farm

__all__ = [
    "AlreadyDecided",
    "BusHead",
    "BusMeta",
    "BusNotFound",
    "Client",
    "Conflict",
    "Decision",
    "Farm",
    "Forbidden",
    "Gate",
    "GateClosed",
    "GateNotFound",
    "GatebusError",
    "InvalidImage",
    "InvalidInput",
    "InvalidName",
    "Job",
    "JobEnded",
    "JobNotFound",
    "Layout",
    "Manifest",
    "NotFound",
    "Picture",
    "PoolInfo",
    "PoolNotFound",
    "QueueFull",
    "Slot",
    "SlotNotFound",
    "StoreUnavailable",
    "TakenBack",
    "TooBusy",
    "TooLarge",
    "TooMany",
    "Unauthorized",
    "Unexpected",
    "Unreachable",
    "WrongHost",
]


def __getattr__(name: str) -> Any:
    """What belongs to the farm is loaded when it is asked for: it needs parts of the broker, the rest does not."""
    if name not in ("Farm", "Job"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import farm

    return getattr(farm, name)
