"""The door to ComfyUI: the only Python module that imports ComfyUI's own.

Each function imports what it needs when it is called, so that the nodes can be imported, and
tested with another door in this one's place, where there is no ComfyUI.
"""

from __future__ import annotations

import functools
import heapq
import logging
import platform
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from . import __version__, api
from .errors import InvalidSetting
from .instances.address import address
from .instances.record import CLIENT_SHOWN, PENDING_SHOWN, Device, Instance, Pending, Running
from .names import LABEL_LIMIT, clean_text
from .process import Process, Surroundings
from .store import Store

log = logging.getLogger(__name__)

GATE_EVENT = "gatebus.gate"
"""Sent to the page when a gate has opened: ids only; the page asks the API for the rest."""

NOTICE_EVENT = "gatebus.notice"
"""Sent to the page for what a person should know while a gate goes on: severity and text."""


@dataclass(frozen=True)
class Place:
    """Where in which prompt a node runs; metadata, never a key."""

    prompt_id: str = ""
    node_id: str = ""
    """The execution id, ``12:3`` in a subgraph."""
    display_node: str = ""
    """The node that the page shows: another one than ``node_id`` when a node expanded into several."""
    list_index: int = 0
    client_id: str = ""
    """The tab that queued the prompt, "" when it was queued without one."""
    title: str = ""
    workflow: str = ""
    """The workflow's name where the prompt carries one, else its id."""
    workflow_id: str = ""


def place(unique_id: str, dynprompt: Any, extra_pnginfo: Any) -> Place:
    """Where the calling node runs; to be called on ComfyUI's own thread of execution.

    ``unique_id``, ``dynprompt`` and ``extra_pnginfo`` are the node's hidden inputs.
    """
    from comfy_execution.utils import get_executing_context
    from server import PromptServer

    context = get_executing_context()
    node = dynprompt.get_node(unique_id)
    return Place(
        prompt_id=str(context.prompt_id) if context else "",
        node_id=unique_id,
        display_node=str(dynprompt.get_display_node_id(unique_id)),
        list_index=(context.list_index or 0) if context else 0,
        client_id=PromptServer.instance.client_id or "",
        title=_text(node.get("_meta"), "title"),
        workflow=_workflow(extra_pnginfo),
        workflow_id=_text(extra_pnginfo.get("workflow"), "id") if isinstance(extra_pnginfo, dict) else "",
    )


def interrupted() -> bool:
    """Whether ComfyUI was told to stop the prompt that runs."""
    from comfy.model_management import processing_interrupted

    return bool(processing_interrupted())


def interrupt() -> None:
    """Tells ComfyUI to stop the prompt that runs, nodes that are busy included; call it only inside that prompt."""
    from comfy.model_management import interrupt_current_processing

    interrupt_current_processing()


def interruption() -> BaseException:
    """The exception by which a node says that its prompt was stopped; ComfyUI shows no error for it."""
    from comfy.model_management import InterruptProcessingException

    return InterruptProcessingException()


def blocker() -> Any:
    """The output that keeps everything behind it from running, silently."""
    from comfy_execution.graph_utils import ExecutionBlocker

    return ExecutionBlocker(None)


def announce(at: Place, gate_id: str) -> None:
    """Tells the tab that queued the prompt (every tab, when there is none) that a gate waits."""
    data = {
        "gate_id": gate_id,
        "prompt_id": at.prompt_id,
        "node_id": at.node_id,
        "display_node": at.display_node,
        "list_index": at.list_index,
    }
    _send(GATE_EVENT, data, at.client_id)


def notice(at: Place, severity: str, text: str) -> None:
    """Shows a person a text without stopping anything; ``severity`` is ``info``, ``warn`` or ``error``."""
    data = {"severity": severity, "text": text, "node_id": at.node_id, "display_node": at.display_node}
    _send(NOTICE_EVENT, data, at.client_id)


def outputs(prompt_id: str) -> tuple[str, ...]:
    """The output nodes that a running prompt was queued to run."""
    from server import PromptServer

    queue = PromptServer.instance.prompt_queue
    with queue.mutex:
        found = [entry[4] for entry in queue.currently_running.values() if entry[1] == prompt_id]
    return tuple(sorted(found[0])) if found else ()


