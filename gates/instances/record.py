"""What a running ComfyUI process tells of itself, and what every registry of instances promises.

An instance announces itself under a lease and renews it; one that ends in order withdraws
itself. When the lease runs out it is shown as gone for :data:`GONE_KEPT`, then forgotten.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

GONE_KEPT = 86_400.0
"""Seconds for which an instance whose lease ran out is still shown."""

PENDING_SHOWN = 20
"""Pending prompts that an instance tells of, those next in turn; the count is of all."""

CLIENT_SHOWN = 8
"""Characters of a tab's id: enough to tell tabs apart, too few to pass for one."""


@dataclass(frozen=True)
class Device:
    """What an instance computes on."""

    name: str
    type: str
    """As torch names it: ``cuda``, ``mps``, ``cpu``, …"""
    vram_total: int
    """Bytes; on the CPU the machine's memory."""
    vram_free: int
    """Bytes."""


@dataclass(frozen=True)
class Running:
    """A prompt that runs."""

    prompt_id: str
    workflow: str
    """The workflow's name where the prompt carries one, else its id, else ""."""
    client: str
    """The first characters of the id of the tab that queued it."""
    started: int
    """Milliseconds since the epoch, by the store's clock, to about a second."""
    node: str
    """The execution id of the node that runs, "" between two."""
    title: str
    """That node's title, else its class."""
    progress: float
    """Of that node, 0 to 1; -1 when it tells none."""


@dataclass(frozen=True)
class Pending:
    """A prompt in the queue."""

    prompt_id: str
    workflow: str
    client: str
    position: int
    """From 1: the one that runs next."""


@dataclass(frozen=True)
class Instance:
    """One ComfyUI process with this pack."""

    id: str = ""
    """32 hex digits, the same after a restart. Set by the store, as ``boot``."""
    boot: str = ""
    """8 hex digits, new at every start; ``id:boot`` is the owner of the gates that wait there."""
    host: str = ""
    """The machine's name."""
    name: str = ""
    """The setting ``instance``: what people call it, and what its gates carry."""
    url: str = ""
    """Under which a browser opens that ComfyUI, "" when that is not known."""
    reach: str = ""
    """Whose word ``url`` is: ``setting``, ``guess`` (by its network) or ``loopback`` (its machine alone)."""
    version: str = ""
    """Of this pack."""
    comfyui: str = ""
    frontend: str = ""
    python: str = ""
    torch: str = ""
    system: str = ""
    """The operating system."""
    devices: tuple[Device, ...] = ()
    ram_total: int = 0
    """Bytes."""
    ram_free: int = 0
    """Bytes."""
    running: tuple[Running, ...] = ()
    pending: int = 0
    """Prompts in the queue besides those that run."""
    next: tuple[Pending, ...] = ()
    """The first :data:`PENDING_SHOWN` of them."""
    started: int = 0
    """Milliseconds since the epoch, by the store's clock."""
    seen: int = 0
    """When it last announced itself; milliseconds since the epoch, by the store's clock. Set by the store."""
    gone: bool = False
    """Whether its lease has run out. Set by the store."""

    def to_json(self) -> dict[str, Any]:
        """The instance as the HTTP API shows it."""
        return asdict(self)

    @property
    def face(self) -> str:
        """What people see change at once; another face is worth an event, a renewal and progress are not."""
        prompts = [each.prompt_id for each in self.running] + [each.prompt_id for each in self.next]
        return f"{self.boot} {self.name} {self.url} {len(self.running)} {self.pending} {','.join(prompts)}"


class InstanceStore(Protocol):
    """The registry of one store; thread-safe. A store that is away raises StoreUnavailable."""

    def announce(self, instance: Instance) -> Instance:
        """Shows this process to everyone for one lease, and returns it as shown: with id, boot and ``seen``.

        An event ``instance`` follows when its face is another one. Raises Conflict when another
        living process on another machine has the same id: a state folder was copied.
        """
        ...

    def withdraw(self) -> None:
        """Takes this process out of the registry at once; nothing when it is not there."""
        ...

    def records(self) -> list[Instance]:
        """Those that live and those that are gone and still shown, by name, then id.

        One that is first seen to be gone is marked so, with an event.
        """
        ...

    def get(self, instance_id: str) -> Instance:
        """One of them; raises InvalidName or InstanceNotFound."""
        ...
