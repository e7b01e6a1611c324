"""The Python client against a real broker, over a socket: its examples, its errors, and that it misses nothing."""

from __future__ import annotations

import doctest
import json
import os
import subprocess
import sys
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from redis_server import RedisServer, free_port

import gatebus
from gatebus.answers import KINDS, error_of, gate_of
from gatebus.following import parse
from gates import codec, errors
from gates.gate.record import Gate, Waiter
from gates.store import open_store
from tests.service.processes import LIMIT, QUICK, ROOT, Command, Studio, until

URL = "http://127.0.0.1:8787"


class Host:
    """A broker in a process of its own, always on the same port."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = ["--url", redis_url, "serve", "--port", str(self.port)]
        self._environ = {"HOME": str(folder), "GATEBUS_TICK": "0.3"}
        self.command: Command | None = None

    def start(self, **environ: str) -> None:
        self.command = Command(self._arguments, {**self._environ, **environ})
        self.command.line(r"http://\S+")

    def kill(self) -> None:
        if self.command is not None and self.command.process.poll() is None:
            self.command.process.kill()
            self.command.process.wait(LIMIT)


@pytest.fixture
def studio(redis_server: RedisServer, tmp_path: Path) -> Iterator[Studio]:
    store = open_store(replace(QUICK, store_url=redis_server.url), tmp_path / "disk", tmp_path / "state")
    yield Studio(store, redis_server.url)
    store.close()


@pytest.fixture
def host(studio: Studio, tmp_path: Path) -> Iterator[Host]:
    host = Host(studio.url, tmp_path / "home")
    host.start()
    yield host
    host.kill()


@pytest.fixture
def client(host: Host) -> Iterator[gatebus.Client]:
    with gatebus.Client(host.url, patience=5) as client:
        yield client


def open_gate(studio: Studio, title: str = "portrait", stored: bool = True, **more: object) -> Waiter:
    """A gate of 64 x 48."""
    batch = np.linspace(0, 1, 48 * 64 * 3, dtype=np.float32).reshape(1, 48, 64, 3)
    more = {"width": 64, "height": 48, "batch": 1, **more}
    gate = Gate(id=f"{time.time_ns():032x}", title=title, **more)  # type: ignore[arg-type]
    waiter = studio.store.gates.open(gate, codec.preview_jpeg(batch))
    if stored:
        waiter.store_image(codec.encode(batch, "png"))
    return waiter


# -- the documentation --------------------------------------------------------------------


def test_the_examples_of_the_docstring_run(studio: Studio, host: Host) -> None:
    open_gate(studio, labels=("keep", "redo"))
    text = (gatebus.__doc__ or "").replace(URL, host.url)
    examples = doctest.DocTestParser().get_doctest(text, {}, "gatebus", None, None)
    assert len(examples.examples) >= 15
    output: list[str] = []
    results = doctest.DocTestRunner().run(examples, out=output.append)
    assert results.failed == 0, "".join(output)


def test_images_are_chosen_and_a_text_goes_on_edited_or_as_it_is(studio: Studio, client: gatebus.Client) -> None:
    batch = open_gate(studio, batch=3, stored=False).gate
    decision = client.route(batch, 1, chosen=[2, 0]).decision
    assert decision is not None
    assert decision.chosen == "0,2"
    for given, passed in (("a dog", "a dog"), ("", ""), (None, "a cat")):
        gate = Gate(id=uuid.uuid4().hex, kind="text", text="a cat", routes=1)
        studio.store.gates.open(gate, b"\xff\xd8preview")
        assert client.gate(gate).text == "a cat"
        decision = client.route(gate, 1, text=given).decision
        assert decision is not None
        assert decision.text == passed


def test_every_name_is_there_and_each_public_method_says_what_it_promises() -> None:
    assert sorted(gatebus.__all__) == gatebus.__all__
    for name in gatebus.__all__:
        assert hasattr(gatebus, name)
    public = [value for name, value in vars(gatebus.Client).items() if not name.startswith("_") and callable(value)]
    assert len(public) >= 20
    assert all(method.__doc__ for method in public)


def test_the_client_imports_neither_torch_nor_the_broker() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import gatebus;"
        " print([name for name in sys.modules if name.split('.')[0] in ('broker', 'aiohttp')])"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "broker" / "client")])}
    answer = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


# -- what waits ---------------------------------------------------------------------------


def test_what_waits_is_listed_and_shown(studio: Studio, client: gatebus.Client) -> None:
    first = open_gate(studio, "one", workflow="portraits")
    open_gate(studio, "two", workflow="landscapes")
    assert [gate.title for gate in client.gates()] == ["one", "two"]
    assert [gate.title for gate in client.gates(workflow="landscapes")] == ["two"]
    assert client.gates("applied") == []
    assert [gate.title for gate in client.gates(words="tw")] == ["two"]
    assert client.gates(bus="cp1") == []
    gate = client.gate(first.gate.id)
    assert gate == client.gates()[0]
    assert gate.layout is not None
    assert gate.layout.shape == (1, 48, 64, 3)


def test_a_wait_ends_at_its_time_and_gives_what_opens_meanwhile(studio: Studio, client: gatebus.Client) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="1 seconds"):
        client.wait_for(timeout=1)
    assert 1 <= time.monotonic() - began < LIMIT / 2
    threading.Timer(0.5, lambda: open_gate(studio, "late")).start()
    assert client.wait_for(timeout=LIMIT).title == "late"
    with pytest.raises(TimeoutError):
        client.wait_for(timeout=0.5, workflow="another")


def test_a_wait_is_over_in_time_although_other_things_happen(studio: Studio, client: gatebus.Client) -> None:
    stopped = threading.Event()

    def busy() -> None:
        while not stopped.wait(0.05):
            studio.store.events.append("bus", "cp1", version=1)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            client.wait_for(timeout=1.5)
        assert time.monotonic() - began < LIMIT / 2
    finally:
        stopped.set()
        thread.join()


def test_a_watch_gives_each_gate_once_and_misses_none_while_brokers_die(studio: Studio, host: Host) -> None:
    titles = [f"gate {number}" for number in range(30)]
    given: list[str] = []

    def watch() -> None:
        with gatebus.Client(host.url, patience=1) as client:
            for gate in client.watch(timeout=4 * LIMIT):
                given.append(gate.title)
                client.route(gate, 1)
                if len(given) == len(titles):
                    return

    def watch_over_outages() -> None:
        # A decision may meet the dead broker for longer than the client's patience; what it had
        # taken up it is then given again.
        while len(given) < len(titles):
            try:
                watch()
            except gatebus.Unreachable:
                given.pop()

    for title in titles[:5]:
        open_gate(studio, title)
    thread = threading.Thread(target=watch_over_outages, daemon=True)
    thread.start()
    until(lambda: len(given) >= 5, "the first gates")
    waiters = []
    for start in (5, 15):
        host.kill()
        waiters += [open_gate(studio, title, stored=False) for title in titles[start : start + 5]]
        host.start()
        waiters += [open_gate(studio, title, stored=False) for title in titles[start + 5 : start + 10]]
    waiters += [open_gate(studio, title, stored=False) for title in titles[25:]]
    until(lambda: len(given) == len(titles), f"every gate, of which there are {len(given)}")
    thread.join(LIMIT)
    assert sorted(given) == sorted(titles)
    assert all(waiter.wait(LIMIT) for waiter in waiters)


def test_a_watch_outlives_a_redis_that_comes_back(own_redis: RedisServer, tmp_path: Path) -> None:
    store = open_store(replace(QUICK, store_url=own_redis.url), tmp_path / "disk", tmp_path / "state")
    host = Host(own_redis.url, tmp_path / "home")
    host.start()
    given: list[str] = []

    def watch() -> None:
        with gatebus.Client(host.url, patience=1) as client:
            given.extend(gate.title for gate in iter_two(client))

    def iter_two(client: gatebus.Client) -> Iterator[gatebus.Gate]:
        for gate in client.watch(timeout=4 * LIMIT):
            yield gate
            if gate.title == "after":
                return

    try:
        studio = Studio(store, own_redis.url)
        open_gate(studio, "before", stored=False)
        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        until(lambda: given == ["before"], "the first gate")
        own_redis.kill()
        time.sleep(2)
        own_redis.start()
        open_gate(studio, "after", stored=False)
        until(lambda: given == ["before", "after"], f"the second gate in {given}")
        thread.join(LIMIT)
    finally:
        host.kill()
        store.close()


def test_a_line_separator_in_a_title_does_not_break_the_stream(studio: Studio, client: gatebus.Client) -> None:
    title = "one\u2028two\u0085three"
    open_gate(studio, title)
    assert client.wait_for(timeout=LIMIT).title == studio.store.gates.records()[0].title
    assert "\u2028" in client.wait_for(timeout=LIMIT).title


def test_a_stream_is_read_alike_however_it_is_cut() -> None:
    stream = (
        b'retry: 2000\n\n: still here\n\nid: e.1\nevent: gate\ndata: {"id":\ndata: 1}\n\n'
        b"event: status\r\ndata: \xe2\x80\xa8\r\n\r\nid: e.2\nevent: gate\ndata: {}\n\nevent: gate\ndata: cut off"
    )
    whole = list(parse(iter([stream])))
    assert [(message.cursor, message.type, message.data) for message in whole] == [
        ("e.1", "gate", b'{"id":\n1}'),
        ("", "status", "\u2028".encode()),
        ("e.2", "gate", b"{}"),
    ]
    for step in (1, 2, 3, 7):
        assert list(parse(stream[i : i + step] for i in range(0, len(stream), step))) == whole


# -- deciding -----------------------------------------------------------------------------


def test_a_mask_may_be_of_pillow_bytes_or_a_file(studio: Studio, client: gatebus.Client, tmp_path: Path) -> None:
    painted = Image.new("L", (64, 48), 0)
    painted.paste(255, (10, 10, 20, 20))
    target = BytesIO()
    painted.save(target, "PNG")
    path = tmp_path / "mask.png"
    path.write_bytes(target.getvalue())
    for mask in (painted, target.getvalue(), path, str(path)):
        waiter = open_gate(studio)
        assert client.mask(waiter.gate) is None
        client.set_mask(waiter.gate.id, mask)
        seen = client.mask(waiter.gate)
        assert seen is not None
        assert seen.tobytes() == painted.tobytes()
        client.set_mask(waiter.gate, None)
        assert client.mask(waiter.gate) is None
        client.route(waiter.gate, 1, mask=mask, by="anna")
        assert waiter.wait(LIMIT) is not None
        png = waiter.mask()
        assert png is not None
        assert codec.decode_png(png).reshape(48, 64).tobytes() == painted.tobytes()


def test_what_is_refused_decides_nothing(studio: Studio, client: gatebus.Client) -> None:
    waiter = open_gate(studio)
    with pytest.raises(gatebus.InvalidImage, match="8 x 8"):
        client.route(waiter.gate, 1, mask=Image.new("L", (8, 8)))
    with pytest.raises(gatebus.InvalidImage):
        client.route(waiter.gate, 1, mask=b"no image")
    with pytest.raises(gatebus.InvalidInput, match="can't be read"):
        client.route(waiter.gate, 1, mask="/no/such/mask.png")
    for number in (0, 3, 11):
        with pytest.raises(gatebus.InvalidInput):
            client.route(waiter.gate, number)
    with pytest.raises(gatebus.InvalidName):
        client.gate("../status")
    with pytest.raises(gatebus.GateNotFound):
        client.route("0" * 32, 1)
    assert client.gate(waiter.gate).decision is None


def test_a_parked_gate_is_decided_followed_and_run_again(studio: Studio, client: gatebus.Client) -> None:
    gate = studio.park_gate("cover", workflow="flux").gate
    assert [each.id for each in client.gates("parked")] == [gate.id]
    assert client.wait_for(timeout=10).id == gate.id
    assert client.route(gate, 2, text="dark").run == "pending"
    with pytest.raises(TimeoutError, match="The run is pending"):
        client.run_of(gate, timeout=0.3)
    threading.Timer(0.3, studio.run, (gate.id, "KSampler: no memory")).start()
    failed = client.run_of(gate, timeout=LIMIT)
    assert (failed.run, failed.run_error) == ("failed", "KSampler: no memory")
    assert [each.id for each in client.gates(run="failed")] == [gate.id]
    fresh = client.again(failed, by="ben", decision_id="once")
    assert fresh.decision is not None
    assert (fresh.of, fresh.decision.route, fresh.decision.text) == (gate.id, 2, "dark")
    assert client.again(failed, by="ben", decision_id="once").id == fresh.id
    studio.run(fresh.id)
    assert client.run_of(fresh).run == "done"
    other = client.again(fresh, 1, text="", chosen=[0]).decision
    assert other is not None
    assert (other.route, other.text, other.chosen) == (1, "", "0")
    with pytest.raises(gatebus.Conflict, match="waits on this gate"):
        client.park(studio.kept_gate().gate)


def test_a_gate_that_has_ended_and_one_that_is_cancelled(studio: Studio, client: gatebus.Client) -> None:
    waiter = open_gate(studio)
    assert client.cancel(waiter.gate, by="anna").decision is not None
    decision = waiter.wait(LIMIT)
    assert decision is not None
    assert (decision.kind, decision.by) == ("cancel", "anna")
    ended = open_gate(studio)
    ended.close("interrupted")
    until(lambda: client.gate(ended.gate).status == "cancelled", "the end")
    with pytest.raises(gatebus.GateClosed) as refused:
        client.route(ended.gate, 1)
    assert refused.value.details["outcome"] == "interrupted"


def test_a_decision_is_taken_back_while_nobody_carried_it_out(studio: Studio, client: gatebus.Client) -> None:
    waiter = open_gate(studio)
    with pytest.raises(gatebus.InvalidInput):
        client.take_back(waiter.gate)
    decided = client.route(waiter.gate, 1)
    assert client.take_back(decided, by="anna").decision is None
    assert client.wait_for(timeout=LIMIT).id == waiter.gate.id
    assert client.route(waiter.gate, 2).decision is not None
    until(lambda: waiter.decision is not None and waiter.decision.route == 2, "the second decision")
    waiter.apply()
    with pytest.raises(gatebus.Conflict):
        client.take_back(waiter.gate.id)


def test_an_image_that_still_follows_is_waited_for(studio: Studio, client: gatebus.Client) -> None:
    waiter = open_gate(studio, stored=False)
    batch = np.zeros((2, 48, 64, 3), np.float32)
    with pytest.raises(gatebus.GateNotFound):
        client.image(waiter.gate, timeout=0.3)
    threading.Timer(0.5, lambda: waiter.store_image(codec.encode(batch, "png"))).start()
    assert client.image(waiter.gate, 1, timeout=LIMIT).getextrema() == ((0, 0),) * 3


class Lossy(httpx.BaseTransport):
    """The network, which loses the answers to the first calls of the method: they are done, but nobody is told."""

    def __init__(self, method: str, losses: int) -> None:
        self.below = httpx.HTTPTransport()
        self.method = method
        self.losses = losses
        self.sent: list[bytes] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self.below.handle_request(request)
        if request.method == self.method:
            self.sent.append(request.read())
            if len(self.sent) <= self.losses:
                response.read()
                response.close()
                raise httpx.ReadError("the answer is lost", request=request)
        return response

    def close(self) -> None:
        self.below.close()


def test_a_decision_whose_answer_is_lost_is_repeated_under_its_id(studio: Studio, host: Host) -> None:
    waiter = open_gate(studio)
    network = Lossy("POST", 2)
    with gatebus.Client(host.url, transport=network) as client:
        gate = client.route(waiter.gate, 2, by="anna")
    assert len(network.sent) == 3
    assert {json.loads(body)["decision_id"] for body in network.sent} == {gate.decision.id if gate.decision else ""}


def test_what_is_not_harmless_is_not_repeated(studio: Studio, host: Host) -> None:
    network = Lossy("PUT", 9)
    with gatebus.Client(host.url, transport=network) as client, pytest.raises(gatebus.Unreachable, match="is lost"):
        client.publish("cp1", Image.new("RGB", (8, 8)))
    assert len(network.sent) == 1
    assert [head.version for head in studio.store.buses.versions("cp1")] == [1]


# -- buses and pools ----------------------------------------------------------------------


def test_what_is_published_comes_back_bit_for_bit(client: gatebus.Client, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    image = Image.fromarray(generator.integers(0, 256, (48, 64, 3), np.uint8))
    mask = Image.fromarray(generator.integers(0, 256, (48, 64), np.uint8))
    head = client.publish("größe", image, mask, label="κ")
    assert (head.version, head.mask, head.channels, head.meta.label) == (1, True, 3, "κ")
    painted = client.bus_mask("größe")
    assert painted is not None
    assert client.bus_image("größe").tobytes() == image.tobytes()
    assert painted.tobytes() == mask.tobytes()

    image.save(tmp_path / "image.png")
    assert client.publish("größe", tmp_path / "image.png").version == 2
    assert client.bus_mask("größe") is None
    assert client.bus("größe@-1") == head
    assert client.bus_mask("größe@1") is not None
    see_through = Image.new("RGBA", (64, 48), (1, 2, 3, 128))
    assert client.publish("größe", see_through).channels == 4
    with pytest.raises(gatebus.InvalidImage, match="alpha"):
        client.publish("größe", see_through, mask)
    with pytest.raises(gatebus.InvalidImage, match="8 x 8"):
        client.publish("größe", image, Image.new("L", (8, 8)))
    with pytest.raises(gatebus.BusNotFound):
        client.bus_image("größe@9")
    with pytest.raises(gatebus.BusNotFound):
        client.bus_mask("nothing")
    with pytest.raises(gatebus.InvalidName):
        client.bus_image("a/b")


def test_a_pool_is_filled_read_and_exported(client: gatebus.Client, tmp_path: Path) -> None:
    for number in range(3):
        slot = client.add_to_pool("faces", Image.new("RGB", (8, 6), (number, 0, 0)), label=f"face {number}")
        assert (slot.file, slot.label) == (f"img_{number + 1:04d}.png", f"face {number}")
    manifest = client.pool("faces")
    assert manifest.files == ("img_0001.png", "img_0002.png", "img_0003.png")
    assert client.pool_image("faces", "img_0002.png").getpixel((0, 0)) == (1, 0, 0)
    target = tmp_path / "faces.zip"
    assert client.export_pool("faces", target) == target.stat().st_size
    with zipfile.ZipFile(target) as archive:
        assert sorted(archive.namelist()) == [*manifest.files, "manifest.json"]
    with pytest.raises(gatebus.PoolNotFound):
        client.export_pool("nobody", tmp_path / "nobody.zip")
    assert [file.name for file in tmp_path.glob("*.zip*")] == ["faces.zip"]
    with pytest.raises(gatebus.SlotNotFound):
        client.pool_image("faces", "img_0009.png")


# -- errors -------------------------------------------------------------------------------


def test_every_error_of_the_api_has_its_class() -> None:
    def tree(kind: type[errors.GatebusError]) -> Iterator[type[errors.GatebusError]]:
        yield kind
        for below in kind.__subclasses__():
            yield from tree(below)

    for kind in (each for each in tree(errors.GatebusError) if each.__module__ == errors.__name__):
        given = kind("a text", low=1)
        answer = httpx.Response(kind.status, json=given.to_json(), request=httpx.Request("GET", URL))
        error = error_of(answer)
        assert type(error) is kind is KINDS[kind.type]
        assert error.to_json() == given.to_json()


def test_a_newer_server_is_understood_as_far_as_it_goes() -> None:
    request = httpx.Request("GET", URL)
    newer = {"error": {"type": "of_tomorrow", "message": "no", "details": {"message": 1, "self": 2}}}
    for status, kind in ((409, gatebus.Conflict), (404, gatebus.NotFound), (418, gatebus.GatebusError)):
        error = error_of(httpx.Response(status, json=newer, request=request))
        assert type(error) is kind
        assert error.details == {"message": 1, "self": 2}
    assert gate_of({"id": "0" * 32, "labels": ["a"], "of_tomorrow": 1}).labels == ("a",)
    with pytest.raises(gatebus.Unexpected):
        gate_of({"of_tomorrow": 1})


def test_tokens_are_asked_for_and_their_roles_count(studio: Studio, tmp_path: Path) -> None:
    # SHA-256 of "open sesame".
    digest = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb"
    host = Host(studio.url, tmp_path / "home")
    host.start(GATEBUS_TOKENS=f"decide:anna:{digest}")
    try:
        waiter = open_gate(studio)
        with gatebus.Client(host.url) as client:
            for call in (client.gates, client.wait_for):
                with pytest.raises(gatebus.Unauthorized):
                    call()
        with gatebus.Client(host.url, token="open sesame") as client:
            gate = client.route(client.wait_for(timeout=LIMIT), 1, by="somebody else")
            assert gate.decision is not None
            assert gate.decision.by == "anna"
        assert waiter.wait(LIMIT) is not None
    finally:
        host.kill()


def test_a_server_that_is_not_there_or_another_one_is_an_error_of_its_own() -> None:
    with pytest.raises(gatebus.InvalidInput):
        gatebus.Client("127.0.0.1:8787")
    with gatebus.Client(f"http://127.0.0.1:{free_port()}", patience=0.5) as client:
        calls: list[Callable[[], object]] = [client.gates, client.wait_for, lambda: client.publish("a", b"x")]
        for call in calls:
            with pytest.raises(gatebus.Unreachable, match="does not answer"):
                call()
    for answer, kind in (
        (httpx.Response(404, text="404: Not Found"), gatebus.Unexpected),
        (httpx.Response(200, text="<html>"), gatebus.Unexpected),
        (httpx.Response(502, text="Bad Gateway"), gatebus.Unreachable),
    ):
        transport = httpx.MockTransport(lambda _, answer=answer: answer)
        with gatebus.Client(URL, transport=transport, patience=0.3) as client, pytest.raises(kind):
            client.gates()


def test_a_server_below_a_path_is_reached_there() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url.copy_with(query=None)))
        return httpx.Response(200, json={"buses": []})

    for url in ("http://farm.example/comfy", "http://farm.example/comfy/"):
        with gatebus.Client(url, transport=httpx.MockTransport(answer)) as client:
            client.buses()
    assert set(seen) == {"http://farm.example/comfy/gatebus/buses"}
