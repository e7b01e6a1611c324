"""Parked gates without Redis, over crashes at every step, kills, a full disk and restarts."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_world import IMAGE, PREVIEW, SETTINGS, eventually, gate

from gates import codec
from gates.decisions.file import FileLog
from gates.decisions.record import DECIDED, Entry
from gates.errors import Conflict, GateBusy, GateClosed, GateNotFound, StoreUnavailable
from gates.events import LocalEvents
from gates.gate.folder import GateFolders
from gates.gate.local import LocalGates
from gates.gate.local_waiting import LocalWaiting
from gates.gate.record import Decision, make_decision
from gates.settings import Settings
from gates.store import open_store

KILLS = 30


class Crash(Exception):
    """The process ends here."""


class Disk:
    """Of so many writes each is done, and the one after them is the crash, before it or right behind it."""

    def __init__(self, writes: int = 2**60, behind: bool = False) -> None:
        self.left = writes
        self.behind = behind
        self.full = False

    def write(self, step: Callable[[], None]) -> None:
        if self.full:
            raise StoreUnavailable("No space left on device")
        self.left -= 1
        if self.left == -1 and self.behind:
            step()
        if self.left < 0:
            raise Crash
        step()


class Folders(GateFolders):
    def __init__(self, root: Path, disk: Disk) -> None:
        super().__init__(root)
        self.disk = disk

    def _put(self, *arguments: Any, **options: Any) -> None:
        self.disk.write(lambda: super(Folders, self)._put(*arguments, **options))


class Log(FileLog):
    def __init__(self, path: Path, disk: Disk) -> None:
        super().__init__(path)
        self.disk = disk

    def _append(self, entry: Entry, durable: bool) -> None:
        self.disk.write(lambda: super(Log, self)._append(entry, durable))


class Process:
    """A start of the store over one folder."""

    starts = 0

    def __init__(self, folder: Path, disk: Disk | None = None, settings: Settings = SETTINGS) -> None:
        Process.starts += 1
        self.disk = disk or Disk()
        self.log = Log(folder / "decisions.jsonl", self.disk)
        folders = Folders(folder / "gates", self.disk)
        self.gates = LocalGates(settings, f"{'a' * 32}:{Process.starts:08x}", LocalEvents(), self.log, folders)

    def open(self, format: str = "exact", **fields: Any) -> LocalWaiting:
        waiter = self.gates.open(gate(batch=2, width=4, height=6, **fields), PREVIEW)
        waiter.store_image(codec.encode(IMAGE, format))
        waiter.store_continuation(b"continuation")
        return waiter

    def parked(self, count: int = 1, **fields: Any) -> list[str]:
        prompt = fields.pop("prompt_id", uuid.uuid4().hex)
        waiters = [self.open(prompt_id=prompt, list_index=index, **fields) for index in range(count)]
        assert self.gates.park(waiters)
        return [waiter.gate.id for waiter in waiters]

    def run(self, lead: str, prompt: str = "") -> str:
        """Carries the whole run out, as a submitter and a prompt would; returns the prompt's id."""
        prompt = prompt or f"run of {lead}"
        claimed = self.gates.claim_run(lead, "submitter", 60_000)
        assert claimed is not None
        self.gates.note_run(lead, "submitter", "submitted", run_id=prompt, on="here")
        for member in claimed.members.split() or [lead]:
            decision = self.gates.get(member).decision
            if decision is not None and decision.kind == "route":
                self.gates.resume(member, decision.id, prompt).apply()
        self.gates.prompts_ended({prompt: ""})
        return prompt

    def end(self) -> None:
        """As a kill does: nothing of it reaches the disk from now on."""
        self.disk.full, self.disk.left = False, -1
        self.gates._keeping.close = lambda: None  # type: ignore[method-assign]
        with self.gates._index.lock:
            self.gates._keeping._closed = True
            self.gates._index.news.notify_all()


def of_route(entries: Sequence[Entry]) -> list[tuple[str, str, str]]:
    return [(entry.kind, entry.gate, entry.decision) for entry in entries]


