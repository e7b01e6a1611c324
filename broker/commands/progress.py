"""What long work shows of itself: a bar on stderr when a person looks at it, else nothing."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

import click


@contextmanager
def progress(total: int, label: str) -> Iterator[Callable[[int], None]]:
    """A bar of ``total`` steps; what is given is called with how many more are done."""
    if not sys.stderr.isatty():
        yield lambda steps: None
        return
    with click.progressbar(length=max(1, total), label=label, file=sys.stderr) as bar:
        yield bar.update


class Counted(io.RawIOBase):
    """A file that is read through; says how many bytes were. Closing it leaves the file open."""

    def __init__(self, file: IO[bytes], advance: Callable[[int], None]) -> None:
        self._file = file
        self._advance = advance

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """See :meth:`io.IOBase.seek`."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """See :meth:`io.IOBase.tell`."""
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        """See :meth:`io.RawIOBase.read`."""
        data = self._file.read(size)
        self._advance(len(data))
        return data
