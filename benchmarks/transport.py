"""Publish and load of a bus between two processes, against what the same bytes cost without a store.

Every candidate of a size is measured in turn, in a random order, in the same run:

relay u8   a process that only receives and sends stands between the two; 1 MiB at a time is
           converted to 8 bits, sent, passed on at once, and converted back: what cannot be avoided
held u8    the same, but the process in between has everything before it sends: what a store is
png        RedisBuses, the viewable default
relay f32, held f32, exact   the same with the floats as they are, and the exact format
files      truncate, Pillow PNG level 1, image and mask as two files: what such nodes usually do

The time runs from before the publisher's first conversion to the float32 array in the other
process. The marks are for the ratios to the relay that passes on at once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gates.bus.redis import RedisBuses
from gates.connection import Connection
from gates.events import LocalEvents
from gates.keys import Keys
from gates.pixels import round_into, to_floats
from gates.settings import Settings

Array = NDArray[Any]

BLOCK = 1024 * 1024
SHAPES = [(1, 1024, 1024, 3), (1, 2048, 2048, 3), (8, 1024, 1024, 3), (1, 4096, 4096, 3)]
MARKS = {(1, 4096, 4096, 3): {"png": 2.5, "exact": 2.0}}
"""The most that a ratio may be; 2 where nothing else is said."""
AGAINST = {"png": ("relay u8", "held u8"), "exact": ("relay f32", "held f32"), "files": ("relay u8", "held u8")}


def main() -> None:
    """Runs the benchmark and prints a table for each transport."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 rounds, the unix socket, up to 2048 x 2048")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-files", action="store_true", help="leave out the slow comparison with two files")
    options = parser.parse_args()
    rounds = 5 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as folder:
        for transport in ["unix"] if options.quick else ["unix", "tcp"]:
            with Bench(Path(folder), transport) as bench:
                print(f"\n{transport}: median (minimum) ms of {rounds} rounds")
                for shape in SHAPES[:2] if options.quick else SHAPES:
                    report(shape, bench.measure(shape, rounds, files=not options.no_files))


def report(shape: tuple[int, ...], times: dict[str, list[float]]) -> None:
    """Prints a size's table."""
    print(f"\n{shape[0]} x {shape[1]}²")
    medians = {name: statistics.median(each) for name, each in times.items()}
    for name, each in times.items():
        line = f"  {name:10} {medians[name] * 1000:9.2f} ({min(each) * 1000:.2f})"
        if name in AGAINST:
            streamed, held = (medians[name] / medians[other] for other in AGAINST[name])
            mark = MARKS.get(shape, {}).get(name, 2.0)
            line += f"   {streamed:5.2f}x of the relay, {held:5.2f}x of the one that holds"
            line += "" if name == "files" else f"   (mark {mark:g}: {'met' if streamed <= mark else 'missed'})"
        print(line)


