"""The nodes, a node or a close pair per file; the only modules besides ``tensors.py`` that import torch."""

from __future__ import annotations

from typing import Any

from .image_gate import ImageGate
from .image_pool import GridImagePool

NODE_CLASS_MAPPINGS: dict[str, Any] = {"ImageGate": ImageGate, "GridImagePool": GridImagePool}

NODE_DISPLAY_NAME_MAPPINGS = {"ImageGate": "Image Gate (Manual Router)", "GridImagePool": "Image Pool (Grid)"}
