"""``gatebus install``: the pack comes into a ComfyUI's folder, and nothing of anybody else is touched."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import pack as pack_module
from broker.comfyui_dir import ComfyDir, Python
from broker.pack import MARK, Pack, changed, is_pack
from gates import __version__
from gates.errors import Conflict, NotFound
from tests.service.processes import ROOT, Gatebus, refused

PYTHON = ["--python", sys.executable]
LOADED = """
import importlib.util, sys, types
sys.modules["torch"] = None
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location("pack", folder + "/__init__.py", submodule_search_locations=[folder])
module = importlib.util.module_from_spec(spec)
sys.modules["pack"] = module
spec.loader.exec_module(module)
import pack.gates.store, pack.gates.api
print(pack.gates.store.__file__)
"""


@pytest.fixture
def comfy(tmp_path: Path) -> Path:
    folder = tmp_path / "Comfy UI"
    (folder / "custom_nodes" / "of others").mkdir(parents=True)
    (folder / "custom_nodes" / "of others" / "__init__.py").write_text("# theirs")
    return folder


@pytest.fixture
def as_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """The pack as an installed package sees itself, laid out as pyproject.toml says."""
    site = tmp_path / "site-packages" / "broker"
    site.mkdir(parents=True)
    forced = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("wheel.force-include]\n")[2]
    for line in forced.partition("\n[")[0].splitlines():
        if line.startswith('"'):
            source, target = (part.strip().strip('"') for part in line.split("="))
            (site.parent / target).parent.mkdir(parents=True, exist_ok=True)
            (site.parent / target).symlink_to(ROOT / source)
    (site / "pack.py").write_text("")
    monkeypatch.setattr(pack_module, "__file__", str(site / "pack.py"))
    return Pack()


def files_of_the_checkout() -> Iterator[tuple[str, Path]]:
    folders = ("gates", "web", "locales", "example_workflows")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    paths += [ROOT / name for name in ("__init__.py", "pyproject.toml", "requirements.txt", "LICENSE")]
    for path in paths:
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(ROOT).as_posix(), path


def entries(comfy: Path) -> list[str]:
    return sorted(os.listdir(comfy / "custom_nodes"))


def test_from_a_checkout_it_is_linked_and_a_repeat_changes_nothing(gatebus: Gatebus, comfy: Path) -> None:
    answer = gatebus("install", str(comfy), *PYTHON)
    assert answer.code == 0, answer.err
    assert entries(comfy) == ["gatebus", "of others"]
    place = comfy / "custom_nodes" / "gatebus"
    assert place.is_symlink()
    assert place.resolve() == ROOT
    again = gatebus("install", str(comfy), *PYTHON)
    assert again.code == 0
    assert "as before" in again.out
    assert "Start ComfyUI again" in answer.out
    assert "Start ComfyUI again" not in again.out


def test_a_copy_is_what_comfyui_loads(gatebus: Gatebus, comfy: Path) -> None:
    told = json.loads(gatebus("install", str(comfy), "--copy", *PYTHON, "--json").out)
    place = comfy / "custom_nodes" / "gatebus"
    assert told == {
        "place": str(place),
        "version": __version__,
        "linked_to": "",
        "changed": True,
        "python": sys.executable,
        "installed": [],
        "settings": "",
        "settings_changed": False,
    }
    for name in (
        "__init__.py",
        "requirements.txt",
        "web/comfyui/gatebus.js",
        "locales/en/nodeDefs.json",
        "pyproject.toml",
    ):
        assert (place / name).read_bytes() == (ROOT / name).read_bytes()
    assert not (place / "broker").exists()
    assert not list(place.rglob("__pycache__"))
    answer = subprocess.run([sys.executable, "-c", LOADED, str(place)], capture_output=True, text=True, cwd=comfy)
    assert answer.stdout.strip() == str(place / "gates" / "store.py"), answer.stderr
    # What Python made of it is no change of somebody's.
    (place / "gates" / "__pycache__").mkdir(exist_ok=True)
    (place / "gates" / "__pycache__" / "codec.cpython-311.pyc").write_bytes(b"made")
    assert json.loads(gatebus("install", str(comfy), "--copy", *PYTHON, "--json").out)["changed"] is False


def test_an_installed_package_brings_the_same_files_as_the_checkout(as_wheel: Pack, tmp_path: Path) -> None:
    assert as_wheel.checkout is None
    from_wheel = {name: source.read_bytes() for name, source in as_wheel.files()}
    place = tmp_path / "gatebus"
    assert as_wheel.copy(place)
    copied = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert copied == {*from_wheel, MARK}
    listed = subprocess.run(
        ["git", "ls-files", "gates", "web", "locales", "example_workflows"], cwd=ROOT, capture_output=True
    )
    tracked = set(listed.stdout.decode().split())
    assert tracked - set(from_wheel) == set()
    assert is_pack(place)


def test_an_installed_package_is_copied_and_brought_up_to_date(as_wheel: Pack, gatebus: Gatebus, comfy: Path) -> None:
    assert gatebus("install", str(comfy), *PYTHON).code == 0
    place = comfy / "custom_nodes" / "gatebus"
    assert not place.is_symlink()
    # A copy of an older version: other files, and its mark names them.
    (place / "gates" / "old.py").write_text("old")
    mark = json.loads((place / MARK).read_text())
    mark["files"]["gates/old.py"] = pack_module._digest(place / "gates" / "old.py")
    mark["version"] = "0.0.1"
    (place / MARK).write_text(json.dumps(mark))
    assert changed(place) == []
    assert json.loads(gatebus("install", str(comfy), *PYTHON, "--json").out)["changed"] is True
    assert not (place / "gates" / "old.py").exists()
    assert entries(comfy) == ["gatebus", "of others"]


def test_link_and_copy_take_each_others_place(gatebus: Gatebus, comfy: Path) -> None:
    place = comfy / "custom_nodes" / "gatebus"
    gatebus("install", str(comfy), *PYTHON)
    assert gatebus("install", str(comfy), "--copy", *PYTHON).code == 0
    assert not place.is_symlink()
    assert (ROOT / "__init__.py").is_file()
    assert gatebus("install", str(comfy), *PYTHON).code == 0
    assert place.is_symlink()
    assert entries(comfy) == ["gatebus", "of others"]


@pytest.mark.parametrize("options", [[], ["--copy"]])
def test_what_is_not_ours_stays_as_it_is(gatebus: Gatebus, comfy: Path, tmp_path: Path, options: list[str]) -> None:
    place = comfy / "custom_nodes" / "gatebus"
    place.mkdir()
    (place / "mine.py").write_text("mine")
    assert "was not put there" in refused(gatebus("install", str(comfy), *PYTHON, *options), 4)
    assert (place / "mine.py").read_text() == "mine"
    (place / "mine.py").unlink()
    place.rmdir()
    place.symlink_to(tmp_path)
    assert "is a link to" in refused(gatebus("install", str(comfy), *PYTHON, *options), 4)
    assert place.resolve() == tmp_path
    place.unlink()
    place.symlink_to(tmp_path / "nowhere")
    refused(gatebus("install", str(comfy), *PYTHON, *options), 4)
    assert os.readlink(place) == str(tmp_path / "nowhere")


def test_a_copy_that_somebody_changed_stays_as_it_is(gatebus: Gatebus, comfy: Path) -> None:
    gatebus("install", str(comfy), "--copy", *PYTHON)
    place = comfy / "custom_nodes" / "gatebus"
    for change in ("gates/codec.py", "gates/mine.py"):
        kept = (place / change).read_bytes() if (place / change).exists() else None
        (place / change).write_text("changed")
        for options in ([], ["--copy"]):
            assert change in refused(gatebus("install", str(comfy), *PYTHON, *options), 4)
        assert (place / change).read_text() == "changed"
        (place / change).unlink() if kept is None else (place / change).write_bytes(kept)
    (place / "gates" / "codec.py").unlink()
    refused(gatebus("install", str(comfy), "--copy", *PYTHON), 4)


def test_a_second_pack_beside_one_that_is_there_is_refused(gatebus: Gatebus, comfy: Path) -> None:
    (comfy / "custom_nodes" / "cloned").symlink_to(ROOT)
    # The same checkout under another name: it is there already.
    assert json.loads(gatebus("install", str(comfy), *PYTHON, "--json").out)["changed"] is False
    (comfy / "custom_nodes" / "cloned").unlink()
    Pack().copy(comfy / "custom_nodes" / "cloned")
    assert "cloned holds this pack already" in refused(gatebus("install", str(comfy), *PYTHON), 4)
    assert entries(comfy) == ["cloned", "of others"]


def test_the_store_url_goes_into_the_settings_of_that_comfyui(gatebus: Gatebus, comfy: Path) -> None:
    url = "redis://:secret@127.0.0.1:6379/0"
    file = comfy / "user" / "__gatebus" / "settings.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"max_gates": 7}')
    answer = gatebus("install", str(comfy), *PYTHON, "--store-url", url)
    assert answer.code == 0
    assert "secret" not in answer.out + answer.err
    assert json.loads(file.read_text()) == {"max_gates": 7, "store_url": url}
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ComfyDir(comfy).settings().store_url == url


def test_what_is_refused_changes_nothing(gatebus: Gatebus, comfy: Path, tmp_path: Path) -> None:
    file = comfy / "user" / "__gatebus" / "settings.json"
    refused(gatebus("install", str(tmp_path), *PYTHON), 3)
    refused(gatebus("install", str(comfy), *PYTHON, "--store-url", "http://x"), 2)
    refused(gatebus("install", str(comfy), "--python", str(tmp_path / "nothing")), 3)
    not_python = tmp_path / "not-python"
    not_python.write_text("#!/bin/sh\nexit 0\n")
    not_python.chmod(0o755)
    refused(gatebus("install", str(comfy), "--python", str(not_python)), 2)
    file.parent.mkdir(parents=True)
    file.write_text('{"stor_url": ""}')
    assert "stor_url" in refused(gatebus("install", str(comfy), *PYTHON, "--store-url", "redis://h:1/0"), 2)
    assert file.read_text() == '{"stor_url": ""}'
    assert entries(comfy) == ["of others"]


def test_the_python_in_the_folder_is_found_and_otherwise_asked_for(
    gatebus: Gatebus, comfy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert "--python" in refused(gatebus("install", str(comfy)), 2)
    assert entries(comfy) == ["of others"]
    assert gatebus("install", str(comfy), "--no-requirements").code == 0
    (comfy / "venv" / "bin").mkdir(parents=True)
    (comfy / "venv" / "bin" / "python").symlink_to(sys.executable)
    if sys.platform != "win32":
        told = json.loads(gatebus("install", str(comfy), "--json").out)
        assert told["python"] == str(comfy / "venv" / "bin" / "python")


def test_packages_that_are_missing_or_too_old_are_installed(gatebus: Gatebus, comfy: Path, tmp_path: Path) -> None:
    # A Python of its own with a pip that only writes down what it is asked for.
    log = tmp_path / "pip.log"
    fake = tmp_path / "python"
    fake.write_text(
        f'#!/bin/sh\nif [ "$2" = pip ]; then echo "$@" >> "{log}"; echo from pip; exit 0; fi\n'
        'echo \'{"python": "3.11.7", "redis": "4.6.0", "msgpack": "1.1.0", "pip": "24"}\'\n'
    )
    fake.chmod(0o755)
    answer = gatebus("install", str(comfy), "--python", str(fake), "--json")
    assert json.loads(answer.out)["installed"] == ["redis[hiredis]>=5.0"]
    assert "from pip" in answer.err
    assert log.read_text().split()[:3] == ["-m", "pip", "install"]
    assert str(ROOT / "requirements.txt") in log.read_text()
    fake.write_text(fake.read_text().replace("exit 0", "exit 3"))
    assert gatebus("install", str(comfy), "--python", str(fake)).code == 1


def test_the_running_python_has_what_the_pack_needs() -> None:
    python = Python(Path(sys.executable))
    assert python.lacks(Pack().requirements) == []
    assert python.versions(["redis", "no-such-package"]).keys() == {"python", "redis"}


def test_a_folder_without_custom_nodes_is_no_comfyui(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="custom_nodes"):
        ComfyDir(tmp_path)
    with pytest.raises(Conflict):
        (tmp_path / "place").mkdir()
        Pack().link(tmp_path / "place")
