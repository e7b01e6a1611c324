"""What is to be told to one target: gathered, claimed from the other brokers, sent, marked as told."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from gates.errors import StoreUnavailable

from .claims import Claims, Notified
from .delivery import Delivery
from .message import Message, Notice
from .target import Target

GATHER = 5.0
"""Seconds from the first thing to tell until the message is made of all that has come."""

LIMIT = 10_000
"""Things to tell that are kept for one target; what comes beyond is dropped and counted."""

PAUSE = 2.0
"""Seconds until the next try when the store is away."""

log = logging.getLogger(__name__)

Blocking = Callable[..., Awaitable[Any]]
"""Runs a function that blocks on a thread of the notifications' own."""

Reader = Callable[[Sequence[Notified]], list[Notice]]
"""Those of the things to tell that are still true, with their gates as they are now; blocks."""


class Outbox:
    """The messages to one target; used on one event loop."""

    def __init__(
        self,
        target: Target,
        claims: Claims,
        delivery: Delivery,
        read: Reader,
        picture: Callable[[str], bytes | None],
        blocking: Blocking,
        counts: Counter[str],
        told: Callable[[str, bool], object],
        public_url: str,
        every: float,
    ) -> None:
        self.target = target
        self._claims = claims
        self._delivery = delivery
        self._read = read
        self._picture = picture
        self._blocking = blocking
        self._counts = counts
        self._told = told
        self._public_url = public_url
        self._every = every
        self._pending: dict[Notified, str] = {}
        self._held: dict[Notified, float] = {}
        """Those that another broker is telling -> when to look whether it has, by the loop's clock."""
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def cursor(self) -> str:
        """The place in the events of the oldest thing that is not told, "" when all is."""
        return next(iter(self._pending.values()), "")

    def add(self, notified: Notified, cursor: str) -> None:
        """Has it told; ``cursor`` is a place in the events before it."""
        if len(self._pending) >= LIMIT and notified not in self._pending:
            if not self._counts["overflowed"]:
                log.warning("gatebus: %s: more than %d things to tell; the rest is dropped", self.target.name, LIMIT)
            self._counts["overflowed"] += 1
            return
        self._pending.setdefault(notified, cursor)
        self._wake.set()

    async def run(self) -> None:
        """Tells, until it is cancelled."""
        while True:
            await self._something()
            await asyncio.sleep(min(GATHER, self._every))
            try:
                while wait := await self._flush():
                    await asyncio.sleep(wait)
            except StoreUnavailable as error:
                log.debug("gatebus: %s", error)
                await asyncio.sleep(PAUSE)
            except Exception:
                # Whatever it was, the next thing to tell must find this running.
                log.exception("gatebus: %s: telling failed; trying again", self.target.name)
                await asyncio.sleep(PAUSE)

    async def _something(self) -> None:
        """Waits until there is something that nobody else is telling."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            self._held = {notified: due for notified, due in self._held.items() if due > now}
            if len(self._pending) > len(self._held):
                return
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), min(self._held.values()) - now if self._held else None)
            except asyncio.TimeoutError:
                continue

    async def _flush(self) -> float:
        """Tells what is to be told; 0, or the seconds until it is worth another try: another broker has the turn."""
        key = self.target.key
        free = await self._unclaimed()
        if not free:
            return 0.0
        if wait := await self._blocking(self._claims.take_turn, key, self._every):
            return float(wait)
        claimed: list[Notified] = []
        try:
            # Once more: while it waited for its turn others may have told, and gates may have been decided.
            free = await self._unclaimed()
            if free:
                mine = await self._blocking(self._claims.claim, key, free)
                claimed = [notified for notified, is_mine in zip(free, mine, strict=True) if is_mine]
                self._hold(set(free) - set(claimed))
        finally:
            if not claimed:
                await self._blocking(self._claims.release_turn, key)
        if claimed:
            await self._tell(claimed)
        return 0.0

    async def _unclaimed(self) -> list[Notified]:
        """What is still true and nobody has told or is telling; the rest is forgotten, or looked at again later."""
        candidates = [notified for notified in self._pending if notified not in self._held]
        states = await self._blocking(self._claims.told, self.target.key, candidates)
        self._hold({notified for notified, told in zip(candidates, states, strict=True) if told is False})
        free = [notified for notified, told in zip(candidates, states, strict=True) if told is None]
        true = {(notice.event, notice.gate.id) for notice in await self._blocking(self._read, free)}
        held = self._held
        for notified in candidates:
            if notified not in true and notified not in held:
                del self._pending[notified]
        return [notified for notified in free if notified in true]

    def _hold(self, others: set[Notified]) -> None:
        due = asyncio.get_running_loop().time() + self._claims.lease + 1
        self._held.update(dict.fromkeys(others, due))

    async def _tell(self, claimed: list[Notified]) -> None:
        async with self._leased(claimed):
            notices = tuple(await self._blocking(self._read, claimed))
            if notices:
                picture = await self._blocking(self._picture, notices[0].gate.id) if len(notices) == 1 else None
                message = Message(uuid.uuid4().hex, notices, self._public_url, picture)
                accepted = await self._delivery.deliver(self.target, message)
                self._counts["sent" if accepted else "dropped"] += 1
                self._counts["gates"] += len(notices) if accepted else 0
                self._told(self.target.form, accepted)
            await self._mark(claimed)
        for notified in claimed:
            del self._pending[notified]

    async def _mark(self, claimed: list[Notified]) -> None:
        """Says that they are told, however long the store is away: else they would be told again."""
        while True:
            try:
                await self._blocking(self._claims.done, self.target.key, claimed)
                return
            except StoreUnavailable:
                await asyncio.sleep(PAUSE)

    @asynccontextmanager
    async def _leased(self, claimed: list[Notified]) -> AsyncIterator[None]:
        """Keeps the claims inside."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(self._claims.lease / 3)
                try:
                    await self._blocking(self._claims.renew, self.target.key, claimed)
                except StoreUnavailable as error:
                    log.debug("gatebus: %s", error)

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()
