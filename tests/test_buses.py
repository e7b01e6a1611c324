"""What every bus store promises, held by the disk, fakeredis, a real Redis, a cluster and the mirrored pair."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import redis
from bus_world import World, answers, check_unmixed, flat, noise, rounded, until
from PIL import Image
from redis_server import find_redis_server, free_port, require_redis_server

from gates import codec
from gates.bus.record import BusMeta, BusStore, parse_bus_reference
from gates.errors import BusNotFound, GatebusError, InvalidImage, InvalidInput, InvalidName, TooLarge
from gates.pixels import to_pixels

KINDS = ["disk", "fakeredis", "redis", "cluster", "mirrored"]
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of one node: every key must still be of the slot of its step."""
    require_redis_server()
    # The nodes' own port is 10000 above.
    port = free_port()
    folder = tmp_path_factory.mktemp("cluster")
    command = [find_redis_server(), "--port", str(port), "--cluster-enabled", "yes", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port)
        until(lambda: answers(client))
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        until(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"))
        client.close()
        yield f"redis+cluster://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    kind = request.param
    url = ""
    if kind in ("redis", "mirrored"):
        url = request.getfixturevalue("redis_server").url
    if kind == "cluster":
        url = request.getfixturevalue("cluster_url")
        redis.Redis(port=int(url.rpartition(":")[2])).flushall()
    return World(kind, tmp_path / "gate_bus", url)


@pytest.fixture
def buses(world: World) -> BusStore:
    return world.open()


# -- publish and load -----------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["stored", "fast", "small"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_batch_comes_back_with_its_mask_and_its_head(world, channels, compression):
    buses = world.open(compression=compression)
    image, mask = noise(3, 40, 50, channels), noise(3, 40, 50, seed=1)
    head = buses.publish("cp1", image, mask, meta=BusMeta("studio", "portrait", "take 3"))
    assert (head.name, head.version, head.format, head.mask) == ("cp1", 1, "png", True)
    assert (head.frames, head.height, head.width, head.channels) == (3, 40, 50, channels)
    assert head.meta == BusMeta("studio", "portrait", "take 3")
    assert abs(head.published - time.time() * 1000) < 60_000
    content = world.open().load("cp1")
    assert content.head == head == buses.head("cp1")
    assert content.image.dtype == np.float32
    assert content.mask is not None
    assert content.mask.dtype == np.float32
    assert (content.image == rounded(image)).all()
    assert (content.mask == rounded(mask)).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_exact_format_returns_the_identical_array(buses, dtype):
    image = (noise(2, 90, 1500, 3) * 3 - 1).astype(dtype)
    mask = noise(2, 90, 1500, seed=1)
    buses.publish("cp1", image, mask, format="exact")
    content = buses.load("cp1")
    assert content.image.dtype == dtype
    assert content.image.tobytes() == image.tobytes()
    assert content.mask.tobytes() == mask.tobytes()


@pytest.mark.parametrize("format", ["png", "exact"])
def test_a_mask_is_optional(buses, format):
    head = buses.publish("cp1", noise(1, 8, 9, 3), None, format=format)
    assert not head.mask
    assert buses.load("cp1").mask is None
    with pytest.raises(BusNotFound, match="no mask"):
        buses.mask_frame("cp1", 0)


@pytest.mark.parametrize("format", ["png", "exact"])
def test_an_image_of_many_pieces_comes_back(buses, format):
    image, mask = noise(2, 1100, 700, 3), noise(2, 1100, 700, seed=1)
    buses.publish("cp1", image, mask, format=format)
    content = buses.load("cp1")
    assert (content.image == (image if format == "exact" else rounded(image))).all()
    assert (content.mask == (mask if format == "exact" else rounded(mask))).all()


@pytest.mark.parametrize("format", ["png", "exact"])
def test_a_frame_is_a_png_that_every_viewer_opens(buses, format):
    image, mask = noise(3, 300, 500, 3), noise(3, 300, 500, seed=1)
    buses.publish("cp1", image, mask, format=format)
    for number in range(3):
        assert buses.frame("cp1", number) == codec.encode_png(image[number])
        pixels = np.asarray(Image.open(BytesIO(buses.mask_frame("cp1", number))))
        assert (pixels == to_pixels(mask[number])).all()
    for number in (-1, 3):
        with pytest.raises(BusNotFound, match="no frame"):
            buses.frame("cp1", number)


def test_metadata_is_cleaned_and_keeps_every_script(buses):
    head = buses.publish("cp1", noise(1, 4, 4, 3), None, meta=BusMeta("a\u202eb\x00", "Porträt 肖像", '"<b>&{}\n'))
    assert head.meta == BusMeta("ab", "Porträt 肖像", '"<b>&{}\n')
    assert buses.head("cp1").meta == head.meta


@pytest.mark.parametrize("name", ["Straße", "肖像_1", "a.b-c_D", "x" * 64])
def test_names_of_any_script_are_accepted(buses, name):
    buses.publish(name, noise(1, 4, 4, 3), None)
    assert buses.load(name).head.name == name
    assert [head.name for head in buses.heads()] == [name]


# -- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", "a\\b", "{a}", "con", "a b", "x" * 65, "a\x00", None, 1]
)
def test_other_names_are_refused_everywhere_and_nothing_is_written(world, name):
    buses = world.open()
    before = world.content()
    image = noise(1, 4, 4, 3)
    calls: list[Callable[[], object]] = [
        lambda: buses.publish(name, image, None),
        lambda: buses.load(name),
        lambda: buses.head(name),
        lambda: buses.frame(name, 0),
        lambda: buses.mask_frame(name, 0),
        lambda: buses.versions(name),
        lambda: buses.delete(name),
    ]
    for call in calls:
        with pytest.raises(InvalidName):
            call()
    assert [entry for entry in world.content() if ".catch-up" not in entry] == before


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"image": noise(4, 4, 3)}, InvalidImage),
        ({"image": noise(1, 4, 4, 2)}, InvalidImage),
        ({"image": noise(1, 0, 4, 3)}, InvalidImage),
        ({"image": np.zeros((1, 4, 4, 3), np.int64)}, InvalidImage),
        ({"mask": noise(1, 4, 5)}, InvalidImage),
        ({"mask": noise(2, 4, 4)}, InvalidImage),
        ({"mask": noise(1, 4, 4, 1)}, InvalidImage),
        ({"mask": np.zeros((1, 4, 4), np.uint8)}, InvalidImage),
        ({"format": "jpeg"}, InvalidInput),
        ({"meta": BusMeta(label="x" * 201)}, TooLarge),
        ({"meta": BusMeta(label=5)}, InvalidInput),
        ({"image": noise(5, 4, 4, 3)}, TooLarge),
    ],
)
def test_what_is_no_batch_is_refused_and_nothing_is_written(world, change, error):
    buses = world.open(max_frames=4)
    head = buses.publish("cp1", *flat(7))
    before = world.content()
    given = {"image": noise(1, 4, 4, 3), "mask": None, "format": "png", "meta": BusMeta(), **change}
    with pytest.raises(error):
        buses.publish("cp1", given["image"], given["mask"], format=given["format"], meta=given["meta"])
    assert world.content() == before
    assert buses.head("cp1") == head