# -- a restart ----------------------------------------------------------------------------
def test_a_parked_gate_is_there_after_a_restart_with_all_that_it_had(tmp_path: Path) -> None:
    first = Process(tmp_path)
    (gate_id,) = first.parked(title="Pick ☂", send_id="cp1")
    first.gates.set_mask(gate_id, b"painted")
    first.end()
    again = Process(tmp_path).gates
    assert again.get(gate_id) == first.gates.get(gate_id)
    assert again.get(gate_id).status == "parked"
    assert again.counts() == {"waiting": 0, "orphaned": 0, "parked": 1}
    assert again.preview(gate_id) == PREVIEW
    assert again.mask(gate_id) == b"painted"
    assert again.continuation(gate_id) == b"continuation"
    np.testing.assert_array_equal(again.image(gate_id), IMAGE)
    np.testing.assert_array_equal(codec.decode_png(again.frame(gate_id, 1)), np.rint(IMAGE[1] * 255).astype(np.uint8))


def test_what_was_decided_before_the_restart_goes_on_after_it(tmp_path: Path) -> None:
    first = Process(tmp_path)
    ids = first.parked(3)
    first.gates.set_mask(ids[2], b"painted")
    decided = [
        first.gates.decide(ids[0], make_decision("route", 1)),
        first.gates.decide(ids[1], make_decision("cancel")),
    ]
    first.end()
    second = Process(tmp_path)
    assert [second.gates.get(one.id) for one in decided[1:]] == decided[1:]
    assert second.gates.due_runs() == []
    second.gates.decide(ids[2], make_decision("route", 2))
    second.end()
    third = Process(tmp_path)
    (lead,) = third.gates.due_runs()
    assert (lead.id, lead.run, lead.undecided) == (ids[0], "pending", 0)
    decision = third.gates.get(ids[2]).decision
    assert decision is not None
    # The process in which it parked is gone, and so is its prompt.
    assert third.gates.claim_run(lead.id, "one", 60_000) is not None
    waiter = third.gates.resume(ids[2], decision.id, "p")
    assert waiter.mask() == b"painted"
    assert waiter.apply().route == 2
    third.end()
    # The prompt died before it was over: another one takes its place, under the same number.
    fourth = Process(tmp_path)
    fourth.run(ids[0], "p2")
    assert [fourth.gates.get(one).status for one in ids] == ["applied", "cancelled", "applied"]
    assert fourth.gates.get(ids[0]).run == "done"
    fourth.end()
    last = Process(tmp_path)
    assert last.gates.due_runs() == []
    assert last.gates.get(ids[0]).run == "done"
    with pytest.raises(GateClosed):
        last.gates.resume(ids[2], decision.id, "p3")
    kinds = Counter((entry.kind, entry.gate) for entry in last.log.read("", 100))
    assert set(kinds.values()) == {1}
    assert len(kinds) == 6


def test_a_gate_that_waited_is_an_orphan_after_a_restart_to_be_decided_and_adopted(tmp_path: Path) -> None:
    first = Process(tmp_path)
    waiter, unkept = first.open("png", workflow="portrait"), first.gates.open(gate(), PREVIEW)
    eventually(lambda: (tmp_path / "gates" / waiter.gate.id / "record.json").exists())
    first.end()
    second = Process(tmp_path).gates
    (orphan,) = second.records()
    assert (orphan.status, orphan.workflow) == ("orphaned", "portrait")
    assert second.counts() == {"waiting": 0, "orphaned": 1, "parked": 0}
    with pytest.raises(GateNotFound):
        second.get(unkept.gate.id)
    decided = second.decide(orphan.id, make_decision("route", 2, by="ann"))
    assert decided.status == "decided"
    adopted = second.open(replace(orphan, prompt_id="again"), PREVIEW)
    assert (adopted.gate.fence, adopted.gate.prompt_id) == (2, "again")
    assert adopted.apply().route == 2
    assert second.get(orphan.id).status == "applied"


def test_a_stop_of_an_orphan_ends_it_and_its_deadline_is_kept(tmp_path: Path) -> None:
    first = Process(tmp_path)
    stopped = first.open()
    timed = first.gates.open(gate(batch=2, timeout_route=2), PREVIEW, timeout=0.5)
    timed.store_continuation(b"continuation")
    first.gates._keeping.flush()
    first.end()
    second = Process(tmp_path).gates
    ended = second.decide(stopped.gate.id, make_decision("cancel"))
    assert (ended.status, ended.outcome) == ("cancelled", "nobody waited")
    eventually(lambda: second.get(timed.gate.id).status == "decided")
    decision = second.get(timed.gate.id).decision
    assert decision is not None
    assert (decision.route, decision.by) == (2, "deadline")


