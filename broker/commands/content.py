"""The commands about what is kept: buses and pools."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from gates.bus.record import parse_bus_reference
from gates.errors import InvalidInput, StoreUnavailable
from gates.filelock import write_atomically

from ..access import Access
from .table import age, as_json, table

_json = click.option("--json", "as_data", is_flag=True, help="JSON, as the HTTP API gives it.")


@click.command()
@_json
@click.pass_obj
def buses(access: Access, as_data: bool) -> None:
    """List the newest version of every bus, last published first."""
    with access.store(shared=False) as store:
        heads = store.buses.heads()
    if as_data:
        click.echo(as_json([head.to_json() for head in heads]))
        return
    rows = [
        (
            head.name,
            str(head.version),
            f"{head.frames} x {head.width} x {head.height}",
            head.format,
            "yes" if head.mask else "no",
            f"{head.size:,}",
            age(head.published),
            head.meta.label,
        )
        for head in heads
    ]
    click.echo(
        table(("bus", "version", "frames", "format", "mask", "bytes", "age", "label"), rows) if rows else "No bus."
    )


@click.group()
def bus() -> None:
    """Work on one bus."""


@bus.command("get")
@click.argument("name", metavar="NAME[@VERSION]")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--frame", type=click.IntRange(0), default=0, show_default=True, help="Which image of the batch.")
@click.option("--mask", is_flag=True, help="The mask instead of the image.")
@click.pass_obj
def get_bus(access: Access, name: str, file: Path, frame: int, mask: bool) -> None:
    """Write an image of the bus to FILE, as PNG; - writes it to stdout. cp1@-1 is the version before the newest."""
    bus_name, version = parse_bus_reference(name)
    with access.store(shared=False) as store:
        read = store.buses.mask_frame if mask else store.buses.frame
        png = read(bus_name, frame, version)
    if str(file) == "-":
        click.echo(png, nl=False)
        return
    try:
        write_atomically(file, png)
    except StoreUnavailable as error:
        raise InvalidInput(error.message) from error
    click.echo(f"{file}: {len(png):,} bytes")


@click.command()
@_json
@click.pass_obj
def pools(access: Access, as_data: bool) -> None:
    """List the pools by name."""
    with access.store(shared=False) as store:
        infos = store.pools.infos()
    if as_data:
        click.echo(as_json([asdict(info) for info in infos]))
        return
    rows = [(info.pool_id, info.name, str(info.count), info.active) for info in infos]
    click.echo(table(("pool", "name", "images", "active"), rows) if rows else "No pool.")


COMMANDS: tuple[click.Command, ...] = (buses, bus, pools)
