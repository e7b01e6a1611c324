"""The commands about buses: list, fetch, publish, delete."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import numpy as np

from gates.bus.record import BusHead, BusMeta, parse_bus_reference
from gates.errors import InvalidInput, StoreUnavailable
from gates.filelock import write_atomically
from gates.names import check_name
from gates.pictures import read_image, read_mask

from ..access import Access
from .completion import bus_names
from .table import age, as_json, json_option, say_if_away, table

_reference = click.argument("reference", metavar="NAME[@VERSION]", shell_complete=bus_names)
_HEAD = ("version", "frames", "format", "mask", "bytes", "age", "label")


@click.command("buses")
@json_option
@click.pass_obj
def list_buses(access: Access, as_data: bool) -> None:
    """List the newest version of every bus, last published first."""
    with access.store(shared=False) as store:
        heads = store.buses.heads()
    if as_data:
        click.echo(as_json([head.to_json() for head in heads]))
    else:
        rows = [(head.name, *_cells(head)) for head in heads]
        click.echo(table(("bus", *_HEAD), rows) if rows else "No bus.")


@click.group()
def bus() -> None:
    """Work on one bus."""


@bus.command("versions")
@click.argument("name", shell_complete=bus_names)
@json_option
@click.pass_obj
def list_versions(access: Access, name: str, as_data: bool) -> None:
    """List the versions of a bus that are kept, newest first."""
    with access.store(shared=False) as store:
        heads = store.buses.versions(name)
    click.echo(as_json([head.to_json() for head in heads]) if as_data else table(_HEAD, [_cells(h) for h in heads]))


@bus.command("get")
@_reference
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--frame", type=click.IntRange(0), default=0, show_default=True, help="Which image of the batch.")
@click.option("--mask", is_flag=True, help="The mask instead of the image.")
@json_option
@click.pass_obj
def get_bus(access: Access, reference: str, file: Path, frame: int, mask: bool, as_data: bool) -> None:
    """Write an image of the bus to FILE, as PNG; - writes it to stdout. cp1@-1 is the version before the newest."""
    name, version = parse_bus_reference(reference)
    to_stdout = str(file) == "-"
    if to_stdout and as_data:
        raise InvalidInput("stdout takes the image or the JSON: with --json, name a file")
    with access.store(shared=False) as store:
        head = store.buses.head(name, version)
        read = store.buses.mask_frame if mask else store.buses.frame
        png = read(name, frame, head.version)
    if to_stdout:
        click.echo(png, nl=False)
        return
    try:
        write_atomically(file, png)
    except StoreUnavailable as error:
        raise InvalidInput(error.message) from error
    if as_data:
        click.echo(as_json({"file": str(file), "bytes": len(png), "frame": frame, "bus": head.to_json()}))
    else:
        click.echo(f"{file}: {len(png):,} bytes")


@bus.command("put")
@click.argument("name", shell_complete=bus_names)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--mask",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An image of the same size: white (or transparent) is painted.",
)
@click.option("--label", default="", help="A label for people.")
@json_option
@click.pass_obj
def put_bus(access: Access, name: str, file: Path, mask: Path | None, label: str, as_data: bool) -> None:
    """Publish the image FILE (PNG, JPEG or WebP; - reads stdin) as the newest version of the bus."""
    check_name(name, "bus name")
    data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    with access.store(shared=False) as store:
        picture = read_image(data, store.settings)
        image = (picture.pixels.astype(np.float32) / np.float32(255))[None]
        painted = None
        if mask is not None:
            pixels = read_mask(mask.read_bytes(), store.settings, picture.width, picture.height)
            painted = (pixels.astype(np.float32) / np.float32(255))[None]
        meta = BusMeta(instance=store.settings.instance, label=label)
        head = store.buses.publish(name, image, painted, meta=meta)
        say_if_away(store)
    if as_data:
        click.echo(as_json(head.to_json()))
    else:
        click.echo(f"{head.name}@{head.version}: {head.width} x {head.height}{', with a mask' if head.mask else ''}")


@bus.command("rm")
@_reference
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def remove_bus(access: Access, reference: str, yes: bool, as_data: bool) -> None:
    """Delete the bus with all its versions, or one version of it."""
    name, version = parse_bus_reference(reference)
    with access.store(shared=False) as store:
        head = store.buses.head(name, version)
        # By its number: "the one before the newest" may be another one by the time of the answer.
        number = head.version if version is not None else None
        count = len(store.buses.versions(name))
        what = f"{head.name}@{number}" if number is not None else f"the bus {head.name} ({count} versions)"
        if not yes:
            click.confirm(f"Delete {what} for everybody?", abort=True, err=True)
        store.buses.delete(head.name, number)
        say_if_away(store)
    click.echo(as_json({"deleted": head.name, "version": number}) if as_data else f"Deleted {what}")


def _cells(head: BusHead) -> tuple[str, ...]:
    return (
        str(head.version),
        f"{head.frames} x {head.width} x {head.height}",
        head.format,
        "yes" if head.mask else "no",
        f"{head.size:,}",
        age(head.published),
        head.meta.label,
    )


COMMANDS: tuple[click.Command, ...] = (list_buses, bus)
