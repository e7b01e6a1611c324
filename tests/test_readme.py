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

import click
import numpy as np
import pytest
from PIL import Image
from redis_server import RedisServer

from broker import bootstrap, cli
from broker.doctor import rights
from broker.metrics import Metrics
from gates import codec, errors
from gates.api import TABLE, Route
from gates.gate.record import Gate
from gates.instances.record import Instance
from gates.settings import Settings
from gates.store import open_store
from tests.service.processes import Command, Studio

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
    assert options <= known | {"--help"}


def _options(command: object) -> list[str]:
    below = [name for each in getattr(command, "commands", {}).values() for name in _options(each)]
    return below + [name for parameter in command.params for name in parameter.opts]  # type: ignore[attr-defined]


def calls() -> Iterator[list[str]]:
    """The words behind ``gatebus`` of every call that the README shows, in blocks and in lines of text."""
    blocks = "\n".join(re.findall(r"^ *```\w*\n(.*?)^ *```", README, re.MULTILINE | re.DOTALL))
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", README, flags=re.MULTILINE | re.DOTALL))
    for text in [*blocks.splitlines(), *inline]:
        match = re.match(r"\s*(?:[A-Z_]+=\S+ )*gatebus ([a-z-].*)", text)
        nested = re.findall(r"\$\(gatebus ([^)]*)\)", text)
        yield from (shlex.split(words, comments=True) for words in ([match[1]] if match else []) + nested)


def test_every_shown_call_of_the_command_is_one_that_exists() -> None:
    shown = list(calls())
    assert len(shown) > 40
    for words in shown:
        at: click.Command = cli.cli
        known = set(_options(cli.cli))
        for word in words:
            if isinstance(at, click.Group) and word in at.commands:
                at = at.commands[word]
                known |= {name for parameter in at.params for name in parameter.opts}
            elif word.startswith("--"):
                assert word in known, words
        # No word that is no command: a group takes nothing but one of its commands.
        if words[-1] != "…":
            assert at is not cli.cli, words
            assert not isinstance(at, click.Group) or words[-1] == at.name, words


def test_every_setting_and_variable_that_is_named_exists() -> None:
    named = set(re.findall(r"\bGATEBUS_[A-Z_]+\b", README))
    assert named - {variable for variable, _, _ in Settings.describe()} == set()
    composition = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert {name for name in re.findall(r"\bREDIS_[A-Z_]+\b", README) if name not in composition} == set()


def test_every_link_inside_leads_somewhere_and_every_picture_is_there() -> None:
    text = re.sub(r"^ *```.*?^ *```", "", README, flags=re.MULTILINE | re.DOTALL)
    anchors = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert links
    assert set(links) <= anchors
    pictures = [*re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text), *re.findall(r'<img src="([^"]+)"', text)]
    assert len(pictures) == 4
    for picture in pictures:
        with Image.open(ROOT / picture) as opened:
            assert opened.format == "WEBP"
        assert (ROOT / picture).stat().st_size <= 90_000


def test_the_keys_are_those_of_the_pages_own_help() -> None:
    def pairs(heading: str) -> list[tuple[str, str]]:
        return [(key.strip("`"), does) for key, does in rows(section(heading))]

    def text(area: str, name: str) -> str:
        found = re.search(
            rf"^    {name}: \"(.+)\",$", (page / "texts" / f"{area}.mjs").read_text("utf-8"), re.MULTILINE
        )
        assert found, (area, name)
        return found[1]

    page = ROOT / "web" / "page"
    inbox = re.findall(
        r'\{ key: "([^"]+)", does: t\("(\w+)\.(\w+)"\) \}', (page / "inbox.mjs").read_text(encoding="utf-8")
    )
    assert len(inbox) > 5
    assert pairs("### Keys of the inbox") == [(key, text(area, name)) for key, area, name in inbox]
    source = (page / "gate-screen-keys.mjs").read_text(encoding="utf-8")
    listed = re.search(r"const keys = \[(.*?)\n  \];", source, re.DOTALL)
    assert listed
    screen = re.findall(r'\["([^"]+)", "(\w+)"\]', listed[1])
    assert len(screen) > 10
    assert pairs("### Keys of one gate") == [(key, text("screenkeys", name)) for key, name in screen]


def test_the_metrics_are_those_that_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.exchanged("/", "GET", 200, 0.1)
    metrics.decided("image", "1")
    metrics.notified("json", True)
    answer = metrics.render(0, {"waiting": 1}).decode()
    shown = [row[0].strip("`") for row in rows(section("## Operating the broker").replace("  |", "|"))]
    assert len(shown) == 7
    assert [name for name in shown if not re.search(rf"^{name}(_bucket)?[{{ ]", answer, re.MULTILINE)] == []


def test_the_smallest_account_is_the_one_that_the_doctor_names() -> None:
    (line,) = [line for line in fenced(section("## Operating Redis")) if "ACL" in line]
    words = shlex.split(line)
    assert words[:6] == ["redis-cli", "ACL", "SETUSER", "gatebus", "on", ">PASSWORD"]
    assert words[6:] == rights.needed("gatebus").split()


@pytest.mark.redis
def test_the_example_of_the_client_runs_as_it_stands(redis_server: RedisServer, tmp_path: Path) -> None:
    example = re.search(r"^```python\n(.*?)^```", section("## Python client"), re.MULTILINE | re.DOTALL)
    assert example is not None
    store = open_store(Settings(store_url=redis_server.url), tmp_path / "disk", tmp_path / "state")
    broker = Command(["--url", redis_server.url, "serve", "--port", "0"], {"HOME": str(tmp_path)})
    try:
        waiter = Studio(store, redis_server.url).open_gate(labels=("keep", "redo"))
        waiter.store_image(codec.encode(np.full((1, 6, 8, 3), 0.5, np.float32), "png"))
        url = broker.line(r"http://\S+")[0]
        assert "http://127.0.0.1:8787" in example[1]
        program = example[1].replace("http://127.0.0.1:8787", url)
        path = os.pathsep.join([str(ROOT), str(ROOT / "broker" / "client")])
        environ = {**os.environ, "PYTHONPATH": path}
        command = [sys.executable, "-c", program]
        answer = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout == "portrait ('keep', 'redo')\n"
        with Image.open(tmp_path / "gate.png") as picture:
            assert picture.size == (8, 6)
        decision = store.gates.get(waiter.gate.id).decision
        assert decision is not None
        assert (decision.route, decision.by, decision.text) == (1, "agent", "by its shape")
    finally:
        broker.end()
        store.close()


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
    store.instances.announce(Instance(name="studio", url="http://studio:8188"))
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
    "XLEN": ["1\n"],
    "HMGET '{gatebus}:gate:": ["waiting\n"],
    "ZRANGE '{gatebus}:instances' 0 -1 WITHSCORES": ["\n"],
    "{gatebus}:instance:$(": ["name\nstudio\n", "url\nhttp://studio:8188\n"],
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
