"""Processes of ``gatebus`` and what stands on their other side: gates that wait, and callers of the HTTP API."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gates import codec
from gates.gate.record import Gate, Waiter
from gates.settings import Settings
from gates.store import Store

ROOT = Path(__file__).resolve().parents[2]
QUICK = replace(Settings(), instance="studio", tick=0.3, lease=1.0)
LIMIT = 30.0
"""Seconds for anything to happen."""


def until(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + LIMIT
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.03)


@dataclass
class Answer:
    code: int
    out: str
    err: str


Gatebus = Callable[..., Answer]


def refused(answer: Answer, code: int) -> str:
    """The one line on stderr of a command that failed with that exit code."""
    assert answer.code == code, (answer.out, answer.err)
    lines = answer.err.splitlines()
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("gatebus: ")
    assert answer.out == ""
    return lines[0]


@dataclass
class Studio:
    """A process that opens gates on a Redis."""

    store: Store
    url: str

    def open_gate(self, title: str = "portrait", gate_id: str = "", **more: Any) -> Waiter:
        batch = np.linspace(0, 1, 6 * 8 * 3, dtype=np.float32).reshape(1, 6, 8, 3)
        gate = Gate(id=gate_id or uuid.uuid4().hex, title=title, width=8, height=6, batch=1, **more)
        return self.store.gates.open(gate, codec.preview_jpeg(batch))

    def kept_gate(self, title: str = "portrait", **more: Any) -> Waiter:
        """A gate that waits, with everything stored that a run needs to go on from it."""
        waiter = self.open_gate(title, prompt_id=uuid.uuid4().hex, **more)
        waiter.store_image(codec.encode(np.zeros((1, 6, 8, 3), np.float32), "png"))
        waiter.store_continuation(b"how it goes on")
        return waiter

    def park_gate(self, title: str = "portrait", **more: Any) -> Waiter:
        """A gate that has parked, and whose prompt has ended."""
        waiter = self.kept_gate(title, **more)
        assert self.store.gates.park([waiter])
        self.store.gates.prompts_ended({waiter.gate.prompt_id: ""})
        return waiter

    def run(self, gate_id: str, error: str = "") -> None:
        """Lets the decided gate go on as the process does that runs its continuation, to its end."""
        gates = self.store.gates
        gate = gates.get(gate_id)
        assert gate.decision is not None
        assert gates.claim_run(gate.group, "broker:1", 60_000)
        gates.note_run(gate.group, "broker:1", "submitted", "j1", "gpu-1", look_in_ms=60_000)
        prompt_id = uuid.uuid4().hex
        waiter = gates.resume(gate.id, gate.decision.id, prompt_id)
        if not error:
            waiter.apply()
        gates.prompts_ended({prompt_id: error})


def image_file(path: Path, size: tuple[int, int] = (8, 6), colour: Any = 255, mode: str = "L") -> Path:
    Image.new(mode, size, colour).save(path)
    return path


class Command:
    """A ``gatebus`` process of its own, and the lines that it has printed."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "broker", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def line(self, pattern: str) -> re.Match[str]:
        """The first line that matches, as soon as it is there."""

        def found() -> re.Match[str] | None:
            matches = (re.search(pattern, line) for line in list(self.lines))
            return next((match for match in matches if match), None)

        def look() -> re.Match[str] | None:
            match = found()
            assert match or self.process.poll() is None, f"it ended: {self.lines}"
            return match

        return until(look, f"a line like {pattern} in {self.lines}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """The exit code after the signal."""
        self.process.send_signal(number)
        return self.process.wait(LIMIT)


@dataclass
class Broker:
    """A broker's HTTP API."""

    url: str

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """(status, JSON)"""
        data = None if body is None else json.dumps(body).encode()
        http = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json", **headers})
        try:
            with urllib.request.urlopen(http, timeout=LIMIT) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
