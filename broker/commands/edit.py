"""The command that edits one image by a template, on one ComfyUI or on the farm."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click

from gates.errors import InvalidInput

from ..access import Access
from ..comfyui.client import ComfyClient
from ..comfyui.edit import Farm, submit_edit
from ..comfyui.generation import GenerationResult
from ..comfyui.progress import Progress
from .job_access import jobs_of
from .progress import progress
from .table import as_json, clean, json_option
from .templates import client, library, template_names, url_option, values_of

STEPS = 1000
"""Of the progress bar."""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("image", type=_FILE)
@click.option("--template", "name", required=True, shell_complete=template_names, help="See `gatebus templates`.")
@click.option("--positive", help="What the picture shall show.")
@click.option("--negative", help="What it shall not show.")
@click.option("--mask", type=_FILE, help="Where it is edited: white, or transparent, is painted.")
@click.option("--param", "given", multiple=True, metavar="NAME=VALUE", help="Another parameter. Repeatable.")
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the results. Default: here."
)
@click.option("--farm", "on_farm", is_flag=True, help="As a job of the farm, wherever there is a place.")
@url_option
@json_option
@click.pass_obj
def edit(
    access: Access,
    image: Path,
    name: str,
    positive: str | None,
    negative: str | None,
    mask: Path | None,
    given: Sequence[str],
    output: Path | None,
    on_farm: bool,
    url: str | None,
    as_data: bool,
) -> None:
    """Edit an image by a workflow template and write the result."""
    if on_farm and url:
        raise InvalidInput("--farm chooses the ComfyUI, --url names one: say one of them")
    template = library(access).load(name)
    values = values_of(template, given)
    folder = output or access.settings.output_dir or Path.cwd()
    with progress(STEPS, template.name) as advance:
        done = 0

        def show(step: Progress) -> None:
            nonlocal done
            now = int(step.fraction * STEPS)
            if now > done:
                advance(now - done)
                done = now

        async def run(at: ComfyClient | Farm) -> GenerationResult:
            return await submit_edit(
                image,
                positive,
                negative,
                template,
                client=at,
                mask=mask,
                parameters=values,
                output_dir=folder,
                settings=access.settings,
                on_progress=show,
            )

        async def run_there() -> GenerationResult:
            async with client(access, url) as comfyui:
                return await run(comfyui)

        if on_farm:
            from ..farm.edit import StoreFarm

            with access.store(shared=False) as store, jobs_of(access, store) as jobs:
                result = asyncio.run(run(StoreFarm(jobs)))
        else:
            result = asyncio.run(run_there())
    if as_data:
        click.echo(as_json(result.to_json()))
        return
    for made in result.outputs:
        size = f", {made.width} x {made.height}" if made.width else ""
        click.echo(f"{clean(made.path)} ({made.name}{size})")
    if result.seed is not None:
        click.echo(f"seed {result.seed}")


COMMANDS: tuple[click.Command, ...] = (edit,)