@pytest.mark.parametrize("decided", [False, True])
def test_an_orphan_is_parked_by_a_person_and_goes_on(tmp_path: Path, decided: bool) -> None:
    first = Process(tmp_path)
    waiter = first.open()
    with pytest.raises(Conflict, match="waits on"):
        first.gates.park_orphan(waiter.gate.id)
    if decided:
        first.gates.decide(waiter.gate.id, make_decision("route", 1))
    first.gates._keeping.flush()
    first.end()
    second = Process(tmp_path)
    for _ in range(2):
        parked = second.gates.park_orphan(waiter.gate.id, by="ann")
        assert (parked.parked > 0, parked.over) == (True, 1)
    if not decided:
        second.gates.decide(waiter.gate.id, make_decision("route", 1))
    second.run(waiter.gate.id)
    assert second.gates.get(waiter.gate.id).run == "done"
    assert [entry.kind for entry in second.log.read("", 100) if entry.kind == "park"] == ["park"]


def test_a_held_gate_that_was_decided_can_be_run_again_after_a_restart_as_long_as_it_is_kept(tmp_path: Path) -> None:
    first = Process(tmp_path)
    waiter = first.open("png")
    first.gates.decide(waiter.gate.id, make_decision("route", 1))
    waiter.apply()
    first.gates.close()
    second = Process(tmp_path)
    decision = make_decision("route", 2)
    made = second.gates.again(waiter.gate.id, decision)
    assert second.gates.again(waiter.gate.id, decision) == made
    assert (made.of, made.status, made.run) == (waiter.gate.id, "decided", "pending")
    second.run(made.id)
    assert second.gates.image(made.id).shape == IMAGE.shape
    second.end()
    shortly = Process(tmp_path, settings=replace(SETTINGS, keep_images=0))
    shortly.gates._keeping.sweep()
    with pytest.raises(Conflict):
        shortly.gates.again(waiter.gate.id, make_decision("route", 2))
    with pytest.raises(GateNotFound):
        shortly.gates.continuation(made.id)
    folder, left = tmp_path / "gates" / made.id, {"preview.jpg", "record.json"}
    eventually(lambda: {path.name for path in folder.iterdir()} == left)
    shortly.gates._settings = replace(SETTINGS, keep_decided=0)
    shortly.gates._index._settings = shortly.gates._settings
    shortly.gates._keeping.sweep()
    eventually(lambda: list((tmp_path / "gates").iterdir()) == [])
    assert shortly.gates.records(live=False) == []


def test_what_a_family_may_pass_again_is_kept_while_one_of_its_gates_is_parked(tmp_path: Path) -> None:
    process = Process(tmp_path, settings=replace(SETTINGS, keep_images=0))
    passed, alone = process.open(family="root"), process.open(family="other")
    for waiter in (passed, alone):
        process.gates.decide(waiter.gate.id, make_decision("route", 1))
        waiter.apply()
    (parked,) = process.parked(family="root")
    process.gates._keeping.sweep()
    np.testing.assert_array_equal(process.gates.image(passed.gate.id), IMAGE)
    with pytest.raises(GateNotFound):
        process.gates.image(alone.gate.id)
    process.gates.decide(parked, make_decision("route", 1))
    process.gates.prompts_ended({process.gates.get(parked).prompt_id: ""})
    process.gates._keeping.sweep()
    process.gates.image(parked)
    process.run(parked)
    process.gates._keeping.sweep()
    for gate_id in (passed.gate.id, parked):
        with pytest.raises(GateNotFound):
            process.gates.image(gate_id)


def test_images_of_kept_gates_are_not_in_memory(tmp_path: Path) -> None:
    process = Process(tmp_path)
    waiter = process.open()
    assert (waiter.encoded, waiter.preview, waiter.painted) == (None, b"", None)
    assert waiter.ready
    np.testing.assert_array_equal(process.gates.image(waiter.gate.id), IMAGE)
    assert process.gates.preview(waiter.gate.id) == PREVIEW


