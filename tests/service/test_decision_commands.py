"""What ``gatebus decisions``, ``take-back`` and ``export`` show and write."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gates import codec
from gates.gate.record import Waiter
from tests.service.processes import Command, Gatebus, Studio, refused, until

BATCH = np.linspace(0, 1, 2 * 6 * 8 * 3, dtype=np.float32).reshape(2, 6, 8, 3)


def stored(studio: Studio, title: str = "portrait", frames: int = 1, **more: Any) -> Waiter:
    waiter = studio.open_gate(title, labels=("keep", "bin"), **more)
    waiter.store_image(codec.encode(BATCH[:frames], "png"))
    return waiter


def done(waiter: Waiter) -> None:
    assert waiter.wait(10) is not None
    waiter.apply()


def test_the_log_shows_who_decided_what_from_where_and_how_it_ended(studio: Studio, gatebus: Gatebus) -> None:
    assert gatebus("decisions").out == "Nothing was decided.\n"
    first, second = stored(studio, "one"), stored(studio, "two")
    gatebus("route", first.gate.id, "1", "--by", "ann")
    done(first)
    gatebus("cancel", second.gate.id, "--by", "bob")
    done(second)
    lines = gatebus("decisions").out.splitlines()
    assert len(lines) == 3
    assert all(word in lines[2] for word in ("ann", "1 keep", first.gate.id[:12], "one", "command on ", "applied"))
    assert all(word in lines[1] for word in ("bob", "cancel", "two"))
    rows = [json.loads(line) for line in gatebus("decisions", "--json", "--by", "ann").out.splitlines()]
    assert [(row["gate"], row["outcome"]) for row in rows] == [(first.gate.id, "applied")]
    table = list(csv.DictReader(io.StringIO(gatebus("decisions", "--csv", "--since", "1h").out)))
    assert [row["by"] for row in table] == ["bob", "ann"]
    assert gatebus("decisions", "--json", "--since", "2099-01-01").out == ""
    assert "is no time" in refused(gatebus("decisions", "--since", "yesterday"), 2)
    assert "not both" in refused(gatebus("decisions", "--json", "--csv"), 2)


def test_the_log_is_followed_until_ctrl_c(studio: Studio, gatebus: Gatebus, start: Callable[..., Command]) -> None:
    before, after = stored(studio, "before"), stored(studio, "after")
    gatebus("route", before.gate.id, "1", "--by", "ann")
    command = start("--url", studio.url, "decisions", "--follow")
    command.line("ann .*before")
    gatebus("route", after.gate.id, "2", "--by", "bob")
    command.line("bob .*2 bin.*after")
    assert command.end(signal.SIGINT) == 0


def test_a_decision_is_taken_back_by_command(studio: Studio, gatebus: Gatebus) -> None:
    waiter = stored(studio)
    assert "not decided" in refused(gatebus("take-back", waiter.gate.id), 4)
    gatebus("route", waiter.gate.id, "1")
    assert gatebus("take-back", waiter.gate.id[:8]).out == f"{waiter.gate.id} waits again\n"
    assert studio.store.gates.get(waiter.gate.id).status == "waiting"
    gatebus("route", waiter.gate.id, "2")
    done(waiter)
    refused(gatebus("take-back", waiter.gate.id), 4)


def test_the_images_of_a_route_are_written_once_with_caption_mask_and_row(
    studio: Studio, gatebus: Gatebus, tmp_path: Path
) -> None:
    kept, painted, other = (stored(studio) for _ in range(3))
    mask = codec.encode_png(np.full((6, 8), 255, np.uint8))
    studio.store.gates.set_mask(painted.gate.id, mask)
    gatebus("route", kept.gate.id, "1", "--text", "a cat")
    gatebus("route", painted.gate.id, "1")
    gatebus("route", other.gate.id, "2")
    for waiter in (kept, painted, other):
        done(waiter)
    folder = tmp_path / "set"
    assert (
        gatebus("export", str(folder), "--label", "keep").out
        == f"{folder}: 2 images written, 0 there already, 0 gone\n"
    )
    images = [path for path in folder.glob("*.png") if not path.name.endswith(".mask.png")]
    assert len(images) == 2
    for image in images:
        row = json.loads(image.with_suffix(".json").read_text())
        assert row["digest"] == hashlib.sha256(image.read_bytes()).hexdigest()
        assert image.name.split("_")[1] == row["gate"][:12]
        assert image.with_suffix(".txt").read_text() == {kept.gate.id: "a cat", painted.gate.id: "keep"}[row["gate"]]
        assert image.with_suffix(".mask.png").exists() == (row["gate"] == painted.gate.id)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert (
        gatebus("export", str(folder), "--route", "1").out == f"{folder}: 0 images written, 2 there already, 0 gone\n"
    )
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_every_frame_of_a_batch_is_written_and_the_caption_is_what_was_asked_for(
    studio: Studio, gatebus: Gatebus, tmp_path: Path
) -> None:
    from gates.gate.record import Gate

    waiter = studio.store.gates.open(
        Gate(id="ab" * 16, title="t", note="the note", width=8, height=6, batch=2), codec.preview_jpeg(BATCH)
    )
    waiter.store_image(codec.encode(BATCH, "exact"))
    gatebus("route", waiter.gate.id, "1")
    assert json.loads(gatebus("export", str(tmp_path), "--caption", "note", "--json").out) == {
        "written": 2, "there": 0, "gone": [],
    }  # fmt: skip
    for frame in range(2):
        (image,) = tmp_path.glob(f"*_abababababab_{frame:03d}.png")
        np.testing.assert_array_equal(
            codec.decode_png(image.read_bytes()), np.rint(BATCH[frame] * 255).astype(np.uint8)
        )
        assert image.with_suffix(".txt").read_text() == "the note"


def test_images_that_are_gone_are_named_and_the_others_written(
    studio: Studio, gatebus: Gatebus, tmp_path: Path
) -> None:
    there, gone = stored(studio), studio.open_gate(labels=("keep", ""))
    for waiter in (there, gone):
        gatebus("route", waiter.gate.id, "1")
        done(waiter)
    answer = gatebus("export", str(tmp_path / "set"))
    assert answer.code == 3
    assert gone.gate.id[:12] in answer.err
    assert there.gate.id[:12] not in answer.err
    assert len(list((tmp_path / "set").glob("*.png"))) == 1
    (tmp_path / "file").write_text("")
    refused(gatebus("export", str(tmp_path / "file" / "below")), 2)


def test_export_watches_and_writes_what_is_carried_out_and_nothing_that_is_taken_back(
    studio: Studio, gatebus: Gatebus, start: Callable[..., Command], tmp_path: Path
) -> None:
    early, taken, live, late = (stored(studio, title) for title in ("early", "taken", "live", "late"))
    gatebus("route", early.gate.id, "1")
    done(early)
    gatebus("route", taken.gate.id, "1")
    command = start("--url", studio.url, "export", str(tmp_path / "set"), "--route", "1", "--watch")
    command.line("1 images written.*waiting for more")
    gatebus("take-back", taken.gate.id)
    gatebus("route", taken.gate.id, "2")
    done(taken)
    unstored = studio.open_gate("unstored")
    for waiter in (live, late, unstored):
        gatebus("route", waiter.gate.id, "1")
        done(waiter)
    unstored.store_image(codec.encode(BATCH[:1], "png"))

    def names() -> set[str]:
        return {path.name.split("_")[1] for path in (tmp_path / "set").glob("*.png")}

    expected = {waiter.gate.id[:12] for waiter in (early, live, late, unstored)}
    until(lambda: names() == expected, "the export of what was decided")
    assert command.end(signal.SIGINT) == 0
    command.line("4 images written, 0 there already, 0 gone")
