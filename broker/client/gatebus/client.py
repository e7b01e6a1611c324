"""The client: one server, spoken to over HTTP."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import httpx
from PIL import Image

from gates.bus.record import BusHead, parse_bus_reference
from gates.errors import BusNotFound, InvalidInput, NotFound, SlotNotFound
from gates.gate.record import Gate
from gates.names import check_gate_id, check_name, check_slot_file
from gates.pool.manifest import Manifest, PoolInfo, Slot

from .answers import bus_of, gate_of, manifest_of, pool_info_of, slot_of, value_of
from .following import follow
from .images import Picture, body_of, pillow_of, with_mask
from .wire import MAX_PAUSE, PAUSE, Wire, raise_refusal, unreachable

EVERY = 100_000
"""Gates in one answer, at most."""

BLOCK = 1024 * 1024
"""Bytes of a zip that are read and written at a time."""

Run = Literal["", "open", "pending", "submitting", "submitted", "running", "done", "failed"]

Status = Literal["live", "all", "waiting", "orphaned", "parked", "decided", "applied", "cancelled", "expired"]


class Client(Wire):
    """A broker, or a ComfyUI with this pack, at ``url``; thread-safe. Close it, or use it as a context manager.

    ``token`` is a bearer token, where the server asks for one. ``timeout``: seconds for a
    connection and for each part of an answer. ``patience``: seconds for which what is harmless to
    repeat (what only looks, and decisions, which carry an id) is repeated while the server or its
    store does not answer. Every method raises :class:`GatebusError`: Unreachable when the server does
    not answer, Unauthorized and Forbidden for the token, and what its own docstring names.
    """

    # -- gates ----------------------------------------------------------------------------
    def gates(
        self,
        status: Status = "live",
        *,
        workflow: str = "",
        instance: str = "",
        bus: str = "",
        words: str = "",
        run: Run = "",
    ) -> list[Gate]:
        """Gates, oldest first; ``live`` are those that wait or whose decision is not applied yet.

        ``run``: those from which a run goes on, in that state (``open``: all but done), ended ones
        among them. ``bus``: those that publish to it or were loaded from it; ``words``: in title, note, workflow,
        instance, buses, labels or id. While the server's shared store is away: those of the server's
        own process.
        """
        query: dict[str, Any] = {"status": status, "workflow": workflow, "instance": instance, "bus": bus, "q": words}
        query["run"] = run
        gates: list[Gate] = []
        cursor = ""
        while True:
            page = self._get("gates", {**query, "limit": EVERY, "cursor": cursor})
            gates += map(gate_of, page["gates"])
            cursor = page.get("next", "")
            if not cursor:
                return gates

    def gate(self, gate: Gate | str) -> Gate:
        """The gate of that id as it is now; raises GateNotFound."""
        return gate_of(self._get(_gate_path(gate)))

    def watch(self, *, workflow: str = "", instance: str = "", timeout: float | None = None) -> Iterator[Gate]:
        """Each gate that waits, once: first those that wait already, oldest first, then each as it opens.

        Goes on until ``timeout`` seconds have passed (None: for ever), over outages of the server and
        of its store, after which it takes up where it was. Only the first connection must succeed
        within ``patience``, so that a wrong address is an error.
        """
        deadline = None if timeout is None else time.monotonic() + timeout

        def waiting() -> list[Gate]:
            return self.gates(workflow=workflow, instance=instance)

        def wanted(gate: Gate) -> bool:
            return (not workflow or gate.workflow == workflow) and (not instance or gate.instance == instance)

        for gate in follow(self._http, waiting, self.gate, self.patience, deadline):
            if wanted(gate):
                yield gate

    def wait_for(self, timeout: float | None = None, *, workflow: str = "", instance: str = "") -> Gate:
        """The gate that has waited longest, or the next one that opens; raises TimeoutError.

        As long as that gate is not decided, the next call gives it again; :meth:`watch` gives each one once.
        """
        for gate in self.watch(workflow=workflow, instance=instance, timeout=timeout):
            return gate
        raise TimeoutError(f"No gate waited within {timeout:g} seconds")

    def preview(self, gate: Gate | str) -> bytes:
        """A JPEG of at most 1024 px of the gate's first image; raises GateNotFound."""
        return self._read(f"{_gate_path(gate)}/preview").content

    def image(self, gate: Gate | str, frame: int = 0, *, timeout: float = 30.0) -> Image.Image:
        """Image ``frame`` (from 0) of the gate's batch, whole.

        The whole image follows the preview: it is waited for, ``timeout`` seconds at most. Raises
        GateNotFound when it does not come, InvalidInput or NotFound when there is no such frame.
        """
        path, end, pause = f"{_gate_path(gate)}/image", time.monotonic() + timeout, PAUSE / 2
        while True:
            try:
                return pillow_of(self._read(path, {"frame": frame}).content)
            except NotFound:
                now = self.gate(gate)
                if now.layout is not None or not now.width or time.monotonic() + pause > end:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE)

    def mask(self, gate: Gate | str) -> Image.Image | None:
        """The mask painted at the gate (mode L, white is painted), None when none is; raises GateNotFound."""
        try:
            return pillow_of(self._read(f"{_gate_path(gate)}/mask").content)
        except NotFound:
            self.gate(gate)
            return None

    def set_mask(self, gate: Gate | str, mask: Picture | None) -> Gate:
        """Paints the gate's mask (of the image's size; white or transparent is painted), or clears it.

        Raises InvalidImage for another size, AlreadyDecided, GateClosed, GateNotFound.
        """
        path = f"{_gate_path(gate)}/mask"
        if mask is None:
            return gate_of(value_of(self._call("DELETE", path, repeat=True)))
        data, kind = body_of(mask)
        return gate_of(value_of(self._call("PUT", path, repeat=True, content=data, headers={"Content-Type": kind})))

    def route(
        self,
        gate: Gate | str,
        route: int,
        *,
        by: str = "",
        text: str | None = None,
        chosen: Iterable[int] = (),
        mask: Picture | None = None,
        decision_id: str = "",
    ) -> Gate:
        """Decides that the gate takes the route (from 1), with the mask as :meth:`set_mask` when one is given.

        ``text`` goes with the decision; at a text gate it is what goes on, None leaves it as it is.
        ``chosen``: the images of the batch that go on, from 0, each once; none for all of them.
        The first decision wins; the same one again is success. ``by`` is for people (with a token its
        name counts). ``decision_id`` makes a repeat by the caller safe too; after StoreUnavailable or
        Unreachable whether it was made is unknown. Raises AlreadyDecided with the decision that
        stands in ``details["decision"]``, GateClosed, GateNotFound, InvalidInput, InvalidImage.
        """
        if mask is not None:
            self.set_mask(gate, mask)
        body: dict[str, Any] = {"route": route, "by": by}
        if text is not None:
            body["text"] = text
        # A server before gates took a choice refuses what it does not know.
        if indexes := list(chosen):
            body["chosen"] = indexes
        return self._decide(gate, "route", body, decision_id)

    def cancel(self, gate: Gate | str, *, by: str = "", decision_id: str = "") -> Gate:
        """Decides that the gate's prompt is stopped; otherwise as :meth:`route`."""
        return self._decide(gate, "cancel", {"by": by}, decision_id)

    def take_back(self, gate: Gate | str, *, by: str = "") -> Gate:
        """Takes back the decision that the gate has, so that it waits again.

        Given a record, that one's decision. Raises Conflict when it is applied already, or another
        decision stands by now; GateNotFound.
        """
        known = gate if isinstance(gate, Gate) and gate.decision is not None else self.gate(gate)
        if known.decision is None:
            raise InvalidInput("There is no decision to take back: this gate still waits", gate=known.id)
        body = {"decision_id": known.decision.id, "by": by}
        return gate_of(value_of(self._call("POST", f"{_gate_path(gate)}/take-back", repeat=True, json=body)))

    def park(self, gate: Gate | str, *, by: str = "") -> Gate:
        """Parks a gate whose process is gone: once it is decided, any instance goes on from it.

        Raises Conflict when its process lives or not all is kept that it takes, GateNotFound.
        """
        return gate_of(value_of(self._call("POST", f"{_gate_path(gate)}/park", repeat=True, json={"by": by})))

    def again(
        self,
        gate: Gate | str,
        route: int | None = None,
        *,
        by: str = "",
        text: str | None = None,
        chosen: Iterable[int] | None = None,
        decision_id: str = "",
    ) -> Gate:
        """Runs on once more from a gate that has ended or whose run failed; returns the new gate.

        ``route``, ``text``, ``chosen``: None for those of its decision. Nothing before the gate runs again.
        ``decision_id`` as for :meth:`route`. Raises Conflict when it is not over yet, GateNotFound when
        its image is not kept any more, InvalidInput.
        """
        given = {"route": route, "text": text, "chosen": None if chosen is None else list(chosen)}
        body: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return self._decide(gate, "again", {**body, "by": by}, decision_id)

    def run_of(self, gate: Gate | str, timeout: float | None = None) -> Gate:
        """The gate as soon as the run that goes on from it is ``done`` or ``failed``; raises TimeoutError.

        That is in ``run``, and why it failed in ``run_error``. For a list that parked together, name its
        first gate (``group``).
        """
        end, pause = None if timeout is None else time.monotonic() + timeout, PAUSE
        while (now := self.gate(gate)).run not in ("done", "failed"):
            if end is not None and time.monotonic() + pause > end:
                raise TimeoutError(f"The run is {now.run or 'not begun'} after {timeout:g} seconds")
            time.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE)
        return now

    def _decide(self, gate: Gate | str, kind: str, body: dict[str, Any], decision_id: str) -> Gate:
        body["decision_id"] = decision_id or uuid.uuid4().hex
        return gate_of(value_of(self._call("POST", f"{_gate_path(gate)}/{kind}", repeat=True, json=body)))

    # -- buses ----------------------------------------------------------------------------
    def buses(self) -> list[BusHead]:
        """The newest version of every bus, last published first."""
        return [bus_of(value) for value in self._get("buses")["buses"]]

    def bus(self, name: str) -> BusHead:
        """One version of a bus: ``cp1``, ``cp1@12``, ``cp1@-1`` for the one before the newest; raises BusNotFound."""
        path, query = _bus_path(name)
        return bus_of(self._get(path, query))

    def bus_image(self, name: str, frame: int = 0) -> Image.Image:
        """Image ``frame`` (from 0) of the version, named as for :meth:`bus`; raises BusNotFound."""
        path, query = _bus_path(name)
        return pillow_of(self._read(f"{path}/image", {**query, "frame": frame}).content)

    def bus_mask(self, name: str, frame: int = 0) -> Image.Image | None:
        """Mask ``frame`` of the version (mode L), None when none was published with it; raises BusNotFound."""
        path, query = _bus_path(name)
        try:
            return pillow_of(self._read(f"{path}/mask", {**query, "frame": frame}).content)
        except BusNotFound:
            if self.bus(name).mask:
                raise
            return None

    def publish(self, name: str, image: Picture, mask: Picture | None = None, *, label: str = "") -> BusHead:
        """Makes the image, and its mask (white or transparent is painted), the newest version of the bus.

        Not repeated when the outcome is unknown. Raises InvalidImage, InvalidName, TooLarge.
        """
        path, _ = _bus_path(check_name(name, "bus name"))
        data, kind = body_of(image) if mask is None else (with_mask(image, mask), "image/png")
        query = {"label": label, **({"alpha": "mask"} if mask is not None else {})}
        return bus_of(value_of(self._call("PUT", path, params=query, content=data, headers={"Content-Type": kind})))

    # -- pools ----------------------------------------------------------------------------
    def pools(self) -> list[PoolInfo]:
        """Every pool, by name."""
        return [pool_info_of(value) for value in self._get("pools")["pools"]]

    def pool(self, pool_id: str) -> Manifest:
        """The pool with all its slots; raises PoolNotFound."""
        return manifest_of(self._get(_pool_path(pool_id)))

    def pool_image(self, pool_id: str, file: str) -> Image.Image:
        """The slot's image; raises PoolNotFound, SlotNotFound."""
        return pillow_of(self._read(f"{_pool_path(pool_id)}/slots/{check_slot_file(file)}/image").content)

    def add_to_pool(self, pool_id: str, image: Picture, *, label: str = "") -> Slot:
        """Adds the image at the end of the pool, which is made when it is new.

        Not repeated when the outcome is unknown. Raises InvalidImage, InvalidName, TooLarge.
        """
        data, kind = body_of(image)
        query = {"label": label, "brief": "true"}
        path = f"{_pool_path(pool_id)}/slots"
        answer = value_of(self._call("POST", path, params=query, content=data, headers={"Content-Type": kind}))
        if not answer["slots"]:
            raise SlotNotFound("The slot was added, and removed again by somebody else", pool_id=pool_id)
        return slot_of(answer["slots"][0])

    def export_pool(self, pool_id: str, file: str | os.PathLike[str]) -> int:
        """Writes the pool as a zip, with its masks, labels and order; returns its bytes.

        The file is there when it is whole, or not at all. Raises PoolNotFound.
        """
        target = os.fspath(file)
        temporary = f"{target}.{uuid.uuid4().hex}.tmp"
        try:
            with self._http.stream("GET", f"{_pool_path(pool_id)}/export") as response:
                if not response.is_success:
                    response.read()
                raise_refusal(response)
                with open(temporary, "xb") as written:
                    for block in response.iter_bytes(BLOCK):
                        written.write(block)
                    count = written.tell()
            os.replace(temporary, target)
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)
        return count


def _gate_path(gate: Gate | str) -> str:
    return f"gates/{check_gate_id(gate.id if isinstance(gate, Gate) else gate)}"


def _bus_path(reference: str) -> tuple[str, dict[str, Any]]:
    name, version = parse_bus_reference(reference)
    return f"buses/{name}", {} if version is None else {"version": version}


def _pool_path(pool_id: str) -> str:
    return f"pools/{check_name(pool_id, 'pool id')}"
