"""The image that the Dockerfile makes, as far as it can be tried without an engine: its steps really run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from composition import DOCKERFILE, PASSWORD, ROOT, ComposedRedis, composed, instructions, let_through, services
from redis_server import free_port

from tests.service.processes import LIMIT, until


@pytest.fixture
def composed_redis(tmp_path: Path) -> Iterator[ComposedRedis]:
    with composed(tmp_path / "data") as server:
        yield server


def test_only_what_the_wheel_is_built_of_reaches_the_image() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    kept = {path.split("/")[0] for path in tracked.stdout.splitlines() if let_through(path)}
    packaged = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.hatch.build")[2]
    included = {name.split("/")[0] for name in re.findall(r'^"([^"]+)" = "broker/', packaged, re.MULTILINE)}
    packages = set(re.findall(r'"(\w+)"', re.search(r"packages = \[(.*)\]", packaged)[1]))  # type: ignore[index]
    assert kept == included | packages | {"README.md", "pyproject.toml", "LICENSE"}
    for path in (".git/config", ".env", "tests/conftest.py", "gates/__pycache__/x.pyc", "web/a/__pycache__/x.pyc"):
        assert not let_through(path), path
    # The context is all that is copied, and of the first stage only what runs.
    assert instructions("COPY") == [". .", "--from=build /opt/gatebus /opt/gatebus"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Dockerfile's first stage makes, with this interpreter's packages beside the wheel."""
    folder = tmp_path_factory.mktemp("image")
    source, wheels, environment = folder / "src", folder / "wheels", folder / "gatebus"
    for path in ROOT.rglob("*"):
        relative = path.relative_to(ROOT).as_posix()
        if path.is_file() and not relative.startswith(".git/") and let_through(relative):
            (source / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, source / relative)
    wheel_step, environment_step = instructions("RUN")[:2]
    words = ["pip", "wheel", "--no-cache-dir", "--no-deps", "--wheel-dir", "/wheels", "."]
    assert wheel_step.split() == words
    run(sys.executable, "-m", *words[:-2], str(wheels), "--no-build-isolation", ".", cwd=source)
    (wheel,) = wheels.glob("gatebus-*.whl")
    made, installed = environment_step.split(" && ")
    assert made.split() == ["python", "-m", "venv", "--without-pip", "/opt/gatebus"]
    run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    python = environment / "bin" / "python"
    assert installed.split()[:4] == ["pip", "--python", "/opt/gatebus/bin/python", "install"]
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", str(wheel))
    (site,) = environment.glob("lib/python*/site-packages")
    beside = Path(yaml.__file__).parent.parent
    (site / "beside.pth").write_text(f"{beside}\n")
    # What the image does not have.
    (site / "torch.py").write_text("raise ImportError('the image has no torch')\n")
    return folder


def run(*words: str, **options: Any) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_the_page_and_no_tests(image: Path) -> None:
    (wheel,) = image.glob("wheels/*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        needs = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    for path in ROOT.glob("web/**/*"):
        if path.is_file():
            assert f"broker/{path.relative_to(ROOT).as_posix()}" in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"broker", "gates", "gatebus"}
    # The client is a package of its own, in one place only.
    client = {f"gatebus/{path.name}" for path in (ROOT / "broker/client/gatebus").iterdir() if path.is_file()}
    assert "gatebus/py.typed" in client
    assert {name for name in names if name.startswith(("gatebus/", "broker/client"))} == client
    assert not [name for name in names if "__pycache__" in name]
    assert not re.search(r"Requires-Dist: torch[^;]*$", needs, re.MULTILINE)
    # Installed by name and extra.
    assert '"$(echo /wheels/gatebus-*.whl)[fast]"' in DOCKERFILE
    assert "Provides-Extra: fast" in needs


def environ_of(image: Path, **more: str) -> dict[str, str]:
    home = image / "data"
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GATEBUS_", "PYTHON"))}
    return {**kept, "PATH": f"{image / 'gatebus' / 'bin'}{os.pathsep}{kept['PATH']}", "HOME": str(home), **more}


def test_the_entry_point_runs_without_torch(image: Path, tmp_path: Path) -> None:
    (entry,) = (json.loads(words) for words in instructions("ENTRYPOINT"))
    shown = run(*entry, "--help", cwd=tmp_path, env=environ_of(image))
    assert "serve" in shown
    code = "import gates, broker.server, broker.cli, sys; assert 'torch' not in sys.modules; print(gates.__file__)"
    place = run("python", "-I", "-c", code, cwd=tmp_path, env=environ_of(image))
    assert place.startswith(str(image))


def test_the_command_serves_the_page_and_its_health_check_tells(
    image: Path, composed_redis: ComposedRedis, tmp_path: Path
) -> None:
    composed_redis.start()
    until(composed_redis.answers, "an answer")
    port = free_port()
    (entry,), (command,) = ([json.loads(words) for words in instructions(name)] for name in ("ENTRYPOINT", "CMD"))
    assert command[-1] == "8787"
    environ = environ_of(
        image, GATEBUS_STORE_URL=f"redis://:{PASSWORD}@127.0.0.1:{composed_redis.port}/0", GATEBUS_TICK="0.2",
        http_proxy="http://127.0.0.1:1",
    )  # fmt: skip
    line = [*entry, *command[:-1], str(port)]
    binary = image / "gatebus" / "bin" / line[0]
    # It listens to other machines, so without tokens it does not start.
    refused = subprocess.run([binary, *line[1:]], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert "GATEBUS_TOKENS" in refused.stderr
    environ["GATEBUS_TOKENS"] = f"admin:anna:{'0' * 64}"
    options, _, check = instructions("HEALTHCHECK")[0].partition("CMD ")
    words = [word.replace("8787", str(port)) for word in json.loads(check)]
    assert "--timeout=5s" in options

    def healthy() -> bool:
        return subprocess.run(words, env=environ, capture_output=True, timeout=20).returncode == 0

    assert not healthy()
    broker = subprocess.Popen([binary, *line[1:]], env=environ, cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        until(healthy, "health")
        with socket.create_connection(("127.0.0.1", port)) as page:
            page.sendall(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            assert page.recv(64).startswith(b"HTTP/1.0 200")
        composed_redis.kill()
        until(lambda: not healthy(), "a failed check while Redis is away")
        composed_redis.start()
        until(healthy, "health again")
        began = time.monotonic()
        broker.send_signal(signal.SIGTERM)
        assert broker.wait(LIMIT) == 0
        # stop_grace_period, after which the engine kills it.
        assert time.monotonic() - began < 15
        assert services()["broker"]["stop_grace_period"] == "15s"
    finally:
        if broker.poll() is None:
            broker.kill()
            broker.wait()
    assert list((image / "data" / ".local" / "share" / "gatebus").iterdir())
