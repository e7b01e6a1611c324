"""The demonstration's other two processes, in place of two ComfyUI: one asks at gates, one resumes from the bus.

They do what the nodes do (``gates/nodes``), without torch. Started as
``python -m broker.demo.workflow ask FILE…`` and ``… resume FOLDER``, with their settings in the
environment.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gates.bus.record import BusMeta
from gates.codec import decode_png, encode, encode_png, preview_jpeg, read_image
from gates.errors import GatebusError
from gates.filelock import write_atomically
from gates.gate.record import Gate
from gates.pixels import to_floats
from gates.settings import Settings
from gates.store import Store, open_store

LABELS = ("keep", "repaint", "reject")
KEEP, REPAINT, REJECT = 1, 2, 3

BUS = "demo"
POOL = "demo"


def ask(store: Store, file: Path) -> None:
    """Opens a gate on the image file, waits for the decision and carries it out."""
    pixels = read_image(file.read_bytes(), store.settings).pixels
    image = to_floats(pixels)[None]
    gate = Gate(
        id=uuid.uuid4().hex,
        title=file.name,
        workflow="demo",
        routes=len(LABELS),
        labels=LABELS,
        send_id=BUS,
        width=image.shape[2],
        height=image.shape[1],
        batch=1,
    )
    waiter = store.gates.open(gate, preview_jpeg(image))
    print(f"{file.name} waits at gate {gate.id}")
    waiter.store_image(encode(image, "png", store.settings.compression))
    waiter.wait()
    decision = waiter.apply()
    if decision.kind != "route":
        print(f"{file.name} is stopped")
        return
    print(f"{file.name} takes route {decision.route} ({LABELS[decision.route - 1]}), as {decision.by} decided")
    painted = waiter.mask()
    if decision.route == REPAINT:
        mask = None if painted is None else to_floats(decode_png(painted)[..., 0])[None]
        meta = BusMeta(store.settings.instance, "demo", LABELS[decision.route - 1])
        head = store.buses.publish(BUS, image, mask, meta=meta)
        print(f"{file.name} is published on bus {BUS}, version {head.version}, {head.size:,} bytes")
    if decision.route != REJECT:
        store.pools.add(POOL, [(encode_png(pixels), file.name[:200])])
        print(f"{file.name} is added to pool {POOL}")


def resume(store: Store, folder: Path) -> None:
    """Takes up what was published last, and writes it as files."""
    content = store.buses.load(BUS)
    head = content.head
    print(f"bus {BUS} has version {head.version} of {head.meta.instance}: {head.width} x {head.height}")
    write_atomically(folder / "resumed.png", encode_png(content.image[0]))
    if content.mask is not None:
        write_atomically(folder / "mask.png", encode_png(content.mask[0][..., None]))


def main(arguments: Sequence[str]) -> int:
    """The exit code; an error of ours is one line."""
    settings = Settings.from_env()
    folder = settings.state_dir or Path.cwd()
    try:
        store = open_store(settings, folder, folder)
        try:
            if arguments[0] == "resume":
                resume(store, Path(arguments[1]))
            else:
                files = [Path(name) for name in arguments[1:]]
                with ThreadPoolExecutor(len(files)) as threads:
                    for asked in [threads.submit(ask, store, file) for file in files]:
                        asked.result()
        finally:
            store.close()
    except (GatebusError, OSError) as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
