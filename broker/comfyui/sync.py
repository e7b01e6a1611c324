"""The client for scripts that are not async: the same names, the same errors, the same code on a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from .client import ComfyClient

P = ParamSpec("P")
T = TypeVar("T")


def _called(
    method: Callable[Concatenate[ComfyClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncComfyClient, P], T]:
    @wraps(method)
    def call(self: SyncComfyClient, /, *args: P.args, **options: P.kwargs) -> T:
        return self._run(method(self._client, *args, **options))

    return call


def _iterated(
    method: Callable[Concatenate[ComfyClient, P], AsyncIterator[T]],
) -> Callable[Concatenate[SyncComfyClient, P], Iterator[T]]:
    @wraps(method)
    def iterate(self: SyncComfyClient, /, *args: P.args, **options: P.kwargs) -> Iterator[T]:
        given = method(self._client, *args, **options)

        async def following() -> tuple[T, ...]:
            async for value in given:
                return (value,)
            return ()

        try:
            while value := self._run(following()):
                yield value[0]
        finally:
            self._run(given.aclose())  # type: ignore[attr-defined]

    return iterate


class SyncComfyClient:
    """One ComfyUI, for scripts; thread-safe. Close it, or use it with ``with``. What it does: :class:`ComfyClient`."""

    def __init__(self, url: str = "http://127.0.0.1:8188", token: str = "", **options: Any) -> None:
        """``options``: those of ComfyClient."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="comfyui client", daemon=True)
        self._thread.start()

        async def make() -> ComfyClient:
            return ComfyClient(url, token, **options)

        try:
            self._client = self._run(make())
        except BaseException:
            self._stop()
            raise
        self.url = self._client.url

    def __enter__(self) -> SyncComfyClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections and ends the thread; prompts run on."""
        if self._thread.is_alive():
            self._run(self._client.close())
            self._stop()

    submit = _called(ComfyClient.submit)
    find = _called(ComfyClient.find)
    wait = _called(ComfyClient.wait)
    progress = _iterated(ComfyClient.progress)
    events = _iterated(ComfyClient.events)
    outputs = _called(ComfyClient.outputs)
    queue = _called(ComfyClient.queue)
    history = _called(ComfyClient.history)
    cancel = _called(ComfyClient.cancel)
    interrupt = _called(ComfyClient.interrupt)
    download = _called(ComfyClient.download)
    upload_image = _called(ComfyClient.upload_image)
    upload_mask = _called(ComfyClient.upload_mask)
    free = _called(ComfyClient.free)
    system_stats = _called(ComfyClient.system_stats)
    object_info = _called(ComfyClient.object_info)
    models = _called(ComfyClient.models)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl+C while it waits: nothing goes on behind the script's back.
            future.cancel()
            raise

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
