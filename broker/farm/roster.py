"""The instances of the farm: those that announce themselves and those that the settings list, and what each can do."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gates.instances.record import Instance
from gates.store import Store

from ..cancelling import cancelled
from ..comfyui.client import ComfyClient
from ..comfyui.errors import ComfyError
from ..comfyui.machine import SystemStats
from ..comfyui.outcome import Queue
from ..jobs.record import Place
from .breaker import Breaker
from .choosing import Candidate, Capabilities
from .heeding import answered

REFRESH = 120.0
"""Seconds after which it is asked again what an instance has: models come without a restart."""

LOOK = 2.0
"""Seconds between two looks at an instance that does not announce itself."""

Blocking = Callable[..., Awaitable[Any]]
"""Runs a function of the store in a thread."""

log = logging.getLogger(__name__)


@dataclass
class Member:
    """An instance, and what the broker knows of it by its own experience."""

    id: str
    name: str
    url: str
    client: ComfyClient
    breaker: Breaker = field(default_factory=Breaker)
    boot: str = ""
    announced: bool = False
    here: bool = True
    """Whether it announces itself still; of a listed one, whether it answered last."""
    unusable: str = ""
    queue: int = 0
    vram_free: int = 0
    capabilities: Capabilities | None = None
    asked: float = float("-inf")
    """When its capabilities were asked for; monotonic seconds."""
    looked: float = float("-inf")
    look: asyncio.Task[None] | None = None
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)


class Roster:
    """The members, by id; used on one event loop."""

    def __init__(
        self,
        store: Store,
        listed: Sequence[str],
        limit: int,
        client_of: Callable[[str], ComfyClient],
        blocking: Blocking,
    ) -> None:
        """``listed``: URLs of instances that need not announce themselves. ``limit``: jobs of each at a time."""
        self.members: dict[str, Member] = {}
        self._store = store
        self._listed = [url.rstrip("/") for url in listed]
        self._limit = limit
        self._client_of = client_of
        self._blocking = blocking
        self._strangers: dict[str, ComfyClient] = {}

    async def look(self) -> None:
        """Reads the registry, and begins to ask those of which something is not known; raises StoreUnavailable."""
        records = await self._blocking(self._store.instances.records)
        urls = set()
        present = set[str]()
        for record in records:
            if record.url:
                urls.add(record.url.rstrip("/"))
                present.add(record.id)
                self._take(record)
        for url in self._listed:
            if url not in urls:
                member_id = listed_id(url)
                present.add(member_id)
                if member_id not in self.members:
                    self.members[member_id] = Member(member_id, url.partition("://")[2], url, self._client_of(url))
                    self.members[member_id].here = False
                    self.members[member_id].unusable = "it was not asked yet"
        for member_id in set(self.members) - present:
            # Of one that withdrew itself, jobs may still have to be fetched.
            self.members[member_id].here = False
            self.members[member_id].unusable = "it has ended"
        for member in self.members.values():
            self._ask(member)

    def candidates(self, places: dict[str, Place]) -> list[Candidate]:
        """Every instance as it is now; may be called from any thread."""
        found = []
        for member in list(self.members.values()):
            left = member.breaker.left
            unusable = member.unusable or (f"left alone for {left:.0f} s: {member.breaker.why}" if left else "")
            place = places.get(member.id, Place())
            facts = (place, unusable, member.capabilities, member.queue, member.vram_free, self._limit)
            seen = member.announced and member.here
            found.append(Candidate(member.id, member.name, member.url, *facts, announced=seen))
        return found

    def client(self, instance: str, url: str) -> ComfyClient:
        """The client of an instance, also of one that is not in the farm any more."""
        member = self.members.get(instance)
        if member is not None and member.url == url:
            return member.client
        if url not in self._strangers:
            self._strangers[url] = self._client_of(url)
        return self._strangers[url]

    def sending(self, instance: str) -> asyncio.Lock:
        """Held while a job is sent to the instance, with its files: whoever asks first has it first."""
        member = self.members.get(instance)
        return member.sending if member is not None else asyncio.Lock()

    def failed(self, instance: str, why: str) -> None:
        """Leaves the instance alone for a while."""
        if instance in self.members:
            self.members[instance].breaker.failed(why)

    def worked(self, instance: str) -> None:
        """The instance did what it was to do."""
        if instance in self.members:
            self.members[instance].breaker.worked()

    def is_gone(self, instance: str) -> bool:
        """Whether it announced itself once and does not any more; never true of one that is only listed."""
        member = self.members.get(instance)
        return member is None or (member.announced and not member.here)

    def announces(self, instance: str) -> bool:
        """Whether it announces itself now, so that its lease tells whether it lives."""
        member = self.members.get(instance)
        return member is not None and member.announced and member.here

    async def close(self) -> None:
        """Closes every client."""
        looks = [member.look for member in self.members.values() if member.look is not None]
        await cancelled(looks)
        for client in (*(member.client for member in self.members.values()), *self._strangers.values()):
            await client.close()

    def _take(self, record: Instance) -> None:
        url = record.url.rstrip("/")
        member = self.members.get(record.id)
        if member is None or member.url != url:
            if member is not None:
                self._strangers[member.url] = member.client
            client = self._strangers.pop(url, None) or self._client_of(url)
            member = self.members[record.id] = Member(record.id, record.name, url, client, announced=True)
        if record.boot != member.boot:
            member.boot, member.capabilities, member.asked = record.boot, None, float("-inf")
            member.breaker = Breaker()
        member.name, member.here = record.name, not record.gone
        member.queue = len(record.running) + record.pending
        member.vram_free = sum(device.vram_free for device in record.devices[:1])
        member.unusable = ""
        if record.gone:
            member.unusable = "it announces itself no more"
        elif record.reach == "loopback" and record.host != socket.gethostname():
            member.unusable = "it tells an address of its own machine only; set GATEBUS_INSTANCE_URL there"

    def _ask(self, member: Member) -> None:
        now = time.monotonic()
        if member.look is not None and not member.look.done():
            return
        wants_more = member.capabilities is None or now - member.asked > REFRESH
        wants_look = not member.announced and now - member.looked > LOOK
        if not (wants_more or wants_look) or member.breaker.left or (member.announced and member.unusable):
            return
        member.look = asyncio.get_running_loop().create_task(self._asked(member))

    async def _asked(self, member: Member) -> None:
        try:
            if not member.announced:
                member.looked = time.monotonic()
                queue, stats = await answered(_looked(member.client))
                member.queue = len(queue.running) + len(queue.pending)
                member.vram_free = sum(device.vram_free for device in stats.devices[:1])
                if not member.here:
                    # It may have been started anew, with other nodes.
                    member.capabilities = None
                member.here, member.unusable = True, ""
            if member.capabilities is None or time.monotonic() - member.asked > REFRESH:
                info = await member.client.object_info()
                member.capabilities = await asyncio.to_thread(Capabilities.of_object_info, info)
                member.asked = time.monotonic()
            member.breaker.worked()
        except ComfyError as error:
            log.debug("gatebus: %s: %s", member.name, error)
            member.breaker.failed(error.message)
            if not member.announced:
                member.here, member.unusable = False, f"it does not answer: {error.message}"


def listed_instances(urls: Sequence[str], records: Sequence[Instance]) -> list[Instance]:
    """Those of the listed ones that do not announce themselves, with what is known without asking them."""
    announced = {record.url.rstrip("/") for record in records}
    plain = [url.rstrip("/") for url in urls]
    return [
        Instance(id=listed_id(url), name=url.partition("://")[2], url=url, reach="setting")
        for url in plain
        if url not in announced
    ]


async def _looked(client: ComfyClient) -> tuple[Queue, SystemStats]:
    return await client.queue(), await client.system_stats()


def listed_id(url: str) -> str:
    """The id of an instance that is known by its address alone."""
    return hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:32]
