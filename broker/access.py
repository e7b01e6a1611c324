"""How a command reaches the store: the settings, the folder of this account, and the open store."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from gates.connection import Connection
from gates.errors import InvalidSetting
from gates.names import LABEL_LIMIT
from gates.settings import PREFIX, Settings
from gates.store import Store, open_store

from .familiar import with_familiar_names

SETTINGS_FILE = "settings.json"


def home() -> Path:
    """The folder in which the broker keeps what it has, unless the settings name others."""
    return Path.home() / ".local" / "share" / "gatebus"


def here() -> str:
    """Which way a decision comes that a command of this machine makes."""
    return f"command on {socket.gethostname()}"[:LABEL_LIMIT]


class Access:
    """The settings of one call of ``gatebus``, read when they are first asked for, and what they lead to."""

    def __init__(self, url: str | None = None) -> None:
        """``url`` goes before the store URL of the environment and of the file."""
        self._url = url

    @cached_property
    def settings(self) -> Settings:
        """The settings; raises InvalidSetting."""
        return self.settings_now()

    def settings_now(self) -> Settings:
        """The settings, read anew; raises InvalidSetting."""
        environ = with_familiar_names(os.environ)
        if self._url is not None:
            environ[f"{PREFIX}STORE_URL"] = self._url
        return Settings.load(self.file, environ)

    @property
    def file(self) -> Path:
        """The settings file of this account."""
        return home() / SETTINGS_FILE

    @property
    def tokens_are_fixed(self) -> bool:
        """Whether the environment names the tokens, so that those of the file do not count."""
        return f"{PREFIX}TOKENS" in os.environ

    @property
    def folder(self) -> Path:
        """Where this account's broker keeps what it has."""
        return self.settings.state_dir or home()

    @contextmanager
    def store(self, shared: bool = True) -> Iterator[Store]:
        """The open store, seen to answer; raises StoreUnavailable when it does not.

        ``shared``: the command is about what other processes do, so raises InvalidSetting when
        there is no store URL.
        """
        if self.settings.store_url:
            connection = Connection(self.settings)
            try:
                connection.ping()
            finally:
                connection.close()
        elif shared:
            raise InvalidSetting(
                "There is no store to look at: set GATEBUS_STORE_URL or say --url redis://… (the gates of a ComfyUI"
                " without Redis are seen over its own HTTP API)",
                setting="store_url",
            )
        with self.patient_store() as store:
            yield store

    @contextmanager
    def patient_store(self) -> Iterator[Store]:
        """The open store, whether it answers yet or not."""
        store = open_store(self.settings, self.folder, self.folder)
        try:
            yield store
        finally:
            store.close()


def end_in_order() -> None:
    """Makes the signals that end a process run what stands in ``finally``, as Ctrl-C does."""

    def leave(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, leave)