def test_what_was_never_published_is_not_found(buses):
    calls: list[Callable[[], object]] = [
        lambda: buses.load("cp1"),
        lambda: buses.load("cp1", 1),
        lambda: buses.load("cp1", -1),
        lambda: buses.head("cp1"),
        lambda: buses.frame("cp1", 0),
        lambda: buses.mask_frame("cp1", 0),
        lambda: buses.versions("cp1"),
        lambda: buses.delete("cp1"),
        lambda: buses.delete("cp1", 1),
    ]
    for call in calls:
        with pytest.raises(BusNotFound):
            call()
    assert buses.heads() == []


# -- versions -------------------------------------------------------------------------------


def test_the_latest_wins_and_the_versions_before_it_are_kept(buses):
    heads = [buses.publish("cp1", *flat(value)) for value in (10, 20, 30)]
    assert [head.version for head in heads] == [1, 2, 3]
    assert buses.versions("cp1") == heads[::-1]
    for version, value in ((None, 30), (-1, 20), (-2, 10), (1, 10), (2, 20), (3, 30)):
        content = buses.load("cp1", version)
        assert (to_pixels(content.image) == value).all()
        assert (to_pixels(content.mask) == value).all()
        assert buses.head("cp1", version) == content.head
        assert buses.frame("cp1", 0, version) == codec.encode_png(flat(value)[0][0])
    for version in (-3, 4):
        with pytest.raises(BusNotFound):
            buses.load("cp1", version)


