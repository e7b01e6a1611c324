"""ComfyUI's page as a test uses it: workflows, nodes, queueing, and what the page says on its console."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from gates.gate.record import Gate
from gates.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

T = TypeVar("T")

READY = """() => !!window.app?.canvas && !document.querySelector('#splash-loader')
    && !!window.app.extensionManager.workflow?.activeWorkflow"""
"""The page has opened a workflow: its default one at the first start, else the one that it remembers."""

OURS = re.compile("gatebus", re.IGNORECASE)


class Bed(Protocol):
    """A server under a page: the test host or a real ComfyUI."""

    url: str
    store: Store
    """The store that the page's server uses."""
    folder: Path
    """Its base directory: ``input``, ``output``, ``temp``, ``user``."""

    def set(self, settings: dict[str, Any]) -> None:
        """Stores settings of the frontend; they hold from the next load on."""
        ...


@dataclass(frozen=True)
class Message:
    """What the page said: a console message, an exception that nobody caught, or a failed load."""

    level: str
    """``error``, ``warning``, ``log``, ``info``, ``debug``."""
    text: str
    sources: tuple[str, ...]
    """URLs: of the scripts on the stack, innermost first, or of what was not loaded."""

    def is_ours(self) -> bool:
        return bool(OURS.search(self.text)) or any(OURS.search(source) for source in self.sources)


@dataclass
class Console:
    """Everything that one tab said."""

    messages: list[Message] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def allow(self, pattern: str) -> None:
        """An error of ours whose text or URL matches is expected in this test, e.g. a 409 that it provokes."""
        self.allowed.append(pattern)

    def faults(self) -> list[Message]:
        """Errors and warnings (deprecations among them) that are ours and not expected."""
        return [
            message
            for message in self.messages
            if message.level in ("error", "warning")
            and message.is_ours()
            and not any(re.search(p, text) for p in self.allowed for text in (message.text, *message.sources))
        ]


@dataclass
class Traffic:
    """What one tab has loaded over the network: bytes on the wire by URL; what came out of a cache counts nothing."""

    loads: list[tuple[str, int]] = field(default_factory=list)
    _urls: dict[str, str] = field(default_factory=dict)

    def bytes(self, pattern: str = "") -> int:
        """Bytes of the loads whose URL matches, headers included."""
        return sum(size for url, size in self.loads if re.search(pattern, url))

    def count(self, pattern: str = "") -> int:
        """Loads from the network whose URL matches."""
        return sum(1 for url, size in self.loads if size and re.search(pattern, url))

    def clear(self) -> None:
        self.loads.clear()


