"""The demonstration, step by step; each promise is checked, and the first broken one ends it."""

from __future__ import annotations

import re
import shlex
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import redis
from PIL import Image

from gates.codec import read_image
from gates.errors import GatebusError
from gates.keys import Keys
from gates.settings import Settings

from ..commands.table import table
from ..embedded import EmbeddedRedis
from .person import Person
from .processes import DemoError, Process, check, say, until
from .samples import draw_samples, paint_mask
from .workflow import BUS, KEEP, LABELS, POOL, REJECT, REPAINT

BY = "the demo"
SETTINGS = Settings()
WAYS = (REPAINT, KEEP, REJECT)
"""The routes that the images take in turn."""


@dataclass(frozen=True)
class Result:
    """A file that came out, and what it must be the same as."""

    file: Path
    original: bytes
    what: str
    """The original, in words."""


def run_demo(images: Sequence[Path], output: Path, keep: bool) -> int:
    """Runs it on the image files (on three that it draws, when there are none); 0 when every promise was kept."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            _run(stack, images, output, keep)
    except (DemoError, GatebusError, HTTPException, OSError) as error:
        say("FAILED", str(error))
        return 1
    except KeyboardInterrupt:
        say("demo", "stopped")
        return 130
    return 0


def _run(stack: ExitStack, images: Sequence[Path], output: Path, keep: bool) -> None:
    files = list(images) or draw_samples(output)
    names = {file.name for file in files}
    check(
        "every image has a name of its own, of at most 200 characters",
        len(names) == len(files) and max(map(len, names)) <= 200,
    )
    say("demo", f"{len(files)} images: {', '.join(file.name for file in files)}")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gatebus-demo-")))

    server = stack.enter_context(EmbeddedRedis(folder / "redis"))
    say("redis", f"answers on {server.url}; {shlex.join(server.command[:1])}, data in {server.folder}")
    person = _start_broker(stack, folder, server)

    workflow = stack.enter_context(
        Process("workflow", "broker.demo.workflow", ["ask", *map(str, files)], _settings(server, folder, "first"))
    )
    gates = _see_gates(person, workflow, files)
    mask, routed = _decide(person, gates)
    workflow.finish()
    _see_ends(person, gates)

    second = stack.enter_context(
        Process("second", "broker.demo.workflow", ["resume", str(output)], _settings(server, folder, "second"))
    )
    say("demo", f"another process (pid {second.pid}) takes up what the first (pid {workflow.pid}) left on the bus")
    second.finish()
    repainted = next(file for file in files if file.name == routed)
    results = [
        Result(output / "resumed.png", repainted.read_bytes(), f"{routed}, as routed"),
        Result(output / "mask.png", mask, "the mask painted at the gate"),
    ]
    results += _see_pool(person, output, files)
    _show_files(results)
    _show_redis(server, gates[0]["id"], results[0].file)
    if keep:
        say("demo", f"Redis and the broker ({person.url}) go on; Ctrl-C ends them")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            say("demo", "ends")


def _settings(server: EmbeddedRedis, folder: Path, name: str) -> dict[str, str]:
    return {"GATEBUS_STORE_URL": server.url, "GATEBUS_INSTANCE": name, "GATEBUS_STATE_DIR": str(folder / name)}


def _start_broker(stack: ExitStack, folder: Path, server: EmbeddedRedis) -> Person:
    broker = stack.enter_context(
        Process("broker", "broker", ["serve", "--port", "0"], _settings(server, folder, "broker"))
    )
    until(lambda: _address(broker) or not broker.alive, "the broker's start")
    url = _address(broker)
    check("the broker starts and says where it answers", url != "")
    return Person(url)


def _address(broker: Process) -> str:
    found = re.search(r"answers on (http://\S+)", "\n".join(broker.lines))
    return found[1] if found else ""


def _see_gates(person: Person, workflow: Process, files: Sequence[Path]) -> list[dict[str, Any]]:
    """The waiting gates, in the order of the files, each seen in its preview."""

    def all_wait() -> bool:
        check("the workflow goes on until its gates are decided", workflow.alive)
        return len(person.get("/gatebus/gates?status=waiting")["gates"]) == len(files)

    until(all_wait, "a gate for every image")
    gates = person.get("/gatebus/gates?status=waiting")["gates"]
    say("person", f"asks what waits: GET /gatebus/gates -> {len(gates)} gates, decided by nobody yet")
    gates.sort(key=lambda gate: [file.name for file in files].index(gate["title"]))
    for gate in gates:
        began = time.monotonic()
        preview = person.get_bytes(f"/gatebus/gates/{gate['id']}/preview")
        took = _milliseconds(began)
        with Image.open(BytesIO(preview)) as shown:
            what = f"{shown.format} of {shown.width} x {shown.height}, {len(preview):,} bytes, {took}"
        say("person", f"sees {gate['title']}, {gate['width']} x {gate['height']}; its preview: {what}")
    return gates


def _decide(person: Person, gates: Sequence[dict[str, Any]]) -> tuple[bytes, str]:
    """Paints a mask on the first image and sends each one another way; (the mask, the title of that image)."""
    first = gates[0]
    mask = paint_mask(first["width"], first["height"])
    status, _ = person.put_png(f"/gatebus/gates/{first['id']}/mask", mask)
    check("a mask of the image's size is taken", status == 200)
    say("person", f"paints a mask on {first['title']}: PUT …/mask, {len(mask):,} bytes -> {status}")
    for number, gate in enumerate(gates):
        route = WAYS[number % len(WAYS)]
        began = time.monotonic()
        status, answer = _route(person, gate, route)
        took = _milliseconds(began)
        check(f"route {route} is taken (the answer was {status}: {answer})", status == 200)
        way = f"route {route} ({LABELS[route - 1]})"
        say("person", f"sends {gate['title']} to {way}: POST …/route -> {status}, {took}")
    status, answer = _route(person, first, REJECT)
    check(f"a second, different decision gets 409 (it got {status})", status == 409)
    say("person", f"changes their mind about {first['title']}: POST …/route -> {status}: {answer['error']['message']}")
    status, _ = _route(person, first, REPAINT)
    check(f"a repeat of the same decision is no error (it got {status})", status == 200)
    say("person", f"clicks the first choice once more: POST …/route -> {status}")
    return mask, first["title"]


def _route(person: Person, gate: dict[str, Any], route: int) -> tuple[int, Any]:
    return person.post(f"/gatebus/gates/{gate['id']}/route", {"route": route, "by": BY})


def _see_ends(person: Person, gates: Sequence[dict[str, Any]]) -> None:
    for gate in gates:
        after = person.get(f"/gatebus/gates/{gate['id']}")
        check(f"{gate['title']} was applied (it is {after['status']})", after["status"] == "applied")
        delay = after["ended"] - after["decision"]["at"]
        say("person", f"sees {gate['title']} applied, {delay} ms after the decision (by Redis' clock)")


def _see_pool(person: Person, output: Path, files: Sequence[Path]) -> list[Result]:
    """Shows the pool and fetches its images."""
    pool = person.get(f"/gatebus/pools/{POOL}")
    kept = [file for number, file in enumerate(files) if WAYS[number % len(WAYS)] != REJECT]
    labels = sorted(slot["label"] for slot in pool["slots"])
    check("the pool holds what was not rejected", labels == sorted(file.name for file in kept))
    (output / "pool").mkdir(exist_ok=True)
    results = []
    for slot in pool["slots"]:
        mark = ", the active one" if slot["file"] == pool["active"] else ""
        say("person", f"sees pool {POOL}: {slot['file']} ({slot['label']}{mark})")
        target = output / "pool" / slot["file"]
        target.write_bytes(person.get_bytes(f"/gatebus/pools/{POOL}/slots/{slot['file']}/image"))
        source = next(file for file in kept if file.name == slot["label"])
        results.append(Result(target, source.read_bytes(), source.name))
    return results


def _show_files(results: Sequence[Result]) -> None:
    rows, wrong = [], []
    for result in results:
        data = result.file.read_bytes()
        pixels = read_image(data, SETTINGS).pixels
        same = np.array_equal(pixels, read_image(result.original, SETTINGS).pixels)
        if not same:
            wrong.append(result.file.name)
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        rows.append((str(result.file), size, f"{len(data):,}", "yes" if same else "NO", result.what))
    print(f"\n{table(('file', 'pixels', 'bytes', 'identical', 'to'), rows)}\n")
    check(f"every file is identical to what went in ({', '.join(wrong)} is not)", not wrong)


def _show_redis(server: EmbeddedRedis, gate_id: str, resumed: Path) -> None:
    """Prints lines for redis-cli, and what they answer."""
    keys = Keys()
    print("The same data by redis-cli (while `gatebus up`, or this with --keep, runs):\n")
    with redis.Redis(port=server.port) as client:
        for words in (
            ("ZRANGE", keys.ended, "0", "-1"),
            ("HMGET", keys.gate(gate_id), "title", "status", "decision_route", "decision_by"),
            ("HMGET", keys.bus(BUS), "version", "width", "height", "image"),
            ("HKEYS", keys.pools),
            ("ZRANGE", keys.pool_order(POOL), "0", "-1"),
        ):
            print(f"$ redis-cli -p {server.port} {shlex.join(words)}")
            for line in _lines(client.execute_command(*words)):
                print(f"  {line}")
        head = f"redis-cli -p {server.port}"
        print(f'$ {head} --raw GET "$({head} HGET {shlex.quote(keys.bus(BUS))} image)" > {BUS}.png')
        png = client.get(client.hget(keys.bus(BUS), "image"))
    stored, written = (read_image(data, SETTINGS).pixels for data in (png, resumed.read_bytes()))
    print(f"  {len(png):,} bytes: a PNG of {stored.shape[1]} x {stored.shape[0]}")
    check(f"Redis holds the image of {resumed} as a PNG that opens anywhere", np.array_equal(stored, written))


def _milliseconds(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f} ms"


def _lines(answer: Any) -> list[str]:
    """What redis-cli prints into a pipe: one item a line."""
    return [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in answer]
