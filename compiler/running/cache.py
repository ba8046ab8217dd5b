"""Compiled programs are kept: a checkpoint that was compiled with the same options before is not compiled again.

    path = cached(files, options, write)        write(path) is called only if there is no such program

The name of a program is a hash of the checkpoint's files, the options, and the sources of compiler and assembler. So a stale
program is never found. Beside a program lies the hash of its contents: a program that was changed is compiled again. Hashes of
large files are kept together with the state of the file (`_state`), and computed again when that has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from isa.caches import PROGRAMS, used
from isa.engine.pages import give_back
from isa.files import opened, replacing
from isa.shipped import ROOT

PACKAGES = ("isa", "asm", "compiler")
PARTS = (".json", ".safetensors", ".model", ".npz")  # what a Hugging Face directory consists of
_found: deque[Path] = deque(maxlen=8)                 # programs that this process may still open


def cached(files: Iterable[Path], options: Mapping[str, object], write: Callable[[Path], None],
           waiting: Callable[[], None] = lambda: None) -> Path:
    """The program of these files and options. If there is none, `write` writes it, whole or not at all.

    `waiting` is called if another process compiles the same and this one waits for it. Raises OSError, CacheError.
    """
    key = hashlib.sha256(json.dumps([sources(), sorted(options.items()), [content(file) for file in files]]).encode()).hexdigest()
    name = f"{key[:32]}.elf"
    path = _whole(name)
    if path is None:
        with PROGRAMS.locked(name, waiting):
            path = _whole(name)
            if path is None:
                path = PROGRAMS.keep(name, write)
                _seal(path)
                _found.append(path)
                PROGRAMS.trim(*_found)
                give_back()
    _found.append(path)
    return path


def _whole(name: str) -> Path | None:
    """The program of this name, if it is there and unchanged."""
    for path in PROGRAMS.places(name):
        with suppress(OSError):
            note = path.with_suffix(".sum")
            now, (digest, _, state) = _state(path), _text(note).partition(" ")
            if digest and (state == now or digest == _digest(path)):
                if state != now:
                    with suppress(OSError):
                        _note(note, now, digest)
                used(note)
                return path
    return None


def _seal(path: Path) -> None:
    """Put the hash of a new program beside it. Without a hash it would be compiled again."""
    with suppress(OSError):
        _note(path.with_suffix(".sum"), _state(path), _digest(path))


def parts(path: Path) -> list[Path]:
    """The files that a checkpoint consists of: itself, or the parts of a directory."""
    return sorted(part for part in path.iterdir() if part.suffix in PARTS) if path.is_dir() else [path]


def content(file: Path) -> str:
    """SHA-256 of a file: the one from the last time, if the file has not changed."""
    name = f"contents/{hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:32]}"
    now = _state(file)                              # before the file is read, so that a change meanwhile is noticed
    for note in PROGRAMS.places(name):
        digest, _, state = _text(note).partition(" ")
        if state == now and re.fullmatch("[0-9a-f]{64}", digest):
            return digest
    digest = _digest(file)
    with suppress(OSError):
        PROGRAMS.keep(name, lambda note: _note(note, now, digest))
    return digest


def _state(file: Path) -> str:
    """What changes when a file is written. It has ctime, because mtime can be set back and ctime cannot."""
    state = file.stat()
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"


def _digest(file: Path) -> str:
    with opened(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _note(note: Path, state: str, digest: str) -> None:
    with replacing(note) as stream:
        stream.write(f"{digest} {state}".encode())


def _text(note: Path) -> str:
    try:
        return note.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def sources() -> str:
    """SHA-256 of the sources that make programs."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in (".py", ".lark", ".toml"):
                digest.update(path.read_bytes())
    return digest.hexdigest()
