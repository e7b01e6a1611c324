"""The ``gatebus`` command: runs the broker, and lists and decides on the store itself, without one.

An error is one line on stderr and an exit code: 2 for what is not accepted, 3 for what is not
there, 4 for a conflict (another decision stands), 5 while the store does not answer, 1 otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, ClassVar

import click
from redis.exceptions import RedisError

from gates import __version__
from gates.errors import GatebusError

from .access import Access

MODULES = {
    "serving": ("up", "serve", "demo"),
    "gates": ("gates", "show", "route", "cancel", "take-back", "park", "again"),
    "decisions": ("decisions", "export"),
    "buses": ("buses", "bus"),
    "pools": ("pools", "pool"),
    "instances": ("instances",),
    "jobs": ("submit", "jobs", "job"),
    "templates": ("templates",),
    "edit": ("edit",),
    "notify": ("notify",),
    "tokens": ("token",),
    "install": ("install",),
    "doctor": ("doctor",),
    "completion": ("completion",),
}
"""Module below ``commands/`` -> the names of its COMMANDS."""

EXIT_CODES = {400: 2, 413: 2, 422: 2, 404: 3, 409: 4, 503: 5}
"""HTTP status of an error -> exit code; 1 for any other."""


class Loaded(Mapping[str, click.Command]):
    """Every command by its name; its module is imported when it is first asked for.

    Somebody who presses Tab, or decides a gate, must not wait for the server and what it is made of.
    """

    _module_of: ClassVar = {name: module for module, names in MODULES.items() for name in names}

    def __getitem__(self, name: str) -> click.Command:
        """The command; raises KeyError."""
        module = import_module(f".commands.{self._module_of[name]}", __package__)
        commands: dict[str, click.Command] = {command.name: command for command in module.COMMANDS}
        return commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._module_of)

    def __len__(self) -> int:
        return len(self._module_of)


class Commands(click.Group):
    """The group; no error of ours leaves it as a traceback."""

    def invoke(self, context: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(context)
        except GatebusError as error:
            return _fail(context, error.message, EXIT_CODES.get(error.status, 1))
        except RedisError as error:
            # What is no outage: a wrong password, missing rights, another kind of server.
            return _fail(context, f"Redis refuses: {error}", 5)
        except BrokenPipeError:
            raise
        except OSError as error:
            return _fail(context, str(error), 1)


def _fail(context: click.Context, message: str, code: int) -> None:
    click.echo(f"gatebus: {' '.join(message.split())}", err=True)
    context.exit(code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", metavar="URL", help="The store, e.g. redis://host:6379/0. Default: GATEBUS_STORE_URL.")
@click.version_option(__version__, package_name="gatebus")
@click.pass_context
def cli(context: click.Context, url: str | None) -> None:
    """Gates, buses and pools of ComfyUI workflows: see what waits, decide it, run the broker."""
    logging.basicConfig(level=logging.ERROR, format="%(asctime)s %(levelname)s %(message)s")
    context.obj = Access(url)


cli.commands = Loaded()  # type: ignore[assignment]  # click only reads it


def main() -> None:
    """Runs the command of this process."""
    cli(prog_name="gatebus")
