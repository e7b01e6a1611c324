"""Gates on the disk: what was written is there after a restart, what is broken is set aside, nothing is half there."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gates import codec
from gates.errors import GateNotFound, InvalidName, StoreUnavailable
from gates.gate.folder import BROKEN, GateFolders, own_folder
from gates.gate.record import Gate, make_decision
from gates.instance import claim_identity

IMAGE = np.random.default_rng(6).random((3, 300, 400, 3), dtype=np.float32)
TOKEN = "0123456789abcdef"


@pytest.fixture
def folders(tmp_path: Path) -> GateFolders:
    return GateFolders(tmp_path / "gates")


def kept(folders: GateFolders, format: str = "exact", **fields: Any) -> Gate:
    """A gate that waits and has everything."""
    image = codec.encode(IMAGE, format)
    gate = Gate(
        id=uuid.uuid4().hex, title="Pick ☂", labels=("keep", ""), opened=5, layout=image.layout, mask=TOKEN, kept=1,
        batch=3,
    )  # fmt: skip
    gate = replace(gate, **fields)
    folders.put_preview(gate.id, b"jpeg")
    folders.put_image(gate.id, image)
    folders.put_mask(gate.id, TOKEN, b"mask")
    folders.put_continuation(gate.id, b"continuation")
    folders.put_record(gate)
    return gate


def files(folders: GateFolders, gate: Gate) -> list[str]:
    return sorted(path.name for path in (folders.root / gate.id).iterdir())


@pytest.mark.parametrize("format", ["png", "exact"])
def test_a_gate_is_read_as_it_was_written(folders: GateFolders, format: str) -> None:
    decision = replace(make_decision("route", 2, by="ann", text="a\nb", chosen="0,2"), at=7, mask=TOKEN)
    gate = kept(folders, format, decision=decision, status="decided", parked=9, group="g", run="pending", run_seq=3)
    (loaded,) = GateFolders(folders.root).load()
    assert loaded == gate
    assert folders.preview(gate.id) == b"jpeg"
    assert folders.mask(gate.id, TOKEN) == b"mask"
    assert folders.continuation(gate.id) == b"continuation"
    assert gate.layout is not None
    parts = [folders.part(gate, number) for number in range(gate.layout.parts)]
    image = codec.decode(gate.layout, parts)
    if format == "exact":
        np.testing.assert_array_equal(image, IMAGE)
    else:
        np.testing.assert_array_equal(image, np.rint(IMAGE * 255).astype(np.uint8) / np.float32(255))
    with pytest.raises(GateNotFound):
        folders.part(gate, gate.layout.parts)


def test_what_is_not_there_is_not_found(folders: GateFolders) -> None:
    assert folders.load() == []
    unknown = uuid.uuid4().hex
    for read in (folders.preview, folders.continuation, lambda gate_id: folders.mask(gate_id, TOKEN)):
        with pytest.raises(GateNotFound, match="not stored"):
            read(unknown)
    with pytest.raises(GateNotFound):
        folders.part(Gate(id=unknown), 0)
    folders.remove(unknown)
    folders.drop_bytes(unknown)
    assert not folders.root.exists()


@pytest.mark.parametrize("bad", ["", "..", "../../etc", "a/b", "/etc", "A" * 32])
def test_no_path_leads_out_of_the_folder(folders: GateFolders, bad: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: folders.preview(bad),
        lambda: folders.put_preview(bad, b""),
        lambda: folders.put_mask(uuid.uuid4().hex, bad, b""),
        lambda: folders.mask(uuid.uuid4().hex, bad),
        lambda: folders.remove(bad),
        lambda: folders.put_record(Gate(id=bad)),
    ]
    for call in calls:
        with pytest.raises(InvalidName):
            call()


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_is_no_gate_and_no_file_of_one(folders: GateFolders, tmp_path: Path) -> None:
    gate = kept(folders)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "record.json").write_bytes((folders.root / gate.id / "record.json").read_bytes())
    (folders.root / uuid.uuid4().hex).symlink_to(elsewhere)
    other = kept(folders)
    record = folders.root / other.id / "record.json"
    record.unlink()
    record.symlink_to(elsewhere / "record.json")
    preview = folders.root / gate.id / "preview.jpg"
    preview.unlink()
    preview.symlink_to("/etc/hostname")
    assert [loaded.id for loaded in folders.load()] == [gate.id]
    with pytest.raises(StoreUnavailable):
        folders.preview(gate.id)
    assert (elsewhere / "record.json").exists()


def _breakages() -> dict[str, Callable[[Path], object]]:
    def record(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
        def apply(folder: Path) -> object:
            row = json.loads((folder / "record.json").read_bytes())
            change(row)
            return (folder / "record.json").write_text(json.dumps(row))

        return apply

    return {
        "empty record": lambda folder: (folder / "record.json").write_bytes(b""),
        "cut record": lambda folder: (folder / "record.json").write_bytes((folder / "record.json").read_bytes()[:200]),
        "zeros": lambda folder: (folder / "record.json").write_bytes(bytes(900)),
        "no utf-8": lambda folder: (folder / "record.json").write_bytes(b'{"id": "\xff"}'),
        "deep": lambda folder: (folder / "record.json").write_bytes(b"[" * 100_000),
        "list": lambda folder: (folder / "record.json").write_bytes(b"[]"),
        "another id": record(lambda row: row.update(id=uuid.uuid4().hex)),
        "no status": record(lambda row: row.pop("status")),
        "strange status": record(lambda row: row.update(status="?")),
        "number that is none": record(lambda row: row.update(rev="x")),
        "value that is no text": record(lambda row: row.update(rev=7)),
        "strange layout": record(lambda row: row.update(layout='{"format": "exact"}')),
        "labels": record(lambda row: row.update(labels="{")),
        "short image": lambda folder: os.truncate(folder / "image.tensor", 1000),
        "no image": lambda folder: (folder / "image.tensor").unlink(),
        "no continuation": lambda folder: (folder / "continuation").unlink(),
        "empty continuation": lambda folder: os.truncate(folder / "continuation", 0),
        "no mask": lambda folder: (folder / f"mask_{TOKEN}.png").unlink(),
    }


@pytest.mark.parametrize("how", _breakages())
def test_a_broken_gate_is_set_aside_and_the_others_are_there(
    folders: GateFolders, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    before, broken, after = kept(folders, opened=1), kept(folders, opened=2), kept(folders, opened=3)
    _breakages()[how](folders.root / broken.id)
    assert [gate.id for gate in folders.load()] == [before.id, after.id]
    (aside,) = (folders.root / BROKEN).iterdir()
    assert aside.name.startswith(broken.id)
    assert str(aside) in caplog.text
    caplog.clear()
    assert len(folders.load()) == 2
    assert caplog.text == ""


def test_what_a_writer_left_that_died_is_removed_at_the_next_start(folders: GateFolders) -> None:
    gate, unfinished = kept(folders), kept(folders)
    (folders.root / unfinished.id / "record.json").unlink()
    (folders.root / gate.id / ".00112233.tmp").write_bytes(b"half")
    (folders.root / "note.txt").write_text("put there by hand")
    assert [loaded.id for loaded in folders.load()] == [gate.id]
    assert files(folders, gate) == ["continuation", "image.tensor", f"mask_{TOKEN}.png", "preview.jpg", "record.json"]
    assert sorted(path.name for path in folders.root.iterdir()) == sorted([gate.id, "note.txt"])


def test_the_bytes_of_an_ended_gate_may_be_gone_and_its_record_stays(folders: GateFolders) -> None:
    gate = kept(folders, "png", status="applied", ended=9)
    folders.drop_bytes(gate.id)
    folders.drop_mask(gate.id, TOKEN)
    assert files(folders, gate) == ["preview.jpg", "record.json"]
    assert folders.load() == [gate]
    folders.remove(gate.id)
    assert folders.load() == []
    assert not (folders.root / gate.id).exists()


@pytest.mark.parametrize("linked", [True, False])
def test_a_copy_shares_the_bytes_and_outlives_its_original(
    folders: GateFolders, linked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not linked:

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)
    source = kept(folders)
    copy = replace(source, id=uuid.uuid4().hex, of=source.id)
    for _ in range(2):
        folders.share(source, copy.id)
    folders.put_record(copy)
    folders.put_preview(source.id, b"another")
    folders.remove(source.id)
    assert folders.load() == [copy]
    assert folders.preview(copy.id) == b"jpeg"
    assert copy.layout is not None
    parts = [folders.part(copy, number) for number in range(copy.layout.parts)]
    np.testing.assert_array_equal(codec.decode(copy.layout, parts), IMAGE)


def test_a_full_disk_leaves_what_was_there_and_nothing_half_written(
    folders: GateFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = kept(folders)
    names, write, left = files(folders, gate), os.write, [1000]

    def full(descriptor: int, data: Any) -> int:
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = write(descriptor, data[: left[0]])
        left[0] -= taken
        return taken

    monkeypatch.setattr(os, "write", full)
    fresh = uuid.uuid4().hex
    calls: list[Callable[[], object]] = [
        lambda: folders.put_record(replace(gate, status="decided", note="x" * 2000)),
        lambda: folders.put_image(fresh, codec.encode(IMAGE, "exact")),
        lambda: folders.put_image(fresh, codec.encode(IMAGE, "png")),
        lambda: folders.put_continuation(gate.id, bytes(5000)),
    ]
    for call in calls:
        left[0] = 1000
        with pytest.raises(StoreUnavailable, match="No space left"):
            call()
    monkeypatch.undo()
    assert files(folders, gate) == names
    assert list((folders.root / fresh).iterdir()) == []
    assert folders.load() == [gate]
    assert folders.continuation(gate.id) == b"continuation"


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_nobody_else_on_the_machine_reads_what_was_asked(folders: GateFolders) -> None:
    gate = kept(folders)
    folder = folders.root / gate.id
    assert [path.stat().st_mode & 0o077 for path in (folders.root, folder, *folder.iterdir())] == [0] * 7


def test_of_two_processes_with_one_state_folder_each_has_its_own_gates(tmp_path: Path) -> None:
    first = claim_identity(tmp_path)
    one = GateFolders(own_folder(tmp_path, first))
    gate = kept(one)
    second = claim_identity(tmp_path)
    other = GateFolders(own_folder(tmp_path, second))
    assert other.load() == []
    foreign = kept(other)
    assert [loaded.id for loaded in GateFolders(own_folder(tmp_path, first)).load()] == [gate.id]
    # Both processes die; the first one that comes back finds everything.
    first.lock.close()
    second.lock.close()
    again = claim_identity(tmp_path)
    assert again.id == first.id
    folder = own_folder(tmp_path, again)
    assert folder == one.root
    assert {loaded.id for loaded in GateFolders(folder).load()} == {gate.id, foreign.id}
    assert not other.root.exists()
    beside = claim_identity(tmp_path)
    assert beside.id == second.id
    assert GateFolders(own_folder(tmp_path, beside)).load() == []
    again.lock.close()
    beside.lock.close()


def test_the_gates_of_a_process_that_lives_are_not_taken_from_it(tmp_path: Path) -> None:
    """Another process holds the second identity; the first one restarts beside it."""
    first = claim_identity(tmp_path)
    code = (
        "import sys; from pathlib import Path; from gates.instance import claim_identity\n"
        "identity = claim_identity(Path(sys.argv[1])); print(identity.number, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        theirs = kept(GateFolders(tmp_path / "gates-1"))
        first.lock.close()
        first = claim_identity(tmp_path)
        assert GateFolders(own_folder(tmp_path, first)).load() == []
        process.kill()
        process.wait()
        assert [gate.id for gate in GateFolders(own_folder(tmp_path, first)).load()] == [theirs.id]
    finally:
        process.kill()
        process.communicate()
        first.lock.close()
