"""The README says what is: its tables are those of the code, its commands run and show what they promise."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest
from PIL import Image
from readme import README, ROOT, fenced, rows, section

from broker import bootstrap, cli
from broker.doctor import rights
from broker.farm.api import FarmApi
from broker.jobs.local import LocalJobs
from broker.jobs.record import Limits
from broker.metrics import Metrics
from gates import errors
from gates.api import TABLE, Route
from gates.settings import Settings


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


def test_the_route_table_is_the_one_of_the_api(tmp_path: Path) -> None:
    farm = FarmApi(LocalJobs(tmp_path, Limits())).routes
    shown = [row[:3] for row in rows(section("## HTTP API")) if "/" in row[0]]
    assert shown == [[f"`{route.method} {route.path}`", route.role, takes(route)] for route in (*TABLE, *farm)]


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
    assert len(pictures) == 5
    for picture in pictures:
        assert (ROOT / picture).stat().st_size <= 90_000
        if picture.endswith(".svg"):
            # A drawing tells a screen reader what it shows, and draws on a ground of its own in light and dark.
            drawn = ElementTree.parse(ROOT / picture).getroot()
            names = [each.tag.rpartition("}")[2] for each in drawn]
            assert {"title", "desc", "rect"} <= set(names)
            continue
        with Image.open(ROOT / picture) as opened:
            assert opened.format == "WEBP"


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
    answer = metrics.render(0, {"waiting": 1}, {"running": 1}).decode()
    shown = [row[0].strip("`") for row in rows(section("## Operating the broker").replace("  |", "|"))]
    assert len(shown) == 8
    assert [name for name in shown if not re.search(rf"^{name}(_bucket)?[{{ ]", answer, re.MULTILINE)] == []


def test_the_smallest_account_is_the_one_that_the_doctor_names() -> None:
    (line,) = [line for line in fenced(section("## Operating Redis")) if "ACL" in line]
    words = shlex.split(line)
    assert words[:6] == ["redis-cli", "ACL", "SETUSER", "gatebus", "on", ">PASSWORD"]
    assert words[6:] == rights.needed("gatebus").split()


def test_the_two_commands_are_what_the_bootstrap_does() -> None:
    first = fenced(section("## Two commands"))
    assert first == [f"python3 -m broker.bootstrap {job}" for job in bootstrap.EXTRAS]
    for check in bootstrap.CHECKS:
        assert f"`{shlex.join(check)}`".replace(" .", "") in section("## Two commands").replace(" .", "")


def test_the_nodes_tables_are_those_of_the_nodes() -> None:
    pytest.importorskip("torch")
    from gates.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    for name, node in NODE_CLASS_MAPPINGS.items():
        if getattr(node, "DEPRECATED", False):
            # Of the pack's own prompts only; no search offers it.
            continue
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