# -- a crash at every write ---------------------------------------------------------------
class Story:
    """What is done with a group of three, so that any step of it can be repeated; ``said`` is what was answered."""

    def __init__(self) -> None:
        self.waiters: list[LocalWaiting] = []
        self.ids: list[str] = []
        self.decisions = [
            make_decision("route", 1, by="ann"), make_decision("route", 2), make_decision("cancel"),
            make_decision("route", 1),
        ]  # fmt: skip
        self.again = make_decision("route", 1)
        self.said: list[str] = []

    def steps(self, process: Process) -> list[tuple[str, Callable[[], object]]]:
        gates, decisions = process.gates, self.decisions
        one, two, three = self.ids
        return [
            ("parked", lambda: gates.park(self.waiters) if "died" not in self.said else self._parked_again(process)),
            ("first", lambda: gates.decide(one, decisions[0])),
            ("second", lambda: gates.decide(two, decisions[1])),
            ("third", lambda: gates.decide(three, decisions[2])),
            ("back", lambda: gates.take_back(one, decisions[0].id)),
            ("painted", lambda: gates.set_mask(one, b"painted")),
            ("fourth", lambda: gates.decide(one, decisions[3])),
            ("run", lambda: gates.get(one).run == "done" or process.run(self._lead(process))),
            ("again", lambda: gates.again(one, self.again)),
            ("run again", lambda: self._run_again(process)),
        ]

    def _lead(self, process: Process) -> str:
        (lead,) = process.gates.due_runs()
        return lead.id

    def _parked_again(self, process: Process) -> None:
        """The node died with its process; people park what it left."""
        for gate_id in self.ids:
            process.gates.park_orphan(gate_id)

    def _run_again(self, process: Process) -> None:
        (made,) = [one for one in process.gates.records(live=False) if one.of]
        if made.run != "done":
            process.run(made.id)


def test_after_a_crash_at_any_write_nothing_is_lost_and_nothing_is_done_twice(tmp_path: Path) -> None:
    crashes = 0
    for behind in (False, True):
        for writes in range(100):
            folder = tmp_path / f"{behind}-{writes}"
            folder.mkdir()
            if not crashed(folder, Disk(), writes, behind):
                break
            crashes += 1
    assert crashes > 60


def crashed(folder: Path, disk: Disk, writes: int, behind: bool) -> bool:
    """Runs the story with a crash behind so many writes, and on after a restart; False when there was none."""
    process, story = Process(folder, disk), Story()
    story.waiters = [process.open(prompt_id="p", list_index=index) for index in range(3)]
    story.ids = [waiter.gate.id for waiter in story.waiters]
    process.gates._keeping.flush()
    disk.left, disk.behind = writes, behind
    happened = False
    try:
        for name, step in story.steps(process):
            step()
            story.said.append(name)
            if name == "fourth":
                process.gates.prompts_ended({"p": ""})
    except Crash:
        happened = True
    process.end()
    said = list(story.said)
    after = Process(folder)
    if happened:
        check(after, story)
        if "parked" not in said and not all(after.gates.get(one).parked for one in story.ids):
            # Of a park that was not answered, none is parked, or all are.
            assert [after.gates.get(one).status for one in story.ids] == ["orphaned"] * 3
            after.end()
            return True
        for name, step in story.steps(after):
            if name not in said and name != "parked":
                step()
        story.said = [name for name, _ in story.steps(after)]
        check(after, story)
        assert [after.gates.get(one).status for one in story.ids] == ["applied", "applied", "cancelled"]
        assert [lead.run for lead in after.gates.records(live=False) if lead.run] == ["done", "done"]
    after.end()
    return happened


def check(process: Process, story: Story) -> None:
    """What was answered stands, and the log tells what the records do."""
    entries = process.log.read("", 1000)
    assert max(Counter(of_route(entries)).values(), default=1) == 1
    for one in process.gates.records(live=False):
        of_it = [entry for entry in entries if entry.gate == one.id]
        made = [entry.decision for entry in of_it if entry.kind in DECIDED]
        back = [entry.decision for entry in of_it if entry.kind == "take-back"]
        assert [decision for decision in made if decision not in back] == ([one.decision.id] if one.decision else [])
        assert [entry.outcome for entry in of_it if entry.kind == "end"] == ([one.outcome] if one.ended else [])
        if one.members:
            members = process.gates.some(one.members.split())
            assert one.undecided == sum(member.decision is None for member in members)
            assert bool(one.run) == (one.undecided == 0)
    said, (one, two, three) = story.said, story.ids
    assert "parked" not in said or all(process.gates.get(gate_id).parked for gate_id in story.ids)
    stand: list[tuple[str, str, Decision]] = [
        ("second", two, story.decisions[1]), ("third", three, story.decisions[2]), ("fourth", one, story.decisions[3]),
    ]  # fmt: skip
    for name, gate_id, decision in stand:
        found = process.gates.get(gate_id).decision
        assert name not in said or (found is not None and found.id == decision.id)
    assert "painted" not in said or process.gates.mask(one) == b"painted"
    assert "run" not in said or process.gates.get(one).run == "done"


