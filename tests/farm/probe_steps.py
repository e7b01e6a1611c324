"""A node that exists for these tests only; copied into a ComfyUI's custom_nodes. It tells of steps, with previews."""

import time

import comfy.model_management
import comfy.utils
from PIL import Image


class ProbeSteps:
    """Passes the image on after so many steps."""

    CATEGORY = "probe"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        whole = ("INT", {"default": 64, "min": 1, "max": 8192})
        return {
            "required": {
                "image": ("IMAGE",),
                "steps": whole,
                "seconds": ("FLOAT", {"default": 0.01, "max": 60.0}),
            }
        }

    @classmethod
    def IS_CHANGED(cls, **inputs):
        return float("nan")

    def run(self, image, steps, seconds):
        bar = comfy.utils.ProgressBar(steps)
        for step in range(steps):
            comfy.model_management.throw_exception_if_processing_interrupted()
            time.sleep(seconds)
            bar.update_absolute(step + 1, steps, ("JPEG", Image.new("RGB", (8, 8), (200, 100, 50)), None))
        return (image,)


NODE_CLASS_MAPPINGS = {"ProbeSteps": ProbeSteps}
