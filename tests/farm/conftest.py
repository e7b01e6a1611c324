"""What a ComfyUI (core 0.3.64, without models and files) said of its nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def object_info() -> dict[str, Any]:
    """The classes that the shipped templates and the saved workflows use."""
    return json.loads((HERE / "object_info.json").read_text(encoding="utf-8"))
