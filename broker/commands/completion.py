"""Shell completion: the scripts, and the ids and names that the store knows.

Whatever goes wrong while something is completed (no store, a wrong setting) only means that
nothing is offered: a prompt is no place for errors.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete
from redis.exceptions import RedisError

from gates.connection import Connection
from gates.errors import GatebusError
from gates.gate.record import LIVE
from gates.keys import Keys

from ..access import Access
from .table import clean

PATIENCE = 1.0
"""Seconds that somebody who pressed Tab is kept waiting."""

OFFERED = 100
"""Names in one offer."""

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
log = logging.getLogger(__name__)

Named = list[tuple[str, str]]
"""(what may stand there, what a person is told of it)"""


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands, options, ids and names in your shell.

    bash: echo 'eval "$(gatebus completion bash)"' >> ~/.bashrc

    zsh: echo 'eval "$(gatebus completion zsh)"' >> ~/.zshrc

    fish: gatebus completion fish > ~/.config/fish/completions/gatebus.fish
    """
    # A program of that name on the PATH answers, however this process was started.
    click.echo(SHELLS[shell](context.find_root().command, {}, "gatebus", "_GATEBUS_COMPLETE").source())


def _offer(look: Callable[[Access], Named]) -> Complete:
    """The completion by what ``look`` finds within PATIENCE."""

    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found: Named = []

        def run() -> None:
            try:
                found.extend(look(Access(context.find_root().params.get("url"))))
            except (GatebusError, RedisError, OSError) as error:
                log.debug("gatebus: nothing to complete with: %s", error)

        # Not waited for any longer: it ends with the process.
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        offered = [(value, about) for value, about in list(found) if value.startswith(incomplete)]
        return [CompletionItem(value, help=clean(about)) for value, about in offered[:OFFERED]]

    return complete


def _gates(access: Access) -> Named:
    connection, keys = Connection(access.settings), Keys(access.settings.namespace)
    try:
        ids = connection.control.zrevrange(keys.gates, 0, OFFERED - 1)
        pipeline = connection.control.pipeline(transaction=False)
        for gate_id in ids:
            pipeline.hmget(keys.gate(gate_id), "status", "title")
        found = zip(ids, pipeline.execute(), strict=True)
        return [(gate_id, title or status) for gate_id, (status, title) in found if status in LIVE]
    finally:
        connection.close()


def _buses(access: Access) -> Named:
    if not access.settings.store_url:
        with access.patient_store() as store:
            return [(head.name, head.meta.label) for head in store.buses.heads()]
    connection = Connection(access.settings)
    try:
        names = connection.control.zrevrange(Keys(access.settings.namespace).buses, 0, -1)
        return [(name, "") for name in names]
    finally:
        connection.close()


def _pools(access: Access) -> Named:
    if not access.settings.store_url:
        with access.patient_store() as store:
            return [(info.pool_id, info.name) for info in store.pools.infos()]
    connection = Connection(access.settings)
    try:
        return sorted(connection.control.hgetall(Keys(access.settings.namespace).pools).items())
    finally:
        connection.close()


gate_ids: Complete = _offer(_gates)
"""Completes the id of a gate that waits."""

bus_names: Complete = _offer(_buses)
"""Completes the name of a bus."""

pool_ids: Complete = _offer(_pools)
"""Completes the id of a pool."""

COMMANDS: tuple[click.Command, ...] = (completion,)