# -- kills --------------------------------------------------------------------------------
WORKER = """
import os, random, sys, uuid
from pathlib import Path
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/tests"]
from gates.settings import Settings
from gates.store import open_store
from test_parked_disk import work
for line in sys.stdin:
    child = os.fork()
    if not child:
        work(Path(sys.argv[1]), int(line))
    os.write(1, b"pid %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"gone\\n")
"""


def work(folder: Path, seed: int) -> None:
    """Parks, decides and runs until it is killed; says what it was answered."""
    chance = random.Random(seed)

    def say(*words: object) -> None:
        os.write(1, (" ".join(map(str, words)) + "\n").encode())

    gates = open_store(Settings(), folder / "disk", folder / "state").gates
    image = codec.encode(IMAGE, "exact")
    say("ready")
    while True:
        prompt = uuid.uuid4().hex
        waiters = [gates.open(gate(batch=2, prompt_id=prompt), PREVIEW) for _ in range(chance.randint(1, 3))]
        for waiter in waiters:
            waiter.store_image(image)
            waiter.store_continuation(b"continuation")
        gates.park(waiters)
        say("parked", *(waiter.gate.id for waiter in waiters))
        gates.prompts_ended({prompt: ""})
        for one in gates.records():
            if one.status == "parked" and chance.random() < 0.7:
                decision = make_decision("route", chance.randint(1, 2))
                say("deciding", one.id, decision.id)
                gates.decide(one.id, decision)
                say("decided", one.id, decision.id)
                if chance.random() < 0.2:
                    say("taking", one.id, decision.id)
                    try:
                        gates.take_back(one.id, decision.id)
                    except GateClosed:
                        continue
                    say("taken", one.id, decision.id)
        for lead in gates.due_runs():
            carry_out(gates, lead.id, chance.randint(1, 3), say)


def carry_out(gates: Any, lead: str, looks: int, say: Callable[..., None]) -> None:
    """As a submitter does: the prompt's id follows from the gate, so that a run that died is submitted as itself."""
    claimed = gates.claim_run(lead, "submitter", 60_000)
    if claimed is None:
        return
    say("claimed", lead, claimed.run_seq)
    prompt = uuid.uuid5(uuid.UUID(lead), "run").hex
    for _ in range(looks):
        gates.note_run(lead, "submitter", "submitted", run_id=prompt, look_in_ms=60_000)
    for member in gates.some(claimed.members.split() or [lead]):
        if member.decision is not None and member.decision.kind == "route":
            gates.resume(member.id, member.decision.id, prompt).apply()
            say("applied", member.id, lead)
    gates.prompts_ended({prompt: ""})
    say("done", lead)


@pytest.mark.skipif(sys.platform == "win32", reason="kills and forks of POSIX")
def test_over_thirty_kills_nothing_parked_or_decided_is_lost_and_no_run_begins_twice(tmp_path: Path) -> None:
    chance = random.Random(6)
    lines: list[list[str]] = []
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path), str(Path(__file__).parents[1])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for seed in range(KILLS):
            process.stdin.write(f"{seed}\n")
            process.stdin.flush()
            # So many answers, and then anywhere on the way to the next one.
            child, answers = 0, chance.randint(2, 30)
            while answers > 0 or not child:
                words = process.stdout.readline().split()
                assert words, "the worker is gone"
                if words[0] == "pid":
                    child = int(words[1])
                elif words[0] != "ready":
                    lines.append(words)
                    answers -= 1
            time.sleep(chance.uniform(0, 0.005))
            os.kill(child, signal.SIGKILL)
            while (words := process.stdout.readline().split()) != ["gone"]:
                assert words, "the worker is gone"
                lines.append(words)
    finally:
        process.stdin.close()
        process.wait()
    store = open_store(Settings(), tmp_path / "disk", tmp_path / "state")
    gates = store.gates
    try:
        for one in gates.records():
            if one.status == "parked":
                gates.decide(one.id, make_decision("route", 1))
            elif one.status == "orphaned":
                gates.decide(one.id, make_decision("cancel"))
        for lead in gates.due_runs(most=100_000):
            carry_out(gates, lead.id, 1, lambda *words: lines.append([str(word) for word in words]))
        verify(store, lines)
    finally:
        store.close()


