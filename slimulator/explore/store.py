"""What workers share: compiled programs and kernels, by the hash of what they are. A folder that all see, or an fsspec URL.

    store = Store("s3://bucket/slimulator")
    store.keep_program(digest, path)            there now, unless it was
    path = store.program(digest)                into this host's cache; None if it is not there, or damaged
    store.fetch_kernels()                       those for this processor and these sources; send_kernels() the other way

    programs/DIGEST.elf         the SHA-256 of the file
    kernels/STATE/NAME.o        as in ~/.cache/slimulator: STATE is the hash of sources, compiler and processor

A file appears whole or not at all, and never changes. Kernels are machine code: who can write here can run code on every worker.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any

from emulator.native.objects import state
from isa.caches import KERNELS, PROGRAMS
from isa.files import replacing
from isa.shipped import ROOT
from slimulator.explore.errors import StudyError

_DIGEST = 32            # bytes in front of a kernel: the SHA-256 of the rest (emulator/native/objects.py)


class Store:
    """The store at a URL. Raises StudyError where fsspec is not installed, or does not know the URL."""

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs
            self._files, self._root = url_to_fs(url)
        except ImportError as error:
            raise StudyError("--store", f"{error.name or 'fsspec'} is not installed", "pip install 'slimulator[cluster]'") from None
        except ValueError as error:
            raise StudyError("--store", f"{url}: {error}", "a folder, or a URL that fsspec knows") from None
        self._known: set[str] = set()           # what is there for sure

    def keep_program(self, digest: str, path: Path) -> None:
        self._send(f"programs/{digest}.elf", path)

    def program(self, digest: str) -> Path | None:
        """A program in this host's cache."""
        data = self._read(f"programs/{digest}.elf")
        if data is None or hashlib.sha256(data).hexdigest() != digest:
            return None
        return PROGRAMS.keep(f"{digest[:32]}.elf", lambda path: _write(path, data))

    def fetch_kernels(self) -> int:
        """Take the kernels that this host lacks. Returns how many."""
        count = 0
        for folder in kernel_folders():
            for name in self._names(f"kernels/{folder}"):
                file = f"{folder}/{name}"
                if not KERNELS.pattern.fullmatch(file) or any(KERNELS.places(file)):
                    continue
                data = self._read(f"kernels/{file}") or b""
                if hashlib.sha256(data[_DIGEST:]).digest() == data[:_DIGEST]:
                    _keep_kernel(file, data)
                    count += 1
        return count

    def send_kernels(self) -> None:
        """Give the kernels of this host that the store lacks."""
        for folder in kernel_folders():
            for root in KERNELS.roots():
                for path in sorted((root / KERNELS.name / folder).glob("*.o")):
                    self._send(f"kernels/{folder}/{path.name}", path)

    # -------------------------------------------------------------------------------------------- files

    def _names(self, folder: str) -> list[str]:
        try:
            return sorted(str(name).rpartition("/")[2] for name in self._files.ls(f"{self._root}/{folder}", detail=False))
        except FileNotFoundError:
            return []

    def _read(self, name: str) -> bytes | None:
        try:
            data: bytes = self._files.cat_file(f"{self._root}/{name}")
            return data
        except FileNotFoundError:
            return None

    def _send(self, name: str, path: Path) -> None:
        target = f"{self._root}/{name}"
        if name in self._known:
            return
        if not self._files.exists(target):
            partly = f"{target}.{os.urandom(8).hex()}.tmp"
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._files.put_file(str(path), partly)
            self._files.mv(partly, target)
        self._known.add(name)


@cache
def store_of(url: str) -> Store:
    """The store of a URL, once for a process. Its kernels are taken now."""
    store = Store(url)
    store.fetch_kernels()
    return store


@cache
def kernel_folders() -> tuple[str, ...]:
    """The names of the folders that kernels of these sources have on this host."""
    files = sorted((ROOT / "emulator").rglob("*.py"))
    modules = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files if path.name != "__init__.py")
    return tuple(dict.fromkeys(state(module) for module in modules))


def _keep_kernel(file: str, data: bytes) -> None:
    KERNELS.keep(file, lambda path: _write(path, data))


def _write(path: Path, data: Any) -> None:
    with replacing(path) as stream:
        stream.write(data)
