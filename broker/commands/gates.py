"""The commands about gates: list, follow, show, decide."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from gates.codec import encode_png, read_mask
from gates.errors import Conflict, GateNotFound, InvalidInput
from gates.gate.again import decision_again
from gates.gate.listing import RUNS, Wanted, page
from gates.gate.record import ENDED, LIVE, Gate, make_decision
from gates.names import check_gate_id, check_int
from gates.store import Store

from ..access import Access, here
from .completion import gate_ids, kept_gate_ids
from .following import follow
from .job_access import cancel_job, told_of_cancel
from .table import age, as_json, clean, json_option, table

MOST_RUNS = 1000
"""Runs under way that are listed."""

FAR = 10**12
"""Milliseconds beyond which no run's next look is due."""

_id = click.argument("gate_id", metavar="ID", shell_complete=gate_ids)
_ended_id = click.argument("gate_id", metavar="ID", shell_complete=kept_gate_ids)
_by = click.option("--by", default="", metavar="NAME", help="Who decides, for people.")


@click.command("gates")
@click.option("--watch", is_flag=True, help="Go on, with a line for every change, until Ctrl-C.")
@click.option(
    "--status",
    type=click.Choice(("live", "all", *LIVE, *ENDED)),
    default="live",
    show_default=True,
    help="live is waiting, orphaned, parked and decided together.",
)
@click.option(
    "--run",
    type=click.Choice(("open", *RUNS)),
    help="Only gates from which a run goes on, in that state, ended ones too; open is all but done.",
)
@click.option("--instance", default="", metavar="NAME", help="Only gates of this instance.")
@click.option("--workflow", default="", metavar="NAME", help="Only gates of this workflow.")
@click.option("--bus", default="", metavar="NAME", help="Only gates that publish to this bus or were loaded from it.")
@click.option(
    "--text", default="", metavar="WORDS", help="Words in title, note, workflow, instance, bus, labels or id."
)
@click.option("--older", type=click.IntRange(0), default=0, metavar="SECONDS", help="Opened at least so long ago.")
@click.option("--newer", type=click.IntRange(0), default=0, metavar="SECONDS", help="Opened at most so long ago.")
@click.option(
    "--order",
    type=click.Choice(("oldest", "newest")),
    default="oldest",
    show_default=True,
    help="Which come first.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Show so many, and tell how many there are.")
@json_option
@click.pass_obj
def list_gates(access: Access, /, watch: bool, order: str, limit: int | None, as_data: bool, **filters: Any) -> None:
    """List what waits for a decision and what is to run on after one, oldest first."""
    filters["run"] = filters["run"] or ""
    wanted = Wanted(**filters)
    with access.store() as store:
        if watch:
            _watch(store, wanted, as_data)
            return
        gates = wanted.choose(store.gates.records(live=wanted.live), store.gates.clock())
        if wanted.status == "live" and not wanted.run:
            gates = _with_runs(store, wanted, gates)
        shown = page(gates, limit or len(gates) or 1, newest=order == "newest").gates
        if as_data:
            click.echo(as_json([gate.to_json() for gate in shown]))
        else:
            _print_table(shown, len(gates), wanted)


@click.command()
@_id
@json_option
@click.pass_obj
def show(access: Access, gate_id: str, as_data: bool) -> None:
    """Show one gate. ID may be cut short, as long as it is the only one that begins so."""
    with access.store() as store:
        shown = _find(store, gate_id).to_json()
    if as_data:
        click.echo(as_json(shown))
        return
    for name, value in shown.items():
        if value not in ("", 0, None, False, []):
            click.echo(f"{name:14} {clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}")