def verify(store: Any, lines: list[list[str]]) -> None:
    gates = store.gates
    parked = [gate_id for words in lines if words[0] == "parked" for gate_id in words[1:]]
    assert len(parked) >= KILLS
    assert {gates.get(gate_id).status for gate_id in parked} == {"applied"}
    assert gates.counts() == {"waiting": 0, "orphaned": 0, "parked": 0}
    taking = {(words[1], words[2]) for words in lines if words[0] == "taking"}
    for words in lines:
        if words[0] == "decided" and (words[1], words[2]) not in taking:
            decision = gates.get(words[1]).decision
            assert decision is not None
            assert decision.id == words[2]
    numbers: dict[str, set[str]] = {}
    done: set[str] = set()
    for words in lines:
        if words[0] == "claimed":
            numbers.setdefault(words[1], set()).add(words[2])
        assert not (words[0] in ("claimed", "applied") and words[-1 if words[0] == "applied" else 1] in done)
        if words[0] == "done":
            done.add(words[1])
    assert all(len(of_it) == 1 for of_it in numbers.values())
    assert len(set.union(*numbers.values())) == len(numbers)
    entries = store.decisions.read("", 100_000)
    assert max(Counter(of_route(entries)).values()) == 1
    ended = Counter(entry.gate for entry in entries if entry.kind == "end")
    open_decisions = Counter(entry.gate for entry in entries if entry.kind in DECIDED)
    open_decisions.subtract(entry.gate for entry in entries if entry.kind == "take-back")
    for gate_id in parked:
        assert (ended[gate_id], open_decisions[gate_id]) == (1, 1)


# -- a full disk --------------------------------------------------------------------------
def test_on_a_full_disk_gates_wait_and_are_decided_as_ever_and_park_when_there_is_room(tmp_path: Path) -> None:
    disk = Disk()
    process = Process(tmp_path, disk)
    disk.full = True
    waiter = process.open(prompt_id="p")
    assert not waiter.ready
    np.testing.assert_array_equal(process.gates.image(waiter.gate.id), IMAGE)
    assert process.gates.preview(waiter.gate.id) == PREVIEW
    process.gates.set_mask(waiter.gate.id, b"painted")
    with pytest.raises(Conflict, match="not stored"):
        process.gates.park([waiter])
    with pytest.raises(StoreUnavailable):
        process.gates.decide(waiter.gate.id, make_decision("route", 1))
    assert waiter.decision is None
    disk.full = False
    process.gates._keeping.sweep()
    assert waiter.ready
    disk.full = True
    with pytest.raises(StoreUnavailable):
        process.gates.park([waiter])
    assert process.gates.get(waiter.gate.id).status == "waiting"
    disk.full = False
    assert process.gates.park([waiter])
    assert process.gates.park([waiter])
    process.end()
    assert Process(tmp_path).gates.mask(waiter.gate.id) == b"painted"


def test_a_decision_that_only_the_log_could_take_stands_and_survives(tmp_path: Path) -> None:
    process = Process(tmp_path)
    one, two = process.parked(2)
    records = Disk()
    process.gates._folders.disk = records  # type: ignore[attr-defined]
    records.full = True
    process.gates.decide(one, make_decision("route", 2, by="ann"))
    process.gates.decide(two, make_decision("cancel"))
    assert process.gates.get(one).run == "pending"
    process.end()
    again = Process(tmp_path)
    decision = again.gates.get(one).decision
    assert decision is not None
    assert (decision.route, decision.by) == (2, "ann")
    again.run(one)
    assert [again.gates.get(gate_id).status for gate_id in (one, two)] == ["applied", "cancelled"]
    assert Counter(entry.kind for entry in again.log.read("", 100)) == {"route": 1, "cancel": 1, "end": 2}