def test_a_reference_names_a_version():
    assert parse_bus_reference("cp1") == ("cp1", None)
    assert parse_bus_reference("cp1@-1") == ("cp1", -1)
    assert parse_bus_reference("cp1@12") == ("cp1", 12)
    for reference in ("cp1@", "cp1@0", "cp1@x", "cp1@-0", "cp1@1.5", "cp1@1@2", "@1", "a/b@1"):
        with pytest.raises(InvalidName):
            parse_bus_reference(reference)


def test_only_the_last_versions_are_kept_and_dropped_ones_stay_for_the_grace(world):
    buses = world.open(bus_versions=2, version_grace=1.0)
    for value in (10, 20, 30):
        buses.publish("cp1", *flat(value))
    assert [head.version for head in buses.versions("cp1")] == [3, 2]
    assert (to_pixels(buses.load("cp1", 1).image) == 10).all()

    def gone() -> bool:
        try:
            buses.load("cp1", 1)
        except BusNotFound:
            return True
        return False

    until(gone)
    buses.publish("cp1", *flat(40))
    left = [entry for entry in world.content() if "versions/1/" in entry or ":1:" in entry]
    assert left == []


def test_a_smaller_number_of_versions_takes_effect_with_the_next_publish(world):
    many = world.open(bus_versions=6)
    for value in range(6):
        many.publish("cp1", *flat(value))
    few = world.open(bus_versions=2)
    few.publish("cp1", *flat(99))
    assert [head.version for head in few.versions("cp1")] == [7, 6]


def test_the_digest_tells_whether_the_content_is_the_same(buses):
    image, mask = flat(10)
    digest = buses.publish("cp1", image, mask).digest
    assert buses.publish("cp1", image, mask).digest == digest
    other = image.copy()
    other[0, 3, 3, 1] = 0.5
    digests = {digest, buses.publish("cp1", other, mask).digest, buses.publish("cp1", image, None).digest}
    digests |= {buses.publish("cp1", image, 1 - mask).digest, buses.publish("cp1", image, mask, format="exact").digest}
    assert len(digests) == 5


# -- lists and deleting ---------------------------------------------------------------------


def test_every_bus_is_listed_by_its_newest_version_last_published_first(buses):
    for name in ("a", "b", "c", "a"):
        buses.publish(name, noise(1, 4, 4, 3), None)
        time.sleep(0.003)
    assert [(head.name, head.version) for head in buses.heads()] == [("a", 2), ("c", 1), ("b", 1)]
    assert buses.heads()[0] == buses.head("a")


def test_a_deleted_bus_is_gone_and_its_numbers_are_not_used_again(world):
    buses = world.open(bus_versions=2)
    for value in (10, 20, 30):
        buses.publish("cp1", *flat(value))
    buses.publish("other", *flat(1))
    buses.delete("cp1")
    for version in (None, -1, 1, 2, 3):
        with pytest.raises(BusNotFound):
            buses.load("cp1", version)
    with pytest.raises(BusNotFound):
        buses.delete("cp1")
    assert [head.name for head in buses.heads()] == ["other"]
    assert buses.publish("cp1", *flat(40)).version > 3
    assert (to_pixels(buses.load("cp1").image) == 40).all()
    with pytest.raises(BusNotFound):
        buses.load("cp1", -1)


def test_deleting_the_newest_version_makes_the_one_before_it_the_newest(buses):
    for value in (10, 20, 30, 40):
        buses.publish("cp1", *flat(value))
    buses.delete("cp1", 2)
    buses.delete("cp1", 4)
    assert [head.version for head in buses.versions("cp1")] == [3, 1]
    assert (to_pixels(buses.load("cp1").image) == 30).all()
    assert buses.heads()[0].version == 3
    buses.delete("cp1", -1)
    assert [head.version for head in buses.versions("cp1")] == [3]
    with pytest.raises(BusNotFound):
        buses.delete("cp1", 1)
    buses.delete("cp1", 3)
    with pytest.raises(BusNotFound):
        buses.load("cp1")
    assert buses.heads() == []


