"""The command that looks for what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from gates import __version__

from ..access import Access
from ..doctor import comfyui, machine, redis
from ..doctor.finding import Finding
from ..server import PORT
from .table import as_json, clean

COLOURS = {"ok": "green", "warning": "yellow", "wrong": "red"}


@click.command()
@click.option(
    "--comfyui",
    "comfyui_dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Look at this ComfyUI too: the pack in it, its settings, its packages.",
)
@click.option(
    "--python",
    "interpreter",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The Python that runs this ComfyUI. Default: the one in its folder.",
)
@click.option("--broker", "broker_url", metavar="URL", help=f"Default: http://127.0.0.1:{PORT}, where one may run.")
@click.option("--json", "as_data", is_flag=True, help='JSON: {"ok", "version", "findings": [{"state", "check", …}]}.')
@click.pass_context
def doctor(
    context: click.Context,
    comfyui_dir: Path | None,
    interpreter: Path | None,
    broker_url: str | None,
    as_data: bool,
) -> None:
    """Look at what is configured, reachable and wrong, and say how to mend it; changes nothing.

    The exit code is 1 when something is wrong, else 0, with warnings too.
    """
    findings: list[Finding] = []
    url_given = context.find_root().params.get("url") is not None
    for finding in _look(context.obj, url_given, comfyui_dir, interpreter, broker_url):
        findings.append(finding)
        if not as_data:
            _print(finding)
    well = all(finding.state != "wrong" for finding in findings)
    if as_data:
        found = [finding.to_json() for finding in findings]
        click.echo(as_json({"ok": well, "version": __version__, "findings": found}))
    context.exit(0 if well else 1)


def _look(
    access: Access, url_given: bool, comfyui_dir: Path | None, interpreter: Path | None, broker_url: str | None
) -> Iterator[Finding]:
    """Every finding, as it is made: what is away takes its time."""
    settings, found = machine.settings_of(access, url_given)
    yield from found
    if settings is not None:
        yield from redis.check(settings)
        yield from machine.folders(access, settings)
        yield machine.tokens(settings)
    yield machine.broker(broker_url or f"http://127.0.0.1:{PORT}", expected=broker_url is not None)
    if comfyui_dir is not None:
        yield from comfyui.check(comfyui_dir, interpreter, settings)


def _print(finding: Finding) -> None:
    state = click.style(f"{finding.state:8}", fg=COLOURS[finding.state])
    click.echo(f"{state} {finding.check:19} {clean(finding.text)}")
    if finding.mend:
        click.echo(f"{'':28} mend: {clean(finding.mend)}")


COMMANDS: tuple[click.Command, ...] = (doctor,)
