"""docker-compose.yml and Dockerfile as data, and the redis-server that the one of them starts."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
import yaml
from redis_server import find_redis_server, free_port, require_redis_server

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PASSWORD = "0123456789abcdef"


def everything() -> str:
    """The file with its example services switched on, as a reader would do it."""
    switched_on = re.sub(r"^  # (?=  |comfyui-)", "  ", COMPOSE, flags=re.MULTILINE)
    return re.sub(r"^  #$", "", switched_on, flags=re.MULTILINE)


def services(text: str = COMPOSE) -> dict[str, Any]:
    return dict(yaml.safe_load(text)["services"])


def instructions(name: str) -> list[str]:
    """What follows that word in the Dockerfile, each on one line."""
    joined = re.sub(r"\\\n", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return [line[len(name) + 1 :].strip() for line in joined.splitlines() if line.startswith(f"{name} ")]


def let_through(path: str) -> bool:
    """Whether .dockerignore lets that path into the build; the last pattern that matches counts."""
    kept = True
    parts = path.split("/")
    prefixes = ["/".join(parts[: number + 1]) for number in range(len(parts))]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            anywhere = pattern.removeprefix("**/")
            matches = (
                any(fnmatch.fnmatchcase(part, anywhere) for part in parts)
                if anywhere != pattern
                else any(fnmatch.fnmatchcase(prefix, pattern) for prefix in prefixes if prefix.count("/") == 0)
            )
            if matches:
                kept = line.startswith("!")
    return kept


def interpolated(text: str, given: dict[str, str]) -> str:
    """The text as Compose fills it in; an error where a variable is required."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if kind == ":?" and not given.get(name):
            raise KeyError(name)
        return given.get(name) or (rest if kind == ":-" else "")

    return re.sub(r"\$\{([A-Z_]+)(:-|:\?)([^}]*)\}", value, text).replace("$$", "$")


class ComposedRedis:
    """A redis-server by the file's own command, on a folder and a port of the test's; starts again on both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.client = redis.Redis(port=self.port, password=PASSWORD, decode_responses=True)

    def start(self, **environ: str) -> None:
        """Starts it; ``environ`` is what .env holds besides the password."""
        service = services()["redis"]
        words = [word.replace("$$", "$") for word in service["command"]]
        assert words[2].count("--dir /data") == 1
        words[2] = words[2].replace("--dir /data", f"--dir {self.folder} --port {self.port} --bind 127.0.0.1")
        given = {k: interpolated(v, {"REDIS_PASSWORD": PASSWORD, **environ}) for k, v in service["environment"].items()}
        binary = find_redis_server()
        assert binary is not None
        given["PATH"] = f"{Path(binary).parent}{os.pathsep}{os.environ['PATH']}"
        self.process = subprocess.Popen(words, env={**os.environ, **given}, stdout=subprocess.DEVNULL, cwd=self.folder)

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def composed(folder: Path) -> Iterator[ComposedRedis]:
    """One that is gone afterwards."""
    require_redis_server()
    folder.mkdir(exist_ok=True)
    server = ComposedRedis(folder)
    try:
        yield server
    finally:
        server.client.close()
        if hasattr(server, "process"):
            server.kill()
