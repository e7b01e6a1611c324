"""What waits, as it comes: the server's event stream, followed over its ends and outages.

The stream says which gate changed; the gate is then read from its own place. A stream that
breaks off is opened again behind the last event that was dealt with (``Last-Event-ID``); where
the server can't tell what happened since, it begins with a snapshot, and what waits is listed.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from gates.errors import GateNotFound, StoreUnavailable, TooBusy
from gates.gate.record import ENDED, Gate

from .answers import Unreachable, error_of

WAITS = ("waiting", "orphaned", "parked")
"""States in which a gate can be decided."""

SILENCE = 45.0
"""Seconds without a byte after which the server is taken for gone; it sends a heartbeat every 15."""

FIRST_PAUSE = 0.2
"""Seconds before a stream is opened again; doubled up to LONGEST_PAUSE."""

LONGEST_PAUSE = 5.0


@dataclass(frozen=True)
class Message:
    """One message of the stream."""

    cursor: str
    """Where it stands among the events, "" for what is none."""
    type: str
    data: bytes


def follow(
    http: httpx.Client,
    waiting: Callable[[], list[Gate]],
    read: Callable[[Gate | str], Gate],
    patience: float,
    deadline: float | None,
) -> Iterator[Gate]:
    """Each gate that waits, once, until the deadline (of ``time.monotonic``).

    ``waiting`` lists, ``read`` gives one gate. Raises what makes it useless to go on: a refused
    token, a server of another kind, and Unreachable when none answers within ``patience`` seconds.
    """
    cursor, pause = "", FIRST_PAUSE
    first = time.monotonic() + patience
    given: set[str] = set()
    while deadline is None or time.monotonic() < deadline:
        try:
            for message in _messages(http, cursor, deadline):
                first, pause = float("inf"), FIRST_PAUSE
                yield from _fresh(message, given, waiting, read)
                cursor = message.cursor or cursor
        except (httpx.HTTPError, StoreUnavailable, TooBusy, Unreachable) as error:
            if time.monotonic() + pause > first:
                if isinstance(error, httpx.HTTPError):
                    raise Unreachable(f"{http.base_url} does not answer: {error or type(error).__name__}") from error
                raise
        left = pause if deadline is None else min(pause, deadline - time.monotonic())
        time.sleep(max(0.0, left))
        pause = min(2 * pause, LONGEST_PAUSE)


def _fresh(
    message: Message, given: set[str], waiting: Callable[[], list[Gate]], read: Callable[[Gate | str], Gate]
) -> Iterator[Gate]:
    """The gates that the message tells of, wait, and were not given yet."""
    if message.type == "snapshot":
        gates = waiting()
        # What has ended meanwhile need not be remembered any longer.
        given &= {gate.id for gate in gates}
    elif message.type == "gate":
        told = json.loads(message.data)
        if told.get("status") in ENDED:
            given.discard(told["id"])
            return
        if told["id"] in given:
            return
        try:
            gates = [read(told["id"])]
        except GateNotFound:
            return
    else:
        return
    for gate in gates:
        if gate.status in WAITS and gate.id not in given:
            given.add(gate.id)
            yield gate


def _messages(http: httpx.Client, cursor: str, deadline: float | None) -> Iterator[Message]:
    """The stream behind the cursor, until it ends or the deadline is there; raises httpx.HTTPError and typed errors."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": cursor} if cursor else {})}
    left = SILENCE if deadline is None else max(0.1, deadline - time.monotonic())
    timeout = httpx.Timeout(min(left, http.timeout.connect or SILENCE), read=min(left, SILENCE))
    with http.stream("GET", "events", headers=headers, timeout=timeout) as response:
        if not response.is_success:
            response.read()
        error = error_of(response)
        if error is not None:
            raise error
        with _ended_at(deadline, response):
            yield from parse(response.iter_bytes())


@contextmanager
def _ended_at(deadline: float | None, response: httpx.Response) -> Iterator[None]:
    """Ends the connection at the deadline, which wakes the reader: a timeout would count from each byte anew."""
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    if deadline is None or connection is None:
        yield
        return

    def end() -> None:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            # It has ended by itself.
            return

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def parse(blocks: Iterator[bytes]) -> Iterator[Message]:
    """The messages of an event stream, each as soon as it is whole. Lines end at line feeds alone (or CR LF)."""
    # Not by splitlines(), which also ends a line where somebody's title holds U+2028.
    rest = b""
    fields: dict[bytes, list[bytes]] = {}
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line:
                name, _, value = line.partition(b":")
                fields.setdefault(name, []).append(value.removeprefix(b" "))
                continue
            if b"event" in fields:
                cursor = fields.get(b"id", [b""])[-1].decode()
                yield Message(cursor, fields[b"event"][-1].decode(), b"\n".join(fields.get(b"data", [])))
            fields = {}