@click.command()
@_id
@click.argument("number", metavar="K", type=int)
@_by
@click.option(
    "--text",
    help="A text that goes with the decision; at a text gate the one that goes on. Default: it stays as it is.",
)
@click.option("--chosen", default="", metavar="N,N,…", help="Images of the batch that go on, from 0. Default: all.")
@click.option(
    "--mask", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="An image: white is painted."
)
@json_option
@click.pass_obj
def route(
    access: Access,
    gate_id: str,
    number: int,
    by: str,
    text: str | None,
    chosen: str,
    mask: Path | None,
    as_data: bool,
) -> None:
    """Decide that the gate takes route K. The first decision wins; to repeat it is no error."""
    decision = make_decision("route", number, by=by, text=text or "", where=here(), chosen=chosen.replace(" ", ""))
    with access.store() as store:
        gate = _find(store, gate_id)
        if text is None:
            decision = replace(decision, text=gate.text)
        # Before the mask is stored: what is refused must leave nothing behind.
        check_int(number, "route", 1, gate.routes)
        if mask is not None:
            if not gate.width or not gate.height:
                raise InvalidInput("This gate shows no image, so it takes no mask")
            pixels = read_mask(mask.read_bytes(), store.settings, gate.width, gate.height)
            store.gates.set_mask(gate.id, encode_png(pixels, store.settings.compression))
        gate = store.gates.decide(gate.id, decision)
    if as_data:
        click.echo(as_json(gate.to_json()))
        return
    label = gate.labels[number - 1] if number <= len(gate.labels) else ""
    click.echo(f"{gate.id} takes route {number}{clean(f' ({label})') if label else ''}")


@click.command()
@_id
@_by
@json_option
@click.pass_obj
def cancel(access: Access, gate_id: str, by: str, as_data: bool) -> None:
    """Decide that the gate's prompt is stopped; or cancel the job of that id."""
    with access.store(shared=False) as store:
        try:
            gate = store.gates.decide(_find(store, gate_id).id, make_decision("cancel", by=by, where=here()))
        except GateNotFound:
            # Ids of gates and jobs are made alike, and never the same.
            job = cancel_job(access, store, gate_id, by)
            click.echo(as_json(job.to_json()) if as_data else told_of_cancel(job))
            return
    click.echo(as_json(gate.to_json()) if as_data else f"{gate.id} is cancelled")


@click.command("take-back")
@_id
@_by
@json_option
@click.pass_obj
def take_back(access: Access, gate_id: str, by: str, as_data: bool) -> None:
    """Take back the route that was chosen, as long as it was not carried out: the gate waits again."""
    with access.store() as store:
        gate = _find(store, gate_id)
        if gate.decision is None:
            raise Conflict(f"{gate.id} is not decided")
        gate = store.gates.take_back(gate.id, gate.decision.id, by=by, where=here())
    click.echo(as_json(gate.to_json()) if as_data else f"{gate.id} waits again")


@click.command()
@_id
@_by
@json_option
@click.pass_obj
def park(access: Access, gate_id: str, by: str, as_data: bool) -> None:
    """Park a gate whose process is gone: once it is decided, any instance goes on from it."""
    with access.store() as store:
        gate = store.gates.park_orphan(_find(store, gate_id).id, by=by, where=here())
    click.echo(as_json(gate.to_json()) if as_data else f"{gate.id} is parked")


@click.command()
@_ended_id
@click.option("--route", "number", metavar="K", type=int, help="By that route. Default: the one taken before.")
@_by
@click.option("--text", help="A text that goes with it. Default: the one that went before.")
@click.option("--chosen", metavar="N,N,…", help="Images of the batch that go on, from 0. Default: those of before.")
@json_option
@click.pass_obj
def again(
    access: Access, gate_id: str, number: int | None, by: str, text: str | None, chosen: str | None, as_data: bool
) -> None:
    """Run on from a gate that has ended, or whose run failed, once more, while its image is kept."""
    with access.store() as store:
        old = _find(store, gate_id)
        picked = None if chosen is None else chosen.replace(" ", "")
        new = store.gates.again(old.id, decision_again(old, number, text, picked, by=by, where=here()))
    if as_data:
        click.echo(as_json(new.to_json()))
        return
    taken = new.decision.route if new.decision else 0
    label = new.labels[taken - 1] if 0 < taken <= len(new.labels) else ""
    click.echo(f"{new.id} takes route {taken}{clean(f' ({label})') if label else ''} again from {old.id}")


