"""The commands for tokens: ``token create``, ``token list`` and ``token revoke``."""

from __future__ import annotations

import click

from gates.setting_values import ROLES, Token

from ..access import Access
from ..tokens import TokenFile, entry
from .table import as_json, json_option, table


@click.group()
def token() -> None:
    """Make, list and revoke the tokens that the broker asks for.

    They lie in the settings file, hashed; a broker that runs takes up a change within seconds.
    """


@token.command()
@click.option("--role", type=click.Choice(ROLES), default="decide", show_default=True, help="What it may do.")
@click.option("--name", required=True, help="Whose it is: decisions carry this name.")
@json_option
@click.pass_obj
def create(access: Access, role: str, name: str, as_data: bool) -> None:
    """Make a token and show it, this once.

    view sees everything; decide also routes, paints, publishes and fills pools; admin also
    deletes; instance is for ComfyUI processes that announce themselves.
    """
    file = TokenFile(access.file)
    text, made = file.create(role, name)
    if as_data:
        click.echo(as_json({**_shown(made), "token": text, "setting": entry(made), "file": str(file.path)}))
    else:
        click.echo(
            f"The token of {name} ({role}); it is shown this once:\n\n    {text}\n\n"
            f"Its SHA-256 is kept in {file.path}.\n"
            "ComfyUI processes have settings of their own. Where they shall accept it too, add to the list `tokens`\n"
            "in user/__gatebus/settings.json (or to GATEBUS_TOKENS, with commas between):\n\n"
            f"    {entry(made)}\n"
        )
    _warn_of_variable(access)


@token.command("list")
@json_option
@click.pass_obj
def list_tokens(access: Access, as_data: bool) -> None:
    """List the tokens: names, roles and the first digits of their SHA-256."""
    held = access.settings.tokens if access.tokens_are_fixed else TokenFile(access.file).tokens()
    if as_data:
        click.echo(as_json([_shown(each) for each in held]))
    elif held:
        click.echo(table(("name", "role", "sha-256"), [(each.name, each.role, each.sha256[:12]) for each in held]))
    else:
        click.echo("There are no tokens: the broker asks for none, and listens on this machine alone.")
    _warn_of_variable(access)


@token.command()
@click.argument("name")
@json_option
@click.pass_obj
def revoke(access: Access, name: str, as_data: bool) -> None:
    """Revoke the token NAME."""
    file = TokenFile(access.file)
    gone = file.revoke(name)
    if as_data:
        click.echo(as_json(_shown(gone)))
    else:
        click.echo(f"The token of {name} ({gone.role}) is revoked.")
    if not file.tokens():
        click.echo(
            "No token is left. A broker that runs lets nobody in any more; one that starts now asks for none.", err=True
        )
    _warn_of_variable(access)


def _shown(token: Token) -> dict[str, str]:
    return {"name": token.name, "role": token.role, "sha256": token.sha256}


def _warn_of_variable(access: Access) -> None:
    if access.tokens_are_fixed:
        click.echo("GATEBUS_TOKENS is set: it counts instead of the file, and is read when a broker starts.", err=True)


COMMANDS = (token,)
