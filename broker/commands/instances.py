"""The command about the ComfyUI processes of the farm."""

from __future__ import annotations

import click

from gates.instances.record import Instance

from ..access import Access
from .table import age, as_json, table


@click.command()
@click.option("--json", "as_data", is_flag=True, help="JSON, as the HTTP API gives it.")
@click.pass_obj
def instances(access: Access, as_data: bool) -> None:
    """List the ComfyUI processes: what they run, what waits in their queues, their memory."""
    with access.store() as store:
        found = store.instances.records()
    if as_data:
        click.echo(as_json([each.to_json() for each in found]))
        return
    rows = [
        (
            each.name,
            each.url,
            "gone" if each.gone else _runs(each),
            str(each.pending),
            _memory(each),
            each.comfyui,
            age(each.seen),
            each.id[:8],
        )
        for each in found
    ]
    heads = ("instance", "address", "runs", "queued", "memory", "comfyui", "seen", "id")
    click.echo(table(heads, rows) if rows else "No instance: a ComfyUI with this pack and this store appears here.")


def _runs(instance: Instance) -> str:
    if not instance.running:
        return "idle"
    first = instance.running[0]
    share = f" {first.progress:.0%}" if first.progress >= 0 else ""
    return f"{first.title or first.prompt_id[:8]}{share}"


def _memory(instance: Instance) -> str:
    """The first device's memory in use and in all, in GiB."""
    if not instance.devices:
        return ""
    device = instance.devices[0]
    used = device.vram_total - device.vram_free
    return f"{used / 2**30:.1f} of {device.vram_total / 2**30:.1f} GiB"


COMMANDS: tuple[click.Command, ...] = (instances,)
