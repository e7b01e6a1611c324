"""The commands about what was decided: read the log, follow it, take the images of a route."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click

from gates.decisions import spreadsheet
from gates.decisions.dataset import CAPTIONS
from gates.decisions.record import Entry
from gates.decisions.rows import CHOICES, Filter, Rows
from gates.errors import InvalidInput, NotFound
from gates.gate.record import MAX_ROUTES
from gates.store import Store

from ..access import Access
from ..dataset import Folder
from .following import follow
from .progress import progress
from .table import as_json, clean, json_option, table

SHOWN = 100
"""Decisions in the table, when no other number is asked for."""

NAMED = 20
"""Images that are gone which the error names; ``--json`` names all."""

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

_since = click.option("--since", default="", metavar="WHEN", help="E.g. 30m, 12h, 2d, 2026-11-21, 2026-11-21T08:00.")
_route = click.option("--route", type=click.IntRange(1, MAX_ROUTES), help="Only this route.")
_label = click.option("--label", default="", metavar="TEXT", help="Only routes of this label.")
_workflow = click.option("--workflow", default="", metavar="NAME", help="Only gates of this workflow.")
_by = click.option("--by", default="", metavar="NAME", help="Only what this person decided.")


@click.command()
@_since
@click.option("--until", default="", metavar="WHEN", help="As --since.")
@_by
@_workflow
@_route
@_label
@click.option("--instance", default="", metavar="NAME", help="Only gates of this instance.")
@click.option("--gate", default="", metavar="ID", help="Only this gate.")
@click.option("--kind", type=click.Choice(CHOICES), default="decisions", help="Which entries.  [default: decisions]")
@click.option("--limit", type=click.IntRange(1), default=SHOWN, show_default=True, help="Rows of the table.")
@click.option("--json", "as_data", is_flag=True, help="All of them as JSON lines.")
@click.option("--csv", "as_csv", is_flag=True, help="All of them as CSV.")
@click.option("--follow", is_flag=True, help="Go on with what is decided, until Ctrl-C.")
@click.pass_obj
def decisions(
    access: Access,
    since: str,
    until: str,
    by: str,
    workflow: str,
    route: int | None,
    label: str,
    instance: str,
    gate: str,
    kind: str,
    limit: int,
    as_data: bool,
    as_csv: bool,
    follow: bool,
) -> None:
    """Show who decided what, when and from where, newest first. With --follow oldest first."""
    if as_data and as_csv:
        raise InvalidInput("Say --json or --csv, not both")
    wanted = Filter(_moment(since), _moment(until), gate, by, workflow, instance, label, route or 0, kind)
    write = _writer(as_data, as_csv)
    with access.store(shared=False) as store:
        cursor = newest(store) if follow else ""
        rows = Rows(store.decisions, store.gates.get, wanted)
        if as_csv:
            click.echo(spreadsheet.head(), nl=False)
        if as_data or as_csv:
            for chunk, _ in replace(rows, newest=not follow).chunks():
                for row in chunk:
                    write(row)
        else:
            shown = rows.page(limit)[0]
            if follow:
                for row in reversed(shown):
                    write(row)
            else:
                click.echo(table(HEAD, [_cells(row) for row in shown]) if shown else "Nothing was decided.")
        if follow:
            _until_stopped(store, cursor, lambda entry: write(entry) if wanted.passes(entry) else None)


@click.command("export")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@_route
@_label
@_workflow
@_by
@_since
@click.option(
    "--caption",
    type=click.Choice(CAPTIONS[1:]),
    help="What NAME.txt holds.  [default: the text, else label, else title]",
)
@click.option("--watch", is_flag=True, help="Go on with what is decided, until Ctrl-C.")
@json_option
@click.pass_obj
def export_images(
    access: Access,
    folder: Path,
    route: int | None,
    label: str,
    workflow: str,
    by: str,
    since: str,
    caption: str | None,
    watch: bool,
    as_data: bool,
) -> None:
    """Write the images of decided gates to DIR, each with its caption, painted mask and log row beside it.

    What is there already is not written again. Images are kept for GATEBUS_KEEP_IMAGES seconds after
    their gate has ended; those that are gone are named, and the exit code is 3.
    """
    wanted = Filter(since=_moment(since), by=by, workflow=workflow, label=label, route=route or 0, kind="route")
    with access.store() as store:
        target = Folder(folder, store.gates, caption or "")
        cursor = newest(store)
        rows = [row for chunk, _ in Rows(store.decisions, store.gates.get, wanted).chunks() for row in chunk]
        # Who watches waits for the end, which no take-back can follow.
        open_rows = [row for row in rows if watch and not row.outcome]
        with progress(len(rows), "Images") as advance:
            for row in rows:
                if row not in open_rows:
                    target.write(row)
                advance(1)
        if watch:
            click.echo(f"{folder}: {target.summary}; waiting for more", err=True)
            target.expect(open_rows)
            _until_stopped(store, cursor, lambda entry: target.follow(entry, wanted))
    click.echo(as_json(target.counts) if as_data else f"{folder}: {target.summary}")
    if target.gone:
        named = ", ".join([*target.gone[:NAMED], *(["…"] if len(target.gone) > NAMED else [])])
        raise NotFound(f"{len(target.gone)} images are not stored (any more): {named}")


def newest(store: Store) -> str:
    """The id of the log's newest entry, behind which what follows is new."""
    entries = store.decisions.read("", 1, newest=True)
    return entries[0].id if entries else "0-0"


def _until_stopped(store: Store, cursor: str, take: Callable[[Entry], object]) -> None:
    """Hands over each entry behind the cursor as it comes, until Ctrl-C."""

    def look() -> None:
        nonlocal cursor
        while entries := store.decisions.read(cursor, 500):
            for entry in entries:
                take(entry)
                cursor = entry.id

    follow(store, look)


def _moment(text: str) -> int:
    """Milliseconds since the epoch; raises InvalidInput."""
    if not text:
        return 0
    ago = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if ago:
        return int((time.time() - int(ago[1]) * UNITS[ago[2]]) * 1000)
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(f"{text!a} is no time: 30m, 12h, 2d, 3w, 2026-11-21 or 2026-11-21T08:00") from None


def _writer(as_data: bool, as_csv: bool) -> Callable[[Entry], None]:
    if as_csv:
        return lambda row: click.echo(spreadsheet.lines([row]), nl=False)
    if as_data:
        return lambda row: click.echo(json.dumps(row.to_json(), ensure_ascii=False))
    return lambda row: click.echo("  ".join(clean(cell) for cell in _cells(row)))


HEAD = ("when", "who", "what", "gate", "title", "where", "outcome")


def _cells(row: Entry) -> tuple[str, ...]:
    what = f"{row.route} {row.label}".strip() if row.kind == "route" else row.kind
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.at / 1000))
    return when, row.by, what, row.gate[:12], row.title or row.workflow, row.where, row.outcome


COMMANDS: tuple[click.Command, ...] = (decisions, export_images)
