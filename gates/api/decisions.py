"""The routes of the decision log: read it, export it, take a decision back."""

from __future__ import annotations

import json
import tempfile
import time
import zipfile
from collections.abc import Callable
from typing import IO, Any
from urllib.parse import quote

from aiohttp import web

from ..decisions import spreadsheet
from ..decisions.dataset import CAPTIONS, frame_files, frame_names
from ..decisions.record import Entry
from ..decisions.rows import CHOICES, Filter, Rows
from ..errors import GateNotFound, TooLarge
from ..gate.record import MAX_ROUTES, Gate
from ..names import check_gate_id
from .answer import SAFE_HEADERS
from .call import Call
from .route import DECISION_ID, GATE_ID, Field, Route

PAGE = 100
"""Rows in one answer, when no other number is asked for."""

FILE_CHUNK = 1024 * 1024
"""Bytes of a zip that are sent at a time."""

FORMATS = ("jsonl", "csv")

LEEWAY = 10_000
"""Milliseconds by which an image counts as gone before it is: this clock is not the store's."""

NEXT = "X-Gatebus-Cursor"
"""The header that tells where a zip that holds not all images goes on."""


async def list_decisions(call: Call) -> web.Response:
    """Lists the decision log, page by page: who decided what, when, from where, on which image."""
    rows, cursor = await call.run(_rows(call).page, call.query["limit"], call.query["cursor"])
    shown = {"decisions": [row.to_json() for row in rows], "cursor": cursor, "images_since": _images_since(call)}
    return await call.answer(shown, large=True)


async def export_decisions(call: Call) -> web.StreamResponse:
    """The decision log as JSON lines or CSV, whole, as it streams."""
    as_csv = call.query["format"] == "csv"
    chunks = _rows(call).chunks()
    # The first one before anything is sent, so that an error is still answered as one.
    chunk: tuple[list[Entry], str] | None = await call.run(next, chunks)
    response = _download("text/csv" if as_csv else "application/x-ndjson", "decisions." + call.query["format"])
    response.charset = "utf-8"
    await response.prepare(call.http)
    try:
        if as_csv:
            await response.write(spreadsheet.head())
        while chunk is not None:
            await response.write(await call.run(spreadsheet.lines if as_csv else _json_lines, chunk[0]))
            chunk = await call.run(next, chunks, None)
        await response.write_eof()
    except OSError as error:
        raise _broken(call) from error
    return response


async def export_images(call: Call) -> web.StreamResponse:
    """A zip of the images on which a route was chosen, each with its mask, caption and log row beside it."""
    rows, cursor = await call.run(_rows(call).page, call.query["limit"], call.query["cursor"])
    with tempfile.TemporaryFile(dir=call.api.temporary) as file:
        await call.compute(_write_zip, call, rows, file)
        length = await call.run(file.tell)
        await call.run(file.seek, 0)
        response = _download("application/zip", "decisions.zip")
        response.content_length = length
        if cursor:
            response.headers[NEXT] = cursor
        await response.prepare(call.http)
        try:
            while piece := await call.run(file.read, FILE_CHUNK):
                await response.write(piece)
            await response.write_eof()
        except OSError as error:
            raise _broken(call) from error
        return response


async def take_back(call: Call) -> web.Response:
    """Takes the decision of that id back, so that the gate waits again; 409 when it was applied already."""
    fields = await call.fields()
    step: Callable[..., Gate] = call.store.gates.take_back
    by = call.caller.name or fields["by"]
    gate = await call.run(step, call.path["gate_id"], fields["decision_id"], by, call.where)
    return await call.answer(gate.to_json())


def _write_zip(call: Call, rows: list[Entry], file: IO[bytes]) -> None:
    limit, missing = call.store.settings.max_archive_bytes, []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for row in rows:
            for frame, name in frame_names(row).items():
                try:
                    for path, content in frame_files(call.store.gates, row, frame, call.query["caption"]):
                        archive.writestr(path, content)
                except GateNotFound as error:
                    missing.append(f"{name}: {error.message}\n")
                if file.tell() > limit:
                    raise TooLarge(f"The zip has more than {limit} bytes; ask for fewer with limit", limit=limit)
        if missing:
            archive.writestr("missing.txt", "".join(missing))


