"""What is known of a study's points, in a folder: a file each, whole or not there. One process at a time writes to it.

    compiled/KEY.json       the program of what compiles the same, or why there is none
    points/KEY.json         the results of equal points
    results.csv, ...        the table (table.py), made again from these at any time

A key is the hash of everything that a record depends on. So a study that was changed finds what it has in common with the one
before, and two studies may share a folder, one after the other.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isa.files import replacing
from slimulator.explore.errors import StudyError
from slimulator.explore.work import COMPILED, DONE, REFUSED, Record

_KEPT: dict[str, tuple[str, ...]] = {COMPILED: ("program", "digest", "bytes"), REFUSED: ("reason",),
                                     DONE: ("time", "energy", "counters", "memory", "tokens", "weights")}
"""What a record has, by its status. What failed is tried again, and so is what was damaged."""


class Records:
    """The folder. What was read or written once stays in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._found: dict[str, Record | None] = {}

    @contextmanager
    def open(self) -> Iterator[Records]:
        """Make the folder, and keep others out while the block runs. Raises StudyError, OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StudyError("--out", f"{self.folder}: another sweep writes there now", "another folder, or wait for it") from None
        try:
            yield self
        finally:
            os.close(lock)

    def compiled(self, key: str) -> Record | None:
        return self._read(f"compiled/{key}.json") if key else None

    def result(self, key: str) -> Record | None:
        return self._read(f"points/{key}.json")

    def keep_compiled(self, key: str, record: Record) -> None:
        self._write(f"compiled/{key}.json", record)

    def keep_result(self, key: str, record: Record) -> None:
        self._write(f"points/{key}.json", record)

    def _read(self, name: str) -> Record | None:
        if name not in self._found:
            try:
                record = json.loads((self.folder / name).read_text(encoding="utf-8"))
            except (FileNotFoundError, ValueError):
                record = None
            whole = isinstance(record, dict) and all(key in record for key in _KEPT.get(str(record.get("status")), ("not kept",)))
            self._found[name] = record if whole else None
        return self._found[name]

    def _write(self, name: str, record: Record) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as stream:
            stream.write(json.dumps(record, indent=1).encode())
        self._found[name] = record
