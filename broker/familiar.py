"""Settings under the names that scripts around ComfyUI already use; read by the broker and its commands alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gates.errors import InvalidSetting
from gates.settings import PREFIX, Settings

FAMILIAR = {
    "COMFYUI_SERVER_URL": "comfyui_url",
    "COMFYUI_OUTPUT_DIR": "output_dir",
    "COMFYUI_BACKUP_DIR": "backup_dir",
    "COMFYUI_LOG_LEVEL": "log_level",
}
"""Variable -> the setting that it stands for."""


def with_familiar_names(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment, in which each such variable is the ``GATEBUS_`` one when that is not set itself.

    A folder may be relative to where the command is called, a level in capitals. Raises
    InvalidSetting, which names the variable and what is accepted.
    """
    settled = dict(environ)
    for variable, setting in FAMILIAR.items():
        given = environ.get(variable, "")
        proper = PREFIX + setting.upper()
        if not given or proper in environ:
            continue
        if setting.endswith("_dir"):
            given = str(Path(given).expanduser().absolute())
        elif setting == "log_level":
            given = given.lower()
        try:
            Settings.from_env({proper: given})
        except InvalidSetting as error:
            accepted = error.message.replace(proper, variable)
            raise InvalidSetting(accepted, setting=setting) from None
        settled[proper] = given
    return settled
