"""The nodes, a node or a close pair per file; the only modules besides ``tensors.py`` that import torch."""

from __future__ import annotations

from typing import Any

from .chooser_gate import ImageChooserGate
from .continued import GatebusContinued, GatebusResumed
from .gate_decision import GateDecision
from .image_gate import ImageGate
from .image_pool import GridImagePool
from .text_gate import TextGate

NODE_CLASS_MAPPINGS: dict[str, Any] = {
    "ImageGate": ImageGate,
    "GridImagePool": GridImagePool,
    "ImageChooserGate": ImageChooserGate,
    "TextGate": TextGate,
    "GateDecision": GateDecision,
    "GatebusResumed": GatebusResumed,
    "GatebusContinued": GatebusContinued,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "ImageGate": "Image Gate (Manual Router)",
    "GridImagePool": "Image Pool (Grid)",
    "ImageChooserGate": "Image Chooser Gate (Batch)",
    "TextGate": "Text Gate",
    "GateDecision": "Gate Decision",
    "GatebusResumed": "Resumed Gates (internal)",
    "GatebusContinued": "Continued Gate (internal)",
}