def _find(store: Store, text: str) -> Gate:
    """The gate of that id, or of the one id that begins so; raises InvalidName, InvalidInput or GateNotFound."""
    if not re.fullmatch(r"[0-9a-f]{4,31}", text):
        return store.gates.get(check_gate_id(text))
    found = [gate for gate in store.gates.records(live=False) if gate.id.startswith(text)]
    if len(found) > 1:
        raise InvalidInput(f"{len(found)} gates begin with {text}: {', '.join(gate.id for gate in found[:5])}")
    if not found:
        raise GateNotFound(f"No gate begins with {text}")
    return found[0]


def _with_runs(store: Store, wanted: Wanted, gates: list[Gate]) -> list[Gate]:
    """Those gates, and those that were carried out and from which a run goes on."""
    going = replace(wanted, run="open").choose(store.gates.due_runs(-FAR, MOST_RUNS), store.gates.clock())
    found = {gate.id: gate for gate in [*going, *gates]}
    return sorted(found.values(), key=lambda gate: (gate.opened, gate.id))


def _watch(store: Store, wanted: Wanted, as_data: bool) -> None:
    """Prints what waits, then each change of a gate that passes, until Ctrl-C; over lost events too."""
    cursor = ""

    def look() -> None:
        nonlocal cursor
        events = store.events.since(cursor) if cursor else None
        if events is None:
            behind = store.events.cursor()
            changed = store.gates.records(live=wanted.live)
        else:
            behind = events[-1].cursor if events else cursor
            # Several changes of one gate between two looks are one line: the state of now.
            named = dict.fromkeys(event.id for event in events if event.type == "gate")
            changed = store.gates.some(list(named))
        for gate in _watched(wanted, changed, store.gates.clock()):
            _print_line(gate, as_data)
        # Only now: what could not be read is read the next time.
        cursor = behind

    follow(store, look)


def _watched(wanted: Wanted, gates: list[Gate], now: int) -> list[Gate]:
    """Those that pass; of gates that only have to be live also those that have just ended."""
    return (replace(wanted, status="all") if wanted.status == "live" else wanted).choose(gates, now)


def _print_line(gate: Gate, as_data: bool) -> None:
    if as_data:
        click.echo(json.dumps(gate.to_json(), ensure_ascii=False))
    else:
        click.echo(f"{time.strftime('%H:%M:%S')}  " + "  ".join(clean(cell) for cell in _cells(gate)))


def _print_table(gates: Sequence[Gate], total: int, wanted: Wanted) -> None:
    if gates:
        click.echo(table(("id", "status", "age", "pixels", "routes", "title"), [_cells(gate) for gate in gates]))
        if total > len(gates):
            click.echo(f"{total - len(gates)} more")
    else:
        click.echo("Nothing waits." if wanted == Wanted() else "No such gate.")


def _cells(gate: Gate) -> tuple[str, ...]:
    names = [f"{number}{' ' if label else ''}{label}" for number, label in enumerate(gate.labels, 1)]
    routes = ", ".join(names) if any(gate.labels) else f"1 to {gate.routes}"
    size = f"{gate.batch} x {gate.width} x {gate.height}" if gate.batch != 1 else f"{gate.width} x {gate.height}"
    if gate.kind == "text":
        size = "text"
    return gate.id, _state(gate), age(gate.opened), size, routes, gate.title or gate.workflow


def _state(gate: Gate) -> str:
    """How the gate is, what was decided, and how the run is that goes on from it."""
    decision = gate.decision
    decided = f": {decision.kind} {decision.route or ''}".rstrip() if decision is not None else ""
    where = f" on {gate.run_on}" if gate.run_on and gate.run in ("submitted", "running") else ""
    return f"{gate.status}{decided}{f', run {gate.run}{where}' if gate.run else ''}"


COMMANDS = (list_gates, show, route, cancel, take_back, park, again)
