"""The manifest: its stored form, foreign ones included, and the stores held to the pure functions by random edits."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakeredis
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gates.connection import Connection
from gates.errors import GatebusError, InvalidInput
from gates.keys import Keys
from gates.pool.disk import DiskPools
from gates.pool.document import read_document, write_document
from gates.pool.edits import Edit, applied, named, removed
from gates.pool.manifest import Manifest, Removed, Slot, file_name, mask_name
from gates.pool.redis import RedisPools
from gates.settings import Settings

SETTINGS = Settings(max_slots=12)


def same(manifest: Manifest) -> Manifest:
    """The manifest without what a store is free to choose: times, digests."""
    slots = tuple(replace(slot, added=0, digest="", mask_digest="") for slot in manifest.slots)
    return replace(manifest, slots=slots)


class Pools(RuleBasedStateMachine):
    """Random edits, made on the pure functions and on each store: they answer and refuse alike."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        server = fakeredis.FakeServer()
        connection = Connection(
            SETTINGS, fakeredis.FakeRedis(server=server, decode_responses=True), fakeredis.FakeRedis(server=server)
        )
        self.connection = connection
        self.stores: list[Any] = [
            DiskPools(Path(self.folder.name), SETTINGS),
            RedisPools(connection, Keys(), SETTINGS),
        ]
        self.model = Manifest("p")
        self.trash: dict[str, Removed] = {}
        self.count = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    def edit(self, edit: Edit, data: list[bytes]) -> None:
        expected: type[BaseException] | None = None
        try:
            model = named(self.model, edit) if edit.kind == "add" else edit
            after = applied(self.model, model, self.trash)
            if len(after.slots) > SETTINGS.max_slots and len(after.slots) > len(self.model.slots):
                raise OverflowError
        except OverflowError:
            expected = GatebusError
        except GatebusError as error:
            expected = type(error)
        for store in self.stores:
            self.count += 1
            edit = replace(edit, id=f"edit{self.count}")
            if expected is None:
                assert same(store.edit("p", edit, data)) == same(after)
            else:
                with pytest.raises(expected):
                    store.edit("p", edit, data)
        if expected is None:
            if edit.kind == "remove":
                self.trash.update((entry.slot.file, entry) for entry in removed(self.model, edit.files, 0))
            if edit.kind == "restore":
                for file in edit.files:
                    del self.trash[file]
            self.model = after

    @invariant()
    def every_store_shows_the_model(self) -> None:
        for store in self.stores if self.model.rev else []:
            manifest = store.get("p")
            assert same(manifest) == same(self.model)
            for slot in manifest.slots:
                assert (store.mask("p", slot.file) is None) == (not slot.mask)

    @invariant()
    def a_fresh_look_at_redis_shows_the_model(self) -> None:
        if self.model.rev:
            fresh = RedisPools(self.connection, Keys(), SETTINGS)
            assert same(fresh.get("p")) == same(self.model)

    files = st.lists(st.integers(1, 14).map(file_name), min_size=1, max_size=4, unique=True)
    file = st.integers(1, 14).map(file_name)

    @rule(count=st.integers(1, 4), before=st.none() | file)
    def add(self, count: int, before: str | None) -> None:
        slots = tuple(Slot("", label=str(number), digest="e" * 64) for number in range(count))
        if self.model.rev or before is None:
            self.edit(Edit("add", "", slots=slots, before=before), [b"image"] * count)

    @precondition(lambda self: self.model.rev)
    @rule(files=files)
    def remove(self, files: list[str]) -> None:
        self.edit(Edit("remove", "", files=tuple(files)), [])

    @precondition(lambda self: self.trash)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        files = data.draw(st.lists(st.sampled_from(sorted(self.trash)), min_size=1, unique=True))
        self.edit(Edit("restore", "", files=tuple(files)), [])

    @precondition(lambda self: self.model.rev)
    @rule(files=files, before=st.none() | file)
    def move(self, files: list[str], before: str | None) -> None:
        self.edit(Edit("move", "", files=tuple(files), before=before), [])

    @precondition(lambda self: self.model.slots)
    @rule(data=st.data(), stale=st.booleans(), less=st.booleans())
    def reorder(self, data: st.DataObject, stale: bool, less: bool) -> None:
        files = data.draw(st.permutations(self.model.files))
        rev = self.model.rev - 1 if stale else None
        self.edit(Edit("reorder", "", files=tuple(files[1:] if less else files), rev=rev), [])

    @precondition(lambda self: self.model.rev)
    @rule(
        file=file,
        kind=st.sampled_from(["activate", "label", "clear", "set_mask", "rename"]),
        text=st.text("ab猫", max_size=3),
    )
    def change(self, file: str, kind: str, text: str) -> None:
        if kind == "rename":
            self.edit(Edit("rename", "", text=text), [])
        elif kind in ("set_mask", "clear"):
            digest = "d" * 64 if kind == "set_mask" else ""
            self.edit(Edit("set_mask", "", files=(file,), text=digest), [b"mask"] if digest else [])
        else:
            self.edit(Edit(kind, "", files=(file,), text=text if kind == "label" else ""), [])

    @precondition(lambda self: self.model.rev)
    @rule()
    def rebuild(self) -> None:
        for store in self.stores:
            manifest = store.rebuild("p")
            assert same(replace(manifest, rev=self.model.rev)) == same(self.model)
        self.model = replace(self.model, rev=self.model.rev + 1)


