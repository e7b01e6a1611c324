"""The commands about the ComfyUI processes of the farm: which there are, and whether jobs go to them."""

from __future__ import annotations

import re
from dataclasses import asdict

import click

from gates.errors import InstanceNotFound, InvalidInput
from gates.instances.record import Instance
from gates.store import Store

from ..access import Access
from ..jobs.record import Place
from .completion import instance_names
from .job_access import jobs_of
from .table import age, as_json, clean, json_option, table


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def instances(context: click.Context, as_data: bool) -> None:
    """List the ComfyUI processes: what they run, what waits in their queues, their memory; pause and resume them."""
    if context.invoked_subcommand is not None:
        return
    access: Access = context.obj
    with access.store() as store, jobs_of(access, store) as jobs:
        found, places = store.instances.records(), jobs.places()
    if as_data:
        shown = [{**each.to_json(), "place": asdict(places.get(each.id, Place()))} for each in found]
        click.echo(as_json(shown))
        return
    rows = [
        (
            each.name,
            each.url,
            "gone" if each.gone else _runs(each),
            str(each.pending),
            _farm(places.get(each.id, Place())),
            _memory(each),
            each.comfyui,
            age(each.seen),
            each.id[:8],
        )
        for each in found
    ]
    heads = ("instance", "address", "runs", "queued", "farm", "memory", "comfyui", "seen", "id")
    click.echo(table(heads, rows) if rows else "No instance: a ComfyUI with this pack and this store appears here.")


_which = click.argument("which", metavar="NAME_OR_ID", shell_complete=instance_names)
_by = click.option("--by", default="", metavar="NAME", help="Who does it, for people.")


@instances.command()
@_which
@_by
@json_option
@click.pass_obj
def pause(access: Access, which: str, by: str, as_data: bool) -> None:
    """Give the instance no further jobs; those that it has go on."""
    _set(access, which, "paused", by, as_data)


@instances.command()
@_which
@_by
@json_option
@click.pass_obj
def drain(access: Access, which: str, by: str, as_data: bool) -> None:
    """Give the instance no further jobs, and those that wait there to others; the one that runs goes on."""
    _set(access, which, "draining", by, as_data)


@instances.command()
@_which
@_by
@json_option
@click.pass_obj
def resume(access: Access, which: str, by: str, as_data: bool) -> None:
    """Take the instance back into service."""
    _set(access, which, "", by, as_data)


def _set(access: Access, which: str, state: str, by: str, as_data: bool) -> None:
    with access.store(shared=False) as store, jobs_of(access, store) as jobs:
        found = _find(store, which)
        place = jobs.set_place(found.id, state, by)
    if as_data:
        click.echo(as_json({"instance": found.id, **asdict(place)}))
        return
    held = f", {place.held} jobs are there" if place.held else ""
    click.echo(clean(f"{found.name} ({found.id[:8]}) is {place.state or 'in service'}{held}"))


def _find(store: Store, text: str) -> Instance:
    """The instance of that name or id, or of the one id that begins so; raises InvalidInput, InstanceNotFound."""
    # Here, because a list needs none of it.
    from ..farm.roster import listed_instances

    known = store.instances.records()
    known += listed_instances(store.settings.comfyui_urls, known)
    found = [each for each in known if text in (each.id, each.name, each.url)]
    if not found and re.fullmatch(r"[0-9a-f]{4,31}", text):
        found = [each for each in known if each.id.startswith(text)]
    if len(found) > 1:
        # One that ended without a word stays listed beside the one that came after it.
        found = [each for each in found if not each.gone] or found
    if len(found) > 1:
        ids = ", ".join(f"{each.id[:8]} ({each.url or each.host})" for each in found[:5])
        raise InvalidInput(f"{len(found)} instances are called {text[:100]!a}; say which by its id: {ids}")
    if not found:
        names = ", ".join(sorted({each.name for each in known})[:10]) or "none is there"
        raise InstanceNotFound(f"No instance has the name or id {text[:100]!a}; there are: {names}")
    return found[0]


def _runs(instance: Instance) -> str:
    if not instance.running:
        return "idle"
    first = instance.running[0]
    share = f" {first.progress:.0%}" if first.progress >= 0 else ""
    return f"{first.title or first.prompt_id[:8]}{share}"


def _farm(place: Place) -> str:
    """How the farm has set it, and the jobs that it has there."""
    by = f" by {place.by}" if place.by not in ("", "-") else ""
    held = f"{place.held} job{'s' if place.held > 1 else ''}" if place.held else ""
    return ", ".join(filter(None, (f"{place.state}{by}" if place.state else "", held)))


def _memory(instance: Instance) -> str:
    """The first device's memory in use and in all, in GiB."""
    if not instance.devices:
        return ""
    device = instance.devices[0]
    used = device.vram_total - device.vram_free
    return f"{used / 2**30:.1f} of {device.vram_total / 2**30:.1f} GiB"


COMMANDS: tuple[click.Command, ...] = (instances,)
