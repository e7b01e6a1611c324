"""Shell completion: commands, ids and names; and nothing at all where the store is away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.shell_completion import ShellComplete
from redis_server import RedisServer, free_port

from broker.cli import cli
from gates import codec
from gates.gate.record import make_decision
from tests.service.processes import ROOT, Gatebus, Studio, image_file


def completed(url: str, *words: str, shell: str = "bash") -> list[str]:
    """What is offered for the last of the words."""
    environ = {
        **os.environ,
        "_GATEBUS_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": " ".join(["gatebus", *words]),
        "COMP_CWORD": str(len(words)) if shell != "fish" else words[-1],
        "GATEBUS_STORE_URL": url,
    }
    answer = subprocess.run(
        [sys.executable, "-m", "broker"], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60
    )
    assert answer.stderr == ""
    return [line.partition(",")[2] for line in answer.stdout.splitlines() if line]


def offered(*words: str) -> list[str]:
    """The same, asked of click in this process; the store is the environment's."""
    shell = ShellComplete(cli, {}, "gatebus", "_GATEBUS_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


def test_ids_and_names_are_offered(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = studio.open_gate("portrait").gate
    ended = studio.open_gate("ended")
    ended.close("interrupted")
    studio.store.buses.publish("größe", np.zeros((1, 6, 8, 3), np.float32), None)
    studio.store.pools.add("faces", [(codec.encode_png(np.zeros((6, 8, 3), np.uint8)), "")])
    monkeypatch.setenv("GATEBUS_STORE_URL", studio.url)
    for command in ("show", "route", "cancel"):
        assert offered(command, "") == [gate.id]
    assert offered("show", gate.id[:6]) == [gate.id]
    assert offered("show", "zz") == []
    for command in ("get", "rm", "versions", "put"):
        assert offered("bus", command, "gr") == ["größe"]
    for command in ("show", "add", "export", "rm"):
        assert offered("pool", command, "") == ["faces"]
    monkeypatch.delenv("GATEBUS_STORE_URL")
    assert offered("--url", studio.url, "show", "") == [gate.id]
    assert completed(studio.url, "show", "") == [gate.id]


def test_gates_that_wait_are_offered_to_be_parked_and_decided_ones_to_run_again(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, parked, bare = studio.park_gate("done").gate.id, studio.park_gate("parked").gate.id, studio.open_gate("bare")
    for gate_id in (done, bare.gate.id):
        studio.store.gates.decide(gate_id, make_decision("route", 1))
    studio.run(done)
    bare.apply()
    monkeypatch.setenv("GATEBUS_STORE_URL", studio.url)
    assert offered("again", "") == [done]
    assert offered("park", "") == [parked]


def test_commands_and_options_are_offered() -> None:
    assert "pool" in offered("po")
    assert set(offered("bus", "")) == {"get", "put", "rm", "versions"}
    assert "--recursive" in offered("pool", "add", "--")


def test_without_a_store_buses_and_pools_of_the_disk_are_offered(
    gatebus: Gatebus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GATEBUS_STORE_URL")
    image = str(image_file(tmp_path / "i.png"))
    assert gatebus("bus", "put", "cp1", image).code == 0
    assert gatebus("pool", "add", "faces", image).code == 0
    assert offered("bus", "get", "") == ["cp1"]
    assert offered("pool", "show", "") == ["faces"]


def test_a_store_that_is_away_or_frozen_offers_nothing_and_soon(own_redis: RedisServer) -> None:
    assert completed(f"redis://127.0.0.1:{free_port()}/0", "show", "") == []
    assert completed("no://url", "show", "") == []
    began = time.monotonic()
    completed("", "po")
    plain = time.monotonic() - began
    own_redis.freeze()
    began = time.monotonic()
    assert completed(own_redis.url, "bus", "get", "") == []
    assert time.monotonic() - began < plain + 5
    own_redis.thaw()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shells_script_calls_the_command(gatebus: Gatebus, shell: str) -> None:
    answer = gatebus("completion", shell)
    assert answer.code == 0
    assert f"_GATEBUS_COMPLETE={shell}_complete" in answer.out
    assert "gatebus" in answer.out


def test_bash_completes_by_the_script(studio: Studio, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    gate = studio.open_gate().gate
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "gatebus"
    wrapper.write_text(f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m broker "$@"\n')
    wrapper.chmod(0o755)
    script = (
        'eval "$(gatebus completion bash)"; COMP_WORDS=(gatebus route ""); COMP_CWORD=2;'
        ' _gatebus_completion gatebus; echo "${COMPREPLY[@]}"'
    )
    environ = {
        **os.environ,
        "PATH": f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}",
        "GATEBUS_STORE_URL": studio.url,
    }
    answer = subprocess.run([bash, "-c", script], env=environ, capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == gate.id, answer.stderr
