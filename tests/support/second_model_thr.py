"""A second model of the thr unit, in plain Python. It was written from the pages of docs/isa alone.

The reference engine and the fast engine could share a mistake, for one was written beside the other. This model shares no code with
them, and computes in another way: fp32 numbers are compared as integers, pairs of number and index are sorted, sums are added one
by one. test_second_model.py compares the three.

Where each rule stands, by page of docs/isa:

- thr.md: the encoding of each instruction, what it computes, what it counts; how NaN, zeros and equal elements compare; the bits
  of a mask; the order of an instruction's own checks, in its Python text.
- traps.md: causes, mtval, the order of checks, that a trap leaves all as it was but core.traps, that no bytes are not checked;
  addresses are exact, and mtval is the low 64 bits of one.
- memory.md: an access lies in one region to which the unit has a port; little-endian. machines.md: the regions of each machine.
- vocabulary.md: reads come before writes, rd is written unless it is x0, core.instructions and thr.ops count; lengths end at 2**28
  (LONGEST). numbers.md: f32 and u32 in bytes; a mask has ceil(n / 8) bytes.
- arithmetic.md: a scalar is the low 32 bits of its register (`f32_from_bits`).
- counters.md: names, 64 bits wide. csrs.md: thr.levels is 64 bits wide. formats.md: the fields of R4.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

WORD = (1 << 64) - 1
LONGEST = 1 << 28
OPCODE = 0b1011011
LOAD_ACCESS, STORE_ACCESS, ILLEGAL_INSTRUCTION = 5, 7, 2
PORT, MISALIGNED_OPERAND, CAPACITY, ILLEGAL_OPERAND = 24, 25, 26, 27


@dataclass(frozen=True)
class Region:
    """A memory. `held`: (address, size) of what is there, if not every byte is: sections of flash, registers of mmio."""

    name: str
    base: int
    size: int
    ports: frozenset[str]
    writable: bool = True
    held: tuple[tuple[int, int], ...] | None = None


@dataclass
class Start:
    """A machine before an instruction. `memory`: bytes by address, 0 where there is none."""

    units: frozenset[str]
    regions: tuple[Region, ...] = field(repr=False)
    x: list[int] = field(repr=False)
    csrs: Mapping[str, int]
    memory: Mapping[int, int] = field(repr=False)
    counters: Mapping[str, int] = field(repr=False)


@dataclass
class Outcome:
    """A machine after an instruction. `writes`: bytes by address. `trap`: mcause and mtval; None if the instruction retired."""

    x: list[int] = field(repr=False)
    writes: dict[int, int]
    counters: dict[str, int] = field(repr=False)
    trap: tuple[int, int] | None = None


class Trapped(Exception):
    """The instruction traps."""

    def __init__(self, cause: int, value: int) -> None:
        super().__init__(cause, value)
        self.trap = cause, value & WORD


@dataclass
class Machine:
    """What an instruction does so far."""

    start: Start
    events: dict[str, int] = field(default_factory=dict)
    writes: dict[int, int] = field(default_factory=dict)

    def count(self, name: str, events: int) -> None:
        """Count events."""
        self.events[name] = self.events.get(name, 0) + events

    def region(self, address: int, size: int, align: int, cause: int) -> Region:
        """The region of an access of at least one byte, after the four checks of traps.md. `cause` is that of no region."""
        if address % align:
            raise Trapped(MISALIGNED_OPERAND, address)
        for region in self.start.regions:
            if region.base <= address and address + size <= region.base + region.size:
                break
        else:
            raise Trapped(cause, address)
        if "thr" not in region.ports:
            raise Trapped(PORT, address)
        if region.held is not None and not any(at <= address and address + size <= at + length for at, length in region.held):
            raise Trapped(cause, address)
        if cause == STORE_ACCESS and not region.writable:
            raise Trapped(cause, address)
        return region

    def check(self, address: int, size: int, align: int, cause: int) -> None:
        """Check an access; one of no bytes is not checked."""
        if size:
            self.region(address, size, align, cause)

    def read(self, address: int, size: int, align: int) -> bytes:
        """Read and count `size` bytes."""
        if size == 0:
            return b""
        self.count(self.region(address, size, align, LOAD_ACCESS).name + ".bytes_read", size)
        return bytes(self.start.memory.get(at, 0) for at in range(address, address + size))

    def read_words(self, address: int, number: int) -> list[int]:
        """Read and count `number` words of 32 bits: u32, or the bits of f32."""
        data = self.read(address, 4 * number, 4)
        return [int.from_bytes(data[at:at + 4], "little") for at in range(0, len(data), 4)]

    def write(self, address: int, data: bytes, align: int) -> None:
        """Write and count bytes; they are seen when the instruction has retired."""
        if data:
            self.count(self.region(address, len(data), align, STORE_ACCESS).name + ".bytes_written", len(data))
            self.writes.update(zip(range(address, address + len(data)), data, strict=True))

    def write_words(self, address: int, words: list[int]) -> None:
        """Write and count words of 32 bits."""
        self.write(address, b"".join(word.to_bytes(4, "little") for word in words), 4)


def rank(bits: int) -> int | None:
    """An integer that is greater where the fp32 number is greater; one for both zeros, None for a NaN."""
    magnitude = bits & 0x7FFF_FFFF
    if magnitude > 0x7F80_0000:
        return None
    return -magnitude if bits >> 31 else magnitude


LOWEST, HIGHEST = -0x7F80_0000, 0x7F80_0000     # ranks of -infinity and +infinity


def lengths(*values: int) -> None:
    """Check length operands, in operand order."""
    for value in values:
        if value > LONGEST:
            raise Trapped(CAPACITY, value)


def mask_bytes(n: int) -> int:
    """Bytes of a mask of n bits."""
    return (n + 7) // 8


def greater(m: Machine, mask: int, x: int, theta: int, n: int, *, magnitude: bool) -> None:
    """thr.gt.f32 and, for `magnitude`, thr.absgt.f32."""
    lengths(n)
    m.check(x, 4 * n, 4, LOAD_ACCESS)
    m.check(mask, mask_bytes(n), 1, STORE_ACCESS)
    limit = rank(theta & 0xFFFF_FFFF)
    data = bytearray(mask_bytes(n))
    passes = 0
    for i, bits in enumerate(m.read_words(x, n)):
        value = rank(bits & 0x7FFF_FFFF if magnitude else bits)
        if value is not None and limit is not None and value > limit:
            data[i // 8] |= 1 << i % 8
            passes += 1
    m.write(mask, bytes(data), 1)
    m.count("thr.compares", n)
    m.count("thr.passes", passes)


def gt(m: Machine, mask: int, x: int, theta: int, n: int) -> None:
    """thr.gt.f32."""
    greater(m, mask, x, theta, n, magnitude=False)


def absgt(m: Machine, mask: int, x: int, theta: int, n: int) -> None:
    """thr.absgt.f32."""
    greater(m, mask, x, theta, n, magnitude=True)


def positions(m: Machine, _count: int, mask: int, index: int, n: int) -> int:
    """thr.index. Only what the mask holds says how many bytes are written, so `index` is checked last."""
    lengths(n)
    data = m.read(mask, mask_bytes(n), 1)
    ones = [i for i in range(n) if data[i // 8] >> i % 8 & 1]
    m.write_words(index, ones)
    m.count("thr.selected", len(ones))
    return len(ones)


def first(m: Machine, index: int, x: int, k: int, n: int, *, largest: bool) -> None:
    """thr.topk.f32 and, where not `largest`, thr.bottomk.f32."""
    lengths(k, n)
    m.check(x, 4 * n, 4, LOAD_ACCESS)
    m.check(index, 4 * k, 4, STORE_ACCESS)
    if k > n:
        raise Trapped(ILLEGAL_OPERAND, k)
    left = []
    for i, bits in enumerate(m.read_words(x, n)):
        value = rank(bits)
        if value is None:
            value = LOWEST if largest else HIGHEST
        left.append((-value if largest else value, i))
    m.write_words(index, [i for _, i in sorted(left)][:k])
    m.count("thr.compares", n)
    m.count("thr.selected", k)


def topk(m: Machine, index: int, x: int, k: int, n: int) -> None:
    """thr.topk.f32."""
    first(m, index, x, k, n, largest=True)


def bottomk(m: Machine, index: int, x: int, k: int, n: int) -> None:
    """thr.bottomk.f32."""
    first(m, index, x, k, n, largest=False)


def select(m: Machine, _theta: int, table: int, row: int, sparsity: int) -> int:
    """thr.select. It has no length operand, and its shape names a CSR: all checks are its own."""
    columns = m.start.csrs["thr.levels"]
    if columns == 0:
        raise Trapped(ILLEGAL_OPERAND, 0)
    wanted = rank(sparsity & 0xFFFF_FFFF)
    column = columns - 1
    for i, bits in reversed(list(enumerate(m.read_words(table, columns)))):
        level = rank(bits)
        if level is not None and wanted is not None and level >= wanted:
            column = i
    m.count("thr.compares", columns)
    return m.read_words(table + 4 * (columns * (1 + row) + column), 1)[0]


def prefix(m: Machine, _count: int, sizes: int, budget: int, n: int) -> int:
    """thr.prefix."""
    lengths(n)
    entries = m.read_words(sizes, n)
    used = number = 0
    for entry in entries:
        used += entry
        if used > budget:
            break
        number += 1
    m.count("thr.compares", n)
    m.count("thr.selected", number)
    return number


def ranges(m: Machine, index: int, ranks: int, bounds: int, n: int) -> None:
    """thr.ranges. How much of bounds it reads, and how much it writes, is known only on the way."""
    lengths(n)
    left, parts = m.start.csrs["thr.budget"], list[range]()
    for r in m.read_words(ranks, n):
        if left == 0:
            break
        first, behind = m.read_words(bounds + 4 * r, 2)
        if first < behind:
            size = min(behind - first, left)
            parts.append(range(first, first + size))
            left -= size
    total = sum(part.stop - part.start for part in parts)
    m.check(index, 4 * total, 4, STORE_ACCESS)
    m.write_words(index, [number for part in parts for number in part])
    m.count("thr.compares", n)
    m.count("thr.selected", total)


@dataclass(frozen=True)
class Instruction:
    """What is at a funct3 and funct2. `has_result`: rd is a result register, and not an operand."""

    name: str
    meaning: Callable[[Machine, int, int, int, int], int | None]
    has_result: bool = False


INSTRUCTIONS = {
    (0b001, 0b00): Instruction("thr.gt.f32", gt),
    (0b001, 0b01): Instruction("thr.absgt.f32", absgt),
    (0b001, 0b10): Instruction("thr.index", positions, has_result=True),
    (0b001, 0b11): Instruction("thr.select", select, has_result=True),
    (0b010, 0b00): Instruction("thr.topk.f32", topk),
    (0b010, 0b01): Instruction("thr.bottomk.f32", bottomk),
    (0b010, 0b10): Instruction("thr.prefix", prefix, has_result=True),
    (0b010, 0b11): Instruction("thr.ranges", ranges),
}


def is_thr(word: int) -> bool:
    """Whether the opcode and funct3 are those of the thr unit; the rest may still be no instruction."""
    return word & 0x7F == OPCODE and word >> 12 & 7 in (0b001, 0b010)


def execute(start: Start, word: int) -> Outcome:
    """One instruction of the thr unit. Raises ValueError for one of another unit."""
    if not is_thr(word):
        raise ValueError(f"{word:#010x} is no instruction of the thr unit")
    rd, rs1, rs2, rs3 = (word >> low & 31 for low in (7, 15, 20, 27))
    x, counters = list(start.x), dict(start.counters)
    m = Machine(start)
    try:
        instruction = INSTRUCTIONS.get((word >> 12 & 7, word >> 25 & 3))
        if instruction is None or "thr" not in start.units:
            raise Trapped(ILLEGAL_INSTRUCTION, word)
        result = instruction.meaning(m, *(start.x[register] for register in (rd, rs1, rs2, rs3)))
    except Trapped as trapped:
        counters["core.traps"] = (counters.get("core.traps", 0) + 1) & WORD
        return Outcome(x, {}, counters, trapped.trap)
    m.count("core.instructions", 1)
    m.count("thr.ops", 1)
    for name, events in m.events.items():
        counters[name] = (counters.get(name, 0) + events) & WORD
    if instruction.has_result and rd and result is not None:
        x[rd] = result & WORD
    return Outcome(x, m.writes, counters)
