"""A command that goes on: it looks after every change, over outages of the store, until Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable

import click

from gates.errors import StoreUnavailable
from gates.store import Store

LOOK_AGAIN = 2.0
"""Seconds after which it looks although nothing woke it."""


def follow(store: Store, look: Callable[[], object]) -> None:
    """Looks now and after every change until Ctrl-C; an outage is told once, on stderr.

    ``look`` may raise StoreUnavailable anywhere: it is called again, and has to take up where it was.
    """
    woken = threading.Event()
    unsubscribe = store.events.subscribe(woken.set)
    away = False
    try:
        while True:
            woken.clear()
            try:
                look()
                away = False
            except StoreUnavailable as error:
                if not away:
                    click.echo(f"gatebus: {error.message}", err=True)
                away = True
            woken.wait(LOOK_AGAIN)
    except KeyboardInterrupt:
        return
    finally:
        unsubscribe()
