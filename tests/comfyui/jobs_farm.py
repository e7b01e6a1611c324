"""A farm of real ComfyUI processes and ``gatebus serve`` processes on one Redis, and looks at what is true of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.farm.roster import listed_id
from broker.jobs.opening import limits_of
from broker.jobs.record import ENDED, Job
from broker.jobs.redis import RedisJobs, open_redis_jobs
from gates.settings import Settings
from gates.store import open_store
from tests.comfyui.process import ComfyUI
from tests.redis_server import RedisServer
from tests.service.processes import ROOT, Broker, Command

LEASE = 5.0
QUICK = {"GATEBUS_LEASE": str(int(LEASE)), "GATEBUS_TICK": "1"}
LAG = 12.0
"""Seconds after which a job must tell what its ComfyUI has told by then."""


@dataclass(frozen=True)
class Seen:
    """What one ComfyUI says of its prompts."""

    running: frozenset[str]
    pending: frozenset[str]
    ended: Mapping[str, float]
    """Prompt -> when it ended, in Unix seconds; 0 of one that did not succeed."""


@dataclass
class JobsFarm:
    """Its processes by name."""

    redis: RedisServer
    folder: Path
    comfyuis: dict[str, ComfyUI]
    brokers: dict[str, Command] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings = Settings(store_url=self.redis.url, lease=LEASE)
        self.store = open_store(self.settings, self.folder / "disk", self.folder / "state")
        self.jobs: RedisJobs = open_redis_jobs(self.settings, limits_of(self.settings))

    @property
    def environ(self) -> dict[str, str]:
        return {"HOME": str(self.folder), "GATEBUS_STORE_URL": self.redis.url, **QUICK}

    # -- processes ------------------------------------------------------------------------
    def broker(self, name: str, **environ: str) -> Broker:
        """Starts a broker; every ComfyUI is listed in its settings, whether it announces itself or not."""
        listed = ",".join(each.url for each in self.comfyuis.values())
        given = {**self.environ, "GATEBUS_COMFYUI_URLS": listed, "GATEBUS_INSTANCE": name, **environ}
        made = self.brokers[name] = Command(["serve", "--port", "0", "--log-level", "warning"], given)
        self.urls[name] = made.line(r"http://\S+")[0]
        return Broker(self.urls[name])

    def end(self, name: str, number: int = signal.SIGKILL) -> None:
        """Ends a broker, a frozen one too."""
        command = self.brokers.pop(name)
        if command.process.poll() is None:
            command.process.send_signal(signal.SIGCONT)
            command.end(number)

    def gatebus(self, *words: str, code: int | None = 0) -> str:
        """What the command prints; None: whatever its exit code is."""
        command = [sys.executable, "-m", "broker", *words]
        environ = {**os.environ, **self.environ}
        answer = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300)
        assert code is None or answer.returncode == code, (words, answer.stdout, answer.stderr)
        return answer.stdout

    def idle(self) -> None:
        """Wakes what is frozen, and waits until no job lives and no copy may run."""
        for each in self.comfyuis.values():
            assert each.process is not None
            each.process.send_signal(signal.SIGCONT)
        self.until(lambda: not self.jobs.page(1, state="live")[0] and not self.jobs.strays(), "the farm is idle")
        for name in self.comfyuis:
            self.jobs.set_place(self.id_of(name), "")

    def until(self, condition: Callable[[], Any], what: str, limit: float = 60.0) -> Any:
        end = time.monotonic() + limit
        while not (value := condition()):
            assert time.monotonic() < end, (what, [job.to_json() for job in self.jobs.page(4)[0]], self.logs())
            time.sleep(0.1)
        return value

    def ended(self, job_id: str, limit: float = 60.0) -> Job:
        self.until(lambda: self.jobs.get(job_id).has_ended, f"job {job_id} ends", limit)
        return self.jobs.get(job_id)

    def logs(self) -> dict[str, list[str]]:
        return {name: command.lines[-5:] for name, command in self.brokers.items()}

    # -- what is true ---------------------------------------------------------------------
    def id_of(self, name: str) -> str:
        """Under which id the farm knows the ComfyUI."""
        url = self.comfyuis[name].url
        announced = {record.url.rstrip("/"): record.id for record in self.store.instances.records()}
        return announced.get(url) or listed_id(url)

    def seen(self) -> dict[str, Seen | None]:
        """URL -> what that ComfyUI says, None when it does not answer."""
        with ThreadPoolExecutor() as pool:
            urls = [each.url for each in self.comfyuis.values()]
            return dict(zip(urls, pool.map(_seen, urls), strict=True))

    def written(self, prefix: str) -> Counter[str]:
        """Names of the files that prompts have written, at whichever ComfyUI, without ComfyUI's number."""
        files = (path for each in self.comfyuis.values() for path in (each.base / "output").rglob(f"{prefix}*.png"))
        return Counter(path.name.rpartition("_0000")[0] for path in files)

    def close(self) -> None:
        for name in list(self.brokers):
            self.end(name)
        for each in self.comfyuis.values():
            if each.process is not None:
                each.process.send_signal(signal.SIGCONT)
            each.stop()
        self.jobs.close()
        self.store.close()


