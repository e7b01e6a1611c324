"""The nodes of the stand-in for a ComfyUI: what they take, how the core validates them, what they do.

Only nodes that need no model. Those of the core have the core's inputs and answers; the Probe… ones
are those that the tests put into a real ComfyUI. ``tests/farm/test_comfy_contract.py`` holds both alike.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Graph = dict[str, dict[str, Any]]
Result = tuple[tuple[Any, ...], dict[str, Any] | None]


class Interrupted(Exception):
    """The interrupt flag was seen."""


class Run:
    """What a running node may use."""

    def __init__(self, server: Any, prompt_id: str, node_id: str) -> None:
        self.server, self.prompt_id, self.node_id = server, prompt_id, node_id

    def check(self) -> None:
        if self.server.interrupted:
            self.server.interrupted = False
            raise Interrupted

    async def step(self, value: int, most: int) -> None:
        await self.server.tell_step(self, value, most)

    def save(self, images: Any, folder: str, prefix: str) -> list[dict[str, str]]:
        subfolder, _, name = prefix.rpartition("/")
        target: Path = self.server.folders[folder] / subfolder
        target.mkdir(parents=True, exist_ok=True)
        saved = []
        for image in images:
            number = len(list(target.glob(f"{name}_*_.png"))) + 1
            file = f"{name}_{number:05}_.png"
            Image.fromarray(image).save(target / file)
            saved.append({"filename": file, "subfolder": subfolder, "type": folder})
        return saved


@dataclass(frozen=True)
class Node:
    """One class of nodes, as ``/object_info`` has it."""

    required: dict[str, list[Any]]
    output: tuple[str, ...]
    run: Callable[..., Awaitable[Result]]
    is_output: bool = False
    changes: bool = False
    """Whether it runs anew in each prompt."""
    title: str = ""
    description: str = ""
    category: str = "probe"
    module: str = "custom_nodes.probes"
    hidden: dict[str, str] = field(default_factory=dict)

    def info(self, name: str) -> dict[str, Any]:
        inputs: dict[str, Any] = {"required": self.required, **({"hidden": self.hidden} if self.hidden else {})}
        return {
            "input": inputs,
            "input_order": {kind: list(names) for kind, names in inputs.items()},
            "output": list(self.output),
            "output_is_list": [False] * len(self.output),
            "output_name": list(self.output),
            "name": name,
            "display_name": self.title or name,
            "description": self.description,
            "python_module": self.module,
            "category": self.category,
            "output_node": self.is_output,
        }


async def empty_image(run: Run, width: int, height: int, batch_size: int, color: int) -> Result:
    image = np.empty((batch_size, height, width, 3), np.uint8)
    image[:] = [color >> 16 & 255, color >> 8 & 255, color & 255]
    return (image,), None


async def invert(run: Run, image: Any) -> Result:
    return (255 - image,), None


async def save(run: Run, images: Any, filename_prefix: str) -> Result:
    return (), {"images": run.save(images, "output", filename_prefix)}


async def preview(run: Run, images: Any) -> Result:
    return (), {"images": run.save(images, "temp", f"ComfyUI_temp_{run.prompt_id[:5]}")}


async def preview_any(run: Run, source: Any) -> Result:
    return (), {"text": [source if isinstance(source, str) else f"tensor({source!r})"]}


async def load(run: Run, image: str) -> Result:
    with Image.open(run.server.place(image)) as opened:
        pixels = np.asarray(opened.convert("RGBA"))
    return (pixels[None, ..., :3].copy(), 1 - pixels[None, ..., 3] / 255), None


async def noise(run: Run, width: int, height: int, batch: int, seed: int, exact: bool) -> Result:
    return (np.random.default_rng(seed).integers(0, 256, (batch, height, width, 3), np.uint8),), None


async def mask_of(run: Run, mask: Any) -> Result:
    return (), {"shape": [list(mask.shape)], "means": [[float(frame.mean()) for frame in mask]]}


async def busy(run: Run, image: Any, seconds: float) -> Result:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        run.check()
        await asyncio.sleep(0.005)
    return (image,), None


async def steps(run: Run, image: Any, steps: int, seconds: float) -> Result:
    for step in range(steps):
        run.check()
        await asyncio.sleep(seconds)
        await run.step(step + 1, steps)
    return (image,), None


async def fail(run: Run, image: Any) -> Result:
    raise ValueError("probe")


IMAGE, IMAGE_2 = ["IMAGE"], ["IMAGE", {"tooltip": "The images to save."}]
WHOLE = ["INT", {"default": 64, "min": 1, "max": 8192}]
SIZE = ["INT", {"default": 512, "min": 1, "max": 16384, "step": 1}]
COLOUR = ["INT", {"default": 0, "min": 0, "max": 16777215, "step": 1, "display": "color"}]
PREFIX = [
    "STRING",
    {
        "default": "ComfyUI",
        "tooltip": "The prefix for the file to save. This may include formatting information such as"
        " %date:yyyy-MM-dd% or %Empty Latent Image.width% to include values from nodes.",
    },
]
SAVES = {
    "is_output": True,
    "category": "image",
    "module": "nodes",
    "description": "Saves the input images to your ComfyUI output directory.",
    "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
}
NODES: dict[str, Node] = {
    "EmptyImage": Node(
        {
            "width": SIZE,
            "height": SIZE,
            "batch_size": ["INT", {"default": 1, "min": 1, "max": 4096}],
            "color": COLOUR,
        },
        ("IMAGE",),
        empty_image,
        category="image",
        module="nodes",
    ),
    "ImageInvert": Node({"image": IMAGE}, ("IMAGE",), invert, title="Invert Image", category="image", module="nodes"),
    "SaveImage": Node({"images": IMAGE_2, "filename_prefix": PREFIX}, (), save, title="Save Image", **SAVES),  # type: ignore[arg-type]
    "PreviewImage": Node({"images": IMAGE}, (), preview, title="Preview Image", **SAVES),  # type: ignore[arg-type]
    "PreviewAny": Node(
        {"source": ["*", {}]},
        (),
        preview_any,
        is_output=True,
        title="Preview Any",
        category="utils",
        module="comfy_extras.nodes_preview_any",
    ),
    "LoadImage": Node(
        {"image": [[], {"image_upload": True}]},
        ("IMAGE", "MASK"),
        load,
        title="Load Image",
        category="image",
        module="nodes",
    ),
    "ProbeNoise": Node(
        {
            "width": WHOLE,
            "height": WHOLE,
            "batch": ["INT", {"default": 1, "min": 1, "max": 64}],
            "seed": ["INT", {"default": 0, "min": 0, "max": 2**31}],
            "exact": ["BOOLEAN", {"default": False}],
        },
        ("IMAGE",),
        noise,
    ),
    "ProbeMask": Node({"mask": ["MASK"]}, (), mask_of, is_output=True),
    "ProbeBusy": Node(
        {"image": IMAGE, "seconds": ["FLOAT", {"default": 1.0, "max": 600.0}]}, ("IMAGE",), busy, changes=True
    ),
    "ProbeSteps": Node(
        {"image": IMAGE, "steps": WHOLE, "seconds": ["FLOAT", {"default": 0.01, "max": 60.0}]},
        ("IMAGE",),
        steps,
        changes=True,
        module="custom_nodes.probe_steps",
    ),
    "ProbeFail": Node({"image": IMAGE}, ("IMAGE",), fail, is_output=True, changes=True),
}


def validate(prompt: Any, targets: Any, exists: Callable[[str], bool]) -> tuple[dict[str, Any] | None, list[str], Any]:
    """(error, outputs that run, node_errors), as the core's validate_prompt gives them."""
    outputs = []
    for node_id in prompt:
        kind = prompt[node_id].get("class_type")
        if kind not in NODES:
            why = "a node is missing the class_type property" if kind is None else f"node {kind} does not exist"
            return _error("invalid_prompt", f"Cannot execute because {why}.", f"Node ID '#{node_id}'"), [], {}
        if NODES[kind].is_output and (targets is None or node_id in targets):
            outputs.append(node_id)
    if not outputs:
        return _error("prompt_no_outputs", "Prompt has no outputs", ""), [], {}
    good: list[str] = []
    node_errors: dict[str, Any] = {}
    told: list[str] = []
    validated: dict[str, tuple[bool, list[Any]]] = {}
    for output in outputs:
        try:
            _validate(prompt, output, validated, exists)
        except (KeyError, IndexError) as error:
            extra = {"exception_type": type(error).__name__, "traceback": ["…"]}
            reason = _error("exception_during_validation", "Exception when validating node", str(error), extra)
            validated[output] = (False, [reason])
        if validated[output][0]:
            good.append(output)
            continue
        told += [f"{reason['message']}: {reason['details']}" for reason in validated[output][1]]
        for node_id, (valid, reasons) in validated.items():
            if not valid and reasons:
                entry = {"errors": reasons, "dependent_outputs": [], "class_type": prompt[node_id]["class_type"]}
                node_errors.setdefault(node_id, entry)["dependent_outputs"].append(output)
    if not good:
        details = "\n".join(told)
        return _error("prompt_outputs_failed_validation", "Prompt outputs failed validation", details), [], node_errors
    return None, good, node_errors