TestPools = Pools.TestCase
TestPools.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


# -- the stored form ------------------------------------------------------------------------


def full() -> Manifest:
    slots = tuple(
        Slot(file_name(n), f"ñ 猫 {n}", mask_name(file_name(n)), 1_795_000_000_000 + n, "a" * 64, "b" * 64)
        for n in (3, 1)
    )
    return Manifest("p", "Name 猫", file_name(1), (*slots, Slot(file_name(7), digest="c" * 64)), 12, 34)


def test_a_manifest_survives_its_stored_form() -> None:
    assert read_document("p", write_document(full())) == full()
    assert read_document("p", write_document(Manifest("p"))) == Manifest("p")
    assert read_document("p", write_document(replace(full(), origin="ab12:7"))).origin == "ab12:7"


def test_the_stored_form_is_the_kept_layout() -> None:
    document = json.loads(write_document(full()))
    assert document["active"] == 1
    assert document["next_seq"] == 12
    assert [slot["image"] for slot in document["slots"]] == ["img_0003.png", "img_0001.png", "img_0007.png"]
    assert [slot["mask"] for slot in document["slots"]] == ["img_0003.mask.png", "img_0001.mask.png", None]


@pytest.mark.parametrize("active", [1, "img_0002.png", 1.0])
def test_a_manifest_of_another_writer_is_read(active: object) -> None:
    document = {
        "active": active,
        "slots": [
            {"image": "img_0001.png", "mask": "img_0001.mask.png", "label": "cat", "added": 1718960000},
            {"image": "img_0002.png", "mask": None, "label": "", "added": 1718960001.5},
            {"image": "img_0005.png"},
        ],
    }
    manifest = read_document("p", json.dumps(document).encode())
    assert manifest.active == "img_0002.png"
    assert manifest.slots[0] == Slot("img_0001.png", "cat", "img_0001.mask.png", 1718960000000)
    assert manifest.slots[1].added == 1718960001000
    assert (manifest.slots[2], manifest.next_seq) == (Slot("img_0005.png"), 6)


@pytest.mark.parametrize(("active", "then"), [(-1, 0), (9, 2), (None, 0), (True, 0), ("img_0009.png", 0), ([], 0)])
def test_an_active_slot_that_is_none_becomes_one(active: object, then: int) -> None:
    slots = [{"image": file_name(number)} for number in (1, 2, 3)]
    manifest = read_document("p", json.dumps({"active": active, "slots": slots}).encode())
    assert manifest.active == slots[then]["image"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"slots": 3}',
        b'{"slots": [3]}',
        b'{"slots": [{"image": "../x.png"}]}',
        b'{"slots": [{"image": "img_0001.png"}, {"image": "img_0001.png"}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        read_document("p", data)


def test_a_manifest_can_not_name_files_of_others() -> None:
    slot = {"image": "img_0001.png", "mask": "../../secret.png", "label": 5, "digest": "zz", "added": float("nan")}
    document = {"name": ["x"], "origin": "../:1", "next_seq": 10**300, "slots": [slot], "rev": "1"}
    manifest = read_document("p", json.dumps(document).encode())
    assert manifest.slots == (Slot("img_0001.png", mask="img_0001.mask.png"),)
    assert (manifest.name, manifest.origin, manifest.rev, manifest.next_seq) == ("", "", 0, 2)
