"""The parts of a program: sections, symbols, source lines, metadata. What a program file holds.

Section contents are lists of chunks, so that a gigabyte of weights stays in its file until someone maps it. isa/program.py has
the whole program, with what can be asked of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from isa.text import shortened

if TYPE_CHECKING:
    from isa.preset import Preset

# The version of the instruction set. It rises when an instruction, a CSR, a counter or a trap changes its meaning: programs and
# snapshots of another version are refused.
ISA_VERSION = 2
META_SCHEMA = 3         # of the metadata in a program file; rises when a key goes, is renamed or changes its meaning


class ProgramError(Exception):
    """A program file that cannot be used: what is wrong, where, and what to do about it."""

    def __init__(self, message: str, *, path: str | None = None, offset: int | None = None, hint: str = "") -> None:
        place = f"{path}: " if path else ""
        at = f" (at offset {offset:#x})" if offset is not None else ""
        super().__init__(f"{place}{message}{at}" + (f"\nhint: {hint}" if hint else ""))
        self.message, self.path, self.offset, self.hint = message, path, offset, hint


def require(holds: object, message: str, *, path: str | None = None, offset: int | None = None, hint: str = "") -> None:
    """Raise ProgramError unless `holds` is true: the message says what is wrong."""
    if not holds:
        raise ProgramError(message, path=path, offset=offset, hint=hint)


def is_version(found: Any, known: int) -> bool:
    """Whether a version or a schema in a file is the known one: the same integer, not 1.0 or true."""
    return type(found) is int and found == known


def brief(found: Any) -> str:
    """A value from a file as a message shows it, however long it is."""
    return shortened(repr(found), 60)


@dataclass(frozen=True)
class FileSlice:
    """Bytes that stay in a file: `length` bytes of `path` from `offset`."""

    path: str
    offset: int
    length: int

    def __len__(self) -> int:
        return self.length

    def blocks(self, size: int = 1 << 20) -> Iterator[bytes]:
        """The bytes, at most `size` at a time. Raises ProgramError if the file has become shorter."""
        with open(self.path, "rb") as stream:
            stream.seek(self.offset)
            left = self.length
            while left:
                block = stream.read(min(size, left))
                require(block, "file became shorter while it was read", path=self.path)
                left -= len(block)
                yield block


Chunk = bytes | bytearray | FileSlice


@dataclass
class Section:
    """A run of bytes at one address. `flags` is a subset of "awx" (alloc, write, execute) as in GNU `.section`."""

    name: str
    flags: str
    address: int = 0
    align: int = 1
    chunks: list[Chunk] = field(default_factory=list)
    zero_size: int = 0          # bytes of zeros that the file does not hold (.bss); then chunks is empty

    def __repr__(self) -> str:                  # the contents may be gigabytes
        return f"Section({self.name!r}, {self.flags!r}, {self.address:#x}..{self.end:#x})"

    @property
    def size(self) -> int:
        return sum(map(len, self.chunks)) + self.zero_size

    @property
    def end(self) -> int:
        return self.address + self.size

    def blocks(self) -> Iterator[bytes]:
        """The contents as a stream of byte blocks; nothing for zero_size."""
        for chunk in self.chunks:
            if isinstance(chunk, FileSlice):
                yield from chunk.blocks()
            else:
                yield bytes(chunk)

    def bytes(self) -> bytes:
        """The whole contents, zeros included. Meant for small sections."""
        return b"".join(self.blocks()) + bytes(self.zero_size)


@dataclass
class Symbol:
    """A name for an address or, with `section` None, for an absolute value."""

    name: str
    value: int
    size: int = 0
    kind: str = "notype"            # notype, object, func
    binding: str = "local"          # local, global, weak
    section: str | None = None

    def rank(self) -> tuple[int, bool, bool]:
        """Sort key: by address; at one address plain labels first, functions and data last, of these the global ones."""
        return self.value, self.kind != "notype", self.binding != "local"


@dataclass(frozen=True, slots=True)
class Line:
    """The instruction at `address` comes from `line` of `file` (1-based). File "": the source is not known from here on."""

    address: int
    file: str
    line: int


@dataclass
class ProgramFile:
    """Everything that a program file holds."""

    sections: list[Section] = field(default_factory=list)
    symbols: list[Symbol] = field(default_factory=list, repr=False)
    lines: list[Line] = field(default_factory=list, repr=False)     # by rising address
    entry: int = 0
    built_for: Preset | None = field(default=None, repr=False)      # its machine, whole; None: programs of other tools name none
    meta: dict[str, Any] = field(default_factory=dict)   # model card, tokenizer, ...: JSON
    units: tuple[str, ...] = ()                          # whose instructions it holds, besides the core's
    path: str | None = field(default=None, compare=False)   # of the file that it was loaded from, as it was named
