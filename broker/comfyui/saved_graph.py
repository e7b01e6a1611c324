"""A workflow file of ComfyUI's page, read: nodes, links, and the subgraphs that it defines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .refusals import NotConvertible

MUTED = 2
"""Mode of a node that does not run, and whose outputs lead nowhere."""

PASSED_BY = 4
"""Mode of a node that does not run, and hands on what it is given."""

MAX_NODES = 20_000


@dataclass(frozen=True)
class Slot:
    """An input of a node."""

    name: str
    type: str
    link: str | None = None
    widget: str = ""
    """The widget that it stands for, "" when it is an input alone."""


@dataclass(frozen=True)
class Link:
    """A link from an output to an input; ends of a subgraph count as nodes."""

    id: str
    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass
class SavedGraph:
    """A workflow, or the inside of a subgraph."""

    nodes: dict[str, Mapping[str, Any]]
    links: dict[str, Link]
    inputs: list[Slot] = field(default_factory=list)
    """Of a subgraph."""
    outputs: int = 0
    input_end: str = ""
    """Id under which links name the subgraph's inputs; "" of the workflow itself."""
    output_end: str = ""
    subgraphs: dict[str, SavedGraph] = field(default_factory=dict)
    """Of the workflow: the subgraphs by id, which is the type of the nodes that stand for them."""

    @classmethod
    def of(cls, document: Any) -> SavedGraph:
        """The workflow of a file; raises NotConvertible for another form."""
        root = cls._graph(document, "the workflow")
        definitions = document.get("definitions")
        listed = definitions.get("subgraphs") if isinstance(definitions, dict) else []
        for each in listed if isinstance(listed, list) else []:
            if not isinstance(each, dict) or not isinstance(each.get("id"), str):
                raise NotConvertible("A subgraph of the workflow has no id")
            root.subgraphs[each["id"]] = cls._subgraph(each)
        return root

    @classmethod
    def _subgraph(cls, document: dict[str, Any]) -> SavedGraph:
        graph = cls._graph(document, f"the subgraph {str(document.get('name'))[:80]!a}")
        for key, standard in (("inputNode", "-10"), ("outputNode", "-20")):
            end = document.get(key)
            identity = str(end["id"]) if isinstance(end, dict) and "id" in end else standard
            if key == "inputNode":
                graph.input_end = identity
            else:
                graph.output_end = identity
        given = [each for each in document.get("inputs") or () if isinstance(each, dict)]
        graph.inputs = [Slot(str(each.get("name")), str(each.get("type"))) for each in given]
        graph.outputs = len(document.get("outputs") or ())
        return graph

    @classmethod
    def _graph(cls, document: Any, what: str) -> SavedGraph:
        nodes = document.get("nodes") if isinstance(document, dict) else None
        if not isinstance(nodes, list) or len(nodes) > MAX_NODES:
            raise NotConvertible(f"{what} has no list of at most {MAX_NODES} nodes, as ComfyUI's page saves it")
        found: dict[str, Mapping[str, Any]] = {}
        for node in nodes:
            if not isinstance(node, dict) or type(node.get("id")) not in (int, str) or not node.get("type"):
                raise NotConvertible(f"A node of {what} has no id or type")
            if str(node["id"]) in found:
                raise NotConvertible(f"{what} has two nodes {node['id']}")
            found[str(node["id"])] = node
        links = (_link(each, what) for each in document.get("links") or () if each is not None)
        return cls(found, {link.id: link for link in links})

    def slots(self, node: Mapping[str, Any]) -> list[Slot]:
        """The inputs that the file gives for the node."""
        slots = []
        for each in node.get("inputs") or ():
            if not isinstance(each, dict):
                raise NotConvertible(f"Node {node['id']} has an input that is no object")
            link, widget = each.get("link"), each.get("widget")
            name = str(each.get("name", ""))
            shown = str(widget.get("name") or name) if isinstance(widget, dict) else ""
            slots.append(Slot(name, str(each.get("type", "*")), None if link is None else str(link), shown))
        return slots

    def link(self, number: str | None) -> Link | None:
        """The link of that id."""
        return self.links.get(number) if number is not None else None

    def is_input(self, link: Link) -> bool:
        """Whether the link begins at the subgraph's own inputs."""
        return bool(self.input_end) and link.origin == self.input_end

    def from_input(self, index: int) -> list[Link]:
        """The links that begin at an input of the subgraph."""
        return [link for link in self.links.values() if self.is_input(link) and link.origin_slot == index]

    def to_output(self, index: int) -> Link | None:
        """The link that ends at an output of the subgraph."""
        ends = (link for link in self.links.values() if link.target == self.output_end and link.target_slot == index)
        return next(ends, None)


def _link(value: Any, what: str) -> Link:
    if isinstance(value, list) and len(value) >= 5:
        value = dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot"), value, strict=False))
    try:
        origin, target = value["origin_slot"], value["target_slot"]
        return Link(str(value["id"]), str(value["origin_id"]), int(origin), str(value["target_id"]), int(target))
    except (TypeError, KeyError, ValueError) as error:
        raise NotConvertible(f"{what} has a link that is not [id, node, output, node, input]") from error


def slots_fit(one: str, other: str) -> bool:
    """Whether the page lets inputs and outputs of these types be linked."""
    if one in ("*", "", "0", other) or other in ("*", "", "0"):
        return True
    return not set(one.lower().split(",")).isdisjoint(other.lower().split(","))
