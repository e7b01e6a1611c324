"""The commands about workflow templates: list, show, validate against a ComfyUI, import, delete."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from gates.errors import GatebusError, InvalidInput
from gates.names import check_name

from ..access import Access, home
from ..comfyui.client import ComfyClient
from ..comfyui.importing import Export, declared, make_template, read_export
from ..comfyui.library import WorkflowLibrary
from ..comfyui.parameters import Parameter
from ..comfyui.workflows import MAX_BYTES, Template, read_json
from .table import as_json, clean, json_option, table

DEFAULT_URL = "http://127.0.0.1:8188"
"""Where a ComfyUI listens that was told nothing else."""

url_option = click.option(
    "--url", metavar="URL", help="The ComfyUI. Default: GATEBUS_COMFYUI_URL, else this machine's."
)
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


def library(access: Access) -> WorkflowLibrary:
    """The templates of this account."""
    folder = access.settings.templates_dir or home() / "templates"
    return WorkflowLibrary(folder, access.settings.backup_dir)


def client(access: Access, url: str | None) -> ComfyClient:
    """The client of the ComfyUI that is named, or else is set; to be made on the loop that uses it."""
    return ComfyClient(url or access.settings.comfyui_url or DEFAULT_URL, access.settings.comfyui_token)


def object_info(access: Access, url: str | None) -> dict[str, Any]:
    """What the ComfyUI says of its nodes."""

    async def ask() -> dict[str, Any]:
        async with client(access, url) as comfyui:
            return await comfyui.object_info()

    return asyncio.run(ask())


def template_names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes the name of a template."""
    try:
        entries = library(Access()).entries()
    except GatebusError:
        return []
    found = [entry for entry in entries if entry.template is not None and entry.name.startswith(incomplete)]
    return [CompletionItem(entry.name, help=clean(entry.template.about)) for entry in found if entry.template]


_name = click.argument("name", shell_complete=template_names)


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def templates(context: click.Context, as_data: bool) -> None:
    """Work on workflow templates; alone, list them."""
    if context.invoked_subcommand is None:
        context.invoke(list_templates, as_data=as_data)


@templates.command("list")
@json_option
@click.pass_obj
def list_templates(access: Access, as_data: bool) -> None:
    """List the templates: those that gatebus ships, and your own."""
    entries = library(access).entries()
    if as_data:
        click.echo(as_json([entry.to_json() for entry in entries]))
        return
    rows = [
        (
            entry.name,
            "gatebus" if entry.shipped else ("you, in place of gatebus'" if entry.replaces else "you"),
            f"not usable: {entry.problem}" if entry.template is None else entry.template.about,
        )
        for entry in entries
    ]
    click.echo(table(("template", "from", "what it does"), rows) if rows else "No template.")


@templates.command("show")
@_name
@json_option
@click.pass_obj
def show_template(access: Access, name: str, as_data: bool) -> None:
    """Show the parameters and outputs of a template; with --json the whole of it."""
    template = library(access).load(name)
    if as_data:
        click.echo(as_json(template.to_json()))
        return
    click.echo(f"{clean(template.name)}: {clean(template.about)}")
    rows = [
        (each.name, each.type, _default(each), _accepted(each), each.about) for each in template.parameters.values()
    ]
    if rows:
        click.echo(table(("parameter", "type", "default", "accepted", "about"), rows))
    outputs = [(each, output.node, output.about) for each, output in template.outputs.items()]
    click.echo(table(("output", "node", "about"), outputs))


@templates.command("validate")
@_name
@url_option
@json_option
@click.pass_context
def validate_template(context: click.Context, name: str, url: str | None, as_data: bool) -> None:
    """Check a template against the nodes and models of a ComfyUI.

    Exit code 2: the graph is wrong for it. 3: the graph fits, and the ComfyUI lacks a model, a file or a node.
    """
    template = library(context.obj).load(name)
    problems = template.check(object_info(context.obj, url))
    wrong = [problem for problem in problems if not problem.missing]
    if as_data:
        told = {"name": template.name, "ok": not problems, "problems": [problem.to_json() for problem in problems]}
        click.echo(as_json(told))
    elif problems:
        click.echo(table(("problem", "what"), [(problem.kind, problem.message) for problem in problems]))
    else:
        click.echo(f"{template.name} fits this ComfyUI")
    if problems:
        context.exit(2 if wrong else 3)


