"""Fragments: what a section is made of while it is being assembled.

A fragment is a stretch of a section whose size is known (Data, Fill, FilePart) or follows from the layout (Align, Gap,
Branch, LongConstant, Reach). `resize` gives the size at the present layout; asm/layout.py calls it until nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from asm.diagnostics import SourceError
from asm.encoding import BRANCH_REACH, Reloc, address_reach, constant_words, hi20, jump_over, lo12, signed64
from asm.expressions import Location, Lookup, Name, Node, Unresolved, Value, evaluate, number
from asm.source import Site
from isa.instruction import Row
from isa.program import Chunk, FileSlice

BLOCK = 1 << 20         # bytes of a large fill that are held in memory: one block, used many times
SMALL = 4096            # bytes; a smaller fill is written into the data
NOP = (0x0000_0013).to_bytes(4, "little")


@dataclass(eq=False)
class AssemblySection:
    """A section while it is being assembled. `nobits`: the program file holds none of its bytes."""

    name: str
    flags: str
    nobits: bool = False
    align: int = 1
    site: Site | None = None
    fixed_address: Node | None = None           # .address
    address: int = 0
    laid_out: bool = False                      # there are addresses, which may still change
    reached: int = 0                            # index of the fragment that a pass of the layout is at
    stretch: int = 0                            # how far this pass will move the fragments that it has not reached
    backwards: bool = False                     # the pass goes backwards: those before `reached` are not reached
    has_contents: bool = False                  # it holds more than zeros (.zero and the like)
    left_out: bool = False                      # read, but no part of the program: debugging information
    fragments: list[Fragment] = field(default_factory=list)
    tail: Data = field(init=False)

    def __post_init__(self) -> None:
        self.tail = Data(self)
        self.fragments.append(self.tail)

    def append(self, fragment: Fragment) -> None:
        """Add a fragment at the end, and an empty Data after it."""
        previous = self.fragments[-1]
        fragment.index = len(self.fragments)
        if previous.fixed:
            fragment.island, fragment.island_offset = previous.island, previous.island_offset + previous.resize(_no_lookup)
        else:
            fragment.island, fragment.island_offset = fragment.index, 0
        self.fragments.append(fragment)
        if not isinstance(fragment, Data):
            self.tail = Data(self)
            self.append(self.tail)

    @property
    def here(self) -> Location:
        return Location(self.tail, len(self.tail.data))

    @property
    def size(self) -> int:
        last = self.fragments[-1]
        return last.offset + last.size


def _no_lookup(name: Name) -> Value:
    raise Unresolved


@dataclass(eq=False)
class Fragment:
    """The base of all fragments. Neighbours of fixed size have the same `island`: distances within it are known early."""

    fixed: ClassVar[bool] = True
    padded: ClassVar[bool] = False                      # may be larger than it needs to be
    section: AssemblySection
    index: int = field(default=0, init=False)
    offset: int = field(default=0, init=False)          # from the start of the section
    size: int = field(default=0, init=False)
    island: int = field(default=0, init=False)
    island_offset: int = field(default=0, init=False)

    @property
    def copied(self) -> int:
        """Bytes of the program file that are copies of a pattern; zeros take no place."""
        return 0

    @property
    def place(self) -> int:
        """The offset in the section, as far as it is known. A fragment that the pass has not reached is moved by `stretch`."""
        section = self.section
        return self.offset + section.stretch if (self.index > section.reached) is not section.backwards else self.offset

    def resize(self, lookup: Lookup) -> int:
        raise Unresolved

    def chunks(self, lookup: Lookup) -> Iterator[Chunk]:
        """The contents at the final layout. Raises SourceError."""
        raise Unresolved

    def distance_from(self, other: Fragment) -> int | None:
        """Bytes from the start of `other` to the start of this fragment, None while that is not known."""
        if self.section is other.section and self.island == other.island:
            return self.island_offset - other.island_offset
        if self.section.laid_out and other.section.laid_out:
            return self.section.address + self.place - other.section.address - other.place
        return None


@dataclass(eq=False)
class Data(Fragment):
    """Bytes, with places in them that are filled in after layout."""

    data: bytearray = field(default_factory=bytearray, init=False)
    relocs: list[Reloc] = field(default_factory=list, init=False)

    def resize(self, lookup: Lookup) -> int:
        return len(self.data)

    def chunks(self, lookup: Lookup) -> Iterator[Chunk]:
        yield self.data


@dataclass(eq=False)
class Fill(Fragment):
    """`count` times a pattern; large ones share one block of memory."""

    count: int
    pattern: bytes
    site: Site

    @property
    def copied(self) -> int:
        return self.size if any(self.pattern) else 0

    def resize(self, lookup: Lookup) -> int:
        return self.count * len(self.pattern)

    def chunks(self, lookup: Lookup) -> Iterator[Chunk]:
        yield from repeated(self.pattern, self.count * len(self.pattern))


def repeated(pattern: bytes, size: int) -> Iterator[Chunk]:
    """`size` bytes of a repeated pattern, as many references to one block."""
    block = pattern * max(1, min(size, BLOCK) // len(pattern))
    for _ in range(size // len(block)):
        yield block
    rest = size % len(block)
    if rest:
        yield block[:rest]


@dataclass(eq=False)
class FilePart(Fragment):
    """Bytes that stay in their file (.incbin)."""

    slice: FileSlice
    site: Site

    def resize(self, lookup: Lookup) -> int:
        return self.slice.length

    def chunks(self, lookup: Lookup) -> Iterator[Chunk]:
        yield self.slice


@dataclass(eq=False)
class Align(Fragment):
    """Padding up to a multiple of `boundary`, unless more than `limit` bytes (0: any). `pattern` None: no-operations."""

    fixed: ClassVar[bool] = False
    boundary: int
    pattern: bytes | None
    limit: int = 0
    site: Site | None = None

    @property
    def copied(self) -> int:
        return self.size if self.pattern is None or any(self.pattern) else 0

    def resize(self, lookup: Lookup) -> int:
        gap = -self.offset % self.boundary
        return 0 if self.limit and gap > self.limit else gap

    def chunks(self, lookup: Lookup) -> Iterator[Chunk]:
        if self.pattern is not None:
            rest = self.size % len(self.pattern)
            yield bytes(rest)
            yield from repeated(self.pattern, self.size - rest)
            return
        # As GNU as does: what does not hold a whole no-operation comes first.
        odd, half = self.size % 2, self.size % 4 // 2
        yield bytes(odd) + b"\x01\x00" * half
        yield from repeated(NOP, self.size - self.size % 4)


@dataclass(eq=False)
class Gap(Fragment):
    """Filled space. `node` is its size; for .org it is where the space ends: an offset in the section, or a label."""

    fixed: ClassVar[bool] = False
    node: Node
    is_org: bool
    fill: bytes
    site: Site

    @property
    def copied(self) -> int:
        return self.size if any(self.fill) else 0

    def resize(self, lookup: Lookup) -> int:
        value = evaluate(self.node, lookup)
        if self.is_org:
            target = value.fragment.place + value.offset if isinstance(value, Location) else value
            return max(0, target - self.place)
        return max(0, number(value))

    def chunks(self, lookup: Lookup) -> Iterator[Chunk]:
        value = evaluate(self.node, lookup)
        if not self.is_org and number(value) < 0:
            raise SourceError(f"the size is {number(value)}: it cannot be negative")
        if self.is_org:
            if isinstance(value, Location) and value.fragment.section is not self.section:
                raise SourceError(f".org to a label in section {value.fragment.section.name}, from {self.section.name}")
            target = value.fragment.offset + value.offset if isinstance(value, Location) else value
            if target < self.offset:
                raise SourceError(f".org {target:#x} would move backwards: this place is at offset {self.offset:#x} of the section")
        yield from repeated(self.fill, self.size)


def leb128(value: int, signed: bool, least: int = 1) -> bytes:
    """A number of any size, seven bits a byte, the lowest first (DWARF, section 7.6), in `least` bytes or more. Raises SourceError
    for one below 0 that is not signed."""
    if value < 0 and not signed:
        raise SourceError(f"{value} is negative: expected a number from 0 on", hint=".sleb128 takes any number")
    out = bytearray()
    while len(out) + 1 < least or not (-0x40 <= value < 0x40 if signed else value < 0x80):
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


@dataclass(eq=False)
class Leb128(Fragment):
    """`.uleb128` and `.sleb128` of a value that is not known yet, such as the distance between two labels."""

    fixed: ClassVar[bool] = False
    padded: ClassVar[bool] = True
    node: Node
    signed: bool
    site: Site

    def resize(self, lookup: Lookup) -> int:
        return len(leb128(number(evaluate(self.node, lookup)), self.signed))

    def chunks(self, lookup: Lookup) -> Iterator[Chunk]:
        yield leb128(number(evaluate(self.node, lookup)), self.signed, self.size)


@dataclass(eq=False)
class Code(Fragment):
    """Instructions whose number depends on the layout."""

    fixed: ClassVar[bool] = False
    padded: ClassVar[bool] = True
    site: Site

    def words(self, lookup: Lookup) -> list[int]:
        """The instructions at the present layout."""
        raise Unresolved

    def resize(self, lookup: Lookup) -> int:
        return 4 * len(self.words(lookup))

    def chunks(self, lookup: Lookup) -> Iterator[Chunk]:
        code = b"".join(word.to_bytes(4, "little") for word in self.words(lookup))
        yield code + NOP * ((self.size - len(code)) // 4)


@dataclass(eq=False)
class Branch(Code):
    """A conditional branch; where the target is too far, the inverted branch over a jump, as GNU as does.

    To a label in another section GNU as always takes the long way, so this does. It does so to a number, too, as it knows no
    addresses; here the short form is taken where the number is in reach, so that what the disassembler prints means the same bits.
    """

    row: Row
    word: int                   # everything but the target
    target: Node

    def _offset(self, lookup: Lookup) -> int | None:
        """The branch offset, None when the target is in another section."""
        value = evaluate(self.target, lookup)
        if not isinstance(value, Location):
            return signed64((value - self.section.address - self.place) % (1 << 64))
        if value.fragment.section is not self.section:
            return None
        return value.fragment.place + value.offset - self.place

    def resize(self, lookup: Lookup) -> int:
        offset = self._offset(lookup)
        return 4 if offset is not None and -BRANCH_REACH <= offset < BRANCH_REACH else 8

    def words(self, lookup: Lookup) -> list[int]:
        if self.size == 4:
            offset = self._offset(lookup)
            assert offset is not None
            if offset % 2:
                raise SourceError(f"the branch target is {offset} bytes away: an odd distance")
            return [self.word | self.row.operand("imm").field.insert(offset)]
        distance = number(evaluate(self.target, lookup)) - (self.section.address + self.place)
        return jump_over(self.word, signed64(distance % (1 << 64)))


@dataclass(eq=False)
class LongConstant(Code):
    """`li`: as few instructions as GNU as takes for the value."""

    register: int
    node: Node

    def words(self, lookup: Lookup) -> list[int]:
        return constant_words(self.register, number(evaluate(self.node, lookup)))


@dataclass(eq=False)
class Reach(Code):
    """An address in `register` and then `word`, an instruction with a 12-bit offset on it; within +-2 GiB by auipc.

    Beyond that, as from code in DRAM to weights in flash, the address is built as a constant. `la` has only the address.
    """

    register: int
    word: int
    reloc: str                  # name of the immediate field of `word`
    address_only: bool
    target: Node

    def words(self, lookup: Lookup) -> list[int]:
        address = number(evaluate(self.target, lookup))
        distance = address - (self.section.address + self.place)
        if address_reach(distance):
            auipc = 0x17 | self.register << 7 | hi20(distance) << 12
            return [auipc, self.word | lo12(distance, self.reloc)]
        return constant_words(self.register, address) + ([] if self.address_only else [self.word])
