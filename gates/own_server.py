"""Runs that go on in this ComfyUI: submitted to its own server, and their ends told to the store.

What it needs of ComfyUI comes as functions from ``comfy.py``.
"""

from __future__ import annotations

import http.client
import json
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from .errors import StoreUnavailable
from .gate.record import Gate
from .runs import BEGUN, Run, Standing
from .store import Store

FIRST = 2.0
"""Seconds for which a due run is left to a broker, which knows what the whole farm is doing."""

STRANGER = 60.0
"""Seconds after which another ComfyUI than the one that parked the gate takes its run."""

LIMIT = 15.0
"""Seconds for one exchange with the own server."""

UNSURE = 120.0
"""Seconds after which a prompt that nobody has answered is posted again, when it is not there."""

UNABLE = 120.0
"""Seconds for which a run is left to others, when a node class for it is missing here."""

LOOK_IN = 5.0
"""Seconds between two looks at a run that was submitted."""

WATCH = 0.2
"""Seconds between two looks at whether prompts have ended."""

log = logging.getLogger(__name__)

PromptEnd = Callable[[str], tuple[bool, "dict[str, Any] | None"]]
"""Prompt id -> (whether it runs or waits to, its entry in the history)."""


class OwnServer:
    """See :class:`runs.Submitter`; the run's id is its prompt's."""

    def __init__(
        self,
        store: Callable[[], Store],
        address: Callable[[], tuple[str, int, bool]],
        prompt_end: PromptEnd,
        missing: Callable[[Iterable[str]], list[str]],
    ) -> None:
        """``address``: (host, port, TLS) of the own server; ``missing``: those of some node classes it has not."""
        self._store = store
        self._address = address
        self._prompt_end = prompt_end
        self._missing = missing
        self._submitted: set[str] = set()
        self._unsure: dict[str, float] = {}
        """Run -> monotonic seconds: its prompt may have been taken, but the answer did not come."""
        self._unable: dict[str, int] = {}

    @property
    def by(self) -> str:
        """This process."""
        return self._store().owner

    def takes(self, lead: Gate, late: float) -> bool:
        """Its own ones soon, those of others when nobody else took them, unless a node class is missing here."""
        store = self._store()
        if self._unable.get(lead.id, 0) > store.gates.clock():
            return False
        if not store.settings.store_url:
            return True
        instance, _, boot = store.owner.partition(":")
        holder, _, held_by = (lead.run_by if lead.run in BEGUN else lead.owner).partition(":")
        # A claim that ran out may still be somebody's who is only slow; not that of this process's last life.
        own = holder == instance and (lead.run not in BEGUN or held_by != boot)
        return late >= (FIRST if own else STRANGER)

    def submit(self, run: Run) -> Standing:
        """Posts the prompt, unless it is in the queue or the history."""
        seen = self._seen(run)
        if seen is not None:
            return seen
        name = self._store().settings.instance
        if time.monotonic() - self._unsure.get(run.id, -UNSURE) < UNSURE:
            return Standing("pending", error=f"{name} has not answered yet", look_in=FIRST)
        missing = self._missing(run.cut.classes)
        if missing:
            self._unable[run.lead.id] = self._store().gates.clock() + round(UNABLE * 1000)
            return Standing("pending", error=f"{name} has no {_listed(missing)}", look_in=FIRST)
        body: dict[str, Any] = {
            "prompt": run.cut.prompt,
            "prompt_id": run.id,
            "extra_data": run.cut.extra_data,
            "partial_execution_targets": list(run.cut.outputs),
        }
        if run.lead.client_id:
            # The tab that queued the first prompt sees this one run, too.
            body["client_id"] = run.lead.client_id
        try:
            status, answer = self._exchange("/prompt", body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not isinstance(error, ConnectionRefusedError):
                # ComfyUI may be checking it still; twice in its queue, it would run twice.
                self._unsure[run.id] = time.monotonic()
            return Standing("pending", error=f"{name} does not answer itself: {error}", look_in=FIRST)
        if status == 200 and not answer.get("node_errors"):
            self._submitted.add(run.id)
            return Standing("submitted", on=name, look_in=LOOK_IN)
        if status == 200:
            # What can't be run would be left out silently.
            self._exchange("/queue", {"delete": [run.id]})
        elif status != 400:
            return Standing("pending", error=f"{name} answered its own prompt with {status}", look_in=10 * FIRST)
        return Standing("failed", on=name, error=_refusal(answer))

    def look(self, run: Run) -> Standing | None:
        """How its prompt stands."""
        seen = self._seen(run)
        if seen is None and run.id in self._submitted:
            return Standing("failed", on=self._store().settings.instance, error="Its prompt was removed from the queue")
        return seen

    def _seen(self, run: Run) -> Standing | None:
        name = self._store().settings.instance
        there, entry = self._prompt_end(run.id)
        if there:
            return Standing("submitted", on=name, look_in=LOOK_IN)
        if entry is None:
            return None
        error = failure(entry)
        if not error and not all(gate.ended for gate in run.family if run.lead.id in (gate.id, gate.group)):
            error = "Its prompt ended before the decision was carried out"
        return Standing("failed" if error else "done", on=name, error=error)

    def _exchange(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        host, port, tls = self._address()
        connection: http.client.HTTPConnection
        if tls:
            # It is this very process; its certificate is made out to the name that browsers use.
            trusting = ssl.create_default_context()
            trusting.check_hostname = False
            trusting.verify_mode = ssl.CERT_NONE
            connection = http.client.HTTPSConnection(host, port, timeout=LIMIT, context=trusting)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=LIMIT)
        try:
            data = json.dumps(body).encode()
            connection.request("POST", path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            is_json = answer.getheader("Content-Type", "").startswith("application/json")
            content: Any = json.loads(text) if is_json else {}
            return answer.status, content if isinstance(content, dict) else {}
        finally:
            connection.close()


class PromptWatch:
    """The thread that tells the store of the ends of prompts in which gates parked or were taken up."""

    def __init__(self, store: Callable[[], Store], prompt_end: PromptEnd, told: Callable[[], None]) -> None:
        """``told`` is called after the store was told."""
        self._store = store
        self._prompt_end = prompt_end
        self._told = told
        self._lock = threading.Lock()
        self._watched: set[str] = set()
        self._added = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="gatebus-prompts", daemon=True)
        self._thread.start()

    def add(self, prompt_id: str) -> None:
        """Watches that prompt, which runs now."""
        with self._lock:
            self._watched.add(prompt_id)
        self._added.set()

    def close(self) -> None:
        """Ends the thread."""
        self._closed = True
        self._added.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._closed:
            self._added.wait()
            with self._lock:
                watched = set(self._watched)
            try:
                self._look(watched)
            except StoreUnavailable as error:
                log.debug("gatebus: %s", error)
            except Exception:
                # The others must go on; it is told at the next look.
                log.exception("gatebus: the store could not be told that a prompt has ended")
            with self._lock:
                if not self._watched and not self._closed:
                    self._added.clear()
            time.sleep(WATCH)

    def _look(self, watched: set[str]) -> None:
        ends = {}
        for prompt_id in watched:
            there, entry = self._prompt_end(prompt_id)
            if not there:
                ends[prompt_id] = "" if entry is None else failure(entry)
        if not ends:
            return
        self._store().gates.prompts_ended(ends)
        with self._lock:
            self._watched -= set(ends)
        self._told()


def failure(entry: dict[str, Any]) -> str:
    """Why a prompt in ComfyUI's history failed, "" when it did not."""
    status = entry.get("status") or {}
    if status.get("status_str") != "error":
        return ""
    messages = dict(reversed(status.get("messages") or []))
    told = messages.get("execution_error")
    if told is None:
        return "The prompt was interrupted"
    return f"{told.get('node_type')} #{told.get('node_id')}: {str(told.get('exception_message')).strip()}"


def _refusal(answer: dict[str, Any]) -> str:
    """Why ComfyUI does not take a prompt: the first node, its input and the reason."""
    for node, told in (answer.get("node_errors") or {}).items():
        for error in told.get("errors") or []:
            name = (error.get("extra_info") or {}).get("input_name")
            place = f"{told.get('class_type')} #{node}{f', {name}' if name else ''}"
            return f"{place}: {error.get('message')} ({error.get('details')})"
    error = answer.get("error") or {}
    return str(error.get("message") or error or "ComfyUI refuses the prompt") if isinstance(error, dict) else str(error)


def _listed(classes: list[str]) -> str:
    return f"node class {classes[0]}" if len(classes) == 1 else f"node classes {', '.join(classes[:5])}"
