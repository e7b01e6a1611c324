"""The commands about pools: list, show, fill, export, import, delete."""

from __future__ import annotations

import os
import re
import secrets
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, cast

import click

from gates.codec import encode_png
from gates.errors import Conflict, InvalidImage, InvalidInput, PoolNotFound, StoreUnavailable, TooLarge
from gates.names import LABEL_LIMIT, check_name, clean_text
from gates.pictures import read_image
from gates.pool.archive import write_zip
from gates.pool.checked import digest
from gates.pool.manifest import Manifest, file_number
from gates.store import Store

from ..access import Access
from .completion import pool_ids
from .progress import Counted, progress
from .table import age, as_json, clean, json_option, say_if_away, size, table

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
"""What is taken of a folder; a file that is named is always tried."""

_id = click.argument("pool_id", metavar="ID", shell_complete=pool_ids)


@click.command("pools")
@json_option
@click.pass_obj
def list_pools(access: Access, as_data: bool) -> None:
    """List the pools by name."""
    with access.store(shared=False) as store:
        infos = store.pools.infos()
    if as_data:
        click.echo(as_json([asdict(info) for info in infos]))
        return
    rows = [(info.pool_id, info.name, str(info.count), info.active) for info in infos]
    click.echo(table(("pool", "name", "images", "active"), rows) if rows else "No pool.")


@click.group()
def pool() -> None:
    """Work on one pool."""


@pool.command("show")
@_id
@json_option
@click.pass_obj
def show_pool(access: Access, pool_id: str, as_data: bool) -> None:
    """Show the images of the pool in their order; * marks the active one."""
    with access.store(shared=False) as store:
        manifest = store.pools.get(pool_id)
    if as_data:
        click.echo(as_json(manifest.to_json()))
        return
    click.echo(f"{clean(manifest.name or manifest.pool_id)}: {_images(manifest)}")
    rows = [
        (
            f"{index}{' *' if slot.file == manifest.active else ''}",
            slot.file,
            "yes" if slot.mask else "no",
            age(slot.added) if slot.added else "",
            slot.label,
        )
        for index, slot in enumerate(manifest.slots)
    ]
    if rows:
        click.echo(table(("index", "file", "mask", "age", "label"), rows))


@pool.command("add")
@_id
@click.argument("paths", metavar="FILE|FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--label", help="A label for all of them. Default: each file's name without its ending.")
@click.option("--recursive", is_flag=True, help="With the folders in the folders.")
@json_option
@click.pass_context
def add_images(
    context: click.Context, pool_id: str, paths: Sequence[Path], label: str | None, recursive: bool, as_data: bool
) -> None:
    """Add images (PNG, JPEG or WebP) at the end of the pool, which is made when it is new.

    They are added in natural order (2 before 10). A file that is no image does not hold up the
    others: it is named at the end, and the exit code is then 2.
    """
    access: Access = context.obj
    check_name(pool_id, "pool id")
    files = sorted(_files(paths, recursive), key=lambda file: natural(str(file)))
    if not files:
        raise InvalidInput(f"There are no images in there; taken are {', '.join(ENDINGS)}")
    added: list[dict[str, str]] = []
    refused: list[dict[str, str]] = []
    with access.store(shared=False) as store, progress(len(files), pool_id) as advance:
        for file in files:
            try:
                added.append({"path": str(file), "file": _add(store, pool_id, file, label)})
            except StoreUnavailable as error:
                raise StoreUnavailable(f"{error.message} {len(added)} of {len(files)} files are added.") from error
            except (InvalidImage, TooLarge) as error:
                refused.append({"path": str(file), "error": error.message})
            except OSError as error:
                refused.append({"path": str(file), "error": error.strerror or str(error)})
            advance(1)
        try:
            count = len(store.pools.get(pool_id).slots)
        except PoolNotFound:
            count = 0
        say_if_away(store)
    if as_data:
        click.echo(as_json({"pool_id": pool_id, "count": count, "added": added, "refused": refused}))
    elif added:
        click.echo(f"{pool_id}: {len(added)} added, {count} images now")
    for each in refused:
        click.echo(f"gatebus: {clean(each['path'])}: {clean(each['error'])}", err=True)
    if refused:
        click.echo(f"gatebus: {len(refused)} of {len(files)} files were not added", err=True)
        context.exit(2)