def test_publishing_and_deleting_are_told(world):
    buses = world.open()
    cursor = world.events.cursor()
    buses.publish("cp1", *flat(1))
    buses.delete("cp1")
    told = [(event.type, event.id, event.data.get("deleted", False)) for event in world.events.since(cursor) or []]
    assert told == [("bus", "cp1", False), ("bus", "cp1", True)]


# -- at the same time -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("format", ["png", "exact"])
def test_readers_never_see_a_mixture_while_three_publish(world, format):
    each, frames = 12, 2
    world.open().publish("cp1", *flat(0), meta=BusMeta(label="0"))
    numbers: list[int] = []
    errors: list[BaseException] = []
    seen: list[int] = []
    done = threading.Event()

    def publish(first: int) -> None:
        buses = world.open(bus_versions=2, version_grace=1.0)
        for value in range(first, first + each):
            meta = BusMeta(label=str(value))
            numbers.append(buses.publish("cp1", *flat(value, frames, 60), format=format, meta=meta).version)

    def read() -> None:
        buses = world.open()
        last = 0
        while not done.is_set():
            head = check_unmixed(buses)
            assert head.version >= last, "the newest version went back"
            last = head.version
            seen.append(last)

    def run(step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException as error:
            errors.append(error)

    readers = [threading.Thread(target=run, args=(read,)) for _ in range(2)]
    writers = [threading.Thread(target=run, args=(lambda first=first: publish(first),)) for first in (1, 80, 160)]
    for thread in readers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert errors == []
    assert sorted(numbers) == list(range(2, 2 + 3 * each))
    assert len(set(seen)) > 3
    assert check_unmixed(world.open()).version == 1 + 3 * each


PUBLISHER = """
import sys
import numpy as np
from pathlib import Path
from gates.bus.disk import DiskBuses
from gates.bus.record import BusMeta
from gates.bus.redis import RedisBuses
from gates.connection import Connection
from gates.events import LocalEvents
from gates.keys import Keys
from gates.settings import Settings
folder, url, first, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
settings = Settings(store_url=url, bus_versions=2, version_grace=5.0)
buses = RedisBuses(Connection(settings), Keys(), settings, LocalEvents()) if url else DiskBuses(Path(folder), settings)
for value in range(first, first + count):
    image = np.full((2, 60, 60, 3), value / 255, np.float32)
    print(buses.publish("cp1", image, image[..., 0], meta=BusMeta(label=str(value))).version, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("world", ["disk", "redis"], indirect=True)
def test_two_processes_publish_and_nothing_is_mixed_or_lost(world):
    world.open().publish("cp1", *flat(0), meta=BusMeta(label="0"))
    command = [sys.executable, "-c", PUBLISHER, str(world.folder), world.url]
    processes = [subprocess.Popen([*command, first, "25"], cwd=ROOT, stdout=subprocess.PIPE) for first in ("1", "100")]
    buses, last, loads = world.open(), 0, 0
    while any(process.poll() is None for process in processes):
        head = check_unmixed(buses)
        assert head.version >= last
        last, loads = head.version, loads + 1
    numbers = [int(line) for process in processes for line in process.communicate()[0].split()]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(numbers) == list(range(2, 52))
    assert loads > 20
    assert check_unmixed(buses).version == 51


@pytest.mark.slow
def test_deleting_meanwhile_gives_not_found_or_a_whole_version(world):
    stop = threading.Event()
    errors: list[BaseException] = []

    def delete() -> None:
        buses = world.open()
        while not stop.is_set():
            try:
                buses.delete("cp1")
            except BusNotFound:
                time.sleep(0.001)
            except GatebusError as error:
                errors.append(error)

    def read() -> None:
        buses = world.open()
        while not stop.is_set():
            try:
                check_unmixed(buses)
            except BusNotFound:
                time.sleep(0.001)
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=step) for step in (delete, read, read)]
    for thread in threads:
        thread.start()
    buses = world.open()
    numbers = [buses.publish("cp1", *flat(value), meta=BusMeta(label=str(value))).version for value in range(40)]
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert numbers == sorted(set(numbers))
