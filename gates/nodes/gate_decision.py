"""``GateDecision``: tells the nodes behind a gate what was decided there."""

from __future__ import annotations

from typing import Any

from .. import comfy
from ..errors import InvalidInput
from . import passed
from .passing import chosen_of

GATES = ("ImageGate", "ImageChooserGate")
"""The classes of gates that give a mask."""


class GateDecision:
    """The node; see ``web/comfyui/docs/GateDecision.md`` for what it promises to people.

    It is wired from a gate's mask output, for three reasons. The wire names the gate, so there is
    no name to type, to keep unique or to forget when a workflow is copied. The wire is also the
    order: ComfyUI runs this node when the gate has passed, never before. And outputs for all this
    on the gate itself would have to stand behind its routes, whose number changes: saved workflows
    know outputs by their place. Any gate with a mask output always fills it, whichever route is
    taken, so the wire never blocks what the routes let pass.

    The mask itself is not read: the node looks at where its wire begins, and there at what was
    decided in this prompt (a continued one passes its gates again), for the same item of a list.
    """

    CATEGORY = "Gate Bus"
    DESCRIPTION = (
        "Tells what was decided at a gate: the route and its label, the text, the chosen images, who decided."
        " Wire it from the gate's mask."
    )
    SEARCH_ALIASES = ("decision text", "route number", "who decided", "chosen images", "gate result", "comment")
    FUNCTION = "run"
    RETURN_TYPES = ("INT", "STRING", "STRING", "STRING", "STRING")
    RETURN_NAMES = ("route", "label", "text", "chosen", "by")
    OUTPUT_TOOLTIPS = (
        "The route that was chosen, from 1; 0 when the gate had nothing to ask.",
        "Its label, empty when it has none.",
        "The text that came with the decision, empty when there was none.",
        "The images of the batch that passed, by their place from 0, with commas: 0,2,5.",
        "Who decided, as the page or the caller said; deadline when the time was up.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The inputs; their order is a promise to saved workflows."""
        tooltip = "The mask output of an Image Gate or an Image Chooser Gate, wired straight from there."
        return {
            "required": {"mask": ("MASK", {"tooltip": tooltip})},
            "hidden": {"unique_id": "UNIQUE_ID", "dynprompt": "DYNPROMPT"},
        }

    def run(self, mask: Any, unique_id: str, dynprompt: Any) -> tuple[int, str, str, str, str]:
        """Route, label, text, chosen and by of the decision that passed; raises InvalidInput for another wire."""
        source = _source(dynprompt, unique_id)
        at = comfy.place(unique_id, dynprompt, None)
        found = passed.recall(at.prompt_id, source, at.list_index)
        if found is None:
            return 0, "", "", "", ""
        gate, decision = found.gate, found.decision
        label = gate.labels[decision.route - 1] if 0 < decision.route <= len(gate.labels) else ""
        chosen = ",".join(map(str, chosen_of(decision, gate.batch)))
        return decision.route, label, decision.text, chosen, decision.by


def _source(dynprompt: Any, unique_id: str) -> str:
    """The id of the gate at which the wire begins; raises InvalidInput."""
    link = dynprompt.get_node(unique_id)["inputs"].get("mask")
    node = dynprompt.get_node(link[0]) if isinstance(link, list) else {}
    kind = node.get("class_type")
    if kind not in GATES:
        title = (node.get("_meta") or {}).get("title") or kind or "nothing"
        raise InvalidInput(
            f"Gate Decision must be wired straight from the mask output of an Image Gate or an Image Chooser Gate;"
            f" its wire comes from {title}"
        )
    return str(link[0])
