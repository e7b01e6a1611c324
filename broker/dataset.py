"""A folder that the images of decided gates are written to, once each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gates.decisions.dataset import frame_files, frame_names
from gates.decisions.record import Entry
from gates.decisions.rows import Filter
from gates.errors import GateNotFound, InvalidInput, StoreUnavailable
from gates.filelock import write_atomically
from gates.gate.record import GateStore


class Folder:
    """Used by one thread. Raises InvalidInput when it can't be written, StoreUnavailable while the store is away."""

    def __init__(self, path: Path, gates: GateStore, caption: str = "") -> None:
        self._path = path
        self._gates = gates
        self._caption = caption
        self._written = self._there = 0
        self._gone: dict[str, Entry] = {}
        """Name of a frame that could not be had -> its row."""
        self._open: dict[str, Entry] = {}
        """Gate id -> its row, while the decision may still be taken back."""

    @property
    def gone(self) -> list[str]:
        """The names of the images that are not stored any more, or were never."""
        return sorted(self._gone)

    @property
    def summary(self) -> str:
        """What was done, for people."""
        return f"{self._written} images written, {self._there} there already, {len(self._gone)} gone"

    @property
    def counts(self) -> dict[str, int | list[str]]:
        """The same as data; ``gone`` are names."""
        return {"written": self._written, "there": self._there, "gone": self.gone}

    def write(self, row: Entry) -> None:
        """Writes the frames of the row that are not there yet."""
        for frame, name in frame_names(row).items():
            if (self._path / f"{name}.png").exists():
                self._there += 1
                continue
            try:
                # All of them are read before the first is written.
                files = list(frame_files(self._gates, row, frame, self._caption))
            except GateNotFound:
                self._gone[name] = row
                continue
            self._write_files(files)
            self._gone.pop(name, None)
            self._written += 1

    def expect(self, rows: Iterable[Entry]) -> None:
        """Writes these decisions as soon as :meth:`follow` sees their ends."""
        for row in rows:
            self._open.setdefault(row.gate, row)

    def follow(self, entry: Entry, wanted: Filter) -> None:
        """Takes the next entry of the log: a decision is written when it was carried out, and not taken back."""
        known = self._open.get(entry.gate)
        if wanted.passes(entry):
            self._open[entry.gate] = entry
        elif known is not None and known.decision == entry.decision and entry.kind in ("end", "take-back"):
            del self._open[entry.gate]
            if entry.kind == "end":
                self._write_followed(known, entry)
        elif entry.kind == "image":
            for row in [row for row in self._gone.values() if row.gate == entry.gate]:
                self._write_followed(row, entry)

    def _write_followed(self, row: Entry, later: Entry) -> None:
        values = {**row.to_json(), "digest": row.digest or later.digest}
        if later.kind == "end":
            values.update(outcome=later.outcome, ended=later.ended)
        self.write(Entry(**values))

    def _write_files(self, files: list[tuple[str, bytes]]) -> None:
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            for name, content in files:
                write_atomically(self._path / name, content)
        except (OSError, StoreUnavailable) as error:
            # Here it is this folder that is away, not the store: to try again is of no use.
            raise InvalidInput(f"{self._path} can't be written: {error}") from error
