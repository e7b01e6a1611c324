"""The command that puts the pack into a ComfyUI."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gates.errors import Conflict, InvalidInput

from ..comfyui_dir import ComfyDir, Python
from ..pack import NAME, Pack, version_of
from .table import as_json, json_option


@click.command()
@click.argument("comfyui_dir", type=click.Path(file_okay=False, path_type=Path))
@click.option("--copy", is_flag=True, help="Copy the files instead of linking to this checkout.")
@click.option("--store-url", metavar="URL", help="Written into this ComfyUI's settings, e.g. redis://host:6379/0.")
@click.option(
    "--python",
    "interpreter",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The Python that runs this ComfyUI, which gets the packages. Default: the one in its folder.",
)
@click.option("--no-requirements", is_flag=True, help="Install no packages.")
@json_option
def install(
    comfyui_dir: Path, copy: bool, store_url: str | None, interpreter: Path | None, no_requirements: bool, as_data: bool
) -> None:
    """Put this pack into the ComfyUI in COMFYUI_DIR, with what its Python needs. To repeat it brings it up to date.

    From a checkout it is linked, so that `git pull` is an update; from an installed package it is
    copied. COMFYUI_DIR is what holds custom_nodes: ComfyUI's folder, or its --base-directory.
    Nothing that this command did not put there is touched.
    """
    comfy, pack = ComfyDir(comfyui_dir), Pack()
    place = _place(comfy, pack)
    # All that can be refused is refused before anything is done.
    if store_url is not None:
        comfy.check_store_url(store_url)
    python = None if no_requirements else Python(interpreter or comfy.python() or _ask(comfy))
    missing = python.lacks(pack.requirements) if python else []

    linked = pack.checkout is not None and not copy
    placed = pack.link(place) if linked else pack.copy(place)
    if python and missing:
        python.install(pack.requirements)
    written = store_url is not None and comfy.set_store_url(store_url)
    if as_data:
        done = {
            "place": str(place),
            "version": version_of(place),
            "linked_to": str(pack.checkout) if linked else "",
            "changed": placed,
            "python": str(python.path) if python else "",
            "installed": missing,
            "settings": str(comfy.settings_file) if store_url is not None else "",
            "settings_changed": written,
        }
        click.echo(as_json(done))
        return
    how = f"links to {pack.checkout}" if linked else "holds a copy"
    click.echo(f"{place} {how} (version {version_of(place)}){'' if placed else ', as before'}")
    if python:
        click.echo(f"{python.path} {'got ' + ', '.join(missing) if missing else 'has what is needed'}")
    if store_url is not None:
        click.echo(f"{comfy.settings_file} names the store{'' if written else ', as before'}")
    if placed or missing or written:
        click.echo("Start ComfyUI again, so that it takes notice.")


def _place(comfy: ComfyDir, pack: Pack) -> Path:
    """Where the pack is, or is to be; raises Conflict when another one is there, which ComfyUI would load besides."""
    own = comfy.custom_nodes / NAME
    for place in comfy.packs():
        if pack.checkout is not None and place.resolve() == pack.checkout:
            return place
        if place != own:
            raise Conflict(
                f"{place} holds this pack already (version {version_of(place) or 'unknown'}), and ComfyUI would load"
                " both: update it there, or take it away first"
            )
    return own


def _ask(comfy: ComfyDir) -> Path:
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"In {comfy.folder} there is no Python that would be ComfyUI's: say --python PATH, or --no-requirements"
        )
    return Path(click.prompt("Which Python runs this ComfyUI?", err=True))


COMMANDS: tuple[click.Command, ...] = (install,)
