"""Which process this is: an id that survives restarts, and a random one for this start.

The id lies in the state folder as ``instance-0.id``. Two processes with one folder take
``instance-0`` and ``instance-1``: each holds an operating system lock on its file while it lives,
which also goes when it is killed.
"""

from __future__ import annotations

import itertools
import os
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Identity:
    """This process among all that share the store."""

    id: str
    """32 hex digits, the same after a restart."""
    boot: str
    """8 hex digits, new at every start."""
    lock: IO[bytes]
    """Holds the id; closing it lets another process take it."""
    number: int = 0
    """Which of the state folder's identities it is."""

    @property
    def owner(self) -> str:
        """What a gate's record says of who waits."""
        return f"{self.id}:{self.boot}"


def claim_identity(state_dir: Path) -> Identity:
    """The first identity in the folder that no living process holds; made when there is none."""
    state_dir.mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        file = hold(state_dir, number)
        if file is None:
            continue
        text = file.read(32).decode("ascii", "replace")
        if len(text) != 32 or not all(digit in "0123456789abcdef" for digit in text):
            text = uuid.uuid4().hex
            file.seek(0)
            file.write(text.encode())
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        return Identity(text, uuid.uuid4().hex[:8], file, number)
    raise AssertionError("count() ended")


def hold(state_dir: Path, number: int) -> IO[bytes] | None:
    """Holds the folder's identity of that number until it is closed; None when a living process holds it."""
    file = os.fdopen(os.open(state_dir / f"instance-{number}.id", os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    if _try_lock(file):
        return file
    file.close()
    return None


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            # Behind the text: Windows lets nobody read a locked byte.
            file.seek(1024)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            file.seek(0)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
