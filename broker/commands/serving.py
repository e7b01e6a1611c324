"""The commands that run something: ``up``, ``serve`` and ``demo``."""

from __future__ import annotations

import asyncio
import logging
import shlex
from pathlib import Path

import click

from gates.errors import InvalidInput
from gates.store import Store

from ..access import Access, end_in_order
from ..app import PORT, check_host, serve
from ..embedded import EmbeddedRedis, free_port

REDIS_PORTS = (6379, 6389)
"""First and last port that ``up`` tries for its Redis; the first is the one that redis-cli takes by itself."""

_host = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
_port = click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any free one.")
_allow_open = click.option(
    "--allow-open",
    is_flag=True,
    help="Listen on other addresses than this machine's own although no token is asked for.",
)


@click.command("serve")
@_host
@_port
@_allow_open
@click.pass_obj
def serve_command(access: Access, host: str, port: int, allow_open: bool) -> None:
    """Run the broker on the store that the settings name, until Ctrl-C."""
    check_host(host, access.settings, allow_open)
    if not access.settings.store_url:
        click.echo("No store URL is set: only the buses and pools on this machine's disk are shown.", err=True)
    _serve(access, host, port)


@click.command()
@_host
@_port
@_allow_open
@click.option("--redis-port", type=click.IntRange(1, 65535), help="Default: 6379, or the next one that is free.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of its data. Default: redis/ beside the settings.",
)
@click.pass_obj
def up(access: Access, host: str, port: int, allow_open: bool, redis_port: int | None, data: Path | None) -> None:
    """Run a Redis of its own and the broker on it, until Ctrl-C; the data stay.

    With a Redis that runs already, here or elsewhere, use `gatebus serve` and GATEBUS_STORE_URL.
    """
    if access.settings.store_url:
        raise InvalidInput("A store URL is set already; `gatebus serve` runs the broker on it")
    check_host(host, access.settings, allow_open)
    end_in_order()
    redis = EmbeddedRedis(data or access.folder / "redis", redis_port or free_port(*REDIS_PORTS))
    click.echo(f"+ {shlex.join(redis.command)}")
    with redis:
        click.echo(
            f"Redis runs; its data are in {redis.folder}.\n"
            f"Set this where ComfyUI starts:\n\n    GATEBUS_STORE_URL={redis.url}\n\n"
            f"Look inside:  redis-cli -p {redis.port} ZRANGE '{{{access.settings.namespace}}}:gates' 0 -1"
        )
        _serve(Access(redis.url), host, port)


@click.command()
@click.argument("images", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default="demo-output", show_default=True)
@click.option("--keep", is_flag=True, help="Leave Redis and the broker running until Ctrl-C.")
@click.pass_context
def demo(context: click.Context, images: tuple[Path, ...], output: Path, keep: bool) -> None:
    """Show a gate waiting on image files, routed, published and resumed, with processes of its own."""
    # Here, because it needs Pillow's drawing and takes time to import.
    from ..demo.run import run_demo

    end_in_order()
    context.exit(run_demo(images, output, keep))


def _serve(access: Access, host: str, port: int) -> None:
    logging.getLogger("gates").setLevel(logging.INFO)

    def started(url: str) -> None:
        click.echo(f"The broker answers on {url} (Ctrl-C ends it)")

    async def run(store: Store) -> None:
        await serve(store, access.folder, host, port, started)

    with access.patient_store() as store:
        asyncio.run(run(store))


COMMANDS = (up, serve_command, demo)
