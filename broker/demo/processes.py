"""The demonstration's processes, and what they print, each line with the time and who says it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from gates.settings import PREFIX

LIMIT = 60.0
"""Seconds that a step may take on a slow, busy machine."""

STARTED = time.monotonic()


class DemoError(Exception):
    """Something did not come out as promised; the message says what."""


def say(who: str, text: str) -> None:
    """Prints a line with the seconds since the start."""
    print(f"[{time.monotonic() - STARTED:6.2f} s] {who:<9} {text}", flush=True)


def check(promise: str, kept: bool) -> None:
    """Raises DemoError when the promise was not kept."""
    if not kept:
        raise DemoError(promise)


def until(condition: Callable[[], object], what: str) -> None:
    """Looks until the condition holds; raises DemoError after :data:`LIMIT` seconds."""
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            raise DemoError(f"{what} did not happen within {LIMIT:g} s")
        time.sleep(0.02)


class Process:
    """A Python process of ours whose lines are printed as it writes them; ended at ``__exit__``."""

    def __init__(self, who: str, module: str, arguments: Sequence[str], settings: Mapping[str, str]) -> None:
        """``settings``: the ``GATEBUS_*`` variables that it gets, and no others."""
        self.who = who
        self.lines: list[str] = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        # A session of its own: at Ctrl-C the demonstration ends its processes in order.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**kept, **settings, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.alive:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(1)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def finish(self) -> None:
        """Waits for its end; raises DemoError when it failed."""
        try:
            code = self._process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            raise DemoError(f"the {self.who} did not end within {LIMIT:g} s") from None
        self._reader.join(LIMIT)
        check(f"the {self.who} ends well (its exit code was {code})", code == 0)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.lines.append(line.rstrip("\n"))
            say(self.who, self.lines[-1])