@templates.command("import")
@click.argument("file", metavar="FILE.json", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", required=True, help="The new template's name.")
@click.option("--about", default="", help="What it does, for the list.")
@click.option(
    "--accept", multiple=True, metavar="NAME", help="A proposed parameter to take; all: every one. Repeatable."
)
@click.option(
    "--param",
    "added",
    multiple=True,
    metavar="NAME=NODE.INPUT[:TYPE]",
    help="A parameter that you declare yourself. Repeatable.",
)
@click.option("--output", "outputs", multiple=True, metavar="NODE", help="A node whose files are results. Repeatable.")
@click.option("--overwrite", is_flag=True, help="Take the place of a template of that name, which is backed up.")
@url_option
@json_option
@click.pass_obj
def import_template(
    access: Access,
    file: Path,
    name: str,
    about: str,
    accept: Sequence[str],
    added: Sequence[str],
    outputs: Sequence[str],
    overwrite: bool,
    url: str | None,
    as_data: bool,
) -> None:
    """Make a template of a workflow that ComfyUI's page saved, or exported in API format.

    What could be a parameter is proposed, and asked for one by one in a terminal. Elsewhere say
    --accept; without it nothing is saved, and the proposals are printed.
    """
    check_name(name, "template's name")
    with open(file, "rb") as stream:
        document = read_json(stream.read(MAX_BYTES + 1), file.name)
    info = object_info(access, url)
    export = read_export(document, info, file.name)
    for note in export.notes:
        click.echo(f"gatebus: {clean(note)}", err=True)
    declared_ones = [declared(text, export, info) for text in added]
    chosen = _chosen(export, accept, bool(added))
    if chosen is None:
        if as_data:
            click.echo(as_json({"saved": None, "proposals": _proposals(export)}))
        else:
            click.echo(table(("proposed", "type", "place", "why"), _rows(export)))
        raise InvalidInput("Nothing was saved: say with --accept NAME (or all) what shall be a parameter")
    template = make_template(name, about, export, chosen, declared_ones, outputs)
    path = library(access).save(template, overwrite)
    if as_data:
        click.echo(as_json({"saved": str(path), "proposals": _proposals(export), "template": template.to_json()}))
    else:
        click.echo(f"{path}: {', '.join(template.parameters) or 'no parameters'}")


@templates.command("delete")
@_name
@_yes
@json_option
@click.pass_obj
def delete_template(access: Access, name: str, yes: bool, as_data: bool) -> None:
    """Delete a template of your own; a backup of it is kept."""
    own = library(access)
    if not yes:
        click.confirm(f"Delete the template {clean(name)}?", abort=True, err=True)
    own.delete(name)
    click.echo(as_json({"deleted": name}) if as_data else f"Deleted the template {name}")


def _chosen(export: Export, accept: Sequence[str], declares: bool) -> list[str] | None:
    """The proposals that are taken; None when nobody was there to say."""
    names = [proposal.name for proposal in export.proposals]
    if accept:
        return names if "all" in accept else list(accept)
    if declares or not names:
        return []
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return [
        proposal.name
        for proposal in export.proposals
        if click.confirm(
            f"{proposal.name} ({proposal.parameter.type}, {proposal.parameter.places[0]}; {clean(proposal.why)})?",
            default=True,
            err=True,
        )
    ]


def _rows(export: Export) -> list[tuple[str, ...]]:
    return [(each.name, each.parameter.type, str(each.parameter.places[0]), each.why) for each in export.proposals]


def _proposals(export: Export) -> dict[str, Any]:
    return {each.name: {**each.parameter.to_json(), "why": each.why} for each in export.proposals}


def _default(parameter: Parameter) -> str:
    if parameter.default is None:
        return "drawn" if parameter.type == "seed" else "must be given"
    return repr(parameter.default) if parameter.type == "text" else str(parameter.default)


def _accepted(parameter: Parameter) -> str:
    if parameter.choices:
        return ", ".join(map(str, parameter.choices))
    if parameter.low is None and parameter.high is None:
        return ""
    low = "" if parameter.low is None else f"{parameter.low:g}"
    return f"{low}..{'' if parameter.high is None else f'{parameter.high:g}'}"


def values_of(template: Template, given: Sequence[str]) -> dict[str, Any]:
    """The values of ``NAME=VALUE`` texts, each read as its parameter's type; raises InvalidInput."""
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name in values:
            raise InvalidInput(f"--param {name!r} must be NAME=VALUE, and each name be given once")
        parameter = template.parameters.get(name)
        # An unknown name is refused by the template, with those that there are.
        values[name] = parameter.read(value) if parameter is not None else value
    return values


COMMANDS: tuple[click.Command, ...] = (templates,)