class Truth:
    """Looks again and again whether what the farm tells of its jobs is what the ComfyUIs say; a context manager."""

    def __init__(self, farm: JobsFarm, look: Callable[[], tuple[list[dict[str, Any]], dict[str, int]]]) -> None:
        """``look``: every job as told, and the counts."""
        self.looks = 0
        self.compared = 0
        self.wrong: list[str] = []
        self.lag = 0.0
        """Seconds, at most, for which a job was still told to run that its ComfyUI had ended."""
        self._farm = farm
        self._look = look
        self._strange: dict[tuple[str, str], float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Truth:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self.once()
            except (urllib.error.URLError, OSError):
                # A broker that was killed tells nothing.
                time.sleep(0.2)
            time.sleep(0.05)

    def once(self) -> None:
        before, counts = self._look()
        seen = self._farm.seen()
        copies = {stray.prompt_id for stray in self._farm.jobs.strays()}
        shown = {job["id"]: job for job in self._look()[0]}
        self.looks += 1
        steady = [job for job in before if shown[job["id"]]["rev"] == job["rev"]]
        if len(steady) == len(before) == len(shown):
            told = Counter(job["state"] for job in before)
            told["ended"] = sum(job["state"] in ENDED for job in before)
            if counts != {state: told.get(state, 0) for state in counts}:
                self.wrong.append(f"counted {counts}, listed {told}")
        strange = {}
        for job in steady:
            self.compared += 1
            for what in self._against(job, seen, copies):
                strange[job["id"], what] = self._strange.get((job["id"], what), time.monotonic())
        self._strange = strange
        for (job_id, what), since in strange.items():
            if time.monotonic() - since > LAG:
                self.wrong.append(f"{job_id} {what}: {shown[job_id]}")

    def _against(self, job: dict[str, Any], seen: Mapping[str, Seen | None], copies: set[str]) -> list[str]:
        """What speaks against the job as it is told; things that hold for a moment are no lies yet."""
        found = []
        state, prompt, there = job["state"], job["prompt_id"], seen.get(job["url"])
        before = {attempt["prompt_id"] for attempt in job["attempts"]} - copies
        for each in seen.values():
            if each is not None and before & (each.running | each.pending):
                found.append("an attempt that is over is in a queue")
        if state in ("queued", "claimed"):
            if prompt:
                found.append(f"{state} with a prompt")
        elif state in ("submitted", "running", "unknown"):
            if there is None:
                found += [f"{state} at a ComfyUI that does not answer"] if state != "unknown" else []
            elif prompt in there.ended:
                self.lag = max(self.lag, time.time() - there.ended[prompt] if there.ended[prompt] else 0)
                found.append(f"{state}, and ended there")
            elif state == "running" and prompt not in there.running:
                found.append("running, and does not run there")
            elif state == "submitted" and prompt not in there.pending:
                found.append("submitted, and does not wait there")
            elif state == "unknown":
                found.append("unknown, and its ComfyUI answers")
        elif there is not None and prompt in there.running | there.pending:
            found.append(f"{state}, and its prompt is in a queue")
        return found


def _seen(url: str) -> Seen | None:
    def ask(path: str) -> Any:
        with urllib.request.urlopen(url + path, timeout=5) as answer:
            return json.loads(answer.read())

    try:
        queue, history = ask("/queue"), ask("/history?max_items=1000")
    except (urllib.error.URLError, OSError, TimeoutError):
        return None
    running, pending = (frozenset(str(item[1]) for item in queue[f"queue_{name}"]) for name in ("running", "pending"))
    ended = {}
    for prompt, entry in history.items():
        messages = dict((entry.get("status") or {}).get("messages") or ())
        ended[prompt] = messages.get("execution_success", {}).get("timestamp", 0) / 1000
    return Seen(running, pending, ended)
