"""Nodes to compare the gate with, in the same ComfyUI; copied into its custom_nodes by ``comfyui.py``."""

from __future__ import annotations

import os
import threading
import uuid
from typing import Any

import folder_paths
import numpy as np
import torch
from aiohttp import web
from PIL import Image
from server import PromptServer

GO = threading.Event()


@PromptServer.instance.routes.post("/bench/go")
async def go(http: web.Request) -> web.Response:
    """Lets the waiting BenchWait go on."""
    await http.json()
    GO.set()
    return web.json_response({})


class BenchImage:
    """An image that is made once and then comes from the cache."""

    CATEGORY = "bench"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The size of the square."""
        return {"required": {"size": ("INT", {"default": 1024, "max": 8192})}}

    def run(self, size: int) -> tuple[torch.Tensor]:
        """Noise in blocks, which a JPEG neither loves nor hates."""
        blocks = torch.rand(1, size // 16, size // 16, 3, generator=torch.Generator().manual_seed(1))
        return (blocks.repeat_interleave(16, 1).repeat_interleave(16, 2).contiguous(),)


class BenchWait:
    """The least that can wait: a threading.Event."""

    CATEGORY = "bench"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """What passes."""
        return {"required": {"image": ("IMAGE",)}}

    @classmethod
    def IS_CHANGED(cls, **inputs: Any) -> float:
        """Waits each time."""
        return float("nan")

    def run(self, image: torch.Tensor) -> tuple[torch.Tensor]:
        """Waits."""
        PromptServer.instance.send_sync("bench.waiting", {})
        GO.wait()
        GO.clear()
        return (image,)


class BenchJpeg:
    """What a node does to show an image: a JPEG of 1024 px in temp/, and its URL to the page."""

    CATEGORY = "bench"
    FUNCTION = "run"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """What is shown."""
        return {"required": {"image": ("IMAGE",)}}

    @classmethod
    def IS_CHANGED(cls, **inputs: Any) -> float:
        """Shows each time."""
        return float("nan")

    def run(self, image: torch.Tensor) -> tuple[()]:
        """Writes and tells."""
        picture = Image.fromarray(np.clip(255.0 * image[0].cpu().numpy(), 0, 255).astype(np.uint8))
        picture.thumbnail((1024, 1024))
        name = f"{uuid.uuid4().hex}.jpg"
        picture.save(os.path.join(folder_paths.get_temp_directory(), name), quality=85)
        PromptServer.instance.send_sync("bench.preview", {"url": f"/view?filename={name}&type=temp"})
        return ()


NODE_CLASS_MAPPINGS = {
    "BenchImage": BenchImage,
    "BenchWait": BenchWait,
    "BenchJpeg": BenchJpeg,
}
