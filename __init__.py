"""What ComfyUI loads. Anywhere else, e.g. when pytest collects the folder, this does nothing."""

from __future__ import annotations

import sys

if "folder_paths" in sys.modules and "server" in sys.modules:
    from .gates import comfy
    from .gates.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    WEB_DIRECTORY = "./web/comfyui"
    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]

    comfy.start()
