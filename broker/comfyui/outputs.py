"""What a prompt put out: files and texts, found by their shape in what the nodes reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OutputFile:
    """A file that a node wrote."""

    node_id: str
    key: str
    """Under which the node reported it: ``images``, ``gifs``, ``audio``, ..."""
    filename: str
    subfolder: str = ""
    folder: str = "output"
    """``output``, ``temp`` (emptied at every start of the ComfyUI) or ``input``."""


@dataclass(frozen=True)
class OutputText:
    """A text that a node reported."""

    node_id: str
    key: str
    text: str


Output = OutputFile | OutputText


def find_outputs(outputs: Any) -> tuple[Output, ...]:
    """The files and texts of a history entry's ``outputs``, each once, in the nodes' order.

    A file is any dict with a ``filename`` in any list, whatever its key is called, so that nodes
    which report videos, sounds or models are served too; a text is any string in a list.
    """
    return tuple(dict.fromkeys(_walk(outputs)))


def _walk(outputs: Any) -> Iterator[Output]:
    for node_id, reported in outputs.items() if isinstance(outputs, Mapping) else ():
        for key, items in reported.items() if isinstance(reported, Mapping) else ():
            for item in items if isinstance(items, list | tuple) else ():
                if isinstance(item, Mapping) and isinstance(item.get("filename"), str) and item["filename"]:
                    yield OutputFile(
                        str(node_id),
                        str(key),
                        item["filename"],
                        str(item.get("subfolder") or ""),
                        str(item.get("type") or "output"),
                    )
                elif isinstance(item, str):
                    yield OutputText(str(node_id), str(key), item)
