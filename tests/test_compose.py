"""docker-compose.yml, as far as it can be tried without an engine: its commands really run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import yaml
from composition import COMPOSE, PASSWORD, ComposedRedis, composed, everything, instructions, interpolated, services

from gates import __version__
from gates.settings import Settings
from tests.service.processes import LIMIT, until

PINNED = re.compile(r"[a-z./-]+:[0-9]+\.[0-9]+\.[0-9]+(-[a-z0-9.]+)*")


@pytest.fixture
def composed_redis(tmp_path: Path) -> Iterator[ComposedRedis]:
    with composed(tmp_path / "data") as server:
        yield server


# -- the file -----------------------------------------------------------------------------


def test_the_examples_are_as_valid_as_the_rest() -> None:
    names = list(services(everything()))
    assert names == ["redis", "broker", "comfyui-1", "comfyui-2"]
    assert list(services()) == names[:2]


@pytest.mark.parametrize("text", [COMPOSE, everything()], ids=["as it is", "with the examples"])
def test_everything_that_is_named_is_declared(text: str) -> None:
    document = yaml.safe_load(text)
    assert set(document) == {"name", "services", "networks", "volumes"}
    used = set()
    for name, service in document["services"].items():
        assert set(service.get("networks", [])) <= set(document["networks"]), name
        assert set(service.get("depends_on", {})) <= set(document["services"]), name
        assert all(entry["condition"] == "service_healthy" for entry in service.get("depends_on", {}).values())
        for volume in service["volumes"]:
            source, target = volume.split(":")[:2]
            assert target.startswith("/")
            if not source.startswith("."):
                used.add(source)
    assert used == set(document["volumes"])


def test_every_variable_of_ours_is_a_setting_and_every_value_is_accepted() -> None:
    known = {variable for variable, _, _ in Settings.describe()}
    assert set(re.findall(r"GATEBUS_[A-Z_]+", COMPOSE)) <= known
    given = {"REDIS_PASSWORD": PASSWORD, "GATEBUS_TOKENS": f"admin:anna:{'0' * 64}"}
    for name, service in services(everything()).items():
        environment = {key: interpolated(str(value), given) for key, value in service["environment"].items()}
        settings = Settings.from_env({k: v for k, v in environment.items() if k.startswith("GATEBUS_")})
        if name != "redis":
            assert settings.store_url == f"redis://:{PASSWORD}@redis:6379/0"
            assert settings.instance == name
    assert "GATEBUS_TOKENS: ${GATEBUS_TOKENS:?" in COMPOSE


def test_what_must_be_set_is_asked_for() -> None:
    for variable in ("REDIS_PASSWORD", "GATEBUS_TOKENS"):
        with pytest.raises(KeyError, match=variable):
            interpolated(COMPOSE, {"REDIS_PASSWORD": "x", "GATEBUS_TOKENS": "x"} | {variable: ""})


def test_images_are_pinned_and_ports_are_this_machines_alone() -> None:
    for name, service in services(everything()).items():
        if name.startswith("comfyui"):
            assert service["environment"]["GATEBUS_INSTANCE"] == name
            (device,) = service["deploy"]["resources"]["reservations"]["devices"]
            assert device["capabilities"] == ["gpu"]
        else:
            assert PINNED.fullmatch(service["image"]), name
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "ports" not in services()["redis"]
    assert yaml.safe_load(COMPOSE)["networks"]["store"]["internal"] is True


def test_the_example_that_lets_other_machines_reach_redis_leaves_the_internal_network() -> None:
    """Docker publishes no port of a container whose networks are all internal."""
    lines = re.findall(r"^    # (networks: .*|ports:|  - .*)$", COMPOSE, re.MULTILINE)
    example = yaml.safe_load("\n".join(lines))
    networks = yaml.safe_load(COMPOSE)["networks"]
    assert all(port.startswith("127.0.0.1:") for port in example["ports"])
    assert "store" in example["networks"]
    assert any(not (networks[name] or {}).get("internal") for name in example["networks"])
    for image in instructions("FROM"):
        assert PINNED.fullmatch(image.split()[0])
    assert services()["broker"]["image"] == f"gatebus:{__version__}"


@pytest.mark.parametrize("name", ["redis", "broker"])
def test_the_services_may_do_little(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]
    assert not service.get("privileged")
    user = service.get("user") or instructions("USER")[-1]
    assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", user)


# -- redis -------------------------------------------------------------------------------


def test_redis_starts_with_the_files_command_and_holds_what_was_written_over_a_kill(
    composed_redis: ComposedRedis,
) -> None:
    composed_redis.start(REDIS_MAXMEMORY="64mb")
    until(composed_redis.answers, "an answer")
    client, port = composed_redis.client, composed_redis.port
    wanted = {
        "appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": "",
        "maxmemory": str(64 * 1024 * 1024), "requirepass": PASSWORD,
    }  # fmt: skip
    assert {name: client.config_get(name)[name] for name in wanted} == wanted
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=port).ping()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=port, password="other").ping()
    # `exec` made it the process itself, which gets the signals; its words hold no secret.
    words = Path(f"/proc/{composed_redis.process.pid}/cmdline").read_bytes()
    assert b"redis-server" in words
    assert PASSWORD.encode() not in words
    client.set("key", "value")
    composed_redis.kill()
    composed_redis.start(REDIS_MAXMEMORY="64mb")
    until(composed_redis.answers, "an answer")
    assert client.get("key") == "value"


def test_redis_ends_in_order_by_sigterm(composed_redis: ComposedRedis) -> None:
    composed_redis.start()
    until(composed_redis.answers, "an answer")
    assert int(composed_redis.client.config_get("maxmemory")["maxmemory"]) == 4 * 1024**3
    composed_redis.process.send_signal(signal.SIGTERM)
    assert composed_redis.process.wait(LIMIT) == 0


def test_the_health_check_of_redis_tells_the_healthy_one_from_others(
    composed_redis: ComposedRedis, tmp_path: Path
) -> None:
    client = shutil.which("redis-cli") or shutil.which("redis-cli", path=str(Path(sys.executable).parent))
    if client is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no redis-cli")
        pytest.skip("no redis-cli")
    composed_redis.start()
    (tmp_path / "redis-cli").write_text(f'#!/bin/sh\nexec {client} -p {composed_redis.port} "$@"\n')
    (tmp_path / "redis-cli").chmod(0o755)
    check = services()["redis"]["healthcheck"]
    kind, command = check["test"]
    assert kind == "CMD-SHELL"

    def healthy(password: str = PASSWORD) -> bool:
        environ = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "REDIS_PASSWORD": password}
        line = ["sh", "-c", command.replace("$$", "$")]
        try:
            # The engine, too, counts what takes longer as a failure.
            return subprocess.run(line, env=environ, capture_output=True, timeout=3).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    assert check["timeout"] == "3s"
    until(healthy, "health")
    assert not healthy("another password")
    composed_redis.process.send_signal(signal.SIGSTOP)
    assert not healthy()
    composed_redis.process.send_signal(signal.SIGCONT)
    until(healthy, "health")
    composed_redis.kill()
    assert not healthy()
