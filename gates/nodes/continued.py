"""Nodes that only continued prompts have (``cut.py``); no search offers them."""

from __future__ import annotations

from typing import Any

from .any_type import ANY


class GatebusResumed:
    """The items of a list of gates: which decision each carries out, or passes again."""

    CATEGORY = "Gate Bus/internal"
    DESCRIPTION = "Made by a prompt that goes on from a gate."
    DEPRECATED = True
    FUNCTION = "run"
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("items",)
    OUTPUT_TOOLTIPS = ("One text an item.",)
    OUTPUT_IS_LIST = (True,)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The items, one a line."""
        return {"required": {"items": ("STRING", {"default": "", "multiline": True})}}

    def run(self, items: str) -> tuple[list[str]]:
        """The items as a list."""
        return (items.splitlines(),)


class GatebusContinued:
    """An output node, so that the gate runs from which a prompt goes on, also when nothing else is behind it."""

    CATEGORY = "Gate Bus/internal"
    DESCRIPTION = "Made by a prompt that goes on from a gate."
    DEPRECATED = True
    FUNCTION = "run"
    RETURN_TYPES = ()
    RETURN_NAMES = ()
    OUTPUT_TOOLTIPS = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The first output of the gate."""
        return {"required": {"passed": (ANY, {})}}

    def run(self, passed: Any) -> dict[str, Any]:
        """Nothing."""
        return {}
