"""The commands that run something: ``up``, ``serve`` and ``demo``."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from gates.errors import InvalidInput
from gates.setting_values import Token
from gates.store import Store

from .. import logs
from ..access import Access, end_in_order
from ..addresses import in_url, reached_at
from ..app import check_host, check_prefix, is_loopback
from ..embedded import EmbeddedRedis, free_port
from ..keeper import Keeper
from ..server import PORT, Listening, serve

REDIS_PORTS = (6379, 6389)
"""First and last port that ``up`` tries for its Redis; the first is the one that redis-cli takes by itself."""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True)
class _Serving:
    """The options that ``serve`` and ``up`` share."""

    listening: Listening
    allow_open: bool
    log_format: str
    log_level: str

    def check(self, access: Access) -> None:
        """Raises InvalidSetting or InvalidInput for what would fail later, before anything is started."""
        check_host(self.listening.host, access.settings, self.allow_open)
        check_prefix(self.listening.prefix)
        self.listening.context()


def _serving_options(quiet: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The shared options, gathered into one argument ``serving``; ``quiet``: warnings alone are logged by default."""
    options = (
        click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
        click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any free one."),
        click.option("--prefix", default="", metavar="PATH", help="Sub-path that a proxy leaves on, e.g. /gatebus."),
        click.option(
            "--allow-open",
            is_flag=True,
            help="Listen on other addresses than this machine's own although no token is asked for.",
        ),
        click.option("--tls-cert", type=_FILE, help="Serve HTTPS with this certificate (PEM, with its chain)."),
        click.option("--tls-key", type=_FILE, help="Its key (PEM), when it is not in the same file."),
        click.option("--log-format", type=click.Choice(logs.FORMATS), default="text", show_default=True),
        click.option(
            "--log-level",
            type=click.Choice(logs.LEVELS),
            help="info: a line for every exchange. Default: GATEBUS_LOG_LEVEL, else "
            + ("warning." if quiet else "info."),
        ),
    )

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        def gathered(access: Access, /, **given: Any) -> Any:
            where = {name: given.pop(name) for name in ("host", "port", "prefix", "tls_cert", "tls_key")}
            others = {name: given.pop(name) for name in ("allow_open", "log_format")}
            level = given.pop("log_level") or access.settings.log_level or ("warning" if quiet else "info")
            others["log_level"] = level
            return command(access, _Serving(Listening(**where), **others), **given)

        gathered.__name__, gathered.__doc__ = command.__name__, command.__doc__
        decorated: Callable[..., Any] = click.pass_obj(gathered)
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


@click.command("serve")
@_serving_options(quiet=False)
def serve_command(access: Access, serving: _Serving) -> None:
    """Run the broker on the store that the settings name, until Ctrl-C."""
    serving.check(access)
    if not access.settings.store_url:
        click.echo("No store URL is set: only the buses and pools on this machine's disk are shown.", err=True)
    _serve(access, serving, lambda url: click.echo(f"The broker answers on {url} (Ctrl-C ends it)"))


@click.command("up")
@click.option("--redis-port", type=click.IntRange(1, 65535), help="Default: 6379, or the next one that is free.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of its data. Default: redis/ beside the settings.",
)
@click.option(
    "--share",
    is_flag=True,
    help="Let ComfyUI on other machines use this Redis: it listens on every address and asks for a password.",
)
@click.option("--no-open", is_flag=True, help="Leave the browser closed.")
@_serving_options(quiet=True)
def up(
    access: Access, serving: _Serving, redis_port: int | None, data: Path | None, share: bool, no_open: bool
) -> None:
    """Run a Redis of its own and the broker on it, until Ctrl-C; the data stay.

    A Redis that ends by itself is started again. With one that runs already, here or elsewhere,
    use `gatebus serve` and GATEBUS_STORE_URL.
    """
    if access.settings.store_url:
        raise InvalidInput("A store URL is set already; `gatebus serve` runs the broker on it")
    serving.check(access)
    end_in_order()
    redis = EmbeddedRedis(data or access.folder / "redis", redis_port or free_port(*REDIS_PORTS), share)
    click.echo(f"+ {shlex.join(redis.command)}")
    with Keeper(redis, lambda text: click.echo(f"gatebus: {text}", err=True)):
        click.echo(f"Redis runs; its data are in {redis.folder}.\n{_what_to_set(redis)}")
        # With its address alone the port is in nobody's list of processes, as the password would be.
        look = f"redis-cli {f'-u {redis.url}' if share else f'-p {redis.port}'}"
        click.echo(f"Look inside:  {look} ZRANGE '{{{access.settings.namespace}}}:gates' 0 -1")

        def started(url: str) -> None:
            click.echo(f"The broker answers on {url} (Ctrl-C ends it)")
            for other in _urls_for_others(url, serving.listening):
                click.echo(f"From a phone or another machine:  {other}")
            if not no_open and _has_browser():
                # In a thread: some browsers keep their caller until they are closed.
                threading.Thread(target=webbrowser.open, args=(_url_here(url, serving.listening),), daemon=True).start()

        _serve(Access(redis.url), serving, started)


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


def _serve(access: Access, serving: _Serving, started: Callable[[str], object]) -> None:
    logs.set_up(serving.log_format, serving.log_level)

    def tokens() -> Sequence[Token]:
        return access.settings_now().tokens

    async def run(store: Store) -> None:
        followed = None if access.tokens_are_fixed else tokens
        await serve(store, access.folder, serving.listening, started, followed)

    with access.patient_store() as store:
        asyncio.run(run(store))


def _what_to_set(redis: EmbeddedRedis) -> str:
    here = f"Set this where ComfyUI starts on this machine:\n\n    GATEBUS_STORE_URL={redis.url}\n"
    if not redis.shared:
        return f"{here}\nComfyUI on other machines can't reach this Redis; `gatebus up --share` lets them."
    others = [f"    GATEBUS_STORE_URL={redis.url_at(in_url(host))}" for host in reached_at("0.0.0.0")]  # noqa: S104
    lines = "\n".join(others or ["    (this machine has no address towards others now)"])
    return (
        f"{here}\nand this on other machines; it holds the password, and goes over the network in plain:\n\n{lines}\n"
    )


def _urls_for_others(url: str, listening: Listening) -> list[str]:
    scheme, _, rest = url.partition("://")
    port, _, path = rest.rpartition("]")[2].rpartition(":")[2].partition("/")
    return [f"{scheme}://{in_url(host)}:{port}/{path}" for host in reached_at(listening.host)]


def _url_here(url: str, listening: Listening) -> str:
    """The URL for a browser on this machine: "every address" is none that it could open."""
    if is_loopback(listening.host) or not reached_at(listening.host):
        return f"{url}/"
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:") + "/"


def _has_browser() -> bool:
    """Whether somebody sits at a screen: a terminal, and a display where that is not a matter of course."""
    if not sys.stdout.isatty():
        return False
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


COMMANDS = (up, serve_command, demo)
