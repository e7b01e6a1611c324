"""The names that people use around ComfyUI: they stand for a setting, and the setting's own name goes before them."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.familiar import FAMILIAR, with_familiar_names
from gates.errors import InvalidSetting
from gates.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_each_name_stands_for_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_env(
        with_familiar_names(
            {
                "COMFYUI_SERVER_URL": "http://studio:8188",
                "COMFYUI_OUTPUT_DIR": "out",
                "COMFYUI_BACKUP_DIR": str(tmp_path / "backups"),
                "COMFYUI_LOG_LEVEL": "WARNING",
            }
        )
    )
    assert settings.comfyui_url == "http://studio:8188"
    assert settings.output_dir == tmp_path / "out"
    assert settings.backup_dir == tmp_path / "backups"
    assert settings.log_level == "warning"


def test_the_setting_s_own_name_goes_before_it() -> None:
    environ = {"COMFYUI_SERVER_URL": "not even a URL", "GATEBUS_COMFYUI_URL": "http://one:1"}
    assert Settings.from_env(with_familiar_names(environ)).comfyui_url == "http://one:1"


@pytest.mark.parametrize(("variable", "value"), [("COMFYUI_SERVER_URL", "ftp://x"), ("COMFYUI_LOG_LEVEL", "loud")])
def test_a_wrong_value_is_named_by_the_name_that_was_used(variable: str, value: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        with_familiar_names({variable: value})
    assert refused.value.message.startswith(f"{variable} must be ")
    assert value not in refused.value.message


def test_other_variables_and_empty_ones_change_nothing() -> None:
    environ = {"COMFYUI_DIR": "/x", "COMFYUI_OUTPUT_DIR": "", "PATH": "/bin"}
    assert with_familiar_names(environ) == environ


def test_each_stands_for_a_setting_that_there_is() -> None:
    known = {variable for variable, _, _ in Settings.describe()}
    assert {"GATEBUS_" + setting.upper() for setting in FAMILIAR.values()} <= known
