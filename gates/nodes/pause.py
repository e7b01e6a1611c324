"""A gate node's stay inside a prompt: it waits without blocking the prompt's event loop, and
notices within :data:`LOOK` seconds that the prompt was stopped.

ComfyUI runs each prompt under an event loop of its own and looks at its interrupt flag only
between nodes, so a node that waits has to look itself. Nothing here outlives the loop: blocking
steps run in threads that belong to the process, and one that is left behind reports to nobody.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from .. import comfy
from ..errors import GateBusy, StoreUnavailable
from ..gate.record import Waiter

if TYPE_CHECKING:
    from .parking import Parking

LOOK = 0.1
"""Seconds between two looks at ComfyUI's interrupt flag; the promise to people is 0.3."""

LONGEST_REST = 2.0
"""Seconds, at most, between two attempts at a store that does not answer."""

log = logging.getLogger(__name__)

T = TypeVar("T")

Subscribe = Callable[[Callable[[], None]], object]
"""Takes a callback, and calls it once, from any thread."""

# Steps are short or bounded by the socket's timeout; uploads may take long, so they wait for each other only.
_STEPS = ThreadPoolExecutor(16, "gatebus-step")
_UPLOADS = ThreadPoolExecutor(2, "gatebus-upload")


@dataclass
class Siblings:
    """The calls of one node over the items of a list. ComfyUI waits for all of them, also after one has failed."""

    count: int = 0
    failure: BaseException | None = None
    parking: Parking | None = None
    """How those of them that park do so together (``parking.py``)."""


_siblings: dict[tuple[str, str], Siblings] = {}


class Pause:
    """One call of a gate node, from begin to end; a context manager, used on the prompt's event loop only.

    When one call of a list fails or is stopped, the others end with the same exception: else the
    node would wait on for decisions that nobody needs any more.
    """

    def __init__(self, at: comfy.Place) -> None:
        self._at = at
        self._key = (at.prompt_id, at.node_id)
        self._inside = threading.Lock()
        self._over = False

    def __enter__(self) -> Pause:
        self._group = _siblings.setdefault(self._key, Siblings())
        self._group.count += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._inside:
            self._over = True
        if error is not None and not isinstance(error, asyncio.CancelledError) and self._group.failure is None:
            self._group.failure = error
        self._group.count -= 1
        if self._group.count == 0:
            _siblings.pop(self._key, None)

    async def step(
        self, call: Callable[[], T], discard: Callable[[T], object] | None = None, when: Subscribe | None = None
    ) -> T:
        """The result of the blocking call, made in a thread: at once, or as soon as ``when`` calls back.

        When the prompt is stopped meanwhile, the call is left behind; what it then still returns
        goes to ``discard``.
        """
        future: Future[T] = Future()

        def start() -> None:
            if future.set_running_or_notify_cancel():
                _STEPS.submit(_run, call, future)

        try:
            # Straight from the callback's thread: by way of the event loop it would take longer.
            (when or _at_once)(start)
            await self.until(lambda wake: future.add_done_callback(lambda _: wake()))
        except BaseException:
            if not future.cancel():
                future.add_done_callback(lambda left: _leave(left, discard))
            raise
        return future.result()

    async def patiently(self, call: Callable[[], T], when: Subscribe) -> T:
        """As :meth:`step`, but a store that does not answer is asked again until it does or the prompt is stopped."""
        try:
            return await self.step(call, when=when)
        except StoreUnavailable as error:
            log.warning("gatebus: %s", error.message)
            comfy.notice(self._at, "warn", f"The gate was decided and goes on later. {error.message}")
        rest = 0.1
        while True:
            await self.rest(rest)
            try:
                return await self.step(call)
            except StoreUnavailable as error:
                log.debug("gatebus: %s", error.message)
                rest = min(2 * rest, LONGEST_REST)

    async def at_last(self, call: Callable[[], T], discard: Callable[[T], object] | None = None) -> T:
        """As :meth:`step`, but what is busy or away is asked again until it is not, or the prompt is stopped."""
        rest = 0.1
        while True:
            try:
                return await self.step(call, discard)
            except (GateBusy, StoreUnavailable) as error:
                log.log(logging.INFO if rest == 0.1 else logging.DEBUG, "gatebus: waiting: %s", error.message)
            await self.rest(rest)
            rest = min(2 * rest, LONGEST_REST)

    async def rest(self, seconds: float) -> None:
        """Returns after so many seconds; raises when the prompt stops."""
        loop = asyncio.get_running_loop()
        await self.until(lambda wake: loop.call_later(seconds, wake))

    @property
    def siblings(self) -> Siblings:
        """The calls of this node over the items of a list, this one among them."""
        return self._group

    def watch(self, waiter: Waiter) -> None:
        """Stops the prompt, busy nodes included, when that is the decision; from any thread.

        To be called where the gate is opened, and again when a decision was taken back, from the
        thread that learns of it: while a sampler keeps the event loop busy, nothing else of this
        node runs.
        """

        def seen() -> None:
            if waiter.decision is not None and waiter.decision.kind != "route":
                self._stop_prompt()

        waiter.on_decision(seen)

    def _stop_prompt(self) -> None:
        """Tells ComfyUI to stop this prompt, unless it has left this node by then."""
        # As long as ``_over`` is false, the prompt can't have ended and another begun: its end waits for the lock.
        with self._inside:
            if not self._over:
                comfy.interrupt()

    async def until(self, subscribe: Subscribe) -> None:
        """Returns once the callback given to ``subscribe`` is called, from any thread; raises when the prompt stops."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()

        def look() -> None:
            if over.done():
                return
            if self._group.failure is not None:
                over.set_exception(self._group.failure)
            elif comfy.interrupted():
                over.set_exception(comfy.interruption())
            else:
                loop.call_later(LOOK, look)

        def finish() -> None:
            if not over.done():
                over.set_result(None)

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(finish)
            except RuntimeError:
                log.debug("gatebus: the prompt of node %s ended before it could be woken", self._at.node_id)

        look()
        subscribe(wake)
        await over


def in_background(call: Callable[[], object], what: str, long: bool = False) -> Future[object]:
    """Runs the call in a thread, a ``long`` one where it holds up nothing else; its failure is logged."""
    future = (_UPLOADS if long else _STEPS).submit(call)
    future.add_done_callback(lambda done: _log_failure(done, what))
    return future


def _at_once(start: Callable[[], None]) -> None:
    start()


def _run(call: Callable[[], T], future: Future[T]) -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 (handed to who waits, whatever it is)
        future.set_exception(error)
    else:
        future.set_result(result)


def _log_failure(done: Future[object], what: str) -> None:
    error = None if done.cancelled() else done.exception()
    if error is not None:
        log.warning("gatebus: %s failed: %s", what, error, exc_info=error)


def _leave(left: Future[T], discard: Callable[[T], object] | None) -> None:
    error = left.exception()
    if error is not None:
        log.debug("gatebus: a step that was left behind failed: %s", error)
    elif discard is not None:
        discard(left.result())
