"""``--json``: every command that tells something has it, and what decides answers with the gate."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from broker import cli
from gates.store import Store
from tests.service.processes import LIMIT, Gatebus, Studio

TELLING = {"gates", "show", "route", "cancel", "buses", "bus", "pools", "pool", "install", "doctor"}
"""Not what runs until it is ended, shows itself, or prints a script."""


def leaves(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from leaves(below, f"{path} {name}".strip())
    else:
        yield path, command


def test_every_command_that_tells_something_tells_it_as_json() -> None:
    found = dict(leaves(cli.cli))
    assert len(found) > 20
    telling = {path: command for path, command in found.items() if path.split()[0] in TELLING}
    options = {path: {name for each in command.params for name in each.opts} for path, command in telling.items()}
    assert {path for path, names in options.items() if "--json" not in names} == set()


def test_every_command_and_option_says_what_it_is_for() -> None:
    for path, command in leaves(cli.cli):
        assert command.help, path
        for parameter in command.params:
            if isinstance(parameter, click.Option) and path.split()[0] in TELLING:
                assert parameter.help, (path, parameter.name)


def shown(store: Store, gate_id: str) -> object:
    return json.loads(json.dumps(store.gates.get(gate_id).to_json()))


def test_a_decision_answers_with_the_gate(studio: Studio, gatebus: Gatebus) -> None:
    routed, cancelled = studio.open_gate(), studio.open_gate()
    told = json.loads(gatebus("route", routed.gate.id, "2", "--by", "anna", "--json").out)
    assert (told["id"], told["decision"]["route"], told["decision"]["by"]) == (routed.gate.id, 2, "anna")
    assert told == shown(studio.store, routed.gate.id)
    told = json.loads(gatebus("cancel", cancelled.gate.id, "--json").out)
    assert told["decision"]["kind"] == "cancel"
    assert routed.wait(LIMIT) is not None
