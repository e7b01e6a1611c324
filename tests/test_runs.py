"""Runs that go on from decided gates: one look at those that are due, and a ComfyUI's own server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gates import codec
from gates.continuation import recorded
from gates.cut import run_id
from gates.errors import StoreUnavailable
from gates.gate.record import Gate, make_decision
from gates.own_server import OwnServer, PromptWatch, failure
from gates.runs import Run, Runs, Standing, advance
from gates.settings import Settings
from gates.store import Store, open_store

PIXELS = np.zeros((1, 8, 8, 3), np.float32)
PROMPT = {
    "1": {"class_type": "Load", "inputs": {}},
    "2": {"class_type": "ImageGate", "inputs": {"routes": 2, "image": ["1", 0]}},
    "3": {"class_type": "Save", "inputs": {"images": ["2", 1]}},
    "4": {"class_type": "ImageGate", "inputs": {"routes": 2, "image": ["1", 0]}},
    "5": {"class_type": "Save", "inputs": {"images": ["4", 1], "other": ["2", 1]}},
}


@pytest.fixture(params=["local", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    environ = {}
    if request.param == "redis":
        environ = {"GATEBUS_STORE_URL": request.getfixturevalue("shared_redis").url}
        environ["GATEBUS_NAMESPACE"] = f"runs-{tmp_path.name[-20:]}"
    store = open_store(Settings.from_env(environ), tmp_path / "input", tmp_path / "user")
    yield store
    store.close()


def parked(store: Store, number: int = 1, node: str = "2", over: bool = True) -> Gate:
    """A gate that parked in the prompt ``first``."""
    gate_id = f"{number:032x}"
    gate = Gate(
        id=gate_id, prompt_id="first", node_id=node, family="first", width=8, height=8, batch=1, client_id="tab"
    )
    waiter = store.gates.open(gate, codec.preview_jpeg(PIXELS))
    waiter.store_image(codec.encode(PIXELS, "exact", "stored"))
    waiter.store_continuation(recorded(PROMPT, node, ["3", "5"], {"workflow": {}}, {}, {}).to_bytes())
    assert waiter.ready
    assert store.gates.park([waiter])
    if over:
        store.gates.prompts_ended({"first": ""})
    return store.gates.get(gate_id)


def decided(store: Store, number: int = 1, **more: Any) -> Gate:
    gate = parked(store, number, **more)
    return store.gates.decide(gate.id, make_decision("route", 1))


class Farm:
    """A submitter that is told what to answer."""

    by = "a test"

    def __init__(self, *standings: Standing) -> None:
        self.standings = list(standings) or [Standing("submitted", on="there", look_in=0)]
        self.submitted: list[Run] = []
        self.looked: list[str] = []
        self.seen: Standing | None = None
        self.takes_it = True

    def takes(self, lead: Gate, late: float) -> bool:
        assert late >= 0
        return self.takes_it

    def submit(self, run: Run) -> Standing:
        self.submitted.append(run)
        return self.standings.pop(0) if len(self.standings) > 1 else self.standings[0]

    def look(self, run: Run) -> Standing | None:
        self.looked.append(run.id)
        return self.seen


def carry_out(store: Store, gate: Gate, prompt: str, error: str = "") -> None:
    """What the node does in the run, and what is told of the end of its prompt."""
    assert gate.decision is not None
    store.gates.resume(gate.id, gate.decision.id, prompt).apply()
    store.gates.prompts_ended({prompt: error})


# -- one look -----------------------------------------------------------------------------
def test_a_decided_gate_is_submitted_once_with_what_goes_on_from_it(store: Store):
    gate, farm = decided(store), Farm(Standing("submitted", on="there", look_in=60))
    assert [advance(store, farm) for _ in range(3)] == [1, 0, 0]
    (run,) = farm.submitted
    assert run.id == run_id(gate, [gate])
    assert run.cut.prompt["2"]["inputs"]["resume"] == f"{gate.id}:{gate.decision.id}"  # type: ignore[union-attr]
    assert run.cut.outputs == ("3", "5", "gatebus-continued")
    record = store.gates.get(gate.id)
    assert (record.run, record.run_on, record.run_id, record.run_by) == ("submitted", "there", run.id, "a test")


def test_nothing_is_submitted_before_the_decision_nor_before_the_prompt_has_ended(store: Store):
    farm = Farm()
    gate = parked(store, over=False)
    advance(store, farm)
    store.gates.decide(gate.id, make_decision("route", 1))
    advance(store, farm)
    assert farm.submitted == []
    store.gates.prompts_ended({"first": ""})
    assert advance(store, farm) == 1


def test_what_the_submitter_does_not_take_is_left_to_others(store: Store):
    gate, farm = decided(store), Farm()
    farm.takes_it = False
    assert advance(store, farm) == 0
    assert store.gates.get(gate.id).run == "pending"


def test_a_run_is_looked_after_until_it_has_ended_and_submitted_anew_when_there_is_no_trace(store: Store):
    gate, farm = decided(store), Farm()
    farm.seen = Standing("submitted", on="elsewhere", look_in=0)
    advance(store, farm)
    time.sleep(0.01)
    advance(store, farm)
    assert (len(farm.submitted), len(farm.looked)) == (1, 1)
    assert store.gates.get(gate.id).run_on == "elsewhere"
    farm.seen = None
    time.sleep(0.01)
    advance(store, farm)
    assert len({run.id for run in farm.submitted}) == 1 < len(farm.submitted)
    farm.seen = Standing("failed", error="it broke")
    time.sleep(0.01)
    advance(store, farm)
    record = store.gates.get(gate.id)
    assert (record.run, record.run_error) == ("failed", "it broke")
    assert advance(store, farm) == 0


def test_what_is_pending_is_tried_again(store: Store):
    gate = decided(store)
    farm = Farm(Standing("pending", error="nobody can", look_in=0), Standing("submitted", look_in=60))
    advance(store, farm)
    assert (store.gates.get(gate.id).run, store.gates.get(gate.id).run_error) == ("pending", "nobody can")
    time.sleep(0.01)
    advance(store, farm)
    assert store.gates.get(gate.id).run == "submitted"


def test_runs_of_a_family_follow_each_other_and_the_last_one_runs_what_both_feed(store: Store):
    first, second = decided(store, 1), decided(store, 2, node="4")
    farm = Farm(Standing("submitted", look_in=60))
    assert advance(store, farm) == 1
    assert advance(store, farm) == 0
    (run,) = farm.submitted
    lead, other = (first, second) if run.lead.id == first.id else (second, first)
    assert "5" not in run.cut.outputs
    carry_out(store, lead, run.id)
    assert advance(store, farm) == 1
    (_, later) = farm.submitted
    assert later.lead.id == other.id
    assert "5" in later.cut.outputs
    assert "replay" in later.cut.prompt[lead.node_id]["inputs"]


def test_a_failed_run_does_not_hold_up_its_family(store: Store):
    first, _ = decided(store, 1), decided(store, 2, node="4")
    farm = Farm(Standing("failed", error="no"), Standing("submitted", look_in=60))
    assert advance(store, farm) >= 1
    advance(store, farm)
    assert len(farm.submitted) == 2
    assert {gate.run for gate in store.gates.family(first)} == {"failed", "submitted"}


def test_a_continuation_that_can_not_be_read_fails_with_its_reason(store: Store, monkeypatch: pytest.MonkeyPatch):
    gate, farm = decided(store), Farm()
    monkeypatch.setattr(store.gates, "continuation", lambda gate_id: b"damaged")
    advance(store, farm)
    record = store.gates.get(gate.id)
    assert record.run == "failed"
    assert "no continuation" in record.run_error
    assert farm.submitted == []


def test_one_that_breaks_the_submitter_does_not_keep_the_others(store: Store, caplog: pytest.LogCaptureFixture):
    class Breaks(Farm):
        def submit(self, run: Run) -> Standing:
            if run.lead.node_id == "2":
                raise RuntimeError("broken")
            return super().submit(run)

    farm = Breaks()
    decided(store, 1)
    gate = store.gates.get(f"{1:032x}")
    assert advance(store, farm) == 0
    assert "broken" in caplog.text
    assert store.gates.get(gate.id).run == "submitting", "claimed anew when the claim has run out"


def test_the_thread_outlives_a_store_that_is_away(store: Store):
    farm, calls = Farm(Standing("submitted", look_in=60)), [0]

    def away() -> Store:
        calls[0] += 1
        if calls[0] < 4:
            raise StoreUnavailable("away") if calls[0] % 2 else RuntimeError("worse")
        return store

    decided(store)
    runs = Runs(away, farm, every=0.02)
    try:
        wait_for(lambda: len(farm.submitted) == 1)
    finally:
        runs.close()
    assert not runs._thread.is_alive()


def wait_for(true: Callable[[], bool], limit: float = 10) -> None:
    deadline = time.monotonic() + limit
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- the own server -----------------------------------------------------------------------
class ComfyUI:
    """A server that answers POST /prompt as it is told, and its queue and history."""

    def __init__(self) -> None:
        self.answer: tuple[int, Any] = (200, {"node_errors": {}})
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.there: set[str] = set()
        self.history: dict[str, dict[str, Any]] = {}
        self.missing: list[str] = []
        comfyui = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                comfyui.posted.append((self.path, body))
                status, answer = comfyui.answer if self.path == "/prompt" else (200, {})
                if status == 200 and self.path == "/prompt":
                    comfyui.there.add(body["prompt_id"])
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json; charset=utf-8")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def prompt_end(self, prompt_id: str) -> tuple[bool, dict[str, Any] | None]:
        return prompt_id in self.there, self.history.get(prompt_id)

    def lacks(self, classes: Iterable[str]) -> list[str]:
        return [name for name in classes if name in self.missing]

    def ends(self, prompt_id: str, status: str = "success", *messages: Any) -> None:
        self.there.discard(prompt_id)
        self.history[prompt_id] = {"status": {"status_str": status, "messages": list(messages)}}


@pytest.fixture
def comfyui() -> Iterator[ComfyUI]:
    comfyui = ComfyUI()
    yield comfyui
    comfyui.server.shutdown()
    comfyui.server.server_close()


def own(store: Store, comfyui: ComfyUI) -> OwnServer:
    address = ("127.0.0.1", comfyui.server.server_address[1], False)
    return OwnServer(lambda: store, lambda: address, comfyui.prompt_end, comfyui.lacks)


def run_of(store: Store, gate: Gate) -> Run:
    family = tuple(store.gates.family(gate))
    return Run(run_id(gate, family), gate, family, store)


def test_a_run_is_posted_to_the_own_server_with_the_tab_and_the_outputs(store: Store, comfyui: ComfyUI):
    server, run = own(store, comfyui), run_of(store, decided(store))
    assert server.submit(run).state == "submitted"
    ((path, body),) = comfyui.posted
    assert path == "/prompt"
    assert (body["prompt_id"], body["client_id"]) == (run.id, "tab")
    assert body["extra_data"] == {"extra_pnginfo": {"workflow": {}}}
    assert body["partial_execution_targets"] == ["3", "5", "gatebus-continued"]
    # A repeat finds it in the queue, and later in the history.
    assert server.submit(run).state == "submitted"
    comfyui.ends(run.id, "error", ("execution_error", {"node_type": "K", "node_id": "3", "exception_message": "oom\n"}))
    assert server.submit(run) == Standing("failed", on=store.settings.instance, error="K #3: oom")
    assert len(comfyui.posted) == 1


def test_what_comfyui_refuses_fails_with_node_input_and_reason(store: Store, comfyui: ComfyUI):
    error = {"message": "Value not in list", "details": "a not in [b]", "extra_info": {"input_name": "ckpt"}}
    errors = {"3": {"class_type": "Load", "errors": [error]}}
    server, run = own(store, comfyui), run_of(store, decided(store))
    for status in (400, 200):
        comfyui.answer = (status, {"error": {"message": "invalid"}, "node_errors": errors})
        standing = server.submit(run)
        assert (standing.state, standing.error) == ("failed", "Load #3, ckpt: Value not in list (a not in [b])")
        comfyui.there.clear()
    assert comfyui.posted[-1] == ("/queue", {"delete": [run.id]}), "what can't run whole does not run in part"
    comfyui.answer = (400, {"error": "plain", "node_errors": []})
    assert server.submit(run).error == "plain"


def test_a_server_that_does_not_answer_or_refuses_for_now_is_tried_again(store: Store, comfyui: ComfyUI):
    run = run_of(store, decided(store))
    comfyui.answer = (401, {})
    assert own(store, comfyui).submit(run).state == "pending"
    silent = OwnServer(lambda: store, lambda: ("127.0.0.1", 9, False), comfyui.prompt_end, comfyui.lacks)
    assert [silent.submit(run).state for _ in range(2)] == ["pending", "pending"]


def test_a_prompt_whose_answer_got_lost_is_not_posted_twice(
    store: Store, comfyui: ComfyUI, monkeypatch: pytest.MonkeyPatch
):
    server, run = own(store, comfyui), run_of(store, decided(store))
    original = server._exchange

    def lost(path: str, body: dict[str, Any]) -> Any:
        original(path, body)
        raise TimeoutError("timed out")

    monkeypatch.setattr(server, "_exchange", lost)
    assert server.submit(run).state == "pending"
    comfyui.there.clear()
    assert server.submit(run).state == "pending"
    assert len(comfyui.posted) == 1
    comfyui.there.add(run.id)
    assert server.submit(run).state == "submitted"


def test_what_needs_a_node_class_that_is_missing_here_is_left_to_others(store: Store, comfyui: ComfyUI):
    comfyui.missing = ["Save"]
    server, gate = own(store, comfyui), decided(store)
    standing = server.submit(run_of(store, gate))
    assert (standing.state, standing.error) == ("pending", f"{store.settings.instance} has no node class Save")
    assert not server.takes(gate, 1000)
    assert comfyui.posted == []


def test_a_prompt_that_was_removed_from_the_queue_has_failed_and_one_of_a_former_process_is_unknown(
    store: Store, comfyui: ComfyUI
):
    server, run = own(store, comfyui), run_of(store, decided(store))
    server.submit(run)
    comfyui.there.clear()
    standing = server.look(run)
    assert standing is not None
    assert (standing.state, standing.error) == ("failed", "Its prompt was removed from the queue")
    assert own(store, comfyui).look(run) is None


def test_a_prompt_that_ended_well_without_carrying_the_decision_out_has_failed(store: Store, comfyui: ComfyUI):
    gate = decided(store)
    server, run = own(store, comfyui), run_of(store, gate)
    comfyui.ends(run.id)
    standing = server.look(run)
    assert standing is not None
    assert "before the decision was carried out" in standing.error
    carry_out(store, gate, run.id)
    standing = server.look(run_of(store, store.gates.get(gate.id)))
    assert standing is not None
    assert standing.state == "done"


def test_a_broker_is_first_then_who_parked_it_then_anybody(store: Store, comfyui: ComfyUI):
    server, gate = own(store, comfyui), decided(store)
    from dataclasses import replace

    if not store.settings.store_url:
        assert server.takes(gate, 0)
        return
    instance = store.owner.partition(":")[0]
    stranger = replace(gate, owner="another:boot")
    slow = replace(gate, run="submitted", run_by="farm")
    mine_before = replace(gate, run="submitted", run_by=f"{instance}:old")
    taken = [[server.takes(lead, late) for late in (0, 3, 61)] for lead in (gate, stranger, slow, mine_before)]
    assert taken == [[False, True, True], [False, False, True], [False, False, True], [False, True, True]]


def test_the_ends_of_watched_prompts_are_told_also_when_the_store_was_away(
    store: Store, comfyui: ComfyUI, monkeypatch: pytest.MonkeyPatch
):
    gate, woken = parked(store, over=False), threading.Event()
    original, calls = store.gates.prompts_ended, [0]

    def away(ends: Any) -> None:
        calls[0] += 1
        if calls[0] == 1:
            raise StoreUnavailable("away")
        original(ends)

    monkeypatch.setattr(store.gates, "prompts_ended", away)
    watch = PromptWatch(lambda: store, comfyui.prompt_end, woken.set)
    try:
        comfyui.there.add("first")
        watch.add("first")
        time.sleep(0.5)
        assert calls[0] == 0
        comfyui.ends("first")
        assert woken.wait(10)
        assert store.gates.get(gate.id).over == 1
    finally:
        watch.close()
    assert not watch._thread.is_alive()


def test_a_failure_is_told_in_a_line():
    told = {"node_type": "KSampler", "node_id": "12:3", "exception_message": "out of memory\n\nTIPS"}
    assert failure({"status": {"status_str": "error", "messages": [["execution_error", told]]}}).startswith(
        "KSampler #12:3: out of memory"
    )
    assert failure({"status": {"status_str": "error", "messages": [["execution_interrupted", {}]]}}) == (
        "The prompt was interrupted"
    )
    assert failure({"status": {"status_str": "success", "messages": []}}) == ""
    assert failure({"status": None}) == ""
