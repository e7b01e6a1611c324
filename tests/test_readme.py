"""The README says what is: its tables are those of the code, its commands run and show what they promise."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from redis_server import RedisServer

from broker import bootstrap, cli
from gates import codec, errors
from gates.api import TABLE, Route
from gates.gate.record import Gate
from gates.settings import Settings
from gates.store import open_store

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    """The text below the heading, up to the next one of its level or a higher one."""
    level = len(heading.split()[0])
    lines: list[str] = []
    inside = in_fence = False
    for line in README.splitlines():
        if line.lstrip().startswith("```"):
            in_fence = not in_fence
        mark = line.split(" ")[0]
        if not in_fence and mark and set(mark) == {"#"} and len(mark) <= level:
            inside = line == heading
        elif inside:
            lines.append(line)
    assert lines, f"no section {heading}"
    return "\n".join(lines) + "\n"


def rows(text: str) -> list[list[str]]:
    """The cells of the text's table rows, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines]
    rules = [number for number, row in enumerate(cells) if set("".join(row)) == {"-"}]
    heads = {number - 1 for number in rules}
    return [row for number, row in enumerate(cells) if number not in heads | set(rules)]


def fenced(text: str) -> list[str]:
    """The lines of the text's fenced blocks of shell commands, without comments."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_the_settings_table_is_the_one_of_the_settings() -> None:
    assert rows(section("## Settings"))[: len(Settings.describe())] == [
        [f"`{variable}`", default, about] for variable, default, about in Settings.describe()
    ]


def test_every_shown_store_url_is_accepted() -> None:
    urls = re.findall(r"`((?:redis|unix)[^`]*://[^`]+)`", section("## Settings"))
    assert len(urls) == 5
    for url in urls:
        assert Settings.from_env({"GATEBUS_STORE_URL": url}).store_url == url


def takes(route: Route) -> str:
    parts = []
    if route.query:
        parts.append("query " + ", ".join(f"`{field.name}`" for field in route.query))
    fields = ", ".join(f"`{field.name}`" if field.required else f"`{field.name}`?" for field in route.fields)
    if route.body in ("image", "archive"):
        parts.append({"image": "image", "archive": "zip"}[route.body])
    elif fields:
        parts.append(f"{'JSON' if route.body == 'json' else 'form'} {fields}")
    return "; ".join(parts)


def test_the_route_table_is_the_one_of_the_api() -> None:
    shown = [row[:3] for row in rows(section("## HTTP API")) if "/" in row[0]]
    assert shown == [[f"`{route.method} {route.path}`", route.role, takes(route)] for route in TABLE]


def test_every_type_of_error_is_in_the_table_under_its_status() -> None:
    def tree(kind: type[errors.GatebusError]) -> Iterator[type[errors.GatebusError]]:
        yield kind
        for below in kind.__subclasses__():
            yield from tree(below)

    declared = [kind for kind in tree(errors.GatebusError) if kind.__module__ == errors.__name__]
    shown = {name: row[0] for row in rows(section("### Errors")) for name in re.findall(r"`([a-z_]+)`", row[1])}
    assert shown == {kind.type: str(kind.status) for kind in declared}


def test_every_command_is_in_the_table() -> None:
    shown = {row[0].strip("`").split()[1] for row in rows(section("## The command"))}
    assert shown == set(cli.cli.commands)
    options = set(re.findall(r"--[a-z][a-z-]*", section("## The command")))
    known = {name for command in cli.cli.commands.values() for name in _options(command)} | set(_options(cli.cli))
    assert options <= known


def _options(command: object) -> list[str]:
    below = [name for each in getattr(command, "commands", {}).values() for name in _options(each)]
    return below + [name for parameter in command.params for name in parameter.opts]  # type: ignore[attr-defined]


def test_the_two_commands_are_what_the_bootstrap_does() -> None:
    first = fenced(section("## Two commands"))
    assert first == [f"python3 -m broker.bootstrap {job}" for job in bootstrap.EXTRAS]
    for check in bootstrap.CHECKS:
        assert f"`{shlex.join(check)}`".replace(" .", "") in section("## Two commands").replace(" .", "")


def test_the_nodes_tables_are_those_of_the_nodes() -> None:
    pytest.importorskip("torch")
    from gates.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    for name, node in NODE_CLASS_MAPPINGS.items():
        text = section(f"### {NODE_DISPLAY_NAME_MAPPINGS[name]}")
        inputs = node.INPUT_TYPES()
        declared = [*inputs.get("required", {}), *inputs.get("optional", {})]
        assert [row[0].strip("`") for row in rows(text)] == declared
        outputs = [output for output in node.RETURN_NAMES if not re.fullmatch(r"route_[2-9]", output)]
        for output in outputs:
            assert f"`{output}`" in text.partition("Outputs:")[2]


def test_comfyui_installs_two_packages_of_those_that_the_project_declares() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = re.findall(r'"([^"]+)"', re.search(r"^dependencies = \[(.*?)\]$", project, re.MULTILINE | re.DOTALL)[1])
    installed = (ROOT / "requirements.txt").read_text().split()
    assert set(installed) < set(declared)
    assert [name.partition("[")[0].partition(">")[0] for name in installed] == ["redis", "msgpack"]


def test_every_path_of_the_repository_that_is_named_is_there() -> None:
    named = re.findall(r"`((?:\.ci|benchmarks|example_workflows|tests|requirements|LICENSE|\.venv)[^` ]*)`", README)
    assert len(named) >= 4
    for path in named:
        assert path.startswith(".venv") or (ROOT / path).exists(), path


# -- redis-cli ----------------------------------------------------------------------------


@pytest.fixture
def shell(redis_server: RedisServer, tmp_path: Path) -> Iterator[object]:
    """Runs a line of the README in an empty folder, against a Redis with a gate, a bus and a pool."""
    beside = str(Path(sys.executable).parent)
    client = shutil.which("redis-cli") or shutil.which("redis-cli", path=beside)
    if client is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no redis-cli")
        pytest.skip("no redis-cli")
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "redis-cli"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(client)} -p {redis_server.port} "$@"\n')
    wrapper.chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()

    settings = Settings(store_url=redis_server.url, instance="studio")
    store = open_store(settings, tmp_path / "disk", tmp_path / "state")
    image = np.full((1, 6, 8, 3), 0.5, np.float32)
    mask = np.ones((1, 6, 8), np.float32)
    gate = Gate(id=uuid.uuid4().hex, title="portrait", width=8, height=6, batch=1)
    waiter = store.gates.open(gate, codec.preview_jpeg(image))
    ended = store.gates.open(Gate(id=uuid.uuid4().hex), codec.preview_jpeg(image))
    ended.close("interrupted")
    store.buses.publish("cp1", image, mask)
    store.pools.add("faces", [(codec.encode_png(np.zeros((6, 8, 3), np.uint8)), "smile")])
    environ = {**os.environ, "PATH": f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}"}

    def run(line: str) -> str:
        line = line.replace("ID", waiter.gate.id)
        answer = subprocess.run(["sh", "-c", line], cwd=folder, env=environ, capture_output=True, timeout=30)
        assert answer.returncode == 0, answer.stderr
        target = re.search(r"> (\S+)$", line)
        if target:
            with Image.open(BytesIO((folder / target[1]).read_bytes())) as picture:
                picture.load()
                return f"{picture.format} {picture.mode} {picture.width}x{picture.height}"
        return answer.stdout.decode().replace(waiter.gate.id, "ID").replace(ended.gate.id, "ENDED")

    yield run
    store.close()


# A piece of each line -> what its answer must hold.
PROMISED = {
    "ZRANGE '{gatebus}:gates' 0 -1": ["ID"],
    "gates:lease": ["ID"],
    "HGETALL '{gatebus}:gate:": ["status\nwaiting\n", "title\nportrait\n"],
    "gate.jpg": ["JPEG RGB 8x6"],
    "gates:ended": ["ENDED"],
    "'{gatebus}:buses'": ["cp1"],
    "HGETALL 'gatebus:bus:": ["version\n1\n", "width\n8\n", "image\ngatebus:bus:{cp1}:1:image:0\n"],
    ":versions": ["1\n"],
    "> cp1.png": ["PNG RGB 8x6"],
    "> cp1-mask.png": ["PNG L 8x6"],
    "HGETALL '{gatebus}:pools'": ["faces"],
    "HGETALL 'gatebus:pool:": ["active\nimg_0001.png\n"],
    ":order'": ["img_0001.png"],
    ":slots'": ['"label"', "smile"],
    "> img_0001.png": ["PNG RGB 8x6"],
    "XREVRANGE": ["gate", "faces"],
    "XREVRANGE '{gatebus}:decisions'": ["kind\nend\n", "outcome\ninterrupted\n", "ENDED"],
}


def test_every_redis_cli_line_shows_what_it_promises(shell: object) -> None:
    lines = fenced(section("## Looking inside with redis-cli"))
    assert len(lines) == len(PROMISED)
    for line, (piece, promised) in zip(lines, PROMISED.items(), strict=True):
        assert piece in line
        answer = shell(line)  # type: ignore[operator]
        for text in promised:
            assert text in answer, (line, answer)


def test_the_shown_redis_settings_are_those_of_the_embedded_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from broker import embedded

    monkeypatch.setattr(embedded, "find_redis_server", lambda: "redis-server")
    words = embedded.EmbeddedRedis(tmp_path).command
    used = {name.removeprefix("--"): value for name, value in zip(words[1::2], words[2::2], strict=True)}
    block = re.search(r"^```\n(.*?)^```", section("## Operating Redis"), re.MULTILINE | re.DOTALL)
    assert block is not None
    shown = dict(line.split(" ", 1) for line in block[1].splitlines())
    assert {name: value.strip('"') for name, value in shown.items()} == {name: used[name] for name in shown}
