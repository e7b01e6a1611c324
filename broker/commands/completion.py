"""Shell completion: the scripts, and the ids and names that the store knows.

Whatever goes wrong while something is completed (no store, a wrong setting) only means that
nothing is offered: a prompt is no place for errors.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Literal

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete
from redis.exceptions import RedisError

from gates.connection import Connection
from gates.errors import GatebusError
from gates.gate.record import ENDED, LIVE
from gates.keys import Keys

from ..access import Access
from .job_access import jobs_of
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
    return [(gate_id, title or status) for gate_id, status, title, _ in _newest(access, "gates") if status in LIVE]


def _kept_gates(access: Access) -> Named:
    found = [*_newest(access, "ended"), *_newest(access, "gates")]
    decided = ("decided", *ENDED)
    return [(gate_id, title or status) for gate_id, status, title, kept in found if status in decided and kept]


def _newest(access: Access, index: Literal["gates", "ended"]) -> list[tuple[str, str, str, int]]:
    """(id, status, title, kept) of the newest gates of that index."""
    connection, keys = Connection(access.settings), Keys(access.settings.namespace)
    try:
        ids = connection.control.zrevrange({"gates": keys.gates, "ended": keys.ended}[index], 0, OFFERED - 1)
        pipeline = connection.control.pipeline(transaction=False)
        for gate_id in ids:
            pipeline.hmget(keys.gate(gate_id), "status", "title", "kept")
        rows = pipeline.execute()
        return [(id, status, title, int(kept or 0)) for id, (status, title, kept) in zip(ids, rows, strict=True)]
    finally:
        connection.close()


def _jobs(access: Access) -> Named:
    if not access.settings.store_url:
        with access.patient_store() as store, jobs_of(access, store) as jobs:
            return [(job.id, job.title) for job in jobs.page(OFFERED)[0]]
    connection, keys = Connection(access.settings), Keys(access.settings.namespace)
    try:
        ids = connection.control.zrevrange(keys.jobs, 0, OFFERED - 1)
        pipeline = connection.control.pipeline(transaction=False)
        for job_id in ids:
            pipeline.hmget(keys.job(job_id), "state", "title")
        return [(job_id, f"{state} {title}") for job_id, (state, title) in zip(ids, pipeline.execute(), strict=True)]
    finally:
        connection.close()


def _instances(access: Access) -> Named:
    if not access.settings.store_url:
        return []
    connection, keys = Connection(access.settings), Keys(access.settings.namespace)
    try:
        pipeline = connection.control.pipeline(transaction=False)
        for instance_id in connection.control.zrange(keys.instances, 0, -1):
            pipeline.hmget(keys.instance(instance_id), "name", "url")
        return sorted((name, url or "") for name, url in pipeline.execute() if name)
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

kept_gate_ids: Complete = _offer(_kept_gates)
"""Completes the id of a decided gate from which a run may go on once more."""

job_ids: Complete = _offer(_jobs)
"""Completes the id of a job."""

instance_names: Complete = _offer(_instances)
"""Completes the name of an instance."""

bus_names: Complete = _offer(_buses)
"""Completes the name of a bus."""

pool_ids: Complete = _offer(_pools)
"""Completes the id of a pool."""

COMMANDS: tuple[click.Command, ...] = (completion,)