class Bench:
    """A redis-server, a relay and a loader, each a process of its own; this process publishes."""

    def __init__(self, folder: Path, transport: str) -> None:
        self._folder = folder
        self._transport = transport

    def __enter__(self) -> Bench:
        """Starts the processes."""
        port = free_port()
        socket_path = self._folder / f"{self._transport}.sock"
        command = ["redis-server", "--port", str(port), "--unixsocket", str(socket_path), "--save", ""]
        self._server = subprocess.Popen([*command, "--dir", str(self._folder)], stdout=subprocess.DEVNULL)
        url = f"unix://{socket_path}" if self._transport == "unix" else f"redis://127.0.0.1:{port}/0"
        self._buses = open_buses(url)
        wait_for(self._buses.ping)
        spawn = multiprocessing.get_context("spawn")
        address = str(self._folder / f"{self._transport}.relay") if self._transport == "unix" else free_port()
        self._relay = spawn.Process(target=relay, args=(address,), daemon=True)
        self._pipe, other = spawn.Pipe()
        self._loader = spawn.Process(target=loader, args=(address, url, other), daemon=True)
        self._relay.start()
        self._to_relay = connect(address, b"P")
        self._loader.start()
        assert self._pipe.recv() == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the processes."""
        self._pipe.send(None)
        self._to_relay.close()
        self._loader.join(5)
        self._relay.join(5)
        self._server.terminate()
        self._server.wait()

    def measure(self, shape: tuple[int, ...], rounds: int, *, files: bool) -> dict[str, list[float]]:
        """Seconds of every round, by candidate."""
        image = picture(shape)
        candidates: dict[str, Callable[[], float]] = {
            "relay u8": lambda: self._through_relay(image, np.uint8),
            "held u8": lambda: self._through_relay(image, np.uint8, hold=True),
            "png": lambda: self._through_redis(image, "png"),
            "relay f32": lambda: self._through_relay(image, np.float32),
            "held f32": lambda: self._through_relay(image, np.float32, hold=True),
            "exact": lambda: self._through_redis(image, "exact"),
        }
        if files:
            candidates["files"] = lambda: self._through_files(image)
        times: dict[str, list[float]] = {name: [] for name in candidates}
        for number in range(rounds + 1):
            for name in random.sample(list(candidates), len(candidates)):
                elapsed = candidates[name]()
                if number:  # the first round warms up
                    times[name].append(elapsed)
        return times

    def _through_relay(self, image: Array, dtype: Any, *, hold: bool = False) -> float:
        self._pipe.send(("relay", image.shape, np.dtype(dtype).name))
        assert self._pipe.recv() == "waiting"
        start = time.perf_counter()
        flat = image.reshape(-1)
        size = flat.size * np.dtype(dtype).itemsize
        self._to_relay.sendall((b"H" if hold else b"S") + size.to_bytes(8, "big"))
        if dtype is np.uint8:
            buffer = np.empty((BLOCK // 1024, 1024), np.uint8)
            for at in range(0, flat.size, BLOCK):
                block = flat[at : at + BLOCK].reshape(-1, 1024)
                round_into(block, buffer[: len(block)])
                self._to_relay.sendall(buffer[: len(block)].reshape(-1).data)
        else:
            data = flat.view(np.uint8).data
            for at in range(0, len(data), BLOCK):
                self._to_relay.sendall(data[at : at + BLOCK])
        return self._finish(start)

    def _through_redis(self, image: Array, format: str) -> float:
        start = time.perf_counter()
        self._buses.publish("transport", image, None, format=format)
        self._pipe.send(("redis", image.shape, ""))
        elapsed = self._finish(start)
        self._buses.delete("transport")
        # Redis gives the bytes back in the background, which would slow the next candidate down.
        time.sleep(0.05)
        return elapsed

    def _through_files(self, image: Array) -> float:
        folder = self._folder / "files"
        folder.mkdir()
        start = time.perf_counter()
        for number, frame in enumerate(image):
            pixels = (frame * 255.0).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"image{number}.png", compress_level=1)
            mask = np.zeros(frame.shape[:2], np.uint8)
            Image.fromarray(mask).save(folder / f"mask{number}.png", compress_level=1)
        self._pipe.send(("files", image.shape, str(folder)))
        elapsed = self._finish(start)
        shutil.rmtree(folder)
        return elapsed

    def _finish(self, start: float) -> float:
        end, checked = self._pipe.recv()
        assert checked, "what was loaded is not what was published"
        return float(end) - start


def loader(address: str | int, url: str, pipe: Pipe) -> None:
    """The other process: loads what it is told to and answers with the time at which it had the array."""
    from_relay = connect(address, b"L")
    buses = open_buses(url)
    buses.ping()
    expected: dict[tuple[int, ...], Array] = {}
    pipe.send("ready")
    while (order := pipe.recv()) is not None:
        how, shape, detail = order
        if shape not in expected:
            expected = {shape: picture(shape)}
        if how == "relay":
            pipe.send("waiting")
            array = receive(from_relay, shape, detail)
        elif how == "redis":
            array = buses.load("transport").image
        else:
            array = read_files(Path(detail), shape[0])
        end = time.perf_counter()
        error = np.abs(array[:, ::97] - expected[shape][:, ::97]).max()
        pipe.send((end, array.dtype == np.float32 and error < 1.01 / 255))
        del array


def receive(from_relay: socket.socket, shape: tuple[int, ...], dtype: str) -> Array:
    """The floats, converted block by block as they come."""
    size = int.from_bytes(from_relay.recv(8, socket.MSG_WAITALL), "big")
    array = np.empty(shape, np.float32)
    flat = array.reshape(-1)
    if dtype == "uint8":
        buffer = np.empty(BLOCK, np.uint8)
        for at in range(0, size, BLOCK):
            block = buffer[: min(BLOCK, size - at)]
            fill(from_relay, block.data)
            to_floats(block, flat[at : at + len(block)])
    else:
        fill(from_relay, flat.view(np.uint8).data)
    return array


def relay(address: str | int) -> None:
    """Passes what the publisher sends to the loader, as it comes or when it is complete."""
    family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
    with socket.socket(family) as door:
        door.bind(("127.0.0.1", address) if isinstance(address, int) else address)
        door.listen()
        ends = {}
        while len(ends) < 2:
            end, _ = door.accept()
            ends[end.recv(1)] = end
    held = memoryview(bytearray(BLOCK))
    while head := ends[b"P"].recv(9, socket.MSG_WAITALL):
        size = int.from_bytes(head[1:], "big")
        ends[b"L"].sendall(head[1:])
        if head[:1] == b"H":
            held = held if len(held) >= size else memoryview(bytearray(size))
            fill(ends[b"P"], held[:size])
            for at in range(0, size, BLOCK):
                ends[b"L"].sendall(held[at : min(size, at + BLOCK)])
        while head[:1] == b"S" and size:
            received = ends[b"P"].recv_into(held[: min(size, BLOCK)])
            ends[b"L"].sendall(held[:received])
            size -= received


def read_files(folder: Path, frames: int) -> Array:
    """The batch from its files, as ComfyUI loads an image."""
    images = [np.array(Image.open(folder / f"image{n}.png")).astype(np.float32) / 255.0 for n in range(frames)]
    for number in range(frames):
        np.array(Image.open(folder / f"mask{number}.png")).astype(np.float32)
    return np.stack(images)


def picture(shape: tuple[int, ...]) -> Array:
    """A gradient with sensor noise: floats that are no multiples of 1/255."""
    height, width = shape[1:3]
    noise = np.random.default_rng(7).standard_normal(shape, dtype=np.float32) * np.float32(3.4 / 255)
    ramp = np.linspace(0.1, 0.9, width, dtype=np.float32)[None, None, :, None]
    return np.clip(noise + ramp * np.linspace(0.5, 1, height, dtype=np.float32)[None, :, None, None], 0, 1)


def open_buses(url: str) -> RedisBuses:
    """The buses at that URL, as a store opens them; one version is kept, so that memory stays small."""
    settings = Settings(store_url=url, bus_versions=1, version_grace=1.0)
    return RedisBuses(Connection(settings), Keys(), settings, LocalEvents())


def fill(source: socket.socket, view: memoryview) -> None:
    """Receives until the view is full."""
    done = 0
    while done < len(view):
        done += source.recv_into(view[done:])


def connect(address: str | int, name: bytes) -> socket.socket:
    """A connection to the relay, which is told who calls."""
    family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
    end = socket.socket(family)
    wait_for(lambda: end.connect(("127.0.0.1", address) if isinstance(address, int) else address))
    if family == socket.AF_INET:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end.sendall(name)
    return end


def wait_for(step: Callable[[], object]) -> None:
    """Repeats the step until it succeeds, for at most ten seconds."""
    deadline = time.monotonic() + 10
    while True:
        try:
            step()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
