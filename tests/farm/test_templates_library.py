"""The library: names that stay inside, backups before anything is overwritten, files whole or not there."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from broker.comfyui.library import SHIPPED, WorkflowLibrary
from broker.comfyui.refusals import InvalidTemplate, TemplateNotFound
from broker.comfyui.workflows import Template
from gates.errors import Conflict, GatebusError, InvalidName, StoreUnavailable


def named(name: str, about: str = "") -> Template:
    return Template.from_json({**WorkflowLibrary().load("invert").to_json(), "name": name, "about": about})


@pytest.fixture
def library(tmp_path: Path) -> WorkflowLibrary:
    return WorkflowLibrary(tmp_path / "own")


def test_a_saved_template_is_the_same_when_it_is_loaded(library: WorkflowLibrary) -> None:
    path = library.save(named("mine", "Mine."))
    assert library.load("mine") == named("mine", "Mine.")
    assert json.loads(path.read_text(encoding="utf-8"))["about"] == "Mine."
    assert {entry.name for entry in library.entries() if not entry.shipped} == {"mine"}


def test_a_template_goes_before_the_shipped_one_of_its_name_until_it_is_deleted(library: WorkflowLibrary) -> None:
    with pytest.raises(Conflict):
        library.save(named("invert", "Other."))
    library.save(named("invert", "Other."), overwrite=True)
    assert library.load("invert").about == "Other."
    (entry,) = (entry for entry in library.entries() if entry.name == "invert")
    assert (entry.shipped, entry.replaces) == (False, True)
    library.delete("invert")
    assert library.load("invert") == WorkflowLibrary().load("invert")
    with pytest.raises(Conflict, match="came with gatebus"):
        library.delete("invert")


def test_nothing_is_overwritten_unasked_and_the_former_versions_are_kept(tmp_path: Path) -> None:
    clock = iter(datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=second) for second in range(100))
    library = WorkflowLibrary(tmp_path / "own", tmp_path / "backups", keep=3, now=lambda: next(clock))
    library.save(named("mine", "0"))
    library.save(named("mine-2", "untouched"))
    with pytest.raises(Conflict, match="already"):
        library.save(named("mine", "1"))
    for number in range(1, 6):
        library.save(named("mine", str(number)), overwrite=True)
    abouts = [json.loads(path.read_text(encoding="utf-8"))["about"] for path in library.backups("mine")]
    assert abouts == ["2", "3", "4"]
    library.delete("mine")
    assert json.loads(library.backups("mine")[-1].read_text(encoding="utf-8"))["about"] == "5"
    assert library.backups("mine-2") == []
    with pytest.raises(TemplateNotFound):
        library.load("mine")


def test_backups_within_one_moment_are_kept_apart(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 1, tzinfo=timezone.utc)
    library = WorkflowLibrary(tmp_path / "own", now=lambda: moment)
    for number in range(4):
        library.save(named("mine", str(number)), overwrite=True)
    assert len(library.backups("mine")) == 3


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "con", "a\\b", "x" * 65, "a\0b"])
def test_a_name_that_could_lead_elsewhere_is_refused(library: WorkflowLibrary, name: str) -> None:
    for call in (library.load, library.delete, library.backups):
        with pytest.raises(InvalidName):
            call(name)


def test_a_link_that_leads_out_of_the_folder_is_not_followed(library: WorkflowLibrary, tmp_path: Path) -> None:
    library.save(named("mine"))
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps(named("linked").to_json()), encoding="utf-8")
    (tmp_path / "own" / "linked.json").symlink_to(secret)
    with pytest.raises(InvalidTemplate, match="leads out"):
        library.load("linked")
    with pytest.raises(InvalidTemplate):
        library.save(named("linked"), overwrite=True)
    with pytest.raises(InvalidTemplate):
        library.delete("linked")
    assert secret.exists()


def test_a_file_that_is_no_template_is_listed_with_the_reason_and_hinders_no_other(
    library: WorkflowLibrary, tmp_path: Path
) -> None:
    library.save(named("mine"))
    (tmp_path / "own" / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "own" / "other.json").write_text(json.dumps(named("another").to_json()), encoding="utf-8")
    problems = {entry.name: entry.problem for entry in library.entries()}
    assert "JSON" in problems["broken"]
    assert "another" in problems["other"]
    assert problems["mine"] == ""


def test_a_write_that_fails_leaves_the_former_template(
    library: WorkflowLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.save(named("mine", "old"))

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreUnavailable, match="No space"):
        library.save(named("mine", "new"), overwrite=True)
    monkeypatch.undo()
    assert library.load("mine").about == "old"
    assert list((tmp_path / "own").glob("*.tmp")) == []


def test_many_who_save_at_once_leave_one_whole_template_and_a_backup_of_each_other(tmp_path: Path) -> None:
    failures: list[GatebusError] = []

    def save(number: int) -> None:
        try:
            WorkflowLibrary(tmp_path / "own", keep=100).save(named("mine", str(number)), overwrite=True)
        except GatebusError as error:
            failures.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    library = WorkflowLibrary(tmp_path / "own", keep=100)
    kept = [json.loads(path.read_text(encoding="utf-8"))["about"] for path in library.backups("mine")]
    assert sorted([library.load("mine").about, *kept], key=int) == [str(number) for number in range(20)]


def test_the_shipped_ones_can_t_be_changed_in_place(tmp_path: Path) -> None:
    with pytest.raises(Conflict):
        WorkflowLibrary().save(named("mine"))
    with pytest.raises(Conflict):
        WorkflowLibrary().delete("invert")
    assert (SHIPPED / "invert.json").is_file()