def lazy_inputs(classes: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Node class -> its inputs that are evaluated only when it asks for them; without those that have none."""
    return {name: lazy for name in classes if (lazy := _lazy_inputs(name))}


@functools.lru_cache(maxsize=10_000)
def _lazy_inputs(name: str) -> tuple[str, ...]:
    from nodes import NODE_CLASS_MAPPINGS

    declared = NODE_CLASS_MAPPINGS[name].INPUT_TYPES() if name in NODE_CLASS_MAPPINGS else {}
    inputs = {**declared.get("required", {}), **declared.get("optional", {})}
    return tuple(
        key for key, kind in inputs.items() if len(kind) > 1 and isinstance(kind[1], dict) and kind[1].get("lazy")
    )


def missing_classes(classes: Iterable[str]) -> list[str]:
    """Those node classes that this ComfyUI does not have."""
    from nodes import NODE_CLASS_MAPPINGS

    return sorted(name for name in classes if name not in NODE_CLASS_MAPPINGS)


def prompt_end(prompt_id: str) -> tuple[bool, dict[str, Any] | None]:
    """Whether the prompt runs or waits to, and its entry in the history, None when there is none."""
    from server import PromptServer

    queue = PromptServer.instance.prompt_queue
    with queue.mutex:
        there = any(entry[1] == prompt_id for entry in (*queue.currently_running.values(), *queue.queue))
        return there, queue.history.get(prompt_id)


def watch_prompt(prompt_id: str) -> None:
    """Has the store told when this prompt has ended; to be called while it runs, from any thread."""
    _process.watch(prompt_id)


def own_address() -> tuple[str, int, bool]:
    """(host, port, TLS) at which this process reaches its own server."""
    from comfy.cli_args import args

    host = args.listen.split(",")[0].strip()
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared, not bound)
    return host, int(args.port), bool(args.tls_keyfile and args.tls_certfile)


def input_dir() -> Path:
    """ComfyUI's input directory, which holds the pools and buses on disk."""
    import folder_paths

    return Path(folder_paths.get_input_directory())


def temporary_dir() -> Path:
    """ComfyUI's directory for what is gone after its next start."""
    import folder_paths

    return Path(folder_paths.get_temp_directory())


def user_dir() -> Path:
    """The pack's own folder in ComfyUI's user directory; no HTTP route serves it."""
    import folder_paths

    if hasattr(folder_paths, "get_system_user_directory"):
        return Path(folder_paths.get_system_user_directory("gatebus"))
    return Path(folder_paths.get_user_directory()) / "__gatebus"


def look() -> Instance:
    """What this ComfyUI is and does, for the registry of instances; cheap, from any thread."""
    import comfy.model_management as models
    from server import PromptServer

    device, memory = models.get_torch_device(), models.torch.device("cpu")
    shown = Device(
        name=str(models.get_torch_device_name(device)),
        type=device.type,
        vram_total=int(models.get_total_memory(device)),
        vram_free=int(models.get_free_memory(device)),
    )
    queue = PromptServer.instance.prompt_queue
    with queue.mutex:
        # Shallow: the entries themselves are not changed by anyone, and their graphs are large.
        runs, waits = list(queue.currently_running.values()), list(queue.queue)
    next_ones = heapq.nsmallest(PENDING_SHOWN, waits, key=lambda entry: entry[:2])
    return replace(
        _standing(),
        devices=(shown,),
        ram_total=int(models.get_total_memory(memory)),
        ram_free=int(models.get_free_memory(memory)),
        running=tuple(_running(entry) for entry in runs),
        pending=len(waits),
        next=tuple(Pending(*_prompt(entry), position=place) for place, entry in enumerate(next_ones, 1)),
    )


@functools.cache
def _standing() -> Instance:
    """What stays as it is while the process lives."""
    import torch
    from comfy.cli_args import args
    from comfyui_version import __version__ as comfyui

    settings = _process.store().settings
    scheme = "https" if args.tls_keyfile and args.tls_certfile else "http"
    url, reach = address(settings, scheme, [host.strip() for host in args.listen.split(",")], args.port)
    return Instance(
        name=settings.instance,
        url=url,
        reach=reach,
        version=__version__,
        comfyui=comfyui,
        frontend=_installed("comfyui-frontend-package"),
        python=platform.python_version(),
        torch=torch.__version__,
        system=platform.system(),
    )


def _installed(package: str) -> str:
    """The version of an installed package, "" when it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _running(entry: Any) -> Running:
    from comfy_execution.progress import NodeState, get_progress_state

    registry, node, progress = get_progress_state(), "", -1.0
    if registry.prompt_id == entry[1]:
        for node_id, state in dict(registry.nodes).items():
            if state["state"] is NodeState.Running:
                # A node that tells no progress has a maximum of 1.
                node, progress = node_id, state["value"] / state["max"] if state["max"] > 1 else -1.0
    held = entry[2].get(node, {})
    title = _text(held.get("_meta"), "title") or _text(held, "class_type")
    return Running(*_prompt(entry), started=0, node=node, title=title, progress=progress)


def _prompt(entry: Any) -> tuple[str, str, str]:
    """(prompt id, workflow, client) of an entry of the queue: number, prompt id, graph, extra data, and more."""
    extra = entry[3] if isinstance(entry[3], dict) else {}
    return str(entry[1]), _workflow(extra.get("extra_pnginfo")), _text(extra, "client_id")[:CLIENT_SHOWN]


_process = Process(Surroundings(input_dir, user_dir, look, own_address, prompt_end, missing_classes))


def store() -> Store:
    """The store of this process; raises InvalidSetting as long as a setting is wrong."""
    return _process.store()


def start() -> None:
    """What ComfyUI's start brings about: the HTTP API is mounted, and a wrong setting is said once.

    Never fails for a wrong setting: the nodes then raise it when they run. The store itself is
    opened when it is first used, so that a Redis that is away does not hold up the start.
    """
    from server import PromptServer

    api.mount(PromptServer.instance.routes, store, user_dir(), api.Folders(input_dir, temporary_dir))
    PromptServer.instance.add_on_prompt_handler(_without_fingerprints)
    try:
        settings = _process.settings()
    except InvalidSetting as error:
        log.error("gatebus: %s. Its nodes can't run until this is corrected.", error.message)
    else:
        log.info("gatebus: the store is %s", settings.safe_url or "this machine alone (no store_url is set)")
        _process.start()


def _without_fingerprints(submitted: dict[str, Any]) -> dict[str, Any]:
    """The body of POST /prompt without the fingerprints that an earlier run left in its graph.

    ComfyUI writes ``is_changed`` into the graph that it runs and takes one that it finds there
    for the truth. A graph taken from the history and sent again (where JSON makes null of NaN)
    would so replay an old decision.
    """
    from nodes import NODE_CLASS_MAPPINGS

    graph = submitted.get("prompt")
    for node in graph.values() if isinstance(graph, dict) else ():
        if isinstance(node, dict):
            module = getattr(NODE_CLASS_MAPPINGS.get(node.get("class_type")), "__module__", "")
            if module.startswith(__package__ + "."):
                node.pop("is_changed", None)
    return submitted


def _send(event: str, data: dict[str, Any], client_id: str) -> None:
    from server import PromptServer

    PromptServer.instance.send_sync(event, data, client_id or None)


def _workflow(extra_pnginfo: Any) -> str:
    workflow = extra_pnginfo.get("workflow") if isinstance(extra_pnginfo, dict) else None
    if not isinstance(workflow, dict):
        return ""
    return _text(workflow, "name") or _text(workflow.get("extra"), "name") or _text(workflow, "id")


def _text(holder: Any, key: str) -> str:
    """The text under the key, cut and cleaned for a record; "" where there is none."""
    value = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(value, str):
        return ""
    return clean_text(value[:LABEL_LIMIT].encode("utf-8", "replace").decode("utf-8"), key)
