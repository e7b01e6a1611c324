"""The first two commands: what they install, when they install it again, and what they say when they can't."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker import bootstrap, embedded
from broker.bootstrap import BootstrapError, Venv

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been run; each succeeds."""
    commands: list[list[str]] = []

    def run(command: Sequence[str], environ: Any = None, folder: Any = None) -> None:
        commands.append(list(command))

    monkeypatch.setattr(bootstrap, "run", run)
    return commands


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with a pyproject.toml and an empty virtual environment."""
    root = tmp_path / "any name [1]"
    (root / ".venv").mkdir(parents=True)
    (root / "pyproject.toml").write_text("one")
    return root


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    return path


def test_what_was_installed_is_not_installed_again(checkout: Path, ran: list[list[str]]) -> None:
    venv = Venv(checkout)
    assert not venv.has(bootstrap.EXTRAS["demo"])
    venv.install(bootstrap.EXTRAS["demo"])
    assert ran == [[venv.python, "-m", "pip", "install", "--disable-pip-version-check", "-e", ".[embedded,fast]"]]
    assert Venv(checkout).has(bootstrap.EXTRAS["demo"])
    assert not Venv(checkout).has(bootstrap.EXTRAS["test"])


def test_the_tests_bring_what_the_demonstration_needs_and_both_stay_known(checkout: Path, ran: list[list[str]]) -> None:
    venv = Venv(checkout)
    venv.install(bootstrap.EXTRAS["test"])
    assert venv.has(bootstrap.EXTRAS["demo"])
    venv.install(bootstrap.EXTRAS["demo"])
    assert venv.has(bootstrap.EXTRAS["test"])


def test_a_changed_project_another_place_and_a_spoilt_stamp_are_installed_anew(
    checkout: Path, tmp_path: Path, ran: list[list[str]]
) -> None:
    extras = bootstrap.EXTRAS["test"]
    Venv(checkout).install(extras)
    moved = tmp_path / "elsewhere"
    shutil.copytree(checkout, moved)
    assert not Venv(moved).has(extras)

    (checkout / "pyproject.toml").write_text("two")
    assert not Venv(checkout).has(extras)
    Venv(checkout).install(bootstrap.EXTRAS["demo"])
    assert not Venv(checkout).has(extras), "what was installed from the old project must not count"

    for stamp in checkout.rglob("gatebus-installed.json"):
        stamp.write_text("[]")
    assert not Venv(checkout).has(bootstrap.EXTRAS["demo"])


def test_an_installation_that_fails_is_not_taken_for_done(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "shown", lambda *_: 1)
    Venv(checkout)
    with pytest.raises(BootstrapError, match="failed with exit code 1"):
        Venv(checkout).install(("test",))
    assert not Venv(checkout).has(("test",))


def test_an_environment_without_a_working_python_is_not_usable(checkout: Path) -> None:
    venv = Venv(checkout)
    assert not venv.usable()
    executable(Path(venv.python))
    assert not venv.usable(), "a python that says nothing is none"


def test_this_pythons_own_environment_is_usable(checkout: Path) -> None:
    venv = Venv(checkout)
    venv.bin.mkdir()
    Path(venv.python).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    Path(venv.python).chmod(0o755)
    assert venv.usable()


def test_a_python_without_ensurepip_is_told_how_to_mend_that(
    checkout: Path, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object())
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 1000, raising=False)
    with pytest.raises(BootstrapError, match=r"no module ensurepip.*apt-get install python3-venv"):
        Venv(checkout).make()
    assert ran == []


def test_a_redis_server_is_found_on_the_path_first_then_in_the_environment(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = Venv(checkout)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert bootstrap.redis_server_for(venv) is None
    beside = executable(venv.bin / "redis-server")
    assert bootstrap.redis_server_for(venv) == str(beside)
    on_path = executable(tmp_path / "bin" / "redis-server")
    assert bootstrap.redis_server_for(venv) == str(on_path)

    monkeypatch.setattr(embedded.sys, "executable", str(venv.bin / "python"))
    assert embedded.find_redis_server() == str(on_path)
    on_path.unlink()
    assert embedded.find_redis_server() == str(beside)
    beside.chmod(0o644)
    assert embedded.find_redis_server() is None


def test_without_a_redis_server_one_line_says_how_to_get_one(
    checkout: Path, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", checkout)
    monkeypatch.setattr(Venv, "usable", lambda self: True)
    monkeypatch.setattr(bootstrap, "redis_server_for", lambda venv: None)
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 1000, raising=False)
    assert bootstrap.main(["demo"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("gatebus: There is no redis-server on this machine. Install one (Debian")
    assert not any("apt-get" in command for command in ran)


def test_on_a_debian_where_we_may_the_redis_server_is_installed_in_sight(
    checkout: Path, ran: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    executable(tmp_path / "bin" / "apt-get")
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setattr(bootstrap.Path, "exists", lambda self: True)
    monkeypatch.setattr(Venv, "usable", lambda self: True)
    with pytest.raises(BootstrapError, match="installed but is not on the PATH"):
        bootstrap.prepare(checkout, "demo")
    assert ran[-2:] == [
        ["apt-get", "update"],
        ["apt-get", "install", "-y", "--no-install-recommends", "redis-server"],
    ]


def test_where_we_may_not_install_a_browser_the_tests_run_all_the_same(
    checkout: Path, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(Venv, "usable", lambda self: True)
    monkeypatch.setattr(bootstrap, "redis_server_for", lambda venv: "redis-server")
    monkeypatch.setattr(bootstrap, "add_typescript", lambda venv: None)
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name, path=None: None)
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 1000, raising=False)
    bootstrap.prepare(checkout, "test")
    assert capsys.readouterr().out.splitlines()[-1] == (
        "gatebus: There is no browser for the tests of the page. Install chromium, or set CHROMIUM to one."
    )
    assert not any("apt-get" in command for command in ran)


def test_on_a_debian_where_we_may_the_browser_is_installed_in_sight_and_once(
    checkout: Path, ran: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    executable(tmp_path / "bin" / "apt-get")
    monkeypatch.setattr(bootstrap, "is_debian", lambda: True)
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setattr(bootstrap.Path, "exists", lambda self: True)
    bootstrap.add_browser(Venv(checkout))
    assert ran == [["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]]
    executable(tmp_path / "bin" / "chromium")
    bootstrap.add_browser(Venv(checkout))
    assert len(ran) == 2


def test_typescript_is_installed_in_the_one_version_and_once(checkout: Path, ran: list[list[str]]) -> None:
    venv = Venv(checkout)
    npm = executable(venv.bin / "npm")
    bootstrap.add_typescript(venv)
    (command,) = ran
    assert (command[:2], command[-1]) == ([str(npm), "install"], f"typescript@{bootstrap.TYPESCRIPT}")
    assert command[-3:-1] == ["--prefix", str(checkout / ".venv")]
    manifest = checkout / ".venv" / "node_modules" / "typescript" / "package.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{"version": "1.0.0"}')
    bootstrap.add_typescript(venv)
    assert len(ran) == 2
    manifest.write_text(f'{{"version": "{bootstrap.TYPESCRIPT}"}}')
    bootstrap.add_typescript(venv)
    assert len(ran) == 2


def test_the_tests_come_after_lint_and_types_and_take_pytests_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    commands = bootstrap.commands("test", "python", ["-k", "names"])
    assert [command[2:] for command in commands] == [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["pytest", "-n", "2", "--dist", "loadfile", "-k", "names"],
    ]
    assert bootstrap.commands("demo", "python", ["a.png"]) == [["python", "-m", "broker", "demo", "a.png"]]


def test_the_first_command_that_fails_ends_the_job_with_its_exit_code(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "prepare", lambda root, job: Venv(checkout))
    steps = [
        [sys.executable, "-c", f"import sys; print({name!r}); sys.exit({code})"]
        for name, code in [("first", 0), ("second", 3), ("third", 0)]
    ]
    monkeypatch.setattr(bootstrap, "commands", lambda *_: steps)
    assert bootstrap.main(["test"]) == 3
    shown = capfd.readouterr().out.splitlines()
    assert [line for line in shown if not line.startswith("+ ")] == ["first", "second"]
    assert sum(line.startswith("+ ") for line in shown) == 2, "each command is shown"


@pytest.mark.parametrize("passes_alone", [True, False])
def test_a_test_that_failed_beside_others_is_run_once_more_alone_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], passes_alone: bool
) -> None:
    # Fails the first time; the second time only if it is to.
    (tmp_path / "test_it.py").write_text(
        "from pathlib import Path\n\n\ndef test_passes():\n    pass\n\n\ndef test_starves():\n"
        f"    seen = Path('seen')\n    again = seen.exists()\n    seen.touch()\n    assert again and {passes_alone}\n"
    )
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "prepare", lambda root, job: SimpleNamespace(python=sys.executable))
    monkeypatch.setattr(bootstrap, "CHECKS", ())
    assert bootstrap.main(["test"]) == (0 if passes_alone else 1)
    shown = capfd.readouterr().out
    assert "1 failed, 1 passed" in shown
    assert "failed beside others, now run alone: 1" in shown
    assert ("passed only alone (look at these):\n  test_it.py::test_starves" in shown) == passes_alone


def test_where_many_tests_fail_they_are_not_run_again(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    kept = checkout / bootstrap.LAST_FAILED
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps({f"test_it.py::test_{number}": True for number in range(bootstrap.AGAIN + 1)}))
    assert bootstrap.run_again(checkout, sys.executable) == 1
    kept.unlink()
    assert bootstrap.run_again(checkout, sys.executable) == 1
    assert capfd.readouterr().out == ""


def test_a_wrong_call_is_told_the_two_right_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert bootstrap.main([]) == 2
    assert bootstrap.main(["install"]) == 2
    assert bootstrap.main(["--help"]) == 0
    assert capsys.readouterr().out.count("broker.bootstrap demo") == 3


def test_an_old_python_is_told_which_one_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "OLDEST", (99, 0))
    assert bootstrap.main(["demo"]) == 1
    assert capsys.readouterr().out.startswith("Python 3.10 to 3.13 is needed")


def test_it_needs_nothing_but_the_standard_library() -> None:
    # -S leaves out what is installed.
    call = [sys.executable, "-S", "-m", "broker.bootstrap", "--help"]
    answer = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_ci_runs_the_tests_of_the_checkout_that_it_lies_in(tmp_path: Path) -> None:
    shim = executable(tmp_path / "python3")
    shim.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    environ = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    call = [str(ROOT / ".ci" / "run"), "-k", "two words"]
    answer = subprocess.run(call, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == [str(ROOT), "-m", "broker.bootstrap", "test", "-k", "two words"]


@pytest.mark.slow
def test_a_fresh_environment_is_made_and_made_anew_over_a_husk(checkout: Path) -> None:
    venv = Venv(checkout)
    venv.make()
    assert venv.usable()
    Path(venv.python).unlink()
    assert not venv.usable()
    venv.make()
    assert venv.usable()
