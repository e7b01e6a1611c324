"""The command about notifications: whether each target takes a message."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence

import click

from gates.errors import InvalidSetting
from gates.gate.record import Gate

from ..access import Access
from .table import as_json, json_option, table


@click.group()
def notify() -> None:
    """The notifications to people outside (GATEBUS_NOTIFY)."""


@notify.command("test")
@json_option
@click.pass_context
def test_command(context: click.Context, as_data: bool) -> None:
    """Send a sample to every target and show what each answers; exit code 1 when one refuses."""
    access: Access = context.obj
    # Here, because it takes time to import.
    from ..notify.delivery import Answer, Delivery, Patience, make_session
    from ..notify.message import Message, Notice
    from ..notify.picture import sample_jpeg
    from ..notify.target import Target, parse_targets

    settings = access.settings
    targets = parse_targets(settings.notify, settings.notify_secret)
    if not targets:
        raise InvalidSetting("There is nobody to tell: set GATEBUS_NOTIFY", setting="notify")
    sample = Gate(
        id="0" * 32,
        title="a test of gatebus",
        instance=settings.instance,
        note="Nothing waits: this message shows that messages arrive.",
        opened=int(time.time() * 1000),
    )
    message = Message(uuid.uuid4().hex, (Notice("opened", sample),), settings.public_url, sample_jpeg())

    async def send_all() -> Sequence[Answer]:
        patience = Patience()
        async with make_session(patience) as session:
            delivery = Delivery(session, settings.notify_secret, patience)
            return await asyncio.gather(*(delivery.attempt(target, message) for target in targets))

    def said(target: Target, answer: Answer) -> str:
        return target.redact(answer.text)[:200]

    answered = list(zip(targets, asyncio.run(send_all()), strict=True))
    if as_data:
        shown = [
            {
                "number": target.number,
                "form": target.form,
                "host": target.url.host,
                "accepted": answer.accepted,
                "status": answer.status,
                "reason": answer.reason,
                "answer": said(target, answer),
            }
            for target, answer in answered
        ]
        click.echo(as_json(shown))
    else:
        rows = [
            (
                str(target.number),
                target.form,
                target.url.host or "",
                "accepted" if answer.accepted else "refused" if answer.status else "failed",
                f"{answer.reason} {said(target, answer)}".rstrip(),
            )
            for target, answer in answered
        ]
        click.echo(table(("", "form", "host", "", "answer"), rows))
    if not all(answer.accepted for _, answer in answered):
        context.exit(1)


COMMANDS = (notify,)
