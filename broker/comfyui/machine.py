"""What a ComfyUI says of itself and of the machine that it runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Device:
    """What prompts run on; memory in bytes, 0 where ComfyUI does not tell."""

    name: str
    type: str
    """``cuda``, ``cpu``, ``mps``, ..."""
    vram_total: int
    vram_free: int


@dataclass(frozen=True)
class SystemStats:
    """A ComfyUI's versions and memory; memory in bytes, 0 where it does not tell."""

    comfyui_version: str
    python_version: str
    pytorch_version: str
    os: str
    ram_total: int
    ram_free: int
    devices: tuple[Device, ...]
    argv: tuple[str, ...]
    """With which it was started."""

    @classmethod
    def of_json(cls, answer: Mapping[str, Any]) -> SystemStats:
        """Of the answer of ``/system_stats``; what is missing is "" or 0."""
        system = answer.get("system")
        system = system if isinstance(system, Mapping) else {}
        devices = answer.get("devices")
        argv = system.get("argv")
        return cls(
            str(system.get("comfyui_version") or ""),
            str(system.get("python_version") or ""),
            str(system.get("pytorch_version") or ""),
            str(system.get("os") or ""),
            _whole(system.get("ram_total")),
            _whole(system.get("ram_free")),
            tuple(
                Device(
                    str(device.get("name") or ""),
                    str(device.get("type") or ""),
                    _whole(device.get("vram_total")),
                    _whole(device.get("vram_free")),
                )
                for device in (devices if isinstance(devices, list) else ())
                if isinstance(device, Mapping)
            ),
            tuple(map(str, argv)) if isinstance(argv, list) else (),
        )


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0