def _validate(
    prompt: Graph, node_id: str, validated: dict[str, tuple[bool, list[Any]]], exists: Callable[[str], bool]
) -> bool:
    if node_id in validated:
        return validated[node_id][0]
    inputs, errors, valid = prompt[node_id]["inputs"], [], True
    kind = NODES[prompt[node_id]["class_type"]]
    for name, declared in kind.required.items():
        if name not in inputs:
            errors.append(_error("required_input_missing", "Required input is missing", name, {"input_name": name}))
            continue
        value = inputs[name]
        options = declared[1] if len(declared) > 1 else {}
        extra = {"input_name": name, "input_config": [declared[0], options]}
        if isinstance(value, list):
            received = NODES[prompt[value[0]]["class_type"]].output[value[1]]
            if declared[0] not in ("*", received):
                details = f"{name}, received_type({received}) mismatch input_type({declared[0]})"
                more = {**extra, "received_type": received, "linked_node": value}
                message = "Return type mismatch between linked nodes"
                errors.append(_error("return_type_mismatch", message, details, more))
            else:
                valid = _validate(prompt, value[0], validated, exists) and valid
            continue
        try:
            convert = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}.get(str(declared[0]))
            value = inputs[name] = convert(value) if convert else value
        except (TypeError, ValueError) as error:
            more = {**extra, "received_value": value, "exception_message": str(error)}
            message = f"Failed to convert an input value to a {declared[0]} value"
            errors.append(_error("invalid_input_type", message, f"{name}, {value}, {error}", more))
            continue
        more = {**extra, "received_value": value}
        if "min" in options and value < options["min"]:
            message = f"Value {value} smaller than min of {options['min']}"
            errors.append(_error("value_smaller_than_min", message, name, more))
        elif "max" in options and value > options["max"]:
            message = f"Value {value} bigger than max of {options['max']}"
            errors.append(_error("value_bigger_than_max", message, name, more))
        elif options.get("image_upload") and not exists(value):
            details = f"{name} - Invalid image file: {value}"
            message = "Custom validation failed for node"
            errors.append(_error("custom_validation_failed", message, details, {"input_name": name}))
    validated[node_id] = (valid and not errors, errors)
    return validated[node_id][0]


def _error(type: str, message: str, details: str, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"type": type, "message": message, "details": details, "extra_info": dict(extra or {})}


def signature(prompt: Graph, node_id: str) -> Any:
    """What a node's result depends on; never equal to another when it is to run anew."""
    node = prompt[node_id]
    if NODES[node["class_type"]].changes:
        # Not math.nan, which is the same object each time: a dict would find it.
        return float("nan")
    parts: list[Any] = [node["class_type"]]
    for name in sorted(node["inputs"]):
        value = node["inputs"][name]
        below = signature(prompt, value[0]) if isinstance(value, list) else None
        if below is not None and below != below:
            return float("nan")
        parts.append((name, (below, value[1]) if isinstance(value, list) else value))
    return tuple(parts)


def jpeg(width: int = 8, height: int = 8) -> bytes:
    """A picture of a step."""
    buffer = BytesIO()
    Image.new("RGB", (width, height), (200, 100, 50)).save(buffer, "JPEG")
    return buffer.getvalue()