def test_a_group_that_does_not_fit_on_the_disk_is_not_parked_by_halves(tmp_path: Path) -> None:
    for fits in range(3):
        process = Process(tmp_path / str(fits))
        waiters = [process.open(prompt_id="p", list_index=index) for index in range(3)]
        process.gates._keeping.flush()
        written = process.gates._folders._put
        left = [fits]

        def put(*arguments: Any, written: Any = written, left: list[int] = left, **options: Any) -> None:
            if left[0] == 0:
                raise StoreUnavailable("No space left on device")
            left[0] -= 1
            written(*arguments, **options)

        process.gates._folders._put = put  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            process.gates.park(waiters)
        assert {waiter.gate.status for waiter in waiters} == {"waiting"}
        process.end()
        after = Process(tmp_path / str(fits)).gates
        assert {after.get(waiter.gate.id).status for waiter in waiters} == {"orphaned"}


# -- what is broken, and who else is there ------------------------------------------------
def test_a_group_whose_lead_is_broken_goes_on_without_it(tmp_path: Path) -> None:
    process = Process(tmp_path)
    lead, member, decided = process.parked(3)
    process.gates.decide(decided, make_decision("route", 1))
    process.end()
    (tmp_path / "gates" / lead / "record.json").write_bytes(b"{")
    after = Process(tmp_path)
    with pytest.raises(GateNotFound):
        after.gates.get(lead)
    after.run(decided)
    after.gates.decide(member, make_decision("route", 2))
    after.run(member)
    assert [after.gates.get(one).run for one in (member, decided)] == ["done", "done"]


def test_a_log_that_can_not_be_read_does_not_keep_the_gates_from_being_there(tmp_path: Path) -> None:
    process = Process(tmp_path)
    (gate_id,) = process.parked()
    process.end()
    (tmp_path / "decisions.jsonl").write_bytes(b"no json\n" * 3)
    assert Process(tmp_path).gates.get(gate_id).status == "parked"


def test_two_stores_of_one_state_folder_run_each_gate_once(tmp_path: Path) -> None:
    first = open_store(Settings(), tmp_path / "disk", tmp_path / "state")
    waiter = first.gates.open(gate(batch=2, prompt_id="p"), PREVIEW)
    waiter.store_image(codec.encode(IMAGE, "png"))
    waiter.store_continuation(b"continuation")
    first.gates.park([waiter])
    beside = open_store(Settings(), tmp_path / "disk", tmp_path / "state")
    with pytest.raises(GateNotFound):
        beside.gates.get(waiter.gate.id)
    first.gates.decide(waiter.gate.id, make_decision("route", 1))
    assert beside.gates.due_runs() == []
    assert first.gates.claim_run(waiter.gate.id, "one", 1000) is None, "its prompt runs still"
    first.close()
    beside.close()
    again = open_store(Settings(), tmp_path / "disk", tmp_path / "state")
    assert again.gates.claim_run(waiter.gate.id, "one", 1000) is not None
    again.close()


def test_a_parked_gate_is_not_waited_on_nor_ended_by_who_opened_it(tmp_path: Path) -> None:
    process = Process(tmp_path)
    waiter = process.open(prompt_id="p")
    process.gates.park([waiter])
    waiter.close("interrupted")
    with pytest.raises(Conflict):
        waiter.apply()
    with pytest.raises(Conflict):
        process.gates.open(waiter.gate, PREVIEW)
    process.gates.close()
    assert process.gates.get(waiter.gate.id).status == "parked"


def test_of_many_prompts_that_take_a_run_up_at_once_one_gets_it(tmp_path: Path) -> None:
    process = Process(tmp_path)
    (gate_id,) = process.parked()
    decided = process.gates.decide(gate_id, make_decision("route", 1)).decision
    assert decided is not None
    process.gates.resume(gate_id, decided.id, "p1")
    with pytest.raises(GateBusy):
        process.gates.resume(gate_id, decided.id, "p2")
    process.gates.resume(gate_id, decided.id, "p1").apply()
    process.gates.prompts_ended({"p1": "out of memory"})
    assert process.gates.get(gate_id).run_error == "out of memory"
