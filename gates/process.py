"""What one ComfyUI process has of gatebus: its store, and the threads that work while no node runs."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from .instances.announcer import Announcer
from .instances.record import Instance
from .own_server import OwnServer, PromptEnd, PromptWatch
from .runs import Runs
from .settings import Settings
from .store import Store, open_store


@dataclass(frozen=True)
class Surroundings:
    """What the process asks of its ComfyUI; see the functions of these names in ``comfy.py``."""

    input_dir: Callable[[], Path]
    user_dir: Callable[[], Path]
    look: Callable[[], Instance]
    own_address: Callable[[], tuple[str, int, bool]]
    prompt_end: PromptEnd
    missing_classes: Callable[[Iterable[str]], list[str]]


class Process:
    """The one store of this process, opened when it is first used, and its threads."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._threads: list[Announcer | Runs | PromptWatch] = []
        self._watch: PromptWatch | None = None

    def settings(self) -> Settings:
        """The settings; raises InvalidSetting."""
        return Settings.load(self._around.user_dir() / "settings.json")

    def store(self) -> Store:
        """The store; raises InvalidSetting."""
        with self._lock:
            if self._store is None:
                self._store = open_store(self.settings(), self._around.input_dir(), self._around.user_dir())
                atexit.register(self.close)
            return self._store

    def start(self) -> None:
        """Announces this instance, and sends decided gates on their way, also when nothing is ever queued here."""
        around = self._around
        # Closed in this order: the first one withdraws this instance from the store.
        self._threads.append(Announcer(self.store, around.look))
        server = OwnServer(self.store, around.own_address, around.prompt_end, around.missing_classes)
        runs = Runs(self.store, server)
        self._watch = PromptWatch(self.store, around.prompt_end, runs.wake)
        self._threads += [runs, self._watch]

    def watch(self, prompt_id: str) -> None:
        """Has the store told of the end of that prompt, which runs now."""
        if self._watch is not None:
            self._watch.add(prompt_id)

    def close(self) -> None:
        """Ends the threads and the store."""
        for thread in self._threads:
            thread.close()
        self.store().close()