def _rows(call: Call) -> Rows:
    query: dict[str, Any] = {name: call.query[name] for name in _FILTER_NAMES if name in call.query}
    if query.get("gate"):
        check_gate_id(query["gate"])
    return Rows(call.store.decisions, call.store.gates.get, Filter(**query), call.query["order"] == "newest")


def _images_since(call: Call) -> int:
    """Milliseconds since the epoch: of a gate that ended before, the images are not kept any more."""
    settings = call.store.settings
    kept = min(settings.keep_images, settings.keep_decided) if settings.store_url else 0
    return int((time.time() - kept) * 1000) + LEEWAY


def _json_lines(rows: list[Entry]) -> bytes:
    return b"".join(json.dumps(row.to_json(), ensure_ascii=False).encode("utf-8", "replace") + b"\n" for row in rows)


def _download(content_type: str, name: str) -> web.StreamResponse:
    response = web.StreamResponse(headers=SAFE_HEADERS)
    response.content_type = content_type
    response.headers["Content-Disposition"] = f'attachment; filename="{quote(name)}"'
    return response


def _broken(call: Call) -> ConnectionResetError:
    """It has begun: an error's JSON would be taken for bytes of the file."""
    if call.http.transport is not None:
        call.http.transport.abort()
    return ConnectionResetError("the export could not be sent to its end")


_TIME = 10**14
_FILTER: tuple[Field, ...] = (
    Field("since", "int", "Milliseconds since the epoch, by the time of logging.", default=0, high=_TIME),
    Field("until", "int", "Milliseconds since the epoch, by the time of logging.", default=0, high=_TIME),
    Field("gate", "text", "Only this gate.", default="", pattern=f"({GATE_ID})?"),
    Field("by", "text", "Only what this person decided.", default=""),
    Field("workflow", "text", "Only gates of this workflow.", default=""),
    Field("instance", "text", "Only gates of this instance.", default=""),
    Field("label", "text", "Only routes of this label.", default=""),
    Field("route", "int", "Only this route.", default=0, high=MAX_ROUTES),
)
_KIND = Field(
    "kind", "text", "decisions (of any kind), all, or one kind of entry.", default="decisions", choices=CHOICES
)
_ORDER = Field("order", "text", "newest first, or oldest first.", default="newest", choices=("newest", "oldest"))
_CURSOR = Field("cursor", "text", "The cursor of the answer before.", default="", pattern="([0-9]{1,15}-[0-9]{1,15})?")
_FILTER_NAMES = (*(field.name for field in _FILTER), _KIND.name)


def _limit(default: int, high: int) -> Field:
    return Field("limit", "int", "Decisions in the answer, at most.", default=default, low=1, high=high)


ROUTES = [
    Route(
        "GET",
        "/gatebus/decisions",
        list_decisions,
        query=(*_FILTER, _KIND, _ORDER, _limit(PAGE, 1000), _CURSOR),
        answer={"decisions": [Entry], "cursor": str, "images_since": int},
    ),
    Route(
        "GET",
        "/gatebus/decisions/export",
        export_decisions,
        query=(*_FILTER, _KIND, _ORDER, Field("format", "text", "jsonl or csv.", default="jsonl", choices=FORMATS)),
        answer="application/x-ndjson, text/csv",
    ),
    Route(
        "GET",
        "/gatebus/decisions/images",
        export_images,
        query=(
            *_FILTER,
            _ORDER,
            Field("caption", "text", "Empty: the text, else the label, else the title.", default="", choices=CAPTIONS),
            _limit(PAGE, 10_000),
            _CURSOR,
        ),
        answer="application/zip",
    ),
    Route(
        "POST",
        "/gatebus/gates/{gate_id}/take-back",
        take_back,
        role="decide",
        body="json",
        fields=(
            Field("decision_id", "text", "The decision's id.", required=True, pattern=DECISION_ID),
            Field("by", "text", "Who takes it back, for people. With a token it is the token's name.", default=""),
        ),
        answer=Gate,
    ),
]
