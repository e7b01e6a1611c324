"""What a server answers, as the records and errors that it has of them itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar

import httpx

from gates.bus.record import BusHead, BusMeta
from gates.codec import Layout
from gates.errors import Conflict, GatebusError, NotFound, StoreUnavailable
from gates.gate.record import Decision, Gate
from gates.pool.manifest import Manifest, PoolInfo, Slot

T = TypeVar("T")


class Unreachable(GatebusError, ConnectionError):
    """The server does not answer, or not to its end; what was asked of it may have been done."""

    status = 0
    type = "unreachable"


class Unexpected(GatebusError):
    """Something answers, but not as a broker or a ComfyUI with this pack does."""

    status = 0
    type = "unexpected"


def _kinds(kind: type[GatebusError]) -> Iterator[type[GatebusError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


KINDS = {kind.type: kind for kind in _kinds(GatebusError)}
"""Type in an error's JSON -> its class."""

FALLBACK: dict[int, type[GatebusError]] = {404: NotFound, 409: Conflict, 503: StoreUnavailable}
"""Status -> the class of an error whose type is of a newer server."""


def error_of(response: httpx.Response) -> GatebusError | None:
    """The error that the answer is, None when all went well. Its body must have been read."""
    if response.is_success:
        return None
    try:
        error = response.json()["error"]
        kind, message, details = error["type"], str(error["message"]), dict(error["details"])
    except (ValueError, KeyError, TypeError):
        if response.status_code in (502, 503, 504):
            return Unreachable(f"{response.url}: a proxy answers {response.status_code}", status=response.status_code)
        return Unexpected(
            f"{response.url} answers {response.status_code} {response.reason_phrase}; is this the address of a broker,"
            " or of a ComfyUI with this pack?",
            status=response.status_code,
        )
    found = KINDS.get(kind) or FALLBACK.get(response.status_code, GatebusError)
    answered = found(message)
    answered.details = details
    return answered


def value_of(response: httpx.Response) -> Any:
    """The JSON of the answer; raises Unexpected."""
    try:
        return response.json()
    except ValueError as error:
        raise Unexpected(f"{response.url} answers with something that is no JSON") from error


def gate_of(value: Mapping[str, Any]) -> Gate:
    """The gate of its JSON."""
    given = dict(value)
    given["labels"] = tuple(given.get("labels") or ())
    given["layout"] = record_of(Layout, given["layout"]) if given.get("layout") else None
    given["decision"] = record_of(Decision, given["decision"]) if given.get("decision") else None
    return record_of(Gate, given)


def bus_of(value: Mapping[str, Any]) -> BusHead:
    """The version of a bus of its JSON."""
    return record_of(BusHead, {**value, "meta": record_of(BusMeta, value.get("meta") or {})})


def pool_info_of(value: Mapping[str, Any]) -> PoolInfo:
    """The pool in a list of its JSON."""
    return record_of(PoolInfo, value)


def slot_of(value: Mapping[str, Any]) -> Slot:
    """The slot of its JSON."""
    return record_of(Slot, value)


def manifest_of(value: Mapping[str, Any]) -> Manifest:
    """The pool of its JSON."""
    return record_of(Manifest, {**value, "slots": tuple(slot_of(slot) for slot in value["slots"])})


def record_of(kind: type[T], value: Mapping[str, Any]) -> T:
    """The record; fields of a newer server are passed over. Raises Unexpected."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    try:
        return kind(**{name: given for name, given in value.items() if name in known})
    except TypeError as error:
        raise Unexpected(f"The server's answer is no {kind.__name__}: {error}") from error