class ComfyPage:
    """One tab. ``page`` is Playwright's; everything here is what tests of ours say again and again."""

    def __init__(self, context: BrowserContext, bed: Bed, mode: str, pictures: Path) -> None:
        self.bed, self.mode, self.store, self.url = bed, mode, bed.store, bed.url
        self.vue = mode.endswith("vue")
        """Whether nodes are drawn as elements ("Nodes 2.0")."""
        self.console, self.traffic = Console(), Traffic()
        self._pictures = pictures
        self.page: Page = context.new_page()
        self._listen(context)

    def open(self) -> None:
        """Loads the page and waits until it has drawn a workflow."""
        self.page.goto(self.url + "/", wait_until="domcontentloaded")
        self.page.wait_for_function(READY, timeout=60_000)
        # Once the page is ready, extensions still begin what they do lazily.
        self.page.wait_for_timeout(200)

    def reload(self) -> None:
        """As F5."""
        self.page.reload(wait_until="domcontentloaded")
        self.page.wait_for_function(READY, timeout=60_000)
        self.page.wait_for_timeout(200)

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """The value of a JavaScript function, called with the argument."""
        return self.page.evaluate(script, argument)

    # Workflows and nodes; node ids are text, as in new frontends.

    def load_workflow(self, workflow: dict[str, Any]) -> None:
        """Opens a workflow in the page's own format (``{"nodes": [...], "links": [...]}``)."""
        self.evaluate("workflow => window.app.loadGraphData(workflow)", workflow)
        self.settle()

    def clear(self) -> str:
        """Opens an empty workflow and returns its id."""
        of = str(uuid.uuid4())
        empty = {"last_node_id": 0, "last_link_id": 0, "nodes": [], "links": [], "groups": [], "config": {}}
        self.load_workflow({"id": of, "revision": 0, **empty, "extra": {}, "version": 0.4})
        return of

    def workflow(self) -> Any:
        """The workflow as it would be saved."""
        return self.evaluate("() => (window.app.rootGraph ?? window.app.graph).serialize()")

    def add_node(self, kind: str, values: dict[str, Any] | None = None, pos: tuple[int, int] = (100, 100)) -> str:
        """Adds a node with these widget values and returns its id."""
        node_id = self.evaluate(
            """([kind, values, pos]) => {
                const node = window.LiteGraph.createNode(kind);
                if (!node) throw new Error("no node " + kind);
                node.pos = pos;
                (window.app.canvas.graph ?? window.app.graph).add(node);
                for (const [name, value] of Object.entries(values)) {
                    const widget = node.widgets.find((each) => each.name === name);
                    if (!widget) throw new Error(kind + " has no widget " + name);
                    widget.value = value;
                    widget.callback?.(value);
                }
                return String(node.id);
            }""",
            [kind, values or {}, list(pos)],
        )
        self.settle()
        return str(node_id)

    def connect(self, source: str, output: int | str, target: str, name: str) -> None:
        """Wires an output (by position or name) to the input of that name."""
        self.evaluate(
            """([source, output, target, name]) => {
                const graph = window.app.canvas.graph ?? window.app.graph;
                const find = (id) => graph.nodes.find((node) => String(node.id) === id);
                const [from, to] = [find(source), find(target)];
                const slot = typeof output === "number" ? output : from.findOutputSlot(output);
                if (!from.connect(slot, to, to.findInputSlot(name))) throw new Error(`no wire to ${name}`);
            }""",
            [source, output, target, name],
        )
        self.settle()

    def gate_workflow(self, routes: int = 2, size: tuple[int, int] = (320, 240), **values: Any) -> str:
        """EmptyImage -> ImageGate -> a PreviewImage behind each route; returns the gate's node id."""
        image = self.add_node("EmptyImage", {"width": size[0], "height": size[1], "color": 0x3060A0}, (20, 60))
        gate = self.add_node("ImageGate", {"routes": routes, **values}, (360, 60))
        self.connect(image, 0, gate, "image")
        for number in range(1, routes + 1):
            preview = self.add_node("PreviewImage", {}, (900, 60 + 300 * (number - 1)))
            self.connect(gate, number, preview, "images")
        return gate

    def node(self, node_id: str, expression: str = "node.id") -> Any:
        """The value of a JavaScript expression about the ``node``."""
        return self.evaluate(
            f"""(id) => {{
                const graph = window.app.canvas.graph ?? window.app.graph;
                const node = graph.nodes.find((each) => String(each.id) === id);
                return {expression};
            }}""",
            node_id,
        )

    def select(self, node_id: str) -> None:
        """Selects that node alone."""
        self.node(node_id, "window.app.canvas.selectNode(node, false), null")

    def queue(self) -> str:
        """Presses Run, so to speak, and returns the prompt's id."""
        posted = lambda answer: answer.request.method == "POST" and re.search(r"/prompt$", answer.url)  # noqa: E731
        with self.page.expect_response(posted) as answered:
            self.evaluate("() => { window.app.queuePrompt(0, 1); }")
        answer = answered.value.json()
        assert answered.value.status == 200, answer
        assert not answer["node_errors"], answer
        return str(answer["prompt_id"])

    # Waiting and looking.

    def until(self, condition: Callable[[], T], what: str = "", limit: float = 20.0) -> T:
        """The condition's first true value; the page lives on meanwhile. Fails after ``limit`` seconds."""
        deadline = time.monotonic() + limit
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < deadline, f"not in {limit} s: {what or condition}; the last value: {value!r}"
            self.page.wait_for_timeout(40)

    def gates(self, count: int = 1) -> list[Gate]:
        """The waiting gates in the store, oldest first, once there are so many."""

        def waiting() -> list[Gate] | None:
            found = [gate for gate in self.store.gates.records() if gate.status == "waiting"]
            return found if len(found) >= count else None

        return self.until(waiting, f"{count} waiting gates") or []

    def settle(self) -> None:
        """Two frames: what was changed has been drawn."""
        self.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))")

    def screenshot(self, name: str) -> Path:
        """A picture of the tab; the folder is the test's own, or ``$SCREENSHOTS``."""
        path = self._pictures / f"{self.mode}-{name}.png"
        self.page.screenshot(path=path)
        return path

    @contextmanager
    def offline(self) -> Iterator[None]:
        """The tab has no network meanwhile."""
        self.page.context.set_offline(True)
        yield
        self.page.context.set_offline(False)

    def _listen(self, context: BrowserContext) -> None:
        # The protocol itself: Playwright's messages carry no stack, and its sizes no cache hits.
        cdp = context.new_cdp_session(self.page)
        cdp.on("Runtime.consoleAPICalled", self._said)
        cdp.on("Runtime.exceptionThrown", self._thrown)
        cdp.on("Log.entryAdded", self._logged)
        urls = self.traffic._urls
        cdp.on("Network.requestWillBeSent", lambda e: urls.update({e["requestId"]: e["request"]["url"]}))
        cdp.on("Network.requestServedFromCache", lambda e: urls.pop(e["requestId"], None))
        cdp.on("Network.loadingFinished", self._loaded)
        for domain in ("Runtime", "Log", "Network"):
            cdp.send(f"{domain}.enable")

    def _loaded(self, event: dict[str, Any]) -> None:
        url = self.traffic._urls.pop(event["requestId"], None)
        if url is not None:
            self.traffic.loads.append((url, int(event["encodedDataLength"])))

    def _said(self, event: dict[str, Any]) -> None:
        parts = [str(a.get("value", a.get("description", ""))) for a in event["args"]]
        level = {"assert": "error"}.get(event["type"], event["type"])
        self.console.messages.append(Message(level, " ".join(parts), _frames(event.get("stackTrace"))))

    def _thrown(self, event: dict[str, Any]) -> None:
        details = event["exceptionDetails"]
        text = details.get("exception", {}).get("description") or details["text"]
        self.console.messages.append(
            Message("error", text, (details.get("url", ""), *_frames(details.get("stackTrace"))))
        )

    def _logged(self, event: dict[str, Any]) -> None:
        entry = event["entry"]
        self.console.messages.append(Message(entry["level"], entry["text"], (entry.get("url", ""),)))


def _frames(stack: dict[str, Any] | None) -> tuple[str, ...]:
    return tuple(frame["url"] for frame in (stack or {}).get("callFrames", ()))
