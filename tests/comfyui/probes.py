"""Nodes that exist for these tests only; copied into a ComfyUI's custom_nodes."""

import asyncio
import time

import comfy.model_management
import torch
from comfy_execution.graph_utils import GraphBuilder


class ProbeBusy:
    """Keeps the prompt's event loop busy, as a sampler does, and looks at the interrupt flag between steps."""

    CATEGORY = "probe"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "seconds": ("FLOAT", {"default": 1.0, "max": 600.0})}}

    @classmethod
    def IS_CHANGED(cls, **inputs):
        return float("nan")

    def run(self, image, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            comfy.model_management.throw_exception_if_processing_interrupted()
            time.sleep(0.02)
        return (image,)


class ProbeNoise:
    """A batch of noise, in values that 8 bits hold or (``exact``) in ones that they don't."""

    CATEGORY = "probe"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        whole = ("INT", {"default": 64, "min": 1, "max": 8192})
        return {
            "required": {
                "width": whole,
                "height": whole,
                "batch": ("INT", {"default": 1, "min": 1, "max": 64}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**31}),
                "exact": ("BOOLEAN", {"default": False}),
            }
        }

    def run(self, width, height, batch, seed, exact):
        noise = torch.rand(batch, height, width, 3, generator=torch.Generator().manual_seed(seed))
        return (noise if exact else (noise * 255).round() / 255,)


class ProbeFail:
    """Fails after a while, on the event loop's side of things."""

    CATEGORY = "probe"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    @classmethod
    def IS_CHANGED(cls, **inputs):
        return float("nan")

    async def run(self, image):
        await asyncio.sleep(1.0)
        raise ValueError("probe")


class ProbeEqual:
    """Says whether two image batches are the same in every bit."""

    CATEGORY = "probe"
    FUNCTION = "run"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"one": ("IMAGE",), "other": ("IMAGE",)}}

    def run(self, one, other):
        same = one.dtype == other.dtype and torch.equal(one, other)
        return {"ui": {"same": [bool(same)], "shape": [list(one.shape)]}}


class ProbeMask:
    """Tells a mask's shape, and its mean per frame."""

    CATEGORY = "probe"
    FUNCTION = "run"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"mask": ("MASK",)}}

    def run(self, mask):
        return {"ui": {"shape": [list(mask.shape)], "means": [[float(frame.mean()) for frame in mask]]}}


class ProbeExpand:
    """Becomes a gate with two routes, as a node that expands into a graph does."""

    CATEGORY = "probe"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}, "optional": {"when_waiting": ("STRING", {"default": "hold"})}}

    def run(self, image, when_waiting="hold"):
        graph = GraphBuilder()
        gate = graph.node("ImageGate", routes=2, image=image, when_waiting=when_waiting)
        return {"result": (gate.out(1),), "expand": graph.finalize()}


NODE_CLASS_MAPPINGS = {
    "ProbeBusy": ProbeBusy,
    "ProbeNoise": ProbeNoise,
    "ProbeFail": ProbeFail,
    "ProbeEqual": ProbeEqual,
    "ProbeMask": ProbeMask,
    "ProbeExpand": ProbeExpand,
}
