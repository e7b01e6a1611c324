"""A workflow as ComfyUI's page saves it, made into a prompt as the page itself would queue it.

Muted nodes and what hangs on them are left out, bypassed ones are passed through, reroutes and
primitives resolved, subgraphs flattened (a node 3 in the subgraph 12 is ``12:3``). What can't
be known from the file and ``/object_info`` is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .node_info import NodeInfo
from .refusals import NotConvertible
from .saved_graph import MUTED, PASSED_BY, Link, SavedGraph, Slot, slots_fit
from .widget_values import is_widget, widget_names, widget_values

NOTES = ("Note", "MarkdownNote")
REROUTE = "Reroute"
PRIMITIVE = "PrimitiveNode"
_DEPTH = 64


@dataclass(frozen=True)
class Conversion:
    """A prompt made of a saved workflow."""

    prompt: dict[str, Any]
    notes: tuple[str, ...]
    """What the page would do besides when it queues, and this did not."""


@dataclass(frozen=True)
class _Value:
    """What an input gets when no link leads to it."""

    value: Any


@dataclass
class _Place:
    """A node of the flattened workflow."""

    id: str
    """Its path, ``12:3``."""
    node: Mapping[str, Any]
    graph: SavedGraph
    inner: SavedGraph | None
    """The subgraph that it stands for."""
    info: NodeInfo | None
    host: _Place | None
    slots: list[Slot] = field(default_factory=list)
    set_by_host: dict[tuple[str, str], Any] = field(default_factory=dict)
    """Of a subgraph: (node in it, widget) -> value that this instance gives it."""
    promoted: dict[str, Any] = field(default_factory=dict)
    """Of a subgraph: input -> value of the widget that stands for it."""

    @property
    def type(self) -> str:
        return str(self.node.get("type") or "")

    @property
    def mode(self) -> int:
        return int(self.node.get("mode") or 0)

    @property
    def off(self) -> bool:
        return self.mode in (MUTED, PASSED_BY)

    @property
    def name(self) -> str:
        return f"node {self.id} ({self.type})"


def to_prompt(workflow: Any, object_info: Mapping[str, Any]) -> Conversion:
    """The prompt of a saved workflow, for a ComfyUI with this ``/object_info``.

    Raises NotConvertible, which names the nodes: of a class that this ComfyUI does not have, group
    nodes of old pages, values that exist only in the page, links that lead nowhere.
    """
    return _Converter(SavedGraph.of(workflow), object_info).convert()


class _Converter:
    def __init__(self, root: SavedGraph, object_info: Mapping[str, Any]) -> None:
        self.root = root
        self.infos = {name: NodeInfo.of(name, info) for name, info in object_info.items() if isinstance(info, dict)}
        self.places: dict[str, _Place] = {}
        self.notes: list[str] = []

    def convert(self) -> Conversion:
        self._flatten(self.root, None, ())
        alive = [place for place in self.places.values() if self._runs(place)]
        known = [(place, place.info) for place in alive if place.info is not None]
        strange = [place for place in alive if place.info is None]
        if strange:
            raise NotConvertible(
                "This ComfyUI does not know, and so can't say what the widgets are of: "
                + ", ".join(place.name for place in strange[:20]),
                nodes=[{"node": place.id, "class_type": place.type} for place in strange],
            )
        prompt = {place.id: self._entry(place, info) for place, info in known}
        for entry in prompt.values():
            inputs = entry["inputs"]
            for name in [name for name, value in inputs.items() if isinstance(value, list) and value[0] not in prompt]:
                del inputs[name]
        if not prompt:
            raise NotConvertible("No node of the workflow would run")
        return Conversion(prompt, tuple(dict.fromkeys(self.notes)))

    def _runs(self, place: _Place) -> bool:
        return not place.off and place.inner is None and place.type not in (*NOTES, REROUTE, PRIMITIVE)

    def _flatten(self, graph: SavedGraph, host: _Place | None, above: tuple[str, ...]) -> None:
        for number, node in graph.nodes.items():
            kind = str(node.get("type") or "")
            path = f"{host.id}:{number}" if host else number
            if kind.startswith(("workflow>", "workflow/")):
                raise NotConvertible(
                    f"Node {path} is a group node of old pages: make a subgraph of it there", node=path
                )
            inner = self.root.subgraphs.get(kind)
            place = _Place(path, node, graph, inner, self.infos.get(kind), host)
            place.slots = list(self._slots(place))
            self.places[path] = place
            if inner is not None:
                if kind in above or len(above) > _DEPTH:
                    raise NotConvertible(f"The subgraph of {place.name} holds itself", node=path)
                self._read_promoted(place, inner)
                if not place.off:
                    self._flatten(inner, place, (*above, kind))

    def _slots(self, place: _Place) -> Iterator[Slot]:
        """The inputs in the order in which the page has them: bypassing goes by it."""
        saved = place.graph.slots(place.node)
        by_name = {slot.name: slot for slot in reversed(saved)}
        declared: list[tuple[str, str, str]] = []
        if place.inner is not None:
            declared = [(slot.name, slot.type, "") for slot in place.inner.inputs]
        elif place.info is not None:
            named = widget_names(place.node)
            entries = list(place.info.inputs.values())
            declared = [(each.name, each.type, "") for each in entries if not is_widget(each, named)]
            declared += [(each.name, each.type, each.name) for each in entries if is_widget(each, named)]
        for name, kind, widget in declared:
            slot = by_name.pop(name, None)
            yield Slot(name, kind, slot.link if slot else None, widget or (slot.widget if slot else ""))
        yield from (slot for slot in saved if by_name.get(slot.name) is slot)

    def _read_promoted(self, place: _Place, inner: SavedGraph) -> None:
        """What this instance of a subgraph says of the widgets in it."""
        properties = place.node.get("properties")
        proxies = properties.get("proxyWidgets") if isinstance(properties, dict) else None
        values = place.node.get("widgets_values")
        values = values if isinstance(values, list) else []
        if isinstance(proxies, list):
            for proxy, value in zip(proxies, values, strict=False):
                if isinstance(proxy, list) and len(proxy) >= 2 and value is not None:
                    if str(proxy[0]) == "-1":
                        place.promoted[str(proxy[1])] = value
                    else:
                        place.set_by_host[str(proxy[0]), str(proxy[1])] = value
        else:
            shown = [slot.name for index, slot in enumerate(inner.inputs) if self._shows(inner, index, 0)]
            place.promoted = dict(zip(shown, values, strict=False))
        if place.host is not None:
            number = place.id.rpartition(":")[2]
            for (node, name), value in place.host.set_by_host.items():
                if node == number:
                    place.promoted[name] = value

    def _shows(self, inner: SavedGraph, index: int, depth: int) -> bool:
        """Whether an input of the subgraph stands for a widget in it."""
        for link in inner.from_input(index):
            node = inner.nodes.get(link.target)
            if node is None or depth > _DEPTH:
                continue
            below = self.root.subgraphs.get(str(node.get("type")))
            slot = next((slot for slot in inner.slots(node) if slot.link == link.id), None)
            if slot is not None and slot.widget:
                return True
            if below is not None and slot is not None:
                position = next((i for i, each in enumerate(below.inputs) if each.name == slot.name), None)
                if position is not None and self._shows(below, position, depth + 1):
                    return True
        return False

    def _entry(self, place: _Place, info: NodeInfo) -> dict[str, Any]:
        """The node as it stands in the prompt."""

        def say(note: str) -> None:
            self.notes.append(f"{place.name}, {note}")

        try:
            inputs = widget_values(info, place.node, say)
        except NotConvertible as error:
            raise NotConvertible(f"{place.name}: {error.message}", node=place.id) from error
        if place.host is not None:
            number = place.id.rpartition(":")[2]
            for (node, name), value in place.host.set_by_host.items():
                if node == number and name in inputs:
                    inputs[name] = _wrapped(value)
        for index, slot in enumerate(place.slots):
            source = self._input(place, index, slot.type, frozenset())
            if isinstance(source, _Value):
                inputs[slot.name] = _wrapped(source.value)
            elif source is not None:
                inputs[slot.name] = list(source)
        title = place.node.get("title")
        return {
            "inputs": inputs,
            "class_type": place.type,
            "_meta": {"title": title if isinstance(title, str) and title else info.title},
        }

    def _input(
        self, place: _Place, index: int, kind: str, seen: frozenset[tuple[str, str, int]]
    ) -> tuple[str, int] | _Value | None:
        """Where the input's value comes from: (node, output), a value, or None for nowhere."""
        step = (place.id, "in", index)
        if step in seen:
            raise NotConvertible(f"The links of {place.name} go in a circle", node=place.id)
        seen |= {step}
        slot = place.slots[index]
        link = place.graph.link(slot.link) if slot.link is not None else None
        if link is None:
            if slot.link is not None:
                raise NotConvertible(
                    f"Input {slot.name} of {place.name} hangs on a link that is not there", node=place.id
                )
            return None
        if place.graph.is_input(link):
            return self._from_above(place, link, kind, seen)
        origin = self.places.get(place.id.rpartition(":")[0] + ":" + link.origin if place.host else link.origin)
        if origin is None:
            raise NotConvertible(f"Input {slot.name} of {place.name} is linked to no node", node=place.id)
        return self._output(origin, link.origin_slot, kind, seen)

    def _from_above(
        self, place: _Place, link: Link, kind: str, seen: frozenset[tuple[str, str, int]]
    ) -> tuple[str, int] | _Value | None:
        """What an input of the subgraph gets outside of it."""
        host = place.host
        if host is None or not 0 <= link.origin_slot < len(host.slots):
            raise NotConvertible(f"{place.name} is linked to an input that its subgraph does not have", node=place.id)
        slot = host.slots[link.origin_slot]
        source = self._input(host, link.origin_slot, slot.type, seen) if slot.link is not None else None
        if source is None and slot.name in host.promoted:
            return _Value(host.promoted[slot.name])
        return source

    def _output(
        self, place: _Place, index: int, kind: str, seen: frozenset[tuple[str, str, int]]
    ) -> tuple[str, int] | _Value | None:
        """What comes out of an output, through everything that does not run itself."""
        step = (place.id, "out", index)
        if step in seen:
            raise NotConvertible(f"The links of {place.name} go in a circle", node=place.id)
        seen |= {step}
        if place.mode == MUTED:
            return None
        if place.mode == PASSED_BY:
            position = self._passed_by(place, index, kind)
            return None if position is None else self._input(place, position, place.slots[position].type, seen)
        if place.inner is not None:
            link = place.inner.to_output(index)
            if link is None:
                return None
            if place.inner.is_input(link):
                return self._input(place, link.origin_slot, kind, seen)
            return self._output(self.places[f"{place.id}:{link.origin}"], link.origin_slot, kind, seen)
        if place.type == REROUTE:
            return self._input(place, 0, kind, seen) if place.slots else None
        if place.type == PRIMITIVE:
            values = place.node.get("widgets_values")
            if (place.node.get("properties") or {}).get("Run widget replace on values"):
                self.notes.append(f"{place.name}: the page puts values into its text; here it is sent as it stands")
            return _Value(values[0]) if isinstance(values, list) and values else None
        return place.id, index

    def _passed_by(self, place: _Place, index: int, kind: str) -> int | None:
        """The input that a bypassed node passes on at this output, as the page chooses it."""
        outputs = place.node.get("outputs") or []
        given = str(outputs[index].get("type")) if index < len(outputs) and isinstance(outputs[index], dict) else "*"
        slots = place.slots
        if kind in ("*", ""):
            return index if index < len(slots) else (0 if slots else None)
        if index < len(slots) and slots_fit(slots[index].type, given) and slots_fit(slots[index].type, kind):
            return index
        for position, slot in enumerate(slots):
            if slot.type == kind:
                return position
        for position, slot in enumerate(slots):
            if slots_fit(slot.type, given) and slots_fit(slot.type, kind):
                return position
        return None


def _wrapped(value: Any) -> Any:
    return {"__value__": value} if isinstance(value, list) else value
