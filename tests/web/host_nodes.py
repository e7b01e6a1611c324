"""The nodes of the test host: our real ones, and stand-ins for the few of the core that workflows of ours use."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gates.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS


class Folders:
    """The host's directories, as the core names them."""

    def __init__(self, base: Path) -> None:
        self.input, self.output, self.temp, self.user = (base / n for n in ("input", "output", "temp", "user"))
        for folder in (self.input, self.output, self.temp, self.user):
            folder.mkdir(parents=True, exist_ok=True)

    def of(self, kind: str) -> Path:
        return {"input": self.input, "output": self.output, "temp": self.temp}[kind]

    def file(self, filename: str, subfolder: str = "", kind: str = "input") -> Path | None:
        """The file, None when there is none or the name leads outside."""
        folder = self.of(kind).resolve()
        path = (folder / subfolder / filename).resolve()
        return path if path.is_relative_to(folder) and path.is_file() else None


def node_classes(folders: Folders) -> dict[str, Any]:
    """Class name -> class. The stand-ins have the inputs of the core's, so that their workflows fit."""

    class EmptyImage:
        CATEGORY, FUNCTION, RETURN_TYPES = "image", "run", ("IMAGE",)

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            size = {"default": 512, "min": 1, "max": 16384, "step": 1}
            return {
                "required": {
                    "width": ("INT", size),
                    "height": ("INT", size),
                    "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
                    "color": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "step": 1, "display": "color"}),
                }
            }

        def run(self, width: int, height: int, batch_size: int = 1, color: int = 0) -> tuple[Any]:
            rgb = torch.tensor([color >> 16 & 255, color >> 8 & 255, color & 255]) / 255
            return (rgb.expand(batch_size, height, width, 3).clone(),)

    class ImageInvert:
        CATEGORY, FUNCTION, RETURN_TYPES = "image", "run", ("IMAGE",)

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"image": ("IMAGE",)}}

        def run(self, image: torch.Tensor) -> tuple[Any]:
            return (1.0 - image,)

    class LoadImage:
        CATEGORY, FUNCTION, RETURN_TYPES = "image", "run", ("IMAGE", "MASK")

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            files = sorted(path.name for path in folders.input.iterdir() if path.is_file())
            return {"required": {"image": (files, {"image_upload": True})}}

        def run(self, image: str) -> tuple[Any, Any]:
            with Image.open(folders.input / image.removesuffix(" [input]")) as opened:
                rgba = torch.from_numpy(np.array(opened.convert("RGBA"))).float()[None] / 255
            return rgba[..., :3], 1.0 - rgba[..., 3]

    class PreviewImage:
        CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "image", "run", (), True
        kind = "temp"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"images": ("IMAGE",)}, "hidden": {"extra_pnginfo": "EXTRA_PNGINFO"}}

        def run(self, images: torch.Tensor, extra_pnginfo: Any = None) -> dict[str, Any]:
            references = []
            for image in images:
                name = f"preview_{uuid.uuid4().hex}.png"
                pixels = (image.numpy() * 255).round().astype(np.uint8)
                Image.fromarray(pixels).save(folders.of(self.kind) / name)
                references.append({"filename": name, "subfolder": "", "type": self.kind})
            return {"ui": {"images": references}, "result": ()}

    class SaveImage(PreviewImage):
        kind = "output"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            prefix = {"filename_prefix": ("STRING", {"default": "ComfyUI"})}
            inputs = super().INPUT_TYPES()
            return {**inputs, "required": {**inputs["required"], **prefix}}

        def run(self, images: torch.Tensor, filename_prefix: str = "", extra_pnginfo: Any = None) -> dict[str, Any]:
            return super().run(images, extra_pnginfo)

    class MaskToImage:
        CATEGORY, FUNCTION, RETURN_TYPES = "mask", "run", ("IMAGE",)

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"mask": ("MASK",)}}

        def run(self, mask: torch.Tensor) -> tuple[Any]:
            return (mask[..., None].expand(-1, -1, -1, 3).clone(),)

    core = (EmptyImage, ImageInvert, LoadImage, PreviewImage, SaveImage, MaskToImage)
    return {**NODE_CLASS_MAPPINGS, **{each.__name__: each for each in core}}


def node_info(name: str, of: Any) -> dict[str, Any]:
    """What ``/object_info`` says about a class."""
    inputs = of.INPUT_TYPES()
    ours = name in NODE_CLASS_MAPPINGS
    return {
        "input": inputs,
        "input_order": {kind: list(fields) for kind, fields in inputs.items()},
        "output": of.RETURN_TYPES,
        "output_is_list": [False] * len(of.RETURN_TYPES),
        "output_name": getattr(of, "RETURN_NAMES", of.RETURN_TYPES),
        "output_tooltips": getattr(of, "OUTPUT_TOOLTIPS", ()),
        "name": name,
        "display_name": NODE_DISPLAY_NAME_MAPPINGS.get(name, name),
        "description": getattr(of, "DESCRIPTION", ""),
        "python_module": "custom_nodes.comfyui-gatebus" if ours else "nodes",
        "category": of.CATEGORY,
        "output_node": getattr(of, "OUTPUT_NODE", False),
        "search_aliases": list(getattr(of, "SEARCH_ALIASES", ())),
    }
