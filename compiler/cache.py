"""Compiled programs that stay: compiling the same checkpoint with the same options a second time is a look at a file.

    path = cached(files, options, write)        write(path) is called only where there is no such program yet

A program's name is a hash of the contents of the checkpoint's files, the options, and the sources of the compiler and the
assembler, so a stale one is never found. The hash of a large file is remembered beside its size and time of change. The folder,
~/.cache/slimulator/programs, may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from isa.files import opened, replacing
from isa.pages import give_back

ROOT = Path(__file__).parents[1]
PACKAGES = ("isa", "asm", "compiler")
PARTS = (".json", ".safetensors", ".model")          # what a Hugging Face directory consists of


def folder() -> Path:
    """Where programs are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slimulator" / "programs"


def cached(files: Iterable[Path], options: Mapping[str, object], write: Callable[[Path], None]) -> Path:
    """The program of these files and options. Where there is none, `write` writes it, whole or not at all. Raises OSError."""
    where = folder()
    where.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(json.dumps([sources(), sorted(options.items()), [content(file) for file in files]]).encode()).hexdigest()
    path = where / f"{key[:32]}.elf"
    if not path.exists():
        write(path)
        give_back()
    return path


def parts(path: Path) -> list[Path]:
    """The files that a checkpoint consists of: itself, or the parts of a directory."""
    return sorted(part for part in path.iterdir() if part.suffix in PARTS) if path.is_dir() else [path]


def content(file: Path) -> str:
    """SHA-256 of a file, from the last time if nobody has touched it since."""
    state = file.stat()
    about = f"{file.resolve()} {state.st_size} {state.st_mtime_ns} {state.st_ino}"
    note = folder() / "contents" / hashlib.sha256(about.encode()).hexdigest()[:32]
    if note.exists():
        return note.read_text(encoding="ascii")
    with opened(file) as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    note.parent.mkdir(parents=True, exist_ok=True)
    with replacing(note) as written:
        written.write(digest.encode())
    return digest


def sources() -> str:
    """SHA-256 of what makes programs."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in (".py", ".lark", ".toml"):
                digest.update(path.read_bytes())
    return digest.hexdigest()