def _add(store: Store, pool_id: str, file: Path, label: str | None) -> str:
    """Adds the file; returns the new slot's file."""
    with open(file, "rb") as stream:
        if os.fstat(stream.fileno()).st_size > store.settings.max_image_bytes:
            raise TooLarge(f"It has more than {store.settings.max_image_bytes:,} bytes")
        picture = read_image(stream.read(), store.settings)
    png = encode_png(picture.pixels, store.settings.compression)
    text = _label(file.stem) if label is None else clean_text(label, "label")
    manifest = store.pools.add(pool_id, [(png, text)])
    # Others may have added slots in between: it is the newest one with this very image.
    same = (slot.file for slot in manifest.slots if slot.digest == digest(png))
    return max(same, key=file_number, default="")


def _files(paths: Sequence[Path], recursive: bool) -> Iterator[Path]:
    """The named files, and the images of the named folders; raises InvalidInput for what is not there."""
    for path in paths:
        if path.is_dir():
            # Hidden ones are what systems leave beside images; links to folders may lead in circles.
            for folder, names, files in os.walk(path):
                names[:] = [name for name in names if recursive and not name.startswith(".")]
                found = (name for name in files if not name.startswith(".") and name.lower().endswith(ENDINGS))
                yield from (Path(folder, name) for name in found)
        elif path.exists():
            yield path
        else:
            raise InvalidInput(f"{path} is not there")


def natural(text: str) -> tuple[object, ...]:
    """A key by which img2 stands before img10, whatever the case."""
    parts = re.split(r"([0-9]+)", unicodedata.normalize("NFC", text))
    folded = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts if part)
    return folded, text


def _label(stem: str) -> str:
    return clean_text(stem.encode("utf-8", "replace").decode()[:LABEL_LIMIT], "label")


@pool.command("export")
@_id
@click.argument("file", metavar="FILE.zip", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@click.pass_obj
def export_pool(access: Access, pool_id: str, file: Path, as_data: bool) -> None:
    """Write the pool with its masks, labels and order as a zip."""
    if not file.parent.is_dir():
        raise InvalidInput(f"{file} can't be written: there is no folder {file.parent}")
    with access.store(shared=False) as store:
        manifest = store.pools.get(pool_id)
        temporary = file.parent / f".{secrets.token_hex(8)}.tmp"
        try:
            with progress(len(manifest.slots), pool_id) as advance, open(temporary, "xb") as target:

                def image(name: str) -> bytes:
                    advance(1)
                    return store.pools.image(pool_id, name)

                write_zip(manifest, image, lambda name: store.pools.mask(pool_id, name), target)
                count = target.tell()
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)
    if as_data:
        shown = {"pool_id": manifest.pool_id, "file": str(file), "bytes": count, "count": len(manifest.slots)}
        click.echo(as_json(shown))
    else:
        click.echo(f"{file}: {_images(manifest)}, {size(count)}")


@pool.command("import")
@click.argument("file", metavar="FILE.zip", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--id", "pool_id", help="The new pool's id. Default: the zip's name without its ending.")
@click.option("--name", default="", help="A name for people. Default: the one in the zip.")
@json_option
@click.pass_obj
def import_pool(access: Access, file: Path, pool_id: str | None, name: str, as_data: bool) -> None:
    """Make a new pool of a zip: an export, or plain images. All of it, or nothing when something is wrong."""
    pool_id = check_name(file.stem if pool_id is None else pool_id, "pool id")
    with access.store(shared=False) as store:
        try:
            store.pools.get(pool_id)
        except PoolNotFound:
            pass
        else:
            raise Conflict(f"There is a pool {pool_id} already; say --id for another one")
        with open(file, "rb") as source, progress(file.stat().st_size, pool_id) as advance:
            manifest = store.pools.import_zip(cast(IO[bytes], Counted(source, advance)), pool_id, name)
        say_if_away(store)
    if as_data:
        click.echo(as_json(manifest.to_json()))
    else:
        click.echo(f"{manifest.pool_id}: {_images(manifest)}")


@pool.command("rm")
@_id
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def remove_pool(access: Access, pool_id: str, yes: bool, as_data: bool) -> None:
    """Delete the pool and its images."""
    with access.store(shared=False) as store:
        manifest = store.pools.get(pool_id)
        if not yes:
            click.confirm(f"Delete the pool {pool_id} ({_images(manifest)}) for everybody?", abort=True, err=True)
        store.pools.delete(pool_id)
        say_if_away(store)
    click.echo(as_json({"deleted": manifest.pool_id}) if as_data else f"Deleted the pool {manifest.pool_id}")


def _images(manifest: Manifest) -> str:
    return f"{len(manifest.slots)} image{'' if len(manifest.slots) == 1 else 's'}"


COMMANDS: tuple[click.Command, ...] = (list_pools, pool)
