"""Settings: variables over the file over the defaults, every value checked, no value shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gates.errors import InvalidSetting
from gates.settings import Settings


def test_the_defaults_work_on_one_machine() -> None:
    settings = Settings.from_env({})
    assert settings.store_url == ""
    assert settings.namespace == "gatebus"
    assert settings.instance


def test_variables_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"store_url": "redis://file:1", "bus_versions": 9, "allowed_hosts": ["farm.example"]}))
    settings = Settings.load(file, {"GATEBUS_STORE_URL": "redis://env:2", "GATEBUS_TICK": "0.5"})
    assert (settings.store_url, settings.bus_versions, settings.tick) == ("redis://env:2", 9, 0.5)
    assert settings.allowed_hosts == ("farm.example",)


@pytest.mark.parametrize(
    "url",
    [
        "", "redis://localhost", "redis://user:pw@host:6380/2", "rediss://host", "unix:///run/redis.sock",
        "redis+sentinel://a:26379,b:26379/mymaster/0", "rediss+cluster://a:7000,b:7001", "redis://[::1]:6379",
    ],
)  # fmt: skip
def test_every_kind_of_store_is_accepted(url: str) -> None:
    assert Settings.from_env({"GATEBUS_STORE_URL": url}).store_url == url


@pytest.mark.parametrize(
    ("variable", "value", "accepted"),
    [
        ("GATEBUS_STORE_URL", "http://host", "redis://"),
        ("GATEBUS_STORE_URL", "redis://", "host:port"),
        ("GATEBUS_STORE_URL", "redis://host:abc/0", "1 to 65535"),
        ("GATEBUS_STORE_URL", "redis+cluster://a:7000,b:70000", "1 to 65535"),
        ("GATEBUS_STORE_URL", "redis+sentinel://host:26379", "MASTER_NAME"),
        ("GATEBUS_NAMESPACE", "a{b}", "1 to 32"),
        ("GATEBUS_INSTANCE", "../x", "letters"),
        ("GATEBUS_DISK_DIR", "relative/path", "absolute"),
        ("GATEBUS_LEASE", "-1", "seconds"),
        ("GATEBUS_TICK", "nan", "seconds"),
        ("GATEBUS_MAX_GATES", "1e3", "whole number"),
        ("GATEBUS_MAX_GATES", "٣", "whole number"),
        ("GATEBUS_COMPRESSION", "best", "stored, fast, small"),
        ("GATEBUS_TOKENS", "root:me:abc", "role:name:sha256"),
        ("GATEBUS_ALLOWED_HOSTS", "a b", "host names"),
        ("GATEBUS_STORE_ULR", "redis://x", "store_url"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_accepted(variable: str, value: str, accepted: str) -> None:
    with pytest.raises(InvalidSetting) as error:
        Settings.from_env({variable: value})
    assert variable in error.value.message
    assert accepted in error.value.message


def test_a_lease_that_is_too_short_for_the_tick_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="three times"):
        Settings.from_env({"GATEBUS_LEASE": "2", "GATEBUS_TICK": "1"})


def test_secrets_are_in_no_message(tmp_path: Path) -> None:
    assert "secret" not in Settings.from_env({"GATEBUS_STORE_URL": "redis://u:secret@h:1/0"}).safe_url
    with pytest.raises(InvalidSetting) as error:
        Settings.from_env({"GATEBUS_TOKENS": "admin:me:secret"})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("content", ["{", "[]", '{"store_url": 7}', '{"no_such": 1}'])
def test_a_file_that_can_not_be_used_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "settings.json"
    file.write_text(content)
    with pytest.raises(InvalidSetting, match=r"settings\.json"):
        Settings.load(file, {})
