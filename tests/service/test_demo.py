"""The demonstration, as the process that a person starts."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import redis
from PIL import Image

from tests.service.processes import Command, image_file


def files_in(lines: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """File -> (pixels, bytes, identical) of the table that the demonstration prints."""
    rows = (re.match(r"^(\S+) +(\d+ x \d+) +([\d,]+) +(yes|NO) ", line) for line in lines)
    return {row[1]: (row[2], row[3], row[4]) for row in rows if row}


@pytest.mark.slow
def test_the_demonstration_keeps_its_promises(
    tmp_path: Path, start: Callable[..., Command], needs_redis_server: None
) -> None:
    output = tmp_path / "out"
    # A developer's own settings must not lead it astray.
    command = start("demo", "--output", str(output), GATEBUS_STORE_URL="redis://127.0.0.1:1/0", GATEBUS_NAMESPACE="x")
    assert command.process.wait(120) == 0, command.lines
    text = "\n".join(command.lines)
    for fact in (
        "waits at gate",
        "-> 409",
        "takes route 2 (repaint)",
        "published on bus demo",
        "pool demo",
        "redis-cli",
    ):
        assert fact in text
    files = files_in(command.lines)
    assert len(files) == 4
    assert {identical for _, _, identical in files.values()} == {"yes"}
    with Image.open(output / "resumed.png") as resumed, Image.open(output / "sample-dawn.png") as sample:
        assert resumed.size == (1024, 768)
        assert resumed.tobytes() == sample.tobytes()
    with Image.open(output / "mask.png") as mask:
        assert mask.getextrema() == (0, 255)


@pytest.mark.slow
def test_the_demonstration_takes_photos_of_any_kind(
    tmp_path: Path, start: Callable[..., Command], needs_redis_server: None
) -> None:
    upright = Image.Exif()
    upright[0x0112] = 6
    Image.new("RGB", (90, 60), (10, 200, 30)).save(tmp_path / "turned.jpg", exif=upright)
    image_file(tmp_path / "glass.png", (33, 21), (1, 2, 3, 4), "RGBA")
    output = tmp_path / "out"
    names = [str(tmp_path / "turned.jpg"), str(tmp_path / "glass.png")]
    command = start("demo", *names, "--output", str(output))
    assert command.process.wait(120) == 0, command.lines
    assert files_in(command.lines)[str(output / "resumed.png")][0] == "60 x 90"
    with Image.open(output / "pool" / "img_0001.png") as first, Image.open(output / "pool" / "img_0002.png") as second:
        assert {first.mode, second.mode} == {"RGB", "RGBA"}


@pytest.mark.slow
def test_the_demonstration_fails_when_it_can_not_be_shown(
    tmp_path: Path, start: Callable[..., Command], needs_redis_server: None
) -> None:
    text = tmp_path / "text.png"
    text.write_text("no image")
    command = start("demo", str(text), "--output", str(tmp_path / "out"))
    assert command.process.wait(120) == 1
    assert "FAILED" in command.lines[-1]
    assert not any("Traceback" in line for line in command.lines)


@pytest.mark.slow
def test_the_demonstration_goes_on_when_asked_and_leaves_nothing_running(
    tmp_path: Path, start: Callable[..., Command], needs_redis_server: None
) -> None:
    command = start("demo", "--keep", "--output", str(tmp_path / "out"))
    url = command.line(r"go on; Ctrl-C").string and command.line(r"answers on (redis://\S+?);")[1]
    with redis.Redis.from_url(url) as client:
        assert client.zcard("{gatebus}:gates:ended") == 3
        assert command.end(signal.SIGINT) == 0
        with pytest.raises(redis.ConnectionError):
            client.ping()
